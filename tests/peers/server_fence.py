#!/usr/bin/python3
"""Fenced exports: whoever comes with a newer epoch is the owner from then on, whatever the older one does, and whatever
is killed."""
import os
import signal
import struct
import subprocess
import tempfile
import unittest

from nbd_wire import *
from served import BUILD, PROGRAM, Served

MIB = 1 << 20
FENCE = 64 << 10


class Fence(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix='drover-fence-')
        self.addCleanup(folder.cleanup)
        self.image = os.path.join(folder.name, 'member.img')
        with open(self.image, 'wb') as f:
            f.truncate(4 * MIB + FENCE)

    def serve(self, between='', *more):
        stack = '[{"driver":"fence"},%s{"driver":"raw","file":"%s"}]' % (between, self.image)
        server = Served('--export', 'vol=' + stack, '--export', 'plain=mem:1M', *more)
        self.addCleanup(self.stop, server)
        return server

    def stop(self, server):
        if os.path.exists(server.dir):
            server.stop()

    def go(self, server, name):
        wire = Wire(server.sock)
        self.addCleanup(wire.s.close)
        return wire.go(name.encode()), wire

    def granted(self, server, name):
        kind, wire = self.go(server, name)
        self.assertEqual(kind, ACK, name)
        return wire

    def test_who_is_let_in(self):
        server = self.serve()
        self.assertEqual(self.go(server, 'vol')[0], POLICY)
        self.assertEqual(self.go(server, 'plain@3')[0], POLICY)
        for name in ('vol@', 'vol@x', 'vol@05', 'vol@0', 'vol@99999999999999999999', '@5', 'other@5'):
            self.assertEqual(self.go(server, name)[0], UNKNOWN, name)
        five = self.granted(server, 'vol@5')
        self.assertEqual(five.size, 4 * MIB)
        self.assertEqual(self.go(server, 'vol@4')[0], POLICY)
        self.assertTrue(self.granted(server, 'vol@5').alive())
        self.assertTrue(five.alive())
        self.assertTrue(self.granted(server, 'vol@9223372036854775807').alive())
        self.assertTrue(five.closed())

    def test_asking_is_not_taking(self):
        server = self.serve()
        five = self.granted(server, 'vol@5')
        with Wire(server.sock) as wire:
            self.assertEqual(wire.go(b'vol@6', option=INFO), ACK)
            self.assertEqual(wire.size, 4 * MIB)
            self.assertEqual(wire.ask(STRUCTURED_REPLY), ACK)
            self.assertEqual(wire.contexts(b'vol@6', b'base:allocation')[0], ACK)
            self.assertEqual(wire.contexts(b'vol', b'base:allocation')[0], POLICY)
        self.assertTrue(five.alive())
        self.assertTrue(self.granted(server, 'vol@5').alive())
        with Wire(server.sock) as wire:
            names = [b[4:4 + struct.unpack('>I', b[:4])[0]] for k, b in wire.opt_all(LIST) if k == SERVER]
        self.assertEqual(names, [b'vol', b'plain'])

    def test_export_name(self):
        server = self.serve()
        with Wire(server.sock) as wire:
            wire.opt(EXPORT_NAME, b'vol@7')
            self.assertEqual(struct.unpack('>QH', wire.get(10))[0], 4 * MIB)
            self.assertTrue(wire.alive())
        with Wire(server.sock) as wire:
            wire.opt(EXPORT_NAME, b'vol@6')
            self.assertTrue(wire.closed())

    def test_killed(self):
        """What was granted was on the disk before."""
        for epoch in (3, 8, 9):
            server = self.serve()
            self.granted(server, 'vol@%d' % epoch)
            server.process.send_signal(signal.SIGKILL)
            server.process.wait()
            server = self.serve()
            self.assertEqual(self.go(server, 'vol@%d' % (epoch - 1))[0], POLICY)
            self.assertTrue(self.granted(server, 'vol@%d' % epoch).alive())
            self.stop(server)

    def test_takeover_waits_for_what_is_under_way(self):
        """The older owner's write is in the disk's hands when the newer one comes: it is done before anything of the
        newer one, and the older one is never told."""
        server = self.serve('{"driver":"fault","rules":[{"op":"write","offset":65536,"length":4096,"delay":"1s"}]},')
        old = self.granted(server, 'vol@5')
        old.send(WRITE, 0, 4096, payload=b'o' * 4096)
        new = self.granted(server, 'vol@6')
        self.assertRaises(Closed, old.get, 1)
        cookie = new.send(READ, 0, 4096)
        self.assertEqual(new.reply(cookie, 4096).data[0], b'o' * 4096)
        cookie = new.send(WRITE, 0, 4096, payload=b'n' * 4096)
        self.assertEqual(new.reply(cookie).error, 0)
        cookie = new.send(READ, 0, 4096)
        self.assertEqual(new.reply(cookie, 4096).data[0], b'n' * 4096)

    def test_race(self):
        """Many come at once, each with an epoch of its own: the newest stays, and it alone."""
        server = self.serve('{"driver":"fault","rules":[{"op":"write","delay":"20ms"}]},')
        wires = [Wire(server.sock) for _ in range(20)]
        for n, wire in enumerate(wires):
            self.addCleanup(wire.s.close)
            name = b'vol@%d' % (n * 7 % 20 + 1)
            wire.opt(GO, struct.pack('>I', len(name)) + name + struct.pack('>HH', 1, 3))
        self.assertTrue(self.granted(server, 'vol@20').alive())
        alive = 0
        for n, wire in enumerate(wires):
            try:
                while wire.opt_reply()[1] == REP_INFO:
                    pass
                alive += wire.alive()
            except (Closed, AssertionError, BrokenPipeError):
                pass
            self.assertEqual(n * 7 % 20 + 1 == 20, alive == 1 and n * 7 % 20 + 1 == 20)
        self.assertEqual(alive, 1)

    def test_not_recorded(self):
        """Where the disk does not take the epoch, nobody gets in by it, and the owner stays."""
        server = self.serve()
        self.granted(server, 'vol@5')
        self.stop(server)
        server = self.serve('{"driver":"fault","rules":[{"op":"write","offset":0,"length":8192,"error":"EIO"}]},')
        five = self.granted(server, 'vol@5')
        self.assertEqual(self.go(server, 'vol@6')[0], PLATFORM)
        self.assertEqual(self.go(server, 'vol@6')[0], PLATFORM)
        self.assertTrue(five.alive())
        self.assertTrue(self.granted(server, 'vol@5').alive())
        self.stop(server)
        server = self.serve('', '--read-only')
        self.assertTrue(self.granted(server, 'vol@5').alive())
        self.assertEqual(self.go(server, 'vol@6')[0], PLATFORM)

    def refuses_to_start(self):
        stack = '[{"driver":"fence"},{"driver":"raw","file":"%s"}]' % self.image
        done = subprocess.run([PROGRAM, '--listen', 'unix:' + self.image + '.sock', stack], stderr=subprocess.PIPE,
                              timeout=30, env=dict(os.environ, ASAN_OPTIONS='detect_leaks=0'))
        self.assertNotEqual(done.returncode, 0)
        return done.stderr.decode()

    def damage(self, offset):
        with open(self.image, 'r+b') as f:
            f.seek(offset)
            f.write(b'\xff' * 600)

    def test_damage(self):
        server = self.serve()
        self.granted(server, 'vol@5') # slot 1
        self.granted(server, 'vol@6') # slot 0
        self.stop(server)
        self.damage(0) # as if the last record had been torn
        server = self.serve()
        self.assertEqual(self.go(server, 'vol@4')[0], POLICY)
        self.assertTrue(self.granted(server, 'vol@5').alive())
        self.stop(server)
        self.damage(4096)
        self.assertIn("somebody's data, or damaged", self.refuses_to_start())

    def test_foreign_data(self):
        self.damage(1000)
        self.assertIn("somebody's data", self.refuses_to_start())
        with open(self.image, 'r+b') as f:
            f.truncate(FENCE)
        self.assertIn('of which a fence takes 65536', self.refuses_to_start())

    def test_our_client(self):
        server = self.serve()
        tool = os.path.join(BUILD, 'drover-img')
        source = self.image + '.source'
        with open(source, 'wb') as f:
            f.write(os.urandom(4 * MIB))
        uri = 'nbd+unix:///vol@%d?socket=' + server.sock
        run = lambda *words: subprocess.run([tool, *words], stderr=subprocess.PIPE, stdout=subprocess.PIPE)
        self.assertEqual(run('copy', source, uri % 7).returncode, 0)
        self.assertEqual(run('compare', source, uri % 7).returncode, 0)
        old = run('info', uri % 6)
        self.assertNotEqual(old.returncode, 0)
        self.assertIn(b'that epoch is over', old.stderr)


if __name__ == '__main__':
    unittest.main()
