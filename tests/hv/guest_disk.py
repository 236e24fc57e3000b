#!/usr/bin/python3
"""A whole Debian disk on drover-guest, from the BIOS to its last word: SeaBIOS, GRUB, the stock kernel, systemd, a login on
the serial console; then packages, a compiler, fio and iperf3 as anyone would use them, each checked against this host.

usage: guest_disk.py [--engine interp|dbt|kvm] [unittest arguments]. Needs root (a network namespace, mmdebstrap)."""
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import disk_image  # noqa: E402
from guest import Guest  # noqa: E402

ENGINE = os.environ.get('DROVER_ENGINE', 'dbt')
SECONDS = 1500  # for a guest that hangs; machines differ
MIB = 1 << 20

# Each command is answered with a line that only it can cause, also while the terminal still echoes.
LOOP = (r'''stty -echo; PS1=; PS2=; echo loop-$((1+1)); while read -r line; do eval "$line"; '''
        r'''printf '\nguest: done %s\n' $?; done''')

# As a package would bring it: something to compile, something to check.
PROGRAM = r'''
#include <stdint.h>
#include <stdio.h>

static uint32_t table[256];

int main(void)
{
    uint32_t sum = ~0u;
    uint64_t bytes = 0;
    double mean = 0;
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t v = i;
        for (int k = 0; k < 8; k++)
            v = v & 1 ? v >> 1 ^ 0xedb88320 : v >> 1;
        table[i] = v;
    }
    for (int c; (c = getchar()) != EOF; bytes++) {
        sum = table[(sum ^ (uint32_t)c) & 255] ^ sum >> 8;
        mean += (c - mean) / (double)(bytes + 1);
    }
    printf("%08x %llu %.9f\n", ~sum, (unsigned long long)bytes, mean);
    return 0;
}
'''
CONTROL = '''Package: drover-load
Version: 1.0
Architecture: all
Maintainer: nobody <nobody@localhost>
Description: a program and some data
'''


def here(*command, **more):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, **more).stdout


class Load:
    """An archive of a package, and what the host makes of its contents."""

    def __init__(self, directory):
        root = os.path.join(directory, 'load')
        for name in ('DEBIAN', 'usr/src/load', 'usr/share/load'):
            os.makedirs(os.path.join(root, name))
        chance = random.Random(3)
        self.data = bytes(chance.getrandbits(8) for _ in range(MIB)) + b''.join(
            b'line %d of some text that packs well\n' % i for i in range(40000))
        files = {'usr/src/load/load.c': PROGRAM.encode(), 'usr/share/load/data': self.data}
        sums = ''.join('%s  %s\n' % (hashlib.md5(data).hexdigest(), name) for name, data in files.items())
        for name, data in (*files.items(), ('DEBIAN/control', CONTROL.encode()), ('DEBIAN/md5sums', sums.encode())):
            with open(os.path.join(root, name), 'wb') as f:
                f.write(data)
        here('dpkg-deb', '--root-owner-group', '-Zxz', '-b', root, os.path.join(directory, 'load.deb'))
        here('gcc', '-O2', '-o', os.path.join(directory, 'sum'), os.path.join(root, 'usr/src/load/load.c'))
        self.sum = hashlib.sha256(self.data).hexdigest()
        self.says = here(os.path.join(directory, 'sum'), input=self.data).decode().strip()
        self.archive = os.path.join(directory, 'load.tar')
        here('tar', '-cf', self.archive, '-C', directory, '-b', '128', 'load.deb')


class Network:
    """A network namespace with a tap, for as long as the test runs."""

    def __init__(self, name):
        self.name = name
        here('ip', 'netns', 'add', name)
        self.inside('ip', 'tuntap', 'add', 'tap0', 'mode', 'tap')
        self.inside('ip', 'address', 'add', '10.99.0.1/24', 'dev', 'tap0')
        self.inside('ip', 'link', 'set', 'tap0', 'up')
        self.inside('ip', 'link', 'set', 'lo', 'up')
        self.prefix = ['ip', 'netns', 'exec', name]

    def inside(self, *command):
        return here('ip', 'netns', 'exec', self.name, *command)

    def end(self):
        subprocess.run(['ip', 'netns', 'del', self.name], check=False)


class Debian(unittest.TestCase):
    """One guest for all, since its boot costs most; the parts come in the order of their names."""

    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory(prefix='drover-disk-')
        cls.addClassCleanup(directory.cleanup)
        cls.load = Load(directory.name)
        cls.root = disk_image.copy(os.path.join(directory.name, 'root.img'))
        cls.other = os.path.join(directory.name, 'other.img')
        with open(cls.other, 'wb') as f:
            f.truncate(64 * MIB)
        cls.network = Network('drover-disk-%d' % os.getpid())
        cls.addClassCleanup(cls.network.end)
        cls.guest = Guest('--engine', ENGINE, '--firmware', 'seabios', '--memory', '1G', '--disk', 'raw:' + cls.root,
                          '--disk', 'raw:' + cls.other, '--disk', 'raw:' + cls.load.archive, '--read-only',
                          '--net', 'tap=tap0,mac=52:54:00:00:00:07', '--on-reset', 'exit', seconds=SECONDS,
                          prefix=cls.network.prefix)
        cls.addClassCleanup(cls.guest.end)

    def test_1_boots(self):
        g = self.guest
        g.expect('SeaBIOS')
        g.expect('GNU GRUB')
        g.expect('login: ')
        g.console.sendall(b'root\n')
        g.expect(r'root@debian:~# ')
        g.console.sendall(LOOP.encode() + b'\n')
        g.expect('loop-2$')
        self.assertEqual(g.check('cat /sys/class/dmi/id/product_name'), 'Drover guest')
        self.assertEqual(g.check('findmnt -n -o SOURCE,FSTYPE /').split(), ['/dev/vda1', 'ext4'])
        self.assertEqual(g.check('. /etc/os-release; echo $ID $VERSION_ID'), 'debian 12')
        self.assertEqual(g.check('systemctl is-system-running --wait'), 'running')
        self.assertNotRegex(g.check('dmesg'), r'(I/O error|EXT4-fs error|BUG|Oops|segfault)')

    def test_2_package(self):
        """Unpack, install, compile, run: everything as on the host."""
        g = self.guest
        g.check('cd /root && tar -xf /dev/vdc && dpkg -i load.deb')
        self.assertEqual(g.check('dpkg -V drover-load'), '')
        self.assertEqual(g.check('sha256sum < /usr/share/load/data').split()[0], self.load.sum)
        g.check('gcc -O2 -Wall -Werror -o sum /usr/src/load/load.c')
        self.assertEqual(g.check('./sum < /usr/share/load/data'), self.load.says)
        g.check('xz -1 -k -c /usr/share/load/data > data.xz && sync && echo 3 > /proc/sys/vm/drop_caches')
        self.assertEqual(g.check('xz -d -c data.xz | sha256sum').split()[0], self.load.sum)

    def test_3_fio(self):
        g = self.guest
        text = g.check('fio --name=verify --filename=/dev/vdb --ioengine=libaio --direct=1 --rw=randwrite --iodepth=8 '
                       '--bsrange=4k-64k --blockalign=4k --size=48M --io_size=24M --verify=crc32c --verify_fatal=1 '
                       '--randseed=7 --fsync=64 --output-format=json 2>&1')
        job = json.loads(text[text.index('{'):])['jobs'][0]
        self.assertEqual(job['error'], 0)
        self.assertGreaterEqual(job['write']['io_bytes'], 24 * MIB)
        self.assertGreater(job['read']['io_bytes'], 0)
        stats = g.ctl('stats')['disks'][1]
        self.assertGreaterEqual(stats['write']['bytes'], 24 * MIB)
        self.assertEqual(stats['write']['errors'] + stats['read']['errors'] + stats['flush']['errors'], 0)

    def test_4_iperf3(self):
        """Through a tap, guest to host and back."""
        g = self.guest
        g.check('ip address add 10.99.0.2/24 dev $(ls /sys/class/net | grep -v lo); '
                'ip link set $(ls /sys/class/net | grep -v lo) up')
        for direction in ('', '-R'):
            server = subprocess.Popen([*self.network.prefix, 'iperf3', '-s', '-1', '-J', '-B', '10.99.0.1'],
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            try:
                self.transfer(server, direction)
            finally:
                server.kill()
                server.wait()
                server.stdout.close()

    def transfer(self, server, direction):
        text = self.guest.check('n=0; until iperf3 -c 10.99.0.1 -n 32M -i 0 -J %s > /tmp/iperf; do n=$((n+1)); '
                                '[ $n -lt 20 ] || break; sleep 1; done; cat /tmp/iperf' % direction)
        guest, host = json.loads(text), json.loads(server.communicate(timeout=SECONDS)[0])
        for side in (guest, host):
            self.assertNotIn('error', side)
        self.assertGreaterEqual(guest['end']['sum_sent']['bytes'], 32 * MIB)
        # who sends ends it: the last that is on its way then is not counted by who receives
        self.assertGreaterEqual(guest['end']['sum_received']['bytes'], 28 * MIB)

    def test_5_off(self):
        g = self.guest
        g.console.sendall(b'systemctl poweroff\n')
        self.assertEqual(g.wait(SECONDS), 0)
        done = subprocess.run(['e2fsck', '-f', '-n', '%s?offset=%d' % (self.root, disk_image.PARTITION_AT)],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
        self.assertEqual(done.returncode, 0, done.stdout[-3000:])


if __name__ == '__main__':
    if len(sys.argv) > 2 and sys.argv[1] == '--engine':
        ENGINE = sys.argv[2]
        del sys.argv[1:3]
    unittest.main(verbosity=2, failfast=True)
