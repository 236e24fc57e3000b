#!/usr/bin/python3
"""Stock Debian kernels that panic and hang: what drover-guest sees of it, tells, and does.

usage: guest_health.py [--engine interp|dbt|kvm] [unittest arguments]."""
import json
import os
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import initrd  # noqa: E402
import kernels  # noqa: E402
from guest import Guest, PROGRAM  # noqa: E402

ENGINE = os.environ.get('DROVER_ENGINE', 'dbt')
MODULES = initrd.MODULES + ['pvpanic-mmio', 'i6300esb']
SECONDS = 200  # for a guest that hangs; machines differ
FEED = 'watchdog -T %d -t 1 /dev/watchdog'  # goes on in the background


class Health(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        cls.kernel = kernels.vmlinuz('generic')
        cls.initrd = os.path.join(cls.directory.name, 'initrd')
        initrd.build(cls.initrd, kernels.modules('generic'), modules=MODULES)

    @classmethod
    def tearDownClass(cls):
        cls.directory.cleanup()

    def guest(self, *options, cmdline='console=ttyS0 quiet'):
        return Guest('--engine', ENGINE, '--kernel', self.kernel, '--initrd', self.initrd, '--cmdline', cmdline,
                     '--memory', '256M', *options, seconds=SECONDS)

    def watch(self, g):
        watcher = subprocess.Popen([PROGRAM, 'ctl', 'unix:' + g.control, 'watch'], stdout=subprocess.PIPE,
                                   universal_newlines=True)
        self.addCleanup(watcher.stdout.close)
        self.addCleanup(watcher.wait)
        self.addCleanup(watcher.kill)
        return watcher

    def hears(self, watcher, event):
        for line in watcher.stdout:
            said = json.loads(line)
            if said['event'] == event:
                return said
        self.fail('%s was not told' % event)

    def test_panic_is_told(self):
        with self.guest() as g:
            g.ready()
            watcher = self.watch(g)
            self.assertEqual(g.ctl('status')['trouble'], '')
            g.console.sendall(b'echo c >/proc/sysrq-trigger\n')
            said = self.hears(watcher, 'panicked')
            self.assertEqual((said['trouble'], said['panics'], said['state']), ('panicked', 1, 'running'))
            # it stays so where the guest is loaded again, and until it is reset
            path = os.path.join(self.directory.name, 'saved')
            g.ctl('save', path)
            with self.guest('--load', path) as again:
                self.assertEqual(again.ctl('status')['trouble'], 'panicked')
                again.ctl('reset')
                again.ready()
                self.assertEqual(again.ctl('status')['trouble'], '')

    def test_panic_resets(self):
        with self.guest('--on-panic', 'reset') as g:
            g.ready()
            g.console.sendall(b'echo c >/proc/sysrq-trigger\n')
            g.expect('guest: ready')  # in the middle of a line of the panic's
            self.assertEqual((g.ctl('status')['trouble'], g.ctl('status')['panics']), ('', 1))

    def test_fed_watchdog(self):
        with self.guest() as g:
            g.ready()
            self.assertFalse(g.ctl('status')['watchdog'])
            g.check(FEED % 4)
            time.sleep(8)
            status = g.ctl('status')
            self.assertEqual((status['watchdog'], status['hangs']), (True, 0))
            # neither the time that it is paused counts, nor that in which it is a file
            g.ctl('pause')
            time.sleep(6)
            g.ctl('resume')
            path = os.path.join(self.directory.name, 'fed')
            g.ctl('save', path)
            time.sleep(6)
            with self.guest('--load', path) as again:
                again.check('echo here')
                time.sleep(6)
                status = again.ctl('status')
                self.assertEqual((status['watchdog'], status['hangs'], status['trouble']), (True, 0, ''))

    def test_hang_resets(self):
        with self.guest() as g:
            g.ready()
            watcher = self.watch(g)
            g.check(FEED % 4)
            g.check('kill -STOP $(pidof watchdog)')
            said = self.hears(watcher, 'hung')
            self.assertEqual((said['trouble'], said['hangs']), ('hung', 1))
            g.ready()
            self.assertEqual(g.ctl('status')['trouble'], '')
            self.assertEqual(g.check('cat /sys/class/watchdog/watchdog0/bootstatus'), '32')  # by the watchdog

    def test_hang_is_told(self):
        with self.guest('--on-hang', 'tell') as g:
            g.ready()
            watcher = self.watch(g)
            g.check(FEED % 4)
            g.check('kill -STOP $(pidof watchdog)')
            self.hears(watcher, 'hung')
            self.assertEqual(g.check('echo still here'), 'still here')
            g.check('kill -CONT $(pidof watchdog); sleep 2')
            self.assertEqual(g.ctl('status')['trouble'], '')  # it was only slow


if __name__ == '__main__':
    if '--engine' in sys.argv:
        at = sys.argv.index('--engine')
        ENGINE = sys.argv[at + 1]
        del sys.argv[at:at + 2]
    unittest.main(verbosity=2)
