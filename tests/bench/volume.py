"""Volumes over NBD members on this machine (TCP), beside one such member without a volume: what copies, checksums and the
record of hot regions cost. Parity layouts over members that are as slow as disks, beside raid0; and the arithmetic of
parity beside ISA-L's."""
import json
import os
import subprocess

from sides import DROVER_IMG, DROVER_NBD, MIB, Bench, column, run_fio

SIZE = 256 * MIB


class Members:
    """Storage servers, each with one member of one volume."""

    def __init__(self, bench, layout, count, name='', below=()):
        self.processes, self.uris, uuid = [], [], None
        for i in range(count):
            path = bench.path('%s%s-%d' % (layout, name, i))
            with open(path, 'w') as f:
                f.truncate(SIZE + 16 * MIB)
            said = subprocess.run([DROVER_IMG, 'member', 'create', '--layout', layout, '--members', str(count), '--index',
                                   str(i), '--size', str(SIZE), *(['--volume', uuid] if uuid else []), path],
                                  check=True, capture_output=True, text=True).stdout
            uuid = uuid or said.split()[1]
            self.serve(json.dumps([*below, {'driver': 'raw', 'file': path}]))
        self.stack = json.dumps({'driver': 'volume', 'layout': layout, 'members': ['nbd:' + u for u in self.uris]})

    def serve(self, stack):
        p = subprocess.Popen([DROVER_NBD, '--print-listening', '--listen', 'tcp:127.0.0.1:0', stack],
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.processes.append(p)
        self.uris.append('nbd://127.0.0.1:' + p.stdout.readline().strip().rsplit(':', 1)[1])

    def stop(self):
        for p in self.processes:
            p.terminate()
            p.wait()


def compare(b, layout, count, lone, latency):
    members = Members(b, layout, count)
    volume = b.ours(members.stack, name='drover')
    try:
        if latency:
            r = b.interleave(lambda s: run_fio(s, b.seconds, '--bs=4k', '--iodepth=1', '--rw=randwrite',
                                               '--size=%d' % SIZE), [volume, lone])
            b.row('%s over %d, 4k write QD1, median' % (layout, count), 'us', column(r, 'p50_us'), 'low', 1.3)
        for rw in ('read', 'write'):
            r = b.interleave(lambda s: run_fio(s, b.seconds, '--bs=1m', '--iodepth=4', '--rw=' + rw,
                                               '--size=%d' % SIZE), [volume, lone])
            mb = {n: [v / 1e6 for v in vs] for n, vs in column(r, 'bytes_s').items()}
            b.row('%s over %d, 1m %s QD4' % (layout, count, rw), 'MB/s', mb, 'high', 0.5)
    finally:
        volume.stop()
        b.sides.remove(volume)
        members.stop()


def one_round(b, layout, count):
    """Members that take half a millisecond for a write, as disks do: that the copies are written at the same time shows
    here, where servers on the same two processors do not wait for each other."""
    slow = [{'driver': 'fault', 'rules': [{'op': 'write', 'delay': '500us'}]}]
    members = Members(b, layout, count, '-slow', slow)
    members.serve(json.dumps([*slow, {'driver': 'raw', 'file': b.file('lone-slow', SIZE, random=False)}]))
    sides = [b.ours(members.stack, name='drover'), b.ours('nbd:' + members.uris[-1], name='one member')]
    try:
        r = b.interleave(lambda s: run_fio(s, b.seconds, '--bs=4k', '--iodepth=1', '--rw=randwrite',
                                           '--size=%d' % SIZE), sides)
        b.row('%s over %d of 0.5 ms, 4k write QD1, median' % (layout, count), 'us', column(r, 'p50_us'), 'low', 1.3)
    finally:
        for side in sides:
            side.stop()
            b.sides.remove(side)
        members.stop()


def encrypted(b):
    """LUKS above two copies on two servers: what a guest's disk is, but for the guest; beside the copies alone."""
    members = Members(b, 'raid1', 2)
    layer = json.loads(members.stack)
    key = b.path('key')
    with open(key, 'w') as f:
        f.write('a passphrase')
    subprocess.run([DROVER_IMG, 'luks', 'create', '--force', '--kdf=pbkdf2', '--iterations=1000', '--key-file', key,
                    json.dumps([layer])], check=True, capture_output=True)
    secret = b.ours(json.dumps([{'driver': 'luks', 'key': {'file': key}}, layer]), name='drover')
    plain = Members(b, 'raid1', 2, '-clear')
    clear = b.ours(plain.stack, name='in clear')
    try:
        for rw in ('read', 'write'):
            r = b.interleave(lambda s: run_fio(s, b.seconds, '--bs=1m', '--iodepth=4', '--rw=' + rw,
                                               '--size=%d' % (SIZE - 32 * MIB)), [secret, clear])
            mb = {n: [v / 1e6 for v in vs] for n, vs in column(r, 'bytes_s').items()}
            b.row('LUKS over raid1 over 2, 1m %s QD4' % rw, 'MB/s', mb, 'high', 0.5)
    finally:
        for side in (secret, clear):
            side.stop()
            b.sides.remove(side)
        members.stop()
        plain.stop()


def stripes(b, layout, count, overwrite):
    """1 MiB writes in order to members of 40 MB/s each, beside raid0 over as many members as there are of data: whole
    stripes, once where nothing was written before and once over what is there."""
    made = [(layout, count, 'drover'), ('raid0', count - (2 if layout == 'raid6' else 1), 'raid0')]
    size = 16 * MIB if overwrite else 512 * MIB

    def run(side):
        return run_fio(side, b.seconds, '--bs=1m', '--iodepth=8', '--rw=write', '--size=%d' % size)

    def fresh(name, one_layout, members):
        paths, uuid = [], None
        for i in range(members):
            path = b.path('%s-%s-%d' % (name, one_layout, i))
            with open(path, 'w') as f:
                f.truncate(512 * MIB + 24 * MIB)
            said = subprocess.run([DROVER_IMG, 'member', 'create', '--layout', one_layout, '--members', str(members),
                                   '--index', str(i), '--size', str(512 * MIB), *(['--volume', uuid] if uuid else []), path],
                                  check=True, capture_output=True, text=True).stdout
            uuid = uuid or said.split()[1]
            paths.append([{'driver': 'throttle', 'bps': 40000000}, {'driver': 'raw', 'file': path}])
        return b.ours(json.dumps({'driver': 'volume', 'layout': one_layout, 'members': paths}), name=name)

    results = {name: [] for _, _, name in made}
    for _ in range(1 if b.short else 3):
        for one_layout, members, name in made:
            side = fresh(name, one_layout, members)
            if overwrite:
                run(side)
            results[name].append(run(side)['bytes_s'] / 1e6)
            side.stop()
            b.sides.remove(side)
    b.row('%s over %d, whole stripes, %s' % (layout, count, 'over others' if overwrite else 'where nothing was'), 'MB/s',
          results, 'high', 0.8)


def parity(b):
    said = subprocess.run([os.path.join(os.path.dirname(DROVER_IMG), 'parity_bench'), '30' if b.short else '300'],
                          check=True, capture_output=True, text=True).stdout
    for line in said.splitlines():
        data, count, ours, theirs = line.split()
        b.row('parity, %s data and %s, 64k each' % (data, 'P' if count == '1' else 'P and Q'), 'MB/s',
              {'drover': [float(ours) / 1e6], 'ISA-L': [float(theirs) / 1e6]}, 'high', 0.9)


def checksums(b):
    """A volume of one member and one copy: only what checksums and the record of hot regions cost."""
    path = b.path('one')
    with open(path, 'w') as f:
        f.truncate(SIZE + 16 * MIB)
    subprocess.run([DROVER_IMG, 'member', 'create', '--layout', 'raid0', '--members', '1', '--index', '0', '--size',
                    str(SIZE), path], check=True, capture_output=True)
    volume = b.ours('{"driver":"volume","layout":"raid0","members":["raw:%s"]}' % path, name='drover')
    plain = b.ours('raw:' + b.file('plain', SIZE, random=False), name='raw')
    for rw in ('read', 'write'):
        r = b.interleave(lambda s: run_fio(s, b.seconds, '--bs=128k', '--iodepth=8', '--rw=' + rw, '--size=%d' % SIZE),
                         [volume, plain])
        mb = {n: [v / 1e6 for v in vs] for n, vs in column(r, 'bytes_s').items()}
        b.row('checksums, 128k %s QD8' % rw, 'MB/s', mb, 'high', 0.9)


def main(short):
    with Bench('volume', short) as b:
        far = Members(b, 'raid0', 1)
        far.serve('raw:' + b.file('lone', SIZE, random=False))
        lone = b.ours('nbd:' + far.uris[1], name='one member')
        try:
            compare(b, 'replica', 3, lone, True)
            compare(b, 'raid1', 2, lone, True)
            compare(b, 'raid10', 4, lone, False)
        finally:
            far.stop()
        one_round(b, 'replica', 3)
        encrypted(b)
        checksums(b)
        for layout, count in (('raid5', 3), ('raid6', 4)):
            stripes(b, layout, count, False)
            stripes(b, layout, count, True)
        parity(b)
        b.done()
