#!/usr/bin/python3
"""droverd against its own OpenAPI document: over the unix socket, and over TLS with tokens of each role."""
import os
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from cluster import Namespace, Node  # noqa: E402

PORT = 7443


class Contract(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.namespace = Namespace('drover-o%d' % os.getpid())
        cls.addClassCleanup(cls.namespace.destroy)
        cls.node = Node('o%d' % os.getpid(), namespace=cls.namespace.name, listen='tcp:127.0.0.1:%d' % PORT)
        cls.addClassCleanup(cls.node.destroy)
        cls.node.init()
        cls.node.start()
        cls.node.do('pool', 'create', 'p', '--node', cls.node.name, '--path', cls.node.pool)
        cls.node.do('network', 'create', 'net', '--subnet', '10.7.0.0/24')
        cls.node.do('volume', 'create', 'v', '--size', '16M', '--pool', 'p', '--wait')
        for role in ('viewer', 'admin'):
            made = cls.node.do('token', 'create', role, '--role', role)
            with open(os.path.join(cls.node.folder, role), 'w') as f:
                f.write(made['token'])

    def check(self, *words):
        done = subprocess.run(self.node.inside(['/usr/bin/python3', os.path.join(HERE, 'contract.py')] + list(words)),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
        self.assertEqual(done.returncode, 0, done.stdout[-5000:])
        self.assertGreater(int(done.stdout.split()[-4]), 1000, 'hardly any checks: ' + done.stdout[-200:])

    def test_unix_socket(self):
        self.check('--unix', os.path.join(self.node.run, 'api.sock'))

    def pki(self, name):
        return os.path.join(self.node.state, 'tls', name)

    def curl(self, *words):
        done = subprocess.run(self.node.inside(['curl', '-s', '-w', '%{http_code}', '--cacert', self.pki('ca-cert.pem'), *words,
                                                'https://127.0.0.1:%d/v1/cluster' % PORT]), stdout=subprocess.PIPE,
                              universal_newlines=True)
        return done.stdout[-3:]

    def test_a_node_shows_its_certificate(self):
        self.assertEqual(self.curl(), '401')
        self.assertEqual(self.curl('--cert', self.pki('client-cert.pem'), '--key', self.pki('client-key.pem')), '200')

    def test_tls(self):
        self.check('--url', 'https://127.0.0.1:%d' % PORT, '--ca', self.pki('ca-cert.pem'), '--token-file',
                   os.path.join(self.node.folder, 'admin'), '--viewer-token-file', os.path.join(self.node.folder, 'viewer'))


if __name__ == '__main__':
    unittest.main()
