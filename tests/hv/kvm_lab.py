#!/usr/bin/python3
"""drover-guest under KVM with AMD-V, in the lab (lab.py): its unit tests, the payload, and a stock Debian kernel.

The lab's processor is emulated by QEMU, which lets a guest do some things that a processor refuses; those cases of the
payload are listed below and must be the only ones that fail."""
import os
import re
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import initrd  # noqa: E402
import kernels  # noqa: E402
from guest import BUILD, PROGRAM  # noqa: E402
from lab import run_jobs  # noqa: E402

EMULATED = {'#UD: lock mov', '#SS(0): the same through the stack segment', '#GP(0): MSR that is not there',
            '#GP(0): reserved bits of CR8', '#PF(P R): reserved bit', '#PF(P R): reserved bit of a 1 GiB page',
            '#GP(vector): a gate of ring 0', '#GP: a base that is not canonical', 'v8086, #GP(0): beyond 64 KiB',
            'v8086, #SS(0): the same in the stack segment'}


def engine_job(directory):
    programs = [os.path.join(BUILD, name) for name in ('test_kvm', 'test_kvm_debug', 'test_kvm_state')]
    return programs, ' && '.join(programs), 300


def payload_job(directory):
    payload = os.path.join(directory, 'payload')
    subprocess.run(['sh', os.path.join(HERE, 'payload', 'build.sh'), payload], check=True)
    # the log apart: two writers to one console cut each other's lines
    script = ('%s run --engine auto --vcpus 2 --memory 64M --kernel %s --console stdio </dev/null 2>/tmp/log\n'
              'code=$?; cat /tmp/log; exit $code') % (PROGRAM, payload)
    return [PROGRAM, payload], script, 200


def debian_guest_job(directory):
    ramdisk = os.path.join(directory, 'initrd.gz')
    initrd.build(ramdisk, kernels.modules('cloud'))
    kernel = kernels.vmlinuz('cloud')
    script = '''
mkfifo /tmp/in
%s run --engine kvm --vcpus 2 --memory 384M --kernel %s --initrd %s --cmdline "console=ttyS0 quiet panic=-1" \\
    --disk mem:32M --console stdio </tmp/in >/tmp/out 2>&1 &
exec 3>/tmp/in
n=0; until grep -q "guest: ready" /tmp/out; do n=$((n+1)); [ $n -lt 300 ] || break; sleep 1; done
echo 'nproc; cat /sys/devices/system/clocksource/clocksource0/current_clocksource /sys/block/vda/size; dd if=/dev/urandom of=/tmp/r bs=64k count=16 2>/dev/null' >&3
echo 'md5sum < /tmp/r; dd if=/tmp/r of=/dev/vda bs=64k conv=fsync 2>/dev/null; echo 3 > /proc/sys/vm/drop_caches' >&3
echo 'dd if=/dev/vda bs=64k count=16 2>/dev/null | md5sum; poweroff -f' >&3
wait $!
code=$?
cat /tmp/out
exit $code
''' % (PROGRAM, kernel, ramdisk)
    return [PROGRAM, kernel, ramdisk], script, 400


JOBS = {'engine': engine_job, 'payload': payload_job, 'debian_guest': debian_guest_job}


class Kvm(unittest.TestCase):
    """The lab is started once, and does the jobs of the tests that were asked for (all, if none were named)."""

    @classmethod
    def setUpClass(cls):
        asked = [a.rpartition('test_')[2] for a in sys.argv[1:] if 'test_' in a]
        with tempfile.TemporaryDirectory(prefix='drover-kvm-') as directory:
            cls.results = run_jobs([(name, *job(directory)) for name, job in JOBS.items() if not asked or name in asked])

    def output(self, job):
        code, text = self.results[job]
        self.assertEqual(code, 0, text[-3000:])
        return text

    def test_engine(self):
        text = self.output('engine')
        self.assertEqual(text.count('  PASSED  '), 3, text[-3000:])

    def test_payload(self):
        text = self.output('payload')
        wrong = {line[len('not ok '):] for line in text.splitlines() if line.startswith('not ok ')}
        self.assertEqual(wrong - EMULATED, set())
        end = re.search(r'^payload: (\d+) passed', text, re.M)
        self.assertGreaterEqual(int(end.group(1)) if end else 0, 100, text[-3000:])

    def test_debian_guest(self):
        text = self.output('debian_guest')
        sums = re.findall(r'^([0-9a-f]{32})  -$', text, re.M)
        self.assertEqual(len(sums), 2, text[-3000:])
        self.assertEqual(sums[0], sums[1])
        self.assertRegex(text, r'(?m)^2$')
        self.assertRegex(text, r'(?m)^kvm-clock$')
        self.assertRegex(text, r'(?m)^65536$')


if __name__ == '__main__':
    unittest.main(verbosity=2)
