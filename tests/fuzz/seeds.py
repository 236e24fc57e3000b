#!/usr/bin/python3
"""Writes the seed corpus of a fuzz target: honest conversations, from which the fuzzer starts to stray.
usage: seeds.py TARGET DIRECTORY"""
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


def uri():
    yield b'nbd://localhost'
    yield b'nbd://[::1]:10810/export%20name'
    yield b'nbds://alice@host.example/e?tls-psk-file=/etc/keys&tls-hostname=h&tls-verify-peer=0'
    yield b'nbd+unix:///e?socket=/run/x.sock'
    yield b'nbds+unix://bob@/?socket=%2frun%2Fx&tls-certificates=/etc/pki'


def main(target, directory):
    os.makedirs(directory, exist_ok=True)
    for i, seed in enumerate({'server': server, 'client': client, 'stack': stack, 'uri': uri}[target]()):
        with open(os.path.join(directory, 'seed-%03d' % i), 'wb') as f:
            f.write(seed)


if __name__ == '__main__':
    main(*sys.argv[1:])
