#!/usr/bin/python3
"""The payload (tests/hv/payload) on an engine: every case holds, alone and with four processors. With lockstep, alone, and
translator and interpreter agree on every block (hv/dbt/lockstep.h).

usage: payload_test.py ENGINE"""
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from guest import PROGRAM  # noqa: E402

SECONDS = 300


def main(engine):
    failed = 0
    with tempfile.TemporaryDirectory() as directory:
        payload = os.path.join(directory, 'payload')
        subprocess.run(['sh', os.path.join(HERE, 'payload', 'build.sh'), payload], check=True)
        for vcpus in (1,) if engine == 'lockstep' else (1, 4):
            done = subprocess.run([PROGRAM, 'run', '--engine', engine, '--vcpus', str(vcpus), '--memory', '64M', '--kernel',
                                   payload, '--console', 'stdio'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, timeout=SECONDS, universal_newlines=True)
            end = re.search(r'^payload: (\d+) passed, (\d+) failed$', done.stdout, re.M)
            wrong = [line for line in done.stdout.splitlines() if line.startswith('not ok')]
            print('%s, %d vCPUs: %s' % (engine, vcpus, end.group(0) if end else 'did not come to its end'))
            if engine == 'lockstep' and not re.search(r'lock step: .*, 0 different$', done.stderr, re.M):
                wrong.append('lock step: ' + done.stderr[-2000:])
            if done.returncode or not end or wrong or int(end.group(1)) < 100:
                print('\n'.join(wrong or [done.stdout[-500:], done.stderr[-2000:]]))
                failed = 1
    return failed


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
