"""Hosts for tests of the deployment: each a set of namespaces with a root of its own, above this machine's, and a network
between them. Nothing of it is left when it ends: a host is a process, and what runs on it dies with that."""
import os
import shutil
import signal
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'node'))
from cluster import Namespace, remove_groups, until  # noqa: E402

# The first process of a host: it makes the root, then only buries what is left to it.
FIRST = r'''
set -e
cd "$1"
mount --make-rprivate /
mount -t tmpfs -o size=2G tmpfs over
mkdir over/upper over/work
mount -t overlay overlay -o lowerdir=/,upperdir=over/upper,workdir=over/work root
cd root
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --rbind /sys/fs/cgroup sys/fs/cgroup
mount --rbind /dev dev
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir -p run/systemd/system run/lock
mount -t tmpfs tmpfs var/tmp
rm -rf usr/sbin/policy-rc.d var/lib/drover etc/systemd/system/multi-user.target.wants
cp "$2" usr/bin/systemctl
hostname "$3"
mkdir -p oldroot
pivot_root . oldroot
umount -l oldroot
rmdir oldroot
cd /
ip link set lo up
exec /usr/bin/python3 -c '
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open("/run/made", "w").close()
while True:
    try:
        os.wait()
    except ChildProcessError:
        time.sleep(0.2)
'
'''


class Host:
    def __init__(self, name, address):
        self.name, self.address = name, address
        self.folder = tempfile.mkdtemp(prefix='drover-host-')
        for part in ('over', 'root'):
            os.mkdir(os.path.join(self.folder, part))
        # setpriv: whatever ends the test ends the host
        self.outer = subprocess.Popen(['setpriv', '--pdeathsig', 'KILL', 'unshare', '--mount', '--uts', '--net', '--pid', '--fork', '--kill-child=KILL',
                                       'sh', '-c', FIRST, 'sh', self.folder, os.path.join(HERE, 'systemctl'), name], stdin=subprocess.DEVNULL)
        self.pid = until('host %s begins' % name, self.find)
        until('host %s is made' % name, lambda: os.path.exists(self.path('/run/made')) or self.outer.poll() is not None)
        assert self.outer.poll() is None, 'host %s cannot be made' % name

    def find(self):
        with open('/proc/%d/task/%d/children' % (self.outer.pid, self.outer.pid)) as f:
            children = f.read().split()
        return int(children[0]) if children else 0

    def connect(self, hub, i):
        hub.ip('link', 'add', 'p%d' % i, 'type', 'veth', 'peer', 'name', 'up0', 'netns', str(self.pid))
        hub.ip('link', 'set', 'p%d' % i, 'master', 'hub', 'up')
        self.run('ip', 'address', 'add', self.address + '/24', 'dev', 'up0', check=True)
        self.run('ip', 'link', 'set', 'up0', 'up', check=True)

    def path(self, path):
        """A file of it, as the outside reaches it."""
        return '/proc/%d/root%s' % (self.pid, path)

    def argv(self, words):
        return ['nsenter', '--target', str(self.pid), '--mount', '--uts', '--net', '--pid', '--root', '--wd'] + list(words)

    def run(self, *words, **more):
        return subprocess.run(self.argv(words), **more)

    def text(self, *words):
        done = self.run(*words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                        universal_newlines=True)
        assert done.returncode == 0, '%s: %s: %s' % (self.name, ' '.join(words), done.stdout)
        return done.stdout

    def destroy(self):
        try:
            os.kill(self.pid, signal.SIGKILL)  # and everything in its namespace with it
        except ProcessLookupError:
            pass
        self.outer.wait()
        remove_groups(self.name)
        shutil.rmtree(self.folder, ignore_errors=True)


def hub():
    made = Namespace('dra%d' % os.getpid())
    made.ip('link', 'add', 'hub', 'type', 'bridge')
    made.ip('link', 'set', 'hub', 'up')
    return made
