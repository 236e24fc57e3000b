"""100 idle exports: resident memory per export and wake-ups per second. The peers run a process for each export."""
import time

from sides import MIB, Bench

EXPORTS = 100


def main(short):
    with Bench('idle', short) as b:
        seconds = 2 if short else 20
        files = [b.file('%d.img' % i, MIB, random=False) for i in range(EXPORTS)]
        exports = [w for i, f in enumerate(files[1:]) for w in ('--export', 'v%d=raw:%s' % (i, f))]
        ours = b.ours('raw:' + files[0], *exports)
        more = [b.file('peer%d.img' % i, MIB, random=False) for i in range(2)]
        peers = [b.nbdkit('file', more[0]), b.qemu_nbd(more[1])]
        time.sleep(1)
        before = {s.name: s.wakeups() for s in [ours] + peers}
        time.sleep(seconds)
        rate = {s.name: [(s.wakeups() - before[s.name]) / seconds] for s in [ours] + peers}
        memory = {s.name: [s.rss_bytes() / 1024 / (EXPORTS if s is ours else 1)] for s in [ours] + peers}
        b.row('resident memory per idle export', 'KiB', memory, 'low', 0.2)
        print('wake-ups per second, 100 idle exports: drover %.2f; one export: %s' % (
            rate['drover'][0], ', '.join('%s %.2f' % (n, v[0]) for n, v in rate.items() if n != 'drover')))
        b.rows.append({'figure': 'wake-ups per second, 100 idle exports', 'all': rate, 'drover': rate['drover'][0]})
        b.done()
