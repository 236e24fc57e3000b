"""Debian's stock kernels, as files: see kernels.sh, which fetches them. Cached below build/hv-cache."""
import lzma
import os
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))


def _script(*arguments):
    return subprocess.run(['sh', os.path.join(HERE, 'kernels.sh'), *arguments], stdout=subprocess.PIPE, check=True,
                          universal_newlines=True).stdout.strip()


def vmlinuz(kind):
    return _script(kind)


def modules(kind):
    """The directory lib/modules/VERSION."""
    base = _script(kind, 'modules')
    return os.path.join(base, sorted(os.listdir(base))[-1])


def vmlinux(kind):
    """The ELF file inside the bzImage: what a peer enters by PVH."""
    packed = vmlinuz(kind)
    path = packed.replace('vmlinuz', 'vmlinux')
    if os.path.exists(path):
        return path
    with open(packed, 'rb') as f:
        data = f.read()
    start = (data[0x1f1] + 1) * 512 + int.from_bytes(data[0x248:0x24c], 'little')
    payload = data[start:start + int.from_bytes(data[0x24c:0x250], 'little')]
    if payload.startswith(b'\xfd7zXZ'):
        image = lzma.LZMADecompressor().decompress(payload)
    else:
        image = subprocess.run(['lz4', '-d', '-c'], input=payload[:-4], stdout=subprocess.PIPE).stdout
    if not image.startswith(b'\x7fELF'):
        raise RuntimeError('%s: cannot unpack it' % packed)
    with tempfile.NamedTemporaryFile(dir=os.path.dirname(path), delete=False) as f:
        f.write(image)
    os.rename(f.name, path)
    return path
