#!/usr/bin/python3
"""Everything proto.md says of a server, and everything a hostile client can say to one.

Each test ends by finding the connection in step or closed, and the server serving others."""
import os
import random
import signal
import struct
import subprocess
import unittest

from nbd_wire import *
from served import PROGRAM, ServedTest

MIB = 1 << 20


class Base(ServedTest):
    def wire(self, **kw):
        return Wire(self.server.sock, **kw)

    def serves_others(self):
        with self.wire() as w:
            self.assertTrue(w.start(self.name).alive())

    name = b''

    def tearDown(self):
        self.serves_others()


class Handshake(Base):
    args = ('mem:64M', '--description', 'scratch', '--export', 'two=mem:1M', '--handshake-timeout', '2s')

    def test_greeting(self):
        with self.wire() as w:
            self.assertEqual(w.server_flags, 3)

    def test_unknown_client_flag(self):
        with self.wire(flags=3 | 4) as w:
            self.assertTrue(w.closed())

    def test_list(self):
        with self.wire() as w:
            replies = w.opt_all(LIST)
            names = [b[4:4 + struct.unpack('>I', b[:4])[0]] for k, b in replies if k == SERVER]
            self.assertEqual(names, [b'', b'two'])
            self.assertIn(b'scratch', replies[0][1])
            self.assertEqual(w.ask(LIST, b'x'), INVALID)
            self.assertEqual(w.ask(ABORT), ACK)
            self.assertTrue(w.closed())

    def test_unknown_options_keep_in_step(self):
        with self.wire() as w:
            for option in (0, PEEK, 12, 99, 0xffffffff):
                self.assertEqual(w.ask(option, os.urandom(100)), UNSUP)
            self.assertTrue(w.start().alive())

    def test_bad_option_magic(self):
        with self.wire() as w:
            w.put(struct.pack('>QII', IHAVEOPT + 1, LIST, 0))
            self.assertTrue(w.closed())

    def test_oversize_option_is_skipped(self):
        with self.wire() as w:
            self.assertEqual(w.ask(INFO, bytes(70000)), TOO_BIG)
            self.assertEqual(w.ask(99, bytes(2 * MIB)), TOO_BIG)
            self.assertTrue(w.start().alive())

    def test_monstrous_option(self):
        with self.wire() as w:
            w.opt(INFO, length=0xffffffff)
            self.assertTrue(w.closed())

    def test_export_name(self):
        for flags, pad in ((3, 0), (1, 124)):
            with self.wire(flags=flags) as w:
                w.opt(EXPORT_NAME, b'two')
                size, tflags = struct.unpack('>QH', w.get(10))
                self.assertEqual(size, MIB)
                self.assertEqual(tflags & 0x7, 5)
                self.assertEqual(w.get(pad), bytes(pad))
                self.assertTrue(w.alive())
        with self.wire() as w:
            w.opt(EXPORT_NAME, b'three')
            self.assertTrue(w.closed())
        with self.wire() as w:
            w.opt(EXPORT_NAME, b'x' * 4096)
            self.assertTrue(w.closed())

    def test_info_and_go(self):
        with self.wire() as w:
            self.assertEqual(w.go(b'two', (1, 2, 3), INFO), ACK)
            self.assertEqual(w.infos[1], b'two')
            low, preferred, high = struct.unpack('>III', w.infos[3])
            self.assertEqual((low, preferred, high), (1, 4096, 64 * MIB))
            self.assertEqual(w.go(b'', (2, 2, 99), INFO), ACK)
            self.assertEqual(w.infos[2], b'scratch')
            self.assertEqual(w.go(b'none'), UNKNOWN)
            self.assertEqual(w.go(b'x' * 5000), TOO_BIG)
            for bad in (b'', b'\0\0\0', struct.pack('>I', 5) + b'two\0\0', struct.pack('>IH', 0, 3),
                        struct.pack('>IH', 0, 0) + b'z', struct.pack('>I', 0xfffffff0) + b'abcdef'):
                self.assertEqual(w.ask(GO, bad), INVALID)
            self.assertEqual(w.go(b'two', ()), ACK)
            self.assertTrue(w.alive())

    def test_switches(self):
        with self.wire() as w:
            self.assertEqual(w.ask(STRUCTURED_REPLY, b'1'), INVALID)
            self.assertEqual(w.ask(STRUCTURED_REPLY), ACK)
            self.assertEqual(w.ask(STRUCTURED_REPLY), ACK)
            self.assertEqual(w.ask(EXT_HEADERS, b'1'), INVALID)
            self.assertEqual(w.ask(EXT_HEADERS), ACK)
            self.assertEqual(w.ask(STRUCTURED_REPLY), EXT_HEADER_REQD)
            w.opt(EXPORT_NAME, b'')
            self.assertTrue(w.closed())

    def test_meta_contexts(self):
        both = {b'base:allocation', b'qemu:allocation-depth'}
        with self.wire() as w:
            self.assertEqual(w.contexts(b'', b'base:allocation')[0], INVALID)
            w.ask(STRUCTURED_REPLY)
            self.assertEqual(set(w.contexts(b'', option=LIST_META)[1]), both)
            self.assertEqual(set(w.contexts(b'', b'qemu:', option=LIST_META)[1]), {b'qemu:allocation-depth'})
            self.assertEqual(w.contexts(b'', b'base:'), (ACK, {}))
            self.assertEqual(w.contexts(b'', b'x-none:1', b'base:allocationx', b'', b'base'), (ACK, {}))
            self.assertEqual(w.contexts(b'none', b'base:allocation')[0], UNKNOWN)
            for bad in (b'', struct.pack('>II', 0, 1), struct.pack('>III', 0, 1, 99) + b'base:',
                        struct.pack('>III', 0, 1, 5) + b'base:x', struct.pack('>II', 0, 0xffffffff)):
                self.assertEqual(w.ask(SET_META, bad), INVALID)
            kind, ids = w.contexts(b'', b'base:allocation', b'base:allocation')
            self.assertEqual(len(ids), 1)
            self.assertEqual(w.go(b'two'), ACK)  # chosen for another export: not in force
            self.assertEqual(w.do(STATUS, 0, 512).error, EINVAL)

    def test_too_many_options(self):
        with self.wire() as w:
            try:
                for _ in range(5000):
                    w.ask(99)
                self.fail('never refused')
            except (Closed, BrokenPipeError, ConnectionResetError):
                pass

    def test_silence_is_bounded(self):
        silent = [self.wire(greet=False) for _ in range(20)]
        half = self.wire()
        half.put(struct.pack('>Q', IHAVEOPT))
        self.serves_others()
        for w in silent + [half]:
            self.assertTrue(w.closed())
            w.s.close()

    def test_starttls_without_tls(self):
        with self.wire() as w:
            self.assertEqual(w.ask(STARTTLS), POLICY)
            self.assertTrue(w.start().alive())

    def test_garbage(self):
        rng = random.Random(1)
        for i in range(300):
            with self.wire(greet=i % 2 == 0) as w:
                try:
                    w.put(rng.randbytes(rng.randrange(1, 300)))
                except (BrokenPipeError, ConnectionResetError):
                    pass


class Transmission(Base):
    args = ('mem:256M', '--export', 'ro=mem:1M', '--export',
            'deep=[{"driver": "throttle", "iops": 1000000}, {"driver": "mem", "size": "256M"}]')
    size = 256 * MIB

    def each_style(self):
        for structured, extended in ((False, False), (True, False), (False, True)):
            with self.wire() as w:
                yield w.start(structured=structured, extended=extended)

    def test_all_commands(self):
        for w in self.each_style():
            data = os.urandom(100000)
            self.assertEqual(w.write(777, data), 0)
            self.assertEqual(w.read(777, len(data)), data)
            self.assertEqual(w.write(0, b'x' * 4096, FUA), 0)
            self.assertEqual(w.do(FLUSH).error, 0)
            self.assertEqual(w.do(CACHE, 0, MIB).error, 0)
            self.assertEqual(w.do(ZEROES, 1000, 5000, FUA | NO_HOLE | FAST_ZERO).error, 0)
            self.assertEqual(w.read(1000, 5000), bytes(5000))
            self.assertEqual(w.do(TRIM, 0, MIB, FUA).error, 0)
            self.assertTrue(w.alive())
            w.send(DISC)
            self.assertTrue(w.closed())

    def test_unknown_commands_and_flags(self):
        for w in self.each_style():
            for kind in (9, 99, 0xffff):
                self.assertEqual(w.do(kind, 0, 512).error, EINVAL)
            for kind in (READ, FLUSH, TRIM, CACHE, ZEROES):
                self.assertEqual(w.do(kind, 0, 0 if kind == FLUSH else 512, 1 << 15).error, EINVAL)
            self.assertEqual(w.do(TRIM, 0, 512, NO_HOLE).error, EINVAL)
            self.assertEqual(w.do(READ, 0, 512, REQ_ONE).error, EINVAL)
            self.assertEqual(w.do(READ, 0, 512, FUA).error, 0)
            cookie = w.send(WRITE, 0, 512, 1 << 14, bytes(512))
            self.assertEqual(w.reply(cookie).error, EINVAL)
            self.assertEqual(w.do(FLUSH, 0, 512).error, EINVAL)
            self.assertTrue(w.alive())

    def test_df_needs_negotiation(self):
        with self.wire() as w:
            self.assertEqual(w.start().do(READ, 0, 512, DF).error, EINVAL)
            self.assertEqual(w.do(READ, 0, 512, PAYLOAD_LEN).error, EINVAL)

    def test_range(self):
        end = self.size
        for w in self.each_style():
            self.assertEqual(w.do(READ, end, 1).error, EINVAL)
            self.assertEqual(w.do(READ, end - 1, 2).error, EINVAL)
            self.assertEqual(w.do(READ, (1 << 64) - 1, 2).error, EINVAL)
            self.assertEqual(w.write(end - 1, b'ab'), ENOSPC)
            self.assertEqual(w.write((1 << 64) - 512, bytes(512)), ENOSPC)
            self.assertEqual(w.do(ZEROES, end, 1).error, ENOSPC)
            self.assertEqual(w.do(TRIM, 0, end + 1).error, EINVAL)
            self.assertEqual(w.do(CACHE, end - 1, 2).error, EINVAL)
            self.assertTrue(w.alive())

    def test_zero_length(self):
        for w in self.each_style():
            for kind in (READ, TRIM, CACHE, ZEROES):
                self.assertEqual(w.do(kind, 4096, 0).error, 0)
            if not w.extended:
                self.assertEqual(w.do(WRITE, 4096, 0).error, 0)
            self.assertTrue(w.alive())

    def test_oversize(self):
        with self.wire() as w:
            w.start()
            self.assertEqual(w.do(READ, 0, 64 * MIB + 1).error, EINVAL)
            self.assertEqual(w.write(0, bytes(65 * MIB)), EINVAL)  # read away, in step
            self.assertTrue(w.alive())
            self.assertEqual(w.write(0, bytes(64 * MIB)), 0)
            w.send(WRITE, 0, 0xffffffff)
            self.assertTrue(w.closed())
        with self.wire() as w:
            w.start(extended=True)
            self.assertEqual(w.do(READ, 0, 1 << 40).error, EINVAL)
            self.assertEqual(w.do(READ, 0, 65 * MIB).error, EOVERFLOW)
            w.send(WRITE, 0, 1 << 62, PAYLOAD_LEN)
            self.assertTrue(w.closed())

    def test_extended_payload_rules(self):
        with self.wire() as w:
            w.start(extended=True)
            self.assertEqual(w.do(WRITE, 0, 512).error, EINVAL)  # no PAYLOAD_LEN: no payload follows
            cookie = w.send(TRIM, 0, 100, PAYLOAD_LEN, b'p' * 100)
            self.assertEqual(w.reply(cookie).error, EINVAL)
            cookie = w.send(READ, 4096, 8, PAYLOAD_LEN, b'p' * 8)
            self.assertEqual(w.reply(cookie).error, EINVAL)
            self.assertEqual(w.reply_offset, 4096)
            self.assertTrue(w.alive())

    def test_bad_magic(self):
        with self.wire() as w:
            w.start().send(READ, 0, 512, magic=EXT_REQUEST)
            self.assertTrue(w.closed())
        with self.wire() as w:
            w.start(extended=True).send(READ, 0, 512, magic=REQUEST)
            self.assertTrue(w.closed())

    def test_resize_not_offered(self):
        for w in self.each_style():
            self.assertFalse(w.flags & 1 << 9)
            self.assertEqual(w.do(RESIZE, MIB).error, EPERM)
            self.assertTrue(w.alive())

    def test_sparse_read(self):
        with self.wire() as w:
            w.start(structured=True)
            self.assertEqual(w.do(TRIM, 0, 4 * MIB).error, 0)
            w.write(MIB, b'd' * 4096)
            r = w.do(READ, 0, 2 * MIB)
            self.assertEqual(r.flat(0, 2 * MIB), bytes(MIB) + b'd' * 4096 + bytes(MIB - 4096))
            self.assertEqual(r.holes, {0: MIB, MIB + 4096: MIB - 4096})
            r = w.do(READ, 0, 2 * MIB, DF)
            self.assertEqual((r.chunks, r.holes), (1, {}))
            w.do(TRIM, 0, 4 * MIB)
            for at in range(0, 4 * MIB, 65536):  # more pieces than a reply has chunks
                w.write(at, b'e' * 512)
            r = w.do(READ, 0, 4 * MIB)
            self.assertLessEqual(r.chunks, 32)
            self.assertEqual(r.flat(0, 4 * MIB), (b'e' * 512 + bytes(65024)) * 64)

    def test_block_status(self):
        for extended in (False, True):
            with self.wire() as w:
                w.start(structured=not extended, extended=extended,
                        contexts=(b'base:allocation', b'qemu:allocation-depth'))
                w.do(TRIM, 0, self.size)
                w.write(MIB, bytes(65536))
                r = w.do(STATUS, 0, 2 * MIB)
                self.assertEqual(r.status[w.ids[b'base:allocation']], [(MIB, 3), (65536, 0), (MIB - 65536, 3)])
                self.assertEqual(r.status[w.ids[b'qemu:allocation-depth']],
                                 [(MIB, 0), (65536, 1), (MIB - 65536, 0)])
                r = w.do(STATUS, 512, 2 * MIB, REQ_ONE)
                self.assertEqual(r.status[w.ids[b'base:allocation']], [(MIB - 512, 3)])
                self.assertEqual(w.do(STATUS, 0, 0).error, EINVAL)
                self.assertEqual(w.do(STATUS, self.size, 1).error, EINVAL)
                self.assertTrue(w.alive())

    def test_block_status_filter(self):
        with self.wire() as w:
            w.start(extended=True, contexts=(b'base:allocation', b'qemu:allocation-depth'))
            self.assertTrue(w.flags & 1 << 12)
            depth = w.ids[b'qemu:allocation-depth']

            def ask(*ids, length=MIB):
                body = struct.pack('>Q', length) + b''.join(struct.pack('>I', i) for i in ids)
                return w.reply(w.send(STATUS, 0, len(body), PAYLOAD_LEN, body))

            self.assertEqual(list(ask(depth).status), [depth])
            self.assertEqual(len(ask(*w.ids.values()).status), 2)
            self.assertEqual(ask(depth, depth).error, EINVAL)
            self.assertEqual(ask(99).error, EINVAL)
            self.assertEqual(ask().error, EINVAL)
            self.assertEqual(ask(*range(1000)).error, EINVAL)
            self.assertEqual(w.reply(w.send(STATUS, 0, 3, PAYLOAD_LEN, b'abc')).error, EINVAL)
            self.assertEqual(w.do(STATUS, 0, MIB).error, 0)

    def test_status_needs_context(self):
        with self.wire() as w:
            self.assertEqual(w.start(structured=True).do(STATUS, 0, 512).error, EINVAL)

    def test_pipelining(self):
        for w in self.each_style():
            cookies = {}
            for i in range(200):
                w.write(i * 512, bytes([i]) * 512)
            for i in range(200):
                cookies[w.send(READ, i * 512, 512)] = i
            while cookies:
                _, cookie, done, kind, body = w.chunk()
                i = cookies.pop(cookie)
                data = w.get(512) if kind is None else body[8:]
                self.assertEqual(data, bytes([i]) * 512)

    def test_reader_that_stops(self):
        before = self.server.rss_bytes()
        deaf = [self.wire(timeout=5) for _ in range(4)]
        for w in deaf:
            w.start(b'deep')  # a stack without a place for data: every request has a buffer
            w.s.setblocking(False)
            head = b''.join(struct.pack('>IHHQQI', REQUEST, 0, READ, i, 0, MIB) for i in range(2000))
            try:
                while head:
                    head = head[w.s.send(head):]
            except BlockingIOError:
                pass
        for _ in range(5):
            self.serves_others()
        grown = self.server.rss_bytes() - before
        self.assertLess(grown, 4 * 3 * 70 * MIB)  # sanitizers triple it; 2000 MiB each were asked for
        for w in deaf:
            w.s.close()

    def test_cut_in_payload(self):
        for cut in (1, 27, 28, 29, 1000):
            with self.wire() as w:
                w.start()
                w.put((struct.pack('>IHHQQI', REQUEST, 0, WRITE, 1, 0, 4096) + bytes(4096))[:cut])

    def test_leave_with_requests_in_flight(self):
        for _ in range(20):
            with self.wire() as w:
                w.start()
                for i in range(50):
                    w.send(READ, i * 4096, 65536)

    def test_disc_answers_first(self):
        with self.wire() as w:
            w.start()
            cookies = [w.send(READ, 0, 512) for _ in range(10)]
            w.send(DISC)
            for c in cookies:
                self.assertEqual(w.reply(c, 512).error, 0)
            self.assertTrue(w.closed())

    def test_garbage(self):
        rng = random.Random(2)
        for i in range(300):
            with self.wire() as w:
                w.start(extended=i % 2 == 0)
                try:
                    for _ in range(rng.randrange(1, 20)):
                        w.send(rng.randrange(0, 10), rng.randrange(0, 1 << rng.randrange(1, 64)),
                               rng.randrange(0, 70000), rng.randrange(0, 64), rng.randbytes(rng.randrange(0, 5000)))
                except (BrokenPipeError, ConnectionResetError):
                    pass


class ReadOnly(Base):
    args = ('--read-only', 'mem:1M')

    def test_changes_are_refused(self):
        for extended in (False, True):
            with self.wire() as w:
                w.start(extended=extended)
                self.assertTrue(w.flags & 2)
                self.assertEqual(w.write(0, bytes(100000)), EPERM)
                self.assertEqual(w.do(TRIM, 0, 512).error, EPERM)
                self.assertEqual(w.do(ZEROES, 0, 512).error, EPERM)
                self.assertEqual(w.do(RESIZE, 512).error, EPERM)
                self.assertEqual(w.do(FLUSH).error, 0)
                self.assertTrue(w.alive())


class Large(Base):
    args = ('mem:16T', '--resize')

    def test_64_bit_lengths(self):
        with self.wire() as w:
            w.start(extended=True, contexts=(b'base:allocation',))
            self.assertEqual(w.do(ZEROES, 0, 10 << 40).error, 0)
            self.assertEqual(w.do(TRIM, 4096, 12 << 40).error, 0)
            r = w.do(STATUS, 0, 16 << 40)
            self.assertEqual(r.status[w.ids[b'base:allocation']], [(16 << 40, 3)])

    def test_compact_lengths(self):
        with self.wire() as w:
            w.start(structured=True, contexts=(b'base:allocation',))
            self.assertEqual(w.do(TRIM, 0, 0xffffffff).error, 0)
            r = w.do(STATUS, 0, 0xffffffff)
            self.assertEqual(r.status[w.ids[b'base:allocation']], [(0xffffffff, 3)])

    def test_resize(self):
        with self.wire() as w, self.wire() as other:
            w.start()
            self.assertTrue(w.flags & 1 << 9)
            self.assertEqual(w.do(RESIZE, 17 << 40).error, 0)
            self.assertEqual(w.write((17 << 40) - 512, b'z' * 512), 0)
            other.start()
            self.assertEqual(other.size, 17 << 40)
            self.assertEqual(w.do(RESIZE, 16 << 40).error, EPERM)  # somebody else uses it
            self.assertEqual(w.do(RESIZE, 1 << 63).error, EINVAL)
            self.assertEqual(w.do(RESIZE, 1 << 50).error, ENOSPC)


class Limits(Base):
    args = ('mem:1M', '--max-connections', '3', '--max-in-flight', '2', '--max-memory', '1M')

    def test_connections(self):
        held = [self.wire().start() for _ in range(3)]
        with self.wire(greet=False) as w:
            self.assertTrue(w.closed())
        for w in held:
            self.assertTrue(w.alive())
            w.send(DISC)
            self.assertTrue(w.closed())
            w.s.close()

    def test_in_flight(self):
        with self.wire() as w:
            w.start()
            cookies = [w.send(READ, 0, MIB) for _ in range(50)]
            for c in cookies:
                self.assertEqual(w.reply(c, MIB).error, 0)


class Errors(Base):
    args = ('[{"driver":"fault","rules":[{"op":"write","error":"ENOSPC","offset":65536,"length":4096},'
            '{"op":"read","error":"EIO","offset":131072,"length":4096},{"op":"flush","error":"EIO","after":1}]},'
            '{"driver":"mem","size":"1M"}]',)

    def test_each_error_arrives(self):
        for structured, extended in ((False, False), (True, False), (False, True)):
            with self.wire() as w:
                w.start(structured=structured, extended=extended)
                self.assertEqual(w.write(65536, bytes(4096)), ENOSPC)
                self.assertEqual(w.do(READ, 131072, 4096).error, EIO)
                self.assertTrue(w.alive())


class Departed(Base):
    args = ('[{"driver":"fault","rules":[{"op":"write","offset":4096,"length":4096,"count":1,"delay":"500ms"}]},'
            '{"driver":"mem","size":"1M"}]',)

    def test_an_old_write_does_not_overtake_its_successor(self):
        """A client that lost its connection sends its write again on a new one, then writes anew: the old one, still
        in the stack, must be done before."""
        with self.wire() as old:
            old.start().send(WRITE, 4096, 4096, 0, b'o' * 4096)
            old.read(0, 512)  # the write is in the stack
        with self.wire() as new:
            new.start()
            self.assertEqual(new.write(4096, b'n' * 4096), 0)
            self.assertEqual(new.read(4096, 4096), b'n' * 4096)
            while b'write: 2 done' not in self.server.text():
                self.server.process.send_signal(signal.SIGUSR1)
                new.read(0, 512)
            self.assertEqual(new.read(4096, 4096), b'n' * 4096)


class Stalled(Base):
    args = ('mem:64M', '--stall-timeout', '1s')

    def test_a_client_that_takes_nothing_is_let_go(self):
        with self.wire() as w:
            w.start()
            for _ in range(60):
                w.send(READ, 0, MIB)
            with self.wire() as other:  # wait without reading: until the server says so
                other.start()
                while b'has taken no reply' not in self.server.text():
                    self.assertTrue(other.alive())


class CommandLine(unittest.TestCase):
    def complaint(self, *args):
        p = subprocess.run([PROGRAM, *args], stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
        self.assertNotEqual(p.returncode, 0)
        return p.stderr.decode()

    def test_bad_command_lines_name_the_part(self):
        for args, text in (
                ((), 'nothing to serve'),
                (('--listen', 'disk', 'mem:1M'), "'disk' is not an address"),
                (('--listen', 'tcp:localhost', 'mem:1M'), 'tcp:HOST:PORT'),
                (('--listen', 'tcp:::1:1', 'mem:1M'), 'tcp:[::1]:10809'),
                (('--listen', 'unix:', 'mem:1M'), 'needs a path'),
                (('--listen', 'unix:/nonexistent/s', 'mem:1M'), 'cannot listen on unix:/nonexistent/s'),
                (('--export', 'x', ), "--export 'x': write NAME=STACK"),
                (('--export', 'x=mem:1M', '--export', 'x=mem:1M', '--listen', 'unix:/tmp/no'), "'x' already"),
                (('mem:1M', 'mem:1M'), 'only one STACK'),
                (('mem:1Q',), "mem: size: '1Q' is not a size"),
                (('nosuch:1',), "unknown driver 'nosuch'"),
                (('raw:/nonexistent',), 'No such file'),
                (('--allow', 'bob'), 'speaks of the export before it'),
                (('mem:1M', '--tls', 'maybe'), 'off, on or require'),
                (('mem:1M', '--tls', 'on'), '--tls needs --tls-x509 DIR or --tls-psk FILE'),
                (('mem:1M', '--tls', 'on', '--tls-psk', '/nonexistent'), '--tls-psk'),
                (('mem:1M', '--tls-psk', '/nonexistent'), 'has no effect'),
                (('mem:1M', '--max-connections', '0'), 'from 1 to'),
                (('mem:1M', '--max-memory', '1'), 'at least 1M'),
                (('mem:1M', '--stall-timeout', 'soon'), 'is not a duration'),
                (('mem:1M', '--stdio', '--listen', 'unix:/tmp/no'), 'leave out --listen'),
        ):
            with self.subTest(args=args):
                self.assertIn(text, self.complaint(*args))


if __name__ == '__main__':
    unittest.main(verbosity=1)
