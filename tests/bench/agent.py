"""The agent: memory and processor time when nothing happens, reads while many ask, and ten thousand guests in the store."""
import base64
import http.client
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import threading
import time
import uuid

from sides import BUILD, Bench

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'node'))
os.environ['DROVER_BUILD'] = BUILD
import cluster  # noqa: E402

sys.path[:] = [p for p in sys.path if not p.endswith(('/node', '/hv'))]  # there is another guest.py there

TICKS = os.sysconf('SC_CLK_TCK')


class Api(http.client.HTTPConnection):
    """A connection that is kept, over the unix socket."""
    def __init__(self, node):
        super().__init__('drover')
        self.path = os.path.join(node.run, 'api.sock')

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)

    def get(self, path):
        self.request('GET', path)
        answer = self.getresponse()
        body = answer.read()
        assert answer.status == 200, body
        return json.loads(body)


def text(value):
    return base64.b64encode(value.encode()).decode()


def put_objects(node, objects):
    """Straight into etcd, a hundred at a time."""
    tls = os.path.join(node.state, 'tls')
    for at in range(0, len(objects), 100):
        puts = [{'requestPut': {'key': text('/drover/%s/%s' % (o['kind'], o['id'])), 'value': text(json.dumps(o))}}
                for o in objects[at:at + 100]]
        subprocess.run(node.inside(['curl', '-sS', '--fail', '--cacert', os.path.join(tls, 'ca-cert.pem'), '--cert',
                                    os.path.join(tls, 'client-cert.pem'), '--key', os.path.join(tls, 'client-key.pem'), '-d', '@-',
                                    'https://127.0.0.1:2379/v3/kv/txn']), input=json.dumps({'success': puts}).encode(),
                       stdout=subprocess.DEVNULL, check=True)


def guest(i, node):
    return {'kind': 'guest', 'id': str(uuid.uuid4()), 'name': 'guest-%05d' % i,
            'spec': {'node': node, 'running': False, 'memory': 1 << 30, 'vcpus': 2, 'engine': 'auto', 'cpu': 'host',
                     'restart': 'on-failure', 'stop_seconds': 60, 'disks': [{'volume': 'v%05d' % i, 'read_only': False}],
                     'networks': [{'network': 'net', 'address': '10.7.%d.%d' % (i // 250, i % 250 + 2), 'mac': '52:54:00:00:%02x:%02x' % (i // 256, i % 256)}]}}


def resident_mib(pid):
    with open('/proc/%d/status' % pid) as f:
        return int(next(line for line in f if line.startswith('VmRSS')).split()[1]) / 1024


def cpu_seconds(pid):
    with open('/proc/%d/stat' % pid) as f:
        fields = f.read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def idle_percent(pid, seconds):
    before, start = cpu_seconds(pid), time.monotonic()
    time.sleep(seconds)
    return 100 * (cpu_seconds(pid) - before) / (time.monotonic() - start)


def read_latency_ms(node, rate, seconds):
    """95th percentile, at that many requests a second over four connections."""
    times, lock = [], threading.Lock()

    def ask(first):
        api, start = Api(node), time.monotonic()
        for n in range(int(rate * seconds / 4)):
            due = start + (n * 4 + first) / rate
            time.sleep(max(0, due - time.monotonic()))
            begin = time.monotonic()
            api.get('/v1/guests/guest-%05d' % (n % 50))
            with lock:
                times.append(1000 * (time.monotonic() - begin))

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return statistics.quantiles(times, n=20)[18]


def list_ms(node):
    """Every page, as the server answers it; what the client makes of it does not count."""
    api, pages, after, start = Api(node), [], '', time.monotonic()
    while after is not None:
        api.request('GET', '/v1/guests?limit=1000' + ('&after=' + after if after else ''))
        pages.append(api.getresponse().read())
        last = re.search(rb'"next":\s*(?:"([^"]*)"|null)', pages[-1][-200:])
        after = last.group(1).decode() if last.group(1) else None
    took = 1000 * (time.monotonic() - start)
    return took, sum(len(json.loads(page)['items']) for page in pages)


def start_ms(node):
    node.end()
    start = time.monotonic()
    with open(node.log, 'a') as log:
        node.process = subprocess.Popen(node.inside([cluster.DROVERD, '--state', node.state, '--run', node.run]),
                                        stdin=subprocess.DEVNULL, stderr=log)
    while True:
        try:
            Api(node).get('/v1/cluster')
            return 1000 * (time.monotonic() - start)
        except OSError:
            time.sleep(0.005)


def create_ms(node, i):
    """From the request for a guest with a disk and a network to its first instructions; the images are there."""
    api, name = Api(node), 'made-%d' % i
    node.do('volume', 'create', name, '--size', '16M', '--pool', 'p', '--wait')
    spec = {'running': True, 'memory': '256M', 'disks': [{'volume': name}], 'networks': [{'network': 'made'}],
            'boot': {'kernel': 'kernel', 'initrd': 'ramdisk', 'cmdline': 'console=ttyS0 quiet panic=-1'}}
    start = time.monotonic()
    api.request('POST', '/v1/guests', json.dumps({'name': name, 'spec': spec}), {'Content-Type': 'application/json'})
    answer = api.getresponse()
    assert answer.status == 201, answer.read()
    answer.read()
    while api.get('/v1/guests/' + name)['state'].get('phase') != 'running':
        time.sleep(0.002)
    took = 1000 * (time.monotonic() - start)
    node.do('guest', 'delete', name, '--wait')
    node.do('volume', 'delete', name, '--wait')
    return took


def main(short):
    many = 1000 if short else 10000
    namespace = cluster.Namespace('drover-b%d' % os.getpid())
    node = cluster.Node('b%d' % os.getpid(), namespace=namespace.name, store='etcd:https://127.0.0.1:2379')
    etcd = None
    with Bench('agent', short) as b:
        try:
            node.init()
            etcd = cluster.Etcd(node)
            etcd.start()
            node.start()
            put_objects(node, [guest(i, node.name) for i in range(50)])
            time.sleep(2)
            pid = node.process.pid
            b.row('agent, 50 guests: resident memory', 'MiB', {'drover': [resident_mib(pid)], 'goal': [30]}, 'low', 1)
            b.row('agent, 50 guests, idle: processor', '%', {'drover': [idle_percent(pid, 5 if short else 30)], 'goal': [0.5]}, 'low', 1)
            b.row('agent, 200 reads/s: 95th percentile', 'ms',
                  {'drover': [read_latency_ms(node, 200, 3) for _ in range(b.rounds)], 'goal': [20]}, 'low', 1)
            kernel, ramdisk = cluster.seeded_guest_files(node.folder)
            node.do('pool', 'create', 'p', '--node', node.name, '--path', node.pool)
            node.do('image', 'import', 'kernel', '--pool', 'p', '--source', kernel, '--wait')
            node.do('image', 'import', 'ramdisk', '--pool', 'p', '--source', ramdisk, '--wait')
            node.do('network', 'create', 'made', '--subnet', '10.9.0.0/24')
            b.row('agent: from a request to the guest\'s first instructions', 'ms',
                  {'drover': [create_ms(node, i) for i in range(b.rounds)], 'goal': [300]}, 'low', 1)
            put_objects(node, [guest(i, 'elsewhere') for i in range(50, many)])
            until = time.monotonic() + 60
            while list_ms(node)[1] < many and time.monotonic() < until:
                time.sleep(0.2)
            b.row('agent, %d guests: list all' % many, 'ms', {'drover': [list_ms(node)[0] for _ in range(b.rounds)], 'goal': [200]},
                  'low', 1)
            b.row('agent, %d guests: start' % many, 'ms', {'drover': [start_ms(node) for _ in range(b.rounds)], 'goal': [2000]},
                  'low', 1)
        finally:
            if etcd:
                etcd.destroy()
            node.destroy()
            namespace.destroy()
        b.done()
