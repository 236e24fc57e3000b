"""A guest that moves between two processes over loopback, beside QEMU TCG with the same kernel, memory and load: idle, and
rewriting memory all the time. Each has its own presets (ours: 100 ms of downtime, QEMU's: 300), but for the bandwidth,
which is not limited. Ours is under TLS, QEMU's is not."""
import itertools
import json
import os
import socket
import statistics
import subprocess
import sys
import time

from guest import CMDLINE, GUEST, READY, Machine
from sides import ROOT, Bench

sys.path.append(os.path.join(ROOT, 'tests/hv'))
import initrd  # noqa: E402
import kernels  # noqa: E402

MEMORY, LOAD_MIB, LINK = 512, 128, '60M'
NUMBERS = itertools.count()  # of machines: no two share a socket's path


def files(b):
    load, ramdisk = b.path('memory_load'), b.path('initrd.gz')
    subprocess.run(['gcc', '-O2', '-static', '-o', load, os.path.join(ROOT, 'tests/hv/memory_load.c')], check=True)
    initrd.build(ramdisk, kernels.modules('cloud'), files=[('bin/memory_load', load)])
    return kernels.vmlinuz('cloud'), ramdisk


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class Drover:
    name = 'drover'

    def __init__(self, b, boot, *options):
        self.b, self.boot, self.options = b, boot, options
        self.moves, self.forecasts = [], []
        self.machine = self._start()
        self.machine.until(READY)

    def _start(self, listener=None, key=None):
        self.control = self.b.path('control-%d' % next(NUMBERS))
        extra = ['--incoming', str(listener.fileno()), '--migration-key', str(key)] if listener else []
        return Machine([GUEST, 'run', '--engine', 'dbt', '--memory', '%dM' % MEMORY, '--console', 'stdio', '--control',
                        'unix:' + self.control, '--kernel', self.boot[0], '--initrd', self.boot[1], '--cmdline', CMDLINE,
                        *extra], pass_fds=(listener.fileno(), key) if listener else ())

    def ctl(self, control, *arguments):
        done = subprocess.run([GUEST, 'ctl', 'unix:' + control, *arguments], stdout=subprocess.PIPE, check=True)
        return json.loads(done.stdout) if done.stdout.strip() else {}

    def move(self):
        """(total seconds, downtime seconds, predicted total, predicted downtime)"""
        here, control = self.machine, self.control
        key = os.urandom(32)
        path = self.b.path('key-%d' % next(NUMBERS))  # four guests may leave at once
        with open(path, 'wb') as f:
            f.write(key)
        with socket.socket() as listener, open(path, 'rb') as k:
            listener.bind(('127.0.0.1', 0))
            listener.listen(8)
            self.machine = self._start(listener, k.fileno())
            port = listener.getsockname()[1]
        self.ctl_ready(self.control)
        watch = subprocess.Popen([GUEST, 'ctl', 'unix:' + control, 'watch'], stdout=subprocess.PIPE)
        time.sleep(0.1)
        self.forecast = self.foretell(control)
        self.before()
        self.ctl(control, 'migrate', 'tcp:127.0.0.1:%d' % port, '--key-file', path, *self.options)
        last = self.outcome(watch)
        if last['phase'] != 'done':
            raise RuntimeError('the move failed: %s' % last)
        here.process.wait()
        here.console.close()
        self.rounds = last['round']
        self.forecasts.append(self.forecast)
        self.moves.append(last)
        if os.environ.get('DROVER_VERBOSE'):
            print('  told  ', self.forecast)
            print('  came  ', {k: v for k, v in last.items() if k not in ('event', 'state', 'text')}, flush=True)
        return last['seconds'], last['downtime-ms'] / 1e3, last.get('first-predicted-seconds'), \
            last.get('first-predicted-downtime-ms', 0) / 1e3

    def outcome(self, watch):
        """The last that is said of the move; a guest that stays goes on talking."""
        last = {}
        with watch:
            for line in watch.stdout:
                event = json.loads(line)
                last = event if 'phase' in event else last
                if last.get('phase') in ('done', 'failed'):
                    break
            watch.terminate()
        return last

    def before(self):
        """Everything is ready for the move."""

    def foretell(self, control):
        """What is predicted before it begins, with what the moves before have shown of the link; None before the first."""
        if not self.moves:
            return None
        link = [statistics.median(m[key] for m in self.moves[-5:]) for key in ('link-bandwidth', 'connect-ms', 'fixed-ms')]
        return self.ctl(control, 'forecast', '--bandwidth', '%d' % link[0], '--connect', '%dus' % (link[1] * 1e3),
                        '--switch', '%dus' % (link[2] * 1e3))

    def ctl_ready(self, control):
        while not os.path.exists(control):
            time.sleep(0.01)

    def end(self):
        self.machine.process.kill()
        self.machine.process.wait()


class Qemu:
    name = 'qemu'

    def __init__(self, b, boot):
        self.b, self.boot = b, boot
        self.machine, self.qmp = self._start([])
        self.machine.until(READY)

    def _start(self, extra):
        path = self.b.path('qmp-%d' % next(NUMBERS))
        m = Machine(['qemu-system-x86_64', '-accel', 'tcg', '-cpu', 'max', '-m', str(MEMORY), '-nodefaults', '-display', 'none',
                     '-serial', 'stdio', '-qmp', 'unix:%s,server=on,wait=off' % path, '-kernel', self.boot[0], '-initrd',
                     self.boot[1], '-append', CMDLINE, *extra])
        s = socket.socket(socket.AF_UNIX)
        while s.connect_ex(path):  # not there, or nobody listens yet
            time.sleep(0.01)
        qmp = s.makefile('rw')
        qmp.readline()
        self.ask(qmp, 'qmp_capabilities')
        return m, qmp

    def ask(self, qmp, command, **arguments):
        qmp.write(json.dumps({'execute': command, 'arguments': arguments}) + '\n')
        qmp.flush()
        while True:
            answer = json.loads(qmp.readline())
            if 'return' in answer:
                return answer['return']
            if 'error' in answer:
                raise RuntimeError(answer)

    def move(self):
        here, qmp = self.machine, self.qmp
        port = free_port()
        self.machine, self.qmp = self._start(['-incoming', 'tcp:127.0.0.1:%d' % port])
        self.ask(qmp, 'migrate-set-parameters', **{'max-bandwidth': 1 << 40})
        self.ask(qmp, 'migrate', uri='tcp:127.0.0.1:%d' % port)
        while True:
            info = self.ask(qmp, 'query-migrate')
            if info['status'] in ('completed', 'failed'):
                break
            time.sleep(0.01)
        if info['status'] == 'failed':
            raise RuntimeError(info)
        here.process.kill()
        here.process.wait()
        here.console.close()
        qmp.close()
        return info['total-time'] / 1e3, info['downtime'] / 1e3, None, None

    def end(self):
        self.machine.process.kill()
        self.machine.process.wait()


class Busy:
    """A guest that rewrites a little memory and counts, and that pre-copies its memory for a while without getting away."""

    def __init__(self, b, boot):
        self.side = Drover(b, boot)
        self.side.machine.console.sendall(b'memory_load 16 >/dev/null & until [ -e /tmp/passes ]; do sleep 0.1; done; echo load ""runs\n')
        self.side.machine.until(b'load runs')

    def cpu(self):
        """Of its vCPU, in seconds."""
        tasks = '/proc/%d/task' % self.side.machine.process.pid
        for task in os.listdir(tasks):
            with open(os.path.join(tasks, task, 'comm')) as f:
                if not f.read().startswith('vcpu'):
                    continue
            with open(os.path.join(tasks, task, 'schedstat')) as f:
                return int(f.read().split()[0]) / 1e9
        raise RuntimeError('no thread of a vCPU')

    def passes(self):
        m = self.side.machine
        m.text = b''
        m.console.sendall(b'echo count $(cat /tmp/passes) ""end\n')
        m.until(b' end')
        return int(m.text.split(b'count passes ')[1].split()[0]), self.cpu(), time.monotonic()

    def rate(self, meanwhile):
        """Passes (a CPU second of its vCPU, a second)."""
        a = self.passes()
        meanwhile()
        z = self.passes()
        return (z[0] - a[0]) / (z[1] - a[1]), (z[0] - a[0]) / (z[2] - a[2])

    def copies(self):
        """Rounds of pre-copy until it is given up: the working set does not fit into the downtime, and nothing is throttled."""
        side, key = self.side, os.urandom(32)
        with open(side.b.path('key'), 'wb') as f:
            f.write(key)
        control, machine = side.control, side.machine
        with socket.socket() as listener, open(side.b.path('key'), 'rb') as k:
            listener.bind(('127.0.0.1', 0))
            listener.listen(8)
            there = side._start(listener, k.fileno())
            port = listener.getsockname()[1]
        side.ctl_ready(side.control)
        side.control, side.machine = control, machine
        side.ctl(control, 'migrate', 'tcp:127.0.0.1:%d' % port, '--key-file', side.b.path('key'), '--bandwidth', LINK,
                 '--no-throttle', '--max-downtime', '5ms')
        while side.ctl(control, 'migration')['phase'] in ('connect', 'copy', 'stop'):
            time.sleep(0.05)
        self.last = side.ctl(control, 'migration')
        if self.last['phase'] != 'failed':
            raise RuntimeError('it was not to get away: %s' % self.last)
        there.process.wait()
        there.console.close()


def throughput(b, boot, rounds):
    """A guest's work during pre-copy, as a share of what it does undisturbed."""
    busy, shares = Busy(b, boot), []
    try:
        for _ in range(rounds):
            plain = busy.rate(lambda: time.sleep(2.5))
            copying = busy.rate(busy.copies)
            shares.append((copying[0] / plain[0], copying[1] / plain[1]))
    finally:
        busy.side.end()
    by_cpu, by_time = (statistics.median(s[i] for s in shares) for i in (0, 1))
    print('work during pre-copy: %.0f %% of undisturbed by the vCPU\'s processor time, %.0f %% by the clock; wanted >= 85 %%; %d '
          'rounds of the last; load of the machine %.1f' % (by_cpu * 100, by_time * 100, busy.last['round'], os.getloadavg()[0]))
    return {'by-cpu': by_cpu, 'by-time': by_time}


def quantile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def within(real, predicted, share=0.25):
    return [abs(p - r) <= share * r for r, p in zip(real, predicted) if p]


def told(what, side):
    """How good what was said before each move was: shares of moves whose figure came within 25 %."""
    result = {}
    for key, real in (('seconds', 'seconds'), ('downtime-ms', 'downtime-ms'), ('bytes', 'bytes-sent')):
        pairs = [(m[real], f[key]) for m, f in zip(side.moves, side.forecasts) if f]
        if not pairs:
            continue
        good = within([p[0] for p in pairs], [p[1] for p in pairs])
        result['foretold-' + key] = sum(good) / len(good)
        print('%-18s predicted %s within 25 %%, before the move: %d of %d' % (what, key, sum(good), len(good)))
        if key == 'downtime-ms':
            print('%-18s ... or within 5 ms: %d of %d' % (what, sum(g or abs(p[0] - p[1]) <= 5 for g, p in zip(good, pairs)), len(good)))
    return result


def measure(b, sides, load, moves):
    """load: what memory_load is told beside its size; None: idle."""
    for s in sides:
        if load is not None:
            s.machine.console.sendall(b'memory_load %d %s >/dev/null & sleep 3; echo load ""runs\n' % (LOAD_MIB, load))
            s.machine.until(b'load runs')
    times = {s.name: [] for s in sides}
    for _ in range(moves):
        for s in sides:
            times[s.name].append(s.move())
            time.sleep(0.5)
    what = 'idle' if load is None else 'rewriting %d MiB %s' % (LOAD_MIB, load.decode())
    rows = {}
    for s in sides:
        total, downtime = [t[0] for t in times[s.name]], [t[1] for t in times[s.name]]
        rows[s.name] = (statistics.median(total), statistics.median(downtime), quantile(downtime, 0.99))
        print('%-18s %-8s total %.3f s, downtime median %.1f ms, 99%% %.1f ms (%d moves)' % (
            (what, s.name, rows[s.name][0], rows[s.name][1] * 1e3, rows[s.name][2] * 1e3, moves)), flush=True)
    ours = times['drover']
    sides[0].machine.text = b''
    sides[0].machine.answers(180)  # it is alive
    good = within([t[0] for t in ours], [t[2] for t in ours])
    print('%-18s %.0f %% of the pages\' bytes went over the link' % (
        what, 100 * statistics.median(m['bytes-sent'] / (m['bytes-sent'] + m['bytes-saved']) for m in sides[0].moves)))
    print('%-18s %.0f pages went, %.0f were what they had been when they were sent' % (
        what, *(statistics.median(m.get(key, 0) for m in sides[0].moves) for key in ('pages', 'unchanged-pages'))))
    print('%-18s predicted total within 25 %%, after the first round: %d of %d' % (what, sum(good), len(good)))
    foretold = told(what, sides[0])
    if 'qemu' in rows:
        print('%-18s ratio: total %.2f, downtime %.2f; load of the machine %.1f' % (
            what, rows['drover'][0] / rows['qemu'][0], rows['drover'][1] / max(rows['qemu'][1], 1e-3), os.getloadavg()[0]))
    result = {name: {'total-s': r[0], 'downtime-s': r[1], 'downtime-p99-s': r[2]} for name, r in rows.items()}
    result['drover'].update(foretold)
    return result


def late(b, boot, moves):
    """A guest that rewrites more than the link takes, by post-copy: how long it stands, and how long it waits afterwards."""
    side = Drover(b, boot, '--bandwidth', LINK, '--max-downtime', '100ms', '--no-throttle', '--post-copy')
    try:
        side.machine.console.sendall(b'memory_load %d verify >/dev/null & sleep 3; echo load ""runs\n' % LOAD_MIB)
        side.machine.until(b'load runs')
        for _ in range(moves):
            side.move()
        side.machine.console.sendall(b'cat /tmp/passes; echo as it ""was\n')
        side.machine.until(b'wrong 0')
    finally:
        side.end()
    if not all(m.get('post-copy') for m in side.moves):
        raise RuntimeError('it got away without post-copy: %s' % side.moves)
    result = {}
    for key, text in (('downtime-ms', 'downtime %.1f ms'), ('post-copy-seconds', 'pages followed for %.2f s'),
                      ('post-copy-bytes', '%.0f bytes of them'), ('faults', '%.0f pages asked for'),
                      ('longest-wait-ms', 'longest wait %.1f ms')):
        values = [m[key] for m in side.moves]
        result[key] = {'median': statistics.median(values), 'worst': max(values)}
        print('post-copy          %s (median), %.1f (worst of %d)' % (text % statistics.median(values), max(values), moves), flush=True)
    return result


def main(short):
    result = {}
    with Bench('migration', short) as b:
        boot = files(b)
        for name, load in (('idle', None), ('load', b''), ('same', b'same')):
            sides = [Drover(b, boot), Qemu(b, boot)]
            try:
                result[name] = measure(b, sides, load, 1 if short else int(os.environ.get('DROVER_MOVES', '10')))
            finally:
                for s in sides:
                    s.end()
    moves = 2 if short else int(os.environ.get('DROVER_MOVES', '10')) + 1
    with Bench('migration', short) as b:  # over a link that is slower than the processors: what is predicted can be known
        boot = files(b)
        for name, load in (('paced-idle', None), ('paced-load', b'')):
            # held to a hundredth of its time, a guest still dirties more than this link takes in the usual 100 ms
            side = Drover(b, boot, '--bandwidth', LINK, '--max-downtime', '1s')
            try:
                print('over a link of %sB/s:' % LINK)
                result[name] = measure(b, [side], load, moves)
            finally:
                side.end()
        print('rewriting %d MiB, over a link of %sB/s:' % (LOAD_MIB, LINK))
        result['post-copy'] = late(b, boot, moves)
        result['throughput'] = throughput(b, boot, 1 if short else 5)
    os.makedirs(os.path.join(ROOT, 'tests/bench/results'), exist_ok=True)
    with open(os.path.join(ROOT, 'tests/bench/results/migration.json'), 'w') as f:
        json.dump(result, f, indent=2)
