"""Starts tests/node/api_server and talks to it: raw sockets, TLS, http.client."""
import http.client
import json
import os
import socket
import ssl
import subprocess
import tempfile

BUILD = os.environ.get('DROVER_BUILD', os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../build/debug'))
PATIENCE_S = 30


class Server:
    def __init__(self, *limits):
        self.folder = tempfile.TemporaryDirectory(prefix='drover-api-')
        self.directory = self.folder.name
        self.log = open(os.path.join(self.directory, 'log'), 'w+')
        self.process = subprocess.Popen([os.path.join(BUILD, 'api_server'), self.directory] + [str(x) for x in limits],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True)
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(self.said())
        self.tokens = json.loads(line)
        self.tls_port = int(self.tokens['tls'].rsplit(':', 1)[1])
        self.port = int(self.tokens['clear'].rsplit(':', 1)[1])
        self.unix = self.tokens['unix'].split(':', 1)[1]

    def said(self):
        self.log.flush()
        self.log.seek(0)
        return self.log.read()

    def end(self):
        """Ends the server; returns its exit status (a sanitizer's finding is not 0)."""
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait(PATIENCE_S)
        self.process.stdout.close()
        self.log.close()
        self.folder.cleanup()
        return self.process.returncode

    def socket(self):
        return socket.create_connection(('127.0.0.1', self.port), PATIENCE_S)

    def context(self, certificate=None, authority='pki'):
        context = ssl.create_default_context(cafile=os.path.join(self.directory, authority, 'ca-cert.pem'))
        if certificate:
            folder = os.path.join(self.directory, certificate)
            context.load_cert_chain(os.path.join(folder, 'client-cert.pem'), os.path.join(folder, 'client-key.pem'))
        return context

    def tls_socket(self, context):
        raw = socket.create_connection(('127.0.0.1', self.tls_port), PATIENCE_S)
        return context.wrap_socket(raw, server_hostname='localhost')

    def unix_socket(self):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(PATIENCE_S)
        sock.connect(self.unix)
        return sock


class Client:
    """One connection, kept alive. Answers are (status, fields, body), body as JSON where it is."""
    def __init__(self, sock, token=None):
        self.connection = http.client.HTTPConnection('drover')
        self.connection.sock = sock
        self.connection.auto_open = 0
        self.token = token

    def ask(self, method, path, body=None, headers=None):
        headers = dict(headers or {})
        if self.token:
            headers.setdefault('Authorization', 'Bearer ' + self.token)
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        if body is not None:
            headers.setdefault('Content-Type', 'application/json')
        self.connection.request(method, path, body, headers)
        response = self.connection.getresponse()
        data = response.read()
        fields = {k.lower(): v for k, v in response.getheaders()}
        if 'json' in fields.get('content-type', ''):
            data = json.loads(data)
        return response.status, fields, data

    def close(self):
        self.connection.close()


def raw_answer(sock):
    """Reads until the server closes: status and the whole text of the first answer, and everything."""
    data = b''
    try:
        while True:
            piece = sock.recv(65536)
            if not piece:
                break
            data += piece
    except ConnectionError:
        pass
    sock.close()
    return (int(data.split(b' ', 2)[1]) if data.startswith(b'HTTP/1.1 ') else 0), data
