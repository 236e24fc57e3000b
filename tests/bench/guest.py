"""A guest beside QEMU TCG with the same files: CPU time of a boot, memory beside the guest's own, start, save and load."""
import json
import os
import select
import socket
import subprocess
import sys
import time

from sides import BUILD, MIB, ROOT, Bench

sys.path.insert(0, os.path.join(ROOT, 'tests/hv'))
import initrd  # noqa: E402
import kernels  # noqa: E402

GUEST = os.path.join(BUILD, 'drover-guest')
ENGINE = os.environ.get('DROVER_ENGINE', 'dbt')
CMDLINE = 'console=ttyS0 quiet panic=-1'
READY = b'guest: ready'


def ramdisk(b, kind):
    path = b.path('initrd-%s.gz' % kind)
    initrd.build(path, kernels.modules(kind))
    return path


class Machine:
    """A process whose serial port is its standard output."""

    def __init__(self, command, pass_fds=()):
        self.began = time.monotonic()
        ours, theirs = socket.socketpair()
        self.process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL, pass_fds=pass_fds)
        theirs.close()
        self.console = ours
        self.text = b''

    def until(self, marker, seconds=600):
        limit = time.monotonic() + seconds
        while marker not in self.text:
            ready, _, _ = select.select([self.console], [], [], max(0, limit - time.monotonic()))
            data = self.console.recv(65536) if ready else b''
            if not data:
                raise RuntimeError('no %r from %s: %r' % (marker, self.process.args[0], self.text[-500:]))
            self.text += data
        return self

    def answers(self, seconds=60):
        """Until the guest's shell says something; asked again and again, since who is being loaded may not listen."""
        limit = time.monotonic() + seconds
        while b'here I am' not in self.text and time.monotonic() < limit:
            self.console.sendall(b'echo here I ""am\n')
            if select.select([self.console], [], [], 0.01)[0]:
                self.text += self.console.recv(65536)
        return self.until(b'here I am', 0)

    def cpu(self):
        with open('/proc/%d/stat' % self.process.pid) as f:
            fields = f.read().rsplit(') ', 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')

    def beside_guest_bytes(self, guest_bytes):
        """Resident memory without the mapping that is the guest's. A file that is mapped twice (code that runs at one
        address and is written at another) is in memory once."""
        shared, total = {}, 0
        with open('/proc/%d/smaps' % self.process.pid) as f:
            for line in f:
                fields = line.split()
                if not fields[0].endswith(':'):
                    _, rights, offset, device, inode = fields[:5]
                    file = (device, inode, offset) if rights.endswith('s') else None
                elif fields[0] == 'Size:':
                    size = int(fields[1]) * 1024
                elif fields[0] == 'Rss:' and size < guest_bytes:
                    resident = int(fields[1]) * 1024
                    total += max(0, resident - shared.get(file, 0)) if file else resident
                    if file:
                        shared[file] = max(resident, shared.get(file, 0))
        return total

    def end(self):
        self.process.kill()
        self.process.wait()
        self.console.close()


def ours(memory, kernel_path, ramdisk_path, *more):
    return [GUEST, 'run', '--engine', ENGINE, '--memory', '%dM' % memory, '--kernel', kernel_path, '--cmdline', CMDLINE,
            '--console', 'stdio', *(['--initrd', ramdisk_path] if ramdisk_path else []), *more]


def tcg(memory, kernel_path, ramdisk_path, *more):
    return ['qemu-system-x86_64', '-accel', 'tcg', '-M', 'pc', '-m', str(memory), '-nodefaults', '-nographic', '-no-reboot',
            '-serial', 'stdio', '-kernel', kernel_path, '-append', CMDLINE,
            *(['-initrd', ramdisk_path] if ramdisk_path else []), *more]


def boot(b, kind, figure, reach, peer_kernel):
    path = kernels.vmlinuz(kind)
    ram = ramdisk(b, kind)
    commands = {'drover': ours(512, path, ram), 'qemu-tcg': tcg(512, peer_kernel or path, ram)}
    cpu, memory = {n: [] for n in commands}, {n: [] for n in commands}
    for _ in range(b.rounds):
        for name, command in commands.items():
            m = Machine(command)
            try:
                m.until(READY)
                cpu[name].append(m.cpu())
                memory[name].append(m.beside_guest_bytes(500 * MIB) / MIB)
            finally:
                m.end()
    b.row(figure, 's CPU', cpu, 'low', reach)
    return memory


def start(b):
    """CPU time from exec to the first thing a tiny kernel prints."""
    tiny = b.path('payload')
    subprocess.run(['sh', os.path.join(ROOT, 'tests/hv/payload/build.sh'), tiny], check=True)
    results = {'drover': [], 'Firecracker 8 ms': []}
    for _ in range(b.rounds * 3):
        m = Machine(ours(64, tiny, None))
        try:
            m.until(b'ok ')
            total = 0
            for task in os.listdir('/proc/%d/task' % m.process.pid):
                with open('/proc/%d/task/%s/schedstat' % (m.process.pid, task)) as f:
                    total += int(f.read().split()[0])
            results['drover'].append(total / 1e6)
        finally:
            m.end()
        results['Firecracker 8 ms'].append(8)
    b.row('start to the first instructions, all threads', 'ms CPU', results, 'low', 15 / 8)


def qmp(path, *commands):
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    f = s.makefile('rw')
    json.loads(f.readline())
    answers = []
    for c in ({'execute': 'qmp_capabilities'},) + commands:
        f.write(json.dumps(c) + '\n')
        f.flush()
        while True:
            answer = json.loads(f.readline())
            if 'event' not in answer:
                answers.append(answer)
                break
    s.close()
    return answers[1:]


def save_and_load(b):
    path, ram = kernels.vmlinuz('cloud'), ramdisk(b, 'cloud')
    results = {'drover': [], 'qemu-tcg': []}
    for i in range(b.rounds):
        control, saved = b.path('control'), b.path('saved%d' % i)
        m = Machine(ours(512, path, ram, '--control', 'unix:' + control)).until(READY)
        began = time.monotonic()
        subprocess.run([GUEST, 'ctl', 'unix:' + control, 'save', saved], check=True)
        used = time.monotonic() - began
        m.end()
        began = time.monotonic()
        m = Machine(ours(512, path, ram, '--load', saved))
        m.answers()
        results['drover'].append(used + time.monotonic() - began)
        m.end()
        os.unlink(saved)

        sock = b.path('qmp%d' % i)
        m = Machine(tcg(512, path, ram, '-qmp', 'unix:%s,server,nowait' % sock)).until(READY)
        began = time.monotonic()
        qmp(sock, {'execute': 'migrate', 'arguments': {'uri': 'exec:cat>' + saved}})
        while qmp(sock, {'execute': 'query-migrate'})[0]['return']['status'] != 'completed':
            time.sleep(0.002)
        used = time.monotonic() - began
        m.end()
        began = time.monotonic()
        m = Machine(tcg(512, path, ram, '-incoming', 'exec:cat ' + saved))
        m.answers()
        results['qemu-tcg'].append(used + time.monotonic() - began)
        m.end()
        os.unlink(saved)
    b.row('save and load of an idle 512 MiB guest', 's', results, 'low', 1.0)


def restore(b):
    """From exec to the first thing that a loaded guest of 4 GiB prints, 3 of them written; its file is in the page cache. It
    prints all the time, so that little passes between its first instruction and that. Ours loads while the guest runs."""
    path, ram, load = kernels.vmlinuz('cloud'), b.path('initrd-load.gz'), b.path('memory_load')
    subprocess.run(['gcc', '-O2', '-static', '-o', load, os.path.join(ROOT, 'tests/hv/memory_load.c')], check=True)
    initrd.build(ram, kernels.modules('cloud'), files=[('bin/memory_load', load)])
    work = (b'memory_load 3072 >/dev/null & until [ -e /tmp/passes ]; do sleep 0.1; done; touch /tmp/stop; echo it ""is written; '
            b'while :; do echo here I ""am; done\n')
    results = {'drover': [], 'qemu-tcg': []}
    for side, make in (('drover', ours), ('qemu-tcg', tcg)):
        control, saved = b.path('control-' + side), b.path('saved-' + side)
        more = (('--control', 'unix:' + control) if side == 'drover' else ('-qmp', 'unix:%s,server,nowait' % control))
        m = Machine(make(4096, path, ram, *more)).until(READY)
        m.console.sendall(work)
        m.until(b'it is written')
        if side == 'drover':
            subprocess.run([GUEST, 'ctl', 'unix:' + control, 'save', saved], check=True)
        else:
            qmp(control, {'execute': 'migrate', 'arguments': {'uri': 'exec:cat>' + saved}})
            while qmp(control, {'execute': 'query-migrate'})[0]['return']['status'] != 'completed':
                if select.select([m.console], [], [], 0.01)[0]:
                    m.console.recv(65536)
        m.end()
        for _ in range(b.rounds):
            began = time.monotonic()
            m = Machine(make(4096, path, ram, *(('--load', saved) if side == 'drover' else ('-incoming', 'exec:cat ' + saved))))
            m.until(b'here I am')
            results[side].append((time.monotonic() - began) * 1e3)
            m.end()
        os.unlink(saved)
    b.row('restore of a 4 GiB guest, until it prints', 'ms', results, 'low', 1.0)


def main(short):
    with Bench('guest', short) as b:
        memory = boot(b, 'cloud', 'cloud kernel to its init (both by PVH)', 1.5, kernels.vmlinux('cloud'))
        b.row('memory beside the guest', 'MiB', memory, 'low', 1 / 3)
        if not short:
            boot(b, 'generic', 'generic kernel as shipped to its init', 1.0, None)
        start(b)
        if not short:
            save_and_load(b)
            restore(b)
        b.done()
