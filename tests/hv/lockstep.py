#!/usr/bin/python3
"""The translator against the interpreter, block by block (hv/dbt/lockstep.h), while a stock Debian kernel boots to its init
and user space does some work. No block may differ in a register, a flag, a fault or a byte of memory.

usage: lockstep.py [--memory SIZE] [--kernel cloud|generic]"""
import argparse
import os
import re
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import initrd  # noqa: E402
import kernels  # noqa: E402
from guest import Guest  # noqa: E402

SECONDS = 900  # for a guest that hangs; machines differ
BLOCKS_MADE, BLOCKS_COMPARED = 20000, 500000  # less is no boot
WORK = ['md5sum /bin/busybox', 'head -c 200000 /bin/busybox | gzip -c | gunzip -c | sha256sum', 'sha512sum /modules | sha1sum',
        "awk 'BEGIN { x = 1; for (i = 1; i < 3000; i++) x = x * 0.75 + 1 / i - x / (i + 7.25); print x, int(x * 1e9) }'",
        'for i in 1 2 3 4 5 6 7 8; do (seq 1 100 | sort -n | tail -n 1) & done; wait']


def summary(log):
    """{'made': blocks, 'compared': times, 'different': times ...} of the engine's last line."""
    line = re.findall(r'lock step: (.*made.*)$', log, re.M)
    return {what: int(count) for count, what in re.findall(r'(\d+) (?:blocks )?([a-z ]+)', line[-1])} if line else {}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--memory', default='192M')
    parser.add_argument('--kernel', default='cloud')
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        ramdisk = os.path.join(directory, 'initrd.gz')
        initrd.build(ramdisk, kernels.modules(a.kernel))
        # devices that write memory by themselves would be seen by one and not by the other
        with Guest('--engine', 'lockstep', '--memory', a.memory, '--no-rng', '--no-balloon', '--kernel',
                   kernels.vmlinuz(a.kernel), '--initrd', ramdisk, '--cmdline', 'console=ttyS0 quiet panic=-1',
                   seconds=SECONDS) as g:
            g.ready()
            for command in WORK:
                g.check(command)
            g.ctl('stop')
            g.wait()
            log = g.log()
    found = summary(log)
    print(log[-6000:] if found.get('different') or not found else found)
    return 0 if found.get('different') == 0 and found['made'] >= BLOCKS_MADE and found['compared'] >= BLOCKS_COMPARED else 1


if __name__ == '__main__':
    sys.exit(main())
