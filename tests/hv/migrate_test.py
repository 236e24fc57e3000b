#!/usr/bin/python3
"""A Debian guest at work moves from one process to another and back; and whatever fails on the way, it runs on exactly
one side, with its memory and its disk right.

usage: migrate_test.py [--seed N] [unittest arguments]"""
import fcntl
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from guest import PROGRAM, Guest  # noqa: E402
from guest_work import BLOCK, Work, prepare  # noqa: E402
from moving import Coming, Link, Watch, key_file, migrate  # noqa: E402

SECONDS = 300  # for a guest that hangs; machines differ
SEED = random.randrange(1 << 32)
MOVES = int(os.environ.get('DROVER_MOVES', '10'))
F_OFD_SETLK = 37
SLOWLY = ('--bandwidth', '8M')  # a first round that takes a while


class Moving(unittest.TestCase):
    def setUp(self):
        prepare(self, 'migrate', SEED)
        self.work = Work(disk='/dev/vda')
        self.guests = []
        self.addCleanup(self.end_all)

    def end_all(self):
        for g in self.guests:
            if g.process.poll() is None:
                g.process.send_signal(signal.SIGCONT)
            g.end()

    def options(self, memory='192M', cpu='host', vcpus='1', engine='dbt', disk=None):
        return ('--engine', engine, '--memory', memory, '--cpu', cpu, '--vcpus', vcpus, '--disk',
                disk or 'raw:' + self.disk, '--kernel', self.kernel, '--initrd', self.initrd, '--cmdline',
                'console=ttyS0 quiet panic=-1')

    def begin(self, **how):
        g = Guest(*self.options(**how), seconds=SECONDS)
        self.guests.append(g)
        g.ready().check(self.work.begin())
        return g

    def coming(self, **how):
        self.key_path, key = key_file(self.directory.name)
        g = Coming(*self.options(**how), key=key, seconds=SECONDS)
        self.guests.append(g)
        limit = time.monotonic() + SECONDS
        while g.ctl('status', check=False)[0] and g.process.poll() is None and time.monotonic() < limit:
            time.sleep(0.05)  # its socket has a name before it listens
        g.ctl('status')
        return g

    def ended(self, g, code=0):
        self.assertEqual(g.wait(SECONDS), code, g.log())

    def move(self, source, *options, **how):
        """To a new process, which is returned."""
        there = self.coming(**how)
        migrate(source, there.port, self.key_path, *options)
        self.ended(source)
        self.assertEqual(there.ctl('status')['state'], 'running', there.log())
        return there

    def until(self, holds):
        limit = time.monotonic() + SECONDS
        while not holds():
            self.assertLess(time.monotonic(), limit)
            time.sleep(0.02)

    def works(self, g):
        g.check(self.work.go_on())

    def finish(self, g):
        said = g.check(self.work.end())
        self.assertIsNone(self.work.wrong(said), 'seed %d' % SEED)
        blocks = int(g.check('sync; cat /tmp/blocks'))
        self.assertNotRegex(g.check('dmesg'), r'soft lockup|rcu.*stall|Oops|BUG|[Cc]locksource.*unstable')
        g.ctl('stop')
        self.ended(g)
        self.assertGreater(blocks, 0)
        self.assertEqual(self.work.wrong_blocks(self.disk, blocks), [], 'seed %d' % SEED)

    def stays(self, source, there, words, code=1):
        """The source goes on, the destination's process ends."""
        with_words = source.ctl('migration')
        self.assertEqual(with_words['phase'], 'failed')
        self.assertRegex(with_words['reason'], '.')
        self.assertEqual(source.ctl('status')['state'], 'running')
        self.assertRegex(source.log(), words)
        if there:
            self.ended(there, code)
        self.works(source)


class Moves(Moving):
    def go(self, **how):
        g = self.begin(**how)
        for _ in range(MOVES):
            time.sleep(self.random.uniform(0, 0.3))
            g = self.move(g, '--streams', str(self.random.randint(1, 4)), **how)
            self.works(g)
        self.finish(g)

    def test_back_and_forth(self):
        self.go()

    def test_two_processors(self):
        self.go(vcpus='2')

    def test_engines(self):
        g = self.begin(cpu='baseline-v2', engine='interp')
        for engine in ('dbt', 'interp', 'dbt'):
            g = self.move(g, cpu='baseline-v2', engine=engine)
            self.works(g)
        self.finish(g)

    def test_forecast(self):
        """What a move would cost is told while the guest works; the move that follows is near it."""
        g = self.begin()
        self.move_and_compare(g)

    def move_and_compare(self, g):
        told = g.ctl('forecast', '--bandwidth', '16M', '--max-downtime', '300ms')
        self.assertTrue(told['holds'], told)
        self.assertFalse(told['bandwidth-assumed'])
        self.assertNotIn('reason', told)
        there = self.coming()
        watch = Watch(g)
        migrate(g, there.port, self.key_path, '--bandwidth', '16M', '--max-downtime', '300ms')
        came = watch.phase('done', 'failed')
        watch.close()
        self.assertEqual(came['phase'], 'done', came)
        self.assertLess(told['bytes'], 2 * came['bytes-sent'])
        self.assertGreater(told['bytes'], came['bytes-sent'] / 2)
        self.ended(g)
        told = there.ctl('forecast', '--bandwidth', '1K', '--within', '2s')
        self.assertFalse(told['holds'])
        self.assertRegex(told['reason'], 'within 2 s|s are allowed')
        self.assertTrue(there.ctl('forecast', '--look', '50ms')['bandwidth-assumed'])
        self.assertIn('look-ms', there.ctl('forecast', '--look', '1h', check=False)[2])
        self.works(there)
        self.finish(there)

    def long_look(self, g):
        return subprocess.Popen([PROGRAM, 'ctl', 'unix:' + g.control, 'forecast', '--look', '5s'], stdout=subprocess.DEVNULL,
                                stderr=subprocess.PIPE, universal_newlines=True)

    def test_forecast_is_in_nobodys_way(self):
        """A move begins in the middle of a look; one that is under way is not looked at."""
        g, there = self.begin(), self.coming()
        look, refusal = self.long_look(g), ''
        while 'somebody else' not in refusal:
            refusal = g.ctl('forecast', '--look', '20ms', check=False)[2]
            if look.poll() is not None:  # a short one was there before it
                look = self.long_look(g)
        migrate(g, there.port, self.key_path, *SLOWLY)
        _, words = look.communicate(timeout=SECONDS)
        self.assertNotEqual(look.returncode, 0)
        self.assertIn('a migration of the guest has begun', words)
        self.assertIn('on its way already', g.ctl('forecast', check=False)[2])
        self.ended(g)
        self.works(there)
        self.finish(there)

    def test_compressed(self):
        """On a slow link pages are compressed; what they hold is what it was, and fewer bytes went than they have."""
        g = self.begin()
        before = g.check('seq 1 200000 > /tmp/much; md5sum < /tmp/much')
        told = g.ctl('forecast', '--bandwidth', '12M', '--max-downtime', '300ms')
        self.assertLess(told['compresses-to'], 1, told)
        there = self.coming()
        watch = Watch(g)
        migrate(g, there.port, self.key_path, '--bandwidth', '12M', '--max-downtime', '300ms', '--streams', '2')
        came = watch.phase('done', 'failed')
        watch.close()
        self.assertEqual(came['phase'], 'done', came)
        self.ended(g)
        self.assertGreater(came['bytes-saved'], 0, came)
        self.assertLess(came['bytes-sent'], came['pages'] * 4096 * 3 // 4, came)
        self.assertGreaterEqual(came['bytes-sent'] + came['bytes-saved'], came['pages'] * 4096, came)
        self.assertLess(told['bytes'], 2 * came['bytes-sent'], came)
        self.assertGreater(told['bytes'], came['bytes-sent'] / 2, came)
        self.works(there)
        self.assertEqual(there.check('md5sum < /tmp/much'), before)
        self.finish(there)

    def test_paused(self):
        g, there = self.begin(), self.coming()
        g.ctl('pause')
        migrate(g, there.port, self.key_path)
        self.ended(g)
        self.assertEqual(there.ctl('status')['state'], 'paused')
        there.ctl('resume')
        self.works(there)
        self.finish(there)

    def test_held(self):
        """The destination's agent says go, then the source's; both only when the guest is there."""
        g = self.begin()
        for _ in range(2):
            there = self.coming()
            ours, theirs = Watch(g), Watch(there)
            self.assertIn('no migration is under way', g.ctl('migrate-go', check=False)[2])
            self.assertIn('not here', there.ctl('incoming-go', check=False)[2])
            migrate(g, there.port, self.key_path, '--hold')
            self.assertIsNotNone(ours.phase('ready'))
            self.assertIsNotNone(theirs.phase('ready'))
            self.assertEqual([g.ctl('status')['state'], there.ctl('status')['state']], ['paused', 'incoming'])
            self.assertIn('handed over', g.ctl('resume', check=False)[2])
            there.ctl('incoming-go')
            g.ctl('migrate-go')
            self.ended(g)
            ours.close()
            theirs.close()
            self.assertEqual(there.ctl('status')['state'], 'running')
            self.works(there)
            g = there
        self.finish(g)

    def test_held_source_stopped(self):
        """The guest may have changed hands: a source that ends does not touch its disk any more."""
        g, there = self.begin(), self.coming()
        ours = Watch(g)
        migrate(g, there.port, self.key_path, '--hold')
        self.assertIsNotNone(ours.phase('ready'))
        there.ctl('incoming-go')
        self.works(there)
        g.ctl('stop')
        self.ended(g)
        ours.close()
        self.assertNotIn('opened', g.log())
        self.works(there)
        self.finish(there)

    def test_held_source_ends_first(self):
        """... and does not end a destination that nobody has told yet that the guest is its own."""
        g, there = self.begin(), self.coming()
        theirs = Watch(there)
        migrate(g, there.port, self.key_path, '--hold')
        self.assertIsNotNone(theirs.phase('ready'))
        theirs.close()
        self.until(lambda: g.ctl('migration')['phase'] == 'ready')
        g.ctl('stop')
        self.ended(g)
        self.assertEqual(there.ctl('status')['state'], 'incoming')
        there.ctl('incoming-go')
        self.works(there)
        self.finish(there)

    def test_held_link_cut(self):
        """What happens to the link is nothing to a guest that is held: the agents decide, each way."""
        g = self.begin()
        for go in (False, True):
            there = self.coming()
            with Link(there.port) as link:
                ours = Watch(g)
                migrate(g, link.port, self.key_path, '--hold')
                ours.phase('ready')
                link.cut()
                time.sleep(0.2)  # nothing must come of it
                self.assertEqual([g.ctl('status')['state'], there.ctl('status')['state']], ['paused', 'incoming'])
                if go:
                    there.ctl('incoming-go')
                    g.ctl('migrate-go')
                    self.ended(g)
                    self.works(there)
                    g = there
                else:
                    g.ctl('migrate-cancel')
                    self.assertIsNotNone(ours.phase('failed'))
                    self.assertEqual([g.ctl('status')['state'], there.ctl('status')['state']], ['paused', 'incoming'])
                    there.ctl('stop')  # until now it had the disk
                    self.ended(there)
                    self.works(g)
                ours.close()
        self.finish(g)


class Refused(Moving):
    def setUp(self):
        super().setUp()
        self.source = self.begin()

    def refused(self, words, **how):
        there = self.coming(**how)
        migrate(self.source, there.port, self.key_path)
        self.wait_failed()
        self.stays(self.source, there, words)

    def wait_failed(self):
        limit = time.monotonic() + SECONDS
        while self.source.ctl('migration')['phase'] != 'failed' and time.monotonic() < limit:
            time.sleep(0.02)

    def test_other_machine(self):
        self.refused(r'has 192 MiB of memory, here are 256', memory='256M')
        self.refused(r'the processor model is host there, baseline-v2 here', cpu='baseline-v2')
        self.refused(r'it has 1 vCPUs, here are 2', vcpus='2')
        self.finish(self.source)

    def test_other_disk(self):
        small = os.path.join(self.directory.name, 'small')
        with open(small, 'wb') as f:
            f.truncate(BLOCK)
        self.refused(r'disks\[0\]: has 262144 bytes, the guest knows a disk of', disk='raw:' + small)
        self.finish(self.source)

    def test_locked_disk(self):
        """Somebody else holds the disk when it is to be opened: the source goes on with it."""
        there = self.coming()
        with open(self.disk, 'r+b') as other:  # as a reader that lets nobody write; the source's own claim is older
            lock = struct.pack('hhqqi4x', fcntl.F_RDLCK, os.SEEK_SET, 201, 1, 0)
            migrate(self.source, there.port, self.key_path, *SLOWLY)
            fcntl.fcntl(other, F_OFD_SETLK, lock)
            self.wait_failed()
            self.assertRegex(there.log(), r'disks\[0\]: .*is in use by another program')
            fcntl.fcntl(other, F_OFD_SETLK, struct.pack('hhqqi4x', fcntl.F_UNLCK, os.SEEK_SET, 201, 1, 0))
            self.ended(there, 1)
        self.works(self.source)
        self.finish(self.source)

    def test_wrong_key(self):
        """Who has another key is nobody: the destination goes on waiting for who has the right one."""
        there = self.coming()
        wrong, _ = key_file(tempfile.mkdtemp(dir=self.directory.name))
        migrate(self.source, there.port, wrong)
        self.wait_failed()
        self.stays(self.source, None, 'does not have this migration.s key')
        self.assertEqual(there.ctl('migration')['phase'], 'listen')
        migrate(self.source, there.port, self.key_path)
        self.ended(self.source)
        self.works(there)
        self.finish(there)

    def test_short_key(self):
        there = self.coming()
        short = os.path.join(self.directory.name, 'short')
        with open(short, 'wb') as f:
            f.write(b'x' * 31)
        self.assertIn('must have 32 bytes', migrate(self.source, there.port, short, check=False)[2])
        self.works(self.source)


class Faults(Moving):
    def setUp(self):
        super().setUp()
        self.source = self.begin()

    def failed(self, words, there, code=1):
        limit = time.monotonic() + SECONDS
        while self.source.ctl('migration')['phase'] != 'failed' and time.monotonic() < limit:
            time.sleep(0.02)
        self.stays(self.source, there, words, code)

    def test_cancel(self):
        """In each phase before the guest is gone."""
        for phase in ('connect', 'copy', 'ready'):
            there = self.coming()
            ours = Watch(self.source)
            with Link(there.port, stall=0 if phase == 'connect' else None) as link:
                migrate(self.source, link.port, self.key_path, *(SLOWLY if phase == 'copy' else ('--hold',)))
                if phase == 'ready':
                    ours.phase('ready')
                elif phase == 'copy':
                    self.until(lambda: there.ctl('migration')['phase'] == 'copy')
                self.source.ctl('migrate-cancel')
                self.assertIsNotNone(ours.phase('failed'))
            ours.close()
            if there.process.poll() is None:
                there.ctl('stop', check=False)
            there.wait()
            self.stays(self.source, None, 'was cancelled')
        self.finish(self.move(self.source))

    def test_destination_killed(self):
        for phase in ('connect', 'copy'):
            there = self.coming()
            with Link(there.port, stall=0 if phase == 'connect' else None) as link:
                migrate(self.source, link.port, self.key_path, *SLOWLY)
                if phase == 'copy':
                    self.until(lambda: there.ctl('migration')['phase'] == 'copy')
                there.process.kill()
                there.wait(SECONDS)
                link.close()
            self.failed('the connection|closed|gone', None)
        self.finish(self.move(self.source))

    def test_destination_killed_when_ready(self):
        """It is held: the source waits for its agent, who cancels."""
        there = self.coming()
        ours = Watch(self.source)
        migrate(self.source, there.port, self.key_path, '--hold')
        ours.phase('ready')
        there.process.kill()
        there.wait()
        self.assertEqual(self.source.ctl('status')['state'], 'paused')
        self.source.ctl('migrate-cancel')
        ours.phase('failed')
        ours.close()
        self.stays(self.source, None, 'was cancelled')
        self.finish(self.move(self.source))

    def test_source_killed(self):
        """The destination ends before it has everything. (The guest is lost with its process, as it would be without.)"""
        there = self.coming()
        migrate(self.source, there.port, self.key_path, *SLOWLY)
        self.until(lambda: there.ctl('migration')['phase'] == 'copy')
        self.source.process.kill()
        self.source.wait()
        self.ended(there, 1)
        self.assertRegex(there.log(), 'does not come: the (connection broke|other side has closed)')

    def test_source_killed_when_ready(self):
        """... and goes on, where its agent says so, once it has."""
        there = self.coming()
        theirs = Watch(there)
        migrate(self.source, there.port, self.key_path, '--hold')
        theirs.phase('ready')
        theirs.close()
        self.source.process.kill()
        self.source.wait()
        there.ctl('incoming-go')
        self.works(there)
        self.finish(there)

    def test_destination_frozen(self):
        there = self.coming()
        migrate(self.source, there.port, self.key_path, '--patience', '1s', *SLOWLY)
        self.until(lambda: there.ctl('migration')['phase'] == 'copy')
        there.process.send_signal(signal.SIGSTOP)
        self.failed('has moved no byte for 1000 ms', None)
        there.process.send_signal(signal.SIGCONT)
        self.ended(there, 1)
        self.finish(self.move(self.source))

    def test_source_frozen(self):
        """For a moment: nothing comes of it."""
        there = self.coming()
        migrate(self.source, there.port, self.key_path, *SLOWLY)
        self.until(lambda: there.ctl('migration')['phase'] == 'copy')
        self.source.process.send_signal(signal.SIGSTOP)
        time.sleep(1)
        self.source.process.send_signal(signal.SIGCONT)
        self.ended(self.source)
        self.works(there)
        self.finish(there)

    def test_power_off_on_the_way(self):
        there = self.coming()
        migrate(self.source, there.port, self.key_path, *SLOWLY)
        self.until(lambda: there.ctl('migration')['phase'] == 'copy')
        self.source.console.sendall(b'poweroff -f\n')
        self.ended(self.source)
        self.ended(there, 1)

    def test_link_spoilt(self):
        """Cut, truncated or changed anywhere: one side has the guest, or, where the very last word was lost, none runs it
        and the source says so."""
        there = self.coming()
        with Link(there.port) as link:
            migrate(self.source, link.port, self.key_path, '--streams', '1')
            self.ended(self.source)
            whole = link.passed
        self.source = there
        places = [100, 1500, whole // 2, whole - 100000, whole - 40000, whole - 20000, whole - 5000, whole - 1000]
        for at in places:
            for how in ('cut', 'flip'):
                self.works(self.source)
                there = self.coming()
                with Link(there.port, **{how: max(at, 1)}) as link:
                    migrate(self.source, link.port, self.key_path, '--streams', '1', '--patience', '2s')
                    self.until(lambda: self.source.process.poll() is not None or
                               self.source.ctl('migration', check=False)[1].find('failed') >= 0)
                    if self.source.process.poll() is None:
                        self.stays(self.source, None, 'stays here')
                        link.close()
                        if there.ctl('migration', check=False)[1].find('listen') >= 0:
                            there.ctl('stop')  # to it, that was a stranger
                        there.wait(SECONDS)
                    else:
                        self.source = there
        self.finish(self.source)


if __name__ == '__main__':
    if len(sys.argv) > 2 and sys.argv[1] == '--seed':
        SEED = int(sys.argv[2])
        del sys.argv[1:3]
    print('seed %d' % SEED, flush=True)
    unittest.main(verbosity=2)
