#!/usr/bin/python3
"""The bytes of volumes move to other nodes while guests write them, and with guests that move; whoever is killed on the
way, one place has everything and is the volume; and nothing stays behind.

    n1, n2, n3, n4 --- bridge of the test       each a network namespace with a droverd of its own; n1 has the etcd"""
import os
import signal
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from cluster import until  # noqa: E402
from volume_moving import STILL, Moving  # noqa: E402


class Moves(Moving):
    # ---- a volume without a layout ----

    def test_plain(self):
        """Its guest writes all the while; then its old node is not needed any more."""
        self.volume('plain', '32M', '--pool', 'p1')
        address = self.guest('plain', self.n1)
        still = self.begin_load('plain', self.n1)
        before = self.files(self.n1)
        self.move('plain', self.n2.name)
        volume = self.show('volume', 'plain')
        self.assertEqual((volume['spec']['pool'], volume['state']['node'], volume['state']['phase']), ('p2', self.n2.name, 'ready'))
        self.assertEqual(len(self.files(self.n2)), 1)
        until('the old bytes are gone', lambda: len(self.files(self.n1)) == len(before) - 1)
        self.beats('plain', self.n1)
        self.move('plain', self.n3.name + ':p3')
        until('the old bytes are gone', lambda: not self.files(self.n2))
        self.beats('plain', self.n1)
        self.move('plain', self.n1.name)
        until('the old bytes are gone', lambda: not self.files(self.n3))
        self.end_load('plain', self.n1, still)
        # started anew it opens what is its node's
        self.n1.do('guest', 'stop', 'plain', '--force', '--wait')
        self.starts('plain', self.n1, address)
        self.assertEqual(self.sum(self.n1.console('plain', STILL)), still)
        self.n1.do('guest', 'stop', 'plain', '--force', '--wait')
        # and without a guest
        self.move('plain', self.n2.name)
        until('the old bytes are gone', lambda: len(self.files(self.n1)) == len(before) - 1)
        self.starts('plain', self.n1, address)
        self.assertEqual(self.sum(self.n1.console('plain', STILL)), still)

    # ---- members ----

    def test_member(self):
        """Each of two members goes to another node under the guest's load, and none is missing at any time."""
        self.volume('pair', '32M', '--layout', 'raid1:2', '--pools', 'p1', '--pools', 'p2', '--witness', 'p4')
        self.guest('pair', self.n1)
        still = self.begin_load('pair', self.n1)
        self.assertIn('0 on %s, 1 on %s' % (self.n1.name, self.n2.name),
                      self.refuses('volume', 'move', 'pair', '--to', self.n3.name))
        self.assertIn('where another member or the witness is',
                      self.refuses('volume', 'move', 'pair', '--member', '0', '--to', self.n2.name))
        self.move('pair', self.n3.name, '--member', '0')
        state = self.show('volume', 'pair')['state']
        self.assertEqual([m['pool'] for m in state['members']], ['p3', 'p2'])
        self.assertEqual(state['health'], 'good')
        self.assertEqual([m['condition'] for m in state['members']], ['in-sync', 'in-sync'])
        until('the old bytes are gone', lambda: not self.files(self.n1))
        self.move('pair', self.n1.name, '--member', '1')
        self.beats('pair', self.n1)
        # what moved is what serves
        self.n2.end()
        self.beats('pair', self.n1)
        self.n2.start()
        self.end_load('pair', self.n1, still)
        self.n1.do('volume', 'scrub', 'pair', '--wait')
        scrub = self.show('volume', 'pair')['state']['scrub']
        self.assertEqual((scrub['repaired'], scrub['unreadable']), (0, 0))
        self.assertFalse([w for n in self.nodes for w in n.log_text().splitlines() if 'is missing' in w])
        self.n1.do('guest', 'stop', 'pair', '--force', '--wait')
        self.move('pair', self.n2.name, '--member', '1')
        self.n1.do('volume', 'scrub', 'pair', '--wait')
        self.assertEqual(self.show('volume', 'pair')['state']['scrub']['unreadable'], 0)

    # ---- what goes wrong on the way ----

    def begin(self, volume, to):
        """A move that takes its time; its task, once something is copied."""
        task = self.n1.do('volume', 'move', volume, '--to', to)['task']
        until('something is copied', lambda: self.last(volume)['state'].get('done_bytes'))
        return task

    def test_cancel_and_refusals(self):
        self.volume('slow', '96M', '--pool', 'p1', '--resync-rate', '4M')
        self.guest('slow', self.n1)
        still = self.begin_load('slow', self.n1)
        self.assertIn("there is no node 'n9'", self.refuses('volume', 'move', 'slow', '--to', 'n9'))
        self.assertIn("there is no pool 'p9'", self.refuses('volume', 'move', 'slow', '--to', self.n2.name + ':p9'))
        self.assertIn('is in pool p1 already', self.refuses('volume', 'move', 'slow', '--to', self.n1.name + ':p1'))
        self.assertIn('has no members', self.refuses('volume', 'move', 'slow', '--member', '1', '--to', self.n2.name))
        said = self.n1.do('volume', 'move', 'slow', '--to', self.n2.name, '--dry-run')
        self.assertEqual((said['spec']['to'], said['state']['total_bytes']), ('p2', 96 << 20))
        task = self.begin('slow', self.n2.name)
        for words in (('volume', 'move', 'slow', '--to', self.n3.name), ('volume', 'resize', 'slow', '--size', '128M'),
                      ('volume', 'delete', 'slow'), ('guest', 'migrate', 'slow', '--to', self.n3.name)):
            self.assertIn('on its way', self.refuses(*words))
        self.n1.do('task', 'cancel', task)
        until('it has ended', lambda: self.last('slow')['state']['phase'] == 'cancelled')
        until('the new bytes are gone', lambda: not self.files(self.n2))
        self.assertEqual(self.show('volume', 'slow')['spec']['pool'], 'p1')
        self.end_load('slow', self.n1, still)

    def test_agent_killed(self):
        self.volume('steady', '96M', '--pool', 'p1', '--resync-rate', '8M')
        self.guest('steady', self.n2)
        still = self.begin_load('steady', self.n2)
        self.begin('steady', self.n3.name)
        for _ in range(3):
            self.assertEqual(self.n2.restart(), 0, self.n2.log_text()[-4000:])  # asked to end, with questions under way
        self.n2.restart(signal.SIGKILL)
        until('it is there', lambda: self.last('steady')['state']['phase'] == 'done')
        self.assertEqual(self.show('volume', 'steady')['spec']['pool'], 'p3')
        until('the old bytes are gone', lambda: not self.files(self.n1))
        self.end_load('steady', self.n2, still)

    def test_guest_killed_without_the_store(self):
        """Whether the switch-over was made nobody can know then: the guest waits until that is sure."""
        self.volume('unsure', '64M', '--pool', 'p1', '--resync-rate', '4M')
        address = self.guest('unsure', self.n2)
        still = self.begin_load('unsure', self.n2)
        self.begin('unsure', self.n3.name)
        pid = self.show('guest', 'unsure')['state']['pid']
        self.etcd.process.send_signal(signal.SIGSTOP)
        try:
            os.kill(pid, signal.SIGKILL)
            until('it waits', lambda: 'its volumes cannot be claimed' in self.n2.log_text())
            self.assertFalse(self.ping(self.n2, address))
        finally:
            self.etcd.process.send_signal(signal.SIGCONT)
        until('it runs again', lambda: self.ping(self.n2, address))
        self.assertNotEqual(self.show('guest', 'unsure')['state']['pid'], pid)
        self.n1.do('volume', 'resync', 'unsure', '--rate', '1G')
        until('it is there', lambda: self.last('unsure')['state']['phase'] == 'done')
        until('the old bytes are gone', lambda: not self.files(self.n1))
        self.assertEqual(self.sum(self.n2.console('unsure', STILL)), still)

    def test_destination_killed(self):
        self.volume('lonely', '64M', '--pool', 'p1', '--resync-rate', '4M')
        self.guest('lonely', self.n1)
        still = self.begin_load('lonely', self.n1)
        self.begin('lonely', self.n3.name)
        self.n3.end(signal.SIGKILL)
        for pid in self.n3.pids():
            os.kill(pid, signal.SIGKILL)
        until('it stays', lambda: self.last('lonely')['state']['phase'] == 'failed')
        self.beats('lonely', self.n1)
        self.end_load('lonely', self.n1, still)
        self.assertEqual(self.show('volume', 'lonely')['spec']['pool'], 'p1')
        self.n3.start()
        until('the new bytes are gone', lambda: not self.files(self.n3))


if __name__ == '__main__':
    unittest.main(verbosity=2)
