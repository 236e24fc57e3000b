"""Nodes for tests: each a droverd with folders of its own, in a network namespace of its own if it has a name there."""
import hashlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'hv'))
import initrd  # noqa: E402
import kernels  # noqa: E402
import lab  # noqa: E402

BUILD = os.path.abspath(os.environ.get('DROVER_BUILD', 'build/debug'))
DROVER, DROVERD = os.path.join(BUILD, 'drover'), os.path.join(BUILD, 'droverd')
PROGRAMS = os.environ.get('DROVER_PROGRAMS')  # what droverd starts, if not what is beside it
RELEASE = os.path.join(os.path.dirname(BUILD), 'release')
RELEASE_DROVER = os.path.join(RELEASE, 'drover')


def until(what, condition, seconds=120):
    """Waits for something that must come; how long it takes is nobody's business. What takes longer is asked for less often:
    to ask takes a quarter of a processor otherwise."""
    start = now = time.monotonic()
    while now < start + seconds:
        value = condition()
        if value:
            return value
        time.sleep(min(0.3, 0.1 + (now - start) / 10))
        now = time.monotonic()
    raise AssertionError('%s did not happen in %d seconds' % (what, seconds))


class Node:
    commands = set()  # that have been given once

    def __init__(self, name='n1', address='127.0.0.1', namespace=None, store=None, listen='none', log_form='text'):
        self.name, self.address, self.namespace = name, address, namespace
        self.folder = tempfile.mkdtemp(prefix='drover-n-')
        self.state, self.run = os.path.join(self.folder, 'state'), os.path.join(self.folder, 'run')
        self.pool = os.path.join(self.folder, 'pool')
        os.mkdir(self.pool)
        self.store, self.listen, self.log_form, self.process = store, listen, log_form, None
        self.environment, self.program, self.arguments = {}, DROVERD, []  # more of droverd's
        self.log = os.path.join(self.folder, 'log')

    def inside(self, argv):
        return (['nsenter', '--net=/run/netns/' + self.namespace] if self.namespace else []) + argv

    def init(self, cluster='lab'):
        more = ['--store', self.store] if self.store else []
        subprocess.run(self.inside([DROVER, 'cluster', 'init', cluster, '--node', self.name, '--address', self.address,
                                    '--state', self.state, '--listen', self.listen] + more), check=True)

    def join(self, invitation):
        path = os.path.join(self.folder, 'invitation')
        with open(path, 'w') as f:
            f.write(invitation)
        return subprocess.run(self.inside([DROVER, 'cluster', 'join', path, '--node', self.name, '--address', self.address,
                                           '--state', self.state, '--listen', self.listen]), stderr=subprocess.PIPE,
                              universal_newlines=True)

    def start(self):
        programs = ['--programs', PROGRAMS] if PROGRAMS else []
        with open(self.log, 'a') as log:
            self.process = subprocess.Popen(self.inside([self.program, '--state', self.state, '--run', self.run, '-v'] + programs + self.arguments),
                                            stdin=subprocess.DEVNULL, stderr=log, env=dict(os.environ, DROVER_LOG=self.log_form, **self.environment))
        until('droverd answers', lambda: self.process.poll() is not None or self.cli('cluster', 'status').returncode == 0)
        assert self.process.poll() is None, self.log_text()

    def end(self, how=signal.SIGTERM):
        if self.process:
            self.process.send_signal(how)
            self.process.wait()
        code, self.process = (self.process.returncode if self.process else 0), None
        return code

    def restart(self, how=signal.SIGTERM):
        code = self.end(how)
        self.start()
        return code

    @classmethod
    def command_line(cls, words):
        """With sanitizers the first time that a command is given, without them from then on: tests ask thousands of times,
        and to begin and end a process with sanitizers takes six times as long as one without."""
        first = words[:2] not in cls.commands
        cls.commands.add(words[:2])
        return DROVER if first or not os.path.exists(RELEASE_DROVER) else RELEASE_DROVER

    def cli(self, *words, seconds=300):
        env = dict(os.environ, DROVER_API='unix:' + os.path.join(self.run, 'api.sock'))
        return subprocess.run([self.command_line(words)] + list(words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              universal_newlines=True, env=env, timeout=seconds)

    def do(self, *words):
        """A command that must succeed; its answer as JSON."""
        done = self.cli(*words, '--json')
        assert done.returncode == 0, '%s: %s\n%s' % (' '.join(words), done.stderr, self.log_text())
        return json.loads(done.stdout) if done.stdout else None

    def open_console(self, guest):
        """A process that talks to a guest's console; refused are those who come while somebody is there who has not left
        altogether, and while an agent that has just been started has not looked at its guests yet."""
        said = []
        try:
            return until('%s gives its console' % guest, lambda: self.try_console(guest, said))
        except AssertionError as error:
            raise AssertionError('%s: %r' % (error, said[-1:])) from None

    def try_console(self, guest, said):
        env = dict(os.environ, DROVER_API='unix:' + os.path.join(self.run, 'api.sock'))
        console = subprocess.Popen([DROVER, 'guest', 'console', guest], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, env=env, bufsize=0)
        ready, _, _ = select.select([console.stderr], [], [], 20)
        said.append(console.stderr.readline() if ready else b'nothing')
        if said[-1].startswith(b'the console of'):
            return console
        self.close_console(console)
        return None

    @staticmethod
    def close_console(console):
        console.kill()
        console.wait()
        for stream in (console.stdin, console.stdout, console.stderr):
            stream.close()

    def console(self, guest, *lines):
        """Says lines to a guest's console; what it prints until it has done them all."""
        console, text = self.open_console(guest), b''
        try:
            for line in lines:
                done = text.count(b'guest: done')
                console.stdin.write(line.encode() + b'\n')
                while text.count(b'guest: done') == done:
                    data = os.read(console.stdout.fileno(), 4096)
                    assert data, 'the console ended: %r %r' % (text[-500:], console.stderr.read())
                    text += data
        finally:
            self.close_console(console)
        return text.decode('utf-8', 'replace')

    def log_text(self):
        with open(self.log) as f:
            return f.read()[-4000:]

    def pids(self):
        """Everything that runs for this node beside the agent."""
        found = []
        for entry in os.listdir('/proc'):
            if not entry.isdigit():
                continue
            try:
                with open('/proc/%s/cmdline' % entry, 'rb') as f:
                    words = f.read().split(b'\0')
                with open('/proc/%s/cgroup' % entry) as f:
                    groups = f.read()
            except OSError:
                continue
            if 'drover-' + self.name + '/' in groups or self.folder.encode() in b' '.join(words):
                found.append(int(entry))
        return [p for p in found if p != os.getpid()]

    def destroy(self):
        self.end(signal.SIGKILL)
        for _ in range(50):
            pids = self.pids()
            if not pids:
                break
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.1)
        remove_groups(self.name)
        shutil.rmtree(self.folder, ignore_errors=True)


def is_removed(group):
    """Not while a process that was killed is still on its way out."""
    try:
        os.rmdir(group)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def remove_groups(name):
    for root, folders, _ in os.walk('/sys/fs/cgroup'):
        if os.path.basename(root) == 'drover-' + name:
            for folder in [os.path.join(root, f) for f in folders] + [root]:
                until('%s is empty' % folder, lambda: is_removed(folder), 20)
            folders.clear()


# A guest that does what its seed says: takes its address, its name, and answers on the network.
GUEST_INIT = initrd.PREAMBLE + r'''mkdir -p /seed
for d in /dev/vd?; do mount -t iso9660 -o ro $d /seed 2>/dev/null && break; done
hostname "$(sed -n 's/.*"local-hostname": *"\([^"]*\)".*/\1/p' /seed/meta-data)"
address=$(tr -d '\n' </seed/network-config | sed -n 's/.*"addresses": *\[ *"\([^"]*\)".*/\1/p')
ip link set lo up
ip link set eth0 up
[ -z "$address" ] || ip address add $address dev eth0
echo "guest: $(hostname) has $address"
''' + initrd.OBEY


def seeded_guest_files(folder, programs=()):
    """A Debian kernel, and a RAM disk whose guest obeys its seed and has these programs of ours."""
    ramdisk = os.path.join(folder, 'seeded.gz')
    initrd.build(ramdisk, kernels.modules('cloud'), lab.contents(programs), GUEST_INIT, initrd.MODULES + ['cdrom', 'isofs'])
    return kernels.vmlinuz('cloud'), ramdisk


def sha256(path):
    with open(path, 'rb') as f:
        return hashlib.sha256(f.read()).hexdigest()


class Namespace:
    """A network of its own."""
    def __init__(self, name):
        self.name = name
        subprocess.run(['ip', 'netns', 'add', name], check=True)
        self.ip('link', 'set', 'lo', 'up')

    def ip(self, *words):
        subprocess.run(['ip', '-n', self.name] + list(words), check=True)

    def run(self, *words, **more):
        return subprocess.run(['ip', 'netns', 'exec', self.name] + list(words), **more)

    def pings(self, address):
        return self.run('ping', '-c1', '-W0.3', address, stdout=subprocess.DEVNULL).returncode == 0

    def destroy(self):
        subprocess.run(['ip', 'netns', 'del', self.name], stderr=subprocess.DEVNULL)


class Etcd:
    """A store of its own, on the first node and with its certificate: it takes nodes of the cluster only."""
    def __init__(self, node, *options):
        self.node, self.process, self.options = node, None, options
        self.folder = tempfile.mkdtemp(prefix='drover-etcd-')

    def start(self):
        url, tls = 'https://%s:2379' % self.node.address, os.path.join(self.node.state, 'tls')
        self.process = subprocess.Popen(
            self.node.inside(['etcd', '--data-dir', self.folder, '--listen-client-urls', url, '--advertise-client-urls', url,
                              '--listen-peer-urls', 'http://127.0.0.1:2380', '--client-cert-auth',
                              '--trusted-ca-file', os.path.join(tls, 'ca-cert.pem'),
                              '--cert-file', os.path.join(tls, 'server-cert.pem'),
                              '--key-file', os.path.join(tls, 'server-key.pem'), *self.options]),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def end(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def ctl(self, *words, **more):
        tls = os.path.join(self.node.state, 'tls')
        return subprocess.run(
            self.node.inside(['etcdctl', '--endpoints', 'https://%s:2379' % self.node.address, '--cacert',
                              os.path.join(tls, 'ca-cert.pem'), '--cert', os.path.join(tls, 'server-cert.pem'),
                              '--key', os.path.join(tls, 'server-key.pem'), *words]),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, env=dict(os.environ, ETCDCTL_API='3'), **more)

    def destroy(self):
        self.end()
        shutil.rmtree(self.folder, ignore_errors=True)


class Members:
    """A store of three members, one beside each node, with an authority of its own, whose certificates nodes have in store-tls."""
    def __init__(self, nodes):
        self.nodes, self.processes = nodes, {}
        self.folder = tempfile.mkdtemp(prefix='drover-etcd-')
        names = ','.join('IP:' + n.address for n in nodes)
        script = ('new="openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes" && '
                  '$new -x509 -keyout ca-key.pem -out ca-cert.pem -days 30 -subj /CN=store && '
                  '$new -keyout client-key.pem -out request -subj /CN=member && echo "subjectAltName = $1" >names && '
                  'openssl x509 -req -in request -CA ca-cert.pem -CAkey ca-key.pem -CAcreateserial -days 30 -extfile names '
                  '-out client-cert.pem')
        subprocess.run(['sh', '-ec', script, 'sh', names], cwd=self.folder, check=True, stderr=subprocess.DEVNULL)
        for node in nodes:
            tls = os.path.join(node.state, 'store-tls')
            os.makedirs(tls, mode=0o700)
            os.chmod(node.state, 0o700)
            for name in ('ca-cert.pem', 'client-cert.pem', 'client-key.pem'):
                shutil.copy(os.path.join(self.folder, name), tls)

    @property
    def process(self):
        """Whether all run; the name is Etcd's."""
        return len(self.processes) == len(self.nodes)

    def start(self):
        peers = ','.join('%s=https://%s:2380' % (n.name, n.address) for n in self.nodes)
        files = ['%s/%s' % (self.folder, name) for name in ('ca-cert.pem', 'client-cert.pem', 'client-key.pem')]
        for node in self.nodes:
            if node.name in self.processes:
                continue
            urls = ['https://%s:%d' % (node.address, port) for port in (2379, 2380)]
            self.processes[node.name] = subprocess.Popen(
                node.inside(['etcd', '--name', node.name, '--data-dir', os.path.join(self.folder, node.name), '--client-cert-auth',
                             '--peer-client-cert-auth', '--initial-cluster', peers] +
                            ['--%s=%s' % (option, urls[0]) for option in ('listen-client-urls', 'advertise-client-urls')] +
                            ['--%s=%s' % (option, urls[1]) for option in ('listen-peer-urls', 'initial-advertise-peer-urls')] +
                            ['--%s%s=%s' % (side, option, file) for side in ('', 'peer-')
                             for option, file in zip(('trusted-ca-file', 'cert-file', 'key-file'), files)]),
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def ctl(self, node, *words):
        return subprocess.run(node.inside(['etcdctl', '--endpoints=https://%s:2379' % node.address, '--cacert=ca-cert.pem',
                                           '--cert=client-cert.pem', '--key=client-key.pem'] + list(words)), cwd=self.folder,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ, ETCDCTL_API='3'))

    def status(self, node):
        done = self.ctl(node, 'endpoint', 'status', '--write-out=json')
        return json.loads(done.stdout)[0]['Status'] if done.returncode == 0 else None

    def leader(self):
        """The node beside which the member is that leads."""
        def is_leader(node):
            status = self.status(node) if node.name in self.processes else None
            return status and status['leader'] == status['header']['member_id']
        return until('a member leads', lambda: next((n for n in self.nodes if is_leader(n)), None))

    def lead(self, node):
        """Has that one's member lead."""
        leader = self.leader()
        if leader is not node:
            done = self.ctl(leader, 'move-leader', '%x' % self.status(node)['header']['member_id'])
            assert done.returncode == 0, done.stderr

    def kill(self, node):
        process = self.processes.pop(node.name)
        process.kill()
        process.wait()

    def destroy(self):
        for node in self.nodes:
            if node.name in self.processes:
                self.kill(node)
        shutil.rmtree(self.folder, ignore_errors=True)


class ThreeNodes(unittest.TestCase):
    """Three nodes, an etcd on the first, and a network between them; each has a pool, a kernel and a RAM disk."""
    count = 3
    store = 'etcd:https://192.168.77.1:2379'

    @classmethod
    def setUpClass(cls):
        tag = 'dr%d' % os.getpid()
        cls.hub = Namespace(tag + 'h')
        cls.addClassCleanup(cls.hub.destroy)
        cls.hub.ip('link', 'add', 'hub', 'type', 'bridge')
        cls.hub.ip('link', 'set', 'hub', 'up')
        cls.spaces, cls.nodes = [], []
        for i in range(1, cls.count + 1):
            cls.add_node(tag, i)
        first = cls.nodes[0]
        cls.begin_store(first)
        cls.addClassCleanup(cls.etcd.destroy)
        cls.etcd.start()
        first.start()
        for node in cls.nodes[1:]:
            invitation = cls.invitation = first.cli('cluster', 'invite')
            assert invitation.returncode == 0, invitation.stderr
            done = node.join(invitation.stdout)
            assert done.returncode == 0, done.stderr
            node.start()
        cls.prepare()

    @staticmethod
    def guest_processes(guest, nodes):
        """A guest's processes on these nodes, by its id: pairs of node and process."""
        found = []
        for node in nodes:
            for pid in node.pids():
                try:
                    with open('/proc/%d/cgroup' % pid) as f:
                        group = f.read()
                    with open('/proc/%d/comm' % pid) as f:
                        comm = f.read().strip()
                except OSError:
                    continue
                if guest in group and comm == 'drover-guest':
                    found.append((node, pid))
        return found

    @classmethod
    def begin_store(cls, first):
        first.init()
        cls.etcd = Etcd(first)

    @classmethod
    def add_node(cls, tag, i):
        space = Namespace('%sn%d' % (tag, i))
        cls.addClassCleanup(space.destroy)
        address = '192.168.77.%d' % i
        cls.hub.ip('link', 'add', 'p%d' % i, 'type', 'veth', 'peer', 'name', 'up0', 'netns', space.name)
        cls.hub.ip('link', 'set', 'p%d' % i, 'master', 'hub', 'up')
        space.ip('address', 'add', address + '/24', 'dev', 'up0')
        space.ip('link', 'set', 'up0', 'up')
        node = Node('n%d-%d' % (i, os.getpid()), address, space.name, cls.store, 'tcp:%s:7480' % address)
        cls.addClassCleanup(node.destroy)
        cls.spaces.append(space)
        cls.nodes.append(node)

    @classmethod
    def prepare(cls):
        kernel, ramdisk = seeded_guest_files(cls.nodes[0].folder, ['/usr/bin/iperf3'])
        sums = [sha256(kernel), sha256(ramdisk)]  # so that each node's are known to be the same
        for i, node in enumerate(cls.nodes, 1):
            node.do('pool', 'create', 'p%d' % i, '--node', node.name, '--path', node.pool)
            node.do('image', 'import', 'kernel%d' % i, '--pool', 'p%d' % i, '--source', kernel, '--sha256', sums[0],
                    '--wait')
            node.do('image', 'import', 'ramdisk%d' % i, '--pool', 'p%d' % i, '--source', ramdisk, '--sha256', sums[1],
                    '--wait')
        cls.nodes[0].do('network', 'create', 'net', '--subnet', '10.7.0.0/24', '--nat')
