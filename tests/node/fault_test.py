#!/usr/bin/python3
"""What a cluster has to bear, beside lost nodes (failover_test.py) and drills (drill_test.py): links that carry one way only, no
network at all, a node that is back too early, two lost at once, a store that is slow or full, clocks that jump, a guest's process
that stands, an agent without disk space, a node that is there twice. In each case a guest writes; afterwards it runs once, and
nothing that it said it wrote is missing."""
import glob
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import failover_test  # noqa: E402
from cluster import DROVERD, RELEASE, Etcd, Namespace, until  # noqa: E402
from failover_test import Load  # noqa: E402

STORE_BYTES = 8 << 20


class Faults(failover_test.Failover):
    @classmethod
    def begin_store(cls, first):
        first.init()
        cls.etcd = Etcd(first, '--quota-backend-bytes', str(STORE_BYTES))

    def begin(self, name, node, layout='replica:3'):
        self.protect(name, node, layout)
        load = Load(node, name)
        load.goes_on(20)
        return load

    def is_as_it_was(self, name, node, load):
        """The same process, on its node, and it has never been anywhere else."""
        load.goes_on()
        self.assertEqual((self.runs_on(name), self.processes(name)), (node, [node]))
        self.assertNotIn('failover', self.show(name))
        self.assertEqual(self.show(name)['state']['restarts']['count'], 0)

    def runs_once(self, name, node, load):
        until('only one is left', lambda: self.processes(name) == [node])
        self.assertEqual(self.runs_on(name), node)
        self.assertEqual(self.show(name)['failover']['count'], 1)
        self.verify(name, node, load)

    def one_way(self, node, hook, interface):
        """What comes from the link, or goes to it, is lost."""
        done = self.space(node).run('nft', 'table inet cut { chain c { type filter hook %s priority 0; %s up0 drop; }; }' % (hook, interface))
        self.assertEqual(done.returncode, 0)

    def test_one_way(self):
        for name, hook, interface in (('deaf', 'input', 'iifname'), ('mute', 'output', 'oifname')):
            with self.subTest(name):
                load = self.begin(name, self.n2)
                self.one_way(self.n2, hook, interface)
                heir = self.moves(name, self.n2)
                until('it stands there', lambda: 'is frozen' in self.n2.log_text())
                self.all_are_back()
                self.runs_once(name, heir, load)
                self.remove(name)

    def test_no_network_at_all(self):
        """Nobody reaches anybody for longer than any lease: guests stand, and go on, by themselves."""
        load = self.begin('calm', self.n2)
        for node in self.nodes:
            self.link(node, 'down')
        until('it stands', lambda: 'is frozen' in self.n2.log_text())
        time.sleep(6)
        for node in self.nodes:
            self.link(node, 'up')
        self.all_are_back()
        node = until('it runs once', lambda: len(self.processes('calm')) == 1 and self.runs_on('calm'))
        if node == self.n2 and 'failover' not in self.show('calm'):
            self.is_as_it_was('calm', node, load)
            load.end()
        else:  # the node that has the store is never without it
            self.runs_once('calm', node, load)

    def test_power_returns_early(self):
        """... while another node is taking the guest over."""
        load = self.begin('early', self.n2)
        self.kill(self.n2)
        until('it is granted', lambda: self.show('early')['spec']['node'] != self.n2.name)
        self.link(self.n2, 'up')
        self.n2.start()
        heir = self.moves('early', self.n2)
        self.runs_once('early', heir, load)

    def test_two_lost_at_once(self):
        """A copy of three is not enough: it says so, waits, and runs when there are two."""
        load = self.begin('twice', self.n2)
        self.kill(self.n2)
        self.kill(self.n3)

        def waits():
            status = self.n1.do('ha', 'status')
            return next((g['reason'] for g in status['guests'] if g['guest'] == 'twice' and not g['next']), None)
        reason = until('it says why', waits)
        self.assertIn('member', reason)
        # n3's lease may have outlasted n2's: then the guest was taken over, and its process waits for the members
        self.assertIn(self.processes('twice'), ([], [self.n1]))
        self.link(self.n3, 'up')
        self.n3.start()
        heir = self.moves('twice', self.n2)
        self.runs_once('twice', heir, load)

    def test_slow_store(self):
        """Stopped for two seconds, again and again: leases survive that."""
        load = self.begin('slow', self.n2)
        for _ in range(6):
            self.etcd.process.send_signal(signal.SIGSTOP)
            time.sleep(2)
            self.etcd.process.send_signal(signal.SIGCONT)
            time.sleep(0.7)
        self.is_as_it_was('slow', self.n2, load)
        load.end()

    def test_full_store(self):
        """It takes no change for longer than any lease: guests run on, changes are refused in words, and it is well again."""
        load = self.begin('full', self.n2)
        for i in range(32):
            if self.etcd.ctl('put', '/junk/%d' % i, input='x' * (1 << 20)).returncode:
                break
        self.assertIn('NOSPACE', self.etcd.ctl('alarm', 'list').stdout)
        began = time.monotonic()
        done = self.n1.cli('ha', 'disarm')
        self.assertEqual(done.returncode, 1)
        self.assertIn('database space exceeded', done.stderr)
        while time.monotonic() < began + 12:
            time.sleep(0.5)
        load.goes_on()
        self.etcd.ctl('del', '--prefix', '/junk/')
        revision = self.etcd.ctl('get', '/', '--write-out=json').stdout.split('"revision":')[1].split(',')[0]
        for words in (('compact', revision), ('defrag',), ('alarm', 'disarm')):
            done = self.etcd.ctl(*words)
            self.assertEqual(done.returncode, 0, done.stdout)
        until('it takes changes', lambda: self.n1.cli('ha', 'arm').returncode == 0)
        self.is_as_it_was('full', self.n2, load)
        load.end()

    def test_clock_jumps(self):
        """An hour on, an hour back, twelve hours on: only deadlines by the time of day may notice, and there are none."""
        library = glob.glob('/usr/lib/*/faketime/libfaketime.so.1')
        self.assertTrue(library, 'the package faketime is missing')
        clock = os.path.join(self.n2.folder, 'clock')

        def say(text):
            with open(clock + '.new', 'w') as f:
                f.write(text)
            os.rename(clock + '.new', clock)
        load = self.begin('jumps', self.n2)
        load.end()
        say('+0')
        self.n2.end()
        self.n2.environment = {'LD_PRELOAD': library[0], 'FAKETIME_TIMESTAMP_FILE': clock,
                               'FAKETIME_DONT_FAKE_MONOTONIC': '1', 'FAKETIME_NO_CACHE': '1'}
        self.n2.program = os.path.join(RELEASE, 'droverd')  # neither library bears to be loaded after the other
        self.addCleanup(self.n2.restart)  # as it was, for the tests after this one
        self.addCleanup(setattr, self.n2, 'program', DROVERD)
        self.addCleanup(setattr, self.n2, 'environment', {})
        self.n2.start()
        load = Load(self.n2, 'jumps', load.last())
        for jump in ('+3600', '-3000', '+43200', '+0'):
            say(jump)
            began = time.monotonic()
            while time.monotonic() < began + 8:  # longer than any lease
                time.sleep(0.5)
            self.is_as_it_was('jumps', self.n2, load)
            self.assertTrue(self.n1.do('node', 'show', self.n2.name)['state']['alive'])
        load.end()

    def test_guest_stands(self):
        """Its process is stopped for longer than its deadline, its agent is not: it goes on where it was."""
        load = self.begin('stands', self.n2)
        pid = self.show('stands')['state']['pid']
        os.kill(pid, signal.SIGSTOP)
        time.sleep(12)
        os.kill(pid, signal.SIGCONT)
        self.is_as_it_was('stands', self.n2, load)
        self.assertEqual(self.show('stands')['state']['pid'], pid)
        load.end()

    def test_no_space_for_the_agent(self):
        """Its folder is full: the guest runs on, what it cannot do it says, and with room again it does it."""
        load = self.begin('cramped', self.n2)
        load.end()
        small = tempfile.mkdtemp(prefix='drover-n-small-')
        self.addCleanup(os.rmdir, small)
        kept = sum(-(-os.path.getsize(f) // 4096) * 4096 for f in glob.glob(self.n2.state + '/**', recursive=True))
        subprocess.run(['mount', '-t', 'tmpfs', '-o', 'mode=0700,size=%d' % (kept + (2 << 20)), 'tmpfs', small], check=True)
        self.n2.end()
        subprocess.run(['cp', '-a', self.n2.state + '/.', small], check=True)
        subprocess.run(['mount', '--bind', small, self.n2.state], check=True)
        subprocess.run(['umount', small], check=True)

        def give_back():
            self.n2.end()
            subprocess.run(['umount', self.n2.state], check=True)
            self.n2.start()
        self.addCleanup(give_back)
        self.n2.start()
        load = Load(self.n2, 'cramped', load.last())
        load.goes_on()
        junk = os.path.join(self.n2.state, 'junk')
        with open(junk, 'wb', buffering=0) as f:
            for size in (65536, 1024):  # to the last page
                try:
                    while f.write(b'x' * size) == size:
                        pass
                except OSError:
                    pass
        made, done = [], None
        while len(made) < 64:  # the last page of the audit log has room for some
            name = 'small%d' % len(made)
            done = self.n2.cli('network', 'create', name, '--subnet', '10.9.%d.0/24' % len(made))
            if done.returncode:
                break
            made.append(name)
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn('No space left', done.stderr)
        self.assertEqual(self.n2.cli('guest', 'list').returncode, 0)
        began = time.monotonic()
        while time.monotonic() < began + 8:
            time.sleep(0.5)
        self.is_as_it_was('cramped', self.n2, load)
        os.unlink(junk)
        self.n2.do('network', 'create', 'yes', '--subnet', '10.9.99.0/24')
        for name in made + ['yes']:
            self.n2.do('network', 'delete', name, '--wait')
        load.end()

    def test_node_is_there_twice(self):
        """A copy of a node's disk is started elsewhere: it does nothing, and says why."""
        load = self.begin('single', self.n2)
        space = Namespace('dr%dx' % os.getpid())
        self.addCleanup(space.destroy)
        self.hub.ip('link', 'add', 'p9', 'type', 'veth', 'peer', 'name', 'up0', 'netns', space.name)
        self.hub.ip('link', 'set', 'p9', 'master', 'hub', 'up')
        space.ip('address', 'add', '192.168.77.9/24', 'dev', 'up0')
        space.ip('link', 'set', 'up0', 'up')
        copy = tempfile.mkdtemp(prefix='drover-n-')
        self.addCleanup(shutil.rmtree, copy)
        shutil.copytree(self.n2.state, os.path.join(copy, 'state'))
        os.chmod(os.path.join(copy, 'state'), 0o700)
        with open(os.path.join(copy, 'log'), 'w') as log:
            twin = subprocess.Popen(['nsenter', '--net=/run/netns/' + space.name, DROVERD, '--state', os.path.join(copy, 'state'),
                                     '--run', os.path.join(copy, 'run')], stdin=subprocess.DEVNULL, stderr=log)
        self.addCleanup(twin.wait)
        self.addCleanup(twin.kill)

        def said():
            with open(os.path.join(copy, 'log')) as f:
                return f.read()
        until('it says why it does nothing', lambda: 'is in use elsewhere' in said() or twin.poll() is not None)
        time.sleep(8)
        self.assertIn('is in use elsewhere', said())
        self.is_as_it_was('single', self.n2, load)
        load.end()


def load_tests(loader, tests, pattern):
    own = [n for n in loader.getTestCaseNames(Faults) if n in Faults.__dict__]
    return unittest.TestSuite([Faults(n) for n in own])


if __name__ == '__main__':
    unittest.main(verbosity=2)
