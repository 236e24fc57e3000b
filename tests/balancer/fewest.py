"""How many moves a planner needs at the least until Ganeti's score is so low: a proof by arithmetic, whoever plans.

The score is a sum of spreads, each of a column (a number per node), and of terms that are never below zero. Nodes are equal here, so
a move leaves a column's sum as it is. It takes one guest from one node and gives it to one other, in every column: with a mirror too,
since a step brings in one new node at the most (f, r, r+f of hbal). So after k moves

* a column to which every guest gives the same is at best what k times taking from the fullest for the emptiest node makes of it
  (convex and separable: no other order or choice of k such steps is better);
* of any other column, no more than the k largest guests together went from above to below: at best the highest nodes are cut down to
  one level and the lowest filled up to another.

Each column is given its own best k moves, as no plan can. A plan with fewer moves than fewest() says does not exist; one with as many need not.
"""
import math


class Column:
    def __init__(self, name, weight, nodes):
        self.name, self.weight, self.x, self.takes = name, weight, [0.0] * nodes, []


def spread(x):
    mean = sum(x) / len(x)
    return math.sqrt(sum((v - mean) ** 2 for v in x) / len(x))


def columns(path, use=None):
    """Of a file in Ganeti's format: equal nodes that have nothing but these guests, and no guest that is only planned."""
    with open(path) as f:
        sections = f.read().strip().split('\n\n')
    nodes, guests = ([line.split('|') for line in s.split('\n') if line] for s in sections[1:3])
    if len({tuple(n[i] for i in (1, 2, 4, 6, 9)) for n in nodes}) != 1:
        raise ValueError('%s: the nodes are not equal' % path)
    loads = {}
    if use:
        with open(use) as f:
            loads = {w[0]: [float(v) for v in w[1:]] for w in (line.split() for line in f)}
    number = {n[0]: i for i, n in enumerate(nodes)}
    memory, disk, threads, spindles = (float(nodes[0][i]) for i in (1, 4, 6, 9))
    ratio = float(sections[-1].split('|')[-1])  # the group's, of spindles
    made = [Column(name, 1, len(nodes)) for name in ('memory', 'disk', 'vcpus', 'spindles', 'cpu', 'used', 'io', 'network')]
    for g in guests:  # what it takes, and is it taken where its mirror is too
        here, there = number[g[6]], number.get(g[7])
        local = g[8] in ('drbd', 'plain')
        load = loads.get(g[0], [1, 1, 1, 1])
        takes = [(float(g[1]) / memory, False), (float(g[2]) / disk * local, True), (float(g[3]) / threads, False),
                 (float(g[10]) / spindles / ratio * local, True)] + [(load[i], i == 2) for i in range(4)]
        for column, (take, mirrored) in zip(made, takes):
            column.takes.append(take)
            column.x[here] += take
            if mirrored and there is not None:
                column.x[there] += take
    return made


def stepwise(x, unit, moves):
    x = list(x)
    for _ in range(moves):
        high, low = max(range(len(x)), key=x.__getitem__), min(range(len(x)), key=x.__getitem__)
        if x[high] - x[low] <= unit:
            break
        x[high] -= unit
        x[low] += unit
    return spread(x)


def level(heights, most):
    """The least level to which heights can be cut by taking away no more than this."""
    low, high = 0.0, max(heights)
    for _ in range(60):
        middle = (low + high) / 2
        if sum(max(0.0, h - middle) for h in heights) > most:
            low = middle
        else:
            high = middle
    return low


def levelled(x, most):
    mean = sum(x) / len(x)
    up, down = level([v - mean for v in x], most), level([mean - v for v in x], most)
    return math.sqrt(sum(min(max(v - mean, -down), up) ** 2 for v in x) / len(x))


def least_score(made, moves):
    """No plan of so many moves reaches a lower score."""
    total = 0.0
    for c in made:
        if max(c.takes) - min(c.takes) < 1e-15:
            total += c.weight * stepwise(c.x, c.takes[0], moves)
        else:
            total += c.weight * levelled(c.x, sum(sorted(c.takes)[-moves:]) if moves else 0.0)
    return total


def fewest(path, wanted, use=None):
    """A plan until this score has at least so many moves."""
    made, moves = columns(path, use), 0
    while least_score(made, moves) > wanted + 1e-9:
        moves += 1
    return moves
