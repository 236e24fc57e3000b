"""A drover-guest of a test: started, talked to over its console, asked over its control socket, and always ended."""
import json
import os
import re
import select
import signal
import socket
import subprocess
import tempfile
import time

BUILD = os.path.abspath(os.environ.get('DROVER_BUILD', 'build/debug'))
PROGRAM = os.path.join(BUILD, 'drover-guest')


class Gone(Exception):
    """The guest ended, or did not say in time what was expected."""


class Guest:
    def __init__(self, *options, seconds=120, prefix=(), program=PROGRAM, user=None, inherit=()):
        """user: a uid that prefix changes to, who is to make the control socket. inherit: descriptors it gets, too."""
        self.directory = tempfile.mkdtemp(prefix='drover-guest-')
        if user is not None:
            os.chown(self.directory, user, -1)
        self.control = os.path.join(self.directory, 'control')
        self.seconds = seconds
        self.text = ''
        self.seen = 0
        self.log_path = os.path.join(self.directory, 'log')
        ours, theirs = socket.socketpair()
        with open(self.log_path, 'w') as log:
            self.process = subprocess.Popen(
                [*prefix, program, 'run', '--console', 'stdio', '--control', 'unix:' + self.control, *options],
                stdin=theirs, stdout=theirs, stderr=log, pass_fds=inherit)
        theirs.close()
        self.console = ours

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.end()

    def log(self):
        with open(self.log_path) as f:
            return f.read()

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.console.close()
        for name in os.listdir(self.directory):
            os.unlink(os.path.join(self.directory, name))
        os.rmdir(self.directory)

    def _fail(self, what):
        raise Gone('%s; exit code %s\n--- console ---\n%s\n--- log ---\n%s' %
                   (what, self.process.poll(), self.text[-4000:], self.log()[-4000:]))

    def expect(self, pattern, seconds=None):
        """The first match in what the console has said since the last expectation. The limit is for a guest that hangs,
        not a measurement."""
        limit = time.monotonic() + (seconds or self.seconds)
        while True:
            match = re.compile(pattern, re.M).search(self.text, self.seen)
            if match:
                self.seen = match.end()
                return match
            left = limit - time.monotonic()
            if left <= 0:
                self._fail('the guest did not say %r' % pattern)
            ready, _, _ = select.select([self.console], [], [], left)
            data = self.console.recv(65536) if ready else b''
            if ready and not data:
                self._fail('the guest ended before it said %r' % pattern)
            self.text += data.decode('utf-8', 'replace').replace('\r', '')

    def ready(self, seconds=None):
        self.expect(r'^guest: ready$', seconds)
        return self

    def run(self, command, seconds=None):
        """A shell command in the guest: (exit code, what it printed)."""
        start = self.seen
        self.console.sendall(command.encode() + b'\n')
        match = self.expect(r'^guest: done (\d+)$', seconds)
        return int(match.group(1)), self.text[start:match.start()].strip('\n')

    def check(self, command, seconds=None):
        code, output = self.run(command, seconds)
        if code:
            self._fail('%s: exit code %d: %s' % (command, code, output))
        return output

    def ctl(self, *arguments, check=True):
        limit = time.monotonic() + self.seconds
        while not os.path.exists(self.control) and self.process.poll() is None and time.monotonic() < limit:
            time.sleep(0.01)
        done = subprocess.run([PROGRAM, 'ctl', 'unix:' + self.control, *arguments], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, universal_newlines=True)
        if check and done.returncode:
            self._fail('ctl %s: %s' % (' '.join(arguments), done.stderr))
        if not check:
            return done.returncode, done.stdout, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else {}

    def wait(self, seconds=60):
        """Until the process ends by itself: its exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._fail('the guest did not end')
