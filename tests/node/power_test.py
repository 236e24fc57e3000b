#!/usr/bin/python3
"""Whether a node has power, asked without asking the node (node/agent/power_watch.h): by a program, by IPMI (OpenIPMI's simulator of a
controller, and ipmitool), by Redfish. A node without power is taken over before its lease has run out; one that has it, or is only
said to have none, comes to no harm."""
import base64
import http.server
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import failover_test  # noqa: E402
from cluster import BUILD, until  # noqa: E402
from failover_test import Load  # noqa: E402

POWER = os.path.join(BUILD, 'drover-power')


class Lost(failover_test.Failover):
    @classmethod
    def prepare(cls):
        super().prepare()
        cls.folder = tempfile.mkdtemp(prefix='drover-power-')
        os.chmod(cls.folder, 0o755)  # programs are run as nobody
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.file = os.path.join(cls.folder, 'power.json')
        with open(cls.file, 'w') as f:
            json.dump({n.name: {'program': ['/bin/cat', cls.word_of(n)]} for n in cls.nodes}, f)
        for node in cls.nodes:
            cls.say(node, 'on')
            node.arguments = ['--power', cls.file]
            node.restart()

    @classmethod
    def word_of(cls, node):
        return os.path.join(cls.folder, node.name)

    @classmethod
    def say(cls, node, word):
        with open(cls.word_of(node) + '.new', 'w') as f:
            f.write('Chassis Power is %s\n' % word)
        os.rename(cls.word_of(node) + '.new', cls.word_of(node))

    def setUp(self):
        super().setUp()
        for node in self.nodes:
            self.say(node, 'on')

    def counts_as_lost(self, node):
        """How often somebody found it to be without power."""
        return self.said('node %s has no power, says its program: it counts as lost' % node.name)

    def said(self, words):
        """How often agents have said that."""
        count = 0
        for node in self.nodes:
            with open(node.log) as f:
                count += f.read().count(words)
        return count

    def begin(self, name, node):
        self.protect(name, node)
        load = Load(node, name)
        load.goes_on(20)
        return load

    def test_off(self):
        load = self.begin('dark', self.n2)
        before = self.counts_as_lost(self.n2)
        self.kill(self.n2)
        self.say(self.n2, 'off')
        heir = self.moves('dark', self.n2)
        self.assertEqual(self.counts_as_lost(self.n2), before + 1)
        self.verify('dark', heir, load)
        with open(os.path.join(self.n1.state, 'audit.log')) as a, open(os.path.join(self.n3.state, 'audit.log')) as b:
            self.assertIn('it has no power', a.read() + b.read())
        self.say(self.n2, 'on')
        self.all_are_back()
        self.assertEqual(self.processes('dark'), [heir])

    def test_on(self):
        """It is cut off, and has power: the lease decides, as without all this."""
        load = self.begin('lit', self.n2)
        before = self.counts_as_lost(self.n2)
        self.link(self.n2, 'down')
        heir = self.moves('lit', self.n2)
        self.assertEqual(self.counts_as_lost(self.n2), before)
        self.link(self.n2, 'up')
        self.all_are_back()
        until('only one is left', lambda: self.processes('lit') == [heir])
        self.verify('lit', heir, load)

    def test_wrong_off(self):
        """It is heard, so nobody believes it."""
        load = self.begin('well', self.n2)
        before = self.counts_as_lost(self.n2)
        self.say(self.n2, 'off')
        self.n1.restart()  # which asks once, to see whether it can
        line = until('it has asked', lambda: next((p for p in self.n1.do('ha', 'status')['power']
                                                   if p['node'] == self.n2.name and p['answer'] == 'off'), None))
        self.assertEqual((line['by'], 'is heard' in line['error']), ('program', True))
        load.goes_on(20)
        self.assertEqual(self.counts_as_lost(self.n2), before)
        self.assertEqual(self.runs_on('well'), self.n2)
        self.assertNotIn('failover', self.show('well'))
        load.end()

    def test_lie(self):
        """It is said to be off, nobody but the store hears it, and it runs: members refuse what it still writes, and it runs once."""
        load = self.begin('liar', self.n2)
        rules = 'tcp dport 2379 accept; tcp sport 2379 accept; meta l4proto tcp drop;'
        done = self.space(self.n2).run('nft', 'table inet cut { chain i { type filter hook input priority 0; iifname up0 jump r; }; '
                                       'chain o { type filter hook output priority 0; oifname up0 jump r; }; chain r { %s }; }' % rules)
        self.assertEqual(done.returncode, 0)
        self.say(self.n2, 'off')
        heir = self.moves('liar', self.n2)
        until('n2 sees it', lambda: self.said("this node's state has gone from the store"))
        until('it is not believed any more', lambda: self.said('node %s was said to be off by its program, and runs' % self.n2.name))
        self.space(self.n2).run('nft', 'delete', 'table', 'inet', 'cut')
        until('only one is left', lambda: self.processes('liar') == [heir])
        self.say(self.n2, 'on')
        self.all_are_back()
        self.verify('liar', heir, load)

    def test_no_answer(self):
        """Nobody waits for one, and that there is none is told."""
        os.unlink(self.word_of(self.n2))
        self.n1.restart()
        line = until('it says so', lambda: next((p for p in self.n1.do('ha', 'status')['power']
                                                 if p['node'] == self.n2.name and p['error']), None))
        self.assertIn('No such file', line['error'])
        load = self.begin('mute', self.n2)
        self.kill(self.n2)
        heir = self.moves('mute', self.n2)
        self.verify('mute', heir, load)
        self.say(self.n2, 'on')
        self.all_are_back()


class Drills(failover_test.Drills, Lost):
    """By hand (DROVER_DRILLS): how long it takes if the power is what was lost."""
    def kill(self, node):
        super().kill(node)
        self.say(node, 'off')

    def all_are_back(self):
        for node in self.nodes:
            self.say(node, 'on')
        super().all_are_back()


class Controller(http.server.BaseHTTPRequestHandler):
    """A management controller as DSP0266 has it: one system, basic authentication."""
    state = 'On'

    def do_GET(self):
        wanted = 'Basic ' + base64.b64encode(b'drover:secret').decode()
        status = 404 if self.path != '/redfish/v1/Systems/1' else 200 if self.headers['Authorization'] == wanted else 401
        body = json.dumps({'@odata.type': '#ComputerSystem.v1_20_0.ComputerSystem', 'PowerState': self.state}
                          if status == 200 and self.state else {}).encode()
        self.send_response(status)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


class Asked(unittest.TestCase):
    """drover-power by itself."""
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix='drover-power-')
        self.addCleanup(shutil.rmtree, self.folder)
        self.write('password', 'secret\n')

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text, mode=0o600):
        with open(self.path(name), 'w') as f:
            f.write(text)
        os.chmod(self.path(name), mode)

    def power(self, way, node='n2'):
        self.write('power.json', json.dumps({'n2': way}))
        done = subprocess.run([POWER, '--file', self.path('power.json'), node], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              stdin=subprocess.DEVNULL, universal_newlines=True)
        return done.returncode, (done.stdout or done.stderr).strip()

    def controller(self):
        subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj',
                        '/CN=controller', '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', self.path('key'), '-out',
                        self.path('ca')], check=True, stderr=subprocess.DEVNULL)
        os.chmod(self.path('ca'), 0o600)
        server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Controller)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path('ca'), self.path('key'))
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return {'redfish': 'https://127.0.0.1:%d/redfish/v1/Systems/1' % server.server_port, 'user': 'drover',
                'password_file': self.path('password'), 'ca': self.path('ca')}

    def test_redfish(self):
        way = self.controller()
        for state, word in (('On', 'on'), ('Off', 'off'), ('PoweringOff', 'on'), ('PoweringOn', 'on')):
            Controller.state = state
            self.assertEqual(self.power(way), (0, word))
        Controller.state = None
        code, text = self.power(way)
        self.assertEqual(code, 1)
        self.assertIn('no PowerState', text)
        code, text = self.power(dict(way, redfish=way['redfish'] + '0'))
        self.assertEqual((code, '404' in text), (1, True), text)
        self.write('password', 'wrong')
        code, text = self.power(way)
        self.assertEqual((code, "user 'drover' and its password are refused" in text), (1, True), text)
        del way['ca']  # who made its certificate is not known
        code, text = self.power(way)
        self.assertEqual((code, 'certificate' in text), (1, True), text)

    def test_ipmi(self):
        port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        port.bind(('127.0.0.1', 0))
        number = port.getsockname()[1]
        port.close()
        os.mkdir(self.path('state'))
        self.write('chassis', '#!/bin/sh\ncase "$*" in *get*power*) echo "power:$(cat %s)";; esac\n' % self.path('word'), 0o700)
        self.write('emulated', 'mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02\nmc_enable 0x20\n')
        self.write('lan', 'name "n2"\nset_working_mc 0x20\nstartlan 1\naddr 127.0.0.1 %d\npriv_limit admin\n'
                   'allowed_auths_admin none md2 md5 straight\nguid a123456789abcdefa123456789abcdef\nendlan\nchassis_control "%s"\n'
                   'user 2 true "drover" "secret" admin 10 none md2 md5 straight\n' % (number, self.path('chassis')))
        self.write('word', '1')
        simulator = subprocess.Popen(['ipmi_sim', '-c', self.path('lan'), '-f', self.path('emulated'), '-s', self.path('state'), '-n'],
                                     stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(simulator.wait)
        self.addCleanup(simulator.send_signal, signal.SIGKILL)
        way = {'program': ['/usr/bin/ipmitool', '-I', 'lanplus', '-C', '3', '-H', '127.0.0.1', '-p', str(number), '-U', 'drover', '-f',
                           '/dev/fd/3', 'chassis', 'power', 'status'], 'password_file': self.path('password')}
        until('the controller answers', lambda: self.power(way) == (0, 'Chassis Power is on'))
        self.write('word', '0')
        self.assertEqual(self.power(way), (0, 'Chassis Power is off'))

    def test_mistakes(self):
        way = {'program': ['/bin/echo', 'on']}
        self.assertEqual(self.power(way), (0, 'on'))
        code, text = self.power(way, 'n9')
        self.assertEqual((code, "says nothing of 'n9'" in text), (1, True), text)
        self.assertEqual(self.power({'program': ['/usr/bin/id', '-un']}), (0, 'nobody'))
        self.assertEqual(self.power({'program': ['/bin/cat', '/dev/fd/3'], 'password_file': self.path('password')}), (0, 'secret'))
        self.assertEqual(self.power({'program': ['/bin/ls', '/proc/self/fd']})[1].split(), ['0', '1', '2', '3'])  # its own folder
        code, text = self.power({'program': ['/nowhere/at/all']})
        self.assertEqual((code, '/nowhere/at/all: No such file' in text), (1, True), text)
        code, text = self.power({'redfish': 'https://127.0.0.1:1', 'user': 'u', 'password_file': self.path('none')})
        self.assertEqual((code, 'none: No such file' in text), (1, True), text)
        self.write('open', '{}', 0o666)
        done = subprocess.run([POWER, '--file', self.path('open'), 'n2'], stderr=subprocess.PIPE, universal_newlines=True)
        self.assertEqual((done.returncode, 'chmod 600' in done.stderr), (1, True))


def load_tests(loader, tests, pattern):
    if os.environ.get('DROVER_DRILLS'):
        return unittest.TestSuite([Drills('test_drills')])
    own = [n for n in loader.getTestCaseNames(Lost) if n in Lost.__dict__]
    return unittest.TestSuite([Lost(n) for n in own] + [loader.loadTestsFromTestCase(Asked)])


if __name__ == '__main__':
    unittest.main(verbosity=2)
