#!/usr/bin/python3
"""Writes the seed corpus of a fuzz target: honest conversations, from which the fuzzer starts to stray.
usage: seeds.py TARGET DIRECTORY"""
import json
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../peers'))
from nbd_wire import *  # noqa: E402


def option(number, data=b''):
    return struct.pack('>QII', IHAVEOPT, number, len(data)) + data


def name(text):
    return struct.pack('>I', len(text)) + text


def request(kind, offset, length, flags=0, payload=b'', extended=False):
    if extended:
        return struct.pack('>IHHQQQ', EXT_REQUEST, flags, kind, 7, offset, length) + payload
    return struct.pack('>IHHQQI', REQUEST, flags, kind, 7, offset, length) + payload


def server():
    info = name(b'') + struct.pack('>HHH', 2, 1, 3)
    meta = name(b'') + struct.pack('>I', 2) + name(b'base:allocation') + name(b'qemu:allocation-depth')
    options = [option(LIST), option(INFO, info), option(GO, info), option(STRUCTURED_REPLY), option(EXT_HEADERS),
               option(LIST_META, meta), option(SET_META, meta), option(STARTTLS), option(ABORT),
               option(EXPORT_NAME), option(99, b'abc')]
    yield b'\x00' + struct.pack('>I', 3) + b''.join(options[:4])
    for o in options:
        yield b'\x01' + o
    fenced = [option(GO, name(b'f@%d' % n) + struct.pack('>HH', 1, 3)) for n in (7, 6, 8)]
    for o in fenced + [option(EXPORT_NAME, b'f@9')]:
        yield b'\x01' + o + request(WRITE, 0, 512, 0, b'x' * 512) + request(DISC, 0, 0)
    yield b'\x01' + b''.join(fenced)
    yield b'\x01' + options[3] + options[6] + options[2] + request(STATUS, 0, 65536)
    for state in (2, 3, 4, 5):
        x = state >= 4
        head = bytes([state])
        for kind in range(10):
            for length in (0, 512, 65536, 1 << 20):
                payload = bytes(length) if kind == WRITE else b''
                flags = PAYLOAD_LEN if x and payload else 0
                if len(payload) < 5000:
                    yield head + request(kind, 4096, length, flags, payload, x)
        yield head + request(WRITE, 0, 512, FUA | (PAYLOAD_LEN if x else 0), b'x' * 512, x) + request(FLUSH, 0, 0, 0, b'', x) + \
            request(READ, 0, 1 << 20, 0, b'', x) + request(DISC, 0, 0, 0, b'', x)
        yield head + request(STATUS, 0, 12, PAYLOAD_LEN, struct.pack('>QI', 65536, 1), True)


def option_reply(number, kind, data=b''):
    return struct.pack('>QIII', REPLY_MAGIC, number, kind, len(data)) + data


def client():
    greeting = struct.pack('>QQH', NBDMAGIC, IHAVEOPT, 3)
    export = option_reply(GO, REP_INFO, struct.pack('>HQH', 0, 1 << 20, 0xdff))
    block = option_reply(GO, REP_INFO, struct.pack('>HIII', 3, 1, 4096, 1 << 25))
    meta = option_reply(SET_META, META, struct.pack('>I', 1) + b'base:allocation') + option_reply(SET_META, ACK)
    for headers in (option_reply(EXT_HEADERS, ACK), option_reply(EXT_HEADERS, UNSUP) + option_reply(STRUCTURED_REPLY, ACK),
                    option_reply(EXT_HEADERS, UNSUP) + option_reply(STRUCTURED_REPLY, UNSUP)):
        start = greeting + headers + (meta if b'' != headers else b'') + export + block + option_reply(GO, ACK)
        yield start
        for cookie in range(4):
            yield start + struct.pack('>IIQ', SIMPLE, 0, cookie) + bytes(4096)
            yield start + struct.pack('>IHHQI', STRUCTURED, 1, 1, cookie, 4104) + struct.pack('>Q', 0) + bytes(4096)
            yield start + struct.pack('>IHHQI', STRUCTURED, 1, 2, cookie, 12) + struct.pack('>QI', 0, 4096)
            yield start + struct.pack('>IHHQI', STRUCTURED, 1, 5, cookie, 12) + struct.pack('>III', 1, 4096, 0)
            yield start + struct.pack('>IHHQI', STRUCTURED, 1, 0x8001, cookie, 6) + struct.pack('>IH', 5, 0)
            yield start + struct.pack('>IHHQQQ', EXTENDED, 1, 1, cookie, 0, 4104) + struct.pack('>Q', 0) + bytes(4096)
            yield start + struct.pack('>IHHQQQ', EXTENDED, 1, 6, cookie, 0, 24) + struct.pack('>IIQQ', 1, 1, 4096, 0)
    yield struct.pack('>QQ', NBDMAGIC, 0x00420281861253) + bytes(136)


def stack():
    yield b'mem:1M'
    yield b'[{"driver":"mem","size":1048576}]'
    yield b'[{"driver":"throttle","iops":5,"bps":"1M","iops-burst":3},{"driver":"mem","size":"1M"}]'
    yield (b'[{"driver":"fault","seed":1,"rules":[{"op":"write","error":"EIO","offset":"1K","length":512,"after":1,'
           b'"count":2,"probability":0.5,"delay":"1ms","torn":512}]},{"driver":"mem","size":"64K"}]')


def superblock(index, stamp=(1, 2), in_sync=3, layout=1, members=2, flags=0):
    head = b'DROVMEMB' + struct.pack('>IIQ16s16sHHHHIIQQQQ', 1, flags, 1, b'c' * 16, b'v' * 16, layout, members, index, 0,
                                     65536, 4 << 20, 64 << 20, 0, 0, stamp[0])
    sets = struct.pack('>QQQQII', *stamp, *stamp, in_sync, 0)
    history = struct.pack('>QQII', *stamp, in_sync, 0)
    return (head + sets + bytes(16 * 16) + history).ljust(4096, b'\0')


def member():
    yield b'\x00' + superblock(0) + superblock(1)
    yield b'\x00' + superblock(0) + superblock(1, (1, 3), 2)
    yield b'\x00' + superblock(0, (0, 0), 0) + superblock(1)
    yield b'\x80' + b''.join(superblock(i, in_sync=15, layout=5, members=4, flags=2) for i in (0, 1, 2, 3, 0))
    yield b'\x00' + b''.join(superblock(i, in_sync=15, layout=layout, members=4) for layout in (2, 3, 4)
                             for i in (0, 1, 2, 3))


def uri():
    yield b'nbd://localhost'
    yield b'nbd://[::1]:10810/export%20name'
    yield b'nbds://alice@host.example/e?tls-psk-file=/etc/keys&tls-hostname=h&tls-verify-peer=0'
    yield b'nbd+unix:///e?socket=/run/x.sock'
    yield b'nbds+unix://bob@/?socket=%2frun%2Fx&tls-certificates=/etc/pki'


IN, OUT, LOAD, STORE, POKE, HOST = range(6)


def record(action, size, address, value=0):
    return struct.pack('<BBIIH', action, {1: 0, 2: 1, 4: 2, 8: 3}[size], address, value, 0)


def config_write(slot, function, register, size, value):
    return (record(OUT, 4, 0xcf8, 0x80000000 | slot << 11 | function << 8 | register & 0xfc) +
            record(OUT, size, 0xcfc + (register & 3), value))


def config_read(slot, function, register, size):
    return (record(OUT, 4, 0xcf8, 0x80000000 | slot << 11 | function << 8 | register & 0xfc) +
            record(IN, size, 0xcfc + (register & 3)))


def pci():
    scan = b''.join(config_read(slot, function, register, 4)
                    for slot in range(6) for function in (0, 3) for register in (0, 4, 8, 12, 0x34, 0x40))
    size = b''.join(config_write(2, 0, 16 + 4 * bar, 4, 0xffffffff) + config_read(2, 0, 16 + 4 * bar, 4)
                    for bar in range(6))
    routes = config_write(1, 0, 0x60, 4, 0x0b0b0a0a)
    place = b''.join(config_write(slot, 0, 16, 4, 0xc000 + 64 * slot) + config_write(slot, 0, 20, 4, 0xe0000000) +
                     config_write(slot, 0, 24, 4, 0xe0001000 + 0x1000 * slot) +
                     config_write(slot, 0, 32, 4, 0xf0004000) + config_write(slot, 0, 4, 2, 7) for slot in (2, 3, 4))
    msix = (config_write(2, 0, 0x42, 2, 0xc000) + record(STORE, 4, 0xe0000000, 0xfee00000) +
            record(STORE, 4, 0xe0000008, 0x41) + record(STORE, 4, 0xe000000c, 0) + config_write(2, 0, 0x42, 2, 0x8000) +
            record(HOST, 1, 0) + record(LOAD, 8, 0xe0000800) + record(STORE, 4, 0xe000000c, 1) + record(HOST, 1, 0))
    power = (record(OUT, 1, 0xb2, 0xf1) + record(OUT, 2, 0x602, 0x101) + record(OUT, 2, 0x60e, 2) +
             record(HOST, 1, 1, 0x600) + record(IN, 4, 0x600) + record(IN, 4, 0x608) + record(OUT, 2, 0x60c, 2) +
             record(IN, 4, 0xae00) + record(IN, 4, 0xae04) + record(OUT, 4, 0xae08, 8) + record(OUT, 2, 0x604, 0x2001))
    plug = b''.join(record(HOST, 1, *what) for what in ((0, 0x800), (0, 0x1100), (1, 0x800), (1, 0x100)))
    move = config_write(1, 3, 0x40, 4, 0xb000) + config_write(1, 3, 0x80, 1, 0) + record(OUT, 1, 0xcf9, 6)
    yield scan
    yield size
    yield routes + place + msix
    yield routes + place + power + plug
    yield place + move + plug + place + msix + power


def fw_cfg():
    def command(control, length, address):
        be = struct.pack('>IIQ', control, length, address)
        return (b''.join(record(POKE, 4, 0x7000 + i, struct.unpack_from('<I', be, i)[0]) for i in range(0, 16, 4)) +
                record(OUT, 4, 4, 0) + record(OUT, 4, 8, 0x00700000))

    yield b''.join(record(OUT, 2, 0, key) + 4 * record(IN, 1, 1) for key in (0, 1, 3, 5, 0x19, 0x20, 0x8002))
    yield record(OUT, 2, 0, 0x19) + 80 * record(IN, 1, 1)
    yield command(0x2 | 0x8 | 0x22 << 16, 8192, 0x10000) + command(4, 100, 0) + command(2, 0xffffffff, 0x1000)
    yield command(0x10, 5, 5) + command(2, 16, 0x7000) + command(2, 4096, (2 << 20) - 100) + command(2, 1, 2**64 - 1)
NEXT, WRITE_ONLY, INDIRECT = 1, 2, 4


def memory(rings, buffers):
    """A guest's memory as fuzz_virtio.h describes it. rings: lists of chains, a chain a list of (address, length,
    flags); buffers: bytes by address."""
    ram = bytearray(24 << 10 if rings else 0)
    for base, chains in ((1024 * i, chains) for i, chains in enumerate(rings)):
        at = 0
        for n, chain in enumerate(chains):
            struct.pack_into('<H', ram, base + 256 + 4 + 2 * n, at)
            for i, (address, length, flags) in enumerate(chain):
                flags |= NEXT if i + 1 < len(chain) else 0
                struct.pack_into('<QIHH', ram, base + 16 * at, address, length, flags, at + 1)
                at += 1
        struct.pack_into('<HH', ram, base + 256, 0, len(chains))
    for address, data in buffers.items():
        ram[address:address + len(data)] = data
    return bytes(ram).rstrip(b'\0')


def virtio_queue():
    chains = [[(0x2000, 16, 0), (0x2100, 512, WRITE_ONLY)], [(0x1800, 48, INDIRECT)], [(0x3000, 1, 0)]]
    table = b''.join(struct.pack('<QIHH', 0x2000 + 0x100 * i, 64, 2 if i else 1 | NEXT, i + 1) for i in range(3))
    for flags in range(4):
        yield bytes([flags + 12, 8]) + bytes(range(32)) + memory([chains], {0x1800: table})


def virtio_blk():
    def disk(kind, sector, data, to_guest=0):
        chain = [(0x2000, 16, 0)]
        chain += [(0x2100, len(data), 0)] if data else []
        chain += [(0x3000, to_guest, WRITE_ONLY)] if to_guest else []
        return memory([[chain + [(0x4000, 1, WRITE_ONLY)]]],
                      {0x2000: struct.pack('<IIQ', kind, 0, sector), 0x2100: data})
    ranges = struct.pack('<QII', 8, 16, 0)
    for request in (disk(0, 3, b'', 1024), disk(1, 5, b'x' * 512), disk(4, 0, b''), disk(8, 0, b'', 20),
                    disk(11, 0, ranges), disk(13, 0, ranges * 2), disk(99, 0, b'')):
        for features in (0, 2, 255):
            yield bytes([features, 0]) + request
            yield bytes([features, 2]) + struct.pack('<HIHI', 0x2020, 0, 0x3000, 0) + request


def virtio_net():
    receive = [[(0x2000 + 0x800 * i, 0x800, WRITE_ONLY)] for i in range(6)]
    send = [[(0x5000, 12, 0), (0x5010, 100, 0)], [(0x5000, 200, 0)]]
    for command in (b'\0\0\0', b'\1\0' + struct.pack('<I6sI6s', 1, b'abcdef', 1, b'ghijkl'), b'\1\1abcdef', b'\3\0',
                    b'\4\0\1\0', b'\5\0' + bytes(8)):
        control = [[(0x5800, len(command), 0), (0x5900, 1, WRITE_ONLY)]]
        for features in (0, 128, 255):
            yield bytes([features, 0]) + memory([receive, send, control], {0x5800: command})


def virtio_console():
    receive = [[(0x2000 + 0x80 * i, 0x80, WRITE_ONLY)] for i in range(6)]
    send = [[(0x5000, 12, 0), (0x5010, 100, 0)], [(0x5000, 200, 0)], [(0x5000, 0, 0)]]
    for features in (0, 255):
        yield bytes([features, 0]) + memory([receive, send], {0x5000: b'hello, world\n' * 16})
        yield bytes([features, 2]) + struct.pack('<HIHI', 0x2000, 7, 0x2004, 1) + memory([receive, send], {})


def virtio_rng():
    for length in (1, 16, 4096, 0x10000):
        yield bytes([0, 0]) + memory([[[(0x2000, length, WRITE_ONLY)], [(0x3000, 8, WRITE_ONLY), (0x3100, 8, WRITE_ONLY)]]], {})


def virtio_balloon():
    pages = struct.pack('<8I', 0x10, 0x11, 0x12, 0x100, 0x1ff, 0x200, 0xffffffff, 0x10)
    figures = b''.join(struct.pack('<HQ', tag, 1 << 20) for tag in range(12))
    pfns = [[(0x5000, len(pages), 0)], [(0x5004, 7, 0)]]
    report = [[(0x8000, 4096, WRITE_ONLY), (0x100000, 1 << 20, WRITE_ONLY)], [(0x8001, 5000, WRITE_ONLY)]]
    for features in (0, 2, 255):
        yield bytes([features, 0]) + memory([pfns, pfns, [[(0x5800, len(figures), 0)]], report, report],
                                            {0x5000: pages, 0x5800: figures})


def elf(machine=62, paddr=0x200000, note_type=18):
    text, note = bytes(range(256)) * 8, struct.pack('<III4sI', 4, 4, note_type, b'Xen', paddr + 16)
    load = struct.pack('<IIQQQQQQ', 1, 5, 4096, 0, paddr, len(text), len(text) + 100, 4096)
    notes = struct.pack('<IIQQQQQQ', 4, 4, 4096 + len(text), 0, 0, len(note), len(note), 4)
    head = struct.pack('<16sHHIQQQIHHHHHH', b'\x7fELF\x02\x01\x01', 2, machine, 1, paddr, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    return (head + load + notes).ljust(4096, b'\0') + text + note


def bzimage(packed, unpacked_bytes):
    payload = packed + struct.pack('<I', unpacked_bytes)
    code = bytes(716) + payload
    code += bytes(-len(code) % 16)
    head = bytearray(1024)
    head[0x1f1] = 1
    struct.pack_into('<I', head, 0x1f4, len(code) // 16)
    struct.pack_into('<H', head, 0x1fe, 0xaa55)
    head[0x201] = 0x66
    struct.pack_into('<4sH', head, 0x202, b'HdrS', 0x20f)
    head[0x211] = 1
    struct.pack_into('<IIBBHI', head, 0x22c, 0x7fffffff, 0x200000, 1, 21, 3, 2047)
    struct.pack_into('<IIQQI', head, 0x248, 716, len(payload), 0, 0x200000, 0x100000)
    return bytes(head) + code


def boot():
    import gzip
    import lzma
    kernel = elf()
    raw = len(kernel)
    # what Python's library cannot make: a block of literals each
    lz4 = struct.pack('<II', 0x184c2102, 0)[:4]
    literals = b'\xf0' + b'\xff' * ((raw - 15) // 255) + bytes([(raw - 15) % 255]) + kernel
    lz4 += struct.pack('<I', len(literals)) + literals
    zstd = b'\x28\xb5\x2f\xfd\xa0' + struct.pack('<I', raw) + struct.pack('<I', raw << 3 | 1)[:3] + kernel
    packed = [lzma.compress(kernel, check=lzma.CHECK_CRC32), gzip.compress(kernel)[:-4], lz4, zstd,
              b'\x89LZO' + bytes(64)]
    for method in range(3):
        yield bytes([method, 0, 0]) + kernel
        yield bytes([method, 5, 0]) + elf(note_type=17) + b'12345'
        for p in packed:
            yield bytes([method, 0, 0]) + bzimage(p, raw)
    yield bytes([0, 0, 0]) + elf(machine=3)
    yield bytes([0, 0, 0]) + elf(paddr=0x7000)
    yield bytes([0, 0, 0]) + kernel[:200]
def virtio_vsock():
    def packet(op, guest_port, length=0, flags=0):
        return struct.pack('<QQIIIHHIII', 3, 2, guest_port, 80, length, 1, op, flags, 65536, 0) + bytes(length)
    receive = [[(0x4000 + 0x400 * i, 0x400, WRITE_ONLY)] for i in range(6)]
    for second in [packet(op, 7, 100 if op == 5 else 0, 3 if op == 4 else 0) for op in range(9)]:
        packets = [packet(1, 7), second, packet(1, 8)]
        at = [(0x2000 + 0x400 * i, len(p), 0) for i, p in enumerate(packets)]
        yield bytes([0, 0]) + memory([receive, [[a] for a in at], [[(0x5f00, 4, WRITE_ONLY)]]],
                                     dict((a[0], p) for a, p in zip(at, packets)))


def state():
    yield b'\x00\x01\x04vcpu' + struct.pack('<II', 0, 1) + b'\x02\x03rax' + bytes(8) + b'\x00\x04'
    yield b'\x00\x01\x05chips' + struct.pack('<II', 0, 1) + b'\x03\x03xxx' + struct.pack('<I', 2) + b'ab\x00\x04'
    yield b'\x01' + b'\x40\x00\x07' * 3


def saved_guest():
    def header(*slots):
        return bytes(3) + struct.pack('<QII', 16, len(slots), 0) + b''.join(struct.pack('<QQQQ', *s) for s in slots)
    yield header((0, 2 << 20, 2 << 20, 0))
    yield header((0, 2 << 20, 4 << 20, 0), (0xffff0000, 65536, 2 << 20, 1))


def migrate():
    def frame(kind, number, body=b''):
        return struct.pack('<BBHIQ', kind, 0, 0, len(body), number) + body
    hello = (b'{"vcpus": 2, "streams": 2, "oldest": 1, "hold": true, "cpu": {"model": "host", "vendor": "x", "xcr0": 7, '
             b'"features": [[1, 0, 0, 0, 3, 0], [7, 0, 0, 1, 0, 0]]}, "slots": [{"gpa": 0, "bytes": 4194304, "rom": false}], '
             b'"devices": [{"slot": 2, "device": "virtio-blk", "queues": 1, "features": 64}], "nets": [{"mac": "b", "mtu": 9}]}')
    page = bytes(range(256)) * 16
    yield frame(1, 1, hello) + frame(4, 4096, page) + frame(5, 8192, struct.pack('<I', 3)) + frame(6, 1)
    yield frame(4, 2 << 20, page * 2) + frame(5, 0, struct.pack('<I', 512)) + frame(6, 1) + frame(8, 0, b'state')
    # `page` twice, as zstd has it
    packed = bytes.fromhex('28b52ffd60001f5508000410') + bytes(range(256)) + bytes.fromhex('010000fd3ed0af29')
    yield frame(14, 4096, struct.pack('<I', 2) + packed) + frame(6, 1)
    yield frame(9, 5, b'{"running": true, "disks": [{"disk": 0, "size": 512}]}') + frame(11, 0) + frame(13, 0, b'{"text": "no"}')


def decode():
    yield bytes.fromhex('4801d80f0b66 90f30fb8c0c4e2f8f2c1 62f17c4858c1 8fe878a6c100 0f0fc1b4'.replace(' ', ''))
    yield bytes.fromhex('ea0102030405069a0102030405064c8b4ca5f8658b0510000000c8010203a10102030405060708')
    yield bytes.fromhex('66' * 14 + '90' + '66' * 15 + '90' + 'f0' * 3 + '0fc708')


def gdb():
    def packets(*texts):
        return b''.join(b'$%s#%02x' % (t, sum(t) & 255) for t in texts)
    start = packets(b'qSupported:swbreak+;hwbreak+', b'vCont?', b'qXfer:features:read:target.xml:0,1000', b'?',
                    b'qfThreadInfo', b'qsThreadInfo', b'qThreadExtraInfo,2', b'Hg2', b'T3', b'qC', b'QStartNoAckMode')
    memory = packets(b'm1000,40', b'M1000,4:deadbeef', b'X2000,3:a}\x04z', b'M10000,8:0710020000000000',
                     b'M11000,8:0720020000000000', b'Hg2', b'm0,10', b'mffffffffffffffff,2', b'Hg3', b'm400000,4')
    registers = packets(b'g', b'p10', b'P0=0102030405060708', b'P10=0010000000000000', b'P38=801f0000', b'P29=' + 32 * b'1',
                        b'G' + 1200 * b'0')
    points = packets(b'Z0,1000,1', b'Z0,1001,1', b'Z1,2000,1', b'Z2,3000,4', b'Z3,3008,8', b'Z4,3010,2')
    go = packets(b'c', b'vCont;c') + b'\3' + packets(b'vCont;s:1', b'vCont;s:2;c', b'z0,1000,1', b'z2,3000,4', b's', b'C05',
                                                     b'c1000') + b'\3\3'
    for first in b'\0\1\2\3':
        first = bytes([first])
        yield first + start
        yield first + memory + registers
        yield first + points + go + packets(b'D')
        yield first + start + points + go + memory + go + packets(b'k')
        yield first + b'$x$?#3f-+$m#00' + packets(b'')


def message():
    yield b'DRVM' + struct.pack('>HHII', 1, 3, 7, 2) + b'{}'
    yield b'DRVM' + struct.pack('>HHII', 2, 3, 7, 2) + b'{}'


def etcd():
    import base64
    import json

    def b64(text):
        return base64.b64encode(text.encode()).decode()

    def step(what, call, answer=b''):
        data = answer if isinstance(answer, bytes) else json.dumps(answer, separators=(',', ':')).encode()
        return bytes([what | call << 3]) + struct.pack('<H', len(data)) + data

    def line(answer):
        return step(0, 0, json.dumps(answer).encode() + b'\n')

    def header(revision, cluster='77'):
        return {'cluster_id': cluster, 'member_id': '5', 'revision': str(revision), 'raft_term': '2'}

    def kv(key, revision, value='v'):
        return {'key': b64(key), 'create_revision': '2', 'mod_revision': str(revision), 'version': '1', 'value': b64(value),
                'lease': '7'}
    RANGE, TXN, GRANT, KEEP, REVOKE, ANY = range(6)
    found = {'header': header(9), 'kvs': [kv('a', 5)], 'count': '1'}
    several = {'header': header(9), 'kvs': [kv('a', 5), kv('a/b', 6, 'long' * 20)], 'more': True, 'count': '7'}
    done = {'header': header(10), 'succeeded': True, 'responses': [{'response_put': {'header': {'revision': '10'}}}]}
    stale = {'header': header(9), 'responses': [{'response_range': {'kvs': [kv('a', 5)]}}, {'response_range': {}}]}
    grant = {'header': header(9), 'ID': '7', 'TTL': '5'}
    keep = {'result': grant}
    gone = {'error': 'etcdserver: requested lease not found', 'message': 'x', 'code': 5}
    leaderless = {'error': 'etcdserver: no leader', 'message': 'etcdserver: no leader', 'code': 14}
    created = line({'result': {'header': header(9), 'created': True}})
    put = {'kv': kv('a', 5)}
    later = {'kv': kv('a/c', 6)}
    delete = {'type': 'DELETE', 'kv': {'key': b64('a'), 'mod_revision': '6'}}
    for commit in (done, stale):
        yield step(3, RANGE, found) + step(3, RANGE, several) + step(3, RANGE, found) + step(3, TXN, commit) + \
            step(3, GRANT, grant) + step(3, KEEP, keep) + step(3, REVOKE, {'header': header(9)})
    yield step(3, KEEP, {'result': {'header': header(9), 'ID': '7'}}) + step(5, REVOKE, gone) + step(5, RANGE, leaderless)
    yield step(6, RANGE) + step(7, RANGE) + step(6, TXN, b'x') + step(7, GRANT) + step(5, TXN, leaderless)
    yield created + line({'result': {'header': header(9), 'events': [put, later, delete]}}) + \
        line({'result': {'header': header(12)}})
    yield created + line({'result': {'header': header(9), 'fragment': True, 'events': [put, later]}}) + \
        line({'result': {'header': header(9), 'events': [delete]}}) + step(2, ANY, b'x')
    yield created + line({'result': {'header': header(0), 'canceled': True, 'compact_revision': '8'}})
    yield created + line({'result': {'header': header(9), 'canceled': True, 'cancel_reason': 'no leader'}})
    yield created + line({'error': {'grpc_code': 14, 'http_code': 503, 'message': 'etcdserver: no leader'}})
    yield created + step(3, RANGE, {'header': header(2), 'count': '0'})
    yield created + step(3, RANGE, {'header': header(9, '78'), 'count': '0'})
def http():
    import json

    def frame(opcode, payload=b'', final=True):
        return bytes([(0x80 if final else 0) | opcode, 0x80 | len(payload)]) + bytes(4) + payload
    head = b' HTTP/1.1\r\nHost: x\r\n'
    thing = {'name': 'a', 'size': '20G', 'wait': '5s', 'on': False, 'ratio': 0.5, 'ip': 'fe80::1', 'net': '10.7.0.0/24',
             'id': '7B0C4F4E-3C55-4F0E-9F3A-2D4C8A1B5E60', 'address': '10.7.0.5/24', 'mac': '52:54:00:AA:34:56',
             'at': '2026-11-26T04:00:00Z', 'url': 'https://x/y', 'colour': 'red', 'tags': ['a', 'b'], 'labels': {'k': 'v'},
             'disks': [{'volume': 'v', 'size': 1 << 30}], 'text': 'a\nb'}
    requests = [b'GET /v1/things/a?limit=5&after=x&size=1G' + head + b'\r\n',
                b'GET /v1/openapi.json' + head + b'If-None-Match: "1"\r\nAccept: text/x;q=0, */*\r\n\r\n',
                b'POST /v1/things?dry_run=true' + head + b'Content-Type: application/json\r\nExpect: 100-continue\r\n'
                b'Content-Length: 12\r\n\r\n{"name":"a"}',
                b'HEAD /%41 HTTP/1.0\r\n\r\n', b'PUT /v1/things' + head + b'Connection: close\r\n\r\n',
                b'POST /' + head + b'Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
                b'GET /v1/things/a' + head + b'Authorization: Bearer drover_' + b'A' * 43 + b'\r\n\r\n']
    for cut in (0, 100, 255):
        for request in requests:
            yield bytes([0, cut]) + request
        yield bytes([0, cut]) + b''.join(requests)
        for frames in ([frame(1, b'hello'), frame(8, b'\x03\xe8bye')], [frame(1, b'a', False), frame(9, b'p'), frame(0, b'b')],
                       [frame(2, b'x'), frame(8)], [frame(10, b'p'), frame(3)]):
            yield bytes([1, cut]) + b''.join(frames)
        for how in (2, 3):
            yield bytes([how, cut]) + json.dumps(thing).encode()
            for name in thing:
                yield bytes([how, cut]) + json.dumps({'name': 'a', name: thing[name]}).encode()


def credential():
    yield b'\x00drover_' + b'A' * 43
    yield b'\x00drover-join_' + b'A' * 43
    yield (b'\x01{"id":"7b0c4f4e-3c55-4f0e-9f3a-2d4c8a1b5e60","name":"alice","kind":"access","role":"viewer","created":1,'
           b'"expires":0,"revoked":false,"hash":"' + b'0a' * 32 + b'"}')
    yield b'\x01{"id":"x","name":"j","kind":"join","role":"none","created":1,"expires":9,"revoked":true,"hash":"' + b'00' * 32 + b'"}'
    yield b'\x02{"seq":7,"time":"","prev":"' + b'0' * 64 + b'"}'
    yield b'\x03-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n'
    yield b'\x03-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----\n'


def luks():
    slot = {'type': 'luks2', 'key_size': 64, 'af': {'type': 'luks1', 'stripes': 4000, 'hash': 'sha256'},
            'area': {'type': 'raw', 'offset': '32768', 'size': '258048', 'encryption': 'aes-xts-plain64', 'key_size': 64},
            'kdf': {'type': 'pbkdf2', 'hash': 'sha256', 'iterations': 2, 'salt': 'QUJDREVGR0hJSktMTU5PUA=='}}
    argon2 = dict(slot, area=dict(slot['area'], offset='290816'), priority=2,
                  kdf={'type': 'argon2id', 'time': 4, 'memory': 64, 'cpus': 2, 'salt': 'QUJDREVGR0hJSktMTU5PUA=='})
    digest = {'type': 'pbkdf2', 'keyslots': ['0', '1'], 'segments': ['0'], 'hash': 'sha256', 'iterations': 2,
              'salt': 'QUJDREVGR0hJSktMTU5PUA==', 'digest': 'QUJDREVGR0hJSktMTU5PUA=='}
    segment = {'type': 'crypt', 'offset': '557056', 'size': 'dynamic', 'iv_tweak': '0', 'encryption': 'aes-xts-plain64',
               'sector_size': 512}
    header = {'keyslots': {'0': slot, '1': argon2}, 'tokens': {'0': {'type': 'x', 'keyslots': ['0']}},
              'segments': {'0': segment}, 'digests': {'0': digest},
              'config': {'json_size': '12288', 'keyslots_size': '524288'}}
    yield b'\x02' + json.dumps(header).encode()
    yield b'\x02' + json.dumps(dict(header, keyslots={})).encode()
    yield b'\x02' + json.dumps(dict(header, segments={'0': dict(segment, size='4096', integrity={'type': 'x'})})).encode()
    yield b'\x02' + json.dumps(dict(header, config=dict(header['config'], requirements={'mandatory': ['x']}))).encode()
    slots = b''.join(struct.pack('>II32sII', (0xdead, 0xac71f3)[i == 0], 1, b's' * 32, 8 + 504 * i, 4000) for i in range(3))
    slots += b''.join(struct.pack('>II32sII', 0xdead, 0, b'', 8 + 250 * i, 4000) for i in range(5, 10))
    for key_bytes in (32, 64):
        yield b'\x00' + b'LUKS\xba\xbe\x00\x01' + struct.pack('>32s32s32sII20s32sI40s', b'aes', b'xts-plain64', b'sha256',
                                                                2040, key_bytes, b'd' * 20, b's' * 32, 1, b'uuid') + slots
    yield b'\x01' + b'LUKS\xba\xbe\x00\x02' + struct.pack('>QQ48s32s64s40s48sQ', 16384, 1, b'', b'sha256', b'', b'', b'', 0)


def balancer():
    data = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'balancer', 'data')
    for name in sorted(os.listdir(data)):
        if name.endswith('.data'):
            with open(os.path.join(data, name), 'rb') as f:
                yield b'\x00' + f.read()
    nodes = [{'name': 'n%d' % i, 'cpus': 8, 'memory': '32G', 'memory_own': '1G', 'rack': 'r%d' % (i // 2), 'site': 's', 'age': 5,
              'networks': ['lan'], 'pools': ['ssd'], 'cpu_models': ['v3'], 'network_rate': '1G', 'pressure': {'cpu': 0.1}}
             for i in range(4)]
    guests = [{'name': 'g%d' % i, 'node': 'n%d' % (i % 2), 'vcpus': 2, 'memory': '2G', 'age': '10s', 'networks': ['lan'],
               'load': {'cpu': 0.7 * i, 'memory': '1G'}, 'error': {'cpu': 0.1}, 'dirty_rate': '10M', 'moved_ago': '1h',
               'came_from': 'n3', 'pools': ['ssd'], 'cpu_models': ['v3', 'v2'], 'steal': 0.1} for i in range(8)]
    guests[0]['pinned'] = ['n0', 'n1']
    groups = [{'name': 'db', 'guests': ['g1', 'g2'], 'scope': 'rack'}, {'name': 'web', 'keep': 'together', 'hard': False,
                                                                        'guests': ['g3', 'g4'], 'weight': 2}]
    nodes[3].update(members=2, stays_on=True)
    cluster = {'nodes': nodes, 'guests': guests, 'groups': groups, 'migrations': [{'bytes': '2G', 'seconds': 3}]}
    yield b'\x01' + json.dumps(cluster, indent=1).encode()
    asleep = {'name': 'n9', 'state': 'offline', 'drained': True}
    yield b'\x01' + json.dumps(dict(cluster, nodes=nodes + [asleep], groups=[])).encode()
    hot = [dict(g, load={'cpu': 7}) for g in guests]
    yield b'\x01' + json.dumps(dict(cluster, nodes=nodes + [asleep], guests=hot)).encode()
    odd = dict(nodes[0], name='odd', rack=7)
    some = guests + [dict(guests[2], name='x', memory=-1), dict(guests[3], node='odd'), {'node': 'n1'}, 3, dict(guests[4], name='y', pinned=['odd'])]
    yield b'\x01' + json.dumps(dict(cluster, nodes=nodes + [odd, {}, nodes[1]], guests=some, groups=[dict(groups[0], guests=['g1', 'x', 'g2']), {'keep': 1}],
                                    migrations=[{'bytes': -1}], left_out=[{'who': 'guest z', 'why': 'it has no name', 'node': 'n2'}]), indent=1).encode()
    for use in (b'i0 0.5 0.1 0 1e3\ni2 1 2 3 4\n', b'\ni1  7 7\t7 7\n', b'i9 1 1 1 1\n', b'i0 -1 x 1 1\n'):
        yield b'\x06' + use
    yield b'\x02' + json.dumps({'consolidate': {'cpu': 0.5, 'wake_cpu': 0.6, 'keep': 3, 'lose': 0}}).encode()
    yield b'\x02' + json.dumps({'weights': {'cpu': 2}, 'patience': {'enter': 0.1, 'leave': 0.05, 'cool_down': '1h'},
                                'moves': {'parallel': 4}, 'cost': {'link': '1G'}, 'limits': {'lose': 1}}).encode()
    yield b'\x03' + b'1\t2\t3.5\n4\t5\t100\n'
    yield b'\x03' + b'0 1.5K 2e6\n\n3M,1G,7\r\n'
    yield b'\x05' + json.dumps({'waves': [[{'guest': 'g0', 'from': 'n0', 'to': 'n2'}, {'guest': 'g1', 'to': 'n0', 'mirror_to': 'n1'}], [{}]]}).encode()
    yield b'\x04' + json.dumps(stored_cluster()).encode()
    broken = stored_cluster()
    broken['guest'].update(G4={'unreadable': True, 'state': {'node': 'n2'}}, G5={'value': {'name': 'g5', 'spec': {'node': 'n9'}}}, G6={'value': {'spec': {}}})
    broken['node'].update(N4={'unreadable': True}, N5={'value': {'spec': {}}})
    yield b'\x04' + json.dumps(broken).encode()
    for phase in ('active', 'proposed'):
        yield b'\x04' + json.dumps(stored_cluster({'id': 'P', 'name': 'p', 'apply': {}, 'spec': {
            'phase': phase, 'wave': 0, 'waves': [[{'move': 0, 'guest': 'g1', 'guest_id': 'G1', 'from': 'n1', 'to': 'n2'}],
                                                 [{'move': 1, 'guest': 'g2', 'guest_id': 'G2', 'from': 'n1', 'to': 'n3'}]]}})).encode()


def drill_cluster():
    """As `drover cluster export` writes it, with all that a simulated drill reads."""
    nodes = [{'name': 'n%d' % i, 'memory': '16G', 'rack': 'r%d' % (i // 2), 'cpu_models': ['baseline-v2', 'host-1'],
              'state': ('ready', 'ready', 'draining', 'offline')[i]} for i in range(4)]
    guests = [{'name': 'g%d' % i, 'node': 'n%d' % (i % 4), 'vcpus': 2, 'memory': 2 << 30, 'state': 'running', 'ha': i < 6,
               'ha_priority': 10 * i, 'ha_delay': 1000, 'ha_after': ['g%d' % (i + 1)], 'cpu_models': ['baseline-v2'],
               'volumes': [{'members': ['n0', 'n1', None], 'spare': 1, 'witness': 'n2'}]} for i in range(8)]
    guests[0]['pinned'], guests[1]['avoid'] = ['n0', 'n1'], ['n2']
    groups = [{'name': 'a', 'keep': 'apart', 'scope': 'rack', 'hard': True, 'guests': ['g1', 'g2']},
              {'name': 'b', 'keep': 'together', 'scope': 'site', 'hard': True, 'guests': ['g3', 'g7']}]
    yield json.dumps({'nodes': nodes, 'guests': guests, 'groups': groups}, indent=1).encode()
    yield json.dumps({'nodes': nodes[:2], 'guests': []}).encode()


def stored_cluster(plan=None):
    """Objects of the store, as the elected balancer has them."""
    migration = {'value': {'spec': {'guest_id': 'G1', 'from': 'n2', 'to': 'n1', 'plan': 'P', 'move': 0,
                                    'began': '2026-11-26T11:00:00.000Z'}},
                 'state': {'phase': 'done', 'ended': '2026-11-26T11:00:01.000Z', 'done_bytes': 1000, 'total_ms': 10}}
    policy = {'mode': 'automatic', 'text': '{"cost": {"move": 1}, "patience": {"cool_down": 0}}'}
    return {
        'node': {'N%d' % i: {'value': {'id': 'N%d' % i, 'name': 'n%d' % i, 'spec': {'drained': False, 'labels': {'rack': 'r'}}},
                             'state': {'alive': True, 'cpus': 2, 'memory_bytes': 8 << 30}} for i in (1, 2, 3)},
        'guest': {'G%d' % i: {'value': {'id': 'G%d' % i, 'name': 'g%d' % i, 'spec': {'node': 'n1', 'running': True,
                                                                                     'memory': 1 << 30, 'vcpus': 1}},
                              'state': {'phase': 'running'}} for i in (1, 2, 3)},
        'load': {'N1': {'seen': 999, 'state': {'pressure': {'cpu': 0.1}, 'guests': {
            'G%d' % i: {'cpu': [80, 90, 70], 'memory': 1 << 29} for i in (1, 2, 3)}}},
                 'N2': {'seen': 999, 'state': {}}, 'N3': {'seen': 999, 'state': {}}},
        'hours': {'G1': {'state': {'G1': '500000:' + ('0005' * 12 + '0096' * 12) * 3}}, 'G2': {'state': {'G2': '499990:----0001'}}},
        'migration': {'M1': migration}, 'policy': {'balance': {'value': {'spec': policy}}},
        'plan': {'P': {'value': plan, 'revision': 7}} if plan else {}}


def main(target, directory):
    """The seeds of a target come from the function of its name."""
    os.makedirs(directory, exist_ok=True)
    for i, seed in enumerate(globals()[target]()):
        with open(os.path.join(directory, 'seed-%03d' % i), 'wb') as f:
            f.write(seed)


if __name__ == '__main__':
    main(*sys.argv[1:])
