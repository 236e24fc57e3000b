#!/usr/bin/python3
"""Makes clusters in Ganeti's text format, the same for the same seed: for benchmarks and tests.

usage: cluster_maker.py NODES GUESTS_PER_NODE SEED [--mirrors] [--use FILE] >cluster.data
With --use, FILE gets measured loads (hbal -U) from a plain model: most guests idle, few busy.
"""
import random
import sys


def main():
    nodes, per_node, seed = (int(a) for a in sys.argv[1:4])
    mirrors = '--mirrors' in sys.argv
    rng = random.Random(seed)
    memory, disk, threads = 262144, 4000000, 64
    guests = []
    used = [0] * nodes
    space = [0] * nodes
    for i in range(nodes * per_node):
        size = rng.choice([2048, 4096, 8192, 16384])
        vcpus = size // 2048
        bytes_ = rng.choice([20480, 51200, 102400])
        while True:
            at = rng.randrange(nodes)
            if used[at] + size < memory * 0.8:
                break
        other = -1
        used[at] += size
        if mirrors:
            other = (at + rng.randrange(1, nodes)) % nodes
            space[at] += bytes_
            space[other] += bytes_
        guests.append((size, bytes_, vcpus, at, other))
    out = ['group|uuid-1|preferred|', '']
    for n in range(nodes):
        out.append('node%05d|%d|0|%d|%d|%d|%d|%s|uuid-1|%d' % (
            n, memory, memory - used[n], disk, disk - space[n], threads, 'M' if n == 0 else 'N', 1000))
    out.append('')
    for i, (size, bytes_, vcpus, at, other) in enumerate(guests):
        out.append('guest%06d|%d|%d|%d|running|Y|node%05d|%s|%s||1' % (
            i, size, bytes_, vcpus, at, 'node%05d' % other if mirrors else '', 'drbd' if mirrors else 'ext'))
    out += ['', '', '|128,1,1024,1,1,1|128,1,1024,1,1,1;1048576,64,10485760,16,8,12|drbd,ext|16.0|32.0',
            'group|128,1,1024,1,1,1|128,1,1024,1,1,1;1048576,64,10485760,16,8,12|drbd,ext|16.0|32.0']
    sys.stdout.write('\n'.join(out) + '\n')
    if '--use' in sys.argv:
        with open(sys.argv[sys.argv.index('--use') + 1], 'w') as f:
            for i, (size, _, vcpus, _, _) in enumerate(guests):
                cpu = vcpus * min(0.95, rng.lognormvariate(-2.2, 0.9))
                f.write('guest%06d %.4f %.4f %.4f %.4f\n' % (i, cpu, size / 16384 * rng.uniform(0.3, 0.9),
                                                            rng.expovariate(3), rng.expovariate(3)))


main()
