"""4 KiB operations: server CPU per operation, IOPS over 1 and 8 connections, latency at depth 1; memory and raw file."""
from sides import GIB, MIB, Bench, column, run_fio


def disks(b):
    size = 256 * MIB if b.short else GIB
    data = [b.file(n, size) for n in ('a.img', 'b.img', 'c.img')]
    yield 'memory', [b.ours('mem:%d' % size), b.nbdkit('memory', str(size))], data[0]
    for s in b.sides:
        s.stop()
    b.sides.clear()
    yield 'raw file', [b.ours('raw:' + data[0], name='drover'), b.nbdkit('file', data[1]),
                       b.qemu_nbd(data[2], '--aio=io_uring', '--cache=writeback')], None


def main(short):
    import subprocess
    with Bench('small', short) as b:
        for disk, sides, fill in disks(b):
            size = '--size=%d' % (256 * MIB if short else GIB)
            if fill:
                for s in sides:
                    subprocess.run(['nbdcopy', '--request-size=1048576', fill, s.uri], check=True)
            for rw in ('randread', 'randwrite'):
                r = b.interleave(lambda s: run_fio(s, b.seconds, '--bs=4k', '--iodepth=32', '--rw=' + rw, size), sides)
                b.row('%s, %s QD32: server CPU per op' % (disk, rw), 'us', column(r, 'cpu_us'), 'low', 0.5)
                b.row('%s, %s QD32, 1 connection' % (disk, rw), 'IOPS', column(r, 'iops'), 'high', 1.5)
                r = b.interleave(lambda s: run_fio(s, b.seconds, '--bs=4k', '--iodepth=32', '--rw=' + rw, size,
                                                   '--numjobs=8', '--group_reporting'), sides)
                b.row('%s, %s QD32, 8 connections' % (disk, rw), 'IOPS', column(r, 'iops'), 'high', 1.5)
                r = b.interleave(lambda s: run_fio(s, b.seconds, '--bs=4k', '--iodepth=1', '--rw=' + rw, size), sides)
                b.row('%s, %s QD1: median latency' % (disk, rw), 'us', column(r, 'p50_us'), 'low', 0.7)
        b.done()
