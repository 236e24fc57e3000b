#!/usr/bin/python3
"""Volumes over NBD members, with real processes: fio verifies what it reads while members are stopped, killed and come
back. In the end copies are equal, or stripes whole, and every checksum is right."""
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

BUILD = os.environ.get('DROVER_BUILD', 'build/release')
NBD, IMG = os.path.join(BUILD, 'drover-nbd'), os.path.join(BUILD, 'drover-img')
SIZE = 64 << 20


def img(*arguments):
    return subprocess.run([IMG, *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


class Server:
    """drover-nbd on a TCP port of its own choice; started again on the same."""

    def __init__(self, stack, port=0):
        self.stack, self.port, self.process = stack, port, None
        self.start()

    def start(self):
        self.process = subprocess.Popen([NBD, '--print-listening', '--listen', 'tcp:127.0.0.1:%d' % self.port, self.stack],
                                        stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline().strip()
        if not line:
            raise RuntimeError('drover-nbd did not start: ' + self.stack)
        self.port = int(line.rsplit(':', 1)[1])

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.process.wait(60)

    def uri(self):
        return 'nbd://127.0.0.1:%d' % self.port


class Volume(unittest.TestCase):
    def setUp(self):
        self.place = tempfile.mkdtemp(prefix='drover-volume-')
        os.chmod(self.place, 0o755)
        self.running = []

    def tearDown(self):
        for server in self.running:
            if server.process.poll() is None:
                server.process.send_signal(signal.SIGCONT)
                server.end(signal.SIGKILL)
        shutil.rmtree(self.place)

    def serve(self, stack):
        server = Server(stack)
        self.running.append(server)
        return server

    def member(self, layout, count, name, volume, *arguments):
        path = os.path.join(self.place, name)
        with open(path, 'w') as f:
            f.truncate(SIZE + (24 << 20))
        said = img('member', 'create', '--layout', layout, '--members', str(count), '--size', str(SIZE), '--witness',
                   '--region', '1M', *(['--volume', volume] if volume else []), *arguments, path)
        return path, volume or said.split()[1]

    def until_clean(self, members, since=None):
        """All are in sync, and were not since that stamp: the volume said so in its superblock, with the stamp that is returned."""
        for _ in range(600):
            infos = [json.loads(img('member', 'info', '--json', '[{"driver":"raw","file":"%s","no-lock":true}]' % m))
                     for m in members]
            if all(i['in_sync'] == list(range(len(members))) and i['stamp'] == infos[0]['stamp'] != since for i in infos):
                return infos[0]['stamp']
            time.sleep(0.1)
        self.fail('the members are not in sync again: %s' % infos)

    def contents(self, layout, members, witness, without=()):
        """What the volume reads as when some of its members are missing."""
        stack = {'driver': 'volume', 'layout': layout, 'witness': 'raw:' + witness,
                 'members': ['missing' if i in without else 'raw:' + m for i, m in enumerate(members)]}
        out = os.path.join(self.place, 'contents')
        with open(out, 'wb') as f:
            f.truncate(SIZE)
        img('copy', json.dumps(stack), 'raw:' + out)
        with open(out, 'rb') as f:
            return hashlib.sha256(f.read()).hexdigest()

    def life(self, layout, count, lost):
        """lost: lists of members that are away at the same time."""
        members, uuid = [], None
        for i in range(count):
            path, uuid = self.member(layout, count, 'm%d' % i, uuid, '--index', str(i))
            members.append(path)
        witness, _ = self.member(layout, count, 'w', uuid, '--as-witness')
        servers = [self.serve('raw:' + m) for m in members]
        volume = self.serve(json.dumps({'driver': 'volume', 'layout': layout, 'eject': '500ms', 'cool': '1s',
                                        'members': ['nbd:' + s.uri() for s in servers], 'witness': 'raw:' + witness}))
        fio = subprocess.Popen(['fio', '--name=t', '--ioengine=nbd', '--uri=' + volume.uri(), '--rw=randrw',
                                '--bsrange=4k-256k', '--bs_unaligned=0', '--iodepth=16', '--size=%d' % SIZE, '--time_based',
                                '--runtime=300', '--verify=crc32c', '--verify_fatal=1', '--fsync=64',
                                '--output-format=json'], stdout=subprocess.PIPE, text=True, cwd=self.place)
        self.addCleanup(fio.kill)
        time.sleep(1)
        stamp = self.until_clean(members)
        for i in lost[0]:
            servers[i].process.send_signal(signal.SIGSTOP)
        time.sleep(2)
        for i in lost[0]:
            servers[i].process.send_signal(signal.SIGCONT)
        stamp = self.until_clean(members, stamp)
        for i in lost[1]:
            servers[i].end(signal.SIGKILL)
        time.sleep(1)
        for i in lost[1]:
            servers[i].start()
        self.until_clean(members, stamp)
        time.sleep(1)
        fio.send_signal(signal.SIGINT)
        out = fio.communicate(timeout=60)[0]
        self.assertIn(fio.returncode, (0, 128), out)  # 128: it was told to end
        job = json.JSONDecoder().raw_decode(out[out.index('{'):])[0]['jobs'][0]
        self.assertEqual(job['error'], 0)
        longest = max(job['read']['clat_ns']['max'], job['write']['clat_ns']['max']) / 1e9
        print('%s: %d reads, %d writes, longest %.2f s' % (layout, job['read']['total_ios'], job['write']['total_ios'],
                                                          longest))
        volume.end()
        for server, path in zip(servers, members):
            server.end()
            check = json.loads(img('member', 'check', '--json', path))
            self.assertEqual((check['wrong'], check['hot_regions']), (0, 0))
        return members, witness

    def test_raid1(self):
        members, _ = self.life('raid1', 2, [[1], [0]])
        data = json.loads(img('member', 'info', '--json', members[0]))['data_offset']
        with open(members[0], 'rb') as a, open(members[1], 'rb') as b:
            a.seek(data)
            b.seek(data)
            self.assertTrue(a.read(SIZE) == b.read(SIZE))

    def parity(self, layout, count, lost):
        members, witness = self.life(layout, count, lost)
        whole = self.contents(layout, members, witness)
        for without in lost:  # copies, as a volume that goes on without members tells the others so
            copies = [m + '-copy' for m in members + [witness]]
            for m, c in zip(members + [witness], copies):
                shutil.copyfile(m, c)
            self.assertEqual(self.contents(layout, copies[:-1], copies[-1], without), whole)

    def test_raid5(self):
        self.parity('raid5', 3, [[1], [0]])

    def test_raid6(self):
        self.parity('raid6', 4, [[1, 2], [0, 3]])


if __name__ == '__main__':
    if not shutil.which('fio'):
        sys.exit(77)
    unittest.main()
