#!/usr/bin/python3
"""The HTTP server and the API's machinery from outside: honest clients, careless ones, and hostile ones."""
import json
import os
import resource
import socket
import ssl
import struct
import subprocess
import sys
import threading
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import contract  # noqa: E402
from api_lab import Client, Server, raw_answer  # noqa: E402
from websocket_client import (BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Refused, WebSocket)  # noqa: E402

THING = {'name': 'web-1', 'spec': {'size': '20G'}}


class Lab(unittest.TestCase):
    limits = ()

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.limits)

    @classmethod
    def tearDownClass(cls):
        log = cls.server.said()
        status = cls.server.end()
        if status != 0:
            raise AssertionError('the server ended with %d:\n%s' % (status, log[-3000:]))

    def client(self, role='admin'):
        client = Client(self.server.socket(), role and self.server.tokens[role])
        self.addCleanup(client.close)
        return client

    def counts(self):
        return self.client().ask('GET', '/v1/counts')[2]

    def raw(self, data, half_close=False):
        sock = self.server.socket()
        sock.sendall(data)
        if half_close:
            sock.shutdown(socket.SHUT_WR)
        return raw_answer(sock)

    def authorized(self, line, *more, end=True):
        head = [line, 'Host: x', 'Authorization: Bearer ' + self.server.tokens['admin'], *more]
        return ('\r\n'.join(head + (['Connection: close'] if end else [])) + '\r\n\r\n').encode()


class Transport(Lab):
    def test_kept_alive(self):
        client = self.client()
        before = self.counts()['accepted']
        for _ in range(5):
            self.assertEqual(client.ask('GET', '/v1/who')[0], 200)
        self.assertEqual(self.counts()['accepted'], before + 1)

    def test_pipelined(self):
        request = self.authorized('GET /v1/slow?ms=30&bytes=7 HTTP/1.1', end=False)
        post = self.authorized('POST /v1/things?dry_run=true HTTP/1.1', 'Content-Type: application/json',
                               'Content-Length: %d' % len(json.dumps(THING)), end=False) + json.dumps(THING).encode()
        last = self.authorized('GET /healthz HTTP/1.1')
        status, data = self.raw(request + post + request + post + last)
        answers = [part.split(b' ')[0] for part in data.split(b'HTTP/1.1 ')[1:]]
        self.assertEqual(answers, [b'200'] * 5)
        self.assertEqual(data.count(b'xxxxxxx'), 2)
        self.assertEqual(data.count(b'"web-1"'), 2)
        self.assertTrue(data.endswith(b'well\n'))

    def test_pipelined_behind_a_request_that_was_ahead(self):
        ask = lambda n, end=False: self.authorized('GET /v1/slow?ms=50&bytes=%d HTTP/1.1' % n, 'X-Pad: ' + 'p' * 37 * n, end=end)
        sock = self.server.socket()
        sock.sendall(ask(3) + ask(5))
        data = b''
        while not data.endswith(b'xxx'):  # the second one is worked on, and what comes now was asked for before it was
            data += sock.recv(4096)
        sock.sendall(ask(7) + ask(9, True))
        status, rest = raw_answer(sock)
        self.assertEqual([len(part.split(b'\r\n\r\n')[1]) for part in (data + rest).split(b'HTTP/1.1 200')[1:]], [3, 5, 7, 9])

    def test_pipelined_byte_by_byte(self):
        body = json.dumps(THING).encode()
        request = self.authorized('POST /v1/things?dry_run=true HTTP/1.1', 'Content-Type: application/json',
                                  'Content-Length: %d' % len(body), end=False) + body
        sock = self.server.socket()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for i in range(len(request)):
            sock.sendall(request[i:i + 1])
        sock.sendall(request[:40])
        sock.sendall(request[40:] + self.authorized('GET /healthz HTTP/1.1'))
        status, data = raw_answer(sock)
        self.assertEqual((status, data.count(b'HTTP/1.1 200'), data.count(b'"web-1"')), (200, 3, 2))

    def test_half_closed_client_is_answered(self):
        status, data = self.raw(self.authorized('GET /v1/slow?ms=50 HTTP/1.1'), half_close=True)
        self.assertEqual(status, 200)

    def test_client_that_goes(self):
        for reset in (False, True):
            sock = self.server.socket()
            sock.sendall(self.authorized('GET /v1/slow?ms=200&bytes=4000000 HTTP/1.1'))
            if reset:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            sock.close()
        client = self.client()
        client.ask('GET', '/v1/slow?ms=400')
        for _ in range(2000):
            counts = client.ask('GET', '/v1/counts')[2]
            if (counts['calls'], counts['connections']) == (1, 1):
                break
        self.assertEqual((counts['calls'], counts['connections']), (1, 1))

    def test_large_answer(self):
        status, _, data = self.client().ask('GET', '/v1/slow?ms=0&bytes=8000000')
        self.assertEqual((status, len(data)), (200, 8000000))

    def test_head(self):
        status, fields, data = self.client().ask('HEAD', '/healthz')
        self.assertEqual((status, fields['content-length'], data), (200, '5', b''))

    def test_http_1_0(self):
        status, data = self.raw(b'GET /healthz HTTP/1.0\r\n\r\n')
        self.assertTrue(status == 200 and data.endswith(b'well\n') and b'Connection: close' in data)

    def test_expect_continue(self):
        body = json.dumps(THING).encode()
        sock = self.server.socket()
        sock.sendall(self.authorized('POST /v1/things?dry_run=true HTTP/1.1', 'Content-Type: application/json',
                                     'Expect: 100-continue', 'Content-Length: %d' % len(body)))
        first = sock.recv(1000)
        self.assertEqual(first, b'HTTP/1.1 100 Continue\r\n\r\n')
        sock.sendall(body)
        self.assertEqual(raw_answer(sock)[0], 200)

    def test_unix_socket(self):
        self.assertEqual(os.stat(self.server.unix).st_mode & 0o777, 0o600)
        client = Client(self.server.unix_socket())
        status, _, who = client.ask('GET', '/v1/who')
        client.close()
        self.assertEqual((status, who['role']), (200, 'admin'))
        self.assertTrue(who['who'].startswith('local:'))

    def test_connections_of_one_address_are_limited(self):
        socks, refused = [], 0
        for _ in range(40):
            sock = self.server.socket()
            sock.sendall(b'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n')
            try:
                data = sock.recv(1000)
            except ConnectionError:
                data = b''
            refused += not data
            socks.append(sock)
        for sock in socks:
            sock.close()
        client = Client(self.server.unix_socket())
        while client.ask('GET', '/v1/counts')[2]['connections'] > 1:
            pass  # the tests after this one want their connections
        client.close()
        self.assertGreaterEqual(refused, 8)
        self.assertLess(refused, 40)

    def test_many_clients_at_once(self):
        wrong = []

        def work():
            client = Client(self.server.socket(), self.server.tokens['viewer'])
            for i in range(20):
                status, _, data = client.ask('GET', '/v1/slow?ms=1&bytes=%d' % (i * 1000))
                if status != 200 or len(data) != i * 1000:
                    wrong.append((status, len(data)))
            client.close()
        threads = [threading.Thread(target=work) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])


class Hostile(Lab):
    """What breaks the protocol gets one answer and the end."""

    def check(self, data, status, code=None):
        got, text = self.raw(data)
        self.assertEqual(got, status, text[:300])
        self.assertIn(b'Connection: close', text)
        head, body = text.split(b'\r\n\r\n', 1)
        problem = json.loads(body)
        self.assertEqual(problem['status'], status)
        self.assertIn(b'application/problem+json', head)
        if code:
            self.assertEqual(problem['code'], code)

    def test_garbage(self):
        for data in (b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n', b'hello\r\n\r\n', b'GET\r\n\r\n',
                     b'GET /\r\n\r\n', b'GET  / HTTP/1.1\r\n\r\n', b'GET / HTTP/1.1 x\r\n\r\n', b'GET / XTTP/1.1\r\n\r\n',
                     b'G\x00T / HTTP/1.1\r\nHost: x\r\n\r\n', b'GET /a\x01 HTTP/1.1\r\nHost: x\r\n\r\n',
                     b'GET a HTTP/1.1\r\nHost: x\r\n\r\n', b'GET * HTTP/1.1\r\nHost: x\r\n\r\n'):
            self.check(data, 400, 'bad-request')

    def test_targets(self):
        for target in (b'/%', b'/%4', b'/%zz', b'/%00', b'/a%2fb', b'/%c3%28', b'/%0a', b'/?a=%ff', b'/?a=%00',
                       b'/?a=1&a=2', b'/#x', b'/?' + b'&'.join(b'p%d=' % i for i in range(40)), b'http://x'):
            self.check(b'GET ' + target + b' HTTP/1.1\r\nHost: x\r\n\r\n', 400)

    def test_fields(self):
        for field in (b'no colon', b'Name : space', b' folded: line', b'Bad\x01: x', b'X: a\x00b', b'X: a\rb', b'X: a\x7f',
                      b'Host: y', b'Content-Length: x', b'Content-Length: -1', b'Content-Length: +1',
                      b'Content-Length: 1\r\nContent-Length: 2', b'Content-Length: 1\r\nTransfer-Encoding: chunked',
                      b'Content-Length: 99999999999999999999', b'Content-Length:', b'Authorization: a\r\nAuthorization: b',
                      b': x', b'If-Match: \xff'):
            self.check(b'GET / HTTP/1.1\r\nHost: x\r\n' + field + b'\r\n\r\n', 400)
        self.check(b'GET / HTTP/1.1\r\nA: b\r\n\r\n', 400)
        self.check(b'GET / HTTP/1.1\nHost: x\n\nGET / HTTP/1.1\r\n\r\n', 400)

    def test_smuggling(self):
        """A body that looks like a request is a body, and what comes behind a broken request is not read."""
        inner = b'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n'
        status, data = self.raw(self.authorized('POST /v1/join HTTP/1.1', 'Content-Length: %d' % len(inner), end=False) +
                                inner + self.authorized('GET /v1/who HTTP/1.1'))
        self.assertEqual([p.split(b' ')[0] for p in data.split(b'HTTP/1.1 ')[1:]], [b'400', b'200'])
        status, data = self.raw(b'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n' + inner)
        self.assertEqual((status, data.count(b'HTTP/1.1 ')), (411, 1))

    def test_other_statuses(self):
        self.check(b'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n', 411, 'length-required')
        self.check(b'BREW / HTTP/1.1\r\nHost: x\r\n\r\n', 501, 'method-unknown')
        self.check(b'CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n', 501)
        self.check(b'GET / HTTP/2.0\r\nHost: x\r\n\r\n', 505)
        self.check(b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 505)
        self.check(b'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: wonders\r\n\r\n', 417)

    def test_oversized(self):
        self.check(b'GET /' + b'a' * 20000, 414, 'target-too-long')
        self.check(b'GET / HTTP/1.1\r\nX: ' + b'a' * 20000, 431, 'header-too-large')
        self.check(b'GET / HTTP/1.1\r\n' + b'a: b\r\n' * 200 + b'\r\n', 431)
        self.check(self.authorized('POST / HTTP/1.1', 'Content-Length: 1048577'), 413, 'body-too-large')
        sock = self.server.socket()
        try:
            sock.sendall(self.authorized('POST / HTTP/1.1', 'Content-Length: 3000000') + b'x' * 3000000)
        except ConnectionError:
            pass
        self.assertEqual(raw_answer(sock)[0], 413)  # the answer is not overtaken by a reset

    def test_body_at_the_limit(self):
        note = 'x' * 150000
        body = json.dumps({'name': 'big', 'spec': {'size': '1G', 'note': note}}).ljust(1 << 20)
        status, _, answer = self.client().ask('POST', '/v1/things?dry_run=true', body)
        self.assertEqual((status, len(answer['spec']['note'])), (200, 150000))

    def test_memory_of_bodies_is_limited(self):
        head = self.authorized('POST /v1/things HTTP/1.1', 'Content-Length: 1048576', end=False)
        socks = [self.server.unix_socket() for _ in range(40)]
        for sock in socks:
            sock.sendall(head)
        answers = []
        for sock in socks:
            sock.settimeout(0.2)
            try:
                answers.append(int(sock.recv(1000).split()[1]))
            except socket.timeout:
                answers.append(0)
        for sock in socks:
            sock.close()
        self.assertEqual(sorted(set(answers)), [0, 503])
        self.assertEqual(answers.count(0), 32)

    def test_nobody_unknown_sends_a_body(self):
        """Whoever shows no credential is refused by the head alone: no memory is held, and nothing is waited for."""
        sock = self.server.socket()
        sock.sendall(b'POST /v1/things HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\nExpect: 100-continue\r\n\r\n')
        status, data = raw_answer(sock)
        self.assertEqual((status, data.count(b'HTTP/1.1')), (401, 1))
        self.assertIn(b'Connection: close', data)

    def test_nothing_is_left(self):
        self.assertEqual(self.counts()['body_bytes'], 0)


class Slow(Lab):
    limits = (300, 300, 300)

    def test_slow_header(self):
        sock = self.server.socket()
        sock.sendall(b'GET /healthz HTTP/1.1\r\n')
        status, data = raw_answer(sock)
        self.assertEqual((status, json.loads(data.split(b'\r\n\r\n')[1])['code']), (408, 'too-slow'))

    def test_slow_body(self):
        sock = self.server.socket()
        sock.sendall(self.authorized('POST /v1/things HTTP/1.1', 'Content-Length: 1000', end=False) + b'{')
        self.assertEqual(raw_answer(sock)[0], 408)

    def test_drops_of_a_header_do_not_extend_it(self):
        sock = self.server.socket()
        ended = False
        for _ in range(1000):
            try:
                sock.sendall(b'GET /healthz HTTP/1.1\r\n'[:1])
                sock.settimeout(0.01)
                ended = sock.recv(1000).startswith(b'HTTP/1.1 408')
                break
            except socket.timeout:
                continue
            except ConnectionError:
                break
        sock.close()
        self.assertTrue(ended)

    def test_idle(self):
        sock = self.server.socket()
        self.assertEqual(raw_answer(sock), (0, b''))

    def test_idle_after_a_request(self):
        sock = self.server.socket()
        sock.sendall(b'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n')
        status, data = raw_answer(sock)
        self.assertEqual((status, data.count(b'HTTP/1.1')), (200, 1))

    def test_silent_websocket_is_asked_and_closed(self):
        ws = WebSocket(self.server.socket(), 'x', '/v1/echo',
                       {'Authorization': 'Bearer ' + self.server.tokens['viewer']})
        self.assertEqual(ws.receive_frame()[0], PING)
        ws.send_frame(PONG)
        self.assertEqual(ws.receive_frame()[0], PING)
        with self.assertRaises(EOFError):  # no answer this time
            ws.receive_frame()


class Tls(Lab):
    def test_no_certificate(self):
        client = Client(self.server.tls_socket(self.server.context()))
        status, fields, problem = client.ask('GET', '/v1/who')
        self.assertEqual((status, problem['code']), (401, 'credential-missing'))
        self.assertIn('Bearer', fields['www-authenticate'])
        client.close()

    def test_token_without_certificate(self):
        client = Client(self.server.tls_socket(self.server.context()), self.server.tokens['viewer'])
        self.assertEqual(client.ask('GET', '/v1/who')[2]['who'], 'token:viewer')
        client.close()

    def test_node(self):
        client = Client(self.server.tls_socket(self.server.context('pki')))
        status, _, who = client.ask('GET', '/v1/who')
        self.assertEqual((status, who['who'], who['role'], who['peer']), (200, 'node:n1', 'node', 'n1'))
        client.close()

    def test_stranger(self):
        """A certificate of another authority with the right name."""
        with self.assertRaises((ssl.SSLError, ConnectionError, EOFError, OSError)):
            sock = self.server.tls_socket(self.server.context('stranger'))
            client = Client(sock)
            client.ask('GET', '/v1/who')

    def test_old_versions_are_refused(self):
        for version in ('-tls1', '-tls1_1'):
            done = subprocess.run(['openssl', 's_client', version, '-cipher', 'ALL:@SECLEVEL=0', '-connect',
                                   '127.0.0.1:%d' % self.server.tls_port], stdin=subprocess.DEVNULL, capture_output=True,
                                  text=True)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn('alert protocol version', done.stderr)
        for version in ('-tls1_2', '-tls1_3'):
            done = subprocess.run(['openssl', 's_client', version, '-connect', '127.0.0.1:%d' % self.server.tls_port],
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)

    def test_in_clear_on_the_tls_port(self):
        sock = socket.create_connection(('127.0.0.1', self.server.tls_port), 30)
        sock.sendall(b'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n')
        self.assertNotIn(b'well', raw_answer(sock)[1])

    def test_large_answer_and_body(self):
        client = Client(self.server.tls_socket(self.server.context()), self.server.tokens['admin'])
        status, _, data = client.ask('GET', '/v1/slow?ms=0&bytes=3000000')
        self.assertEqual((status, len(data)), (200, 3000000))
        body = json.dumps({'name': 'big', 'spec': {'size': '1G'}}).ljust(1 << 20)
        self.assertEqual(client.ask('POST', '/v1/things?dry_run=true', body)[0], 200)
        client.close()

    def test_curl(self):
        done = subprocess.run(['curl', '-sS', '--cacert', self.server.directory + '/pki/ca-cert.pem', '-H',
                               'Authorization: Bearer ' + self.server.tokens['viewer'],
                               'https://localhost:%d/v1/who' % self.server.tls_port], capture_output=True, text=True)
        self.assertEqual(json.loads(done.stdout)['role'], 'viewer', done.stderr)


class Credentials(Lab):
    def refused(self, headers, status, code, path='/v1/who', method='GET'):
        client = Client(self.server.socket())
        got, _, problem = client.ask(method, path, headers=headers)
        client.close()
        self.assertEqual((got, problem['code']), (status, code))

    def test_without(self):
        for path in ('/', '/v1/who', '/v1/things', '/v1/no-such-path', '/v1/openapi.json', '/%41'):
            for method in ('GET', 'POST', 'DELETE', 'OPTIONS'):
                self.refused({}, 401, 'credential-missing', path, method)

    def test_wrong(self):
        right = self.server.tokens['admin']
        for text in ('', 'x', right, 'Bearer', 'Basic ' + right):
            self.refused({'Authorization': text}, 401, 'credential-unknown')
        for token in (right[:-1], right + 'A', right[:-1] + ('A' if right[-1] != 'A' else 'B'), right.upper(), 'drover_',
                      'drover_' + 'A' * 43, 'x' * 5000):
            self.refused({'Authorization': 'Bearer ' + token}, 401, 'token-unknown')

    def test_expired_and_revoked(self):
        self.refused({'Authorization': 'Bearer ' + self.server.tokens['expired']}, 401, 'token-expired')
        self.refused({'Authorization': 'Bearer ' + self.server.tokens['revoked']}, 401, 'token-revoked')

    def test_join_token_opens_joining_only(self):
        header = {'Authorization': 'Bearer ' + self.server.tokens['joiner']}
        self.refused(header, 403, 'role-insufficient')
        self.refused(header, 403, 'role-insufficient', '/v1/no-such-path')
        client = Client(self.server.socket(), self.server.tokens['joiner'])
        self.assertEqual(client.ask('POST', '/v1/join')[2], {'who': 'join:joiner'})
        client.close()

    def test_roles(self):
        viewer, operator = self.client('viewer'), self.client('operator')
        self.assertEqual(viewer.ask('GET', '/v1/things')[0], 200)
        status, _, problem = viewer.ask('POST', '/v1/things?dry_run=true', THING)
        self.assertEqual((status, problem['code']), (403, 'role-insufficient'))
        self.assertEqual(operator.ask('POST', '/v1/things?dry_run=true', THING)[0], 200)
        self.assertEqual(operator.ask('DELETE', '/v1/things/x', headers={'If-Match': '*'})[0], 403)

    def test_a_token_decides_on_the_unix_socket_too(self):
        client = Client(self.server.unix_socket(), self.server.tokens['viewer'])
        self.assertEqual(client.ask('GET', '/v1/who')[2]['who'], 'token:viewer')
        client.close()

    def test_failed_log_ins_do_not_fill_the_log(self):
        for _ in range(60):
            self.refused({'Authorization': 'Bearer drover_' + 'B' * 43}, 401, 'token-unknown')
        lines = [line for line in self.server.said().split('\n') if 'refused: there is no such token' in line]
        self.assertLessEqual(len(lines), 20)
        self.assertNotIn('BBBB', self.server.said())


class Calls(Lab):
    def make(self, name, client=None):
        status, fields, _ = (client or self.client()).ask('POST', '/v1/things', {'name': name, 'spec': {'size': '1G'}})
        self.assertEqual(status, 201)
        self.assertEqual(fields['location'], '/v1/things/' + name)
        return fields['etag']

    def test_life_of_a_thing(self):
        client = self.client()
        etag = self.make('life', client)
        status, fields, thing = client.ask('GET', '/v1/things/life')
        self.assertEqual((status, fields['etag'], thing['spec']['size']), (200, etag, 1 << 30))
        status, fields, data = client.ask('GET', '/v1/things/life', headers={'If-None-Match': etag})
        self.assertEqual((status, fields['etag'], 'content-length' in fields, data), (304, etag, False, b''))
        self.assertEqual(client.ask('GET', '/v1/things/life', headers={'If-None-Match': '"x"'})[0], 200)
        change = {'spec': {'count': 3}}
        self.assertEqual(client.ask('PATCH', '/v1/things/life', change)[0], 428)
        self.assertEqual(client.ask('PATCH', '/v1/things/life', change, {'If-Match': '"no"'})[0], 412)
        self.assertEqual(client.ask('PATCH', '/v1/things/life', change, {'If-Match': 'no'})[2]['code'], 'bad-etag')
        status, fields, thing = client.ask('PATCH', '/v1/things/life', change, {'If-Match': etag})
        self.assertEqual((status, thing['spec']['count']), (200, 3))
        self.assertNotEqual(fields['etag'], etag)
        self.assertEqual(client.ask('DELETE', '/v1/things/life', headers={'If-Match': etag})[0], 412)
        status, fields, data = client.ask('DELETE', '/v1/things/life', headers={'If-Match': fields['etag']})
        self.assertEqual((status, 'content-length' in fields, data), (204, False, b''))
        self.assertEqual(client.ask('GET', '/v1/things/life')[0], 404)

    def test_fields_of_errors(self):
        client = self.client()
        wrong = [
            ({'name': 'a', 'spec': {'size': '20X'}}, 'spec.size', "'20X' is no size; write for example 20G"),
            ({'name': 'a', 'spec': {'siz': '20G'}}, 'spec.siz', "did you mean 'size'?"),
            ({'name': 'A', 'spec': {'size': '20G'}}, 'name', 'small letters'),
            ({'name': 'a', 'spec': {}}, 'spec.size', 'is missing'),
            ({'name': 'a'}, 'spec', 'is missing'),
            ({'name': 'a', 'spec': {'size': '1G', 'colour': 'gren'}}, 'spec.colour', "did you mean 'green'?"),
            ({'name': 'a', 'spec': {'size': '1G', 'disks': [{'volume': 'v'}, {'volume': 'w', 'size': 5}]}},
             'spec.disks[1].size', 'not in the range'),
            ({'name': 'a', 'spec': {'size': '1G', 'count': 65}}, 'spec.count', 'from 1 to 64'),
            ({'name': 'a', 'spec': {'size': '1G', 'tags': ['x', 'y', 'x']}}, 'spec.tags[2]', 'twice'),
            ({'name': 'a', 'spec': {'size': '1G', 'labels': {'a b': 'c'}}}, 'spec.labels.a b', 'a key has'),
            ({'name': 'a', 'spec': {'size': '1G'}, 'revision': 3}, 'revision', 'cannot be given'),
        ]
        for body, field, part in wrong:
            status, _, problem = client.ask('POST', '/v1/things?dry_run=true', body)
            self.assertEqual((status, problem['code'], problem['field']), (422, 'field-invalid', field))
            self.assertIn(part, problem['detail'])
            self.assertTrue(problem['detail'].startswith(field + ': '))

    def test_bodies(self):
        client = self.client()
        for body, code in (('{', 'bad-json'), ('[]', 'bad-json'), ('5', 'bad-json'), ('{"a":1,"a":2}', 'bad-json'),
                           ('{"name":"\\u0000"}', 'bad-json'), (b'{"name":"\xff"}', 'bad-json'),
                           ('[' * 5000, 'bad-json')):
            status, _, problem = client.ask('POST', '/v1/things', body)
            self.assertEqual((status, problem['code']), (400, code))
        self.assertEqual(client.ask('POST', '/v1/things', '{}', {'Content-Type': 'text/plain'})[0], 415)
        self.assertEqual(client.ask('POST', '/v1/things', '{}', {'Content-Type': 'application/jsonx'})[0], 415)
        self.assertEqual(client.ask('POST', '/v1/things?dry_run=true', THING,
                                    {'Content-Type': 'Application/JSON; charset=utf-8'})[0], 200)
        self.assertEqual(client.ask('POST', '/v1/join', '{}')[2]['code'], 'body-unexpected')

    def test_accept(self):
        client = self.client()
        for accept, status in (('application/json', 200), ('*/*', 200), ('text/html, application/*;q=0.5', 200),
                               ('text/html', 406), ('application/json;q=0', 406), ('application/json;q=0.000, text/x', 406)):
            self.assertEqual(client.ask('GET', '/v1/things', headers={'Accept': accept})[0], status, accept)

    def test_paths_and_methods(self):
        client = self.client()
        for path in ('/', '/v1', '/v1/', '/v1/things/', '/v1//things', '/v1/things/a/b/c/d', '/v2/things', '/v1/things/..'):
            self.assertEqual(client.ask('GET', path)[0], 404, path)
        status, fields, problem = client.ask('PUT', '/v1/things')
        self.assertEqual((status, problem['code'], fields['allow']), (405, 'method-not-allowed', 'GET, HEAD, POST'))

    def test_query(self):
        client = self.client()
        for query, code in (('limt=1', 'parameter-unknown'), ('limit=0', 'parameter-invalid'), ('limit=x', 'parameter-invalid'),
                            ('limit=1001', 'parameter-invalid'), ('dry_run=true', 'parameter-unknown')):
            status, _, problem = client.ask('GET', '/v1/things?' + query)
            self.assertEqual((status, problem['code']), (400, code))
        self.assertIn("did you mean 'limit'", client.ask('GET', '/v1/things?limt=1')[2]['detail'])
        self.assertEqual(client.ask('POST', '/v1/things?dry_run=maybe', THING)[0], 400)

    def test_pages(self):
        client = self.client()
        names = ['page-%02d' % i for i in range(7)]
        for name in reversed(names):
            self.make(name, client)
        seen, after = [], ''
        while True:
            _, _, page = client.ask('GET', '/v1/things?limit=3' + after)
            seen += [t['name'] for t in page['items']]
            self.assertLessEqual(len(page['items']), 3)
            if page['next'] is None:
                break
            after = '&after=' + page['next']
        self.assertEqual([n for n in seen if n.startswith('page-')], names)
        self.assertEqual(len(seen), len(set(seen)))

    def test_dry_run_changes_nothing(self):
        client = self.client()
        self.assertEqual(client.ask('POST', '/v1/things?dry_run=true', {'name': 'dry', 'spec': {'size': '1G'}})[0], 200)
        self.assertEqual(client.ask('GET', '/v1/things/dry')[0], 404)

    def test_idempotency(self):
        client, key = self.client(), {'Idempotency-Key': 'k-1'}
        body = {'name': 'once', 'spec': {'size': '1G'}}
        first = client.ask('POST', '/v1/things', body, key)
        again = client.ask('POST', '/v1/things', body, key)
        self.assertEqual((first[0], again[0]), (201, 201))
        self.assertEqual(first[2], again[2])
        self.assertEqual((again[1]['location'], again[1]['etag']), (first[1]['location'], first[1]['etag']))
        self.assertEqual(again[1]['idempotency-replayed'], 'true')
        self.assertNotIn('idempotency-replayed', first[1])
        other = client.ask('POST', '/v1/things', {'name': 'twice', 'spec': {'size': '1G'}}, key)
        self.assertEqual((other[0], other[2]['code']), (409, 'idempotency-key-reused'))
        without = client.ask('POST', '/v1/things', body)
        self.assertEqual((without[0], without[2]['code']), (409, 'thing-exists'))
        somebody = self.client('operator').ask('POST', '/v1/things', {'name': 'twice', 'spec': {'size': '1G'}}, key)
        self.assertEqual(somebody[0], 201)  # another person's key
        self.assertEqual(client.ask('POST', '/v1/things', body, {'Idempotency-Key': 'x' * 129})[0], 400)

    def test_idempotency_of_a_secret(self):
        client, key = self.client(), {'Idempotency-Key': 'secret-1'}
        self.assertEqual(client.ask('POST', '/v1/secrets', headers=key)[2], {'secret': 'told once'})
        status, _, problem = client.ask('POST', '/v1/secrets', headers=key)
        self.assertEqual((status, problem['code']), (409, 'idempotency-secret'))

    def test_idempotency_under_way(self):
        self.make('painted')
        key = {'Idempotency-Key': 'paint-1', 'Authorization': 'Bearer ' + self.server.tokens['admin']}
        clients = [self.client() for _ in range(8)]
        for client in clients:
            client.connection.request('POST', '/v1/things/painted/paint', headers=key)
        statuses = sorted(client.connection.getresponse().status for client in clients)
        self.assertEqual(statuses[0], 200)
        self.assertTrue(set(statuses) <= {200, 409})

    def test_audit(self):
        client = self.client('operator')
        client.ask('POST', '/v1/things', {'name': 'audited', 'spec': {'size': '1G'}}, {'X-Drover-Reason': 'more "load"\u00e9'.encode()})
        self.client('viewer').ask('DELETE', '/v1/things/audited', headers={'If-Match': '*'})
        with open(os.path.join(self.server.directory, 'audit.jsonl')) as f:
            lines = [json.loads(line) for line in f]
        made = [x for x in lines if x['target'] == 'audited' and x['status'] == 201]
        self.assertEqual(len(made), 1)
        self.assertEqual((made[0]['who'], made[0]['role'], made[0]['why'], made[0]['method']),
                         ('token:operator', 'operator', 'more "load"\u00e9', 'POST'))
        refused = [x for x in lines if x['who'] == 'token:viewer' and x['target'] == 'audited']
        self.assertEqual([(x['status'], x['code']) for x in refused], [(403, 'role-insufficient')])
        self.assertEqual([x['seq'] for x in lines], list(range(1, len(lines) + 1)))
        for token in self.server.tokens.values():
            self.assertNotIn(token, json.dumps(lines))
            if token.startswith('drover'):
                self.assertNotIn(token, self.server.said())


class AuditFull(Lab):
    def test_no_change_without_a_line(self):
        client, path = self.client(), os.path.join(self.server.directory, 'audit.jsonl')
        make = lambda name: client.ask('POST', '/v1/things', {'name': name, 'spec': {'size': '1G'}})
        self.assertEqual(make('a')[0], 201)
        pid, before = self.server.process.pid, resource.prlimit(self.server.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (os.path.getsize(path), before[1]))
        self.assertEqual(make('b')[0], 201)  # it shows behind this one
        status, fields, problem = make('c')
        self.assertEqual((status, problem['code']), (503, 'audit-unavailable'))
        self.assertIn('retry-after', fields)
        self.assertEqual(client.ask('GET', '/v1/things/c')[0], 404)
        self.assertEqual(client.ask('GET', '/v1/things')[0], 200)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
        self.assertEqual(make('c')[0], 201)
        with open(path) as f:
            codes = [(x['target'], x['code']) for x in map(json.loads, f)]
        self.assertEqual(codes, [('a', None), (None, 'audit-again'), ('c', None)])


class WebSockets(Lab):
    def open(self, path='/v1/echo', role='operator', sock=None):
        headers = {'Authorization': 'Bearer ' + self.server.tokens[role]} if role else {}
        return WebSocket(sock or self.server.socket(), 'x', path, headers)

    def test_echo(self):
        for sock in (None, self.server.tls_socket(self.server.context())):
            ws = self.open(sock=sock)
            for message in ('hello', '', '\u00e4\u20ac\U0001f600', b'\x00\xff', 'x' * 125, 'x' * 126, 'x' * 65000, b'y' * 65536):
                ws.send(message)
                self.assertEqual(ws.receive(), message)
            self.assertEqual(ws.close(1000), 1000)

    def test_fragments_and_pings_between(self):
        ws = self.open()
        ws.send_frame(TEXT, b'one ', final=False)
        ws.send_frame(PING, b'p')
        ws.send_frame(CONTINUATION, b'', final=False)
        ws.send_frame(CONTINUATION, b'two')
        self.assertEqual(ws.receive_frame(), (PONG, True, b'p'))
        self.assertEqual(ws.receive(), 'one two')
        ws.close()

    def test_text_cut_inside_a_character(self):
        ws = self.open()
        data = '\u20ac'.encode()
        ws.send_frame(TEXT, data[:1], final=False)
        ws.send_frame(CONTINUATION, data[1:])
        self.assertEqual(ws.receive(), '\u20ac')
        ws.close()

    def test_frames_that_come_with_the_request(self):
        sock = self.server.socket()
        frame = WebSocket.frame(None, TEXT, b'early')
        original = sock.sendall
        class Early:
            def __getattr__(self, name):
                return getattr(sock, name)
            def sendall(self, data):
                original(data + frame)
        ws = WebSocket(Early(), 'x', '/v1/echo', {'Authorization': 'Bearer ' + self.server.tokens['viewer']})
        self.assertEqual(ws.receive(), 'early')
        sock.close()

    def test_byte_by_byte(self):
        ws = self.open()
        ws.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in ws.frame(TEXT, b'slow') + ws.frame(BINARY, b'z' * 200):
            ws.sock.sendall(bytes([byte]))
        self.assertEqual((ws.receive(), ws.receive()), ('slow', b'z' * 200))
        ws.close()

    def test_server_closes(self):
        ws = self.open()
        ws.send('close')
        self.assertEqual(ws.receive(), ('close', 4001, 'as you wish'))
        ws.send_frame(CLOSE, struct.pack('>H', 4001))
        self.assertTrue(ws.ended())

    def test_paused(self):
        ws = self.open()
        for message in ('pause', 'a', 'b'):
            ws.send(message)
        self.assertEqual((ws.receive(), ws.receive(), ws.receive()), ('pause', 'a', 'b'))
        ws.close()

    def test_close_codes(self):
        for payload, code in ((b'', 1005), (struct.pack('>H', 1000), 1000), (struct.pack('>H', 3000) + b'bye', 3000),
                              (b'\x03', 1002), (struct.pack('>H', 1005), 1002), (struct.pack('>H', 999), 1002),
                              (struct.pack('>H', 1000) + b'\xff', 1002)):
            ws = self.open()
            ws.send_frame(CLOSE, payload)
            self.assertEqual(ws.receive()[1], code, payload)
            self.assertTrue(ws.ended())

    def test_broken_frames(self):
        cases = [
            (dict(opcode=TEXT, payload=b'x', masked=False), 1002),
            (dict(opcode=TEXT, payload=b'x', reserved=4), 1002),
            (dict(opcode=3, payload=b'x'), 1002),
            (dict(opcode=11, payload=b''), 1002),
            (dict(opcode=CONTINUATION, payload=b'x'), 1002),
            (dict(opcode=PING, payload=b'x' * 126), 1002),
            (dict(opcode=PING, payload=b'x', final=False), 1002),
            (dict(opcode=TEXT, payload=b'\xff'), 1007),
            (dict(opcode=TEXT, payload=b'\xed\xa0\x80'), 1007),
            (dict(opcode=TEXT, payload=b'', length=65537), 1009),
            (dict(opcode=BINARY, payload=b'', length=1 << 63), 1009),
        ]
        for case, code in cases:
            ws = self.open()
            ws.send_frame(**case)
            self.assertEqual(ws.receive()[1], code, case)
            self.assertTrue(ws.ended())
        ws = self.open()
        ws.send_frame(TEXT, b'a', final=False)
        ws.send_frame(TEXT, b'b')
        self.assertEqual(ws.receive()[1], 1002)
        ws = self.open()
        for _ in range(3):
            ws.send_frame(BINARY if _ == 0 else CONTINUATION, b'x' * 30000, final=False)
        self.assertEqual(ws.receive()[1], 1009)

    def test_back_pressure(self):
        """The server has far more to say than its client reads: it waits, and nothing is lost."""
        ws = self.open('/v1/flood')
        ws.send('go')
        other = self.client()
        self.assertEqual(other.ask('GET', '/healthz')[0], 200)
        first = int(ws.receive())
        for i in range(1, 3000):
            self.assertEqual(int(ws.receive()), first + i)
        ws.sock.close()
        self.assertEqual(other.ask('GET', '/healthz')[0], 200)

    def test_pings_without_reading(self):
        ws = self.open()
        frames = ws.frame(PING, b'x' * 125) * 200
        ws.sock.settimeout(5)
        with self.assertRaises((ConnectionError, socket.timeout)):
            for _ in range(100000):
                ws.sock.sendall(frames)
        ws.sock.close()

    def test_refused(self):
        for role, path, status in ((None, '/v1/echo', 401), (None, '/v1/nothing', 401), ('viewer', '/v1/flood', 403),
                                   ('viewer', '/v1/nothing', 404)):
            with self.assertRaises(Refused) as caught:
                self.open(path, role)
            self.assertEqual(caught.exception.status, status)
        status, fields, _ = self.client().ask('GET', '/v1/echo')
        self.assertEqual((status, fields['sec-websocket-version']), (426, '13'))
        headers = {'Upgrade': 'websocket', 'Connection': 'Upgrade', 'Sec-WebSocket-Version': '8', 'Sec-WebSocket-Key': 'x'}
        self.assertEqual(self.client().ask('GET', '/v1/echo', headers=headers)[0], 426)
        headers.update({'Sec-WebSocket-Version': '13'})
        self.assertEqual(self.client().ask('GET', '/v1/echo', headers=headers)[0], 400)

    def test_every_one_is_closed(self):
        before = self.counts()
        while before['websockets']:  # of the tests before
            before = self.counts()
        sockets = [self.open() for _ in range(5)]
        self.assertEqual(self.counts()['websockets'], before['websockets'] + 5)
        for ws in sockets:
            ws.sock.close()
        for _ in range(100):
            counts = self.counts()
            if counts['websockets'] == before['websockets']:
                break
        self.assertEqual(counts['websockets_closed'], before['websockets_closed'] + 5)
        self.assertEqual(counts['closed_code'], 1006)


class Contract(Lab):
    """The server answers as its OpenAPI document says."""

    def setUp(self):
        for name in ('one', 'two'):
            self.client().ask('POST', '/v1/things', {'name': name, 'spec': {'size': '1G', 'labels': {'a': 'b'}}})

    def test_over_tls(self):
        found = contract.Contract(contract.Target('https://localhost:%d' % self.server.tls_port,
                                                  self.server.tokens['admin'],
                                                  authority=self.server.directory + '/pki/ca-cert.pem'),
                                  viewer=self.server.tokens['viewer']).run()
        self.assertGreater(found.checks, 100)
        self.assertEqual(found.wrong, [])

    def test_over_the_unix_socket(self):
        found = contract.Contract(contract.Target('unix:' + self.server.unix)).run()
        self.assertEqual(found.wrong, [])


class End(unittest.TestCase):
    def test_with_everything_under_way(self):
        server = Server()
        keep = [server.socket() for _ in range(3)]
        token = {'Authorization': 'Bearer ' + server.tokens['admin']}
        ws = WebSocket(server.socket(), 'x', '/v1/echo', token)
        tls = server.tls_socket(server.context())
        slow = Client(server.socket(), server.tokens['admin'])
        slow.connection.request('GET', '/v1/slow?ms=1000', headers=token)
        keep[0].sendall(b'GET /heal')
        watcher = Client(server.socket(), server.tokens['admin'])
        while watcher.ask('GET', '/v1/counts')[2]['calls'] < 2:
            pass
        server.process.stdin.close()
        self.assertEqual(ws.receive()[:2], ('close', 1001))
        ws.send_frame(CLOSE, struct.pack('>H', 1001))
        self.assertEqual(slow.connection.getresponse().status, 200)
        server.process.wait(30)
        self.assertFalse(os.path.exists(server.unix))
        for sock in keep + [tls, ws.sock]:
            sock.close()
        slow.close()
        watcher.close()
        self.assertEqual(server.end(), 0)


if __name__ == '__main__':
    unittest.main()
