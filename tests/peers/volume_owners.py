#!/usr/bin/python3
"""Owners of a volume that take it over from each other, with real processes and from a seed: servers of members, and programs that
have the volume, are killed, stopped and go on, at any moment. Each owner has a client that writes numbers, one after the other, and
keeps those that were acknowledged. In the end the newest owner reads: nothing that was acknowledged is lost, nothing of an older
owner lies over it, and every checksum is right.

DROVER_SCHEDULES=500: so many; DROVER_SEED=N: from there."""
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from nbd_wire import Closed, Wire

BUILD = os.environ.get('DROVER_BUILD', 'build/release')
NBD, IMG = os.path.join(BUILD, 'drover-nbd'), os.path.join(BUILD, 'drover-img')
SCHEDULES, SEED = int(os.environ.get('DROVER_SCHEDULES', '4')), int(os.environ.get('DROVER_SEED', '1'))
MIB, BLOCK, MEMBERS, FUA = 1 << 20, 4096, 3, 1
LANES, SLOTS = 8, 4  # so many clients at once, each with blocks of its own, which it writes again and again
SIZE = 4 * MIB
PATIENCE = 60


class Program:
    """drover-nbd at a unix socket or a TCP port; started again on the same."""
    def __init__(self, folder, name, *exports):
        self.sock, self.log, self.exports = os.path.join(folder, name + '.sock'), os.path.join(folder, name + '.log'), exports
        self.process, self.port = None, 0
        self.begin()

    def begin(self):
        with open(self.log, 'ab') as log:
            self.process = subprocess.Popen([NBD, '--print-listening', '--listen', 'unix:' + self.sock, '--listen',
                                             'tcp:127.0.0.1:%d' % self.port, *self.exports], stdin=subprocess.DEVNULL,
                                            stdout=subprocess.PIPE, stderr=log, text=True)
        for line in (self.process.stdout.readline(), self.process.stdout.readline()):
            if ':127.0.0.1:' in line or line.startswith('tcp'):
                self.port = int(line.strip().rsplit(':', 1)[1])

    def stack(self, unlocked):
        path = self.exports[1].split('"file":"', 1)[1].split('"', 1)[0]
        return '[{"driver":"fence"},{"driver":"raw","file":"%s"%s}]' % (path, ',"no-lock":true' if unlocked else '')

    def runs(self):
        return self.process.poll() is None

    def signal(self, number):
        if self.runs():
            self.process.send_signal(number)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()

    def words(self):
        with open(self.log, errors='replace') as f:
            return f.read()[-3000:]


class Writer(threading.Thread):
    """Writes ever greater numbers through one owner, until that cannot any more."""
    def __init__(self, history, owner, lane):
        super().__init__(daemon=True)
        self.history, self.owner, self.lane = history, owner, lane

    def run(self):
        try:
            with Wire(self.owner.sock, timeout=PATIENCE) as wire:
                wire.start(b'vol')
                while not self.history.over:
                    number = self.history.next()
                    slot = self.lane * SLOTS + number % SLOTS
                    if wire.write(slot * BLOCK, struct.pack('<Q', number) * (BLOCK // 8), FUA):
                        return
                    self.history.acked(slot, number)
        except (OSError, Closed, AssertionError, struct.error):
            pass  # killed, refused, or not there yet: another one comes


class History:
    def __init__(self):
        self.lock, self.number, self.over, self.newest, self.count = threading.Lock(), 0, False, {}, 0

    def next(self):
        with self.lock:
            self.number += 1
            return self.number

    def acked(self, slot, number):
        with self.lock:
            self.count += 1
            self.newest[slot] = max(number, self.newest.get(slot, 0))


class Schedule:
    def __init__(self, seed):
        self.random, self.history, self.epoch = random.Random(seed), History(), 0
        self.folder = tempfile.mkdtemp(prefix='drover-owners-')
        os.chmod(self.folder, 0o755)
        self.owners, self.writers, self.writing, self.members, self.did = [], [], [], [], []
        uuid = None
        for i in range(MEMBERS):
            path = os.path.join(self.folder, 'm%d' % i)
            with open(path, 'w') as f:
                f.truncate(SIZE + 24 * MIB)
            stack = '[{"driver":"fence"},{"driver":"raw","file":"%s"}]' % path
            done = subprocess.run([IMG, 'member', 'create', '--layout', 'replica', '--members', str(MEMBERS), '--quorum', '2', '--size',
                                   str(SIZE), '--region', '1M', '--index', str(i), *(['--volume', uuid] if uuid else []), stack],
                                  check=True, stdout=subprocess.PIPE, text=True)
            uuid = uuid or done.stdout.split()[1]
            self.members.append(Program(self.folder, 'member%d' % i, '--export', 'vol=' + stack))

    def new_owner(self, writes=True):
        self.epoch += 1
        stack = {'driver': 'volume', 'layout': 'replica', 'eject': '500ms', 'cool': '500ms',
                 'members': ['nbd:nbd://127.0.0.1:%d/vol@%d' % (m.port, self.epoch) for m in self.members]}
        owner = Program(self.folder, 'owner%d' % self.epoch, '--export', 'vol=' + json.dumps(stack))
        self.owners.append(owner)
        if writes:
            self.write(owner)
        return owner

    def write(self, owner):
        self.writing = [Writer(self.history, owner, lane) for lane in range(LANES)]
        self.writers += self.writing
        for writer in self.writing:
            writer.start()

    def goes_on(self, more=40):
        """The newest owner's client gets on, sooner or later, as two members are there."""
        since, end = self.history.count, time.monotonic() + PATIENCE
        while self.history.count < since + more:
            if time.monotonic() > end:
                raise AssertionError('nobody writes any more')
            if not any(w.is_alive() for w in self.writing):  # they were refused, or too early
                if self.owners[-1].runs():
                    self.write(self.owners[-1])
                else:
                    self.new_owner()
            time.sleep(0.02)

    # ---- what happens ----

    def owner_killed(self):
        self.owners[-1].signal(signal.SIGKILL)
        self.new_owner()

    def owner_stopped(self):
        old = self.owners[-1]
        old.signal(signal.SIGSTOP)
        self.new_owner()
        time.sleep(self.random.uniform(0, 0.8))
        old.signal(signal.SIGCONT)

    def owner_runs_on(self):
        self.new_owner()

    def member_killed(self):
        m = self.random.choice(self.members)
        m.kill()
        time.sleep(self.random.uniform(0, 0.5))
        m.begin()

    def member_stopped(self):
        m = self.random.choice(self.members)
        m.signal(signal.SIGSTOP)
        time.sleep(self.random.uniform(0, 1))
        m.signal(signal.SIGCONT)

    def owner_and_member_killed(self):
        self.owners[-1].signal(signal.SIGKILL)
        self.random.choice(self.members).signal(signal.SIGSTOP)
        self.new_owner()
        time.sleep(self.random.uniform(0, 0.5))
        for m in self.members:
            m.signal(signal.SIGCONT)

    def play(self):
        self.new_owner()
        self.goes_on()
        for _ in range(self.random.randint(2, 5)):
            step = self.random.choice([self.owner_killed, self.owner_stopped, self.owner_runs_on, self.member_killed,
                                       self.member_stopped, self.owner_and_member_killed])
            self.did.append(step.__name__)
            step()
            time.sleep(self.random.uniform(0, 0.2))
        self.goes_on()
        self.history.over = True
        self.judge()

    def judge(self):
        for writer in self.writers:
            writer.join(0.1)  # one that an old owner keeps waiting may wait: it has been told nothing
        newest = dict(self.history.newest)
        last = self.new_owner(writes=False)
        data = self.read(last)
        for slot, number in newest.items():
            words = struct.unpack('<%dQ' % (BLOCK // 8), data[slot * BLOCK:(slot + 1) * BLOCK])
            if len(set(words)) != 1:
                raise AssertionError('block %d is a mix of writes' % slot)
            if words[0] < number:
                raise AssertionError('block %d has %d, and %d was acknowledged' % (slot, words[0], number))
        self.all_in_sync()
        self.end_all()
        for m in self.members:
            done = subprocess.run([IMG, 'member', 'check', '--json', m.stack(False)], stdout=subprocess.PIPE, text=True)
            if done.returncode or json.loads(done.stdout)['wrong']:
                raise AssertionError('wrong blocks: ' + done.stdout)

    def all_in_sync(self):
        """What a member missed is copied to it; one that is just being filled may have half of it."""
        end = time.monotonic() + PATIENCE
        while True:
            infos = [json.loads(subprocess.run([IMG, 'member', 'info', '--json', m.stack(True)], stdout=subprocess.PIPE, text=True,
                                               check=True).stdout) for m in self.members]
            if all(i['in_sync'] == list(range(MEMBERS)) for i in infos):
                return
            if time.monotonic() > end:
                raise AssertionError('the members are not in sync again: %s' % infos)
            time.sleep(0.1)

    def read(self, owner):
        end = time.monotonic() + PATIENCE
        while True:
            try:
                with Wire(owner.sock, timeout=PATIENCE) as wire:
                    wire.start(b'vol')
                    return wire.read(0, LANES * SLOTS * BLOCK)
            except (OSError, Closed, AssertionError, struct.error):
                if time.monotonic() > end:
                    raise
                if not owner.runs():
                    owner = self.new_owner(writes=False)
                time.sleep(0.05)

    def end_all(self):
        self.history.over = True
        for p in self.owners + self.members:
            p.signal(signal.SIGCONT)
            p.kill()

    def close(self):
        self.end_all()
        shutil.rmtree(self.folder, ignore_errors=True)


class Owners(unittest.TestCase):
    def test_schedules(self):
        acked = owners = 0
        for seed in range(SEED, SEED + SCHEDULES):
            s = Schedule(seed)
            try:
                s.play()
            except Exception as e:
                words = '\n'.join('--- %s\n%s' % (os.path.basename(p.log), p.words()) for p in s.owners + s.members)
                raise AssertionError('schedule %d (%s): %s\n%s' % (seed, ', '.join(s.did), e, words))
            finally:
                s.close()
            acked += s.history.count
            owners += len(s.owners)
            if SCHEDULES > 20 and (seed - SEED) % 10 == 9:
                print('%d schedules, %d owners, %d writes acknowledged' % (seed - SEED + 1, owners, acked), flush=True)
        print('%d schedules, %d owners, %d writes acknowledged, none lost' % (SCHEDULES, owners, acked), flush=True)


if __name__ == '__main__':
    sys.exit(unittest.main())
