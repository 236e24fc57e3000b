#!/usr/bin/python3
"""The Debian packages on a Debian with its own systemd: installed as an operator would, a guest started by the unit's agent; then
an upgrade, an agent that hangs, one that is killed, a stop and a removal, and the guest runs on through all of them.

The machine is a folder made by mmdebstrap, booted by systemd-nspawn with no network of the host's and control groups of its own.
Needs root and a mirror."""
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from cluster import BUILD, is_removed, seeded_guest_files, until  # noqa: E402

ROOT = os.path.join(HERE, '..', '..')
GROUPS = '/sys/fs/cgroup'
LIMITS = ('cpu', 'cpuacct', 'memory', 'pids')  # what droverd uses of cgroup v1
HANGS = '[Service]\nWatchdogSec=3\n'


def run(*command, **more):
    return subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, universal_newlines=True,
                          **more).stdout


def hierarchies():
    if os.path.exists(os.path.join(GROUPS, 'cgroup.controllers')):
        return [GROUPS]
    return [os.path.join(GROUPS, name) for name in ('systemd', 'unified') + LIMITS
            if os.path.exists(os.path.join(GROUPS, name, 'cgroup.procs'))]


class Machine:
    """A Debian that has what the packages need, and systemd."""
    def __init__(self, packages):
        self.name = 'drover-sd%d' % os.getpid()
        self.folder = tempfile.mkdtemp(prefix='drover-sd-', dir='/var/tmp')
        self.root, self.process, self.leader = os.path.join(self.folder, 'root'), None, None
        depends = {word.split()[0] for deb in packages for word in run('dpkg-deb', '-f', deb, 'Depends').split(',') if word.strip()}
        wanted = sorted(d for d in depends if not d.startswith('drover'))
        run('mmdebstrap', '--quiet', '--variant=minbase', '--include=' + ','.join(['systemd-sysv', 'dbus', 'udev', 'iproute2'] + wanted),
            'bookworm', self.root)
        for deb in packages:
            shutil.copy(deb, os.path.join(self.root, 'root'))

    def boot(self):
        groups = [os.path.join(h, self.name) for h in hierarchies()]
        for group in groups:
            os.mkdir(group)
        enter = ''.join('echo $$ >%s/cgroup.procs; ' % g for g in groups)
        with open(os.path.join(self.folder, 'log'), 'w') as log:
            self.process = subprocess.Popen(
                ['sh', '-ec', enter + 'exec "$@"', 'sh', 'systemd-nspawn', '--quiet', '-D', self.root, '--boot', '--register=no',
                 '--keep-unit', '--private-network', '--console=pipe', '--capability=all', '--system-call-filter=@default',
                 '--bind=/dev/net/tun', '--hostname=n1'], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.leader = until('its systemd is there', self.init)
        until('it is up', lambda: self.sh('systemctl is-system-running || :').strip() in ('running', 'degraded'))
        for name in LIMITS: # nspawn gives the limits of v1 for reading only
            if os.path.ismount(os.path.join(GROUPS, name)):
                self.sh('mount -o remount,bind,rw %s/%s' % (GROUPS, name))

    def init(self):
        """The process that is number one in there, as the host sees it."""
        assert self.process.poll() is None, 'systemd-nspawn ended'
        todo = [self.process.pid]
        while todo:
            pid = todo.pop()
            try:
                with open('/proc/%d/status' % pid) as f:
                    if re.search(r'^NSpid:\s+%d\s+1$' % pid, f.read(), re.M):
                        return pid
                with open('/proc/%d/task/%d/children' % (pid, pid)) as f:
                    todo += [int(p) for p in f.read().split()]
            except OSError:
                pass
        return None

    def enter(self, *command, spaces=('-a',), **more):
        """Runs it in there: in all of its namespaces, or in these."""
        return subprocess.run(['nsenter', '-t', str(self.leader), *spaces, '--', *command], stdin=subprocess.DEVNULL, timeout=300,
                              env={'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'LC_ALL': 'C.UTF-8', 'DEBIAN_FRONTEND': 'noninteractive'},
                              **more)

    def sh(self, script):
        done = self.enter('sh', '-ec', script, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
        assert done.returncode == 0, '%s: %s' % (script, done.stdout)
        return done.stdout

    def drover(self, *words):
        text = self.sh('drover %s --json' % ' '.join("'%s'" % w for w in words))
        return json.loads(text) if text else None

    def destroy(self):
        if self.process and self.process.poll() is None:
            self.process.terminate() # its systemd powers off
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                if self.leader:
                    os.kill(self.leader, 9)
                self.process.kill()
                self.process.wait()
        for hierarchy in hierarchies():
            for group, _, _ in os.walk(os.path.join(hierarchy, self.name), topdown=False):
                until('%s is empty' % group, lambda: is_removed(group), 20)
        shutil.rmtree(self.folder)


class Systemd(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        out = tempfile.mkdtemp(prefix='drover-sd-', dir='/var/tmp')
        cls.addClassCleanup(shutil.rmtree, out)
        run('sh', os.path.join(ROOT, 'node/debian/build.sh'), '--built', BUILD, out, stderr=subprocess.STDOUT)
        cls.machine = Machine(sorted(glob.glob(os.path.join(out, '*.deb'))))
        cls.addClassCleanup(cls.machine.destroy)
        kernel, ramdisk = seeded_guest_files(out)
        shutil.copy(kernel, os.path.join(cls.machine.root, 'root/kernel'))
        shutil.copy(ramdisk, os.path.join(cls.machine.root, 'root/ramdisk'))
        cls.machine.boot()

    def agent(self):
        text = self.machine.sh('systemctl show droverd -p ActiveState -p SubState -p MainPID -p NRestarts')
        return dict(line.split('=', 1) for line in text.split())

    def guest(self):
        return self.machine.drover('guest', 'show', 'g')

    def runs_on(self, pid):
        """An agent answers, and has taken over the guest's process as it was."""
        g = until('the guest is seen', lambda: (lambda g: g['state'].get('phase') == 'running' and g)(self.guest()))
        self.assertEqual(g['state']['pid'], pid)
        until('the guest answers', lambda: self.machine.enter('ping', '-c1', '-W1', '10.7.0.2', spaces=('--net',),
                                                              stdout=subprocess.DEVNULL).returncode == 0)

    def answers(self):
        return self.machine.enter('drover', 'cluster', 'status', stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0

    def test_life(self):
        sh, drover = self.machine.sh, self.machine.drover
        # installed, enabled, and idle until there is a cluster
        sh('dpkg -i /root/*.deb')
        self.assertEqual(self.agent()['ActiveState'], 'inactive')
        self.assertEqual(sh('systemctl is-enabled droverd').strip(), 'enabled')
        sh('drover cluster init lab --node n1 --address 127.0.0.1')
        sh('systemctl start droverd')  # returns when it says that it is ready
        self.assertEqual(self.agent()['SubState'], 'running')
        self.assertTrue(self.answers())
        self.assertNotIn('without limits', sh('journalctl -u droverd --no-pager'))

        sh('mkdir /srv/pool')
        drover('pool', 'create', 'p', '--node', 'n1', '--path', '/srv/pool')
        for image in ('kernel', 'ramdisk'):
            drover('image', 'import', image, '--pool', 'p', '--source', '/root/' + image, '--wait')
        drover('network', 'create', 'net', '--subnet', '10.7.0.0/24', '--gateway', '10.7.0.1', '--nat')
        drover('volume', 'create', 'v', '--size', '16M', '--pool', 'p', '--wait')
        drover('guest', 'create', 'g', '--memory', '192M', '--disk', 'v', '--network', 'net', '--kernel', 'kernel', '--initrd',
               'ramdisk', '--cmdline', 'console=ttyS0 quiet panic=-1', '--start', '--wait')
        pid = self.guest()['state']['pid']
        with self.subTest('jailed'):
            status = sh('cat /proc/%d/status' % pid)
            self.assertRegex(status, r'(?m)^NoNewPrivs:\s+1$')
            self.assertRegex(status, r'(?m)^Seccomp:\s+2$')
            self.assertRegex(status, r'(?m)^CapEff:\s+0+$')
            self.assertNotRegex(status, r'(?m)^Uid:\s+0\b')

        with self.subTest('upgrade'):
            before = self.agent()['MainPID']
            sh('dpkg -i /root/*.deb')
            until('the new agent answers', self.answers)
            self.assertNotEqual(self.agent()['MainPID'], before)
            self.runs_on(pid)

        with self.subTest('killed'):
            before = self.agent()
            sh('kill -KILL %s' % before['MainPID'])
            until('another one answers', lambda: self.agent()['MainPID'] not in ('0', before['MainPID']) and self.answers())
            self.assertGreater(int(self.agent()['NRestarts']), int(before['NRestarts']))
            self.runs_on(pid)

        with self.subTest('hangs'):
            drop_in = os.path.join(self.machine.root, 'etc/systemd/system/droverd.service.d')
            os.makedirs(drop_in)
            with open(os.path.join(drop_in, 'watchdog.conf'), 'w') as f:
                f.write(HANGS)
            sh('systemctl daemon-reload; systemctl restart droverd')
            before = self.agent()['MainPID']
            sh('kill -STOP %s' % before)
            until('the watchdog ends it', lambda: self.agent()['MainPID'] not in ('0', before) and self.answers())
            self.assertIn('Watchdog timeout', sh('journalctl -u droverd --no-pager'))
            self.runs_on(pid)

        with self.subTest('stopped and removed'):
            sh('systemctl stop droverd')
            sh('kill -0 %d' % pid)
            sh('systemctl start droverd')
            self.runs_on(pid)
            self.assertNotIn(' is lost', sh('journalctl -u droverd --no-pager'))
            drover('guest', 'stop', 'g', '--force', '--wait')
            sh('dpkg --purge drover drover-agent')
            sh('test -e /var/lib/drover/node.json; ! systemctl is-active droverd')


if __name__ == '__main__':
    unittest.main(verbosity=2)
