#!/usr/bin/python3
"""What a guest's process still has once it is sealed, thread by thread: no privileges, no files' names, no host.

usage: guest_jail.py [unittest arguments]. Needs root."""
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from guest import Guest, PROGRAM  # noqa: E402

SPACES = ('mnt', 'ipc', 'uts', 'net')


def threads(pid):
    """Per thread: its name, what its status says, its root directory, its namespaces."""
    found = []
    for task in os.listdir('/proc/%d/task' % pid):
        path = '/proc/%d/task/%s/' % (pid, task)
        with open(path + 'status') as f:
            status = dict(line.rstrip('\n').split(':\t', 1) for line in f if ':\t' in line)
        spaces = {name: os.readlink(path + 'ns/' + name) for name in SPACES}
        found.append((status['Name'], status, os.readlink(path + 'root'), spaces))
    return found


class Jail(unittest.TestCase):
    def guest(self, *options, **more):
        return Guest('--engine', 'interp', '--firmware', 'seabios', '--memory', '64M', '--vcpus', '2', '--disk', 'mem:16M',
                     '--disk', 'mem:16M', *options, **more)

    def check(self, guest, uid=None):
        guest.expect('SeaBIOS')
        self.assertEqual(guest.ctl('status')['state'], 'running')
        all_threads = threads(guest.process.pid)
        names = [t[0] for t in all_threads]
        for name in ('drover-guest', 'vcpu0', 'vcpu1', 'disks', 'devices'):
            self.assertIn(name, names)
        for name, status, _, _ in all_threads:
            self.assertEqual(status['Seccomp'], '2', name)
            self.assertEqual(status['Seccomp_filters'], '2' if name.startswith('vcpu') else '1', name)
            self.assertEqual(status['NoNewPrivs'], '1', name)
            self.assertEqual({int(status[c], 16) for c in ('CapEff', 'CapPrm', 'CapInh', 'CapAmb')}, {0}, name)
            self.assertEqual(len(set(status['Uid'].split())), 1, name)
            self.assertNotEqual(status['Uid'].split()[0], '0', name)
            if uid is not None:
                self.assertEqual(status['Uid'].split()[0], str(uid), name)
        return all_threads

    def test_started_as_root(self):
        with self.guest() as g:
            ours = {name: os.readlink('/proc/self/ns/' + name) for name in SPACES}
            for name, _, root, spaces in self.check(g):
                self.assertRegex(root, r'^/tmp/drover-empty-.* \(deleted\)$', name)
                for space in SPACES:
                    self.assertNotEqual(spaces[space], ours[space], '%s of %s' % (space, name))

    def test_named_user(self):
        with self.guest('--user', 'nobody') as g:
            self.check(g, pwd.getpwnam('nobody').pw_uid)

    def test_started_as_another(self):
        """The wall of system calls is the same for a program that had no privileges to give up."""
        uid = pwd.getpwnam('nobody').pw_uid
        with tempfile.TemporaryDirectory() as directory:
            os.chmod(directory, 0o755)
            program = shutil.copy(PROGRAM, directory)  # the build may lie where nobody else can look
            with self.guest(prefix=['setpriv', '--reuid=nobody', '--regid=nogroup', '--clear-groups'], program=program,
                            user=uid) as g:
                self.check(g, uid)

    def reads(self, guest):
        """How many reads the BIOS's attempt to boot from the first disk took, all told."""
        guest.expect('Boot failed')
        return guest.ctl('stats')['disks'][0]['read']['ops']

    def test_disk_of_a_server(self):
        """What connects again keeps the host's network, and that alone; and it does connect again."""
        with socket.socket() as s:
            s.bind(('127.0.0.1', 0))
            port = str(s.getsockname()[1])

        def serve():
            server = subprocess.Popen(['nbdkit', '-f', '-i', '127.0.0.1', '-p', port, 'memory', '1M'])
            self.addCleanup(lambda: (server.kill(), server.wait()))
            while subprocess.call(['nbdinfo', '--size', 'nbd://127.0.0.1:' + port], stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL):
                self.assertIsNone(server.poll())
            return server
        server = serve()
        with Guest('--engine', 'interp', '--firmware', 'seabios', '--memory', '64M', '--vcpus', '2', '--disk',
                   'nbd:nbd://127.0.0.1:' + port) as g:
            outside = os.readlink('/proc/self/ns/net')
            for name, _, _, spaces in self.check(g):
                if name == 'disks':
                    continue
                self.assertNotEqual(spaces['net'], outside, name)
            before = self.reads(g)
            self.assertGreater(before, 0)
            server.kill()
            server.wait()
            g.ctl('reset')
            g.expect('SeaBIOS')
            serve()
            self.assertGreater(self.reads(g), before)
            g.ctl('stop')
            self.assertEqual(g.wait(), 0)

    def test_ends_well(self):
        """It can still put everything in order: the end is no crash at the wall."""
        with self.guest('--virtio-console', 'pty') as g:
            self.check(g)
            g.ctl('pause')
            g.ctl('resume')
            g.ctl('reset')
            g.expect('SeaBIOS')
            g.ctl('stop')
            self.assertEqual(g.wait(), 0)


if __name__ == '__main__':
    unittest.main(verbosity=2)
