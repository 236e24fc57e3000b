"""Work for a guest that is moved about: it goes on until it is told to stop, and what it has come to then can be computed
here. Each round hashes the last round's hash together with a file; beside it, a disk is written and read back."""
import hashlib
import os
import random
import re
import tempfile

import initrd
import kernels

HERE = os.path.dirname(os.path.abspath(__file__))
CACHE = os.environ.get('DROVER_HV_CACHE', os.path.join(HERE, '..', '..', 'build', 'hv-cache'))
BLOCK, BLOCKS = 1 << 18, 16  # what is written to the disk in one go, and to how many places in turn


def prepare(test, name, seed):
    """What a test of such a guest needs: a folder, a kernel with its RAM disk, an empty disk, and chance that can be repeated."""
    test.directory = tempfile.TemporaryDirectory(prefix='drover-%s-' % name)
    test.addCleanup(test.directory.cleanup)
    test.random = random.Random('%d %s' % (seed, test.id()))
    test.kernel = kernels.vmlinuz('cloud')
    test.initrd = os.path.join(CACHE, 'initrd-cloud.gz')
    initrd.build(test.initrd, kernels.modules('cloud'))
    test.disk = os.path.join(test.directory.name, 'disk')
    with open(test.disk, 'wb') as f:
        f.truncate(BLOCK * BLOCKS)


class Work:
    def __init__(self, lines=20000, disk=None):
        """lines: of the file. disk: a device of the guest; its first BLOCK * BLOCKS bytes are written."""
        self.lines, self.disk = lines, disk

    def file(self):
        return ''.join('%d\n' % i for i in range(1, self.lines + 1)).encode()

    def begin(self):
        """One line for the guest's shell. What goes wrong in the work is written to /tmp/wrong."""
        script = ('seq 1 %d > /tmp/r; : > /tmp/wrong; (h=; n=0; while [ ! -e /tmp/stop ]; do '
                  'h=$( (echo "$h"; cat /tmp/r) | md5sum); h=${h%%%% *}; n=$((n+1)); '
                  'echo "$n $h" > /tmp/now.new; mv /tmp/now.new /tmp/now; done; : > /tmp/hashed) & ' % self.lines)
        if self.disk:
            script += ('(n=0; while [ ! -e /tmp/stop ]; do (echo "$n"; cat /tmp/r; cat /dev/zero) | head -c %d > /tmp/block; '
                       'dd if=/tmp/block of=%s bs=%d seek=$((n %% %d)) conv=fsync 2>/dev/null; '
                       'echo 1 > /proc/sys/vm/drop_caches; '
                       'dd if=%s bs=%d skip=$((n %% %d)) count=1 2>/dev/null | cmp -s - /tmp/block || '
                       'echo "block $n" >> /tmp/wrong; n=$((n+1)); echo $n > /tmp/blocks.new; '
                       'mv /tmp/blocks.new /tmp/blocks; done; : > /tmp/written) & ' %
                       (BLOCK, self.disk, BLOCK, BLOCKS, self.disk, BLOCK, BLOCKS))
        return script + 'until [ -e /tmp/now ]; do sleep 0.1; done'

    def go_on(self, rounds=1):
        """A line that ends when that many more rounds are done, and so shows that work goes on; it says where it is."""
        return ('n=$(cut -d" " -f1 /tmp/now); until [ $(cut -d" " -f1 /tmp/now) -ge $((n+%d)) ]; do sleep 0.1; done; '
                'cat /tmp/now' % rounds)

    def end(self):
        return ('touch /tmp/stop; until [ -e /tmp/hashed ]%s; do sleep 0.1; done; cat /tmp/now /tmp/wrong' %
                (' && [ -e /tmp/written ]' if self.disk else ''))

    def wrong(self, said):
        """What is wrong with the answer to end(), or None."""
        match = re.search(r'^(\d+) ([0-9a-f]{32})$', said, re.M)
        if not match:
            return 'no result in %r' % said
        rest = said.replace(match.group(0), '').strip()
        if rest:
            return rest
        h, data = '', self.file()
        for _ in range(int(match.group(1))):
            h = hashlib.md5(h.encode() + b'\n' + data).hexdigest()
        return None if h == match.group(2) else 'round %s: %s, must be %s' % (match.group(1), match.group(2), h)

    def block(self, n):
        return (b'%d\n' % n + self.file()).ljust(BLOCK, b'\0')[:BLOCK]

    def wrong_blocks(self, path, count):
        """Which places of the disk do not hold what was written there last, when `count` blocks were."""
        with open(path, 'rb') as f:
            return [n for n in range(max(0, count - BLOCKS), count)
                    if f.seek(n % BLOCKS * BLOCK) is not None and f.read(BLOCK) != self.block(n)]
