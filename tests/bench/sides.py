"""Servers to be measured side by side: ours and the peers, each on a unix socket, each with the same disk behind it."""
import os
import shutil
import signal
import statistics
import subprocess
import tempfile
import time

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), '../..'))
BUILD = os.path.realpath(os.environ.get('DROVER_BENCH_BUILD', os.path.join(ROOT, 'build/release')))
DROVER_NBD, DROVER_IMG = os.path.join(BUILD, 'drover-nbd'), os.path.join(BUILD, 'drover-img')
TICK = os.sysconf('SC_CLK_TCK')
MIB, GIB = 1 << 20, 1 << 30


class Side:
    """A running server. `uri` is where; cpu() what it has used so far, in seconds."""

    def __init__(self, name, command, sock, scheme='nbd+unix', query='', user=''):
        self.name, self.sock = name, sock
        self.uri = '%s://%s/?socket=%s%s' % (scheme, user, sock, query)
        if os.path.exists(sock):
            os.unlink(sock)
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 30
        while not os.path.exists(sock):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError('%s did not start: %s' % (name, self.process.stderr.read().decode()))
            time.sleep(0.02)
        time.sleep(0.2)

    def cpu(self):
        with open('/proc/%d/stat' % self.process.pid) as f:
            fields = f.read().rsplit(') ', 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def rss_bytes(self):
        with open('/proc/%d/status' % self.process.pid) as f:
            return next(int(l.split()[1]) * 1024 for l in f if l.startswith('VmRSS'))

    def wakeups(self):
        """Voluntary context switches of every thread so far."""
        total = 0
        for task in os.listdir('/proc/%d/task' % self.process.pid):
            with open('/proc/%d/task/%s/status' % (self.process.pid, task)) as f:
                total += next(int(l.split()[1]) for l in f if l.startswith('voluntary'))
        return total

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stderr.close()


class Bench:
    """A directory, the sides in it, rounds that interleave them, and the table at the end."""

    def __init__(self, name, short):
        self.name, self.short = name, short
        self.rounds = 1 if short else 5
        self.seconds = 0.2 if short else 3
        self.dir = tempfile.mkdtemp(prefix='drover-bench-', dir=os.environ.get('DROVER_BENCH_DIR'))
        self.sides, self.rows = [], []

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        for s in self.sides:
            s.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.dir, name)

    def file(self, name, size, random=True):
        """Written in 4 KiB pieces: ext4 keeps a larger one in a larger folio, and a small write then costs the kernel
        ten times as much, whoever serves it (docs/benchmarks.md)."""
        path = self.path(name)
        with open(path, 'wb', buffering=0) as f:
            block = os.urandom(MIB)
            for at in range(0, size if random else 0, 4096):
                f.write(block[at % MIB:at % MIB + 4096])
            f.truncate(size)
        return path

    def start(self, name, *command, **kw):
        sock = self.path(name.replace(' ', '-') + '.sock')
        side = Side(name, [c.replace('SOCK', sock) for c in command], sock, **kw)
        self.sides.append(side)
        return side

    def ours(self, stack, *args, name='drover', **kw):
        return self.start(name, DROVER_NBD, '--listen', 'unix:SOCK', *args, stack, **kw)

    def nbdkit(self, *args, name='nbdkit', **kw):
        return self.start(name, 'nbdkit', '-f', '-U', 'SOCK', *args, **kw)

    def qemu_nbd(self, image, *args, name='qemu-nbd', **kw):
        return self.start(name, 'qemu-nbd', '-t', '-e', '64', '-k', 'SOCK', '-f', 'raw', *args, image, **kw)

    def interleave(self, measure, sides=None):
        """{side name: [result of each round]}; one unrecorded round first."""
        sides = sides or self.sides
        results = {s.name: [] for s in sides}
        for r in range(self.rounds + (0 if self.short else 1)):
            for s in sides:
                value = measure(s)
                if self.short or r:
                    results[s.name].append(value)
        return results

    def row(self, figure, unit, results, better, reach):
        """results: {name: [numbers]}; better: 'high' or 'low'; reach: the ratio to the best peer that is wanted."""
        median = {n: statistics.median(v) for n, v in results.items()}
        peers = {n: v for n, v in median.items() if n != 'drover'}
        best = (max if better == 'high' else min)(peers, key=peers.get)
        ratio = median['drover'] / peers[best] if peers[best] else float('inf')
        met = ratio >= reach if better == 'high' else ratio <= reach
        self.rows.append({'figure': figure, 'unit': unit, 'drover': median['drover'], 'peer': best,
                          'peer_value': peers[best], 'ratio': ratio, 'reach': reach, 'better': better, 'met': met,
                          'all': median})
        print('%-44s drover %10.2f  %-10s %10.2f %-6s ratio %5.2f  (reach %s %.2f)%s' % (
            figure, median['drover'], best, peers[best], unit, ratio, '>=' if better == 'high' else '<=', reach,
            '' if met else '  not reached'), flush=True)

    def done(self):
        import json
        results = os.path.join(ROOT, 'tests/bench/results')
        os.makedirs(results, exist_ok=True)
        with open('/proc/loadavg') as f:
            load = f.read().split()[:3]
        print('load: %s, cores: %d' % (' '.join(load), os.cpu_count()))
        with open(os.path.join(results, self.name + '.json'), 'w') as f:
            json.dump({'bench': self.name, 'short': self.short, 'rounds': self.rounds, 'load': load,
                       'cores': os.cpu_count(), 'kernel': os.uname().release, 'rows': self.rows}, f, indent=1)


def run_fio(side, seconds, *args):
    """One fio run with its nbd engine: {'iops', 'bytes_s', 'p50_us', 'cpu_us'} with the server's CPU per operation."""
    import json
    before = side.cpu()
    out = subprocess.run(['fio', '--name=b', '--ioengine=nbd', '--uri=' + side.uri, '--time_based',
                          '--runtime=%dms' % (1000 * seconds), '--randrepeat=0', '--norandommap', '--output-format=json', *args],
                         capture_output=True, check=True, text=True, cwd=os.path.dirname(side.sock)).stdout
    used = side.cpu() - before
    jobs = json.loads(out[out.index('{'):])['jobs']
    kinds = [j[k] for j in jobs for k in ('read', 'write') if j[k]['total_ios']]
    ops = sum(k['total_ios'] for k in kinds)
    elapsed = max(k['runtime'] for k in kinds) / 1000
    latency = statistics.median(k['clat_ns']['percentile']['50.000000'] for k in kinds)
    return {'iops': ops / elapsed, 'bytes_s': sum(k['io_bytes'] for k in kinds) / elapsed, 'p50_us': latency / 1000,
            'cpu_us': used * 1e6 / ops}


def column(results, key):
    return {name: [r[key] for r in rounds] for name, rounds in results.items()}
