"""A drover-nbd of the test's own: started in a directory of its own, killed by pid, nothing left behind."""
import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

BUILD = os.environ.get('DROVER_BUILD', os.path.join(os.path.dirname(__file__), '../../build/debug'))
PROGRAM = os.path.join(BUILD, 'drover-nbd')


class Served:
    def __init__(self, *args, directory=None, env=None, listen=True):
        self.dir = directory or tempfile.mkdtemp(prefix='drover-test-')
        self.own_dir = directory is None
        self.sock = os.path.join(self.dir, 's.sock')
        self.log = os.path.join(self.dir, 'log')
        environment = dict(os.environ, ASAN_OPTIONS='detect_leaks=0:abort_on_error=1', **(env or {}))
        command = [PROGRAM] + (['--listen', 'unix:' + self.sock] if listen else []) + list(args)
        with open(self.log, 'ab') as log:
            self.process = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL,
                                            stdout=subprocess.PIPE, env=environment)
        deadline = time.monotonic() + 30
        while listen and b'listening on' not in self.text():
            if self.process.poll() is not None or time.monotonic() > deadline:
                text = self.text().decode()
                self.stop()
                raise AssertionError('drover-nbd did not start: ' + text)
            time.sleep(0.01)

    def text(self):
        with open(self.log, 'rb') as log:
            return log.read()

    def rss_bytes(self):
        with open('/proc/%d/status' % self.process.pid) as status:
            for line in status:
                if line.startswith('VmRSS'):
                    return int(line.split()[1]) * 1024
        return 0

    def uri(self, export='', scheme='nbd+unix', query=''):
        return '%s:///%s?socket=%s%s' % (scheme, export, self.sock, query)

    def stop(self):
        """Asks it to go and returns its exit status; 0 is a clean drain."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdout.close()
        text = self.text()
        if self.own_dir:
            shutil.rmtree(self.dir, ignore_errors=True)
        if b'Sanitizer' in text or b'runtime error' in text:
            raise AssertionError(text.decode(errors='replace'))
        return self.process.returncode


class ServedTest(unittest.TestCase):
    """One server per class; args() says which."""
    args = ()

    @classmethod
    def setUpClass(cls):
        cls.server = Served(*cls.args)

    @classmethod
    def tearDownClass(cls):
        status = cls.server.stop()
        assert status == 0, 'drover-nbd ended with %d' % status
