#!/usr/bin/python3
"""TLS of the server, with GnuTLS (libnbd, qemu) and OpenSSL as clients: who gets in, who does not, and what is said."""
import hashlib
import os
import shutil
import ssl
import subprocess
import tempfile
import unittest

import nbd

from nbd_wire import *
from served import Served, ServedTest

PKI = None


def run(*command, **kw):
    return subprocess.run(command, capture_output=True, timeout=60, text=True, **kw)


def must(*command, **kw):
    p = run(*command, **kw)
    assert p.returncode == 0, (command, p.stdout, p.stderr)
    return p.stdout


def certificate(directory, name, subject, ca, extra=()):
    key, request = os.path.join(directory, name + '-key.pem'), os.path.join(directory, name + '.csr')
    must('openssl', 'req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key,
         '-out', request, '-subj', '/CN=' + subject, *extra)
    os.chmod(key, 0o600)
    must('openssl', 'x509', '-req', '-in', request, '-CA', ca + '-cert.pem', '-CAkey', ca + '-key.pem',
         '-CAcreateserial', '-days', '30', '-copy_extensions', 'copy', '-out',
         os.path.join(directory, name + '-cert.pem'))


def authority(prefix, subject):
    must('openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout',
         prefix + '-key.pem', '-out', prefix + '-cert.pem', '-days', '30', '-subj', '/CN=' + subject)


def setUpModule():
    global PKI
    PKI = tempfile.mkdtemp(prefix='drover-pki-')
    ca = os.path.join(PKI, 'ca')
    authority(ca, 'test authority')
    authority(os.path.join(PKI, 'other'), 'another authority')
    certificate(PKI, 'server', 'localhost', ca, ('-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'))
    for who, signer in (('alice', ca), ('bob', ca), ('mallory', os.path.join(PKI, 'other'))):
        directory = os.path.join(PKI, who)
        os.mkdir(directory)
        shutil.copy(ca + '-cert.pem', directory)
        certificate(directory, 'client', who, signer)
    os.mkdir(os.path.join(PKI, 'nobody'))
    shutil.copy(ca + '-cert.pem', os.path.join(PKI, 'nobody'))
    for who in ('alice', 'bob', 'eve'):
        must('psktool', '-u', who, '-p', os.path.join(PKI, ('keys' if who != 'eve' else 'eve') + '.psk'))
    for f in ('keys.psk', 'eve.psk'):
        os.chmod(os.path.join(PKI, f), 0o600)


def tearDownModule():
    shutil.rmtree(PKI)


class Psk(ServedTest):
    @classmethod
    def setUpClass(cls):
        cls.server = Served('--tls', 'require', '--tls-psk', os.path.join(PKI, 'keys.psk'), 'mem:64M',
                            '--export', 'bobs=mem:1M', '--allow', 'bob')

    def uri(self, who, export='', keys='keys.psk'):
        return 'nbds+unix://%s@/%s?socket=%s&tls-psk-file=%s' % (who, export, self.server.sock,
                                                                 os.path.join(PKI, keys))

    def test_the_right_key_gets_in(self):
        self.assertIn('with TLS', must('nbdinfo', self.uri('alice')))
        self.assertIn('with TLS', must('nbdinfo', self.uri('bob', 'bobs')))

    def test_tls_1_2(self):
        must('nbdinfo', self.uri('alice'), env=dict(os.environ, GNUTLS_SYSTEM_PRIORITY_FILE='/dev/null'))
        out = run('qemu-img', 'info', '--object',
                  'tls-creds-psk,id=t,endpoint=client,username=alice,dir=%s' % PKI, '--image-opts',
                  'driver=nbd,server.type=unix,server.path=%s,tls-creds=t' % self.server.sock)
        self.assertIn('virtual size: 64 MiB', out.stdout, out.stderr)

    def test_wrong_keys_do_not(self):
        self.assertNotEqual(run('nbdinfo', self.uri('eve', keys='eve.psk')).returncode, 0)
        self.assertNotEqual(run('nbdinfo', self.uri('alice', keys='eve.psk')).returncode, 0)
        self.assertIn('with TLS', must('nbdinfo', self.uri('alice')))

    def test_authorisation_per_export(self):
        p = run('nbdinfo', self.uri('alice', 'bobs'))
        self.assertNotEqual(p.returncode, 0)
        names = must('nbdinfo', '--list', self.uri('alice'))
        self.assertNotIn('bobs', names)
        self.assertIn('bobs', must('nbdinfo', '--list', self.uri('bob')))

    def test_data_survives(self):
        with open('/dev/urandom', 'rb') as f:
            data = f.read(20 << 20)
        with tempfile.TemporaryDirectory() as d:
            a, b = os.path.join(d, 'a'), os.path.join(d, 'b')
            with open(a, 'wb') as f:
                f.write(data + bytes((64 << 20) - len(data)))
            must('nbdcopy', a, self.uri('alice'))
            must('nbdcopy', self.uri('bob'), b)
            with open(a, 'rb') as x, open(b, 'rb') as y:
                self.assertEqual(x.read(), y.read())

    def test_nothing_without_tls(self):
        for option in (LIST, INFO, GO, STRUCTURED_REPLY, SET_META, LIST_META, EXT_HEADERS, 99):
            with Wire(self.server.sock) as w:
                self.assertEqual(w.ask(option, b'\0' * 6), TLS_REQD)
        with Wire(self.server.sock) as w:
            w.opt(EXPORT_NAME, b'')
            self.assertTrue(w.closed())
        with Wire(self.server.sock) as w:
            self.assertEqual(w.ask(ABORT), ACK)

    def test_plaintext_behind_starttls(self):
        """CVE-2021-3716: bytes injected in clear must not be taken for the client's."""
        with Wire(self.server.sock) as w:
            w.put(struct.pack('>QII', IHAVEOPT, STARTTLS, 0) + struct.pack('>QII', IHAVEOPT, LIST, 0))
            w.opt_reply()
            self.assertTrue(w.closed())

    def test_starttls_with_data(self):
        with Wire(self.server.sock) as w:
            self.assertEqual(w.ask(STARTTLS, b'x'), INVALID)

    def test_garbage_instead_of_a_handshake(self):
        for _ in range(20):
            with Wire(self.server.sock) as w:
                self.assertEqual(w.ask(STARTTLS), ACK)
                w.put(os.urandom(500))
                self.assertTrue(w.closed())

    def test_keys_are_not_in_the_log_or_command_line(self):
        must('nbdinfo', self.uri('alice'))
        with open(os.path.join(PKI, 'keys.psk')) as f:
            keys = [line.split(':')[1].strip() for line in f]
        with open('/proc/%d/cmdline' % self.server.process.pid) as f:
            cmdline = f.read()
        for key in keys:
            self.assertNotIn(key, self.server.text().decode())
            self.assertNotIn(key, cmdline)


class X509(ServedTest):
    @classmethod
    def setUpClass(cls):
        cls.server = Served('--tls', 'on', '--tls-x509', PKI, 'mem:1M', '--export', 'secret=mem:1M', '--tls-only',
                            '--export', 'alices=mem:1M', '--tls-only', '--allow', 'alice')

    def size(self, who, export=''):
        h = nbd.NBD()
        h.set_tls(nbd.TLS_REQUIRE)
        h.set_tls_certificates(os.path.join(PKI, who))
        h.set_tls_verify_peer(False)
        h.set_export_name(export)
        h.connect_unix(self.server.sock)
        return h.get_size()

    def refused(self, who, export):
        with self.assertRaises(nbd.Error):
            self.size(who, export)

    def test_selective(self):
        with Wire(self.server.sock) as w:
            names = [b for k, b in w.opt_all(LIST) if k == SERVER]
            self.assertEqual(len(names), 1)  # the others are for TLS
            self.assertEqual(w.go(b'secret'), TLS_REQD)
            self.assertTrue(w.start().alive())

    def test_certificates(self):
        self.assertEqual(self.size('alice'), 1 << 20)
        self.assertEqual(self.size('alice', 'secret'), 1 << 20)
        self.assertEqual(self.size('bob', 'secret'), 1 << 20)
        self.refused('mallory', 'secret')
        self.refused('nobody', 'secret')

    def test_per_export(self):
        self.assertEqual(self.size('alice', 'alices'), 1 << 20)
        self.refused('bob', 'alices')

    def test_state_is_forgotten(self):
        """What was negotiated in clear does not hold under TLS."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(os.path.join(PKI, 'ca-cert.pem'))
        context.load_cert_chain(os.path.join(PKI, 'alice', 'client-cert.pem'),
                                os.path.join(PKI, 'alice', 'client-key.pem'))
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context.minimum_version = context.maximum_version = version
            with Wire(self.server.sock) as w:
                self.assertEqual(w.ask(STRUCTURED_REPLY), ACK)
                self.assertEqual(w.ask(STARTTLS), ACK)
                w.s = context.wrap_socket(w.s, server_hostname='localhost')
                self.assertEqual(w.contexts(b'', b'base:allocation')[0], INVALID)
                self.assertEqual(w.ask(STARTTLS), INVALID)
                w.start(b'alices')
                self.assertEqual(w.write(0, b'y' * 100000), 0)
                self.assertEqual(w.read(0, 100000), b'y' * 100000)
                self.assertEqual(w.do(READ, 0, 512).kind, SIMPLE)

    def test_old_tls_is_refused(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_ciphers('ALL:@SECLEVEL=0')
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        with Wire(self.server.sock) as w:
            self.assertEqual(w.ask(STARTTLS), ACK)
            with self.assertRaises((ssl.SSLError, OSError)):
                w.s = context.wrap_socket(w.s)


class RefusedKeys(unittest.TestCase):
    def test_a_refused_key_opens_nothing(self):
        """... with any certificate that was made for it, whoever signed; another key of the same name does."""
        directory = tempfile.mkdtemp(dir=PKI)
        for name in ('ca-cert.pem', 'server-cert.pem', 'server-key.pem'):
            shutil.copy(os.path.join(PKI, name), directory)
        der = subprocess.run(['openssl', 'pkey', '-in', os.path.join(PKI, 'bob', 'client-key.pem'), '-pubout', '-outform', 'DER'],
                             capture_output=True, check=True).stdout
        with open(os.path.join(directory, 'refused-keys'), 'w') as f:
            f.write('%s\n%s bob, who left\n' % ('0' * 64, hashlib.sha256(der).hexdigest().upper()))
        again = os.path.join(directory, 'bob')
        os.mkdir(again)
        shutil.copy(os.path.join(PKI, 'ca-cert.pem'), again)
        certificate(again, 'client', 'bob', os.path.join(PKI, 'ca'))
        server = Served('--tls', 'require', '--tls-x509', directory, 'mem:1M')
        self.addCleanup(server.stop)

        def size(files):
            h = nbd.NBD()
            h.set_tls(nbd.TLS_REQUIRE)
            h.set_tls_certificates(files)
            h.set_tls_verify_peer(False)
            h.connect_unix(server.sock)
            return h.get_size()
        self.assertEqual(size(os.path.join(PKI, 'alice')), 1 << 20)
        self.assertEqual(size(again), 1 << 20)
        with self.assertRaises(nbd.Error):
            size(os.path.join(PKI, 'bob'))


class BadFiles(unittest.TestCase):
    def complaint(self, *args):
        with self.assertRaises(AssertionError) as e:
            Served(*args, 'mem:1M').stop()
        return str(e.exception)

    def test_each_is_named(self):
        def file(name, text, mode=0o600):
            path = os.path.join(PKI, name)
            with open(path, 'w') as f:
                f.write(text)
            os.chmod(path, mode)
            return path
        for path, text in ((file('a', 'nocolon\n'), 'line 1: is not IDENTITY:HEXKEY'),
                           (file('b', 'x:00112233445566778899aabbccddeefg\n'), 'not hex'),
                           (file('c', '# none\n'), 'has no key'),
                           (file('d', 'x:00\n'), '16 to 64 bytes'),
                           (file('e', 'x:' + '00' * 16 + '\n', 0o644), 'everybody may read'),
                           ('/nonexistent', 'No such file')):
            self.assertIn(text, self.complaint('--tls', 'on', '--tls-psk', path))
        self.assertIn('server-key.pem', self.complaint('--tls', 'on', '--tls-x509', os.path.join(PKI, 'nobody')))
        refused = file('refused-keys', '0' * 64 + ' one\n' + '0' * 63 + 'g\n')
        self.assertIn("refused-keys', line 2: ", self.complaint('--tls', 'on', '--tls-x509', PKI))
        os.remove(refused)


if __name__ == '__main__':
    unittest.main(verbosity=1)
