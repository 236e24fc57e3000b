"""hbal as the judge of our plans: it reads the cluster as it is after them, and its initial score is ours."""
import os
import re
import resource
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DATA = os.path.join(ROOT, 'tests', 'balancer', 'data')


class Solved:
    """seconds: of the processor, in the program and in the kernel for it, its start included."""

    def __init__(self, before, after, moves, seconds, curve):
        self.before, self.after, self.moves, self.seconds, self.curve = before, after, moves, seconds, curve


def spent():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def hbal(path, use=None, timeout=600, limit=None):
    """What hbal finds; None if it refuses the file."""
    command = ['hbal', '-t', path] + (['-U', use] if use else []) + (['-l', str(limit)] if limit else [])
    began = spent()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout, text=True)
    seconds = spent() - began
    first = re.search(r'Initial score: ([\d.]+)', done.stdout)
    if not first:
        return None
    length = re.search(r'Solution length=(\d+)', done.stdout)
    curve = [float(m) for m in re.findall(r'^ +\d+\. .* ([\d.]+) a=', done.stdout, re.M)]
    before = float(first.group(1))
    return Solved(before, curve[-1] if curve else before, int(length.group(1)) if length else 0, seconds, curve)


def ours(program, path, directory, use=None, extra=()):
    """What we find, and the file of the cluster after it."""
    import json
    after = os.path.join(directory, 'after.data')
    command = [program, 'plan', '--cluster', path, '--json', '--write-after', after] + list(extra)
    command += ['--utilization', use] if use else []
    began = spent()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    seconds = spent() - began
    if done.returncode:
        sys.exit('%s: %s' % (path, done.stderr))
    plan = json.loads(done.stdout)
    curve = [move['score_after'] for wave in plan['waves'] for move in wave]
    return Solved(plan['score_before'], plan['score_after'], len(curve), seconds, curve), after


def judged(path, use=None):
    """The score of a file by hbal, without a search: it may make one move at the most."""
    return hbal(path, use, limit=1).before


def until(solved, before, wanted):
    """Moves until the score has fallen to this."""
    for i, score in enumerate(solved.curve):
        if score <= wanted + 1e-9:
            return i + 1
    return None


def maker(arguments, path):
    with open(path, 'w') as f:
        subprocess.run([sys.executable, os.path.join(ROOT, 'tests', 'bench', 'cluster_maker.py')] + arguments, stdout=f,
                       check=True)
