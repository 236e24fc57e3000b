#!/usr/bin/python3
"""Plans beside the optimum that an integer program (cbc) proves: small clusters with memory limits, pins and groups.

usage: optimum_test.py DROVER_BALANCER [CASES]

The score here is the spread of the CPU load over equal nodes. Loads are whole numbers, so the sum of the squares of the nodes'
loads is linear in what the lines through neighbouring squares say, exactly; its minimum is that of the spread. With a price per
move the program is solved for each number of moves, and the best sum counts. Ends with 77 where there is no cbc.
"""
import json
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile

UNIT = 8  # loads are in eighths of a processor
CPUS = 8
LIMIT_S = 20
DENSE, SPARSE = 10, 8  # so near to the mean every square is exact; farther away the program may only be too good


def cluster(seed, nodes, guests):
    rng = random.Random(seed)
    at = [min(int(rng.betavariate(1, 1.8) * nodes), nodes - 1) for _ in range(guests)]
    memory = [rng.choice([2, 4, 6, 8]) for _ in range(guests)]
    load = [rng.choice([1, 2, 3, 4, 6, 9, 12, 15]) for _ in range(guests)]
    limit = max(max(sum(m for m, n in zip(memory, at) if n == i) for i in range(nodes)), 24)
    room = [limit if rng.random() < 0.5 else max(limit - rng.choice([0, 6, 10]),
                                                 sum(m for m, n in zip(memory, at) if n == i)) for i in range(nodes)]
    pins = {g: sorted({at[g], rng.randrange(nodes), rng.randrange(nodes)}) for g in range(guests) if rng.random() < 0.2}
    apart = []
    for n in range(nodes):  # one of a few nodes, so that nothing is broken as it begins
        some = [g for g in range(guests) if at[g] == n and g not in pins]
        if some and len(apart) < 3:
            apart.append(some[0])
    return at, memory, load, room, pins, apart


def as_json(nodes, at, memory, load, room, pins, apart):
    return {'nodes': [{'name': 'n%d' % n, 'cpus': CPUS, 'memory': '%dG' % room[n], 'vcpu_ratio': 1000, 'age': 0} for n in range(nodes)],
            'guests': [dict({'name': 'g%d' % g, 'node': 'n%d' % at[g], 'vcpus': 2, 'memory': '%dG' % memory[g], 'age': 0,
                             'load': {'cpu': load[g] / UNIT}},
                            **({'pinned': ['n%d' % n for n in pins[g]]} if g in pins else {})) for g in range(len(at))],
            'groups': [{'name': 'apart', 'guests': ['g%d' % g for g in apart], 'weight': 0}] if len(apart) > 1 else []}


def solve(directory, nodes, at, memory, load, room, pins, apart, moves):
    """The least sum of squares with at most so many moves (None: any number)."""
    guests, total = range(len(at)), sum(load)
    lines = ['Minimize', ' sum: ' + ' + '.join('q%d' % n for n in range(nodes)), 'Subject To']
    for g in guests:
        lines.append(' one%d: ' % g + ' + '.join('x%d_%d' % (g, n) for n in range(nodes)) + ' = 1')
    for n in range(nodes):
        lines.append(' sum%d: ' % n + ' + '.join('%d x%d_%d' % (load[g], g, n) for g in guests) + ' - l%d = 0' % n)
        lines.append(' room%d: ' % n + ' + '.join('%d x%d_%d' % (memory[g], g, n) for g in guests) + ' <= %d' % room[n])
        mean = total // nodes
        for k in range(0, total + 1):  # the line through k^2 and (k+1)^2
            if abs(k - mean) > DENSE and k % SPARSE:
                continue
            lines.append(' sq%d_%d: q%d - %d l%d >= %d' % (n, k, n, 2 * k + 1, n, -k * (k + 1)))
        if len(apart) > 1:
            lines.append(' apart%d: ' % n + ' + '.join('x%d_%d' % (g, n) for g in apart) + ' <= 1')
    for g, allowed in pins.items():
        lines += [' pin%d_%d: x%d_%d = 0' % (g, n, g, n) for n in range(nodes) if n not in allowed]
    if moves is not None:
        lines.append(' moves: ' + ' + '.join('x%d_%d' % (g, at[g]) for g in guests) + ' >= %d' % (len(at) - moves))
    lines += ['Binaries', ' ' + ' '.join('x%d_%d' % (g, n) for g in guests for n in range(nodes)), 'End']
    path = os.path.join(directory, 'p.lp')
    with open(path, 'w') as f:
        f.write('\n'.join(lines) + '\n')
    done = subprocess.run(['cbc', path, 'sec', str(LIMIT_S), 'ratio', '0', 'solve', 'solution', os.path.join(directory, 'out')],
                          stdout=subprocess.PIPE, text=True, check=True)
    with open(os.path.join(directory, 'out')) as f:
        first = f.readline()
    return round(float(first.split()[-1])) if first.startswith('Optimal') else None if done.returncode == 0 else sys.exit(done.stdout)


def spread(squares, nodes, load):
    mean = sum(load) / nodes
    return math.sqrt(max(0, squares / nodes - mean * mean)) / UNIT / CPUS


def case(program, directory, seed, nodes, guests, price):
    """Ours and the optimum, or None where cbc did not finish."""
    world = cluster(seed, nodes, guests)
    at, load = world[0], world[2]
    if price:
        sums = [solve(directory, nodes, *world, moves) for moves in range(len(at) + 1)]
        best = None if None in sums else min(spread(s, nodes, load) + price * m for m, s in enumerate(sums))
    else:
        squares = solve(directory, nodes, *world, None)
        best = None if squares is None else spread(squares, nodes, load)
    policy = {'weights': {'cpu': 1, 'memory': 0, 'disk': 0, 'network': 0, 'reserved': 0}, 'overload': {'weight': 0},
              'cost': {'move': price * 3600 * nodes, 'second': 0, 'downtime': 0, 'gib': 0, 'stable': '1h'},
              'patience': {'enter': 0, 'leave': 0, 'cool_down': 0, 'return': 0}, 'limits': {'vcpu_ratio': 1000}}
    for name, content in (('c.json', as_json(nodes, *world)), ('p.json', policy)):
        with open(os.path.join(directory, name), 'w') as f:
            json.dump(content, f)
    done = subprocess.run([program, 'plan', '--cluster', os.path.join(directory, 'c.json'), '--policy', os.path.join(directory, 'p.json'),
                           '--json'], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    plan = json.loads(done.stdout)
    moved = len({m['guest'] for wave in plan['waves'] for m in wave})
    return None if best is None else (plan['score_before'], plan['score_after'] + price * moved, best)


def main(program, cases):
    worst_wanted, median_wanted = 0.10, 0.02
    good = True
    with tempfile.TemporaryDirectory() as directory:
        for nodes, guests, price in ((4, 10, 0), (3, 12, 0), (3, 8, 0.01)):
            found = [r for r in (case(program, directory, seed, nodes, guests, price) for seed in range(cases)) if r]
            if not found:
                sys.exit('cbc proved no optimum of %d clusters within %d s each' % (cases, LIMIT_S))
            below = [r for r in found if r[1] < r[2] - 1e-9]
            gaps = sorted((ours - best) / before for before, ours, best in found)
            of_best = sorted((ours - best) / best for before, ours, best in found if best > 1e-9)
            print('%d nodes, %2d guests, price %.3f: %d clusters, gap to what could be gained: median %.2f %%, worst %.2f %%; in parts of the '
                  'optimum: median %.2f %%, worst %.2f %%; at the optimum: %d' % (
                      nodes, guests, price, len(found), gaps[len(gaps) // 2] * 100, gaps[-1] * 100,
                      of_best[len(of_best) // 2] * 100 if of_best else 0, of_best[-1] * 100 if of_best else 0,
                      sum(ours - best < 1e-9 for _, ours, best in found)), flush=True)
            if below:
                sys.exit('a plan is better than the proved optimum: %r' % below)
            good = good and gaps[len(gaps) // 2] <= median_wanted and gaps[-1] <= worst_wanted
    return 0 if good else 1


if __name__ == '__main__':
    if not shutil.which('cbc'):
        sys.exit(77)
    sys.exit(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 12))
