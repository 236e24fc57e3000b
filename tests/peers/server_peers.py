#!/usr/bin/python3
"""Other people's clients against our server: libnbd, nbdcopy, fio, qemu-img, qemu-io, nbdkit; on files and devices."""
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import unittest

import nbd

from nbd_wire import FLUSH, READ, WRITE, Wire, EIO, ENOSPC, EINVAL, TRIM, ZEROES, FUA, NO_HOLE
from served import PROGRAM, Served

MIB = 1 << 20


def run(*command, timeout=240, **kw):
    return subprocess.run(command, capture_output=True, timeout=timeout, text=True, **kw)


def must(*command, **kw):
    p = run(*command, **kw)
    assert p.returncode == 0, (command, p.stdout, p.stderr)
    return p.stdout


class InDirectory(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix='drover-test-')
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.dir, name)

    def image(self, name='disk.img', size=64 * MIB, data=0):
        with open(self.path(name), 'wb') as f:
            f.write(os.urandom(data))
            f.truncate(size)
        return self.path(name)

    def serve(self, *args, **kw):
        server = Served(*args, **kw)
        self.addCleanup(self.stop, server)
        return server

    def stop(self, server):
        self.assertEqual(server.stop(), 0)

    def same(self, a, b):
        must('cmp', a, b)


class Copies(InDirectory):
    def test_nbdcopy_both_ways(self):
        image = self.image(data=20 * MIB)
        server = self.serve('raw:' + image, '--export', 'to=mem:64M')
        must('nbdcopy', server.uri(), self.path('out'))
        self.same(image, self.path('out'))
        must('nbdcopy', '--connections=4', image, server.uri('to'))
        must('nbdcopy', server.uri('to'), self.path('back'))
        self.same(image, self.path('back'))

    def test_qemu_img(self):
        image = self.image(data=20 * MIB)
        server = self.serve('raw:' + image, '--export', 'to=mem:64M')
        must('qemu-img', 'convert', '-n', '-f', 'raw', '-O', 'raw', server.uri(), server.uri('to'))
        must('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', server.uri(), server.uri('to'))
        extents = json.loads(must('qemu-img', 'map', '--output=json', '-f', 'raw', server.uri()))
        self.assertEqual([(e['start'], e['length'], e['data']) for e in extents],
                         [(0, 20 * MIB, True), (20 * MIB, 44 * MIB, False)])

    def test_qemu_io(self):
        server = self.serve('raw:' + self.image())
        script = ('write -P 17 0 1M', 'write -f -P 34 1M 64k', 'write -z 2M 1M', 'write -zu 3M 1M', 'discard 4M 1M',
                  'flush', 'read -P 17 0 1M', 'read -P 34 1M 64k', 'read -P 0 2M 2M',
                  'aio_write -P 5 8M 4M', 'aio_flush', 'read -P 5 8M 4M')
        out = must('qemu-io', '-f', 'raw', *(w for line in script for w in ('-c', line)), server.uri())
        self.assertNotIn('fail', out.lower())

    def test_nbdkit_on_top(self):
        image = self.image(data=MIB)
        server = self.serve('raw:' + image)
        out = must('nbdkit', '-U', '-', 'nbd', 'uri=' + server.uri(), '--run',
                   'nbdcopy "$uri" ' + self.path('out'))
        self.same(image, self.path('out'))
        self.assertEqual(out, '')


class Verified(InDirectory):
    def fio(self, server, *args):
        out = must('fio', '--name=v', '--ioengine=nbd', '--uri=' + server.uri(), '--size=32m', '--bsrange=512-64k',
                   '--rw=randrw', '--iodepth=32', '--verify=crc32c', '--verify_fatal=1', '--do_verify=1',
                   '--output-format=json', *args, cwd=self.dir)
        self.assertEqual(json.loads(out[out.index('{'):])['jobs'][0]['error'], 0)

    def test_memory(self):
        self.fio(self.serve('mem:64M'))

    def test_file(self):
        self.fio(self.serve('raw:' + self.image()), '--fsync=16')

    def test_file_direct(self):
        server = self.serve('[{"driver":"raw","file":"%s","direct":true}]' % self.image())
        align = struct.unpack('>III', self.infos(server)[3])[0]
        self.fio(server, '--bsrange=%d-64k' % align, '--verify_interval=%d' % align)

    def infos(self, server):
        with Wire(server.sock) as w:
            return w.start().infos

    def test_tmpfs(self):
        image = tempfile.NamedTemporaryFile(dir='/dev/shm', prefix='drover-test-')
        self.addCleanup(image.close)
        image.truncate(64 * MIB)
        self.fio(self.serve('raw:' + image.name))


class Starting(InDirectory):
    def test_stdio(self):
        h = nbd.NBD()
        os.environ['ASAN_OPTIONS'] = 'detect_leaks=0'
        h.connect_command([PROGRAM, '--stdio', 'mem:1M'])
        self.assertEqual(h.get_size(), MIB)
        h.pwrite(b'x' * 512, 512)
        self.assertEqual(h.pread(512, 512), b'x' * 512)
        h.shutdown()

    def test_socket_activation(self):
        h = nbd.NBD()
        os.environ['ASAN_OPTIONS'] = 'detect_leaks=0'
        h.connect_systemd_socket_activation([PROGRAM, 'mem:1M'])
        self.assertEqual(h.get_size(), MIB)
        h.shutdown()

    def test_tcp(self):
        server = Served('--listen', 'tcp:127.0.0.1:0', '--print-listening', 'mem:1M')
        try:
            lines = [server.process.stdout.readline().decode().strip() for _ in range(2)]
            port = [l for l in lines if l.startswith('tcp:')][0].rsplit(':', 1)[1]
            self.assertIn('export-size: 1048576', must('nbdinfo', 'nbd://127.0.0.1:' + port))
        finally:
            self.assertEqual(server.stop(), 0)

    def test_a_dead_servers_socket_is_replaced(self):
        path = self.path('s.sock')
        s = socket.socket(socket.AF_UNIX)
        s.bind(path)
        s.close()
        self.serve('mem:1M', directory=self.dir)
        p = run(PROGRAM, '--listen', 'unix:' + path, 'mem:1M')
        self.assertIn('something is there already', p.stderr)

    def test_it_holds_no_privilege(self):
        server = self.serve('raw:' + self.image())
        with open('/proc/%d/status' % server.process.pid) as f:
            status = dict(line.rstrip('\n').split(':\t', 1) for line in f if ':\t' in line)
        self.assertEqual(status['NoNewPrivs'], '1')
        self.assertEqual(status['Seccomp'], '2')
        if os.geteuid() == 0:
            self.assertNotIn('0', status['Uid'].split())
            self.assertNotIn('0', status['Gid'].split())
            self.assertEqual(int(status['CapEff'], 16), 0)
            self.assertEqual(status['Groups'].strip(), '')
            self.assertEqual(os.listdir('/proc/%d/root/' % server.process.pid), [])
        for task in os.listdir('/proc/%d/task' % server.process.pid):
            with open('/proc/%d/task/%s/status' % (server.process.pid, task)) as f:
                self.assertIn('Seccomp:\t2', f.read())


class Images(InDirectory):
    def test_sparse_stays_sparse(self):
        image = self.image()
        server = self.serve('raw:' + image)
        h = nbd.NBD()
        h.connect_uri(server.uri())
        h.zero(32 * MIB, 0)
        self.assertEqual(os.stat(image).st_blocks, 0)
        h.pwrite(b'a' * MIB, 0)
        h.pwrite(b'b' * MIB, 16 * MIB)
        h.flush()
        full = os.stat(image).st_blocks
        h.trim(MIB, 0)
        h.zero(MIB, 16 * MIB)
        h.flush()
        self.assertLess(os.stat(image).st_blocks, full)
        h.zero(MIB, 0, nbd.CMD_FLAG_NO_HOLE)
        h.flush()
        self.assertGreaterEqual(os.stat(image).st_blocks, 2 * MIB // 512 // 2)
        self.assertEqual(h.pread(MIB, 0) + h.pread(MIB, 16 * MIB), bytes(2 * MIB))
        h.shutdown()

    def test_locked_by_another_writer(self):
        image = self.image()
        self.serve('raw:' + image)
        p = run(PROGRAM, '--listen', 'unix:' + self.path('other'), 'raw:' + image)
        self.assertNotEqual(p.returncode, 0)
        self.assertIn('in use by another', p.stderr)
        p = run('qemu-io', '-f', 'raw', '-c', 'write 0 512', image)
        self.assertNotEqual(p.returncode, 0)
        self.assertIn('lock', p.stderr)

    def test_qemus_image_is_respected(self):
        image = self.image()
        qemu = subprocess.Popen(['qemu-io', '-f', 'raw', image], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            qemu.stdin.write(b'write 0 512\n')
            qemu.stdin.flush()
            while b'wrote' not in qemu.stdout.readline():
                pass
            p = run(PROGRAM, '--listen', 'unix:' + self.path('s'), 'raw:' + image)
            self.assertIn('in use by another', p.stderr)
        finally:
            qemu.stdin.write(b'quit\n')
            qemu.stdin.close()
            qemu.wait()
            qemu.stdout.close()

    def test_read_only_file(self):
        image = self.image()
        os.chmod(image, 0o444)
        if os.geteuid() != 0:
            p = run(PROGRAM, '--listen', 'unix:' + self.path('s'), 'raw:' + image)
            self.assertIn('--read-only', p.stderr)
        server = self.serve('--read-only', 'raw:' + image)
        with Wire(server.sock) as w:
            self.assertTrue(w.start().flags & 2)
            self.assertEqual(w.write(0, bytes(512)), 1)

    def test_unaligned_on_direct(self):
        server = self.serve('[{"driver":"raw","file":"%s","direct":true}]' % self.image())
        with Wire(server.sock) as w:
            w.start()
            self.assertEqual(w.do(READ, 1, 512).error, EINVAL)
            self.assertEqual(w.write(0, bytes(100)), EINVAL)
            self.assertTrue(w.read(0, 65536) == bytes(65536))

    def test_drain_keeps_what_was_acknowledged(self):
        for _ in range(5):
            image = self.image()
            server = Served('raw:' + image)
            with Wire(server.sock) as w:
                w.start()
                cookies = [w.send(WRITE, i * 4096, 4096, 0, struct.pack('>I', i + 1) * 1024) for i in range(200)]
                w.reply(cookies[0])
                self.assertEqual(server.process.poll(), None)
                server.process.send_signal(signal.SIGTERM)
                acked = {cookies[0]}
                try:
                    while True:
                        magic, cookie, done, kind, error = w.chunk()
                        if not error:
                            acked.add(cookie)
                except Exception:
                    pass
            self.assertEqual(server.stop(), 0)
            with open(image, 'rb') as f:
                data = f.read()
            for i, cookie in enumerate(cookies):
                if cookie in acked:
                    self.assertEqual(data[i * 4096:i * 4096 + 4096], struct.pack('>I', i + 1) * 1024)

    def test_drain_finishes_a_write_that_was_begun(self):
        image = self.image()
        server = Served('raw:' + image)
        with Wire(server.sock) as w, Wire(server.sock) as idle:
            w.start()
            idle.start()
            w.put(struct.pack('>IHHQQI', 0x25609513, 0, WRITE, 7, 0, 8192) + b'a' * 4096)
            self.assertTrue(idle.alive())  # by now the first half is there
            server.process.send_signal(signal.SIGTERM)
            self.assertTrue(idle.closed())
            w.put(b'b' * 4096)
            self.assertEqual(w.reply(7).error, 0)
            self.assertTrue(w.closed())
        self.assertEqual(server.stop(), 0)
        with open(image, 'rb') as f:
            self.assertEqual(f.read(8192), b'a' * 4096 + b'b' * 4096)

    def test_drain_does_not_wait_for_ever(self):
        server = Served('raw:' + self.image(), '--drain-timeout', '1s')
        with Wire(server.sock) as w:
            w.start()
            w.put(struct.pack('>IHHQQI', 0x25609513, 0, WRITE, 7, 0, 8192) + b'a' * 4096)
            server.process.send_signal(signal.SIGTERM)
            self.assertTrue(w.closed())
        self.assertEqual(server.stop(), 0)

    def test_sigkill_loses_nothing_acknowledged(self):
        image = self.image()
        server = Served('raw:' + image)
        with Wire(server.sock) as w:
            w.start()
            for i in range(100):
                self.assertEqual(w.write(i * 4096, bytes([i + 1]) * 4096), 0)
            server.process.kill()
            server.process.wait()
            self.assertTrue(w.closed())
        server.process.stdout.close()
        shutil.rmtree(server.dir)
        with open(image, 'rb') as f:
            for i in range(100):
                self.assertEqual(f.read(4096), bytes([i + 1]) * 4096)


@unittest.skipUnless(os.geteuid() == 0 and os.path.exists('/dev/loop-control'), 'needs root and loop devices')
class RealFaults(InDirectory):
    """A file system that is full, a disk that fails under fsync, a block device: the kernel's own, in a tmpfs."""

    def mount(self, *args):
        at = tempfile.mkdtemp(dir=self.dir)
        must('mount', *args, at)
        self.addCleanup(must, 'umount', at)
        return at

    def test_disk_full(self):
        at = self.mount('-t', 'tmpfs', '-o', 'size=4M', 'none')
        image = os.path.join(at, 'disk.img')
        with open(image, 'wb') as f:
            f.truncate(64 * MIB)
        server = Served('raw:' + image)
        with Wire(server.sock) as w:
            w.start()
            results = [w.write(i * MIB, b'x' * MIB) for i in range(8)]
            self.assertEqual(results[0], 0)
            self.assertIn(ENOSPC, results)
            self.assertEqual(w.read(0, 4096), b'x' * 4096)
            self.assertEqual(w.do(TRIM, 0, 8 * MIB).error, 0)
            self.assertEqual(w.write(0, b'y' * MIB), 0)
        self.assertEqual(server.stop(), 0)

    def test_a_failed_flush_stays_failed(self):
        at = self.mount('-t', 'tmpfs', '-o', 'size=12M', 'none')
        backing = os.path.join(at, 'backing')
        with open(backing, 'wb') as f:
            f.truncate(128 * MIB)
        must('mkfs.ext4', '-q', '-O', '^has_journal', backing)
        fs = self.mount('-o', 'loop', backing)
        image = os.path.join(fs, 'disk.img')
        with open(image, 'wb') as f:
            f.truncate(64 * MIB)
        server = Served('raw:' + image)
        with Wire(server.sock) as w, Wire(server.sock) as other:
            w.start()
            other.start()
            for i in range(32):
                self.assertEqual(w.write(i * MIB, b'x' * MIB), 0)  # to the page cache
            self.assertEqual(w.do(FLUSH).error, EIO)
            for _ in range(3):  # the kernel reports the error once; we must not forget it
                self.assertEqual(w.do(FLUSH).error, EIO)
                self.assertEqual(other.do(FLUSH).error, EIO)
                self.assertEqual(w.write(0, b'x' * 512, FUA), EIO)
            self.assertEqual(len(w.read(0, 512)), 512)
        self.assertIn(b'fdatasync failed', server.text())
        self.assertEqual(server.stop(), 1)

    def test_block_device(self):
        device = must('losetup', '--find', '--show', self.image()).strip()
        self.addCleanup(must, 'losetup', '--detach', device)
        for direct in ('false', 'true'):
            server = Served('[{"driver":"raw","file":"%s","direct":%s}]' % (device, direct))
            try:
                with Wire(server.sock) as w:
                    w.start()
                    self.assertEqual(w.size, 64 * MIB)
                    data = os.urandom(MIB)
                    self.assertEqual(w.write(MIB, data), 0)
                    self.assertEqual(w.do(FLUSH).error, 0)
                    self.assertEqual(w.do(ZEROES, MIB, 8192).error, 0)
                    self.assertEqual(w.do(ZEROES, MIB + 8192, 4096, NO_HOLE).error, 0)
                    self.assertEqual(w.do(TRIM, 4 * MIB, MIB).error, 0)
                    self.assertEqual(w.read(MIB, MIB), bytes(12288) + data[12288:])
            finally:
                self.assertEqual(server.stop(), 0)


if __name__ == '__main__':
    unittest.main(verbosity=1)
