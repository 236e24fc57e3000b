#!/usr/bin/python3
"""droverd on one node, from outside: guests, volumes, images and networks from a description to running and back; mistakes;
the agent killed, the guests not."""
import gzip
import hashlib
import json
import os
import random
import re
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from cluster import DROVER, Etcd, Namespace, Node, seeded_guest_files, sha256, until  # noqa: E402

SLOW_SERVER = '''
import socket, sys
s = socket.create_server(('127.0.0.1', 0))
print(s.getsockname()[1], flush=True)
c, _ = s.accept()
c.recv(65536)
c.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 1048576\\r\\n\\r\\n' + bytes(range(256)) * 512)
sys.stdin.read()
'''


class Agent(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.namespace = Namespace('drover-a%d' % os.getpid())
        cls.addClassCleanup(cls.namespace.destroy)
        cls.node = Node('a%d' % os.getpid(), namespace=cls.namespace.name, log_form='json')
        cls.addClassCleanup(cls.node.destroy)
        cls.node.init()
        cls.node.start()
        cls.kernel, cls.ramdisk = seeded_guest_files(cls.node.folder)
        do = cls.node.do
        do('pool', 'create', 'p', '--node', cls.node.name, '--path', cls.node.pool)
        do('image', 'import', 'kernel', '--pool', 'p', '--source', cls.kernel, '--wait')
        do('image', 'import', 'ramdisk', '--pool', 'p', '--source', cls.ramdisk, '--wait')
        # the import unpacks gzip; the kernel takes a plain RAM disk as well
        do('network', 'create', 'net', '--subnet', '10.7.0.0/24', '--gateway', '10.7.0.1', '--nat')

    def setUp(self):
        self.do, self.cli = self.node.do, self.node.cli

    def guest(self, name, *more):
        self.do('volume', 'create', name, '--size', '16M', '--pool', 'p', '--wait')
        self.addCleanup(self.remove, name)
        return self.do('guest', 'create', name, '--memory', '192M', '--disk', name, '--network', 'net', '--kernel', 'kernel',
                       '--initrd', 'ramdisk', '--cmdline', 'console=ttyS0 quiet panic=-1', *more)

    def remove(self, name):
        self.cli('guest', 'delete', name, '--wait')
        self.cli('volume', 'delete', name, '--wait')

    def answers(self, address):
        return self.namespace.pings(address)

    def refuses(self, *words, code=1):
        done = self.cli(*words)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stderr

    def test_guest_life(self):
        guest = self.guest('web', '--start', '--wait')
        address = guest['spec']['networks'][0]['address']
        self.assertEqual(address, '10.7.0.2')
        until('the guest answers', lambda: self.answers(address))
        pid = guest['state']['pid']

        # the agent is killed, replaced, and the guest does not notice
        self.node.restart(signal.SIGKILL)
        self.assertEqual(self.node.restart(), 0)
        again = until('it is adopted', lambda: (lambda g: g['state']['phase'] == 'running' and g)(self.do('guest', 'show', 'web')))
        self.assertEqual(again['state']['pid'], pid)
        until('the guest answers still', lambda: self.answers(address))

        # its process dies: another one takes its place, and says why
        os.kill(pid, signal.SIGKILL)
        after = until('it is started again', lambda: (lambda g: g['state']['restarts']['count'] == 1 and g['state']['phase'] == 'running' and g)(
            self.do('guest', 'show', 'web')))
        self.assertNotEqual(after['state']['pid'], pid)
        self.assertIn('ended while nobody watched', self.node.log_text()) # the agent that started it is gone
        until('the new one answers', lambda: self.answers(address))

        stopped = self.do('guest', 'stop', 'web', '--force', '--wait')
        self.assertEqual(stopped['state']['phase'], 'stopped')
        self.assertFalse(os.path.exists('/proc/%d' % after['state']['pid']))
        self.assertIn('guest web does not run: it is stopped', self.refuses('guest', 'console', 'web'))
        self.assertIn('belongs to guest web', self.refuses(
            'guest', 'create', 'thief', '--disk', 'web', '--kernel', 'kernel'))
        self.assertIn('is used by guest web', self.refuses('volume', 'delete', 'web'))
        self.assertIn('is used by guest web', self.refuses('network', 'delete', 'net'))
        self.cli('guest', 'delete', 'web', '--wait')
        self.assertEqual([g['name'] for g in self.do('guest', 'list')], [])
        self.assertNotIn('drt', self.namespace.run('ip', '-br', 'link', stdout=subprocess.PIPE, universal_newlines=True).stdout)

    def test_off(self):
        """One that switches itself off stays off until somebody starts it."""
        address = self.guest('tired', '--start', '--wait')['spec']['networks'][0]['address']
        until('the guest answers', lambda: self.answers(address))
        console = self.node.open_console('tired')
        console.stdin.write(b'poweroff -f\n')
        guest = until('it is off', lambda: (lambda g: not g['spec']['running'] and g['state']['phase'] == 'stopped' and g)(
            self.do('guest', 'show', 'tired')))
        self.node.close_console(console)
        self.assertEqual(guest['state']['restarts']['count'], 0)
        self.assertEqual(self.do('guest', 'start', 'tired', '--wait')['state']['phase'], 'running')

    def test_taken_over(self):
        """One that runs is taken over by an agent that could not start it: its volume's pool is not there."""
        path = os.path.join(self.node.folder, 'mounted')
        os.mkdir(path)
        self.do('pool', 'create', 'q', '--node', self.node.name, '--path', path)
        self.addCleanup(self.cli, 'pool', 'delete', 'q')
        self.do('volume', 'create', 'held', '--size', '16M', '--pool', 'q', '--wait')
        self.addCleanup(self.remove, 'held')
        guest = self.do('guest', 'create', 'held', '--memory', '192M', '--disk', 'held', '--network', 'net', '--kernel', 'kernel',
                        '--initrd', 'ramdisk', '--cmdline', 'console=ttyS0 quiet panic=-1', '--start', '--wait')
        until('the guest answers', lambda: self.answers(guest['spec']['networks'][0]['address']))
        self.node.end()
        os.rename(path, path + '.away')
        self.addCleanup(lambda: os.path.exists(path) or os.rename(path + '.away', path))
        self.node.start()
        until('it says what it would wait for', lambda: 'volume held' in self.do('guest', 'show', 'held')['state']['reason'])
        self.node.restart()  # this one knows from the beginning that there is no volume
        self.node.console('held', 'true')
        found = self.do('guest', 'show', 'held')['state']
        self.assertEqual((found['phase'], found['pid']), ('running', guest['state']['pid']))
        self.assertIn('volume held', found['reason'])
        until('it answers still', lambda: self.answers(guest['spec']['networks'][0]['address']))
        os.rename(path + '.away', path)
        until('it waits for nothing', lambda: self.do('guest', 'show', 'held')['state']['reason'] == '')
        self.assertEqual(self.do('guest', 'show', 'held')['state']['pid'], guest['state']['pid'])
        until('it answers still', lambda: self.answers(guest['spec']['networks'][0]['address']))

    def test_a_network_that_fails_is_tried_again(self):
        self.guest('wired', '--start', '--wait')

        def ip(*words):
            return self.namespace.run('ip', *words, stdout=subprocess.PIPE, universal_newlines=True, check=True).stdout
        network = self.do('network', 'show', 'net')['id']
        bridge, alias = next((d['ifname'], d['ifalias']) for d in json.loads(ip('-j', 'link'))
                             if d['ifname'].startswith('drb') and network in d.get('ifalias', ''))
        ip('link', 'set', bridge, 'alias', 'a stranger')
        ip('address', 'delete', '10.7.0.1/24', 'dev', bridge)
        self.do('network', 'create', 'other', '--subnet', '10.8.0.0/24')  # so that all are looked at
        self.addCleanup(self.cli, 'network', 'delete', 'other')
        until('it fails', lambda: 'networks: device %s' % bridge in self.node.log_text())
        ip('link', 'set', bridge, 'alias', alias)
        until('it is tried again', lambda: '10.7.0.1/24' in ip('address', 'show', bridge))

    def test_mistakes(self):
        self.assertIn("spec.size: '20X'", self.refuses('volume', 'create', 'v', '--size', '20X', '--pool', 'p'))
        self.assertIn("there is no pool 'q'", self.refuses('volume', 'create', 'v', '--size', '20M', '--pool', 'q'))
        self.assertIn('spec.memory', self.refuses('guest', 'create', 'g', '--memory', '33M', '--kernel', 'kernel'))
        self.assertIn('a guest boots from its first disk', self.refuses('guest', 'create', 'g'))
        self.assertIn('name', self.refuses('network', 'create', 'Net!', '--subnet', '10.8.0.0/24'))
        self.assertIn('subnet', self.refuses('network', 'create', 'n2', '--subnet', '10.8.0.1/24'))
        self.assertIn('network net has 10.7.0.0/24', self.refuses('network', 'create', 'n2', '--subnet', '10.7.0.0/16', '--nat'))
        self.assertIn('already', self.refuses('network', 'create', 'net', '--subnet', '10.9.0.0/24'))
        self.assertIn('no verb', self.refuses('guest', 'dance', code=2))
        self.assertIn("there is no guest 'none'", self.refuses('guest', 'show', 'none', code=4))
        self.assertIn('POOL is missing', self.refuses('pool', 'show', code=2))
        self.assertEqual(self.do('volume', 'list'), [])

    def test_dry_run(self):
        would = self.do('guest', 'create', 'dry', '--kernel', 'kernel', '--network', 'net', '--dry-run')
        self.assertTrue(would['spec']['networks'][0]['address'].startswith('10.7.0.'))
        self.assertIn("there is no guest 'dry'", self.refuses('guest', 'show', 'dry', code=4))

    def test_image_sum(self):
        source = os.path.join(self.node.folder, 'source.gz')
        data = random.Random(1).randbytes(100000) + bytes(1 << 20) + b'end'
        with open(source, 'wb') as f:
            f.write(gzip.compress(data))
        with open(source, 'rb') as f:
            right = hashlib.sha256(f.read()).hexdigest()
        self.do('image', 'import', 'good', '--pool', 'p', '--source', source, '--sha256', right, '--wait')
        self.addCleanup(self.cli, 'image', 'delete', 'good', '--wait')
        state = self.do('image', 'show', 'good')['state']
        with open(state['path'], 'rb') as f:
            self.assertEqual(f.read(), data)
        self.assertEqual(state['content_sha256'], hashlib.sha256(data).hexdigest())
        self.assertEqual(self.do('image', 'show', 'kernel')['state']['content_sha256'], sha256(self.kernel))
        self.addCleanup(self.cli, 'image', 'delete', 'bad', '--wait')
        self.assertIn('was wanted', self.refuses('image', 'import', 'bad', '--pool', 'p', '--source', source, '--sha256', '0' * 64,
                                                 '--wait'))
        # and a volume begins as the image
        self.do('volume', 'create', 'copy', '--pool', 'p', '--size', '4M', '--image', 'good', '--wait')
        self.addCleanup(self.cli, 'volume', 'delete', 'copy', '--wait')
        with open(self.do('volume', 'show', 'copy')['state']['path'], 'rb') as f:
            self.assertEqual(f.read(), data + bytes((4 << 20) - len(data)))
        grown = self.do('volume', 'resize', 'copy', '--size', '8M')
        self.assertEqual(grown['spec']['size'], 8 << 20)
        until('it has grown', lambda: self.do('volume', 'show', 'copy')['state']['bytes'] == 8 << 20)
        self.assertIn('only grows', self.refuses('volume', 'resize', 'copy', '--size', '4M'))

    def test_log(self):
        """Each line is an object, those of the programs that the agent starts as well."""
        self.guest('lost', '--start', '--restart', 'never')
        path = os.path.join(self.node.run, 'guests', self.do('guest', 'show', 'lost')['id'] + '.log')
        until('the guest has a log', lambda: os.path.exists(path) and os.path.getsize(path))
        with open(path) as f:
            said = f.read()
        for text in (said, self.node.log_text()):
            lines = [json.loads(line) for line in text.splitlines() if line.startswith('{')]
            self.assertGreater(len(lines), 0)
            for line in lines:
                self.assertEqual(sorted(line), ['level', 'program', 'text', 'time'])

    def test_tasks(self):
        made = self.do('volume', 'create', 'tasked', '--size', '16M', '--pool', 'p')
        self.addCleanup(self.cli, 'volume', 'delete', 'tasked', '--wait')
        self.assertEqual(self.cli('task', 'wait', made['task']).returncode, 0)
        task = self.do('task', 'show', made['task'])
        self.assertEqual((task['spec']['verb'], task['spec']['object'], task['spec']['node'], task['state']['phase']),
                         ('create', 'tasked', self.node.name, 'done'))
        self.assertEqual(task['state']['log'][-1]['text'], 'ready')
        self.assertIn('the task has ended', self.refuses('task', 'cancel', made['task']))
        self.assertIn("there is no task 'none'", self.refuses('task', 'wait', 'none', code=4))
        self.assertIn(made['task'], [t['name'] for t in self.do('task', 'list')])
        larger = self.do('volume', 'resize', 'tasked', '--size', '32M')
        self.assertEqual(self.cli('task', 'wait', larger['task']).returncode, 0)
        self.assertEqual(self.do('volume', 'show', 'tasked')['state']['bytes'], 32 << 20)

    def test_task_fails(self):
        self.addCleanup(self.cli, 'image', 'delete', 'none', '--wait')
        self.assertIn('/nowhere cannot be read', self.refuses('image', 'import', 'none', '--pool', 'p', '--source', '/nowhere',
                                                             '--wait'))
        self.addCleanup(self.cli, 'image', 'delete', 'device', '--wait')
        self.assertIn('neither a file nor a block device', self.refuses(
            'image', 'import', 'device', '--pool', 'p', '--source', '/dev/null', '--wait'))

    def test_task_cancelled(self):
        """An import whose server never comes to an end: what there is of it goes again."""
        server = subprocess.Popen(self.node.inside(['/usr/bin/python3', '-c', SLOW_SERVER]), stdout=subprocess.PIPE,
                                  stdin=subprocess.PIPE, universal_newlines=True)
        self.addCleanup(lambda: (server.kill(), server.wait(), server.stdout.close(), server.stdin.close()))
        port = int(server.stdout.readline())
        made = self.do('image', 'import', 'endless', '--pool', 'p', '--source', 'http://127.0.0.1:%d/' % port)
        done = until('some of it is there', lambda: self.do('task', 'show', made['task'])['state'].get('done_bytes'))
        self.assertGreaterEqual(done, 65536)
        self.assertIn('still under way', self.refuses('task', 'wait', made['task'], '--timeout', '1', code=5))
        self.assertTrue(self.do('task', 'cancel', made['task'])['cancel'])
        self.assertIn('cancelled', self.refuses('task', 'wait', made['task']))
        self.assertIn("there is no image 'endless'", self.refuses('image', 'show', 'endless', code=4))
        self.assertEqual([n for n in os.listdir(self.node.pool) if made['id'] in n], [])

    def test_tokens(self):
        made = self.do('token', 'create', 'alice', '--role', 'viewer')
        self.assertTrue(made['token'].startswith('drover_'))
        self.assertNotIn(made['token'], json.dumps(self.do('token', 'list')))
        with open(os.path.join(self.node.state, 'audit.log')) as f:
            self.assertNotIn(made['token'], f.read())
        self.cli('token', 'revoke', 'alice')
        self.assertEqual(self.do('token', 'list'), [])

    def test_metrics(self):
        """As Prometheus reads them, and as its own tool judges them."""
        self.guest('seen', '--start', '--wait')
        done = subprocess.run(['curl', '-sS', '--unix-socket', os.path.join(self.node.run, 'api.sock'), 'http://drover/metrics'],
                              stdout=subprocess.PIPE, check=True)
        self.assertIn(b'drover_guest_running{guest="seen"} 1', done.stdout)
        self.assertRegex(done.stdout, rb'drover_guest_cpu_seconds_total{guest="seen"} [0-9.]*[1-9]')
        until_node = re.search(rb'drover_certificate_not_after_timestamp_seconds{of="node"} (\d+)', done.stdout)
        self.assertGreater(int(until_node.group(1)), time.time() + 800 * 86400)
        if os.path.exists('/proc/pressure/cpu'):
            self.assertRegex(done.stdout, rb'drover_node_pressure_ratio{resource="cpu",tasks="some"} [0-9.]+')
        judged = subprocess.run(['promtool', 'check', 'metrics'], input=done.stdout, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT)
        self.assertEqual((judged.returncode, judged.stdout), (0, b''))

    def test_events(self):
        env = dict(os.environ, DROVER_API='unix:' + os.path.join(self.node.run, 'api.sock'))
        with subprocess.Popen([DROVER, 'event', 'follow'], stdout=subprocess.PIPE, env=env, bufsize=0) as follower:
            def heard():
                """Who begins to follow in the middle may hear of the task of one volume before he hears of another."""
                self.assertEqual(self.cli('volume', 'create', 'told', '--size', '1M', '--pool', 'p', '--wait').returncode, 0)
                self.assertEqual(self.cli('volume', 'delete', 'told', '--wait').returncode, 0)
                while select.select([follower.stdout], [], [], 0.5)[0]:
                    event = json.loads(follower.stdout.readline())
                    if event['kind'] != 'task':
                        return event
            try:
                event = until('somebody follows', heard)
            finally:
                follower.kill()
        self.assertEqual((event['kind'], event['name']), ('volume', 'told'))

    def test_completion(self):
        """The script is one that a shell takes, and it completes."""
        script = subprocess.run([DROVER, 'completion', 'bash'], stdout=subprocess.PIPE, check=True, universal_newlines=True).stdout
        words = 'COMP_WORDS=(drover guest sta); COMP_CWORD=2; _drover; echo "${COMPREPLY[@]}"'
        done = subprocess.run(['bash', '-c', script + words], stdout=subprocess.PIPE, check=True, universal_newlines=True)
        self.assertEqual(done.stdout.split(), ['start'])

    def test_encrypted(self):
        """What the guest writes is nowhere to be read but by the guest, and with the key."""
        self.do('volume', 'create', 'secret', '--size', '16M', '--pool', 'p', '--encrypt', '--wait')
        self.addCleanup(self.remove, 'secret')
        guest = self.do('guest', 'create', 'secret', '--memory', '192M', '--disk', 'secret', '--network', 'net', '--kernel', 'kernel',
                        '--initrd', 'ramdisk', '--cmdline', 'console=ttyS0 quiet panic=-1', '--start', '--wait')
        until('the guest answers', lambda: self.answers(guest['spec']['networks'][0]['address']))
        text = 'a word that stands in no program, twice'
        self.node.console('secret', 'for i in 1 2 3 4 5 6 7 8; do echo %s; done | dd of=/dev/vda bs=512 conv=fsync' % text)
        shown = self.do('volume', 'show', 'secret')
        self.assertEqual(shown['state']['bytes'], 16 << 20)
        self.assertNotIn('key', shown)
        path = shown['state']['path']
        with open(path, 'rb') as f:
            data = f.read()
        self.assertEqual((data[:6], len(data)), (b'LUKS\xba\xbe', 32 << 20))
        self.assertNotIn(text.encode(), data)

        # the key: for an admin, and nowhere in clear
        key = self.do('volume', 'key', 'secret')['passphrase']
        pid = self.do('guest', 'show', 'secret')['state']['pid']
        with open('/proc/%d/cmdline' % pid, 'rb') as f:
            self.assertNotIn(key.encode(), f.read())
        for folder in (self.node.state, self.node.run):
            self.assertEqual(subprocess.run(['grep', '-rqs', '--devices=skip', key, folder]).returncode, 1)
        self.assertNotIn(key, self.node.log_text())
        self.do('guest', 'stop', 'secret', '--force', '--wait')
        key_file = os.path.join(self.node.folder, 'secret.key')
        with open(key_file, 'w') as f:
            f.write(key)
        self.assertEqual(subprocess.run(['cryptsetup', 'open', '--test-passphrase', '--key-file', key_file, path]).returncode, 0)
        stack = json.dumps([{'driver': 'luks', 'key': {'file': key_file}}, {'driver': 'raw', 'file': path}])
        plain = os.path.join(self.node.folder, 'plain')
        subprocess.run([os.path.join(os.path.dirname(DROVER), 'drover-img'), 'copy', '--progress=never', stack, plain], check=True)
        with open(plain, 'rb') as f:
            self.assertEqual(f.read(1024).split(b'\n')[0], text.encode())

        # it grows, and begins as an image
        self.do('volume', 'resize', 'secret', '--size', '24M', '--wait')
        self.assertEqual(os.path.getsize(path), 40 << 20)
        self.assertIn('is not encrypted', self.refuses('volume', 'key', self.do('volume', 'create', 'open', '--size', '1M', '--pool',
                                                                                  'p', '--wait')['name']))
        self.addCleanup(self.cli, 'volume', 'delete', 'open', '--wait')

    def test_encrypted_from_image(self):
        """Holes and all: what no part of the image covers reads as zeroes, and not as noise."""
        source = os.path.join(self.node.folder, 'holes')
        data = random.Random(2).randbytes(1 << 20)
        with open(source, 'wb') as f:
            f.write(data)
            f.seek(7 << 20)
            f.write(data)
            f.truncate(9 << 20)
        self.do('image', 'import', 'holes', '--pool', 'p', '--source', source, '--wait')
        self.addCleanup(self.cli, 'image', 'delete', 'holes', '--wait')
        self.do('volume', 'create', 'copied', '--size', '12M', '--pool', 'p', '--image', 'holes', '--encrypt', '--wait')
        self.addCleanup(self.cli, 'volume', 'delete', 'copied', '--wait')
        key_file = os.path.join(self.node.folder, 'copied.key')
        with open(key_file, 'w') as f:
            f.write(self.do('volume', 'key', 'copied')['passphrase'])
        path = self.do('volume', 'show', 'copied')['state']['path']
        stack = json.dumps([{'driver': 'luks', 'key': {'file': key_file}}, {'driver': 'raw', 'file': path}])
        plain = os.path.join(self.node.folder, 'copied.plain')
        subprocess.run([os.path.join(os.path.dirname(DROVER), 'drover-img'), 'copy', '--progress=never', stack, plain], check=True)
        with open(plain, 'rb') as f, open(source, 'rb') as g:
            self.assertTrue(f.read(9 << 20) == g.read())
        with open(path, 'rb') as f:
            self.assertNotIn(data[4096:4608], f.read())

    def test_manual(self):
        """A page that roff takes without a word, with every command in it."""
        page = subprocess.run([DROVER, 'manual'], stdout=subprocess.PIPE, check=True).stdout
        done = subprocess.run(['groff', '-man', '-ww', '-z'], input=page, stderr=subprocess.PIPE)
        self.assertEqual((done.returncode, done.stderr), (0, b''))
        self.assertIn(b'.SS drover guest create GUEST\n', page)
        self.assertIn(b'.SS drover top\n', page)

    def test_audit(self):
        self.cli('network', 'create', 'audited', '--subnet', '10.99.0.0/24', '--reason', 'a test')
        self.cli('network', 'delete', 'audited')
        path = os.path.join(self.node.state, 'audit.log')
        done = self.cli('audit', 'verify', path)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r'^\d+ lines in 1 files, numbers 1 to \d+, 0 torn')
        with open(path) as f:
            lines = f.readlines()
        copy = os.path.join(self.node.folder, 'audit.copy')
        with open(copy, 'w') as f:
            f.writelines(lines[:2] + lines[3:])
        self.assertIn('lines are missing', self.refuses('audit', 'verify', copy))

    def test_top(self):
        self.guest('busy', '--start', '--wait')
        seen = self.do('top')
        self.assertEqual([n['name'] for n in seen['nodes']], [self.node.name])
        busy = [g for g in seen['guests'] if g['guest'] == 'busy'][0]
        self.assertEqual((busy['node'], busy['phase']), (self.node.name, 'running'))
        self.assertGreater(busy['memory_bytes'], 0)
        text = self.cli('top').stdout
        self.assertRegex(text, r'NODE +ALIVE')
        self.assertRegex(text, r'busy +running +\d+')

    def test_killed_at_random(self):
        """Whatever moment the agent dies at, afterwards all is as it was wanted."""
        seed = random.randrange(1 << 30)
        print('seed', seed, flush=True)
        chance = random.Random(seed)
        for i in range(6):
            name = 'k%d' % i
            self.cli('volume', 'create', name, '--size', '16M', '--pool', 'p')
            self.cli('guest', 'create', name, '--memory', '192M', '--disk', name, '--network', 'net', '--kernel', 'kernel',
                     '--initrd', 'ramdisk', '--cmdline', 'console=ttyS0 quiet', '--start')
            until('a moment', lambda: chance.random() < 0.3)
            self.node.restart(signal.SIGKILL)
        names = ['k%d' % i for i in range(6)]
        for name in names:
            until('%s runs' % name, lambda: self.do('guest', 'show', name)['state'].get('phase') == 'running')
        pids = [self.do('guest', 'show', name)['state']['pid'] for name in names]
        self.assertEqual(len(set(pids)), len(names))
        for name in names:
            self.cli('guest', 'delete', name)
        until('a moment', lambda: chance.random() < 0.3)
        self.node.restart(signal.SIGKILL)
        until('all are gone', lambda: self.do('guest', 'list') == [])
        for name in names:
            self.assertEqual(self.cli('volume', 'delete', name, '--wait').returncode, 0)
        self.assertEqual([f for f in os.listdir(self.node.pool) if 'volume' in f], [])
        self.assertEqual([p for p in self.node.pids() if p != self.node.process.pid], [])


class Service(unittest.TestCase):
    def test_service_manager(self):
        """It is told when droverd is ready, and from then on that it lives."""
        node = Node('s%d' % os.getpid())
        self.addCleanup(node.destroy)
        node.init()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(os.path.join(node.folder, 'notify'))
            manager.settimeout(60)
            told = {'NOTIFY_SOCKET': manager.getsockname(), 'WATCHDOG_USEC': '400000'}
            os.environ.update(told)
            try:
                node.start()
            finally:
                for name in told:
                    del os.environ[name]
            self.assertEqual([manager.recv(100) for _ in range(4)], [b'READY=1'] + 3 * [b'WATCHDOG=1'])


class Move(unittest.TestCase):
    """A single node's store moves from SQLite to etcd; its guest does not notice."""
    def test_move(self):
        namespace = Namespace('drover-m%d' % os.getpid())
        self.addCleanup(namespace.destroy)
        node = Node('m%d' % os.getpid(), namespace=namespace.name)
        self.addCleanup(node.destroy)
        node.init()
        node.start()
        kernel, ramdisk = seeded_guest_files(node.folder)
        node.do('pool', 'create', 'p', '--node', node.name, '--path', node.pool)
        node.do('image', 'import', 'kernel', '--pool', 'p', '--source', kernel, '--wait')
        node.do('image', 'import', 'ramdisk', '--pool', 'p', '--source', ramdisk, '--wait')
        guest = node.do('guest', 'create', 'g', '--memory', '192M', '--kernel', 'kernel', '--initrd', 'ramdisk', '--start', '--wait')
        etcd = Etcd(node)
        self.addCleanup(etcd.destroy)
        etcd.start()
        move = node.inside([DROVER, 'cluster', 'store', 'etcd:https://127.0.0.1:2379', '--state', node.state])
        busy = subprocess.run(move, stderr=subprocess.PIPE, universal_newlines=True)
        self.assertNotEqual(busy.returncode, 0)
        self.assertRegex(busy.stderr, 'another process|locked|in use')
        self.assertEqual(node.end(), 0)
        store = sqlite3.connect(os.path.join(node.state, 'store.db'))  # as an agent left it that knew of no sums
        with store:
            store.execute("UPDATE item SET value = CAST(json_remove(CAST(value AS TEXT), '$.content_sha256') AS BLOB) "
                          "WHERE key LIKE '/drover/state/image/%'")
        store.close()
        until('it is moved', lambda: subprocess.run(move, stderr=subprocess.DEVNULL).returncode == 0)
        node.start()
        self.assertEqual(node.do('cluster', 'status')['store'], 'etcd')
        until('the guest is adopted', lambda: node.do('guest', 'show', 'g')['state'].get('phase') == 'running')
        self.assertEqual(node.do('guest', 'show', 'g')['state']['pid'], guest['state']['pid'])
        self.assertEqual(sorted(i['name'] for i in node.do('image', 'list')), ['kernel', 'ramdisk'])
        for state in [i['state'] for i in node.do('image', 'list')]:
            until('its sum is known', lambda: sha256(state['path']) in [i['state'].get('content_sha256') for i in node.do('image', 'list')])
        self.assertEqual(node.cli('guest', 'delete', 'g', '--wait').returncode, 0)


if __name__ == '__main__':
    unittest.main(verbosity=2)
