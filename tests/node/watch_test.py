#!/usr/bin/python3
"""Guests that crash, panic and hang on one node: what their policy says is done, counted, and told."""
import os
import select
import signal
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from cluster import GUEST_INIT, Namespace, Node, initrd, kernels, lab, until  # noqa: E402

MODULES = initrd.MODULES + ['cdrom', 'isofs', 'pvpanic-mmio', 'i6300esb']
PANIC = 'sleep 1; echo c >/proc/sysrq-trigger'
HANG = 'watchdog -T 4 -t 1 /dev/watchdog; sleep 2; kill -STOP $(pidof watchdog)'


class Watch(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.namespace = Namespace('drover-w%d' % os.getpid())
        cls.addClassCleanup(cls.namespace.destroy)
        cls.node = Node('w%d' % os.getpid(), namespace=cls.namespace.name)
        cls.addClassCleanup(cls.node.destroy)
        cls.node.init()
        cls.node.start()
        ramdisk = os.path.join(cls.node.folder, 'watched.gz')
        initrd.build(ramdisk, kernels.modules('generic'), lab.contents([]), GUEST_INIT, MODULES)
        do = cls.node.do
        do('pool', 'create', 'p', '--node', cls.node.name, '--path', cls.node.pool)
        do('image', 'import', 'kernel', '--pool', 'p', '--source', kernels.vmlinuz('generic'), '--wait')
        do('image', 'import', 'ramdisk', '--pool', 'p', '--source', ramdisk, '--wait')

    def setUp(self):
        self.do, self.cli = self.node.do, self.node.cli

    def guest(self, name, *more):
        self.addCleanup(self.cli, 'guest', 'delete', name, '--wait')  # the last one first
        return self.do('guest', 'create', name, '--memory', '256M', '--kernel', 'kernel', '--initrd', 'ramdisk',
                       '--cmdline', 'console=ttyS0 quiet', '--restart-delay', '200ms', '--start', '--wait', *more)

    def state(self, name):
        return self.do('guest', 'show', name)['state']

    def says(self, name, command):
        """In the background of the guest, which may not live to answer. What is typed before it has booted may be lost, so
        empty lines come first."""
        console = self.node.open_console(name)

        def answers():
            console.stdin.write(b'\n')
            ready, _, _ = select.select([console.stdout], [], [], 0.5)
            return ready and b'guest: done' in os.read(console.stdout.fileno(), 4096)
        try:
            until('guest %s answers' % name, answers)
            console.stdin.write(b'(%s) >/dev/null 2>&1 & echo took $((40+2))\n' % command.encode())
            said = []

            def has_taken():
                said.append(os.read(console.stdout.fileno(), 4096))
                return b'took 42' in b''.join(said)
            until('guest %s has taken it' % name, has_taken)
        finally:
            self.node.close_console(console)

    def after(self, name, count, phase='running'):
        return until('%s is %s after %d restarts' % (name, phase, count), lambda: (
            lambda s: s['restarts']['count'] == count and s['phase'] == phase and s)(self.state(name)))

    def metrics(self):
        return subprocess.run(['curl', '-sS', '--unix-socket', os.path.join(self.node.run, 'api.sock'), 'http://drover/metrics'],
                              stdout=subprocess.PIPE, check=True, universal_newlines=True).stdout

    def kill(self, name):
        os.kill(self.state(name)['pid'], signal.SIGKILL)

    def test_panic(self):
        first = self.guest('panics')['state']
        self.assertEqual((first['restarts']['count'], first['restarts']['reason']), (0, ''))
        self.says('panics', PANIC)
        then = self.after('panics', 1)
        self.assertEqual((then['restarts']['reason'], then['reason']), ('panicked', 'panicked'))
        self.assertNotEqual(then['pid'], first['pid'])
        self.assertIn('has panicked', self.node.log_text())
        # an agent that comes later goes on counting
        self.node.restart(signal.SIGKILL)
        until('it is adopted', lambda: self.state('panics')['pid'] == then['pid'])
        self.kill('panics')
        self.assertEqual(self.after('panics', 2)['restarts']['reason'], 'crashed')
        self.assertRegex(self.metrics(), r'drover_guest_restarts_total\{[^}]*panics[^}]*\} 2\b')

    def test_panic_is_kept_or_stops(self):
        first = self.guest('kept', '--on-panic', 'keep')['state']
        self.says('kept', PANIC)
        until('it says so', lambda: self.state('kept')['reason'] == 'panicked')
        self.assertEqual(self.state('kept')['pid'], first['pid'])
        self.do('guest', 'stop', 'kept', '--force', '--wait')
        self.do('guest', 'set', 'kept', '--on-panic', 'stop')
        self.do('guest', 'start', 'kept', '--wait')
        self.says('kept', PANIC)
        down = self.after('kept', 0, 'failed')
        self.assertIn('stays down: it panicked', down['reason'])
        # also for an agent that comes later
        self.node.restart(signal.SIGKILL)
        self.assertIn('stays down: it panicked', self.after('kept', 0, 'failed')['reason'])
        self.do('guest', 'start', 'kept', '--wait')
        self.assertEqual(self.state('kept')['phase'], 'running')

    def test_hang(self):
        first = self.guest('hangs')['state']
        self.says('hangs', HANG)
        then = self.after('hangs', 1)
        self.assertEqual(then['restarts']['reason'], 'hung')
        self.assertNotEqual(then['pid'], first['pid'])

    def test_attempts(self):
        self.guest('dies', '--restart-attempts', '2', '--restart-window', '10m')
        self.kill('dies')
        self.after('dies', 1)
        self.kill('dies')
        self.after('dies', 2)
        self.kill('dies')
        down = self.after('dies', 2, 'failed')
        self.assertIn('crashed again after 2 restarts within 600 s', down['reason'])
        self.assertIn('guest dies stays down', self.do('cluster', 'status')['trouble'])
        self.assertRegex(self.metrics(), r'drover_guest_stays_down\{[^}]*dies[^}]*\} 1\b')
        self.do('guest', 'start', 'dies', '--wait')
        self.assertEqual(self.do('cluster', 'status')['trouble'], '')
        self.kill('dies')
        self.after('dies', 3)

    def began(self, name):
        """When its process started, in seconds since the host's boot."""
        with open('/proc/%d/stat' % self.state(name)['pid']) as f:
            return int(f.read().rsplit(')', 1)[1].split()[19]) / os.sysconf('SC_CLK_TCK')

    def test_order(self):
        self.guest('db')
        self.guest('web', '--ha-after', 'db', '--ha-delay', '3s')
        self.guest('proxy', '--ha-after', 'web', '--ha-after', 'db')
        self.assertIn('db needs proxy, which needs web, which needs db',
                      self.cli('guest', 'set', 'db', '--ha-after', 'proxy').stderr)
        self.assertIn("there is no guest 'nobody'", self.cli('guest', 'set', 'db', '--ha-after', 'nobody').stderr)
        self.assertIn('is used by guest', self.cli('guest', 'delete', 'db').stderr)

        # a cold start: nothing runs, and the agent begins
        names = ['db', 'web', 'proxy']
        pids = [self.state(n)['pid'] for n in names]
        self.node.end(signal.SIGKILL)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        until('they are gone', lambda: not any(os.path.exists('/proc/%d' % p) for p in pids))
        for entry in os.listdir(os.path.join(self.node.run, 'guests')):
            os.unlink(os.path.join(self.node.run, 'guests', entry))
        self.node.start()
        until('web says what for', lambda: 'waits' in self.state('web')['reason'])
        until('they run', lambda: all(self.state(n)['phase'] == 'running' and self.state(n)['pid'] not in pids for n in names))
        db, web, proxy = [self.began(n) for n in names]
        self.assertGreaterEqual(web - db, 3)
        self.assertGreaterEqual(proxy, web)

        # an agent that comes later finds them as they are
        pids = [self.state(n)['pid'] for n in names]
        self.node.restart(signal.SIGKILL)
        until('they are adopted', lambda: [self.state(n)['pid'] for n in names] == pids)

        # what is switched off holds nobody up, and it is said
        for name in reversed(names):
            self.do('guest', 'stop', name, '--force', '--wait')
        self.do('guest', 'start', 'web', '--wait')
        self.assertIn('guest web starts without db, which it needs: it is switched off', self.node.log_text())

    def test_mistakes(self):
        for option, value in (('--on-panic', 'reset'), ('--on-hang', 'keep'), ('--on-crash', 'keep'),
                              ('--restart-attempts', '101'), ('--restart-window', 'soon'), ('--restart-delay', '2h'), ('--ha-after', 'Nobody'),
                              ('--ha-delay', '1h')):
            done = self.cli('guest', 'create', 'wrong', '--kernel', 'kernel', option, value)
            self.assertEqual(done.returncode, 1, done.stdout)
            self.assertIn('spec.%s' % option[2:].replace('-', '_'), done.stderr)


if __name__ == '__main__':
    unittest.main(verbosity=2)
