#!/usr/bin/python3
"""The balancer beside hbal: scores, moves and time on the same files, judged by hbal; then sizes that hbal cannot finish.

usage: balancer.py [--short] [--program PATH] [--planetlab FILE.tsv.gz... [--starts N]]
Needs ganeti-htools for the comparison. PlanetLab days are read where they are given; they are not part of Drover.
"""
import argparse
import gzip
import json
import os
import random
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'balancer'))
import fewest  # noqa: E402
import hbal as judge  # noqa: E402


def cpu_of(command):
    """Processor seconds, peak memory and output of a program."""
    began = judge.spent()
    done = subprocess.run(['/usr/bin/env', 'time', '-f', '%M'] + command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return judge.spent() - began, int(done.stderr.split()[-1]) / 1024, done.stdout


def files(program, directory):
    print('%-28s %12s %22s %22s' % ('file', 'before', 'hbal (moves)', 'ours (moves)'))
    for name in sorted(os.listdir(judge.DATA)):
        path = os.path.join(judge.DATA, name)
        theirs = judge.hbal(path) if name.endswith('.data') and name not in ('invalid-node.data', 'multiple-tags.data') else None
        if not theirs or not theirs.moves:
            continue
        mine, after = judge.ours(program, path, directory)
        print('%-28s %12.8f %15.8f (%3d) %15.8f (%3d)  judged %.8f' % (
            name[:-5], theirs.before, theirs.after, theirs.moves, mine.after, mine.moves, judge.judged(after)))


# What a move must take from the score: with a higher price come fewer moves.
PRICES = (0.002, 0.01, 0.02, 0.03, 0.035, 0.04, 0.045, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3)


def few_moves(program, path, directory, use, nodes, price, wanted):
    policy = os.path.join(directory, 'price.json')
    with open(policy, 'w') as f:
        json.dump({'cost': {'move': price * 3600 * nodes}, 'moves': {'parallel': 1}}, f)
    curve, _ = judge.ours(program, path, directory, use, ['--policy', policy])
    return judge.until(curve, curve.before, wanted)


def middle(program, path, directory, use, looks):
    """Processor seconds of a search that looks at so many places: of nine runs the median."""
    return sorted(judge.ours(program, path, directory, use, ['--evaluations', str(looks)])[0].seconds for _ in range(9))[4]


def overtakes(program, path, directory, use, wanted):
    """Processor seconds of the shortest search whose plan is better than that, and of a program that searches nothing."""
    looks = 1000
    while judge.ours(program, path, directory, use, ['--evaluations', str(looks)])[0].after >= wanted:
        looks += looks // 16
    return middle(program, path, directory, use, looks), middle(program, path, directory, use, 1)


def made(program, directory, sizes):
    print('\n%-10s %12s %16s %16s %9s %9s %7s %34s  %s' % ('cluster', 'before', 'hbal (moves)', 'ours (moves)', 'hbal s', 'ours s',
                                                          'ratio', 'better than hbal at, less start', '95 % of hbal\'s gain'))
    for nodes, kind in sizes:
        path, use = os.path.join(directory, 'm.data'), os.path.join(directory, 'm.use')
        judge.maker([str(nodes), '10', '1', '--use', use] + (['--mirrors'] if kind == 'd' else []), path)
        used = use if kind == 'u' else None
        theirs = judge.hbal(path, used, timeout=3600)
        mine, _ = judge.ours(program, path, directory, used)
        wanted = theirs.before - 0.95 * (theirs.before - theirs.after)
        least = min((n for n in (few_moves(program, path, directory, used, nodes, price, wanted) for price in PRICES) if n),
                    default=None)
        soon, start = overtakes(program, path, directory, used, theirs.after)
        print('%-10s %12.6f %11.6f (%3d) %11.6f (%3d) %9.2f %9.3f %6.0fx %7.4f s %5.0fx, %7.4f s %5.0fx  %s moves, %s of its %d; needed at least %d' % (
            '%s%d' % (kind, nodes), theirs.before, theirs.after, theirs.moves, mine.after, mine.moves, theirs.seconds,
            mine.seconds, theirs.seconds / mine.seconds, soon, theirs.seconds / soon, soon - start,
            theirs.seconds / (soon - start), least,
            judge.until(theirs, theirs.before, wanted), theirs.moves, fewest.fewest(path, wanted, used)))


def drover_cluster(path, nodes, guests, seed):
    rng = random.Random(seed)
    with open(path, 'w') as f:
        json.dump({
            'nodes': [{'name': 'n%05d' % i, 'cpus': 64, 'memory': '256G', 'rack': 'r%d' % (i // 20), 'age': 5} for i in range(nodes)],
            'guests': [{'name': 'g%06d' % i, 'node': 'n%05d' % min(int(rng.betavariate(1, 1.6) * nodes), nodes - 1), 'vcpus': 4,
                        'memory': rng.choice(['2G', '4G', '8G']), 'age': 5, 'dirty_rate': '5M',
                        'load': {'cpu': round(min(4, rng.lognormvariate(0.3, 0.9)), 3)}} for i in range(guests)]}, f)


def large(program, directory, sizes):
    print('\nDrover\'s own score, one thread; planning alone, and with reading and writing')
    for nodes in sizes:
        path = os.path.join(directory, 'c.json')
        drover_cluster(path, nodes, nodes * 10, 1)
        policy = os.path.join(directory, 'p.json')
        with open(policy, 'w') as f:
            json.dump({'patience': {'enter': 1, 'leave': 1}, 'overload': {'weight': 0}}, f)
        reading, _, _ = cpu_of([program, 'plan', '--cluster', path, '--policy', policy, '--json'])
        seconds, mib, out = cpu_of([program, 'plan', '--cluster', path, '--json'])
        plan = json.loads(out)
        print('%6d nodes %7d guests: %6.2f s (%.2f with files), %4.0f MiB, score %.4f -> %.4f, spread %.4f -> %.4f, %d moves'
              % (nodes, nodes * 10, seconds - reading, seconds, mib, plan['score_before'], plan['score_after'],
                 plan['spread_before'], plan['spread_after'], plan['moves']))


def begin(path, start):
    """A hundred nodes and the guests of the first day on them: in turn, or in turn as they were shuffled."""
    nodes, guests, rng = 100, 1052, random.Random(start or 3)
    turn = list(range(guests))
    if start:
        rng.shuffle(turn)
    with open(path, 'w') as f:
        json.dump({'nodes': [{'name': 'n%03d' % i, 'cpus': 3.2, 'memory': '64G', 'age': 0, 'link': 1.25e9} for i in range(nodes)],
                   'guests': [{'name': 'g%04d' % i, 'node': 'n%03d' % (turn[i] % nodes if turn[i] < 1000 else rng.randrange(nodes)),
                               'vcpus': 1, 'memory': rng.choice(['1G', '2G', '4G']), 'dirty_rate': rng.choice([1e6, 5e6, 2e7]), 'age': 0}
                              for i in range(guests)]}, f)


def hours_a_minute(program, directory, steps):
    """All five minds on a hundred nodes, with loads that are made: of processors alone, and with the other three beside them."""
    path, policy, rng = os.path.join(directory, 'four.json'), os.path.join(judge.ROOT, 'tests', 'balancer', 'calm.json'), random.Random(1)
    begin(path, 0)
    with open(path) as f:
        cluster = json.load(f)
    for node in cluster['nodes']:
        node.update(disk_rate='500M', network_rate='1250M')
    with open(path, 'w') as f:
        json.dump(cluster, f)
    more = []
    for name, top in (('memory', 90), ('disk', 30e6), ('network', 60e6)):
        means = [rng.random() ** 3 * top for _ in cluster['guests']]
        with open(os.path.join(directory, name + '.tsv'), 'w') as f:
            f.writelines('\t'.join('%.3f' % (mean * rng.uniform(0.5, 1.1)) for _ in range(steps)) + '\n' for mean in means)
        more += ['--trace-' + name, os.path.join(directory, name + '.tsv')]
    print()
    for what, traces in (('processors', []), ('all four resources', more)):
        seconds, mib, _ = cpu_of([program, 'simulate', '--cluster', path, '--policy', policy, '--generate', 'daily', '--steps', str(steps)] + traces)
        hours = 5 * steps / 12
        print('%-20s %4.0f cluster hours of 100 nodes and 1052 guests: %5.2f s, %4.0f MiB, %6.0f a minute' % (
            what, hours, seconds, mib, hours / seconds * 60))


def simulated(program, directory, path, text, policy):
    """By the balancer's name its minutes, moves and returns; and the time that it took."""
    out = os.path.join(directory, 'report')
    began = time.monotonic()
    subprocess.run([program, 'simulate', '--cluster', path, '--trace', text, '--report', out] + policy, stdout=subprocess.DEVNULL, check=True)
    seconds = time.monotonic() - began
    with open(os.path.join(out, 'report.json')) as f:
        return {r['balancer']: (r['overload_node_minutes'], r['moves'], r['returns']) for r in json.load(f)}, seconds


def days(program, directory, traces, starts):
    """Each day from each start, and how many of them have half the overload and half the moves of the rule `imbalance`."""
    path, text = os.path.join(directory, 'day.json'), os.path.join(directory, 'day.tsv')
    calm = ['--policy', os.path.join(judge.ROOT, 'tests', 'balancer', 'calm.json')]
    sums, halves, count = {}, [0, 0, 0], 0
    print('\nPlanetLab days, 100 nodes, 1052 guests: node minutes of overload / moves')
    for start in [0] + list(range(11, 11 + starts)):
        begin(path, start)
        for trace in traces:
            with gzip.open(trace, 'rt') as f, open(text, 'w') as g:
                g.write(f.read())
            by_name, seconds = simulated(program, directory, path, text, calm)
            if not start:
                by_name['default policy'] = simulated(program, directory, path, text, ['--only', 'drover'])[0]['drover']
            print('%s start %2d (%.2f s)  %s' % (os.path.basename(trace), start, seconds, '  '.join(
                '%s %.0f/%d' % (name, r[0], r[1]) + (', %d returns' % r[2] if r[2] else '') for name, r in by_name.items())))
            for name, r in by_name.items():
                sums[name] = tuple(x + y for x, y in zip(sums.get(name, (0, 0, 0)), r))
            few = [by_name['drover'][i] <= by_name['imbalance'][i] / 2 for i in range(2)]
            halves = [h + y for h, y in zip(halves, few + [all(few)])]
            count += 1
    print('all: ' + '  '.join('%s %.0f/%d' % (name, r[0], r[1]) for name, r in sums.items()))
    print('half the overload of the rule imbalance on %d of %d, half its moves on %d, both on %d; of all %.2f and %.2f' % (
        halves[0], count, halves[1], halves[2], *(sums['drover'][i] / sums['imbalance'][i] for i in range(2))))


def main(short, program=None, planetlab=(), starts=0):
    program = program or os.path.join(judge.ROOT, 'build', 'release', 'drover-balancer')
    with tempfile.TemporaryDirectory() as directory:
        files(program, directory)
        made(program, directory, [(6, 's')] if short else [(20, 's'), (50, 's'), (20, 'u'), (30, 'u'), (50, 'u'), (12, 'd'), (20, 'd'), (30, 'd')])
        large(program, directory, [100] if short else [1000, 10000])
        hours_a_minute(program, directory, 24 if short else 288)
        if planetlab:
            days(program, directory, planetlab, starts)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--short', action='store_true')
    parser.add_argument('--program')
    parser.add_argument('--planetlab', nargs='+', default=[])
    parser.add_argument('--starts', type=int, default=0, help='other places to begin from, beside the first')
    arguments = parser.parse_args()
    main(arguments.short, arguments.program, arguments.planetlab, arguments.starts)
