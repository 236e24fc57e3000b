"""A whole image, raw file to raw file over NBD: full of data, and sparse; ours to ours against the peers' tools."""
import os
import subprocess
import time

from sides import DROVER_IMG, GIB, MIB, Bench


def sparse(b, name, size):
    path = b.file(name, size, random=False)
    with open(path, 'r+b') as f:
        for at in range(0, size, 64 * MIB):
            f.seek(at)
            f.write(os.urandom(4 * MIB))
    return path


def main(short):
    size = 256 * MIB if short else GIB
    with Bench('copy', short) as b:
        for kind in ('full', 'sparse'):
            image = b.file('full.img', size) if kind == 'full' else sparse(b, 'sparse.img', 4 * size)
            server = b.ours('raw:' + image, '--read-only', name='drover-' + kind)
            peer = b.nbdkit('-r', 'file', image, name='nbdkit-' + kind)
            to = b.path('copy.img')
            commands = {
                'drover': [DROVER_IMG, 'copy', '--no-flush', server.uri, to],
                'nbdcopy': ['nbdcopy', peer.uri, to],
                'qemu-img': ['qemu-img', 'convert', '-f', 'raw', '-O', 'raw', '-W', peer.uri, to],
            }

            def measure(name):
                if os.path.exists(to):
                    os.unlink(to)
                start = time.monotonic()
                subprocess.run(commands[name], check=True, stdout=subprocess.DEVNULL)
                elapsed = time.monotonic() - start
                os.unlink(to)
                return size / MIB / elapsed

            results = {n: [] for n in commands}
            for r in range(b.rounds + 1):
                for name in commands:
                    value = measure(name)
                    if r or short:
                        results[name].append(value)
            b.row('copy %s image from NBD to file' % kind, 'MiB/s', results, 'high', 1.2)
            server.stop()
            peer.stop()
        b.done()
