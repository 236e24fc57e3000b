#!/usr/bin/python3
"""A guest that rewrites memory faster than a link takes it moves only by post-copy: it goes, and its last pages follow. Its memory
is verified by the load itself, its disk by the work beside it; the link breaks in the middle and is resumed; its source dies.

usage: postcopy_test.py [--seed N] [unittest arguments]"""
import json
import os
import socket
import struct
import subprocess
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import initrd  # noqa: E402
import kernels  # noqa: E402
import migrate_test  # noqa: E402
from guest_work import CACHE  # noqa: E402
from migrate_test import SECONDS  # noqa: E402
from moving import Link, Watch, migrate  # noqa: E402

MIB = 32  # are rewritten, over and over
TIGHT = ('--bandwidth', '12M', '--max-downtime', '100ms', '--no-throttle')
LEASE, OK = 24, 100  # of the messages of a guest's control socket
LATE = (*TIGHT, '--post-copy', '--patience', '2s')


class Late(migrate_test.Moving):
    def setUp(self):
        super().setUp()
        load = os.path.join(self.directory.name, 'memory_load')
        subprocess.run(['gcc', '-O2', '-static', '-o', load, os.path.join(HERE, 'memory_load.c')], check=True)
        self.initrd = os.path.join(CACHE, 'initrd-cloud-load.gz')
        initrd.build(self.initrd, kernels.modules('cloud'), files=[('bin/memory_load', load)])

    def loaded(self, **how):
        g = self.begin(**how)
        g.check('memory_load %d verify >/dev/null & until [ -e /tmp/passes ]; do sleep 0.1; done' % MIB)
        return g

    def check_load(self, g):
        """It goes on, and has found nothing that it had not written."""
        said = g.check('cp /tmp/passes /tmp/before; until ! cmp -s /tmp/passes /tmp/before; do sleep 0.1; done; cat /tmp/passes')
        self.assertRegex(said, r'passes \d+ wrong 0')

    def goes_on(self, g):
        self.works(g)
        self.check_load(g)

    def extend_lease(self, g, seconds=None):
        """As its agent does (node/base/guest_message.h); None: it has none any more."""
        until = time.clock_gettime_ns(time.CLOCK_BOOTTIME) + int(seconds * 1e9) if seconds else 0
        body = json.dumps({'until_ns': until}).encode()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
            s.connect(g.control)
            s.sendall(b'DRVM' + struct.pack('>HHII', 1, LEASE, 1, len(body)) + body)
            answer = s.recv(65536)
        self.assertEqual(struct.unpack('>H', answer[6:8])[0], OK, answer)

    def ran(self, g):
        """What its vCPU had of the processor, in nanoseconds."""
        for task in os.listdir('/proc/%d/task' % g.process.pid):
            folder = '/proc/%d/task/%s/' % (g.process.pid, task)
            with open(folder + 'comm') as name, open(folder + 'schedstat') as figures:
                if name.read().startswith('vcpu'):
                    return int(figures.read().split()[0])
        self.fail('it has no vCPU')

    def told(self, watch, *phases):
        e = watch.phase(*phases, 'failed', seconds=SECONDS)
        self.assertIsNotNone(e)
        self.assertIn(e['phase'], phases, e)
        return e


class Moves(Late):
    def test_only_with_it(self):
        g = self.loaded()
        there = self.coming()
        watch = Watch(g)
        migrate(g, there.port, self.key_path, *TIGHT)
        self.told(watch, 'failed')
        self.stays(g, there, 'it cannot end')
        for streams in ('1', '3'):
            there = self.coming()
            migrate(g, there.port, self.key_path, *LATE, '--streams', streams)
            self.assertTrue(self.told(watch, 'post-copy')['post-copy'])
            came = self.told(watch, 'done')
            watch.close()
            self.assertGreater(came['faults'], 0, came)
            self.assertGreater(came['post-copy-bytes'], 4 << 20, came)
            self.assertEqual(came['bytes-left'], 0, came)
            self.assertGreater(came['longest-wait-ms'], 0, came)
            print('post-copy over %s: %s' % (streams, came), flush=True)
            self.ended(g)
            self.until(lambda: there.ctl('migration')['phase'] == 'done')
            self.goes_on(there)
            g, watch = there, Watch(there)
        watch.close()
        self.finish(g)

    def test_frozen_while_throttled(self):
        """Its vCPUs are stopped and let go a hundred times a second; when its lease ends they stand."""
        g, there = self.loaded(), self.coming()
        migrate(g, there.port, self.key_path, '--bandwidth', '4M', '--max-downtime', '2ms')
        self.until(lambda: g.ctl('migration')['throttle'] > 0)
        self.extend_lease(g, 0.1)
        self.until(lambda: g.ctl('status')['frozen'])
        ran = self.ran(g)
        time.sleep(1)
        self.assertEqual(self.ran(g), ran)
        self.extend_lease(g)
        self.until(lambda: self.ran(g) > ran)
        g.ctl('migrate-cancel')
        self.until(lambda: g.ctl('migration')['phase'] == 'failed')
        self.goes_on(g)
        self.finish(g)

    def test_held(self):
        """The agents say go, each on its side; what the guest needs in between comes nevertheless."""
        g, there = self.loaded(vcpus='2'), self.coming(vcpus='2')
        ours = Watch(g)
        migrate(g, there.port, self.key_path, *LATE, '--hold')
        self.told(ours, 'ready')
        there.ctl('incoming-go')
        self.check_load(there)
        g.ctl('migrate-go')
        self.told(ours, 'done')
        ours.close()
        self.ended(g)
        self.goes_on(there)
        self.finish(there)

    def test_cancelled_when_held(self):
        g, there = self.loaded(), self.coming()
        ours = Watch(g)
        migrate(g, there.port, self.key_path, *LATE, '--hold')
        self.told(ours, 'ready')
        g.ctl('migrate-cancel')
        self.told(ours, 'failed')
        ours.close()
        self.ended(there, 1)
        self.until(lambda: g.ctl('status')['state'] == 'running')  # it had to wait for its disk
        self.stays(g, None, 'was cancelled')
        self.check_load(g)
        self.finish(g)

    def test_not_needed(self):
        """Where rounds do it, nothing comes late."""
        g, there = self.begin(), self.coming()
        ours = Watch(g)
        migrate(g, there.port, self.key_path, '--post-copy')
        self.assertNotIn('post-copy', self.told(ours, 'done'))
        ours.close()
        self.ended(g)
        self.works(there)
        self.finish(there)


class Faults(Late):
    def setUp(self):
        super().setUp()
        self.source = self.loaded()
        self.there = self.coming()
        self.link = Link(self.there.port)
        self.addCleanup(self.link.close)
        self.ours = Watch(self.source)
        self.addCleanup(self.ours.close)
        migrate(self.source, self.link.port, self.key_path, *LATE)
        self.told(self.ours, 'post-copy')
        self.until(lambda: self.there.ctl('status')['state'] == 'running')  # what follows is nothing of a GO that is lost

    def broken(self):
        return self.source.ctl('migration')['link'] == 'broken'

    def test_cut_and_resumed(self):
        for _ in range(3):
            if self.source.process.poll() is not None:
                break
            self.link.cut()
            self.until(self.broken)
            self.assertIn('too late', self.source.ctl('migrate-cancel', check=False)[2])
            self.assertIn('connections', self.source.ctl('migrate-resume', 'tcp:127.0.0.1:%d' % self.link.port, '--streams', '3',
                                                         check=False)[2])
            self.assertEqual(self.there.ctl('status')['state'], 'running')
            self.assertTrue(self.there.ctl('status')['loading'])
            self.resume()
        self.ended(self.source)
        self.goes_on(self.there)
        self.finish(self.there)

    def resume(self):
        """Until it is under way again: a destination that has not heard of the break takes nobody."""
        limit = time.monotonic() + SECONDS
        while self.source.process.poll() is None and self.broken():
            self.assertLess(time.monotonic(), limit)
            self.source.ctl('migrate-resume', 'tcp:127.0.0.1:%d' % self.link.port, check=False)
            time.sleep(0.1)

    def test_strangers_at_the_door(self):
        """Whoever only connects is in nobody's way when it is resumed: they are far more than those who take connections."""
        self.link.cut()
        self.until(self.broken)
        self.until(lambda: self.there.ctl('migration')['link'] == 'broken')
        strangers = [socket.create_connection(('127.0.0.1', self.there.port)) for _ in range(12)]
        tries = 0
        while self.source.process.poll() is None and self.broken():
            tries += self.source.ctl('migrate-resume', 'tcp:127.0.0.1:%d' % self.link.port, check=False)[0] == 0
            self.assertLess(tries, 4)
            time.sleep(0.1)
        self.ended(self.source)
        for s in strangers:
            s.close()
        self.goes_on(self.there)
        self.finish(self.there)

    def test_frozen_and_thawed_meanwhile(self):
        """Its lease ends while vCPUs wait for pages that do not come, and is extended before they do."""
        self.link.cut()
        self.until(self.broken)
        for _ in range(2):
            self.extend_lease(self.there, 0.1)
            self.until(lambda: self.there.ctl('status')['frozen'])
            self.extend_lease(self.there)
            self.assertFalse(self.there.ctl('status')['frozen'])
        self.assertTrue(self.there.ctl('status')['loading'])
        self.resume()
        self.ended(self.source)
        self.goes_on(self.there)
        self.finish(self.there)

    def test_refused_meanwhile(self):
        for what in (('save', os.path.join(self.directory.name, 'saved')), ('reset',), ('pause',), ('forecast',), ('stats',)):
            self.assertIn('memory has', self.there.ctl(*what, check=False)[2])
        self.assertIn('nothing to be resumed', self.source.ctl('migrate-resume', 'tcp:127.0.0.1:%d' % self.link.port, check=False)[2])
        self.ended(self.source)
        self.goes_on(self.there)
        self.finish(self.there)

    def test_destination_stopped(self):
        """By whoever may: at once, although vCPUs wait for pages that do not come."""
        self.link.cut()
        self.until(self.broken)
        self.there.ctl('stop')
        self.ended(self.there)
        self.source.ctl('stop')
        self.ended(self.source)

    def test_source_killed(self):
        """The pages are lost with it. The destination says so, and is ended by whoever decides that."""
        self.source.process.kill()
        self.source.wait()
        self.until(lambda: self.there.ctl('migration')['link'] == 'broken')
        self.assertEqual(self.there.ctl('migration')['phase'], 'post-copy')
        self.assertRegex(self.there.log(), 'waits for pages: the connection broke')
        self.there.ctl('stop')
        self.ended(self.there)


if __name__ == '__main__':
    if len(sys.argv) > 2 and sys.argv[1] == '--seed':
        migrate_test.SEED = int(sys.argv[2])
        del sys.argv[1:3]
    print('seed %d' % migrate_test.SEED, flush=True)
    unittest.main(verbosity=2)
