#!/usr/bin/python3
"""Guests that move between nodes while they run: their memory, disk and network go with them, whoever is killed on the
way; what cannot be is refused; and nothing stays behind.

    n1, n2, n3 --- bridge of the test       each a network namespace with a droverd of its own; n1 has the etcd"""
import os
import signal
import subprocess
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from cluster import BUILD, ThreeNodes, until  # noqa: E402

# A load that checks itself: memory and disk are written, read back and compared, and a beat is counted.
LOAD = ('(n=0; dd if=/dev/urandom of=/tmp/r bs=64k count=32 2>/dev/null; s=$(md5sum </tmp/r); while [ ! -e /tmp/end ]; do '
        'dd if=/tmp/r of=/dev/vda bs=64k conv=fsync 2>/tmp/e || echo write >>/tmp/bad; echo 3 >/proc/sys/vm/drop_caches; '
        '[ "$(dd if=/dev/vda bs=64k count=32 2>/tmp/e | md5sum)" = "$s" ] || echo disk >>/tmp/bad; '
        '[ "$(md5sum </tmp/r)" = "$s" ] || echo memory >>/tmp/bad; n=$((n + 1)); echo $n >/tmp/beat; done; echo over >/tmp/over) &')


class Migration(ThreeNodes):
    @classmethod
    def prepare(cls):
        super().prepare()
        cls.n1, cls.n2, cls.n3 = cls.nodes

    def guest(self, name, on, pool, *more):
        where = ('--pool', pool) if pool else ('--layout', 'replica:3', '--encrypt')
        self.n1.do('volume', 'create', name, '--size', '32M', *where, '--wait')
        self.addCleanup(self.remove, name)
        guest = self.n1.do('guest', 'create', name, '--memory', '192M', '--disk', name, '--network', 'net', '--node', on.name,
                           '--kernel', 'kernel1', '--initrd', 'ramdisk1', '--cmdline', 'console=ttyS0 quiet panic=-1', '--start',
                           '--wait', *more)
        address = guest['spec']['networks'][0]['address']
        until('it answers', lambda: self.ping(on, address))
        return address

    def remove(self, name):
        self.n1.cli('guest', 'stop', name, '--force', '--wait')
        self.n1.cli('guest', 'delete', name, '--wait')
        self.n1.cli('volume', 'delete', name, '--wait')

    def ping(self, node, address):
        return self.spaces[self.nodes.index(node)].pings(address)

    def state(self, name):
        return self.n1.do('guest', 'show', name)

    def runs_on(self, name, node):
        guest = self.state(name)
        return (guest['spec']['node'] == node.name and guest['state'].get('node') == node.name and
                guest['state'].get('phase') == 'running' and 'migration' not in guest)

    def processes(self, name):
        return self.guest_processes(self.state(name)['id'], self.nodes)

    def move(self, name, to, *more):
        done = self.n1.cli('guest', 'migrate', name, '--to', to.name, '--wait', *more)
        self.assertEqual(done.returncode, 0, done.stderr + '\n'.join(n.log_text() for n in self.nodes))
        until('%s runs on %s' % (name, to.name), lambda: self.runs_on(name, to))
        self.assertEqual([n.name for n, _ in self.processes(name)], [to.name])

    def begin_load(self, name, node):
        node.console(name, LOAD)
        until('the load has begun', lambda: 'beat 0' not in node.console(name, 'echo beat $(cat /tmp/beat 2>/dev/null || echo 0)'))

    def end_load(self, name, node):
        text = node.console(name, 'touch /tmp/end; while [ ! -e /tmp/over ]; do sleep 0.2; done; cat /tmp/bad 2>/dev/null; '
                            'echo beats $(cat /tmp/beat)')
        self.assertRegex(text, r'beats [1-9]')
        for word in ('write', 'disk', 'memory'):
            self.assertNotIn('\n' + word, text)

    def last(self, name):
        return [m for m in self.n1.do('migration', 'list') if m['spec']['guest'] == name][-1]

    def test_round_trip(self):
        """The disk is the source's own, then a third node's, then the destination's own: the guest goes all ways."""
        address = self.guest('traveller', self.n1, 'p1')
        self.begin_load('traveller', self.n1)
        for to in (self.n2, self.n3, self.n1, self.n2):
            self.move('traveller', to)
            until('it answers', lambda: self.ping(to, address))
            told = self.last('traveller')
            self.assertEqual(told['state']['phase'], 'done', told)
            self.assertGreater(told['state']['done_bytes'], 1 << 20)
            self.assertGreater(told['state']['predicted_bytes'], 1 << 20)  # before it began
            self.assertTrue(told['state']['predicted_from'])
            self.assertNotIn('key', told)
        self.end_load('traveller', self.n2)
        # started anew it reads its disk as before, and the flag that it has moved is gone
        self.assertTrue(self.state('traveller').get('moved'))
        self.assertEqual(self.n1.cli('guest', 'stop', 'traveller', '--force', '--wait').returncode, 0)
        self.assertEqual(self.n1.cli('guest', 'start', 'traveller', '--wait').returncode, 0)
        self.assertNotIn('moved', self.state('traveller'))
        until('it answers', lambda: self.ping(self.n2, address))

    def test_busy_machine(self):
        """Every thread waits for its turn, so what two processes say to each other arrives in any order: the guest goes on."""
        self.guest('hasty', self.n1, 'p1')
        self.begin_load('hasty', self.n1)
        for _ in range(4):
            burner = subprocess.Popen(['sh', '-c', 'while :; do :; done'])
            self.addCleanup(burner.wait)
            self.addCleanup(burner.kill)
        for to in (self.n2, self.n3, self.n1) * 3:
            self.move('hasty', to)
        self.end_load('hasty', self.n1)

    def test_members(self):
        """The disk is an encrypted volume over all three nodes: its owner changes with the guest's node, also back."""
        address = self.guest('owner', self.n1, None)
        self.begin_load('owner', self.n1)
        self.move('owner', self.n2)
        here, there = self.n2, self.n1
        for moment in (0, 0.3, 0.6, 0.9):
            wanted = self.n3.do('guest', 'migrate', 'owner', '--to', there.name)
            until('its process comes', lambda: [p for n, p in self.processes('owner') if n is there] or self.ended(wanted))
            time.sleep(moment)  # whatever it is at then
            for node, pid in self.processes('owner'):
                if node is there:
                    os.kill(pid, signal.SIGKILL)
            until('it ends', lambda: self.ended(wanted))
            where = until('it runs', lambda: [n for n in (here, there) if self.runs_on('owner', n) and
                                              [m for m, _ in self.processes('owner')] == [n] and self.ping(n, address)])[0]
            if 'fresh' in where.console('owner', 'test -e /tmp/beat || echo fresh'):
                self.assertIs(where, there)  # it was killed after it had arrived, and nowhere else
                self.begin_load('owner', where)
            if where is there:
                here, there = there, here
        self.end_load('owner', here)
        until('all members are in sync', lambda: self.n1.do('volume', 'show', 'owner')['state']['health'] == 'good')

    def phase(self, name, node):
        """As its process says of the migration that it is the source of."""
        guest = self.n3.do('guest', 'show', name)['id']
        socket = 'unix:' + os.path.join(node.run, 'guests', guest + '.sock')
        done = subprocess.run([os.path.join(BUILD, 'drover-guest'), 'ctl', socket, 'migration'], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, universal_newlines=True)
        return done.stdout if 'bytes-sent' in done.stdout else ''

    def stopped_on_the_way(self, name, here, there):
        """A migration whose source's agent is stopped before it can let the guest change hands; None: it was quicker."""
        wanted = self.n3.do('guest', 'migrate', name, '--to', there.name)
        while not any('"%s"' % p in self.phase(name, here) for p in ('copy', 'stop', 'ready')) and not self.ended(wanted):
            pass  # there is little time
        here.process.send_signal(signal.SIGSTOP)
        self.addCleanup(here.process.send_signal, signal.SIGCONT)

        def late():
            return self.n3.do('guest', 'show', name)['spec']['node'] == there.name
        until('it stands', lambda: late() or '"ready"' in self.phase(name, here) or self.ended(wanted), 30)
        if late() or self.ended(wanted):
            here.process.send_signal(signal.SIGCONT)
            until('it has settled', lambda: self.runs_on(name, there) or self.runs_on(name, here))
            return None
        return wanted

    def taken_back(self, name, pool):
        self.guest(name, self.n1, pool)
        self.n1.console(name, 'dd if=/dev/urandom of=/tmp/much bs=1M count=40 2>/dev/null')
        self.begin_load(name, self.n1)
        here, there = self.n1, self.n2
        for _ in range(6):
            wanted = self.stopped_on_the_way(name, here, there)
            if wanted:
                break
            here, there = (there, here) if self.runs_on(name, there) else (here, there)
        if not wanted:
            self.skipTest('the agents were quicker each time')
        self.assertEqual(self.n3.cli('task', 'cancel', wanted['task']).returncode, 0)
        here.process.send_signal(signal.SIGCONT)
        until('it is cancelled', lambda: self.n3.do('task', 'show', wanted['task'])['state'].get('phase') == 'cancelled')
        until('it goes on', lambda: self.runs_on(name, here) and [n for n, _ in self.processes(name)] == [here])
        self.end_load(name, here)

    def test_taken_back(self):
        """All of it is there already, and its disks are open there: it goes on where it was."""
        self.taken_back('own', 'p1')

    def test_owner_taken_back(self):
        self.taken_back('many', None)

    def ended(self, wanted):
        return self.n3.do('task', 'show', wanted['task'])['state'].get('phase') in ('done', 'failed')

    def test_refusals(self):
        self.guest('stays', self.n1, 'p3')

        def refused(*words):
            done = self.n1.cli('guest', 'migrate', *words)
            self.assertNotEqual(done.returncode, 0)
            return done.stderr

        self.assertIn('is on node', refused('stays', '--to', self.n1.name))
        self.assertIn('no node', refused('stays', '--to', 'nowhere'))
        self.assertIn('no guest', refused('nobody'))
        self.assertEqual(self.n1.cli('node', 'drain', self.n2.name).returncode, 0)
        self.addCleanup(self.n1.cli, 'node', 'undrain', self.n2.name)
        self.assertIn('drained', refused('stays', '--to', self.n2.name))
        plan = self.n1.do('guest', 'migrate', 'stays', '--dry-run')
        self.assertEqual(plan['spec']['to'], self.n3.name)
        self.assertNotIn('key', plan)
        for node in self.nodes:  # the guest's own agent measures; others ask it
            told = node.do('guest', 'migrate', 'stays', '--to', self.n3.name, '--max-downtime-ms', '10000', '--dry-run')['state']
            self.assertEqual(told['phase'], 'predicted', told)
            self.assertGreater(told['predicted_bytes'], 1 << 20)
            self.assertTrue(told['goals_hold'], told)
            self.assertRegex(told['reason'], 'as wished')
        self.assertTrue(self.runs_on('stays', self.n1))
        self.assertEqual(self.n1.cli('guest', 'stop', 'stays', '--force', '--wait').returncode, 0)
        self.assertIn('does not run', refused('stays', '--to', self.n3.name))

    def test_destination_cannot(self):
        """The destination's process does not come up: the guest stays, and it is said why."""
        self.guest('unlucky', self.n1, 'p3')
        self.begin_load('unlucky', self.n1)
        guest = os.path.join(self.n2.run, 'guests', self.state('unlucky')['id'] + '.sock')
        os.mkdir(guest)  # where its control socket would be
        try:
            done = self.n1.cli('guest', 'migrate', 'unlucky', '--to', self.n2.name, '--wait')
        finally:
            os.rmdir(guest)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn('migrate failed', done.stderr)
        until('it goes on', lambda: self.runs_on('unlucky', self.n1))
        self.assertEqual([n.name for n, _ in self.processes('unlucky')], [self.n1.name])
        self.end_load('unlucky', self.n1)

    def test_drain(self):
        for name in ('first', 'second', 'third'):
            self.guest(name, self.n3, 'p1', '--cpu-percent', '50')
        self.begin_load('second', self.n3)
        self.assertEqual(self.n1.cli('node', 'drain', self.n3.name).returncode, 0)
        self.addCleanup(self.n1.cli, 'node', 'undrain', self.n3.name)
        until('all have left', lambda: all(self.runs_on(name, self.n1) or self.runs_on(name, self.n2)
                                           for name in ('first', 'second', 'third')), 240)
        self.assertEqual([p for n in ('first', 'second', 'third') for p in self.processes(n) if p[0] is self.n3], [])
        self.end_load('second', self.n1 if self.runs_on('second', self.n1) else self.n2)

    def test_cancel(self):
        self.guest('hesitant', self.n1, 'p3')
        self.begin_load('hesitant', self.n1)
        wanted = self.n1.do('guest', 'migrate', 'hesitant', '--to', self.n2.name)
        self.n1.cli('task', 'cancel', wanted['task'])
        phase = until('it ends', lambda: self.n1.do('task', 'show', wanted['task'])['state'].get('phase') in
                      ('cancelled', 'done') and self.n1.do('task', 'show', wanted['task'])['state']['phase'])
        where = self.n1 if phase == 'cancelled' else self.n2
        until('it runs on one of both', lambda: self.runs_on('hesitant', where))
        self.assertEqual([n.name for n, _ in self.processes('hesitant')], [where.name])
        self.end_load('hesitant', where)

    def test_agents_killed(self):
        """Both agents are killed while it moves, again and again; it ends up in one place and has lost nothing."""
        address = self.guest('survivor', self.n1, 'p1')
        self.begin_load('survivor', self.n1)
        here, there = self.n1, self.n2
        for i, moment in enumerate((0, 0.1, 0.3, 0.6, 1.0, 1.5)):
            wanted = self.n3.do('guest', 'migrate', 'survivor', '--to', there.name)
            victim = (here, there)[i % 2]
            try:
                until('never', lambda: False, moment)
            except AssertionError:
                pass
            victim.restart(signal.SIGKILL)
            until('it ends', lambda: self.n3.do('task', 'show', wanted['task'])['state'].get('phase') in ('done', 'failed'))
            where = here if self.runs_on('survivor', here) else there
            until('it runs in one place', lambda: self.runs_on('survivor', where) and
                  [n.name for n, _ in self.processes('survivor')] == [where.name])
            if where is there:
                here, there = there, here
        until('it answers', lambda: self.ping(here, address))
        self.end_load('survivor', here)

    def test_agent_ends(self):
        """That of the source is asked to end while it waits for answers of the guest's process."""
        address = self.guest('patient', self.n1, 'p1')
        here, there = self.n1, self.n2
        for moment in (0, 0.05, 0.1, 0.15, 0.3):
            wanted = self.n3.do('guest', 'migrate', 'patient', '--to', there.name)
            time.sleep(moment)
            self.assertEqual(here.restart(), 0, here.log_text()[-4000:])
            until('it ends', lambda: self.n3.do('task', 'show', wanted['task'])['state'].get('phase') in ('done', 'failed'))
            where = here if self.runs_on('patient', here) else there
            until('it runs in one place', lambda: self.runs_on('patient', where) and
                  [n.name for n, _ in self.processes('patient')] == [where.name])
            if where is there:
                here, there = there, here
        until('it answers', lambda: self.ping(here, address))

    def test_processes_killed(self):
        """The destination's process is killed: the guest stays. The source's is: it is started anew where it was."""
        self.guest('victim', self.n1, 'p3')
        self.begin_load('victim', self.n1)
        wanted = self.n1.do('guest', 'migrate', 'victim', '--to', self.n2.name)
        end = lambda: self.n1.do('task', 'show', wanted['task'])['state'].get('phase') in ('done', 'failed')
        pid = until('its process comes', lambda: [p for n, p in self.processes('victim') if n is self.n2] or end())
        if isinstance(pid, list):
            os.kill(pid[0], signal.SIGKILL)
        until('it ends', end)
        told = self.last('victim')['state']
        self.assertTrue(told['phase'] == 'done' or told['reason'], told)
        where = until('it runs', lambda: [n for n in (self.n1, self.n2) if self.runs_on('victim', n)])[0]
        self.end_load('victim', where)


if __name__ == '__main__':
    unittest.main(verbosity=2)
