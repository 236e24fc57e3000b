#!/usr/bin/python3
"""A running Debian guest is saved at random moments and goes on elsewhere: under the same engine, under another, and its
work ends as it would have without. What was loaded and has not run is saved again as the same bytes.

usage: guest_state.py [--seed N] [unittest arguments]"""
import os
import random
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from guest import Guest  # noqa: E402
from guest_work import Work, prepare  # noqa: E402
from saved_guest import differences  # noqa: E402

SECONDS = 300  # for a guest that hangs; machines differ
SEED = random.randrange(1 << 32)


class State(unittest.TestCase):
    def setUp(self):
        prepare(self, 'state', SEED)

    def path(self, name):
        return os.path.join(self.directory.name, name)

    def guest(self, engine, options, *more):
        return Guest('--engine', engine, '--memory', '192M', '--disk', 'raw:' + self.disk, *options, *more, seconds=SECONDS)

    def save(self, g, name):
        """At a random moment of the next second; the guest's process is gone then."""
        time.sleep(self.random.uniform(0, 1))
        g.ctl('save', self.path(name))
        g.ctl('stop')
        self.assertEqual(g.wait(), 0)

    def moves(self, engines, *options):
        """From each engine to the next, with the guest at work."""
        work = Work(disk='/dev/vda')
        with self.guest(engines[0], options, '--kernel', self.kernel, '--initrd', self.initrd, '--cmdline',
                        'console=ttyS0 quiet panic=-1') as g:
            g.ready().check(work.begin())
            self.save(g, 'saved')
        for i, engine in enumerate(engines[1:], 1):
            with self.guest(engine, options, '--load', self.path('saved'), '--paused') as g:
                g.ctl('save', self.path('again'))
                self.assertEqual(differences(self.path('saved'), self.path('again')), [],
                                 'seed %d, move %d, %s to %s' % (SEED, i, engines[i - 1], engine))
                for name in ('saved', 'again'):
                    os.unlink(self.path(name))
                g.ctl('resume')
                g.check(work.go_on())
                if i + 1 < len(engines):
                    self.save(g, 'saved')
                    continue
                said = g.check(work.end())
                self.assertIsNone(work.wrong(said), 'seed %d' % SEED)
                blocks = int(g.check('sync; cat /tmp/blocks'))
                self.assertNotRegex(g.check('dmesg'), r'soft lockup|rcu.*stall|Oops|BUG|[Cc]locksource.*unstable')
                g.ctl('stop')
                self.assertEqual(g.wait(), 0)
        self.assertGreater(blocks, 0)
        self.assertEqual(work.wrong_blocks(self.disk, blocks), [], 'seed %d' % SEED)

    def test_while_it_loads(self):
        """A guest that is loaded runs before its memory is there: it is saved, moved or ended at once."""
        work = Work(disk='/dev/vda')
        with self.guest('dbt', (), '--kernel', self.kernel, '--initrd', self.initrd, '--cmdline', 'console=ttyS0 quiet panic=-1') as g:
            g.ready().check(work.begin())
            self.save(g, 'saved')
        for i in range(5):
            with self.guest('dbt', (), '--load', self.path('saved')) as g:
                if i < 4:
                    g.ctl('stop')
                    self.assertEqual(g.wait(), 0, g.log())
                    continue
                g.ctl('status', check=False)  # its control socket is made after the file was opened
                os.unlink(self.path('saved'))
                g.ctl('save', self.path('again'))
                g.ctl('resume')
                self.assertFalse(g.ctl('status')['loading'])
                g.check(work.go_on())
                self.assertIsNone(work.wrong(g.check(work.end())), 'seed %d' % SEED)

    def test_same_engine(self):
        self.moves(['dbt'] * 7)

    def test_between_engines(self):
        self.moves(['dbt', 'interp', 'dbt', 'interp', 'interp', 'dbt'])

    def test_two_processors(self):
        self.moves(['dbt', 'dbt', 'interp', 'dbt', 'dbt'], '--vcpus', '2')


if __name__ == '__main__':
    if len(sys.argv) > 2 and sys.argv[1] == '--seed':
        SEED = int(sys.argv[2])
        del sys.argv[1:3]
    print('seed %d' % SEED, flush=True)
    unittest.main(verbosity=2)
