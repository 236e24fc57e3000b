"""Four guests that leave at once over a link of 400 Mbit/s: how much of it they use, until the last of them has arrived. The link is
the loopback of a network namespace of its own, held back by the kernel's token bucket; all that is on it counts, answers, too."""
import json
import os
import re
import subprocess
import sys
import threading
import time

from sides import ROOT, Bench

sys.path.append(os.path.join(ROOT, 'tests/hv'))  # behind our own: both have a guest.py
import traffic  # noqa: E402

GUESTS, MBIT = 4, 400


def sent_bytes():
    said = subprocess.run(['tc', '-s', 'qdisc', 'show', 'dev', 'lo'], stdout=subprocess.PIPE, universal_newlines=True, check=True)
    return int(re.search(r'Sent (\d+) bytes', said.stdout).group(1))


def leave(sides):
    """(share of the link that was used, seconds)"""
    barrier, ends, failed = threading.Barrier(len(sides) + 1), [], []

    def move(side):
        side.before = barrier.wait
        try:
            side.move()
            ends.append(time.monotonic())
        except Exception as e:  # noqa: BLE001: told below
            failed.append(e)
            barrier.abort()

    threads = [threading.Thread(target=move, args=(s,)) for s in sides]
    for t in threads:
        t.start()
    barrier.wait(300)
    began, before = time.monotonic(), sent_bytes()
    for t in threads:
        t.join()
    if failed:
        raise failed[0]
    seconds = max(ends) - began
    return (sent_bytes() - before) * 8 / (MBIT * 1e6 * seconds), seconds


def inside(short):
    import migration
    subprocess.run(['tc', 'qdisc', 'add', 'dev', 'lo', 'root', 'tbf', 'rate', '%dmbit' % MBIT, 'burst', '256k', 'latency', '100ms'],
                   check=True)
    with Bench('drain', short) as b:
        boot, sides, shares = migration.files(b), [], []
        try:
            for _ in range(2 if short else GUESTS):
                sides.append(migration.Drover(b, boot))
            for _ in range(1 if short else 3):
                share, seconds = leave(sides)
                shares.append(share)
                print('%d guests left in %.1f s: %.0f %% of the link used; load of the machine %.1f' % (
                    len(sides), seconds, share * 100, os.getloadavg()[0]), flush=True)
        finally:
            for s in sides:
                s.end()
    os.makedirs(os.path.join(ROOT, 'tests/bench/results'), exist_ok=True)
    with open(os.path.join(ROOT, 'tests/bench/results/drain.json'), 'w') as f:
        json.dump({'share-of-link': shares}, f, indent=2)


def main(short):
    if os.geteuid():
        print('skipped: needs root for a network of its own')
        return
    subprocess.run([sys.executable, os.path.abspath(__file__), 'short' if short else 'long'], check=True)


if __name__ == '__main__':
    traffic.enter()
    inside(sys.argv[1:] == ['short'])
