#!/usr/bin/python3
"""The proof of how many moves are needed at the least (fewest.py): against every way there is in tiny clusters, and against our plans.

usage: fewest_test.py DROVER_BALANCER
Without a move the bound is the score; it never lies above what some plan reaches; and on the made clusters of the benchmark the plan of
equal guests has no move more than the proof demands. A guest that leaves both of its nodes moves twice and pays twice.
"""
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile

import fewest
import hbal as judge


def parts(made):
    return sum(c.weight * fewest.spread(c.x) for c in made)


def every_way(made, places, nodes, moves):
    """The least score of all plans of so many moves; guests without mirrors."""
    least = parts(made)
    for who in itertools.combinations(range(len(places)), moves):
        for to in itertools.product(range(nodes), repeat=moves):
            score = 0
            for c in made:
                x = list(c.x)
                for g, n in zip(who, to):
                    x[places[g]] -= c.takes[g]
                    x[n] += c.takes[g]
                score += c.weight * fewest.spread(x)
            least = min(least, score)
    return least


def tiny(seed):
    rng, nodes, guests = random.Random(seed), 3, 7
    places = [min(int(rng.betavariate(1, 2) * nodes), nodes - 1) for _ in range(guests)]
    equal, other = fewest.Column('equal', 1, nodes), fewest.Column('other', 2, nodes)
    for at in places:
        for column, take in ((equal, 1.0), (other, rng.choice([0.1, 0.2, 0.5, 1.5]))):
            column.takes.append(take)
            column.x[at] += take
    return [equal, other], places, nodes


def check_tiny(wrong):
    for seed in range(20):
        made, places, nodes = tiny(seed)
        for moves in range(4):
            bound, best = fewest.least_score(made, moves), every_way(made, places, nodes, moves)
            alone, exact = fewest.least_score(made[:1], moves), every_way(made[:1], places, nodes, moves)
            if bound > best + 1e-9:
                wrong.append('seed %d: the bound of %d moves is %.6f, but %.6f is reached' % (seed, moves, bound, best))
            if abs(alone - exact) > 1e-9:
                wrong.append('seed %d: equal guests, %d moves: %.6f, but the best is %.6f' % (seed, moves, alone, exact))


def check_plan(program, directory, arguments, price, wrong):
    """The plan's curve lies above the bound. The plan and the columns."""
    path, use, policy = (os.path.join(directory, name) for name in ('m.data', 'm.use', 'p.json'))
    judge.maker(arguments + ['--use', use], path)
    used = use if arguments[-1] == 'used' else None
    with open(policy, 'w') as f:
        json.dump({'cost': {'move': price * 3600 * int(arguments[0])}, 'moves': {'parallel': 1}}, f)
    mine, _ = judge.ours(program, path, directory, used, ['--policy', policy])
    made, name = fewest.columns(path, used), ' '.join(arguments)
    if '--mirrors' not in arguments and abs(fewest.least_score(made, 0) - mine.before) > 1e-6:
        wrong.append('%s: without a move the score is %.8f, not %.8f' % (name, mine.before, fewest.least_score(made, 0)))
    for i, score in enumerate([mine.before] + mine.curve):
        if score < fewest.least_score(made, i) - 1e-9:
            wrong.append('%s: %d moves reach %.8f, below the bound' % (name, i, score))
    return mine, made, path


def check_second_steps(program, directory, wrong):
    """Where a move has a price few guests leave both nodes; with one price for both steps it was 44 of these."""
    path, policy, seconds = os.path.join(directory, 'm.data'), os.path.join(directory, 'p.json'), 0
    for seed, price in itertools.product(range(1, 6), (0.02, 0.05, 0.1, 0.2, 0.4)):
        judge.maker(['6', '8', str(seed), '--mirrors'], path)
        with open(policy, 'w') as f:
            json.dump({'cost': {'move': price * 3600 * 6}, 'moves': {'parallel': 1}}, f)
        said = subprocess.run([program, 'plan', '--cluster', path, '--policy', policy, '--json'], stdout=subprocess.PIPE, check=True).stdout
        moved = [move['guest'] for wave in json.loads(said)['waves'] for move in wave]
        seconds += len(moved) - len(set(moved))
    if seconds > 10:
        wrong.append('with prices %d guests move a second time' % seconds)


def main():
    program, wrong = sys.argv[1], []
    check_tiny(wrong)
    with tempfile.TemporaryDirectory() as directory:
        for seed in ('1', '2'):
            for kind in ([], ['used'], ['--mirrors']):
                check_plan(program, directory, ['6', '8', seed] + kind, 0.05, wrong)
        check_second_steps(program, directory, wrong)
        mine, _, path = check_plan(program, directory, ['20', '10', '1'], 0.05, wrong)
        needed, moves = fewest.fewest(path, mine.after), mine.moves
        if (needed, moves) != (23, 23):
            wrong.append('20 nodes: %d moves where %d are needed at the least; it was 23 of 23' % (moves, needed))
    for line in wrong:
        print(line)
    return 1 if wrong else 0


sys.exit(main())
