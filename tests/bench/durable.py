"""Durable 4 KiB writes, a flush after each: 1 job and 8 jobs on one raw file."""
from sides import MIB, Bench, column, run_fio


def main(short):
    with Bench('durable', short) as b:
        size = 256 * MIB
        files = [b.file(n, size) for n in ('a.img', 'b.img', 'c.img')]
        b.ours('raw:' + files[0])
        b.nbdkit('file', files[1])
        b.qemu_nbd(files[2], '--aio=io_uring', '--cache=writeback')
        for jobs, reach in ((1, 1.0), (8, 2.0)):
            r = b.interleave(lambda s: run_fio(s, b.seconds, '--bs=4k', '--iodepth=1', '--rw=randwrite', '--fsync=1',
                                               '--numjobs=%d' % jobs, '--group_reporting', '--size=%d' % size))
            b.row('durable 4k writes, %d jobs' % jobs, 'IOPS', column(r, 'iops'), 'high', reach)
        b.done()
