#!/usr/bin/python3
"""Debian's GDB on guests: the payload (tests/hv/payload) by its symbols, a stock kernel by its own; and a client that does
not behave.

usage: gdb_test.py ENGINE [TEST...]"""
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import initrd  # noqa: E402
import kernels  # noqa: E402
from guest import PROGRAM, Guest  # noqa: E402

ENGINE = 'dbt'
SECONDS = 240


def gdb(where, *commands, symbols=None):
    """What a batch of commands prints."""
    argv = ['gdb', '-nx', '-batch', '-ex', 'set confirm off', '-ex', 'set remotetimeout 60', '-ex', 'set architecture i386:x86-64',
            '-ex', 'target remote ' + where]
    for command in commands:
        argv += ['-ex', command]
    done = subprocess.run(argv + ([symbols] if symbols else []), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=SECONDS, universal_newlines=True)
    return done.stdout


class Client:
    """A client by hand, for what GDB does not do."""

    def __init__(self, path):
        limit = time.monotonic() + 60
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        while True:
            try:
                self.socket.connect(path)
                break
            except OSError:
                if time.monotonic() > limit:
                    raise
                time.sleep(0.01)

    def send(self, text):
        data = text.encode('latin-1')
        self.socket.sendall(b'$%s#%02x' % (data, sum(data) & 255))

    def answer(self):
        data = b''
        while not re.search(rb'\$[^#]*#..$', data):
            part = self.socket.recv(65536)
            if not part:
                raise EOFError(data)
            data += part
        self.socket.sendall(b'+')
        return re.search(rb'\$([^#]*)#..$', data).group(1).decode('latin-1')

    def ask(self, text):
        self.send(text)
        return self.answer()

    def close(self):
        self.socket.close()


class Payload(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory(prefix='drover-gdb-')
        cls.payload = os.path.join(cls.directory.name, 'payload')
        subprocess.run(['sh', os.path.join(HERE, 'payload', 'build.sh'), cls.payload], check=True)

    @classmethod
    def tearDownClass(cls):
        cls.directory.cleanup()

    def guest(self, *options, vcpus=1):
        self.path = os.path.join(self.directory.name, 'gdb')
        guest = Guest('--engine', ENGINE, '--vcpus', str(vcpus), '--memory', '64M', '--kernel', self.payload, '--paused', '--gdb',
                      'unix:' + self.path, *options, seconds=SECONDS)
        self.addCleanup(guest.end)
        guest.ctl('status')  # it is there
        return guest

    def ends_well(self, guest):
        guest.expect(r'^payload: \d+ passed, 0 failed$')
        self.assertEqual(guest.wait(), 0)

    def test_break_step_compare(self):
        guest = self.guest()
        text = gdb(self.path, 'info registers rip cr0', 'break main', 'continue', 'info registers cr0 cr3 efer cs fs_base',
                   'print $rip == &main || *(char*)$rip', 'compare-sections .text', 'stepi', 'stepi', 'x/2i $pc', 'print passed',
                   'watch passed', 'continue', 'continue', 'backtrace 3', 'info threads', 'delete', 'print/x $xmm0.uint128',
                   'set var $rbx = 0x1234', 'print/x $rbx', 'detach', symbols=self.payload)
        self.assertIn('Breakpoint 1, main ()', text)
        self.assertRegex(text, r'cr0 +0x8001')
        self.assertRegex(text, r'efer +0x(500|d01)')
        self.assertRegex(text, r'cs +0x8 ')
        self.assertRegex(text, r'Section .text, range .*: matched')
        self.assertRegex(text, r'Old value = 0\s+New value = 1')
        self.assertRegex(text, r'Old value = 1\s+New value = 2')
        self.assertRegex(text, r'#0 +(0x\w+ in )?check \(')
        self.assertRegex(text, r'#1 .* in print_legacy')
        self.assertRegex(text, r'\* 1 +Thread 1 \(vCPU 0, running\)')
        self.assertIn('= 0x1234', text)
        self.ends_well(guest)

    def test_hardware_breakpoint(self):
        guest = self.guest()
        text = gdb(self.path, 'hbreak test_paging', 'continue', 'finish', 'detach', symbols=self.payload)
        self.assertRegex(text, r'Breakpoint 1, test_paging \(\)')
        self.assertRegex(text, r'main \(\) at .*main.c')
        self.ends_well(guest)

    def test_steps_many(self):
        """Single steps through exceptions, whose flags the guest looks at: it sees nothing of them."""
        guest = self.guest()
        text = gdb(self.path, 'break test_exceptions', 'continue', 'stepi 2000', 'print $eflags', 'detach', symbols=self.payload)
        self.assertNotIn('TF', re.search(r'\$1 = (.*)', text).group(1))
        self.ends_well(guest)

    def test_other_processor(self):
        guest = self.guest(vcpus=2)
        text = gdb(self.path, 'info threads', 'break processor_main', 'continue', 'info threads', 'print index', 'stepi',
                   'thread 1', 'print $rip > 0x100000', 'detach', symbols=self.payload)
        self.assertRegex(text, r'2 +Thread 2 \(vCPU 1, not started\)')
        self.assertRegex(text, r'Thread 2 hit Breakpoint 1, processor_main')
        self.assertRegex(text, r'\* 2 +Thread 2 \(vCPU 1, running\)')
        self.assertRegex(text, r'\$1 = 1\b')
        self.assertRegex(text, r'\$2 = 1\b')
        self.ends_well(guest)

    def test_by_control(self):
        """Without --gdb: through the control socket."""
        guest = self.guest()
        text = gdb('| %s ctl unix:%s gdb' % (PROGRAM, guest.control), 'break test_rings', 'continue', 'detach',
                   symbols=self.payload)
        self.assertRegex(text, r'Breakpoint 1, test_rings')
        self.ends_well(guest)

    def test_client_vanishes(self):
        """With breakpoints in place: they go, and the guest goes on."""
        guest = self.guest()
        client = Client(self.path)
        self.assertEqual(client.ask('?'), 'T05thread:1;')
        self.assertEqual(client.ask('Z0,100100,1'), 'OK')
        self.assertEqual(client.ask('Z2,300000,8'), 'OK')
        client.send('c')
        client.close()
        self.ends_well(guest)

    def test_garbage(self):
        guest = self.guest()
        for piece in (os.urandom(100000), b'$' * 70000, b'$' + b'g' * 70000 + b'#00', b'$m0,ffffffff#00' * 1000):
            client = Client(self.path)
            client.socket.setblocking(False)
            try:
                client.socket.send(piece)
            except BlockingIOError:
                pass
            client.close()
        client = Client(self.path)
        self.assertEqual(client.ask('qC'), 'QC1')
        client.send('c')
        client.close()
        self.ends_well(guest)

    def test_address(self):
        for address, what in (('tcp:0.0.0.0:1', 'local'), ('tcp:example.org:1', 'local'), ('/tmp/x', 'unix:PATH')):
            done = subprocess.run([PROGRAM, 'run', '--kernel', self.payload, '--gdb', address], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60, universal_newlines=True)
            self.assertEqual(done.returncode, 1)
            self.assertIn(what, done.stderr)


class Kernel(unittest.TestCase):
    def test_stock_kernel(self):
        with tempfile.TemporaryDirectory(prefix='drover-gdb-') as directory:
            ramdisk = os.path.join(directory, 'initrd.gz')
            initrd.build(ramdisk, kernels.modules('cloud'))
            path = os.path.join(directory, 'gdb')
            with Guest('--engine', ENGINE, '--vcpus', '2', '--memory', '384M', '--kernel', kernels.vmlinuz('cloud'), '--initrd',
                       ramdisk, '--cmdline', 'console=ttyS0 quiet nokaslr panic=-1', '--gdb', 'unix:' + path,
                       seconds=SECONDS) as guest:
                guest.ready()
                names = dict(line.split()[::2][::-1] for line in guest.check(
                    'grep -E " (linux_banner|__do_sys_newuname|__x64_sys_newuname)$" /proc/kallsyms').splitlines())
                at = '0x' + names['__x64_sys_newuname']
                version = guest.check('cat /proc/version')
                # a call that comes later than the breakpoint
                guest.console.sendall(b'n=0; while [ $n -lt 20 ]; do uname >/dev/null; sleep 1; n=$((n+1)); done; echo loop ends\n')
                text = gdb(path, 'x/s 0x' + names['linux_banner'], 'break *' + at, 'continue', 'print/x $rip', 'info threads',
                           'stepi', 'stepi', 'print $rip > %s' % at, 'continue', 'delete', 'x/2i ' + at, 'detach')
                self.assertIn(version.split(' (')[0], text)
                self.assertRegex(text, r'hit Breakpoint 1, %s' % at.replace('0x', '0x0*'))
                self.assertRegex(text, r'\$1 = %s' % at)
                self.assertRegex(text, r'\$2 = 1\b')
                self.assertIn('Thread 2 (vCPU 1', text)
                client = Client(path)  # the guest runs: an interrupt stops it, wherever it is
                self.assertRegex(client.ask('?'), 'T05')
                client.send('vCont;c')
                client.socket.sendall(b'\3')
                self.assertRegex(client.answer(), 'T02')
                client.send('D')
                client.close()
                self.assertEqual(guest.ctl('status')['state'], 'running')
                guest.expect('^loop ends$', 60)


if __name__ == '__main__':
    if len(sys.argv) > 1:
        ENGINE = sys.argv.pop(1)
    unittest.main(verbosity=2)
