"""A small WebSocket client (RFC 6455) that can also misbehave. WebSocket(sock, host, path, headers) asks for an upgrade on
a connected socket."""
import base64
import hashlib
import os
import socket
import struct

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


class Refused(Exception):
    def __init__(self, status, body):
        super().__init__('%d %r' % (status, body))
        self.status, self.body = status, body


class WebSocket:
    def __init__(self, sock, host, path, headers=None):
        self.sock = sock
        self.buffer = b''
        key = base64.b64encode(os.urandom(16)).decode()
        lines = ['GET %s HTTP/1.1' % path, 'Host: ' + host, 'Upgrade: websocket', 'Connection: keep-alive, Upgrade',
                 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: ' + key]
        lines += ['%s: %s' % item for item in (headers or {}).items()]
        sock.sendall('\r\n'.join(lines + ['', '']).encode())
        head = self._until(b'\r\n\r\n').decode()
        status = int(head.split()[1])
        fields = dict(line.lower().split(': ', 1) for line in head.split('\r\n')[1:] if line)
        if status != 101:
            raise Refused(status, self._take(int(fields.get('content-length', 0))))
        want = base64.b64encode(hashlib.sha1((key + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').encode()).digest()).decode()
        got = [line.split(': ')[1] for line in head.split('\r\n') if line.lower().startswith('sec-websocket-accept')]
        assert got == [want], head

    def _more(self):
        data = self.sock.recv(65536)
        if not data:
            raise EOFError('the server closed the connection')
        self.buffer += data

    def _until(self, mark):
        while mark not in self.buffer:
            self._more()
        head, _, self.buffer = self.buffer.partition(mark)
        return head

    def _take(self, n):
        while len(self.buffer) < n:
            self._more()
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    def frame(self, opcode, payload=b'', final=True, masked=True, reserved=0, length=None):
        """The bytes of a frame; length: what its head claims."""
        n = len(payload) if length is None else length
        head = bytes([(0x80 if final else 0) | reserved << 4 | opcode])
        mask_bit = 0x80 if masked else 0
        if n < 126:
            head += bytes([mask_bit | n])
        elif n < 65536:
            head += bytes([mask_bit | 126]) + struct.pack('>H', n)
        else:
            head += bytes([mask_bit | 127]) + struct.pack('>Q', n)
        if not masked:
            return head + payload
        mask = os.urandom(4)
        return head + mask + bytes(b ^ mask[i & 3] for i, b in enumerate(payload))

    def send_frame(self, *args, **kwargs):
        self.sock.sendall(self.frame(*args, **kwargs))

    def send(self, message):
        if isinstance(message, str):
            self.send_frame(TEXT, message.encode())
        else:
            self.send_frame(BINARY, message)

    def receive_frame(self):
        first, second = self._take(2)
        assert not second & 0x80, 'a server does not mask'
        n = second & 0x7f
        if n == 126:
            n, = struct.unpack('>H', self._take(2))
        elif n == 127:
            n, = struct.unpack('>Q', self._take(8))
        return first & 0x0f, bool(first & 0x80), self._take(n)

    def receive(self):
        """The next message (str or bytes), pings answered; a close frame as ('close', code, reason)."""
        opcode, whole = None, b''
        while True:
            op, final, payload = self.receive_frame()
            if op == PING:
                self.send_frame(PONG, payload)
            elif op == CLOSE:
                code = struct.unpack('>H', payload[:2])[0] if payload else 1005
                return 'close', code, payload[2:].decode()
            elif op != PONG:
                opcode = op or opcode
                whole += payload
                if final:
                    return whole.decode() if opcode == TEXT else whole

    def close(self, code=1000, reason=''):
        """Closes politely; returns the server's code."""
        self.send_frame(CLOSE, struct.pack('>H', code) + reason.encode())
        while True:
            answer = self.receive()
            if isinstance(answer, tuple):
                break
        self.sock.close()
        return answer[1]

    def ended(self):
        """True once the server has closed the connection."""
        try:
            while self.sock.recv(65536):
                pass
        except ConnectionError:
            pass
        return True
