#!/usr/bin/python3
"""The collection drover.cluster, from bare machines to a cluster that is upgraded, grown, shrunk, backed up and restored under a
guest that runs.

    n1, n2, n3, later n4 --- bridge of the test      each a set of namespaces with a root of its own (hosts.py)

Packages are those of node/debian/build.sh; the network of the outside is not there. DROVER_ANSIBLE_KEEP=1: what Ansible said is
left in /tmp/drover-ansible-*."""
import atexit
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, '..', '..')
sys.path.insert(0, HERE)
import hosts  # noqa: E402
from cluster import BUILD, Node, seeded_guest_files, sha256, until  # noqa: E402

CONFIG = '''[defaults]
inventory = inventory.json
collections_path = collections
connection_plugins = %s
local_tmp = tmp
retry_files_enabled = false
pipelining = true
gathering = smart
gather_subset = !all,min
inject_facts_as_vars = false
internal_poll_interval = 0.02
'''


class Deployed(Node):
    """A node that Ansible has made: the API's socket and the logs of a host."""
    def __init__(self, host):
        self.host, self.name, self.address, self.process = host, host.name, host.address, None
        self.run = host.path('/run/drover')
        self.log = host.path('/var/log/units/droverd.log')


class Ansible(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix='drover-ansible-')
        if not os.environ.get('DROVER_ANSIBLE_KEEP'):
            atexit.register(shutil.rmtree, cls.folder, True)
        cls.packages, cls.newer = [os.path.join(cls.folder, name) for name in ('packages', 'newer')]
        subprocess.run(['sh', os.path.join(ROOT, 'node', 'debian', 'build.sh'), '--built', BUILD, cls.packages], check=True,
                       stdout=subprocess.DEVNULL)
        cls.make_newer()
        cls.hub = hosts.hub()
        atexit.register(cls.hub.destroy)
        cls.hosts = []
        for i in range(1, 5):
            host = hosts.Host('n%d-%d' % (i, os.getpid()), '192.168.76.%d' % i)
            atexit.register(host.destroy)
            host.connect(cls.hub, i)
            cls.hosts.append(host)
        collections = os.path.join(cls.folder, 'collections', 'ansible_collections', 'drover')
        os.makedirs(collections)
        os.symlink(os.path.abspath(os.path.join(ROOT, 'ansible')), os.path.join(collections, 'cluster'))
        with open(os.path.join(cls.folder, 'ansible.cfg'), 'w') as f:
            f.write(CONFIG % os.path.join(HERE, 'connection'))

    @classmethod
    def make_newer(cls):
        """The same packages with a version that is higher."""
        os.mkdir(cls.newer)
        for name in os.listdir(cls.packages):
            if not re.match(r'drover-(nbd|guest|balancer|cli|agent)_.*\.deb$', name):
                continue
            tree = os.path.join(cls.folder, 'tree')
            subprocess.run(['dpkg-deb', '-R', os.path.join(cls.packages, name), tree], check=True)
            with open(os.path.join(tree, 'DEBIAN', 'control'), 'r+') as f:
                text = f.read()
                version = re.search(r'^Version: (.*)$', text, re.M).group(1)
                f.seek(0)
                f.write(text.replace(version, version + '+next'))
            subprocess.run(['dpkg-deb', '-Zgzip', '-z1', '--root-owner-group', '-b', tree, cls.newer], check=True,
                           stdout=subprocess.DEVNULL)
            shutil.rmtree(tree)

    def inventory(self, nodes, packages):
        variables = {
            'ansible_connection': 'namespace', 'ansible_python_interpreter': '/usr/bin/python3', 'drover_cluster': 'lab',
            'node_packages': packages, 'common_require_time': False,  # whoever runs tests may have no time service
            'network_networks': [{'name': 'net', 'subnet': '10.7.0.0/24', 'nat': True}],
            'balancer_mode': 'advise', 'balancer_policy': {'limits': {'lose': 1}}, 'monitoring_interval': '1s'}
        each = {h.name: {'ansible_host': str(h.pid), 'drover_address': h.address, 'node_labels': {'rack': 'r%d' % i},
                         'storage_pools': [{'name': 'p%d' % i, 'path': '/var/lib/drover/pool'}]}
                for i, h in enumerate(self.hosts[:nodes], 1)}
        each[self.hosts[0].name]['node_power'] = {'program': ['/bin/echo', 'on']}
        each[self.hosts[1].name]['node_power'] = {'redfish': 'https://192.0.2.1/redfish/v1/Systems/1', 'user': 'reader',
                                                  'password': 'of-the-controller'}
        three = {h.name: {} for h in self.hosts[:3]}
        groups = {'drover_nodes': {'hosts': {name: {} for name in each}}, 'drover_store': {'hosts': three},
                  'drover_monitoring': {'hosts': {self.hosts[0].name: {}}}}
        with open(os.path.join(self.folder, 'inventory.json'), 'w') as f:
            json.dump({'all': {'vars': variables, 'hosts': each, 'children': groups}}, f)

    def play(self, book, *words, fails=False):
        """What a playbook changed, by host."""
        began = time.monotonic()
        done = subprocess.run(['ansible-playbook', 'drover.cluster.' + book] + list(words), cwd=self.folder, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True,
                              env=dict(os.environ, ANSIBLE_CONFIG=os.path.join(self.folder, 'ansible.cfg'), ANSIBLE_NOCOLOR='1'))
        with open(os.path.join(self.folder, 'log'), 'a') as f:
            f.write(done.stdout)
        print('%s %s: %.0f s' % (book, ' '.join(words), time.monotonic() - began), file=sys.stderr)
        if fails:
            self.assertNotEqual(done.returncode, 0, done.stdout[-4000:])
        else:
            self.assertEqual(done.returncode, 0, done.stdout[-6000:])
        self.said = done.stdout
        return {m.group(1): int(m.group(2)) for m in re.finditer(r'^(\S+) +: ok=\d+ +changed=(\d+)', done.stdout, re.M)}

    def changes_nothing(self, *words):
        changed = self.play('site', *words)
        self.assertEqual(set(changed.values()), {0}, self.said)

    # ---- what is looked at in between ----

    def make_guest(self):
        """On n1, protected, with a disk on all three."""
        files = tempfile.mkdtemp(prefix='drover-guest-')
        self.addCleanup(shutil.rmtree, files, True)
        kernel, ramdisk = seeded_guest_files(files)
        for i, node in enumerate(self.nodes[:3], 1):
            for what, path in (('kernel', kernel), ('ramdisk', ramdisk)):
                shutil.copyfile(path, node.host.path('/srv/' + what))
                node.do('image', 'import', '%s%d' % (what, i), '--pool', 'p%d' % i, '--source', '/srv/' + what, '--sha256',
                        sha256(path), '--wait')
        self.nodes[0].do('volume', 'create', 'safe', '--size', '32M', '--layout', 'replica:3', '--wait')
        self.nodes[0].do('guest', 'create', 'web', '--memory', '192M', '--disk', 'safe', '--network', 'net', '--ha', '--node',
                         self.nodes[0].name, '--kernel', 'kernel1', '--initrd', 'ramdisk1', '--cmdline', 'console=ttyS0 quiet panic=-1',
                         '--start', '--wait')

    def boot(self):
        """Which boot of the guest this is."""
        text = self.nodes[0].console('web', 'cat /proc/sys/kernel/random/boot_id')
        return re.search(r'[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}', text).group(0)

    def is_whole(self):
        return (self.nodes[0].do('guest', 'show', 'web')['state'].get('phase') == 'running' and
                self.nodes[0].do('volume', 'show', 'safe')['state'].get('health') == 'good')

    def etcd(self, host, *words):
        return host.run('/usr/local/sbin/drover-store-ctl', *words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE, universal_newlines=True)

    def test_whole_life(self):
        self.inventory(3, self.packages)
        self.nodes = [Deployed(h) for h in self.hosts]
        n1, first = self.nodes[0], self.hosts[0]
        self.play('site', '--check')
        self.assertFalse(os.path.exists(first.path('/etc/drover-store')), 'check mode changes something')
        self.play('site')
        self.built(n1, first)
        self.make_guest()
        address = n1.do('guest', 'show', 'web')['spec']['networks'][0]['address']
        until('the guest answers', lambda: first.run('ping', '-c1', '-W1', address, stdout=subprocess.DEVNULL).returncode == 0)
        until('the volume is whole', self.is_whole)
        boot = self.boot()
        self.changes_nothing()
        self.changes_nothing('--check')
        self.no_secret()

        self.inventory(4, self.packages)
        self.play('add_node', '-e', 'node=' + self.hosts[3].name)
        self.assertEqual(sum(n['state'].get('alive', False) for n in n1.do('node', 'list')), 4)

        self.inventory(4, self.newer)
        self.play('rolling_upgrade')
        for host in self.hosts:
            self.assertIn('+next', host.text('dpkg-query', '--show', 'drover-agent'))
        self.assertFalse([n['name'] for n in n1.do('node', 'list') if n['spec']['drained']])
        self.assertGreaterEqual(len(n1.do('migration', 'list')), 2)
        self.assertEqual(self.boot(), boot, 'the guest was restarted')

        self.node_leaves(n1, first)
        self.store_goes_back(n1, first, boot)
        self.assertEqual(os.stat('/dev/null').st_mode & 0o777, 0o666)  # which hosts share with us, and units are masked with

    def built(self, n1, first):
        self.assertEqual([n['state']['alive'] for n in n1.do('node', 'list')], [True] * 3)
        self.assertEqual(len(self.etcd(first, 'member', 'list').stdout.splitlines()), 3)
        self.assertEqual(n1.do('node', 'show', self.nodes[1].name)['spec']['labels'], {'rack': 'r2'})
        self.assertEqual(n1.do('balance', 'status')['mode'], 'advise')
        two = self.nodes[1].do('ha', 'status')['power']
        self.assertEqual([(p['node'], p['by']) for p in two], [(self.hosts[0].name, 'program')])
        kept = os.stat(first.path('/etc/drover/power/' + self.hosts[1].name))
        self.assertEqual((kept.st_mode & 0o777, kept.st_uid), (0o600, 0))
        self.assertEqual(first.text('drover-power', self.hosts[0].name).strip(), 'on')
        asked = 'http://localhost:9090/api/v1/query?query=drover_store_reachable'

        def scraped():
            done = first.run('curl', '--silent', '--get', asked, stdout=subprocess.PIPE)
            return done.stdout and len(json.loads(done.stdout)['data']['result']) == 3
        until('Prometheus has asked all nodes', scraped)
        rules = json.loads(first.text('curl', '--silent', 'http://localhost:9090/api/v1/rules'))['data']['groups'][0]['rules']
        self.assertGreater(len(rules), 10)
        self.assertEqual({r['health'] for r in rules} - {'unknown'}, {'ok'} if any(r['health'] != 'unknown' for r in rules) else set())
        with open(os.path.join(ROOT, 'ansible', 'roles', 'monitoring', 'files', 'drover-dashboard.json')) as f:
            drawn = set(re.findall(r'drover_[a-z_]+', f.read()))
        with open(os.path.join(ROOT, 'ansible', 'roles', 'monitoring', 'templates', 'rules.yml.j2')) as f:
            judged = set(re.findall(r'drover_[a-z_]+', f.read()))
        done = n1.host.run('curl', '--silent', '--unix-socket', '/run/drover/api.sock', 'http://localhost/metrics', stdout=subprocess.PIPE,
                           universal_newlines=True)
        known = set(re.findall(r'^# TYPE (drover_\w+)', done.stdout, re.M)) | BALANCER_METRICS
        self.assertEqual((drawn | judged) - known, set(), 'no node has these')

    def no_secret(self):
        """Nothing that opens a door is in what Ansible printed."""
        with open(os.path.join(self.folder, 'log')) as f:
            said = f.read()
        with open(self.hosts[0].path('/etc/prometheus/drover/token')) as f:
            token = f.read().strip()
        self.assertGreater(len(token), 20)
        self.assertNotIn(token, said)
        self.assertNotIn('PRIVATE KEY', said)
        self.assertNotIn('of-the-controller', said)
        self.assertNotIn('drover_', re.sub(r'drover_(nodes|store|monitoring|address|cluster)', '', said))
        for host in self.hosts[:3]:
            for path in ('/var/lib/drover/store-tls/client-key.pem', '/etc/drover-store/tls/server-key.pem'):
                self.assertEqual(os.stat(host.path(path)).st_mode & 0o777, 0o600)

    def node_leaves(self, n1, first):
        gone = self.hosts[3]
        keep = gone.path('/root/kept')
        shutil.copytree(gone.path('/var/lib/drover'), keep)
        self.play('remove_node', '-e', 'node=' + self.hosts[1].name, fails=True)  # a member of the store, with images
        self.assertFalse(n1.do('node', 'show', self.hosts[1].name)['spec']['drained'])
        self.play('remove_node', '-e', 'node=' + gone.name)
        self.assertEqual(len(n1.do('node', 'list')), 3)
        self.assertNotIn('p4', [p['name'] for p in n1.do('pool', 'list')])

        # what it has kept opens nothing
        tls = ['--silent', '--cacert', '/root/kept/tls/ca-cert.pem', '--cert', '/root/kept/tls/client-cert.pem', '--key',
               '/root/kept/tls/client-key.pem']
        until('its key is refused', lambda: gone.run('curl', *tls, 'https://%s:7480/v1/nodes' % first.address,
                                                     stdout=subprocess.PIPE).returncode == 56)  # an alert, not an answer
        done = gone.run('curl', *[w.replace('/tls/', '/store-tls/') for w in tls], 'https://%s:2379/version' % first.address,
                        stdout=subprocess.PIPE)
        self.assertNotEqual(done.returncode, 0, done.stdout)

        # nor does it come back by itself
        for name in os.listdir(keep):
            if not os.path.exists(gone.path('/var/lib/drover/' + name)):
                shutil.move(os.path.join(keep, name), gone.path('/var/lib/drover/' + name))
        gone.run('systemctl', 'start', '--no-block', 'droverd')
        until('it is refused by the store', lambda: 'the store cannot be read' in self.nodes[3].log_text().split('ended by signal')[-1])
        self.assertEqual(len(n1.do('node', 'list')), 3)
        gone.run('systemctl', 'stop', 'droverd')
        self.inventory(3, self.newer)

    def store_goes_back(self, n1, first, boot):
        self.play('store_backup', '-e', 'backup_folder=' + os.path.join(self.folder, 'backups'))
        backups = os.listdir(os.path.join(self.folder, 'backups'))
        self.assertEqual(len(backups), 1)
        snapshot = os.path.join(self.folder, 'backups', backups[0])
        self.assertEqual(os.stat(snapshot).st_mode & 0o777, 0o600)
        epoch = n1.do('volume', 'show', 'safe')['state']['epoch']
        n1.do('network', 'create', 'later', '--subnet', '10.8.0.0/24')
        self.play('store_restore', '-e', 'snapshot=' + snapshot, fails=True)  # nobody said that it is meant
        self.play('store_restore', '-e', 'snapshot=' + snapshot, '-e', 'confirm=yes')
        self.assertNotIn('later', [n['name'] for n in n1.do('network', 'list')])
        until('the volume is whole', self.is_whole)
        self.assertEqual(self.boot(), boot, 'the guest was where the store knows it, and has run on')
        n1.do('guest', 'stop', 'web', '--force', '--wait')
        n1.do('guest', 'start', 'web', '--wait')
        until('the volume is whole', self.is_whole)
        self.assertGreater(n1.do('volume', 'show', 'safe')['state']['epoch'], epoch + 1000)


# Only the node whose balancer is elected has these.
BALANCER_METRICS = {'drover_balance_score', 'drover_balance_spread', 'drover_balance_nodes_to_lose', 'drover_balance_moves_last_hour'}


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was begun is ended
    unittest.main()
