#!/usr/bin/python3
"""Plans beside hbal's, judged by hbal, and capacity beside hspace's: on Ganeti's own files, and on clusters that are made.

usage: hbal_test.py DROVER_BALANCER
On every file that hbal can improve, the score is not above hbal's, and with the same score there are no more moves. What
hbal says of the cluster after our plan is what we said. Skips with status 77 where hbal is not installed.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

import hbal as judge

SAME = 1.5e-8


def check_file(program, path, directory, wrong):
    theirs = judge.hbal(path)
    if theirs is None:
        return False
    mine, after = judge.ours(program, path, directory)
    name = os.path.basename(path)
    if abs(mine.before - theirs.before) > SAME:
        wrong.append('%s: the score is %.8f, hbal says %.8f' % (name, mine.before, theirs.before))
    if abs(judge.judged(after) - mine.after) > 2 * SAME:
        wrong.append('%s: after the plan it is %.8f, hbal says %.8f' % (name, mine.after, judge.judged(after)))
    if mine.after > theirs.after + SAME:
        wrong.append('%s: %.8f, but hbal reaches %.8f' % (name, mine.after, theirs.after))
    if abs(mine.after - theirs.after) <= SAME and mine.moves > theirs.moves:
        wrong.append('%s: %d moves, but hbal needs %d' % (name, mine.moves, theirs.moves))
    return theirs.moves > 0


def check_capacity(program, path, wrong):
    """As many guests of a shape fit as hspace finds place for."""
    for vcpus, gib in ((1, 1), (4, 8), (4, 32)):
        theirs = subprocess.run(['hspace', '-t', path, '--no-capacity-checks', '--disk-template=ext', '--machine-readable',
                                 '--standard-alloc=10240,%d,%d' % (gib * 1024, vcpus)], stdout=subprocess.PIPE, text=True)
        found = [int(line.split('=')[1]) for line in theirs.stdout.split('\n') if line.startswith('HTS_ALLOC_INSTANCES=')]
        mine = subprocess.run([program, 'capacity', '--cluster', path, '--shape', '%d:%dG' % (vcpus, gib), '--lose', '0', '--json'],
                              stdout=subprocess.PIPE, text=True)
        if not found or json.loads(mine.stdout)['fit'] != found[0]:
            wrong.append('capacity %d:%dG: %s, and hspace says %s' % (vcpus, gib, mine.stdout.strip(), found))


def check_errors(program, wrong):
    for arguments, piece in (
            (['plan', '--cluster', os.path.join(judge.DATA, 'invalid-node.data')], 'no node above has this name'),
            (['plan', '--cluster', '/nonexistent'], 'No such file'),
            (['capacity', '--cluster', os.path.join(judge.DATA, 'hbal-dyn.data'), '--shape', '4'], 'is needed')):
        done = subprocess.run([program] + arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode != 1 or piece not in done.stderr:
            wrong.append('%s: status %d, "%s"' % (' '.join(arguments), done.returncode, done.stderr.strip()))


def main():
    if not shutil.which('hbal'):
        print('hbal is not installed (ganeti-htools): skipped')
        return 77
    program, wrong, improved = sys.argv[1], [], 0
    with tempfile.TemporaryDirectory() as directory:
        for name in sorted(os.listdir(judge.DATA)):
            if name.endswith('.data') and name not in ('invalid-node.data', 'multiple-tags.data'):
                improved += check_file(program, os.path.join(judge.DATA, name), directory, wrong)
        if improved < 17:
            wrong.append('hbal improved only %d files: the test has lost its point' % improved)
        for seed in range(1, 4):
            for kind in ([], ['--mirrors']):
                path = os.path.join(directory, 'made.data')
                judge.maker(['6', '8', str(seed)] + kind, path)
                check_file(program, path, directory, wrong)
            judge.maker(['6', '8', str(seed)], path)
            check_capacity(program, path, wrong)
    check_errors(program, wrong)
    for line in wrong:
        print(line)
    print('%d files improved by hbal, %d things wrong' % (improved, len(wrong)))
    return 1 if wrong else 0


sys.exit(main())
