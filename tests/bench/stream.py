"""Streaming in requests of 128 KiB and 1 MiB, read and write; memory and raw file."""
from sides import MIB, Bench, column, run_fio
from small import disks


def main(short):
    import subprocess
    with Bench('stream', short) as b:
        for disk, sides, fill in disks(b):
            if fill:
                for s in sides:
                    subprocess.run(['nbdcopy', '--request-size=1048576', fill, s.uri], check=True)
            for bs, depth in (('128k', 8), ('1m', 4)):
                for rw in ('read', 'write'):
                    r = b.interleave(lambda s: run_fio(s, b.seconds, '--bs=' + bs, '--iodepth=%d' % depth,
                                                       '--rw=' + rw, '--size=%d' % (256 * MIB)), sides)
                    mb = {n: [v / 1e6 for v in vs] for n, vs in column(r, 'bytes_s').items()}
                    b.row('%s, %s %s QD%d' % (disk, rw, bs, depth), 'MB/s', mb, 'high', 1.5)
        b.done()
