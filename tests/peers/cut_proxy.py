#!/usr/bin/env python3
"""Stands between an NBD client and its server on Unix sockets, and cuts connections at random places.

    cut_proxy.py LISTEN TARGET SEED MIN MAX

Each connection is cut, both sides at once, after a random number of bytes (both directions together) from MIN to MAX.
Prints the number of cuts on SIGTERM."""

import os
import random
import signal
import socket
import sys
import threading

CHUNK = 65536
cuts = 0


class Pair:
    """A client, its server, and how many bytes they may still exchange. Each direction has a thread of its own, so that
    neither waits for the other."""

    def __init__(self, client, server, budget):
        self.sides, self.left, self.cut, self.lock = (client, server), budget, False, threading.Lock()
        for side, other in (self.sides, self.sides[::-1]):
            threading.Thread(target=self.forward, args=(side, other), daemon=True).start()

    def forward(self, side, other):
        try:
            while True:
                data = side.recv(CHUNK)
                with self.lock:
                    data = data[: max(self.left, 0)]
                    self.left -= len(data)
                other.sendall(data)
                if not data or self.left <= 0:
                    break
        except OSError:
            pass
        self.end()

    def end(self):
        global cuts
        with self.lock:
            if self.cut:
                return
            self.cut = True
            cuts += self.left <= 0
            for side in self.sides:
                try:
                    side.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass


def stop(_signal, _frame):
    print(cuts, flush=True)
    os._exit(0)


def main():
    listen, target, seed, low, high = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
    dice = random.Random(seed)
    signal.signal(signal.SIGTERM, stop)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(listen)
    listener.listen(64)
    while True:
        client, _ = listener.accept()
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(target)
        except OSError:  # nobody there just now
            client.close()
            continue
        Pair(client, server, dice.randint(low, high))


main()
