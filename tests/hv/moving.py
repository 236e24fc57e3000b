"""What moves of guests need in a test: the process that a guest comes to, and a link between the two that can be spoilt."""
import json
import os
import select
import socket
import subprocess
import threading
import time

import guest
from guest import Guest


class Coming(Guest):
    """A drover-guest that waits for a guest."""

    def __init__(self, *options, key, seconds=120, **more):
        listener = socket.socket()
        listener.bind(('127.0.0.1', 0))
        listener.listen(16)
        self.port = listener.getsockname()[1]
        reader, writer = os.pipe()
        os.write(writer, key)
        os.close(writer)
        super().__init__(*options, '--incoming', str(listener.fileno()), '--migration-key', str(reader), seconds=seconds,
                         inherit=(listener.fileno(), reader), **more)
        os.close(reader)
        listener.close()


class Link:
    """Passes bytes between a source and a destination. What it may do to those of the source, over all connections:
    stop passing them on behind `stall` bytes, cut everything behind `cut`, change one bit of byte `flip`."""

    def __init__(self, port, stall=None, cut=None, flip=None):
        self.to, self.stall, self.cut_at, self.flip = port, stall, cut, flip
        self.passed, self.record = 0, []
        self.sockets, self.lock, self.is_cut = [], threading.Lock(), False
        self.listener = socket.socket()
        self.listener.bind(('127.0.0.1', 0))
        self.listener.listen(16)
        self.port = self.listener.getsockname()[1]
        self.threads = [threading.Thread(target=self._accept, daemon=True)]
        self.threads[0].start()

    def _accept(self):
        while True:
            try:
                here, _ = self.listener.accept()
                there = socket.create_connection(('127.0.0.1', self.to))
            except OSError:
                return
            self.sockets += [here, there]
            for pair in ((here, there, True), (there, here, False)):
                t = threading.Thread(target=self._pass, args=pair, daemon=True)
                t.start()
                self.threads.append(t)

    def _spoil(self, data):
        """What of the source's data goes on."""
        with self.lock:
            start, self.passed = self.passed, self.passed + len(data)
            if self.flip is not None and start <= self.flip < self.passed:
                at = self.flip - start
                data = data[:at] + bytes([data[at] ^ 4]) + data[at + 1:]
            if self.cut_at is not None and self.passed >= self.cut_at:
                return data[:max(0, self.cut_at - start)], True
            return data, False

    def _pass(self, a, b, forth):
        try:
            while True:
                while forth and self.stall is not None and self.passed >= self.stall:
                    time.sleep(0.01)
                data = a.recv(65536)
                if not data:
                    break
                cut = False
                if forth:
                    data, cut = self._spoil(data)
                b.sendall(data)
                if cut:
                    self.cut()
                    return
            b.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def cut(self):
        self.is_cut = True
        for s in self.sockets:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.stall = None
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        self.cut()
        for t in self.threads:
            t.join(10)
        for s in self.sockets:
            s.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


class Watch:
    """Events of a guest, as they come."""

    def __init__(self, g):
        self.process = subprocess.Popen([guest.PROGRAM, 'ctl', 'unix:' + g.control, 'watch'], stdout=subprocess.PIPE)
        self.rest, self.events, self.ended = b'', [], False

    def next(self, seconds=60):
        """The next event, or None at the end."""
        while b'\n' not in self.rest:
            ready, _, _ = select.select([self.process.stdout], [], [], seconds)
            if not ready:
                raise guest.Gone('no event for %d s; so far %s' % (seconds, self.events))
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                self.ended = True
                return None
            self.rest += data
        line, _, self.rest = self.rest.partition(b'\n')
        self.events.append(json.loads(line))
        return self.events[-1]

    def phase(self, *wanted, seconds=60):
        """Until a migration is in one of these phases: that event, or None when the guest's process has gone before."""
        while True:
            e = self.next(seconds)
            if e is None or (e['event'] == 'migration' and e['phase'] in wanted):
                return e

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def key_file(directory):
    """(path, key) of a new one."""
    key = os.urandom(32)
    path = os.path.join(directory, 'key')
    with open(path, 'wb') as f:
        f.write(key)
    return path, key


def migrate(source, port, path, *options, check=True):
    return source.ctl('migrate', 'tcp:127.0.0.1:%d' % port, '--key-file', path, *options, check=check)
