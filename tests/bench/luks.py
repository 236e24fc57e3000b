"""Encryption alone: what AES-XTS costs a server per request of 128 KiB, beside qemu-nbd and nbdkit's luks filter, on LUKS1
volumes (the peers know no other): CPU time with the layer less CPU time of the same server without it."""
import subprocess

from sides import DROVER_IMG, MIB, Bench, run_fio

SIZE = 256 * MIB


def volume(b, name, *options):
    """A volume with its data written, and the key's file."""
    image, key = b.path(name), b.path('key')
    with open(key, 'w') as f:
        f.write('bench')
    subprocess.run([DROVER_IMG, 'luks', 'create', image, '--size=%d' % SIZE, '--key-file', key, '--time=50', *options],
                   check=True, stdout=subprocess.DEVNULL)
    return image, key


def ours(b, name, image, key):
    return b.ours('[{"driver":"luks","key":{"file":"%s"}},{"driver":"raw","file":"%s"}]' % (key, image), name=name)


def pairs(b):
    """{name: (with the layer, without)}"""
    images = {n: volume(b, n + '.img', '--type=luks1', '--kdf=pbkdf2') for n in ('drover', 'qemu', 'nbdkit')}
    plain = {n: b.file(n + '.raw', SIZE) for n in ('drover', 'qemu', 'nbdkit')}
    image, key = images['qemu']
    qemu = b.start('qemu-nbd luks', 'qemu-nbd', '-t', '-e', '64', '-k', 'SOCK', '--object', 'secret,id=s,file=' + key,
                   '--image-opts', 'driver=luks,key-secret=s,file.driver=file,file.filename=' + image)
    large = volume(b, 'large.img', '--type=luks2', '--kdf=pbkdf2', '--sector-size=4096')
    return {
        'drover': (ours(b, 'drover luks', *images['drover']), b.ours('raw:' + plain['drover'], name='drover plain')),
        'drover-4096': (ours(b, 'drover luks2', *large), None),
        'qemu-nbd': (qemu, b.qemu_nbd(plain['qemu'], name='qemu-nbd plain')),
        'nbdkit': (b.nbdkit('--filter=luks', 'file', images['nbdkit'][0], 'passphrase=+' + key, name='nbdkit luks'),
                   b.nbdkit('file', plain['nbdkit'], name='nbdkit plain')),
    }


def main(short):
    with Bench('luks', short) as b:
        all_pairs = pairs(b)
        for s in b.sides:
            run_fio(s, 1, '--bs=1m', '--iodepth=4', '--rw=write', '--size=%d' % SIZE)
        for rw in ('read', 'write'):
            r = b.interleave(lambda s: run_fio(s, b.seconds, '--bs=128k', '--iodepth=8', '--rw=' + rw,
                                               '--size=%d' % SIZE)['cpu_us'])
            alone = {}
            for name, (layer, plain) in all_pairs.items():
                base = r[(plain or all_pairs['drover'][1]).name]
                alone[name] = [max(a - p, 0.1) for a, p in zip(r[layer.name], base)]
            whole = {n: r[layer.name] for n, (layer, _) in all_pairs.items()}
            large = {'drover': alone.pop('drover-4096')}, {'drover': whole.pop('drover-4096')}
            b.row('LUKS1 %s 128 KiB: the layer alone' % rw, 'us', alone, 'low', 0.2)
            b.row('LUKS1 %s 128 KiB: the whole server' % rw, 'us', whole, 'low', 0.33)
            large[0].update({n: v for n, v in alone.items() if n != 'drover'})
            b.row('ours LUKS2 4096, theirs LUKS1, %s: layer' % rw, 'us', large[0], 'low', 0.2)
        b.done()
