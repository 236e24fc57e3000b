"""A network for moves of guests: the calling process goes into a network namespace of its own, with a bridge and a tap for each
guest's process; and traffic through the guest, a ping every 10 ms and a TCP stream that comes back, whose longest gaps are told."""
import ctypes
import os
import re
import select
import socket
import subprocess
import threading
import time

CLONE_NEWNET = 0x40000000
HERE, GUEST, PORT = '10.77.0.1', '10.77.0.2', 5000
MAC = '52:54:00:77:00:02'
SERVE = ('ip link set lo up; ip link set eth0 up; ip addr add %s/24 dev eth0; nc -ll -p %d -e cat >/dev/null 2>&1 &' % (GUEST, PORT))


def ip(*words):
    subprocess.run(['ip', *words], check=True)


def enter():
    """Everything that is started from here on is in it; it goes with this process."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), 'unshare')
    ip('link', 'set', 'lo', 'up')
    ip('link', 'add', 'br0', 'type', 'bridge')
    ip('addr', 'add', HERE + '/24', 'dev', 'br0')
    ip('link', 'set', 'br0', 'up')


def tap(name):
    ip('tuntap', 'add', name, 'mode', 'tap')
    ip('link', 'set', name, 'master', 'br0')
    ip('link', 'set', name, 'up')


class Ping:
    def __init__(self):
        self.process = subprocess.Popen(['ping', '-D', '-n', '-i', '0.01', GUEST], stdout=subprocess.PIPE, universal_newlines=True)

    def end(self):
        """(answers, longest time without one in s)"""
        self.process.send_signal(2)
        text, _ = self.process.communicate()
        times = [float(t) for t in re.findall(r'^\[([\d.]+)\] \d+ bytes', text, re.M)]
        self.gap = max((b - a for a, b in zip(times, times[1:])), default=0)
        return len(times), self.gap


class Stream(threading.Thread):
    """Bytes that the guest sends back, as many on their way as fit; each is compared."""
    BLOCK = bytes(range(251)) * 64

    def __init__(self):
        super().__init__(daemon=True)
        self.socket = socket.create_connection((GUEST, PORT), timeout=60)
        self.ending, self.back, self.gap, self.wrong = False, 0, 0.0, None
        self.start()

    def _check(self, data):
        at = self.back % 251
        expected = (self.BLOCK + self.BLOCK)[at:at + len(data)]
        if data != expected:
            self.wrong = 'other bytes came back at %d' % self.back
        self.back += len(data)

    def run(self):
        sent, last = 0, time.monotonic()
        self.socket.setblocking(False)
        try:
            while not self.ending and not self.wrong:
                readable, writable, _ = select.select([self.socket], [self.socket] if sent - self.back < 1 << 18 else [], [], 0.1)
                if writable:
                    at = sent % 251
                    sent += self.socket.send(self.BLOCK[at:at + 8192])
                if readable:
                    data = self.socket.recv(8192)
                    if not data:
                        self.wrong = 'the guest hung up'
                    self._check(data)
                    now = time.monotonic()
                    self.gap, last = max(self.gap, now - last), now
        except OSError as e:
            self.wrong = str(e)

    def end(self):
        """(bytes that came back, longest time without one in s, what was wrong or None)"""
        self.ending = True
        self.join(60)
        self.socket.close()
        return self.back, self.gap, self.wrong
