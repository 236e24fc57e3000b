"""What the tests of moving volumes are made of: guests on a cluster of four nodes whose load checks itself, and what is to
be seen of their volumes."""
import json
import os
import re
import signal
import subprocess

from cluster import ThreeNodes, until

# A load that checks itself: part of the disk is written, read back and compared, and a beat is counted.
LOAD = ('(n=0; rm -f /tmp/end /tmp/over /tmp/bad; while [ ! -e /tmp/end ]; do dd if=/dev/urandom of=/tmp/r bs=64k count=16 2>/tmp/e; '
        's=$(md5sum </tmp/r); dd if=/tmp/r of=/dev/vda bs=64k seek=$((n % 8 * 32)) conv=fsync 2>/tmp/e || echo write >>/tmp/bad; '
        'echo 3 >/proc/sys/vm/drop_caches; [ "$(dd if=/dev/vda bs=64k skip=$((n % 8 * 32)) count=16 2>/tmp/e | md5sum)" = "$s" ] || '
        'echo disk >>/tmp/bad; n=$((n + 1)); echo $n >/tmp/beat; done; echo over >/tmp/over) &')
# Where the load does not write: each MiB that begins with an odd one.
STILL = 'for i in 1 3 5 7 9 11 13 15; do dd if=/dev/vda bs=1M skip=$i count=1 2>/dev/null; done | md5sum'


class Moving(ThreeNodes):
    count = 4

    @classmethod
    def prepare(cls):
        super().prepare()
        cls.n1, cls.n2, cls.n3, cls.n4 = cls.nodes[:4]

    # ---- objects ----

    def volume(self, name, size, *where):
        self.addCleanup(self.remove, name)
        self.n1.do('volume', 'create', name, '--size', size, *where, '--wait')

    def guest(self, name, on, *more):
        guest = self.n1.do('guest', 'create', name, '--memory', '192M', '--disk', name, '--network', 'net', '--node', on.name,
                           '--kernel', 'kernel1', '--initrd', 'ramdisk1', '--cmdline', 'console=ttyS0 quiet panic=-1', '--start',
                           '--wait', *more)
        address = guest['spec']['networks'][0]['address']
        until('it answers', lambda: self.ping(on, address))
        return address

    def remove(self, name):
        self.n1.cli('guest', 'stop', name, '--force', '--wait')
        self.n1.cli('guest', 'delete', name, '--wait')
        until('no move of it is under way', lambda: 'move' not in self.show('volume', name))
        self.n1.cli('volume', 'delete', name, '--wait')

    def show(self, kind, name):
        done = self.n1.cli(kind, 'show', name, '--json')
        return json.loads(done.stdout) if done.returncode == 0 else {}

    def ping(self, node, address):
        return self.spaces[self.nodes.index(node)].pings(address)

    def refuses(self, *words):
        done = self.n1.cli(*words)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        return done.stderr

    def starts(self, name, node, address):
        self.n1.do('guest', 'start', name, '--wait')
        until('it answers', lambda: self.ping(node, address))

    def files(self, node):
        return sorted(f for f in os.listdir(node.pool) if f.endswith('.volume') or f.endswith('.part'))

    def last(self, volume):
        return [m for m in self.n1.do('volume-move', 'list') if m['spec']['volume'] == volume][-1]

    def logs(self):
        return '\n'.join(n.log_text() for n in self.nodes)

    # ---- the guest's load ----

    def begin_load(self, name, node):
        text = node.console(name, 'dd if=/dev/urandom of=/dev/vda bs=1M count=16 conv=fsync 2>/dev/null; echo 3 '
                            '>/proc/sys/vm/drop_caches', STILL)
        node.console(name, LOAD)
        self.beats(name, node)
        return self.sum(text)

    def sum(self, text):
        return [line.split()[0] for line in text.splitlines() if line.endswith('  -')][-1]

    def beats(self, name, node):
        """It goes on writing."""
        def beat():
            """0: what the kernel says meanwhile has cut the line."""
            said = re.findall(r'beat=(\d+)=', node.console(name, 'echo beat=$(cat /tmp/beat 2>/dev/null || echo 0)='))
            return int(said[-1]) if said else 0
        first = until('the load has begun', beat)
        until('the load goes on', lambda: beat() > first)

    def end_load(self, name, node, still):
        text = node.console(name, 'touch /tmp/end; while [ ! -e /tmp/over ]; do sleep 0.2; done; cat /tmp/bad 2>/dev/null; '
                            'echo beats $(cat /tmp/beat)', 'echo 3 >/proc/sys/vm/drop_caches', STILL)
        self.assertRegex(text, r'beats [1-9]')
        for word in ('write', 'disk'):
            self.assertNotIn('\n' + word, text)
        self.assertEqual(self.sum(text), still)

    def move(self, volume, to, *more):
        done = self.n1.cli('volume', 'move', volume, '--to', to, '--wait', *more)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr + self.logs())
        told = self.last(volume)
        self.assertEqual(told['state']['phase'], 'done', told)
        self.assertEqual(told['state']['done_bytes'], told['state']['total_bytes'])
