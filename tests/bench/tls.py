"""TLS: the server's CPU per GiB when a peer's client reads it (nbdcopy, GnuTLS), and our client from our server."""
import subprocess
import time

from sides import DROVER_IMG, GIB, MIB, Bench


def main(short):
    size = 128 * MIB if short else GIB
    with Bench('tls', short) as b:
        keys = b.path('keys.psk')
        subprocess.run(['psktool', '-u', 'bench', '-p', keys], check=True, stdout=subprocess.DEVNULL)
        image = b.file('disk.img', size)
        tls = dict(scheme='nbds+unix', user='bench@', query='&tls-psk-file=' + keys)
        ours = b.ours('raw:' + image, '--read-only', '--tls', 'require', '--tls-psk', keys, **tls)
        b.nbdkit('-r', '--tls=require', '--tls-psk=' + keys, 'file', image, **tls)

        def server_cpu(s):
            before = s.cpu()
            subprocess.run(['nbdcopy', '--connections=1', s.uri, 'null:'], check=True)
            return (s.cpu() - before) * GIB / size

        b.row('TLS: server CPU per GiB read by nbdcopy', 's', b.interleave(server_cpu), 'low', 0.3)

        def ours_to_ours(unused):
            start = time.monotonic()
            subprocess.run([DROVER_IMG, 'compare', ours.uri, ours.uri], check=True, stdout=subprocess.DEVNULL)
            return 2 * size / 1e9 / (time.monotonic() - start)

        rates = [ours_to_ours(None) for _ in range(b.rounds)]
        b.row('TLS: ours to ours (two streams compared)', 'GB/s', {'drover': rates, 'goal': [1.0]}, 'high', 1.0)
        b.done()
