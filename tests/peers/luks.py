#!/usr/bin/python3
"""LUKS beside the others: cryptsetup on our headers and we on its, QEMU and nbdkit on the data of LUKS1."""
import fcntl
import json
import os
import pty
import struct
import subprocess
import unittest

from served import BUILD, Served
from server_peers import InDirectory, must, run

IMG = os.path.join(BUILD, 'drover-img')
MIB = 1 << 20
CHEAP = {'pbkdf2': ['--kdf=pbkdf2', '--iterations=1000'],
         'argon2i': ['--kdf=argon2i', '--iterations=4', '--memory=1M', '--lanes=2'],
         'argon2id': ['--kdf=argon2id', '--iterations=4', '--memory=1M', '--lanes=4']}
THEIR_CHEAP = {'pbkdf2': ['--pbkdf=pbkdf2', '--pbkdf-force-iterations=1000'],
               'argon2i': ['--pbkdf=argon2i', '--pbkdf-force-iterations=4', '--pbkdf-memory=1024', '--pbkdf-parallel=2'],
               'argon2id': ['--pbkdf=argon2id', '--pbkdf-force-iterations=4', '--pbkdf-memory=1024', '--pbkdf-parallel=4']}
KINDS = [('luks1', 'pbkdf2'), ('luks2', 'pbkdf2'), ('luks2', 'argon2i'), ('luks2', 'argon2id')]


class Luks(InDirectory):
    def serve(self, *args, **kw):
        server = Served(*args, **kw)
        self.running = server
        self.addCleanup(self.end)
        return server

    def end(self):
        """Stops the server, if it is not stopped yet."""
        server, self.running = self.running, None
        if server:
            self.assertEqual(server.stop(), 0)

    def setUp(self):
        super().setUp()
        self.keys = [self.key('key%d' % i, os.urandom(8 + 13 * i) + b'\n') for i in range(3)]

    def key(self, name, data):
        with open(self.path(name), 'wb') as f:
            f.write(data)
        return self.path(name)

    def create(self, name, *options, key=None, size=8 * MIB):
        path = self.path(name)
        must(IMG, 'luks', 'create', path, '--size=%d' % size, '--key-file', key or self.keys[0], *options)
        return path

    def their_format(self, name, *options, key=None, size=32 * MIB):
        path = self.image(name, size)
        must('cryptsetup', 'luksFormat', '-q', '--key-file', key or self.keys[0], *options, path)
        return path

    def they_open(self, image, key):
        return run('cryptsetup', 'luksOpen', '--test-passphrase', '--key-file', key, image).returncode == 0

    def stack(self, image, key, master=False):
        return json.dumps([{'driver': 'luks', 'key': {'file': key, 'master': master}}, {'driver': 'raw', 'file': image}])

    def we_open(self, image, key, master=False):
        p = run(IMG, 'info', '--json', self.stack(image, key, master))
        assert p.returncode == 0 or 'with this key' in p.stderr or 'not the volume key' in p.stderr, p.stderr
        return p.returncode == 0

    def info(self, image):
        return json.loads(must(IMG, 'luks', 'info', '--json', image))

    def qemu(self, image, key):
        return ['--object', 'secret,id=s,file=' + key, '--image-opts',
                'driver=luks,key-secret=s,file.driver=file,file.filename=' + image]


class Headers(Luks):
    def test_they_open_ours(self):
        for version, kdf in KINDS:
            for bits in ('256', '512'):
                image = self.create('%s-%s-%s' % (version, kdf, bits), '--type=' + version, '--key-bits=' + bits, *CHEAP[kdf])
                self.assertTrue(self.they_open(image, self.keys[0]), (version, kdf, bits))
                self.assertFalse(self.they_open(image, self.keys[1]))
                dump = must('cryptsetup', 'luksDump', image)
                self.assertIn(self.info(image)['uuid'], dump)

    def test_we_open_theirs(self):
        for version, kdf in KINDS:
            for bits, sector in (('256', '512'), ('512', '4096'), ('512', '1024'), ('512', '2048')):
                more = [] if version == 'luks1' else ['--sector-size=' + sector]
                image = self.their_format('%s-%s-%s-%s' % (version, kdf, bits, sector), '--type=' + version,
                                          '--key-size=' + bits, *more, *THEIR_CHEAP[kdf])
                self.assertTrue(self.we_open(image, self.keys[0]), (version, kdf, bits))
                self.assertFalse(self.we_open(image, self.keys[1]))
                info = self.info(image)
                self.assertEqual(info['key_bits'], int(bits))
                self.assertEqual(info['sector_bytes'], int(sector) if more else 512)

    def test_hashes(self):
        for h in ('sha1', 'sha512'):
            for version in ('luks1', 'luks2'):
                image = self.their_format(h + version, '--type=' + version, '--hash=' + h, *THEIR_CHEAP['pbkdf2'])
                self.assertTrue(self.we_open(image, self.keys[0]))
                image = self.create(h + version + 'ours', '--type=' + version, '--hash=' + h, *CHEAP['pbkdf2'])
                self.assertTrue(self.they_open(image, self.keys[0]))

    def test_same_volume_key(self):
        for version in ('luks1', 'luks2'):
            volume_key = self.key('volume-key', os.urandom(64))
            image = self.create(version, '--type=' + version, '--volume-key-file', volume_key, *CHEAP['pbkdf2'])
            out = self.path(version + '.dumped')
            must('cryptsetup', 'luksDump', '-q', '--dump-volume-key', '--volume-key-file', out, '--key-file', self.keys[0], image)
            self.same(out, volume_key)
            self.assertTrue(self.we_open(image, volume_key, master=True))
            self.assertFalse(self.we_open(image, self.key('other', os.urandom(64)), master=True))

    def test_keys_change_by_turns(self):
        for version, kdf in KINDS:
            image = self.create(version + kdf, '--type=' + version, *CHEAP[kdf])
            a, b, c = self.keys
            must(IMG, 'luks', 'add-key', image, '--key-file', a, '--new-key-file', b, *CHEAP[kdf])
            must('cryptsetup', 'luksAddKey', '-q', '--key-file', b, *THEIR_CHEAP[kdf], image, c)
            for key in self.keys:
                self.assertTrue(self.they_open(image, key) and self.we_open(image, key))
            new = self.key('new', b'replaced')
            must(IMG, 'luks', 'change-key', image, '--key-file', c, '--new-key-file', new, *CHEAP[kdf])
            self.assertTrue(self.they_open(image, new) and self.we_open(image, new))
            self.assertFalse(self.they_open(image, c) or self.we_open(image, c))
            must('cryptsetup', 'luksRemoveKey', '-q', image, '--key-file', new)
            must(IMG, 'luks', 'remove-key', image, '--key-file', b)
            self.assertFalse(self.they_open(image, b) or self.we_open(image, b))
            self.assertTrue(self.they_open(image, a) and self.we_open(image, a))
            p = run(IMG, 'luks', 'remove-key', image, '--slot=0')
            self.assertEqual(p.returncode, 1)
            self.assertIn('keyslot 0 is the last one', p.stderr)
            must(IMG, 'luks', 'check', image)
            must(IMG, 'luks', 'erase', '--yes', image)
            self.assertFalse(self.they_open(image, a) or self.we_open(image, a))
            must('cryptsetup', 'luksDump', image)

    def test_damaged_copies(self):
        image = self.create('a', *CHEAP['pbkdf2'])
        for at in (0, 100, 5000, 16384 + 3, 16384 + 6000):
            with open(image, 'r+b') as f:
                f.seek(at)
                f.write(b'damage')
            p = run(IMG, 'luks', 'check', image)
            self.assertEqual(p.returncode, 1, p.stdout)
            self.assertIn('damaged', p.stdout)
            self.assertTrue(self.we_open(image, self.keys[0]))
            must(IMG, 'luks', 'check', '--repair', image)
            must(IMG, 'luks', 'check', image)
            self.assertTrue(self.they_open(image, self.keys[0]))
        both = [4200, 16384 + 4200]
        with open(image, 'r+b') as f:
            for at in both:
                f.seek(at)
                f.write(b'damage')
        p = run(IMG, 'luks', 'check', '--repair', image)
        self.assertEqual(p.returncode, 1)
        self.assertIn('both headers are damaged', p.stderr)

    def test_refused_by_name(self):
        key = self.keys[0]
        for options, says in ((['--type=luks2', '--cipher=aes-cbc-essiv:sha256'], "the cipher 'aes-cbc-essiv:sha256'"),
                              (['--type=luks1', '--cipher=serpent-xts-plain64'], 'the cipher serpent-xts-plain64'),
                              (['--type=luks1', '--hash=whirlpool'], "the hash 'whirlpool'")):
            image = self.image('odd', 32 * MIB)
            if run('cryptsetup', 'luksFormat', '-q', '--key-file', key, *options, *THEIR_CHEAP['pbkdf2'], image).returncode:
                continue  # this cryptsetup cannot make it
            p = run(IMG, 'info', self.stack(image, key))
            self.assertEqual(p.returncode, 1)
            self.assertIn(says, p.stderr)

    def test_key_by_descriptor(self):
        image = self.create('a', *CHEAP['pbkdf2'])
        with open(self.keys[0], 'rb') as old, open(self.keys[1], 'rb') as new:
            must(IMG, 'luks', 'add-key', image, '--key-fd=%d' % old.fileno(), '--new-key-fd=%d' % new.fileno(),
                 *CHEAP['pbkdf2'], pass_fds=(old.fileno(), new.fileno()))
        self.assertTrue(self.they_open(image, self.keys[1]))
        p = run(IMG, 'luks', 'add-key', image, '--new-key-file', self.keys[2], stdin=subprocess.DEVNULL, start_new_session=True)
        self.assertEqual(p.returncode, 1)
        self.assertIn('there is no terminal', p.stderr)


    def test_header_remade_around_the_data(self):
        """docs/luks.md: the header is lost, the volume key is there."""
        for version in ('luks1', 'luks2'):
            volume_key = self.key('volume-key', os.urandom(64))
            image = self.create(version, '--type=' + version, '--volume-key-file', volume_key, *CHEAP['pbkdf2'])
            data = self.image('data', 8 * MIB, 8 * MIB)
            must(IMG, 'copy', data, self.stack(image, self.keys[0]))
            with open(image, 'r+b') as f:
                f.write(bytes(MIB))
            self.assertEqual(run(IMG, 'info', self.stack(image, self.keys[0])).returncode, 1)
            must(IMG, 'luks', 'create', '--force', image, '--type=' + version, '--volume-key-file', volume_key, '--key-file',
                 self.keys[1], *CHEAP['pbkdf2'])
            must(IMG, 'compare', '--strict', data, self.stack(image, self.keys[1]))

    def test_terminal(self):
        """Passphrases that are typed: asked for, twice if new, and not shown."""
        image = self.path('typed')
        answers = {b'Passphrase of the new volume: ': b'first one', b'Once more: ': b'first one',
                   b'Passphrase: ': b'first one', b'New passphrase: ': b'second one'}
        code, text = self.talk(answers, IMG, 'luks', 'create', image, '--size=1M', *CHEAP['pbkdf2'])
        self.assertEqual(code, 0, text)
        self.assertNotIn(b'first one', text)
        answers[b'Once more: '] = b'second one'
        code, text = self.talk(answers, IMG, 'luks', 'change-key', image, *CHEAP['pbkdf2'])
        self.assertEqual(code, 0, text)
        self.assertNotIn(b'one', text)
        self.assertTrue(self.they_open(image, self.key('typed-key', b'second one')))
        answers[b'Passphrase: '], answers[b'Once more: '] = b'second one', b'something else'
        code, text = self.talk(answers, IMG, 'luks', 'add-key', image, *CHEAP['pbkdf2'])
        self.assertEqual(code, 1)
        self.assertIn(b'the two passphrases differ', text)

    def talk(self, answers, *command):
        pid, fd = pty.fork()
        if pid == 0:
            os.execv(command[0], command)
        text, seen = b'', 0
        while True:
            try:
                data = os.read(fd, 4096)
            except OSError:
                break
            if not data:
                break
            text += data
            for prompt, answer in answers.items():
                if text[seen:].endswith(prompt):
                    seen = len(text)
                    os.write(fd, answer + b'\n')
                    break
        os.close(fd)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text

    def test_one_change_at_a_time(self):
        image = self.create('a', *CHEAP['pbkdf2'])
        held = os.open(image, os.O_RDWR)
        fcntl.fcntl(held, 37, struct.pack('hhqqixxxx', fcntl.F_WRLCK, 0, 0, 16, 0))  # F_OFD_SETLK
        p = run(IMG, 'luks', 'add-key', image, '--key-file', self.keys[0], '--new-key-file', self.keys[1], *CHEAP['pbkdf2'])
        self.assertEqual(p.returncode, 1)
        self.assertIn('is being changed by another program', p.stderr)
        os.close(held)
        must(IMG, 'luks', 'add-key', image, '--key-file', self.keys[0], '--new-key-file', self.keys[1], *CHEAP['pbkdf2'])

    def test_killed_in_the_middle(self):
        """SIGKILL at any moment of a change: the old or the new key opens."""
        image, (a, b, _) = self.create('a', *CHEAP['pbkdf2']), self.keys
        outcomes = set()
        for i in range(25):
            process = subprocess.Popen([IMG, 'luks', 'change-key', image, '--key-file', a, '--new-key-file', b, *CHEAP['pbkdf2']],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                process.wait(0.01 * i)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            new = self.we_open(image, b)
            self.assertNotEqual(new, self.we_open(image, a))
            outcomes.add(new)
            if new:
                a, b = b, a
        self.assertIn(False, outcomes)


class Online(Luks):
    def test_keys_change_while_served(self):
        a, b, c = self.keys
        for version in ('luks1', 'luks2'):
            image = self.create(version, '--type=' + version, *CHEAP['pbkdf2'])
            data = self.image('data', 4 * MIB, 4 * MIB)
            server = self.serve(self.stack(image, a))
            must(IMG, 'copy', data, server.uri())
            must(IMG, 'luks', 'change-key', image, '--key-file', a, '--new-key-file', b, *CHEAP['pbkdf2'])
            must(IMG, 'luks', 'add-key', image, '--key-file', b, '--new-key-file', c, *CHEAP['pbkdf2'])
            must(IMG, 'luks', 'check', image)
            p = run(IMG, 'luks', 'create', '--force', image, '--key-file', a, *CHEAP['pbkdf2'])
            self.assertIn('is in use', p.stderr)
            must('nbdcopy', server.uri(), self.path('back1'))
            self.same_start(data, self.path('back1'))
            self.end()
            self.assertFalse(self.we_open(image, a))
            server = self.serve(self.stack(image, c))
            must('nbdcopy', server.uri(), self.path('back2'))
            self.same_start(data, self.path('back2'))
            self.end()

    def same_start(self, short, long):
        must('cmp', '-n', str(os.path.getsize(short)), short, long)


class Data(Luks):
    """LUKS1: that of the others is ours, and ours is theirs."""

    def setUp(self):
        super().setUp()
        self.keys = [self.key('text', b'QEMU takes only UTF-8, nbdkit no newline')]

    def made_by(self, who):
        if who == 'qemu':
            # it measures the processor for 10 ms of iterations, and gives up where that took it no time it could see
            for _ in range(20):
                done = run('qemu-img', 'create', '-q', '-f', 'luks', '--object', 'secret,id=s,file=' + self.keys[0], '-o',
                           'key-secret=s,iter-time=10', self.path('qemu.img'), '8M')
                if 'Unable to get accurate CPU usage' not in done.stderr:
                    break
            self.assertEqual(done.returncode, 0, done.stderr)
            return self.path('qemu.img')
        if who == 'cryptsetup':
            return self.their_format('cryptsetup.img', '--type=luks1', *THEIR_CHEAP['pbkdf2'], size=10 * MIB)
        return self.create('ours.img', '--type=luks1', *CHEAP['pbkdf2'])

    def test_with_qemu(self):
        key = self.keys[0]
        for who in ('qemu', 'cryptsetup', 'drover'):
            image = self.made_by(who)
            size = json.loads(must(IMG, 'info', '--json', self.stack(image, key)))['size_bytes']
            ours = self.image('ours-' + who, size, size)
            must(IMG, 'copy', ours, self.stack(image, key))
            must('qemu-img', 'convert', '-O', 'raw', *self.qemu(image, key), self.path('seen-' + who))
            self.same(ours, self.path('seen-' + who))
            must('qemu-io', *self.qemu(image, key), '-c', 'write -P 0xab 65536 200704', '-c', 'write -P 0xcd 3145728 512',
                 '-c', 'flush')
            must(IMG, 'copy', self.stack(image, key), self.path('back-' + who))
            with open(ours, 'r+b') as f:
                f.seek(65536)
                f.write(b'\xab' * 200704)
                f.seek(3145728)
                f.write(b'\xcd' * 512)
            self.same(ours, self.path('back-' + who))

    def test_with_nbdkit(self):
        key = self.keys[0]
        image = self.made_by('drover')
        data = self.image('data', 8 * MIB, 8 * MIB)
        must(IMG, 'copy', data, self.stack(image, key))
        must('nbdkit', '-U', '-', '--filter=luks', 'file', image, 'passphrase=+' + key, '--run',
             'nbdcopy "$uri" %s' % self.path('seen'))
        self.same(data, self.path('seen'))
        other = self.image('other', 8 * MIB, 8 * MIB)
        must('nbdkit', '-U', '-', '--filter=luks', 'file', image, 'passphrase=+' + key, '--run',
             'nbdcopy %s "$uri"' % other)
        must(IMG, 'copy', self.stack(image, key), self.path('back'))
        self.same(other, self.path('back'))

    def test_over_nbd(self):
        """Our driver above the NBD client: the server sees only what is encrypted."""
        key, image = self.keys[0], self.made_by('drover')
        data = self.image('data', 8 * MIB, 8 * MIB)
        server = self.serve('raw:' + image)
        stack = json.dumps([{'driver': 'luks', 'key': {'file': key}}, {'driver': 'nbd', 'uri': server.uri()}])
        must(IMG, 'copy', data, stack)
        self.end()
        must('qemu-img', 'convert', '-O', 'raw', *self.qemu(image, key), self.path('seen'))
        self.same(data, self.path('seen'))

    def test_reencrypted_by_cryptsetup(self):
        """Offline, cryptsetup ciphers a whole LUKS2 image itself: what we wrote, it decrypts."""
        key = self.keys[0]
        for sector in ('512', '4096'):
            image = self.create('two-' + sector, '--sector-size=' + sector, *CHEAP['pbkdf2'])
            data = self.image('data' + sector, 8 * MIB, 8 * MIB)
            must(IMG, 'copy', data, self.stack(image, key))
            p = run('cryptsetup', 'reencrypt', '-q', '--decrypt', '--header', self.path('header' + sector), '--force-offline-reencrypt',
                    '--key-file', key, image)
            if p.returncode:
                self.skipTest('cryptsetup cannot do this here: ' + p.stderr.strip())
            must('cmp', '-n', str(8 * MIB), data, image)


if __name__ == '__main__':
    unittest.main()
