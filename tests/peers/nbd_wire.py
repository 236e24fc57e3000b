"""The NBD protocol spoken byte by byte, so that a test can say what no well-behaved client would."""
import socket
import struct

NBDMAGIC = 0x4E42444D41474943
IHAVEOPT = 0x49484156454F5054
REPLY_MAGIC = 0x0003E889045565A9
REQUEST, EXT_REQUEST = 0x25609513, 0x21E41C71
SIMPLE, STRUCTURED, EXTENDED = 0x67446698, 0x668E33EF, 0x6E8A278C

EXPORT_NAME, ABORT, LIST, PEEK, STARTTLS, INFO, GO, STRUCTURED_REPLY, LIST_META, SET_META, EXT_HEADERS = range(1, 12)
ACK, SERVER, REP_INFO, META = 1, 2, 3, 4
ERR = 1 << 31
(UNSUP, POLICY, INVALID, PLATFORM, TLS_REQD, UNKNOWN, SHUTDOWN, BLOCK_SIZE_REQD, TOO_BIG,
 EXT_HEADER_REQD) = (ERR | n for n in range(1, 11))
READ, WRITE, DISC, FLUSH, TRIM, CACHE, ZEROES, STATUS, RESIZE = range(9)
FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO, PAYLOAD_LEN = (1 << n for n in range(6))
EPERM, EIO, ENOMEM, EINVAL, ENOSPC, EOVERFLOW, ENOTSUP, ESHUTDOWN = 1, 5, 12, 22, 28, 75, 95, 108


class Closed(Exception):
    pass


class Reply:
    """One reply, all its chunks: error, data by offset, holes, statuses by context id."""

    def __init__(self):
        self.error = 0
        self.data = {}
        self.holes = {}
        self.status = {}
        self.chunks = 0
        self.kind = None

    def flat(self, offset, length):
        out = bytearray(b'\xee' * length)
        for at, d in self.data.items():
            out[at - offset:at - offset + len(d)] = d
        for at, n in self.holes.items():
            out[at - offset:at - offset + n] = bytes(n)
        assert len(out) == length
        return bytes(out)


class Wire:
    def __init__(self, path, flags=3, greet=True, timeout=30):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(timeout)
        self.s.connect(path)
        self.extended = False
        self.cookie = 0
        self.flags = 0
        self.size = 0
        self.infos = {}
        if greet:
            magic, opt, self.server_flags = struct.unpack('>QQH', self.get(18))
            assert magic == NBDMAGIC and opt == IHAVEOPT
            self.put(struct.pack('>I', flags))

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.s.close()

    def put(self, data):
        self.s.sendall(data)

    def get(self, n):
        out = b''
        while len(out) < n:
            try:
                part = self.s.recv(min(n - len(out), 1 << 20))
            except ConnectionResetError:
                part = b''
            if not part:
                raise Closed()
            out += part
        return out

    def closed(self):
        """True if the server ends the connection (anything it still says is read away)."""
        try:
            while True:
                self.get(1)
        except Closed:
            return True

    # ---- options ----
    def opt(self, option, data=b'', length=None):
        n = len(data) if length is None else length
        self.put(struct.pack('>QII', IHAVEOPT, option, n) + data)

    def opt_reply(self):
        magic, option, kind, n = struct.unpack('>QIII', self.get(20))
        assert magic == REPLY_MAGIC, hex(magic)
        return option, kind, self.get(n)

    def opt_all(self, option, data=b''):
        """Sends an option and returns every reply to it, the last being ACK or an error."""
        self.opt(option, data)
        out = []
        while True:
            o, kind, body = self.opt_reply()
            assert o == option, (o, option)
            out.append((kind, body))
            if kind == ACK or kind & ERR:
                return out

    def ask(self, option, data=b''):
        return self.opt_all(option, data)[-1][0]

    def go(self, name=b'', infos=(3,), option=GO):
        data = struct.pack('>I', len(name)) + name + struct.pack('>H', len(infos))
        data += b''.join(struct.pack('>H', i) for i in infos)
        replies = self.opt_all(option, data)
        for kind, body in replies[:-1]:
            assert kind == REP_INFO
            self.infos[struct.unpack('>H', body[:2])[0]] = body[2:]
        if 0 in self.infos:
            self.size, self.flags = struct.unpack('>QH', self.infos[0])
        return replies[-1][0]

    def contexts(self, name, *queries, option=SET_META):
        data = struct.pack('>I', len(name)) + name + struct.pack('>I', len(queries))
        for q in queries:
            data += struct.pack('>I', len(q)) + q
        replies = self.opt_all(option, data)
        return replies[-1][0], {b[4:]: struct.unpack('>I', b[:4])[0] for k, b in replies if k == META}

    def start(self, name=b'', structured=False, extended=False, contexts=()):
        if structured:
            assert self.ask(STRUCTURED_REPLY) == ACK
        if extended:
            assert self.ask(EXT_HEADERS) == ACK
            self.extended = True
        ids = {}
        if contexts:
            kind, ids = self.contexts(name, *contexts)
            assert kind == ACK
        assert self.go(name) == ACK
        self.ids = ids
        return self

    # ---- transmission ----
    def send(self, kind, offset=0, length=0, flags=0, payload=b'', magic=None):
        self.cookie += 1
        if self.extended:
            if payload and kind == WRITE:
                flags |= PAYLOAD_LEN
            head = struct.pack('>IHHQQQ', magic or EXT_REQUEST, flags, kind, self.cookie, offset, length)
        else:
            head = struct.pack('>IHHQQI', magic or REQUEST, flags, kind, self.cookie, offset, length)
        self.put(head + payload)
        return self.cookie

    def chunk(self):
        """(kind, cookie, done, type, payload-or-error); simple replies have type None."""
        magic = struct.unpack('>I', self.get(4))[0]
        if magic == SIMPLE:
            assert not self.extended
            error, cookie = struct.unpack('>IQ', self.get(12))
            return magic, cookie, True, None, error
        if magic == STRUCTURED:
            assert not self.extended
            flags, kind, cookie, n = struct.unpack('>HHQI', self.get(16))
        else:
            assert magic == EXTENDED and self.extended, hex(magic)
            flags, kind, cookie, self.reply_offset, n = struct.unpack('>HHQQQ', self.get(28))
        return magic, cookie, bool(flags & 1), kind, self.get(n)

    def reply(self, cookie, read_length=0, offset=0):
        r = Reply()
        while True:
            magic, got, done, kind, body = self.chunk()
            assert got == cookie, (got, cookie)
            r.kind = magic
            r.chunks += 1
            if kind is None:
                r.error = body
                if read_length and not body:
                    r.data[offset] = self.get(read_length)
            elif kind == 1:
                r.data[struct.unpack('>Q', body[:8])[0]] = body[8:]
            elif kind == 2:
                at, n = struct.unpack('>QI', body)
                r.holes[at] = n
            elif kind == 5:
                ident = struct.unpack('>I', body[:4])[0]
                assert (len(body) - 4) % 8 == 0 and len(body) > 4
                r.status[ident] = [struct.unpack('>II', body[i:i + 8]) for i in range(4, len(body), 8)]
            elif kind == 6:
                ident, count = struct.unpack('>II', body[:8])
                assert len(body) == 8 + 16 * count and count
                r.status[ident] = [struct.unpack('>QQ', body[i:i + 16]) for i in range(8, len(body), 16)]
            elif kind & 0x8000:
                r.error, text = struct.unpack('>IH', body[:6])
                assert r.error and len(body) >= 6 + text
            else:
                assert kind == 0 and not body, kind
            if done:
                return r

    def do(self, kind, offset=0, length=0, flags=0, payload=b''):
        cookie = self.send(kind, offset, length, flags, payload)
        return self.reply(cookie, length if kind == READ else 0, offset)

    def read(self, offset, length, flags=0):
        r = self.do(READ, offset, length, flags)
        assert r.error == 0, r.error
        return r.flat(offset, length)

    def write(self, offset, data, flags=0):
        return self.do(WRITE, offset, len(data), flags, data).error

    def alive(self):
        """The connection is in step: a read works and says what it should."""
        return len(self.read(0, 512)) == 512
