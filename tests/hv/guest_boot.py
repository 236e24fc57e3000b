#!/usr/bin/python3
"""Stock Debian kernels on drover-guest: every way to boot them, devices under load, pause, save and load, reset, power.

usage: guest_boot.py [--engine interp|dbt|kvm] [unittest arguments]. Needs root (it makes a network namespace)."""
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import initrd  # noqa: E402
import kernels  # noqa: E402
from guest import BUILD, Guest, PROGRAM  # noqa: E402

ENGINE = os.environ.get('DROVER_ENGINE', 'dbt')
CACHE = os.environ.get('DROVER_HV_CACHE', os.path.join(HERE, '..', '..', 'build', 'hv-cache'))
CMDLINE = 'console=ttyS0 quiet panic=-1'
SECONDS = 200  # for a guest that hangs; machines differ


def ramdisk(kind):
    path = os.path.join(CACHE, 'initrd-%s.gz' % kind)
    initrd.build(path, kernels.modules(kind))
    return path


class Booted(unittest.TestCase):
    kind = 'cloud'

    @classmethod
    def setUpClass(cls):
        cls.kernel, cls.initrd = kernels.vmlinuz(cls.kind), ramdisk(cls.kind)
        cls.directory = tempfile.TemporaryDirectory()

    @classmethod
    def tearDownClass(cls):
        cls.directory.cleanup()

    def file(self, name, size=None):
        path = os.path.join(self.directory.name, name)
        if size is not None:
            with open(path, 'wb') as f:
                f.truncate(size)
        return path

    def guest(self, *options, cmdline=CMDLINE):
        return Guest('--engine', ENGINE, '--kernel', self.kernel, '--initrd', self.initrd, '--cmdline', cmdline,
                     *options, seconds=SECONDS)


class Ways(Booted):
    def test_pvh(self):
        with self.guest('--boot', 'pvh', '--memory', '256M') as g:
            g.ready()
            self.assertIn('Hypervisor detected: KVM', g.check('dmesg'))
            self.assertIn('drover', g.check('cat /sys/class/dmi/id/product_name').lower())
            self.assertEqual(g.check('nproc'), '1')
            self.assertNotRegex(g.check('dmesg'), r'(ACPI|APIC|TSC|PCI).*([Ee]rror|[Ff]ail)')

    def test_linux64(self):
        with self.guest('--boot', 'linux64', '--memory', '512M') as g:
            self.assertEqual(g.ready().check('echo $((6*7))'), '42')

    def test_switches_itself_off(self):
        with self.guest('--memory', '256M') as g:
            g.ready().console.sendall(b'poweroff -f\n')
            self.assertEqual(g.wait(), 0)

    def test_restarts(self):
        with self.guest('--memory', '256M') as g:
            g.ready().console.sendall(b'reboot -f\n')
            self.assertEqual(g.ready().check('echo again'), 'again')
            g.ctl('reset')
            self.assertEqual(g.ready().check('echo and again'), 'and again')

    def test_exits_on_reset(self):
        with self.guest('--memory', '256M', '--on-reset', 'exit') as g:
            g.ready().console.sendall(b'reboot -f\n')
            self.assertEqual(g.wait(), 0)

    def test_several_processors(self):
        for count in (2, 4):
            with self.guest('--vcpus', str(count), '--memory', '512M') as g:
                self.assertEqual(g.ready().check('nproc'), str(count))
                self.assertEqual(g.check(
                    'for i in 1 2 3 4; do (dd if=/dev/zero bs=1M count=8 2>/dev/null | md5sum) & done; wait; echo ok'
                ).split()[-1], 'ok')


class Generic(Booted):
    kind = 'generic'

    def test_boots(self):
        with self.guest('--memory', '512M') as g:
            self.assertEqual(g.ready().check('echo ok'), 'ok')


class Devices(Booted):
    def test_disk(self):
        disk = self.file('disk.img', 64 << 20)
        with self.guest('--memory', '512M', '--disk', 'raw:' + disk, '--serial', 'root', '--disk',
                        'mem:32M') as g:
            g.ready()
            self.assertEqual(g.check('cat /sys/block/vda/serial'), 'root')
            self.assertEqual(g.check('cat /sys/block/vda/size'), str((64 << 20) // 512))
            sum_in = g.check('dd if=/dev/urandom of=/tmp/r bs=1M count=16 2>/dev/null; md5sum < /tmp/r').split()[0]
            g.check('dd if=/tmp/r of=/dev/vda bs=64k seek=16 conv=fsync 2>/dev/null')
            g.check('echo 3 > /proc/sys/vm/drop_caches')
            out = g.check('dd if=/dev/vda bs=64k skip=16 count=256 2>/dev/null | md5sum').split()[0]
            self.assertEqual(out, sum_in)
            g.check('dd if=/tmp/r of=/dev/vdb bs=1M conv=fsync 2>/dev/null; echo 3 > /proc/sys/vm/drop_caches')
            self.assertEqual(g.check('dd if=/dev/vdb bs=1M count=16 2>/dev/null | md5sum').split()[0], sum_in)
            stats = g.ctl('stats')
            self.assertGreaterEqual(stats['disks'][0]['write']['bytes'], 16 << 20)
            self.assertGreaterEqual(stats['disks'][0]['flush']['ops'], 1)
        with open(disk, 'rb') as f:
            f.seek(1 << 20)
            here = subprocess.run(['md5sum'], input=f.read(16 << 20), stdout=subprocess.PIPE).stdout.split()[0]
        self.assertEqual(here.decode(), sum_in)

    def test_read_only_disk_and_resize(self):
        disk, other = self.file('ro.img', 4 << 20), self.file('grow.img', 4 << 20)
        with self.guest('--memory', '256M', '--disk', 'raw:' + disk, '--read-only', '--disk', 'raw:' + other) as g:
            g.ready()
            self.assertEqual(g.check('cat /sys/block/vda/ro'), '1')
            g.ctl('resize', '1', '8M')
            g.check('n=0; until [ $(cat /sys/block/vdb/size) = 16384 ]; do n=$((n+1)); [ $n -lt 100000 ] || exit 1; done')
            code, _, error = g.ctl('resize', '7', '8M', check=False)
            self.assertEqual(code, 1)
            self.assertIn('there are 2 disks', error)

    def test_network(self):
        namespace = 'drover-%d' % os.getpid()
        subprocess.run(['ip', 'netns', 'add', namespace], check=True)
        try:
            self._network(namespace)
        finally:
            subprocess.run(['ip', 'netns', 'del', namespace], check=False)

    def _network(self, namespace):
        def inside(*command, **more):
            return subprocess.run(['ip', 'netns', 'exec', namespace, *command], check=True, **more)
        inside('ip', 'tuntap', 'add', 'tap0', 'mode', 'tap')
        inside('ip', 'address', 'add', '10.99.0.1/24', 'dev', 'tap0')
        inside('ip', 'link', 'set', 'tap0', 'up')
        with self.guest('--memory', '256M', '--net', 'tap=tap0,mac=52:54:00:00:00:07', namespace=namespace) as g:
            g.ready()
            self.assertEqual(g.check('cat /sys/class/net/eth0/address'), '52:54:00:00:00:07')
            g.check('ip addr add 10.99.0.2/24 dev eth0; ip link set eth0 up')
            self.assertIn(' 0% packet loss', g.check('ping -c 3 -W 20 10.99.0.1'))
            inside('/bin/busybox', 'ping', '-c', '3', '-W', '20', '10.99.0.2', stdout=subprocess.DEVNULL)
            self._transfer(g, inside)

    def _transfer(self, g, inside):
        """Data both ways over TCP, checked by sum."""
        data = os.urandom(4 << 20)
        path = self.file('sent')
        with open(path, 'wb') as f:
            f.write(data)
        g.check('(nc -l -p 5000 > /tmp/got) & sleep 1')
        with open(path, 'rb') as f:
            inside('python3', '-c', 'import socket,sys\ns=socket.create_connection(("10.99.0.2",5000))\n'
                   's.sendall(sys.stdin.buffer.read())\ns.close()', stdin=f)
        expected = subprocess.run(['md5sum'], input=data, stdout=subprocess.PIPE).stdout.split()[0].decode()
        self.assertEqual(g.check('wait; md5sum < /tmp/got').split()[0], expected)

    def guest(self, *options, cmdline=CMDLINE, namespace=None):
        if not namespace:
            return super().guest(*options, cmdline=cmdline)
        return Guest('--engine', ENGINE, '--kernel', self.kernel, '--initrd', self.initrd, '--cmdline', cmdline, *options,
                     seconds=SECONDS, prefix=['ip', 'netns', 'exec', namespace])

    def test_random_and_balloon(self):
        with self.guest('--memory', '512M') as g:
            g.ready()
            self.assertEqual(g.check('cat /sys/devices/virtual/misc/hw_random/rng_current'), 'virtio_rng.0')
            self.assertEqual(g.check('dd if=/dev/hwrng bs=64 count=1 2>/dev/null | wc -c'), '64')
            before = int(g.check("awk '/MemFree/{print $2}' /proc/meminfo"))
            g.ctl('balloon', '256M')
            g.check("n=0; until [ $(awk '/MemFree/{print $2}' /proc/meminfo) -lt %d ]; do n=$((n+1)); "
                    "[ $n -lt 1000 ] || exit 1; sleep 0.1; done" % (before - 200000))
            g.ctl('balloon', '512M')
            g.check("n=0; until [ $(awk '/MemFree/{print $2}' /proc/meminfo) -gt %d ]; do n=$((n+1)); "
                    "[ $n -lt 1000 ] || exit 1; sleep 0.1; done" % (before - 50000))


class Life(Booted):
    def test_pause_and_resume(self):
        with self.guest('--memory', '256M') as g:
            g.ready()
            self.assertEqual(g.ctl('status')['state'], 'running')
            g.ctl('pause')
            first = g.ctl('status')
            self.assertEqual(first['state'], 'paused')
            self.assertEqual(g.ctl('status')['guest-seconds'], first['guest-seconds'])
            code, _, error = g.ctl('powerdown', check=False)
            self.assertEqual(code, 1)
            self.assertIn('not while the guest is paused', error)
            g.ctl('resume')
            self.assertEqual(g.check('echo on'), 'on')

    def test_save_and_load(self):
        disk, saved = self.file('moved.img', 16 << 20), self.file('saved')
        options = ['--memory', '256M', '--vcpus', '2', '--disk', 'raw:' + disk]
        with self.guest(*options) as g:
            g.ready()
            g.check('(i=0; while :; do i=$((i+1)); echo $i > /tmp/n; done) & echo $! > /tmp/pid')
            g.check('dd if=/dev/urandom of=/tmp/r bs=64k count=64 2>/dev/null; md5sum < /tmp/r > /tmp/sum')
            g.check('dd if=/tmp/r of=/dev/vda bs=64k conv=fsync 2>/dev/null')
            g.ctl('save', saved)
            self.assertEqual(g.ctl('status')['state'], 'paused')
            g.ctl('stop')
            self.assertEqual(g.wait(), 0)
        with Guest('--engine', ENGINE, *options, '--load', saved, seconds=SECONDS) as g:
            self.assertEqual(g.check('md5sum < /tmp/r'), g.check('cat /tmp/sum'))
            g.check('echo 3 > /proc/sys/vm/drop_caches')
            self.assertEqual(g.check('dd if=/dev/vda bs=64k count=64 2>/dev/null | md5sum'), g.check('cat /tmp/sum'))
            g.check('n() { m=; until [ "$m" ]; do m=$(cat /tmp/n); done; echo $m; }; a=$(n); sleep 1; [ $(n) -gt $a ]')
            self.assertEqual(g.check('nproc'), '2')

    def test_wrong_load(self):
        saved = self.file('other')
        with self.guest('--memory', '128M') as g:
            g.ready().ctl('save', saved)
        for options, message in ((['--memory', '256M'], 'start it with as much'),
                                 (['--memory', '128M', '--vcpus', '2'], 'number of vCPUs'),
                                 (['--memory', '128M', '--no-rng'], 'a device that this guest does not have')):
            with Guest('--engine', ENGINE, *options, '--load', saved, seconds=SECONDS) as g:
                self.assertEqual(g.wait(), 1)
                self.assertIn(message, g.log())

    def test_power_button(self):
        with self.guest('--memory', '256M') as g:
            g.ready()
            before = int(g.check("awk '/acpi/{print $2}' /proc/interrupts"))
            g.ctl('powerdown')
            g.check("n=0; until [ $(awk '/acpi/{print $2}' /proc/interrupts) -gt %d ]; do n=$((n+1)); "
                    "[ $n -lt 300 ] || exit 1; sleep 0.1; done" % before)

    def test_killed_by_the_user(self):
        with self.guest('--memory', '128M') as g:
            g.ready()
            g.process.terminate()
            self.assertEqual(g.wait(), 0)


    def test_files_that_shrink(self):
        """A kernel or an initrd that is cut short while its guest runs is an error at the next start, no crash."""
        kernel, ramdisk = self.file('vmlinuz'), self.file('initrd')
        for path, source in ((kernel, self.kernel), (ramdisk, self.initrd)):
            shutil.copyfile(source, path)
        with Guest('--engine', ENGINE, '--kernel', kernel, '--initrd', ramdisk, '--cmdline', CMDLINE, '--memory', '256M',
                   seconds=SECONDS) as g:
            g.ready()
            for path, source, text in ((kernel, self.kernel, 'bytes left of'), (ramdisk, self.initrd, 'become shorter')):
                os.truncate(path, 5000)
                code, _, error = g.ctl('reset', check=False)
                self.assertEqual(code, 1)
                self.assertIn('kernel ' + kernel, error)
                self.assertIn(text, error)
                self.assertEqual(g.ctl('status')['state'], 'failed')
                shutil.copyfile(source, path)
            g.ctl('reset')
            self.assertEqual(g.ready().check('echo again'), 'again')


class Hotplug(Booted):
    def wait_for(self, guest, condition):
        guest.check('n=0; until %s; do n=$((n+1)); [ $n -lt 300 ] || exit 1; sleep 0.1; done' % condition)

    def test_disk(self):
        disk = self.file('added.img', 32 << 20)
        with self.guest('--memory', '256M', '--disk', 'mem:4M') as g:
            g.ready()
            self.assertEqual(g.ctl('disk-add', 'raw:' + disk, 'serial=data')['disk'], 1)
            self.wait_for(g, '[ -b /dev/vdb ]')
            self.assertEqual(g.check('cat /sys/block/vdb/serial'), 'data')
            sent = g.check('dd if=/dev/urandom of=/tmp/r bs=64k count=64 2>/dev/null; md5sum < /tmp/r').split()[0]
            g.check('dd if=/tmp/r of=/dev/vdb bs=64k conv=fsync 2>/dev/null')
            with open(disk, 'rb') as f:
                self.assertEqual(hashlib.md5(f.read(4 << 20)).hexdigest(), sent)
            code, _, error = g.ctl('disk-add', 'raw:' + disk, check=False)
            self.assertEqual(code, 1)
            self.assertIn('is in use by another program', error)
            code, _, error = g.ctl('disk-add', 'raw:/none', check=False)
            self.assertEqual(code, 1)
            self.assertIn("'/none': No such file", error)
            g.ctl('disk-remove', '1')
            self.wait_for(g, '[ ! -b /dev/vdb ]')
            limit = time.monotonic() + SECONDS
            while len(g.ctl('stats')['disks']) > 1:
                self.assertLess(time.monotonic(), limit)
            self.assertEqual(g.ctl('disk-add', 'raw:' + disk)['disk'], 1)  # the claim is gone, too
            self.wait_for(g, '[ -b /dev/vdb ]')
            self.assertEqual(g.check('dd if=/dev/vdb bs=64k count=64 2>/dev/null | md5sum').split()[0], sent)
            g.ctl('disk-remove', '0')  # one from the start
            self.wait_for(g, '[ ! -b /dev/vda ]')

    def test_luks_disk(self):
        """A sealed guest opens a volume by a key that comes along: it can neither open files nor make threads."""
        disk, key, img = self.file('luks.img'), self.file('key'), os.path.join(BUILD, 'drover-img')
        with open(key, 'w') as f:
            f.write('a passphrase')
        subprocess.run([img, 'luks', 'create', disk, '--size=8M', '--key-file', key, '--kdf=argon2id', '--iterations=4',
                        '--memory=16M'], check=True, stdout=subprocess.DEVNULL)
        stack = json.dumps([{'driver': 'luks', 'key': {'file': key}}, {'driver': 'raw', 'file': disk}])
        with self.guest('--memory', '256M', '--disk', stack) as g:
            g.ready()
            sent = g.check('dd if=/dev/urandom of=/tmp/r bs=64k count=64 2>/dev/null; md5sum < /tmp/r').split()[0]
            g.check('dd if=/tmp/r of=/dev/vda bs=64k conv=fsync 2>/dev/null')
        with self.guest('--memory', '256M') as g:
            g.ready()
            for _ in range(3):
                g.ctl('disk-add', stack)
                self.wait_for(g, '[ -b /dev/vda ]')
                self.assertEqual(g.check('dd if=/dev/vda bs=64k count=64 2>/dev/null | md5sum').split()[0], sent)
                g.ctl('disk-remove', '0')
                self.wait_for(g, '[ ! -b /dev/vda ]')
                limit = time.monotonic() + SECONDS
                while g.ctl('stats')['disks']:
                    self.assertLess(time.monotonic(), limit)
            with open(key, 'w') as f:
                f.write('another')
            code, _, error = g.ctl('disk-add', stack, check=False)
            self.assertEqual(code, 1)
            self.assertIn('no keyslot opens with this key', error)

    def test_first_disk(self):
        """A guest that started without any."""
        disk = self.file('first.img', 8 << 20)
        with self.guest('--memory', '256M') as g:
            g.ready().ctl('disk-add', 'raw:' + disk, 'read-only=true')
            self.wait_for(g, '[ -b /dev/vda ]')
            self.assertEqual(g.check('cat /sys/block/vda/ro'), '1')

    def test_net(self):
        tap = 'dr%d' % os.getpid()
        subprocess.run(['ip', 'tuntap', 'add', tap, 'mode', 'tap'], check=True)
        self.addCleanup(subprocess.run, ['ip', 'link', 'del', tap], check=True)
        subprocess.run(['ip', 'address', 'add', '10.98.0.1/24', 'dev', tap], check=True)
        subprocess.run(['ip', 'link', 'set', tap, 'up'], check=True)
        with self.guest('--memory', '256M') as g:
            g.ready()
            for _ in range(2):
                self.assertEqual(g.ctl('net-add', 'tap=%s,mac=52:54:00:00:00:09' % tap)['net'], 0)
                self.wait_for(g, '[ -d /sys/class/net/eth0 ]')
                g.check('ip addr add 10.98.0.2/24 dev eth0; ip link set eth0 up')
                self.assertIn(' 0% packet loss', g.check('ping -c 3 -W 20 10.98.0.1'))
                g.ctl('net-remove', '0')
                self.wait_for(g, '[ ! -d /sys/class/net/eth0 ]')
                limit = time.monotonic() + SECONDS
                while g.ctl('stats')['nets']:
                    self.assertLess(time.monotonic(), limit)


class Refused(unittest.TestCase):
    def fails(self, *options):
        done = subprocess.run([PROGRAM, 'run', *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              stdin=subprocess.DEVNULL, universal_newlines=True, timeout=60)
        self.assertIn(done.returncode, (1, 2))
        lines = [line for line in done.stdout.splitlines() if ' info: ' not in line and not line.startswith('Try')]
        self.assertEqual(len(lines), 1, done.stdout)
        return done.stdout

    def test_command_lines(self):
        self.assertIn('kernel: say what to boot', self.fails())
        self.assertIn('kernel: cannot open /none', self.fails('--kernel', '/none'))
        self.assertIn('memory: must be', self.fails('--kernel', '/bin/true', '--memory', '1M'))
        self.assertIn('engine: must be one of', self.fails('--kernel', '/bin/true', '--engine', 'xen'))
        self.assertIn('disks[0]', self.fails('--kernel', '/bin/true', '--disk', 'raw:/none'))
        self.assertIn("no processor model 'z80'", self.fails('--kernel', '/bin/true', '--cpu', 'z80', '--engine', 'interp'))
        self.assertIn('nets[0]', self.fails('--kernel', '/bin/true', '--net', 'tap=none'))

    def test_no_kernel(self):
        with tempfile.NamedTemporaryFile() as f:
            f.write(os.urandom(100000))
            f.flush()
            self.assertRegex(self.fails('--kernel', f.name, '--engine', 'interp'), re.escape(f.name))


if __name__ == '__main__':
    if len(sys.argv) > 2 and sys.argv[1] == '--engine':
        ENGINE = sys.argv[2]
        del sys.argv[1:3]
    unittest.main(verbosity=2)
