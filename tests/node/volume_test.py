#!/usr/bin/python3
"""Volumes with a layout on four nodes: what is refused; a guest that writes while members and nodes go and come back;
an owner of the past; and that nothing stays behind.

    n1, n2, n3, n4 --- bridge of the test       each a network namespace with a droverd of its own; n1 has the etcd"""
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from cluster import BUILD, ThreeNodes, until  # noqa: E402

IMG = os.path.join(BUILD, 'drover-img')


def stack_of(path):
    return json.dumps([{'driver': 'fence'}, {'driver': 'raw', 'file': path, 'no-lock': True}])


class Volumes(ThreeNodes):
    count = 4

    def setUp(self):
        self.n1, self.n2, self.n3, self.n4 = self.nodes

    def refuses(self, *words):
        done = self.n1.cli(*words)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        return done.stderr

    def volume(self, name, layout, *more):
        self.addCleanup(self.remove, name)
        return self.n1.do('volume', 'create', name, '--size', '32M', '--layout', layout, '--wait', *more)

    def guest(self, name, on, *disks):
        i = self.nodes.index(on) + 1
        words = [w for d in disks or [name] for w in ('--disk', d)]
        self.addCleanup(self.remove_guest, name)
        guest = self.n1.do('guest', 'create', name, '--memory', '192M', '--node', on.name, *words, '--kernel',
                          'kernel%d' % i, '--initrd', 'ramdisk%d' % i, '--network', 'net', '--cmdline',
                          'console=ttyS0 quiet panic=-1', '--start', '--wait')
        self.listens(guest)
        return guest

    def listens(self, guest):
        """Its address answers, so its console does."""
        address = guest['spec']['networks'][0]['address']
        space = self.spaces[self.nodes.index(self.node(guest['spec']['node']))]
        until('it answers', lambda: space.pings(address))

    def remove_guest(self, name):
        self.n1.cli('guest', 'stop', name, '--force', '--wait')
        self.n1.cli('guest', 'delete', name, '--wait')

    def remove(self, name):
        self.remove_guest(name)
        done = self.n1.cli('volume', 'delete', name, '--wait')
        self.assertIn(done.returncode, (0, 4), done.stderr)

    def state(self, name, node=None):
        return (node or self.n1).do('volume', 'show', name)['state']

    def conditions(self, name, node=None):
        return [m['condition'] for m in self.state(name, node)['members']]

    def good(self, name, node=None):
        return until('all of %s is in sync' % name, lambda: self.state(name, node)['health'] == 'good')

    def node(self, name):
        return next(n for n in self.nodes if n.name == name)

    def server_of(self, member):
        """The process that serves a member."""
        wanted = ('%s/%s.nbd' % ('exports', member)).encode()
        for pid in self.node_of(member).pids():
            try:
                with open('/proc/%d/cmdline' % pid, 'rb') as f:
                    words = f.read().split(b'\0')
            except OSError:
                continue
            if words[0].endswith(b'drover-nbd') and any(wanted in w for w in words):
                return pid
        raise AssertionError('nobody serves ' + member)

    def node_of(self, member):
        return next(self.node(m['node']) for v in self.n1.do('volume', 'list') for m in v['state'].get('members', [])
                    if m['id'] == member)

    def write(self, node, guest, disk='vda', blocks=64):
        """Something new at the beginning of a disk; its sum."""
        text = node.console(guest, 'dd if=/dev/urandom of=/tmp/r bs=64k count=%d 2>/dev/null; md5sum </tmp/r' % blocks,
                            'dd if=/tmp/r of=/dev/%s bs=64k conv=fsync 2>&1; echo wrote $?' % disk)
        self.assertRegex(text, r'wrote 0')
        return self.sums(text)[0]

    def read(self, node, guest, disk='vda', blocks=64):
        text = node.console(guest, 'echo 3 >/proc/sys/vm/drop_caches',
                            'dd if=/dev/%s bs=64k count=%d 2>/dev/null | md5sum' % (disk, blocks))
        return self.sums(text)[0]

    def sums(self, text):
        return [line.split()[0] for line in text.splitlines() if line.endswith('  -')]

    def files(self):
        return sorted(f for n in self.nodes for f in os.listdir(n.pool) if f.endswith('.volume'))

    # ---- what is refused ----

    def test_refusals(self):
        def refused(layout, *more):
            return self.refuses('volume', 'create', 'v', '--size', '32M', '--layout', layout, *more)
        for layout in ('raid0:0', 'raid1:1', 'raid10:3', 'raid1:17', 'replica:0', 'raid5:2', 'raid6:3'):
            self.assertIn('members', refused(layout), layout)
        self.assertIn('raid1:1', refused('raid1:1', '--json') + 'raid1:1')
        for layout in ('raid7:3', 'raid1', 'raid1:', 'raid1:x', 'raid1:-2', ':', 'replica:3:3'):
            self.assertIn('is no layout', refused(layout), layout)
        few = refused('raid10:6')
        self.assertIn('6 different nodes', few)
        for i in (1, 2, 3, 4):
            self.assertIn('p%d on n%d' % (i, i), few)
        self.assertIn('needs 2 pools, and 1', refused('raid1:2', '--pools', 'p1'))
        self.assertIn("there is no pool 'q'", refused('raid1:2', '--pools', 'p1', '--pools', 'q'))
        self.assertIn('spec.pools', refused('raid1:2', '--pools', 'p1', '--pools', 'p1'))
        self.assertIn('same node', self.same_node())
        self.assertIn('where no member is', refused('raid1:2', '--pools', 'p1', '--pools', 'p2', '--witness', 'p1'))
        self.assertIn('has no witness', refused('replica:3', '--witness', 'p1'))
        self.assertIn('is in spec.pools', refused('raid1:2', '--pool', 'p1'))
        self.assertIn('goes with a layout', self.refuses('volume', 'create', 'v', '--size', '32M', '--pool', 'p1',
                                                         '--witness', 'p1'))
        self.assertIn('name the pool, or a layout', self.refuses('volume', 'create', 'v', '--size', '32M'))
        for node, rack in ((self.n1, 'a'), (self.n2, 'b'), (self.n3, 'b'), (self.n4, 'b')):
            labels = self.n1.do('node', 'label', node.name, '--label', 'rack=' + rack, '--label', 'owner=lab')['spec']['labels']
            self.assertEqual(labels, {'rack': rack, 'owner': 'lab'})
        self.assertIn('3 different racks', refused('replica:3', '--spread', 'rack'))
        self.assertIn('same rack', refused('raid1:2', '--pools', 'p2', '--pools', 'p3', '--spread', 'rack'))
        would = self.n1.do('volume', 'create', 'v', '--size', '32M', '--layout', 'raid1:2', '--spread', 'rack', '--dry-run')
        self.assertEqual((would['spec']['pools'][0], len(would['spec']['pools'])), ('p1', 2))
        self.assertIn('has no room', self.refuses('volume', 'create', 'v', '--size', '900T', '--layout', 'raid1:2'))
        self.assertEqual(self.n1.do('volume', 'list'), [])

    def same_node(self):
        second = os.path.join(self.n1.folder, 'second')
        os.mkdir(second)
        self.n1.do('pool', 'create', 'second', '--node', self.n1.name, '--path', second)
        self.addCleanup(self.n1.cli, 'pool', 'delete', 'second')
        return self.refuses('volume', 'create', 'v', '--size', '32M', '--layout', 'raid1:2', '--pools', 'p1', '--pools',
                            'second')

    # ---- members that go and come back ----

    def goes_on(self, name, layout, victim, copies=True):
        """A guest on node 1 writes; a member's server is killed, then a member's whole node; all is right again."""
        n1 = self.n1
        volume = self.volume(name, layout)
        self.assertEqual(volume['state']['health'], 'good')
        self.assertIn('is used by', self.refuses('pool', 'delete', 'p1'))
        self.guest(name, n1)
        first = self.write(n1, name)
        self.assertEqual(self.read(n1, name), first)
        self.assertGreater(self.state(name)['epoch'], 0)

        # the server of a member is killed: the guest goes on, and the member comes back
        member = next(m for m in self.state(name)['members'] if m['node'] == victim.name)
        os.kill(self.server_of(member['id']), signal.SIGKILL)
        second = self.write(n1, name)
        self.assertEqual(self.read(n1, name), second)
        self.good(name)

        # its node is gone: the agent, the servers, everything
        self.down(victim)
        third = self.write(n1, name)
        self.assertEqual(self.read(n1, name), third)
        until('the loss is seen', lambda: self.state(name)['members'][member['index']]['condition'] == 'missing')
        self.assertIn('degraded', self.state(name)['health'])
        victim.start()
        until('it is back in sync', lambda: self.conditions(name)[member['index']] == 'in-sync')
        now = self.state(name)['members'][member['index']]
        self.assertGreater(now['resynced_bytes'], 0)
        self.assertLess(now['resynced_bytes'], 32 << 20)  # what changed, not everything
        self.assertEqual(self.read(n1, name), third)

        # every copy is right by itself
        self.assertEqual(n1.cli('guest', 'stop', name, '--force', '--wait').returncode, 0)
        for m in self.state(name)['members']:
            path = os.path.join(self.node(m['node']).pool, m['id'] + '.volume')
            checked = subprocess.run([IMG, 'member', 'check', stack_of(path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                     universal_newlines=True)
            self.assertEqual(checked.returncode, 0, checked.stdout)
            if copies:
                self.assertEqual(self.sum_of_data(path), third)
        self.remove(name)
        self.assertEqual(self.files(), [])

    def test_replica(self):
        self.goes_on('three', 'replica:3', self.n3)

    def test_parity(self):
        self.goes_on('five', 'raid5:3', self.n3, copies=False)

    def test_mirror(self):
        """Of two members and a witness on the third node."""
        self.goes_on('two', 'raid1:2', self.n2)

    def down(self, node):
        """All of a node is gone at once."""
        self.addCleanup(self.up, node)
        node.end(signal.SIGKILL)
        for pid in node.pids():
            os.kill(pid, signal.SIGKILL)
        self.is_alive(node, False)

    def up(self, node):
        if not node.process:
            node.start()

    def is_alive(self, node, wanted=True):
        until('%s is %s' % (node.name, 'there' if wanted else 'missed'), lambda: bool(
            {n['name']: n for n in self.n1.do('node', 'list')}[node.name]['state'].get('alive')) == wanted)

    def test_begins_without_a_member(self):
        """A guest begins while the node of a member is away, which is given to it later."""
        self.volume('later', 'raid1:2', '--pools', 'p2', '--pools', 'p3', '--witness', 'p1')
        self.down(self.n3)
        self.guest('later', self.n1)
        self.assertEqual(self.conditions('later'), ['in-sync', 'missing'])
        wrote = self.write(self.n1, 'later')
        self.n3.start()
        self.good('later')
        self.down(self.n2)  # what came late is all there is now
        self.assertEqual(self.read(self.n1, 'later'), wrote)
        self.n2.start()
        self.good('later')
        # and one of two begins alone only if the witness knows that the other did not go on
        self.assertEqual(self.n1.cli('guest', 'stop', 'later', '--force', '--wait').returncode, 0)
        self.down(self.n2)
        self.assertEqual(self.n1.cli('guest', 'start', 'later', '--wait').returncode, 0)
        self.listens(self.n1.do('guest', 'show', 'later'))
        self.assertEqual(self.read(self.n1, 'later'), wrote)
        self.n2.start()
        self.good('later')

    def test_replace_and_scrub(self):
        self.volume('mend', 'raid1:2', '--pools', 'p2', '--pools', 'p3')
        self.guest('mend', self.n1)
        self.assertIn('belongs to guest mend', self.refuses('guest', 'create', 'two', '--kernel', 'kernel1', '--disk',
                                                            'mend,read-only'))
        wrote = self.write(self.n1, 'mend')
        shown = self.n1.cli('volume', 'show', 'mend').stdout
        self.assertRegex(shown, r'HEALTH +good')
        self.assertRegex(shown, r'MEMBERS +in-sync,in-sync')
        self.assertIn('drover_volume_members{volume="mend",state="in-sync"} 2', self.metrics(self.n1))
        self.assertNotIn('volume="mend"', self.metrics(self.n2)) # only one node speaks for it
        members = self.state('mend')['members']

        # a block rots on one member: found, and put right
        path = os.path.join(self.n2.pool, members[0]['id'] + '.volume')
        offset = self.data_offset(path) + (1 << 20)
        with open(path, 'r+b') as f:
            f.seek(offset)
            f.write(b'rot' * 100)
        self.n1.do('volume', 'scrub', 'mend', '--wait')
        scrub = self.state('mend')['scrub']
        self.assertEqual((scrub['done'], scrub['repaired'], scrub['unreadable']), (1, 1, 0))
        with open(path, 'rb') as f:
            f.seek(offset)
            self.assertNotEqual(f.read(3), b'rot')

        # a member goes to another pool
        pool = os.path.join(self.n3.folder, 'other')
        os.mkdir(pool)
        self.n1.do('pool', 'create', 'other', '--node', self.n3.name, '--path', pool)
        self.addCleanup(self.n1.cli, 'pool', 'delete', 'other')
        self.addCleanup(self.remove, 'mend')
        self.assertIn('where another member or the witness is', self.refuses('volume', 'replace', 'mend', '1', '--pool', 'p2'))
        self.assertIn('members 0 to 1', self.n1.cli('volume', 'replace', 'mend', '2').stderr)
        self.assertEqual(self.n1.do('volume', 'resync', 'mend', '--rate', '20M')['spec']['resync_rate'], 20 << 20)
        self.n1.do('volume', 'replace', 'mend', '1', '--pool', 'other', '--wait')
        now = self.state('mend')['members']
        self.assertEqual([m['pool'] for m in now], ['p2', 'other'])
        self.assertNotEqual(now[1]['id'], members[1]['id'])
        self.assertEqual(self.state('mend')['health'], 'good')
        until('the old one is gone', lambda: members[1]['id'] + '.volume' not in self.files())
        self.down(self.n2)
        self.assertEqual(self.read(self.n1, 'mend'), wrote)
        until('the loss is seen', lambda: self.conditions('mend')[0] == 'missing')
        self.assertIn('must be in sync', self.refuses('volume', 'replace', 'mend', '1'))
        self.n2.start()
        self.good('mend')

    def test_idle(self):
        """A volume that a guest has, but neither reads nor writes, misses a member whose server is gone, and its node."""
        self.volume('quiet', 'raid1:2', '--pools', 'p2', '--pools', 'p3', '--witness', 'p4')
        self.guest('quiet', self.n1)
        wrote = self.write(self.n1, 'quiet')
        self.good('quiet')
        self.down(self.n3)
        until('the loss is seen', lambda: self.conditions('quiet') == ['in-sync', 'missing'])
        self.assertIn('degraded', self.state('quiet')['health'])
        self.n3.start()
        self.good('quiet')
        self.assertEqual(self.read(self.n1, 'quiet'), wrote)

    def test_grows(self):
        """Encrypted copies and stripes become larger under a guest, one of them while a node is away."""
        self.assertIn('not less than the size', self.refuses('volume', 'create', 'v', '--size', '32M', '--layout', 'raid1:2',
                                                              '--room', '16M'))
        self.assertIn('goes with a layout', self.refuses('volume', 'create', 'v', '--size', '32M', '--pool', 'p1',
                                                         '--room', '64M'))
        pools = [w for p in ('p1', 'p2', 'p3') for w in ('--pools', p)]
        self.volume('copies', 'replica:3', '--encrypt', '--room', '96M', *pools)
        self.volume('rows', 'raid5:3', *pools)
        self.assertEqual(self.n1.do('volume', 'show', 'rows')['spec']['room'], 256 << 20)
        self.guest('wide', self.n1, 'copies', 'rows')
        wrote = [self.write(self.n1, 'wide', d) for d in ('vda', 'vdb')]
        self.assertIn('only grows', self.refuses('volume', 'resize', 'copies', '--size', '16M'))
        self.assertIn('room for', self.refuses('volume', 'resize', 'copies', '--size', '97M'))
        self.assertIn('multiple of 4096', self.refuses('volume', 'resize', 'copies', '--size', '50000001'))
        self.n1.do('volume', 'resize', 'rows', '--size', '100M', '--wait')
        self.down(self.n3)
        until('the loss is seen', lambda: 'degraded' in self.state('copies')['health'])
        grown = self.n1.do('volume', 'resize', 'copies', '--size', '96M', '--wait')
        self.assertEqual((grown['spec']['size'], self.state('copies')['bytes']), (96 << 20, 96 << 20))
        self.assertGreaterEqual(self.sizes('wide')[0], 96 << 20)
        self.assertGreaterEqual(self.sizes('wide')[1], 100 << 20)
        new = self.n1.console('wide', 'dd if=/dev/vda bs=1M skip=40 count=8 2>/dev/null | md5sum',
                              'dd if=/dev/vdb bs=1M skip=60 count=8 2>/dev/null | md5sum')
        self.assertEqual(self.sums(new), [hashlib.md5(bytes(8 << 20)).hexdigest()] * 2)
        ends = [self.write_at_end(d, mib) for d, mib in (('vda', 92), ('vdb', 96))]
        self.n3.start()
        self.good('copies')
        self.good('rows')
        self.down(self.n2)  # what was away is needed now
        self.assertEqual([self.read(self.n1, 'wide', d) for d in ('vda', 'vdb')], wrote)
        self.assertEqual([self.read_at_end(d, mib) for d, mib in (('vda', 92), ('vdb', 96))], ends)
        self.n2.start()
        self.good('copies')
        self.assertEqual(self.n1.cli('guest', 'stop', 'wide', '--force', '--wait').returncode, 0)
        self.assertEqual(self.n1.cli('guest', 'start', 'wide', '--wait').returncode, 0)
        self.listens(self.n1.do('guest', 'show', 'wide'))
        self.assertGreaterEqual(self.sizes('wide')[0], 96 << 20)
        self.assertEqual([self.read_at_end(d, mib) for d, mib in (('vda', 92), ('vdb', 96))], ends)

    def test_without_a_guest(self):
        """Scrubbed, made larger, filled, and taken over by a guest in the middle of that."""
        n1 = self.n1
        self.volume('idle', 'raid1:2', '--encrypt', '--pools', 'p2', '--pools', 'p3', '--witness', 'p4')
        self.guest('idle', n1)
        wrote = self.write(n1, 'idle')
        self.assertEqual(n1.cli('guest', 'stop', 'idle', '--force', '--wait').returncode, 0)
        epoch, members = self.state('idle')['epoch'], self.state('idle')['members']

        path = os.path.join(self.n3.pool, members[1]['id'] + '.volume')
        offset = self.data_offset(path) + (16 << 20) + (1 << 20)
        with open(path, 'r+b') as f:
            f.seek(offset)
            f.write(b'rot' * 100)
        n1.do('volume', 'scrub', 'idle', '--wait')
        scrub = self.state('idle')['scrub']
        self.assertEqual((scrub['done'], scrub['repaired'], scrub['unreadable']), (1, 1, 0))
        self.assertGreater(self.state('idle')['epoch'], epoch)

        n1.do('volume', 'resize', 'idle', '--size', '64M', '--wait')
        self.assertEqual(self.state('idle')['bytes'], 64 << 20)
        self.down(self.n3)
        n1.do('volume', 'replace', 'idle', '1', '--pool', 'p1', '--wait')
        self.assertEqual([m['condition'] for m in self.state('idle')['members']], ['in-sync', 'in-sync'])
        self.n3.start()
        until('the old one is gone', lambda: members[1]['id'] + '.volume' not in self.files())

        # a guest is started while it is being filled, slowly
        n1.do('volume', 'resync', 'idle', '--rate', '1M')
        n1.do('volume', 'replace', 'idle', '1', '--pool', 'p3')
        until('it is being filled', lambda: self.conditions('idle')[1] == 'resyncing')
        status = self.status_of_tending()
        self.assertEqual((status['NoNewPrivs'], status['Seccomp']), ('1', '2'))
        self.assertNotIn('0', status['Uid'].split())
        self.assertEqual(n1.cli('guest', 'start', 'idle', '--wait').returncode, 0)
        self.listens(n1.do('guest', 'show', 'idle'))
        self.assertEqual(self.read(n1, 'idle'), wrote)
        n1.do('volume', 'resync', 'idle', '--rate', '1G')
        self.good('idle')
        self.down(self.n2)
        self.assertEqual(self.read(n1, 'idle'), wrote)
        new = n1.console('idle', 'cat /sys/block/vda/size', 'dd if=/dev/vda bs=1M skip=40 count=8 2>/dev/null | md5sum')
        self.assertEqual(self.sums(new), [hashlib.md5(bytes(8 << 20)).hexdigest()])
        self.n2.start()
        self.good('idle')

    def status_of_tending(self):
        """Of the program that looks after a volume without a guest, wherever that is."""
        for pid in (p for n in self.nodes for p in n.pids()):
            try:
                with open('/proc/%d/cmdline' % pid, 'rb') as f:
                    words = f.read().split(b'\0')
                with open('/proc/%d/status' % pid) as f:
                    status = dict((key, value.strip()) for key, _, value in (line.partition(':') for line in f))
            except OSError:
                continue
            if words[1:3] == [b'volume', b'tend']:
                return status
        raise AssertionError('nobody looks after a volume')

    def test_spare(self):
        """A node stays away: its member is made anew elsewhere by itself, in use and not, and nobody asks for it again."""
        self.assertIn('nowhere else', self.refuses('volume', 'create', 'v', '--size', '32M', '--layout', 'raid0:2',
                                                   '--replace-after-s', '5'))
        self.assertIn('goes with a layout', self.refuses('volume', 'create', 'v', '--size', '32M', '--pool', 'p1',
                                                         '--replace-after-s', '5'))
        self.volume('used', 'raid1:2', '--pools', 'p1', '--pools', 'p3', '--replace-after-s', '5')
        self.volume('unused', 'raid1:2', '--pools', 'p2', '--pools', 'p3')
        self.assertEqual(self.n1.do('volume', 'set', 'unused', '--replace-after-s', '5')['spec']['replace_after_s'], 5)
        self.guest('used', self.n1)
        wrote = self.write(self.n1, 'used')
        old = [self.state(v)['members'][1]['id'] for v in ('used', 'unused')]
        self.down(self.n3)
        for name in ('used', 'unused'):
            until('%s has another member' % name, lambda: self.state(name)['members'][1]['pool'] != 'p3' and
                  self.state(name)['health'] == 'good')
        tasks = [t for t in self.n1.do('task', 'list') if t['spec']['verb'] == 'replace' and t['spec']['by'] == 'drover']
        self.assertEqual({t['spec']['object'] for t in tasks}, {'used', 'unused'})
        with open(os.path.join(self.n1.state, 'audit.log')) as f:
            self.assertIn('/v1/volumes/used/members/1/replace', f.read())
        self.assertEqual(self.read(self.n1, 'used'), wrote)
        self.n3.start()
        until('what the node had is deleted', lambda: not {i + '.volume' for i in old} & set(self.files()))

    def test_witness(self):
        """A witness that stays away is replaced by itself, then one by hand; and a vote it is. Since when a member is
        away outlives the agent."""
        self.volume('eye', 'raid1:2', '--pools', 'p2', '--pools', 'p3', '--witness', 'p4', '--replace-after-s', '5')
        self.guest('eye', self.n1)
        wrote = self.write(self.n1, 'eye')
        until('the witness is in sync', lambda: self.state('eye')['witness']['condition'] == 'in-sync')
        old = self.state('eye')['witness']['id']
        self.down(self.n4)
        until('another one is in its place', lambda: (lambda w: w['pool'] == 'p1' and w['condition'] == 'in-sync')(
            self.state('eye')['witness']))
        self.assertEqual(self.conditions('eye'), ['in-sync', 'in-sync'])
        self.n4.start()
        until('the old one is deleted', lambda: old + '.volume' not in self.files())
        self.n1.do('volume', 'replace', 'eye', 'witness', '--pool', 'p4', '--wait')
        self.assertEqual(self.state('eye')['witness']['pool'], 'p4')
        self.assertIn('a witness, and no', self.n1.cli('volume', 'replace', 'eye', 'eyes').stderr)
        self.n1.do('volume', 'set', 'eye', '--replace-after-s', '3600')
        self.down(self.n3)
        until('the loss is seen', lambda: self.conditions('eye') == ['in-sync', 'missing'])
        self.assertIn('must be in sync', self.refuses('volume', 'replace', 'eye', 'witness'))
        away = until('it is said since when', lambda: self.state('eye').get('away'))
        self.assertEqual(away['index'], 1)
        self.assertEqual(self.read(self.n1, 'eye'), wrote)
        self.n1.restart(signal.SIGKILL)
        until('it is adopted', lambda: self.n1.do('guest', 'show', 'eye')['state']['phase'] == 'running')
        self.assertEqual(self.state('eye')['away'], away)
        wrote = self.write(self.n1, 'eye')
        # one of two begins alone: the new witness knows that the other one did not go on
        self.assertEqual(self.n1.cli('guest', 'stop', 'eye', '--force', '--wait').returncode, 0)
        self.assertEqual(self.n1.cli('guest', 'start', 'eye', '--wait').returncode, 0)
        self.listens(self.n1.do('guest', 'show', 'eye'))
        self.assertEqual(self.read(self.n1, 'eye'), wrote)
        self.n3.start()
        self.good('eye')
        self.assertNotIn('away', self.state('eye'))

    def sizes(self, guest):
        text = self.n1.console(guest, 'for d in vda vdb; do echo size $(cat /sys/block/$d/size); done')
        return [512 * int(line.split()[1]) for line in text.splitlines() if re.match('size [0-9]', line)]

    def write_at_end(self, disk, mib):
        text = self.n1.console('wide', 'dd if=/dev/urandom of=/tmp/e bs=64k count=64 2>/dev/null; md5sum </tmp/e',
                               'dd if=/tmp/e of=/dev/%s bs=1M seek=%d conv=fsync 2>&1; echo wrote $?' % (disk, mib))
        self.assertRegex(text, r'wrote 0')
        return self.sums(text)[0]

    def read_at_end(self, disk, mib):
        text = self.n1.console('wide', 'echo 3 >/proc/sys/vm/drop_caches',
                               'dd if=/dev/%s bs=1M skip=%d count=4 2>/dev/null | md5sum' % (disk, mib))
        return self.sums(text)[0]

    def metrics(self, node):
        return subprocess.run(['curl', '-s', '--unix-socket', os.path.join(node.run, 'api.sock'), 'http://localhost/metrics'],
                              stdout=subprocess.PIPE, universal_newlines=True).stdout

    def test_stripes(self):
        """Mirrored and plain stripes on one guest; it is killed, its agent is killed, and one of each pair."""
        self.volume('pairs', 'raid10:4')
        self.assertNotIn('witness', self.n1.do('volume', 'show', 'pairs')['spec'])  # no node is left for it
        self.volume('plain', 'raid0:3')
        self.assertIn('cannot be replaced', self.refuses('volume', 'replace', 'plain', '0'))
        guest = self.guest('pairs', self.n1, 'pairs', 'plain')
        one, two = self.write(self.n1, 'pairs', 'vda'), self.write(self.n1, 'pairs', 'vdb')
        epoch = self.state('pairs')['epoch']

        os.kill(guest['state']['pid'], signal.SIGKILL)
        again = until('it is started again', lambda: (lambda g: g['state']['restarts']['count'] == 1 and g['state']['phase'] == 'running' and g)(
            self.n1.do('guest', 'show', 'pairs')))
        self.listens(again)
        self.assertEqual([self.read(self.n1, 'pairs', d) for d in ('vda', 'vdb')], [one, two])
        self.assertGreater(self.state('pairs')['epoch'], epoch)

        self.n1.restart(signal.SIGKILL)
        until('it is adopted', lambda: self.n1.do('guest', 'show', 'pairs')['state']['phase'] == 'running')
        members = self.state('pairs')['members']
        for i in (1, 2):
            os.kill(self.server_of(members[i]['id']), signal.SIGKILL)
        one = self.write(self.n1, 'pairs', 'vda')
        self.good('pairs')
        self.assertEqual(self.read(self.n1, 'pairs', 'vda'), one)

    def test_from_an_image(self):
        """A volume begins as an image that is on another node."""
        source = os.path.join(self.n1.folder, 'source')
        data = os.urandom(3 << 20) + bytes(1 << 20) + b'end'
        with open(source, 'wb') as f:
            f.write(data)
        self.n1.do('image', 'import', 'small', '--pool', 'p4', '--source', source, '--wait')
        self.addCleanup(self.n1.cli, 'image', 'delete', 'small', '--wait')
        self.volume('copy', 'raid1:2', '--pools', 'p1', '--pools', 'p2', '--image', 'small')
        self.guest('copy', self.n1)
        self.assertEqual(self.read(self.n1, 'copy', blocks=48), hashlib.md5(data[:3 << 20]).hexdigest())
        text = self.n1.console('copy', 'dd if=/dev/vda bs=512 skip=8192 count=1 2>/dev/null | head -c 3; echo')
        self.assertIn('end', text)

    def test_deleted_while_a_node_is_away(self):
        self.volume('brief', 'replica:3', '--pools', 'p2', '--pools', 'p3', '--pools', 'p4')
        last = self.state('brief')['members'][2]['id']
        self.down(self.n4)
        self.assertEqual(self.n1.cli('volume', 'delete', 'brief').returncode, 0)
        until('the others are gone', lambda: self.files() == [last + '.volume'])
        self.assertEqual(self.state('brief')['phase'], 'deleting')
        self.n4.start()
        until('all of it is gone', lambda: not self.files() and self.n1.cli('volume', 'show', 'brief').returncode == 4)

    def data_offset(self, path):
        info = subprocess.run([IMG, 'member', 'info', '--json', stack_of(path)], check=True, stdout=subprocess.PIPE)
        return json.loads(info.stdout)['data_offset'] + (64 << 10)

    def test_encrypted(self):
        """What the guest writes is on no member as it is, and is there again after the guest was started anew."""
        self.volume('secret', 'raid1:2', '--encrypt')
        self.guest('secret', self.n1)
        text = self.n1.console('secret', 'yes plainly-readable-text | dd of=/dev/vda bs=64k count=16 iflag=fullblock conv=fsync '
                               '2>&1; echo wrote $?', 'dd if=/dev/vda bs=64k count=16 2>/dev/null | md5sum')
        self.assertIn('wrote 0', text)
        wrote = self.sums(text)[-1]
        self.assertEqual(self.n1.cli('guest', 'stop', 'secret', '--force', '--wait').returncode, 0)
        for m in self.state('secret')['members']:
            with open(os.path.join(self.node(m['node']).pool, m['id'] + '.volume'), 'rb') as f:
                bytes_of = f.read()
            self.assertIn(b'LUKS', bytes_of)
            self.assertNotIn(b'plainly-readable-text', bytes_of)
        self.assertEqual(self.n1.cli('guest', 'start', 'secret', '--wait').returncode, 0)
        self.listens(self.n1.do('guest', 'show', 'secret'))
        self.assertEqual(self.read(self.n1, 'secret', blocks=16), wrote)
        self.assertRegex(self.n1.do('volume', 'key', 'secret')['passphrase'], '^[0-9a-f]{64}$')

    def test_owner_of_the_past(self):
        """The node of a guest falls silent, its process stops in the middle of writing. The guest is started elsewhere;
        then the old process goes on, and writes nothing that anybody will read."""
        self.volume('past', 'replica:3')
        guest = self.guest('past', self.n2)
        self.assertIn('stop it first', self.refuses('guest', 'set', 'past', '--node', self.n3.name))
        self.n2.console('past', '(while dd if=/dev/urandom of=/dev/vda bs=64k count=64 conv=fsync 2>/dev/null; do :; done) &')
        pid, epoch = guest['state']['pid'], self.state('past')['epoch']
        os.kill(pid, signal.SIGSTOP)
        self.addCleanup(self.kill, pid)
        self.addCleanup(self.up, self.n2)
        self.n2.end(signal.SIGKILL)
        self.is_alive(self.n2, False)
        self.n1.do('guest', 'set', 'past', '--node', self.n3.name, '--kernel', 'kernel3', '--initrd', 'ramdisk3', '--cmdline',
                   'console=ttyS0 quiet panic=-1')
        until('it runs on the other node', lambda: (lambda g: g['state'].get('node') == self.n3.name and
                                                    g['state'].get('phase') == 'running')(self.n1.do('guest', 'show', 'past')))
        self.listens(self.n1.do('guest', 'show', 'past'))
        self.assertGreater(self.state('past')['epoch'], epoch)
        wrote = self.write(self.n3, 'past')
        os.kill(pid, signal.SIGCONT)
        control = 'unix:%s/guests/%s.sock' % (self.n2.run, guest['id'])
        until('the old one has noticed', lambda: self.is_over(control))
        self.assertEqual(self.read(self.n3, 'past'), wrote)
        # its node is back, takes the old process down and gives its member to the new one
        self.n2.start()
        until('the old process is gone', lambda: not os.path.exists('/proc/%d' % pid))
        self.good('past')
        self.assertEqual(self.read(self.n3, 'past'), wrote)
        self.assertEqual(self.n1.cli('guest', 'stop', 'past', '--force', '--wait').returncode, 0)
        for m in self.state('past')['members']:
            path = os.path.join(self.node(m['node']).pool, m['id'] + '.volume')
            self.assertEqual(self.sum_of_data(path), wrote)

    def is_over(self, control):
        done = subprocess.run([os.path.join(BUILD, 'drover-guest'), 'ctl', control, 'stats'], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, universal_newlines=True)
        if done.returncode:
            return True
        volume = json.loads(done.stdout)['disks'][0]['volume']
        return volume['dead'] or volume['suspended']

    def kill(self, pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def sum_of_data(self, path):
        done = subprocess.run('dd if=%s bs=64k skip=%d count=64 2>/dev/null | md5sum' % (path, self.data_offset(path) >> 16),
                              shell=True, stdout=subprocess.PIPE, universal_newlines=True)
        return done.stdout.split()[0]


if __name__ == '__main__':
    unittest.main(verbosity=2)
