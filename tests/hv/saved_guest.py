"""Saved guests (hv/saved_guest.h, hv/state.h), read here so that a difference between two can be named."""
import mmap
import struct

HEADER = 4096
PAGE = 4096


def fields(path):
    """{'section/instance/field': value} of the state."""
    with open(path, 'rb') as f:
        head = f.read(HEADER)
        data = f.read(struct.unpack_from('<Q', head, 16)[0])
    found, at, section = {}, len('drover-state') + 4, ''

    def text(at):
        return data[at + 1:at + 1 + data[at]].decode(), at + 1 + data[at]

    while data[at] != 4:
        kind = data[at]
        at += 1
        if kind == 1:
            name, at = text(at)
            section = '%s/%d' % (name, struct.unpack_from('<I', data, at)[0])
            at += 8
        elif kind == 2:
            name, at = text(at)
            found['%s/%s' % (section, name)] = '%#x' % struct.unpack_from('<Q', data, at)[0]
            at += 8
        elif kind == 3:
            name, at = text(at)
            size = struct.unpack_from('<I', data, at)[0]
            found['%s/%s' % (section, name)] = data[at + 4:at + 4 + size].hex()
            at += 4 + size
    return found


def _pages(a, b, limit):
    """Offsets of pages that differ."""
    with open(a, 'rb') as f, open(b, 'rb') as g:
        with mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as x, mmap.mmap(g.fileno(), 0, prot=mmap.PROT_READ) as y:
            different, step = [], 2 << 20
            for start in range(0, min(len(x), len(y)), step):
                if x[start:start + step] != y[start:start + step]:
                    different += [at for at in range(start, min(start + step, len(x)), PAGE)
                                  if x[at:at + PAGE] != y[at:at + PAGE]]
                if len(different) > limit:
                    break
            return different if len(x) == len(y) else different + ['length']


def differences(a, b, limit=20):
    """What differs between two saved guests, in words; empty: they are the same, byte by byte."""
    pages = _pages(a, b, limit)
    if not pages:
        return []
    x, y = fields(a), fields(b)
    words = ['%s: %s, then %s' % (name, x.get(name), y.get(name)) for name in sorted(set(x) | set(y))
             if x.get(name) != y.get(name)]
    return words + ['file offset %s' % (hex(at) if isinstance(at, int) else at) for at in pages]
