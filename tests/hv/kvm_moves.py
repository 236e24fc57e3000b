#!/usr/bin/python3
"""A guest at work moves from our own engine here to KVM in the lab (lab.py), home, to the lab again and home; and its work
ends as it would have without. The lab's processor is another than this one: the guest has a baseline model. In the lab it
is saved a second time before it runs."""
import os
import re
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import initrd  # noqa: E402
import kernels  # noqa: E402
from guest import Guest, PROGRAM  # noqa: E402
from guest_work import Work  # noqa: E402
from lab import Lab  # noqa: E402

SECONDS = 300
OPTIONS = ['--memory', '96M', '--cpu', 'baseline-v2', '--vcpus', '2']
DISK_BYTES = 128 << 20
TRIPS = 2

# /dev/vda is the saved guest that comes, /dev/vdb the one that goes back.
SCRIPT = r"""
start() {
    rm -f /tmp/in /tmp/control; mkfifo /tmp/in; : > /tmp/out
    PROGRAM run --engine kvm OPTIONS --load $1 --paused --console stdio --control unix:/tmp/control \
        </tmp/in >/tmp/out 2>>/tmp/log &
    pid=$!
    exec 3>/tmp/in
    until [ -S /tmp/control ] || ! kill -0 $pid; do sleep 0.1; done
}
ask() {
    PROGRAM ctl unix:/tmp/control "$@"
}
leave() {
    ask save $1 && ask stop
    exec 3>&-
    wait $pid && echo "lab: saved"
}
dd if=/dev/vda of=/tmp/came bs=1M 2>/dev/null
start /tmp/came; leave /tmp/again; rm /tmp/came
start /tmp/again; rm /tmp/again
ask resume
echo 'GO_ON' >&3
while kill -0 $pid && ! grep -q "guest: done" /tmp/out; do sleep 0.2; done
leave /tmp/goes
cat /tmp/out /tmp/log
dd if=/tmp/goes of=/dev/vdb bs=1M conv=fsync 2>/dev/null
"""


class Moves(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory(prefix='drover-moves-')
        self.addCleanup(self.directory.cleanup)
        self.work = Work(lines=1000)

    def path(self, name):
        return os.path.join(self.directory.name, name)

    def leave(self, g):
        g.ctl('save', self.path('there'))
        g.ctl('stop')
        self.assertEqual(g.wait(), 0)
        os.truncate(self.path('there'), DISK_BYTES)  # of whole sectors
        with open(self.path('back'), 'wb') as f:
            f.truncate(DISK_BYTES)

    def begin(self):
        ramdisk = self.path('initrd.gz')
        initrd.build(ramdisk, kernels.modules('cloud'), modules=[])
        with Guest('--engine', 'dbt', *OPTIONS, '--kernel', kernels.vmlinuz('cloud'), '--initrd', ramdisk, '--cmdline',
                   'console=ttyS0 quiet panic=-1', seconds=SECONDS) as g:
            g.ready().check(self.work.begin())
            self.leave(g)

    def stay_in_the_lab(self):
        """The round that the work has come to there."""
        script = SCRIPT.replace('PROGRAM', PROGRAM).replace('OPTIONS', ' '.join(OPTIONS)).replace('GO_ON', self.work.go_on(3))
        path = self.path('script')
        with open(path, 'w') as f:
            f.write(script)
        code, text = Lab([PROGRAM, path], 'sh ' + path, disks=[self.path('there'), self.path('back')]).run(300)
        self.assertEqual(code, 0, text[-4000:])
        self.assertEqual(text.count('lab: saved'), 2, text[-4000:])
        rounds = re.findall(r'^(\d+) [0-9a-f]{32}$', text, re.M)
        self.assertEqual(len(rounds), 1, text[-4000:])
        return int(rounds[0])

    def come_home(self, last):
        with Guest('--engine', 'dbt', *OPTIONS, '--load', self.path('back'), seconds=SECONDS) as g:
            now = int(g.check(self.work.go_on()).strip().split()[0])
            if not last:
                os.unlink(self.path('there'))
                self.leave(g)
                return now
            self.assertIsNone(self.work.wrong(g.check(self.work.end())))
            self.assertNotRegex(g.check('dmesg'), r'soft lockup|rcu.*stall|Oops|BUG|[Cc]locksource.*unstable')
            g.ctl('stop')
            self.assertEqual(g.wait(), 0)
            return now

    def test_there_and_back(self):
        rounds = [0]
        self.begin()
        for trip in range(TRIPS):
            rounds += [self.stay_in_the_lab(), self.come_home(trip + 1 == TRIPS)]
        self.assertEqual(rounds, sorted(set(rounds)))


if __name__ == '__main__':
    unittest.main(verbosity=2)
