#!/usr/bin/python3
"""Guests move with what their volumes have on the node that they leave, in one task, while they write; nodes are drained
of guests and volumes; and whoever is killed on the way, each volume is whole in exactly one place, and its guest is up
where its policy says.

    n1, n2, n3, n4 --- bridge of the test       each a network namespace with a droverd of its own; n1 has the etcd"""
import os
import signal
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from cluster import until  # noqa: E402
from volume_moving import STILL, Moving  # noqa: E402

SECOND = 'dd if=/dev/vdb bs=1M count=4 2>/dev/null | md5sum'


class WithVolumes(Moving):
    # ---- what is looked at ----

    def migration(self, guest):
        return [m for m in self.n1.do('migration', 'list') if m['spec']['guest'] == guest][-1]

    def phase(self, guest):
        return self.migration(guest)['state'].get('phase')

    def pools(self, volume):
        spec = self.show('volume', volume)['spec']
        return spec.get('pools') or [spec['pool']]

    def runs_on(self, guest, node):
        state = self.show('guest', guest)['state']
        return (state.get('phase'), state.get('node')) == ('running', node.name)

    def migrate(self, guest, to, *more):
        done = self.n1.cli('guest', 'migrate', guest, '--to', to.name, '--with-volumes', '--max-downtime-ms', '5000', '--wait',
                           *more)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr + self.logs())
        until('it runs there', lambda: self.runs_on(guest, to))

    def begin(self, guest, to, *more):
        """One whose volumes take their time; its task, once something of them is copied."""
        task = self.n1.do('guest', 'migrate', guest, '--to', to.name, '--with-volumes', *more)['task']
        until('something is copied', lambda: self.phase(guest) == 'volumes' and self.migration(guest)['state']['done_bytes'])
        return task

    def is_empty(self, node):
        until('nothing of it is left on %s' % node.name, lambda: not self.files(node))

    def crash(self, node):
        """The node with all that runs on it."""
        node.end(signal.SIGKILL)
        for pid in node.pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    # ---- all goes well ----

    def test_plain(self):
        """Two volumes, one of them encrypted, to another node and back, under load."""
        self.volume('vault', '32M', '--pool', 'p2', '--encrypt')
        self.volume('web', '32M', '--pool', 'p2')
        address = self.guest('web', self.n2, '--disk', 'vault')
        still = self.begin_load('web', self.n2)
        second = self.sum(self.n2.console('web', 'dd if=/dev/urandom of=/dev/vdb bs=1M count=4 conv=fsync 2>/dev/null', SECOND))
        bytes_of = 2 * (32 << 20)

        for node in (self.n1, self.n2):  # the guest's own node measures, others ask it
            told = node.do('guest', 'migrate', 'web', '--to', self.n3.name, '--with-volumes', '--within-s', '3000', '--dry-run')
            self.assertEqual(sorted(v['volume'] for v in told['spec']['volumes']), ['vault', 'web'])
            said = told['state']
            self.assertGreaterEqual(said['predicted_volume_bytes'], bytes_of)
            self.assertGreater(said['predicted_bytes'], said['predicted_volume_bytes'])
            self.assertGreater(said['predicted_s'], said['predicted_volume_s'])
            self.assertIn('of that its volumes', said['reason'])
        told = self.n1.do('guest', 'migrate', 'web', '--to', self.n3.name, '--dry-run')['state']
        self.assertNotIn('predicted_volume_bytes', told)
        self.assertRegex(told['reason'], 'stay on node %s .*--with-volumes' % self.n2.name)

        for here, to, pool in ((self.n2, self.n3, 'p3'), (self.n3, self.n2, 'p2')):
            self.migrate('web', to)
            self.assertEqual((self.pools('web'), self.pools('vault')), ([pool], [pool]))
            told = self.migration('web')
            self.assertEqual(told['state']['phase'], 'done')
            self.assertGreaterEqual(told['state']['volume_bytes'], bytes_of)
            self.assertGreater(told['state']['done_bytes'], told['state']['volume_bytes'])
            self.is_empty(here)
            self.assertEqual(len(self.files(to)), 2)
            self.beats('web', to)
        self.end_load('web', self.n2, still)
        self.assertEqual(self.sum(self.n2.console('web', SECOND)), second)
        self.n1.do('guest', 'stop', 'web', '--force', '--wait')
        self.starts('web', self.n2, address)
        self.assertEqual(self.sum(self.n2.console('web', SECOND)), second)
        self.n1.do('guest', 'stop', 'web', '--force', '--wait')
        for name in ('vault', 'web'):  # nothing is different about what has moved
            self.n1.do('volume', 'resize', name, '--size', '48M', '--wait')
        self.starts('web', self.n2, address)
        self.assertEqual(self.sum(self.n2.console('web', SECOND)), second)

    def test_member(self):
        """Of a mirror the half that is on the guest's node goes with it; where the other half is, nothing is to go."""
        self.volume('pair', '32M', '--layout', 'raid1:2', '--pools', 'p2', '--pools', 'p3', '--witness', 'p4')
        self.guest('pair', self.n2)
        still = self.begin_load('pair', self.n2)
        self.assertRegex(self.refuses('guest', 'migrate', 'pair', '--to', self.n4.name, '--with-volumes'),
                         'volume pair cannot move along: .*witness is')
        chosen = self.n1.do('guest', 'migrate', 'pair', '--with-volumes', '--dry-run')['spec']['to']
        self.assertIn(chosen, (self.n1.name, self.n3.name))
        self.migrate('pair', self.n1)
        self.assertEqual(self.pools('pair'), ['p1', 'p3'])
        state = self.show('volume', 'pair')['state']
        self.assertEqual([m['condition'] for m in state['members']], ['in-sync', 'in-sync'])
        self.is_empty(self.n2)
        self.migrate('pair', self.n3)
        self.assertEqual(self.pools('pair'), ['p1', 'p3'])
        self.assertEqual(self.migration('pair')['spec']['volumes'], [])
        self.end_load('pair', self.n3, still)
        self.n1.do('volume', 'scrub', 'pair', '--wait')
        scrub = self.show('volume', 'pair')['state']['scrub']
        self.assertEqual((scrub['repaired'], scrub['unreadable']), (0, 0))

    # ---- it does not come to an end ----

    def stays(self, guest, node, still):
        """All of it is where it was, and nothing is anywhere else."""
        until('no move of it is under way', lambda: 'move' not in self.show('volume', guest))
        self.assertEqual(self.pools(guest), ['p%d' % (self.nodes.index(node) + 1)])
        self.beats(guest, node)
        self.end_load(guest, node, still)

    def test_cancel_and_goals(self):
        self.volume('slow', '64M', '--pool', 'p2', '--resync-rate', '4M')
        self.guest('slow', self.n2)
        still = self.begin_load('slow', self.n2)
        told = self.n1.do('guest', 'migrate', 'slow', '--to', self.n3.name, '--with-volumes', '--within-s', '9', '--dry-run')
        self.assertFalse(told['state']['goals_hold'])
        self.assertIn('its volumes alone', told['state']['reason'])
        task = self.begin('slow', self.n3)
        for words in (('volume', 'move', 'slow', '--to', self.n4.name), ('guest', 'migrate', 'slow', '--to', self.n4.name)):
            self.assertIn('on its way', self.refuses(*words))
        state = self.n1.do('task', 'show', task)['state']
        self.assertGreaterEqual(state['total_bytes'], 64 << 20)
        self.n1.do('task', 'cancel', task)
        until('it has ended', lambda: self.phase('slow') == 'cancelled')
        self.is_empty(self.n3)
        done = self.n1.cli('guest', 'migrate', 'slow', '--to', self.n3.name, '--with-volumes', '--within-s', '4', '--wait')
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertIn('not there in the time', self.migration('slow')['state']['reason'])
        self.is_empty(self.n3)
        self.stays('slow', self.n2, still)

    def test_guest_cannot_follow(self):
        """Its volume is there, and the guest's process there does not come up: both go on, each where it is, and it is said."""
        self.volume('split', '32M', '--pool', 'p2')
        self.guest('split', self.n2)
        still = self.begin_load('split', self.n2)
        socket = os.path.join(self.n3.run, 'guests', self.show('guest', 'split')['id'] + '.sock')
        os.mkdir(socket)  # where its control socket would be
        try:
            done = self.n1.cli('guest', 'migrate', 'split', '--to', self.n3.name, '--with-volumes', '--wait')
        finally:
            os.rmdir(socket)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertIn('moved to node %s before that: split' % self.n3.name, self.migration('split')['state']['reason'])
        self.is_empty(self.n2)
        self.assertEqual(self.pools('split'), ['p3'])
        self.beats('split', self.n2)
        self.migrate('split', self.n3)  # it goes after it
        self.assertEqual(self.migration('split')['spec']['volumes'], [])
        self.end_load('split', self.n3, still)

    # ---- who is killed on the way ----

    def test_agents_killed(self):
        """Of the source and of the destination: it goes on."""
        self.volume('steady', '64M', '--pool', 'p2', '--resync-rate', '8M')
        self.guest('steady', self.n2)
        still = self.begin_load('steady', self.n2)
        self.begin('steady', self.n3, '--max-downtime-ms', '5000')
        for node in (self.n2, self.n3):
            node.end(signal.SIGKILL)
        for node in (self.n2, self.n3):
            node.start()
        until('it is there', lambda: self.phase('steady') == 'done', 240)
        until('it runs there', lambda: self.runs_on('steady', self.n3))
        self.is_empty(self.n2)
        self.stays('steady', self.n3, still)

    def test_destination_killed(self):
        self.volume('lonely', '64M', '--pool', 'p2', '--resync-rate', '4M')
        self.guest('lonely', self.n2)
        still = self.begin_load('lonely', self.n2)
        self.begin('lonely', self.n3)
        self.crash(self.n3)
        until('it is given up', lambda: self.phase('lonely') == 'failed')
        self.assertIn('volume lonely: ', self.migration('lonely')['state']['reason'])
        self.stays('lonely', self.n2, still)
        self.n3.start()
        self.is_empty(self.n3)

    def test_source_killed(self):
        """All of it is there: its guest comes back when the node does."""
        self.volume('local', '64M', '--pool', 'p2', '--resync-rate', '4M')
        address = self.guest('local', self.n2)
        still = self.begin_load('local', self.n2)
        self.begin('local', self.n3)
        self.crash(self.n2)
        until('it is away', lambda: not self.show('node', self.n2.name)['state'].get('alive'))
        self.assertEqual(self.pools('local'), ['p2'])
        self.n2.start()
        until('it is given up', lambda: self.phase('local') == 'failed')
        until('no move of it is under way', lambda: 'move' not in self.show('volume', 'local'))
        self.is_empty(self.n3)
        until('it answers', lambda: self.ping(self.n2, address))
        self.assertTrue(self.runs_on('local', self.n2))
        self.assertEqual(self.pools('local'), ['p2'])
        self.assertEqual(self.sum(self.n2.console('local', STILL)), still)

    def fails_over(self, guest, lost):
        """To whom; it answers there."""
        def elsewhere():
            return [n for n in self.nodes if n is not lost and self.runs_on(guest, n)]
        to = until('another node runs it', elsewhere)[0]
        address = self.show('guest', guest)['spec']['networks'][0]['address']
        until('it answers', lambda: self.ping(to, address))
        return to

    def test_source_of_a_protected_guest_killed(self):
        """Another node runs it from the half that is left; the place that was being filled is nobody's."""
        self.volume('safe', '64M', '--layout', 'raid1:2', '--pools', 'p2', '--pools', 'p3', '--witness', 'p4', '--resync-rate', '4M')
        self.guest('safe', self.n2, '--ha')
        still = self.begin_load('safe', self.n2)
        self.begin('safe', self.n1)
        self.crash(self.n2)
        to = self.fails_over('safe', self.n2)
        until('no move of it is under way', lambda: 'move' not in self.show('volume', 'safe'))
        self.assertEqual(self.pools('safe'), ['p2', 'p3'])
        self.is_empty(self.n1)
        self.assertEqual(self.sum(to.console('safe', STILL)), still)
        self.n2.start()
        until('it has ended', lambda: self.phase('safe') == 'failed')
        until('both are the same again', lambda: self.show('volume', 'safe')['state']['health'] == 'good')
        self.assertTrue(self.runs_on('safe', to))

    def test_guest_killed_while_a_member_moves(self):
        """The node of the guest is lost, which has neither the old bytes nor the new ones: whoever runs it then goes on."""
        self.volume('third', '64M', '--layout', 'raid1:2', '--pools', 'p1', '--pools', 'p3', '--witness', 'p2', '--resync-rate', '4M')
        self.guest('third', self.n2, '--ha')
        still = self.begin_load('third', self.n2)
        self.n1.do('volume', 'move', 'third', '--member', '0', '--to', self.n4.name)
        until('something is copied', lambda: self.last('third')['state'].get('done_bytes'))
        self.crash(self.n2)
        to = self.fails_over('third', self.n2)
        self.n1.do('volume', 'resync', 'third', '--rate', '1G')
        until('it has ended', lambda: self.last('third')['state']['phase'] == 'done', 240)
        self.assertEqual(self.pools('third'), ['p4', 'p3'])
        self.is_empty(self.n1)
        self.assertEqual(self.sum(to.console('third', STILL)), still)
        self.n2.start()
        until('all is well', lambda: self.show('volume', 'third')['state']['health'] == 'good')

    # ---- draining ----

    def test_drain(self):
        """Whatever uses it, or nobody: no volume has anything on a node that was drained of them."""
        self.volume('idle', '16M', '--pool', 'p2')
        self.volume('half', '16M', '--layout', 'raid1:2', '--pools', 'p2', '--pools', 'p3')
        self.volume('far', '32M', '--pool', 'p2')
        self.volume('near', '32M', '--pool', 'p2')
        self.guest('far', self.n1)
        self.guest('near', self.n2)
        stills = [self.begin_load('far', self.n1), self.begin_load('near', self.n2)]
        self.n1.do('node', 'drain', self.n2.name, '--with-volumes')
        self.addCleanup(self.n1.cli, 'node', 'undrain', self.n2.name)
        until('nothing is left', lambda: not self.files(self.n2), 300)
        until('its guest has left', lambda: any(self.runs_on('near', n) for n in (self.n1, self.n3, self.n4)))
        to = next(n for n in (self.n1, self.n3, self.n4) if self.runs_on('near', n))
        until('all have arrived', lambda: not any('move' in self.show('volume', v) for v in ('idle', 'half', 'far', 'near')))
        self.assertEqual(self.pools('near'), ['p%d' % (self.nodes.index(to) + 1)])
        self.assertEqual(self.pools('far'), ['p1'])
        self.assertNotIn('p2', self.pools('idle') + self.pools('half'))
        self.assertIn('drained', self.refuses('volume', 'move', 'idle', '--to', self.n2.name))
        self.end_load('far', self.n1, stills[0])
        self.end_load('near', to, stills[1])
        self.n1.do('node', 'undrain', self.n2.name)
        self.assertNotIn('drain_volumes', self.show('node', self.n2.name)['spec'])


if __name__ == '__main__':
    unittest.main(verbosity=2)
