#!/usr/bin/python3
"""In the KVM lab (lab.py) a guest at work moves while it runs: from KVM to our own engine, back to KVM, and from KVM to
KVM; its work ends as it would have without, and its memory is what it has written there."""
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
from guest import PROGRAM  # noqa: E402
from guest_work import Work  # noqa: E402
from lab import Lab  # noqa: E402

OPTIONS = ['--memory', '96M', '--cpu', 'baseline-v2', '--vcpus', '2']
ENGINES = ['kvm', 'dbt', 'kvm', 'kvm']

SCRIPT = r"""
set -u
start() {                                   # NUMBER ENGINE OPTION...
    n=$1; engine=$2; shift 2
    mkfifo /tmp/in$n; : > /tmp/out$n
    PROGRAM run --engine $engine OPTIONS --kernel KERNEL --initrd INITRD --cmdline 'console=ttyS0 quiet panic=-1' \
        --console stdio --control unix:/tmp/control$n "$@" </tmp/in$n >/tmp/out$n 2>>/tmp/log &
    eval pid$n=$!
    eval "exec $((n+3))>/tmp/in$n"
    eval "until [ -S /tmp/control$n ] || ! kill -0 \$pid$n; do sleep 0.1; done"
}
say() {                                     # NUMBER COMMAND: until it is done
    : > /tmp/out$1
    echo "$2" >&$(($1+3))
    until grep -q "guest: done" /tmp/out$1; do sleep 0.2; done
    cat /tmp/out$1
}
move() {                                    # FROM TO ENGINE
    head -c 32 /dev/urandom > /tmp/key
    start $2 $3 --incoming unix:/tmp/way$2 --migration-key /tmp/key
    PROGRAM ctl unix:/tmp/control$1 migrate unix:/tmp/way$2 --key-file /tmp/key --max-downtime 2s || return 1
    eval "wait \$pid$1" && echo "lab: moved to $3"
}
start 0 kvm
until grep -q "guest: ready" /tmp/out0; do sleep 0.2; done
say 0 'BEGIN'
say 0 'memory_load 4 verify >/dev/null & until [ -e /tmp/passes ]; do sleep 0.1; done'
MOVES
say LAST 'cp /tmp/passes /tmp/before; until ! cmp -s /tmp/passes /tmp/before; do sleep 0.1; done'
say LAST 'END; cat /tmp/passes'
echo "lab: log"; cat /tmp/log
PROGRAM ctl unix:/tmp/controlLAST stop
"""


class Moves(unittest.TestCase):
    def test_between_engines(self):
        with tempfile.TemporaryDirectory(prefix='drover-lab-moves-') as directory:
            load, ramdisk, script = (os.path.join(directory, n) for n in ('memory_load', 'initrd.gz', 'script'))
            subprocess.run(['gcc', '-O2', '-static', '-o', load, os.path.join(HERE, 'memory_load.c')], check=True)
            initrd.build(ramdisk, kernels.modules('cloud'), files=[('bin/memory_load', load)], modules=[])
            work, kernel = Work(lines=1000), kernels.vmlinuz('cloud')
            moves = ''.join('move %d %d %s\nsay %d \'%s\'\n' % (i, i + 1, engine, i + 1, work.go_on().replace("'", "'\\''"))
                            for i, engine in enumerate(ENGINES[1:]))
            text = SCRIPT
            for name, value in (('PROGRAM', PROGRAM), ('OPTIONS', ' '.join(OPTIONS)), ('KERNEL', kernel), ('INITRD', ramdisk),
                                ('BEGIN', work.begin()), ('END', work.end()), ('MOVES', moves),
                                ('LAST', str(len(ENGINES) - 1))):
                text = text.replace(name, value)
            with open(script, 'w') as f:
                f.write(text)
            code, said = Lab([PROGRAM, script, kernel, ramdisk], 'sh ' + script).run(300)
        said = said.replace('\0', '')  # a file that was cut, and is written to where it was
        self.assertEqual(code, 0, said[-4000:])
        self.assertEqual(re.findall(r'^lab: moved to (\w+)', said, re.M), ENGINES[1:], said[-4000:])
        end = said[:said.index('lab: log')]
        end = end[end.rindex('guest: done', 0, end.rindex('guest: done')) + len('guest: done'):]
        result = re.search(r'^\d+ [0-9a-f]{32}$', end, re.M)
        self.assertIsNotNone(result, said[-4000:])
        self.assertIsNone(work.wrong(result.group(0)))
        self.assertRegex(end, r'passes \d+ wrong 0')


if __name__ == '__main__':
    unittest.main(verbosity=2)
