#!/usr/bin/python3
"""A guest whose disk is on an NBD server that is killed in the middle of its writes and started again: it waits and goes on,
with nothing lost; or, where the stack says so, it is told of an error and lives on.

usage: guest_lost_disk.py [--engine interp|dbt|kvm] [unittest arguments]"""
import hashlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import guest_boot  # noqa: E402
import kernels  # noqa: E402
from guest import BUILD, Guest  # noqa: E402

ENGINE = os.environ.get('DROVER_ENGINE', 'dbt')
SECONDS = 200
MIB = 1 << 20
DISK_BYTES = 32 * MIB


class LostDisk(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.kernel, cls.initrd = kernels.vmlinuz('cloud'), guest_boot.ramdisk('cloud')

    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix='drover-lost-')
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        self.image = os.path.join(self.directory, 'disk.img')
        with open(self.image, 'wb') as f:
            f.truncate(DISK_BYTES)
        with socket.socket() as s:
            s.bind(('127.0.0.1', 0))
            self.port = s.getsockname()[1]
        self.server = None
        self.addCleanup(self.kill)
        self.serve()

    def serve(self):
        log = open(os.path.join(self.directory, 'log'), 'a')
        with log:
            self.server = subprocess.Popen(
                [os.path.join(BUILD, 'drover-nbd'), '--listen', 'tcp:127.0.0.1:%d' % self.port, 'raw:' + self.image],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        limit = time.monotonic() + 60
        while subprocess.call(['nbdinfo', '--size', 'nbd://127.0.0.1:%d' % self.port], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL):
            self.assertIsNone(self.server.poll(), self.said())
            self.assertLess(time.monotonic(), limit)

    def said(self):
        with open(os.path.join(self.directory, 'log')) as f:
            return f.read()

    def kill(self):
        if self.server:
            self.server.kill()
            self.server.wait()
        self.server = None

    def guest(self, *options, reconnect=None, load=None):
        """A disk of the server's, slow enough to be lost half-way."""
        client = '{"driver":"nbd","uri":"nbd://127.0.0.1:%d"%s}' % (
            self.port, ',"reconnect":"%s"' % reconnect if reconnect else '')
        stack = '[{"driver":"throttle","bps":"3M","bps-burst":"256K"},%s]' % client
        source = ['--load', load] if load else ['--kernel', self.kernel, '--initrd', self.initrd, '--cmdline',
                                                guest_boot.CMDLINE]
        return Guest('--engine', ENGINE, '--memory', '256M', '--disk', stack, *source, *options, seconds=SECONDS)

    def written(self, guest):
        disk = guest.ctl('stats')['disks'][0]
        return disk.get('write', {}).get('bytes', 0)

    def begin(self, guest):
        """12 MiB of noise on their way to the disk, in the background; returns when a part of it is there."""
        guest.check('dd if=/dev/urandom of=/tmp/r bs=64k count=192 2>/dev/null')
        sent = guest.check('md5sum < /tmp/r').split()[0]
        guest.check('(dd if=/tmp/r of=/dev/vda bs=64k oflag=direct conv=fsync 2>/tmp/err; echo $? > /tmp/code) &')
        limit = time.monotonic() + SECONDS
        while self.written(guest) < 2 * MIB:
            self.assertLess(time.monotonic(), limit)
        return sent

    def end(self, guest):
        """dd's exit code, which comes when all is written."""
        return int(guest.check('while [ ! -s /tmp/code ]; do sleep 0.1; done; cat /tmp/code').split()[-1])

    def on_the_host(self):
        with open(self.image, 'rb') as f:
            return hashlib.md5(f.read(12 * MIB)).hexdigest()

    def test_waits_and_goes_on(self):
        with self.guest() as g:
            sent = self.begin(g.ready())
            self.kill()
            self.assertLess(self.written(g), 12 * MIB)
            self.assertEqual(g.check('[ -s /tmp/code ] || echo waits'), 'waits')
            self.assertEqual(g.check('echo $((6*7))'), '42')  # the rest of it lives
            self.serve()
            self.assertEqual(self.end(g), 0)
            self.assertEqual(g.check('echo 3 > /proc/sys/vm/drop_caches; dd if=/dev/vda bs=64k count=192 2>/dev/null | '
                                     'md5sum').split()[0], sent)
            self.assertNotIn('I/O error', g.check('dmesg'))
            stats = g.ctl('stats')['disks'][0]
            self.assertEqual(stats['write']['errors'], 0)
            self.assertEqual(self.on_the_host(), sent)

    def test_is_told_where_the_stack_says_so(self):
        with self.guest(reconnect='1s') as g:
            self.begin(g.ready())
            self.kill()
            self.assertNotEqual(self.end(g), 0)
            self.assertIn('I/O error', g.check('dmesg'))
            self.assertEqual(g.check('echo alive').split('\n')[-1], 'alive')
            self.serve()  # and the disk is there again
            g.check('n=0; until dd if=/dev/vda of=/dev/null bs=64k count=8 iflag=direct 2>/dev/null; do n=$((n+1)); '
                    '[ $n -lt 300 ] || exit 1; sleep 0.1; done')
            g.check('dd if=/tmp/r of=/dev/vda bs=64k count=8 oflag=direct 2>/dev/null')

    def test_save_and_reset_without_the_disk(self):
        """They name the disk; with the disk back the save is whole."""
        saved = os.path.join(self.directory, 'saved')
        with self.guest() as g:
            sent = self.begin(g.ready())
            self.kill()
            for command in (['save', saved], ['reset']):
                code, _, error = g.ctl(*command, check=False)
                self.assertEqual(code, 1)
                self.assertIn('disks[0] has not answered', error)
            self.assertFalse(os.path.exists(saved))
            self.assertEqual(g.ctl('status')['state'], 'running')
            self.assertEqual(g.check('echo alive').split('\n')[-1], 'alive')
            before = self.written(g)
            self.serve()
            limit = time.monotonic() + SECONDS
            while self.written(g) == before:
                self.assertLess(time.monotonic(), limit)
            g.ctl('save', saved)
            g.ctl('stop')
            self.assertEqual(g.wait(), 0)
        with self.guest(load=saved) as g:
            self.assertEqual(self.end(g), 0)
            self.assertEqual(self.on_the_host(), sent)
            self.assertNotIn('I/O error', g.check('dmesg'))


if __name__ == '__main__':
    if len(sys.argv) > 2 and sys.argv[1] == '--engine':
        ENGINE = sys.argv[2]
        del sys.argv[1:3]
    unittest.main(verbosity=2)
