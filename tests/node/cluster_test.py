#!/usr/bin/python3
"""Three nodes, an etcd and the network between them: what a cluster is for.

    n1, n2, n3 --- bridge of the test       each a network namespace with a droverd of its own; n1 has the etcd"""
import json
import os
import shutil
import signal
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from cluster import DROVER, Node, ThreeNodes, until  # noqa: E402


class Cluster(ThreeNodes):
    def guest(self, name, on, pool):
        """A guest on one node, whose disk is in the pool of another."""
        i = self.nodes.index(on) + 1
        self.nodes[0].do('volume', 'create', name, '--size', '32M', '--pool', pool, '--wait')
        guest = self.nodes[0].do('guest', 'create', name, '--memory', '192M', '--disk', name, '--network', 'net', '--node',
                                 on.name, '--kernel', 'kernel%d' % i, '--initrd', 'ramdisk%d' % i, '--cmdline',
                                 'console=ttyS0 quiet panic=-1', '--start', '--wait')
        self.addCleanup(self.remove, name)
        return guest['spec']['networks'][0]['address']

    def remove(self, name):
        self.nodes[0].cli('guest', 'stop', name, '--force', '--wait')
        self.nodes[0].cli('guest', 'delete', name, '--wait')
        self.nodes[0].cli('volume', 'delete', name, '--wait')

    def test_three_nodes(self):
        n1, n2, n3 = self.nodes
        listed = {n['name']: n for n in n3.do('node', 'list')}
        self.assertEqual(sorted(listed), sorted(n.name for n in self.nodes))
        until('all are alive', lambda: all(n['state'].get('alive') for n in n3.do('node', 'list')))

        # a guest on node 1 whose disk is on node 2, one on node 3 whose disk is on node 1
        a = self.guest('one', n1, 'p2')
        b = self.guest('three', n3, 'p1')
        until('the first answers its node', lambda: self.spaces[0].pings(a))
        until('the second answers its node', lambda: self.spaces[2].pings(b))
        self.assertIn('nbds://', n1.do('volume', 'show', 'one')['state']['uri'])
        text = n1.console('one', 'dd if=/dev/urandom of=/tmp/r bs=64k count=16 2>/dev/null; md5sum </tmp/r',
                            'dd if=/tmp/r of=/dev/vda bs=64k conv=fsync 2>/dev/null; echo 3 >/proc/sys/vm/drop_caches',
                            'dd if=/dev/vda bs=64k count=16 2>/dev/null | md5sum', 'ping -c 3 -W 5 %s' % b)
        sums = [line.split()[0] for line in text.splitlines() if line.endswith('  -')]
        self.assertEqual(len(sums), 2, text)
        self.assertEqual(sums[0], sums[1])
        self.assertIn(' 0% packet loss', text)
        self.the_bytes_are_there('one', sums[0])

        # a stream from guest to guest: out of one machine, through VXLAN, into the other
        n3.console('three', 'iperf3 -s -D -1')
        text = n1.console('one', 'iperf3 -c %s -n 4M' % b)
        self.assertRegex(text, r'4\.00 MBytes .* sender')
        self.assertRegex(text, r'MBytes .* receiver')

        self.store_away(a)
        self.agent_of_the_disk_away('one', sums[0])

    def test_server_killed(self):
        """The program that serves a guest's disk is killed: another one takes its place at the same address, and the
        guest, which has waited, goes on."""
        n1, n2, _ = self.nodes
        address = self.guest('waits', n1, 'p2')
        until('it answers', lambda: self.spaces[0].pings(address))
        volume = n1.do('volume', 'show', 'waits')
        for _ in range(2):
            pid = [p for p in n2.pids() if self.serves(p, volume['id'])]
            self.assertEqual(len(pid), 1)
            os.kill(pid[0], signal.SIGKILL)
            text = n1.console('waits', 'dd if=/dev/urandom of=/dev/vda bs=64k count=16 conv=fsync 2>&1; echo wrote $?')
            self.assertIn('wrote 0', text)
            self.assertEqual(n1.do('volume', 'show', 'waits')['state']['uri'], volume['state']['uri'])

    @staticmethod
    def serves(pid, volume):
        with open('/proc/%d/cmdline' % pid, 'rb') as f:
            return ('%s=' % volume).encode() in f.read()

    def test_server_that_nobody_wants(self):
        """A volume's server ends with its last guest elsewhere, also if no agent was there to see it."""
        n1, n2, _ = self.nodes
        self.guest('brief', n1, 'p2')
        volume = n1.do('volume', 'show', 'brief')
        socket = os.path.join(n2.run, 'exports', volume['id'] + '.nbd')
        self.assertTrue(os.path.exists(socket))
        n2.end(signal.SIGKILL)
        self.assertEqual(n1.cli('guest', 'delete', 'brief', '--wait').returncode, 0)
        self.assertTrue(os.path.exists(socket))
        n2.start()
        until('the server ends', lambda: not os.path.exists(socket))
        until('its address is taken back', lambda: n1.do('volume', 'show', 'brief')['state']['uri'] == '')

    def shown(self, node):
        """The serial number of the certificate that the node's API shows to another node."""
        words = 'openssl s_client -connect %s:7480 </dev/null 2>/dev/null | openssl x509 -noout -serial' % node.address
        return self.spaces[2].run('sh', '-c', words, stdout=subprocess.PIPE, universal_newlines=True).stdout.strip()

    def renew(self, node, by):
        before = self.shown(node)
        self.assertTrue(before.startswith('serial='), before)
        by.do('node', 'renew', node.name)
        until('%s has a new certificate' % node.name, lambda: 'renew' not in by.do('node', 'show', node.name)['spec'])
        self.assertNotEqual(self.shown(node), before)
        return before

    def test_certificates_are_renewed(self):
        """A node is given a new certificate while everything runs: its API and the servers of its disks show it, a guest
        that is elsewhere goes on writing there, and the agent starts with it."""
        n1, n2, n3 = self.nodes
        address = self.guest('lasts', n1, 'p2')
        until('it answers', lambda: self.spaces[0].pings(address))
        volume = n1.do('volume', 'show', 'lasts')
        old = [p for p in n2.pids() if self.serves(p, volume['id'])]
        for node in (n2, n1):  # n1 has the authority's key, and gives itself one
            self.renew(node, n3)
        text = n1.console('lasts', 'dd if=/dev/urandom of=/dev/vda bs=64k count=16 conv=fsync 2>&1; echo wrote $?')
        self.assertIn('wrote 0', text)
        new = [p for p in n2.pids() if self.serves(p, volume['id'])]
        self.assertEqual((len(old), len(new)), (1, 1))
        self.assertNotEqual(old, new)
        self.assertEqual(n1.do('volume', 'show', 'lasts')['state']['uri'], volume['state']['uri'])
        serial = self.shown(n2)
        n2.restart()
        self.assertEqual(self.shown(n2), serial)

        # the node with the key is away: the wish stays, and is fulfilled when it is back
        n1.end()
        n3.do('node', 'renew', n2.name)
        until('it says why not', lambda: 'the authority\'s key is not there' in n2.log_text())
        self.assertEqual(self.shown(n2), serial)
        n1.start()
        until('it is given one', lambda: 'renew' not in n3.do('node', 'show', n2.name)['spec'], 120)
        self.assertNotEqual(self.shown(n2), serial)

    def test_certificate_is_the_nodes_own(self):
        """Nobody but a node is given a certificate, and none but its own."""
        n1, n2, _ = self.nodes
        key, request = os.path.join(n2.folder, 'k.pem'), os.path.join(n2.folder, 'r.pem')
        subprocess.run(['openssl', 'req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout',
                        key, '-out', request, '-subj', '/CN=' + n1.name], check=True, stderr=subprocess.DEVNULL)
        with open(request) as f:
            body = json.dumps({'request': f.read()})
        url = 'https://%s:7480/v1/cluster/certificate' % n1.address
        tls = os.path.join(n2.state, 'tls')
        by_node = ['--cert', os.path.join(tls, 'client-cert.pem'), '--key', os.path.join(tls, 'client-key.pem')]
        admin = n1.do('token', 'create', 'admin', '--role', 'admin')['token']

        def ask(*words, text=body):
            done = self.spaces[1].run('curl', '-s', '--cacert', os.path.join(tls, 'ca-cert.pem'), '-H',
                                      'Content-Type: application/json', '-d', text, *words, url, stdout=subprocess.PIPE)
            return json.loads(done.stdout)

        self.assertEqual(ask()['code'], 'credential-missing')
        self.assertEqual(ask('-H', 'Authorization: Bearer ' + admin)['code'], 'not-a-node')
        self.assertEqual(ask(*by_node, text=json.dumps({'request': 'me, too'}))['code'], 'not-signed')
        made = subprocess.run(['openssl', 'x509', '-noout', '-subject', '-ext', 'subjectAltName'], stdout=subprocess.PIPE,
                              input=ask(*by_node)['certificate'], universal_newlines=True).stdout
        self.assertIn(n2.name, made)  # whoever the request is for
        self.assertNotIn(n1.name, made)

    def test_invitation_is_for_one_node(self):
        late = Node('late', '192.168.77.2', self.spaces[1].name)
        self.addCleanup(late.destroy)
        done = late.join(self.invitation.stdout)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn('does not take this node', done.stderr)
        self.assertNotIn('late', [n['name'] for n in self.nodes[0].do('node', 'list')])

    def test_tokens(self):
        """From another machine, with a token: each role what it may, nobody more."""
        n1, n2, _ = self.nodes

        def ask(token, *words):
            path = os.path.join(n2.folder, 'token')
            with open(path, 'w') as f:
                f.write(token + '\n')
            return subprocess.run(n2.inside([DROVER, *words, '--api', 'https://192.168.77.1:7480', '--ca',
                                             os.path.join(n2.state, 'tls', 'ca-cert.pem'), '--token-file', path]),
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)

        viewer = n1.do('token', 'create', 'viewer', '--role', 'viewer')['token']
        operator = n1.do('token', 'create', 'operator', '--role', 'operator')['token']
        self.assertIn(n1.name, ask(viewer, 'node', 'list').stdout)
        refused = ask(viewer, 'volume', 'create', 'v', '--size', '1M', '--pool', 'p1')
        self.assertEqual((refused.returncode, 'operator' in refused.stderr), (1, True), refused.stderr)
        self.assertEqual(ask(operator, 'volume', 'create', 'v', '--size', '1M', '--pool', 'p1', '--wait').returncode, 0)
        self.assertEqual(ask(operator, 'volume', 'delete', 'v', '--wait').returncode, 0)
        refused = ask(operator, 'image', 'import', 'shadow', '--pool', 'p1', '--source', '/etc/shadow')
        self.assertEqual((refused.returncode, 'admin' in refused.stderr), (1, True), refused.stderr)
        self.assertNotEqual(ask(viewer[:-1] + 'x', 'node', 'list').returncode, 0)
        self.assertEqual(n1.cli('token', 'revoke', 'viewer').returncode, 0)
        self.assertNotEqual(ask(viewer, 'node', 'list').returncode, 0)

    def the_bytes_are_there(self, volume, wanted):
        path = self.nodes[0].do('volume', 'show', volume)['state']['path']
        done = subprocess.run('dd if=%s bs=64k count=16 2>/dev/null | md5sum' % path, shell=True, stdout=subprocess.PIPE,
                              universal_newlines=True)
        self.assertEqual(done.stdout.split()[0], wanted)

    def store_away(self, address):
        """Without the store guests run on, reads are answered, changes say why not; afterwards all goes on."""
        n1 = self.nodes[0]
        self.etcd.end()
        until('it answers', lambda: self.spaces[0].pings(address))
        self.assertEqual(n1.do('guest', 'show', 'one')['state']['phase'], 'running')
        done = n1.cli('volume', 'create', 'late', '--size', '1M', '--pool', 'p1')
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stderr, 'store')
        self.etcd.start()
        until('changes are possible again',
              lambda: n1.cli('volume', 'create', 'late', '--size', '1M', '--pool', 'p1').returncode == 0 or
              n1.cli('volume', 'show', 'late').returncode == 0)
        until('the volume is made', lambda: n1.do('volume', 'show', 'late')['state'].get('phase') == 'ready')
        self.assertEqual(n1.cli('volume', 'delete', 'late', '--wait').returncode, 0)
        until('all are alive again', lambda: all(n['state'].get('alive') for n in n1.do('node', 'list')))
        until('it answers', lambda: self.spaces[0].pings(address))

    def agent_of_the_disk_away(self, guest, wanted):
        """The agent of the node that has the disk is killed: the server of the disk is not."""
        n1, n2, _ = self.nodes
        n2.end(signal.SIGKILL)
        until('it is missed', lambda: not {n['name']: n for n in n1.do('node', 'list')}[n2.name]['state'].get('alive'))
        text = n1.console(guest, 'echo 3 >/proc/sys/vm/drop_caches; dd if=/dev/vda bs=64k count=16 2>/dev/null | md5sum')
        self.assertIn(wanted, text)
        n2.start()
        until('it is back', lambda: {n['name']: n for n in n1.do('node', 'list')}[n2.name]['state'].get('alive'))
        self.assertEqual(n1.do('volume', 'show', guest)['state']['phase'], 'ready')


class Removed(ThreeNodes):
    """A node leaves for good."""
    count = 2

    @classmethod
    def prepare(cls):
        pass

    def test_removed(self):
        n1, n2 = self.nodes
        n1.do('pool', 'create', 'p2', '--node', n2.name, '--path', n2.pool)

        def refused(why, node=n2.name):
            done = n1.cli('node', 'remove', node)
            self.assertEqual(done.returncode, 1)
            self.assertIn(why, done.stderr)
        refused('is there')
        n1.do('node', 'drain', n2.name)
        refused('is there')  # drained or not: its agent runs
        n2.end()
        until('its lease ends', lambda: not n1.do('node', 'show', n2.name)['state'].get('alive'))
        refused('has pool p2')
        n1.do('pool', 'delete', 'p2')
        self.assertEqual(n1.cli('node', 'remove', n2.name, '--dry-run').returncode, 0)
        self.assertEqual(len(n1.do('node', 'list')), 2)
        for number, way in enumerate(((n2.name, n1.name), (n2.name, 'gone'), (n1.name, n2.name))):
            record = {'kind': 'migration', 'id': 'm%d' % number, 'name': 'm%d' % number, 'switched': True,
                      'spec': {'guest': 'g', 'guest_id': 'g', 'from': way[0], 'to': way[1], 'began': '2026-01-01T00:00:00Z'}}
            self.etcd.ctl('put', '/drover/state/migration/m%d' % number,
                          json.dumps({'phase': 'done' if number else 'switching', 'reason': ''}))
            self.etcd.ctl('put', '/drover/migration/m%d' % number, json.dumps(record))
        # a task of a guest that is gone, which nobody but its node would end, and an owner of a volume that is
        self.etcd.ctl('put', '/drover/task/t', json.dumps({'kind': 'task', 'id': 't', 'name': 'left', 'spec': {
            'verb': 'start', 'object_kind': 'guest', 'object_id': 'g', 'object': 'g', 'node': n2.name, 'by': 'root'}}))
        self.etcd.ctl('put', '/drover/task/u', json.dumps({'kind': 'task', 'id': 'u', 'name': 'moving', 'spec': {
            'verb': 'migrate', 'object_kind': 'migration', 'object_id': 'm0', 'object': 'm0', 'node': n2.name, 'by': 'root'}}))
        self.etcd.ctl('put', '/drover/owner/o', json.dumps({'kind': 'owner', 'id': 'o', 'name': 'o', 'spec': {
            'epoch': 1, 'node': n2.name, 'guest': 'g'}}))
        until('they are seen', lambda: len(n1.do('migration', 'list')) == 3)
        self.assertEqual(n1.do('task', 'show', 'left')['state'].get('phase', 'running'), 'running')
        self.assertIn('epoch', self.etcd.ctl('get', '/drover/owner/o').stdout)
        n1.do('node', 'remove', n2.name)
        self.assertEqual([n['name'] for n in n1.do('node', 'list')], [n1.name])
        until('what it left of migrations has gone', lambda: [m['name'] for m in n1.do('migration', 'list')] == ['m2'])
        until('its task has ended', lambda: n1.do('task', 'show', 'left')['state'].get('phase') == 'cancelled')
        until('that of the move, too', lambda: n1.do('task', 'show', 'moving')['state'].get('phase') == 'done')
        until('its record of an owner has gone', lambda: not self.etcd.ctl('get', '/drover/owner/o').stdout)
        self.assertEqual(n1.cli('node', 'remove', n2.name).returncode, 4)
        with open(os.path.join(n1.state, 'audit.log')) as f:
            lines = [json.loads(line) for line in f]
        self.assertIn(('DELETE', '/v1/nodes/' + n2.name, 204), [(a['method'], a['path'], a['status']) for a in lines])

        # it does not come back by itself, its key opens nothing, and its name is free
        n2.start()
        until('it says so', lambda: 'it was removed' in n2.log_text())
        self.assertEqual(len(n1.do('node', 'list')), 1)
        n2.end()
        old = n2.state + '-old'
        os.rename(n2.state, old)
        self.addCleanup(shutil.rmtree, old, True)

        def shows(tls):
            done = self.spaces[1].run('curl', '--silent', '--cacert', tls + '/ca-cert.pem', '--cert', tls + '/client-cert.pem', '--key',
                                      tls + '/client-key.pem', 'https://%s:7480/v1/nodes' % n1.address, stdout=subprocess.PIPE)
            return done.returncode, done.stdout
        until('its key is refused', lambda: os.path.exists(os.path.join(n1.state, 'tls', 'refused-keys')))
        until('by the API', lambda: shows(old + '/tls') == (56, b''))  # an alert: the certificate was revoked
        done = n2.join(n1.cli('cluster', 'invite').stdout)
        self.assertEqual(done.returncode, 0, done.stderr)
        n2.start()
        until('it is a member again', lambda: len([n for n in n1.do('node', 'list') if n['state'].get('alive')]) == 2)

        # the old key does not open what the new one of the same name does, here or there
        self.assertEqual(shows(os.path.join(n2.state, 'tls'))[0], 0)
        self.assertEqual(shows(old + '/tls'), (56, b''))
        until('the new node refuses it, too', lambda: os.path.exists(os.path.join(n2.state, 'tls', 'refused-keys')))


if __name__ == '__main__':
    unittest.main(verbosity=2)
