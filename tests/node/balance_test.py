#!/usr/bin/python3
"""The balancer in a cluster: three nodes in network namespaces, real guests, some of them busy. Its tests are one story, in
the order of their names: a guest must run for half a minute before it is measured, so they share theirs."""
import concurrent.futures
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from cluster import ThreeNodes, until  # noqa: E402

# Quick to act, so that a test sees it; one move at a time, so that a plan has several waves.
EAGER = {'patience': {'enter': 0.05, 'leave': 0.02, 'cool_down': '15s', 'return': '1h', 'stale': '1m'},
         'cost': {'move': 1, 'stable': '10m'}, 'forecast': {'error_factor': 0},
         'weights': {'cpu': 1, 'memory': 0, 'network': 0, 'disk': 0, 'reserved': 0.01},
         'moves': {'parallel': 1, 'per_node': 1}}
BUSY = 'touch /tmp/mark; while [ ! -e /tmp/rest ]; do :; done &'
GUESTS = ('busy1', 'busy2', 'busy3')


class Balance(ThreeNodes):
    @classmethod
    def prepare(cls):
        super().prepare()
        cls.n1, cls.n2, cls.n3 = cls.nodes

    def guest(self, name, on):
        guest = self.n1.do('guest', 'create', name, '--memory', '128M', '--node', on.name, '--network', 'net', '--kernel', 'kernel1',
                           '--initrd', 'ramdisk1', '--cmdline', 'console=ttyS0 quiet panic=-1', '--start', '--wait')
        self.addClassCleanup(self.remove, name)
        address = guest['spec']['networks'][0]['address']
        until('%s answers' % name, lambda: self.spaces[self.nodes.index(on)].pings(address), 60)

    @classmethod
    def remove(cls, name):
        cls.n1.cli('guest', 'stop', name, '--force', '--wait')
        cls.n1.cli('guest', 'delete', name, '--wait')

    def node(self, name):
        return [n for n in self.nodes if n.name == name][0]

    def policy(self, policy, how='set'):
        with tempfile.NamedTemporaryFile('w', suffix='.json') as f:
            f.write(policy if isinstance(policy, str) else json.dumps(policy, indent=1))
            f.flush()
            return self.n1.cli('balance', 'policy', how, f.name)

    def moves_under(self, policy):
        with tempfile.NamedTemporaryFile('w', suffix='.json') as f:
            f.write(json.dumps(policy))
            f.flush()
            return [m for wave in self.n1.do('balance', 'plan', '--policy', f.name).get('waves', []) for m in wave]

    def status(self):
        return self.n1.do('balance', 'status')

    def plans(self, *phases):
        return [p for p in self.n1.do('balance', 'history') if p['spec']['phase'] in phases]

    def where(self):
        return {n: self.n1.do('guest', 'show', n)['spec']['node'] for n in GUESTS}

    def writes(self, guests):
        """How fast each of them writes its memory, once that is known of all."""
        known = {g['name']: g['dirty_rate'] for g in self.n1.do('cluster', 'export')['guests'] if g.get('dirty_rate') and g['name'] in guests}
        return known if len(known) == len(guests) else None

    def moves(self):
        return self.n1.do('migration', 'list')

    def balancer(self, node):
        """Its process."""
        found = []
        for pid in node.pids():
            try:
                with open('/proc/%d/comm' % pid) as f:
                    if f.read().strip() == 'drover-balancer':
                        found.append(pid)
            except OSError:
                pass  # it has just ended
        self.assertEqual(len(found), 1, found)
        return found[0]

    def elected(self, other_than=None):
        return until('one is elected', lambda: [n for n in self.nodes if n.name == self.status()['elected'] and
                                                n is not other_than], 30)[0]

    def settled(self):
        """Nobody is on his way, and everybody runs where the cluster says."""
        shown = [self.n1.do('guest', 'show', n) for n in GUESTS]
        return all('migration' not in g and g['state'].get('phase') == 'running' and
                   g['state'].get('node') == g['spec']['node'] for g in shown)

    @staticmethod
    def text_of(path):
        with open(path) as f:
            return f.read()

    def check_alive(self):
        """What runs in the busy guests has never stopped."""
        for name, node in self.where().items():
            self.assertIn('it lives', self.node(node).console(name, 'test -e /tmp/mark && kill -0 $! && echo it lives'))

    def check_no_return(self):
        """No plan sends a guest back to where a plan has sent it away from."""
        left = {}
        for m in self.moves():
            if m['state'].get('phase') != 'done':
                continue
            gone = left.setdefault(m['spec']['guest'], set())
            if m['spec'].get('plan'):
                self.assertNotIn(m['spec']['to'], gone, 'ping-pong: %r' % m)
                gone.add(m['spec']['from'])

    def test_1_what_is_refused(self):
        elected = self.elected()
        with open('/proc/%d/status' % self.balancer(elected)) as f:
            status = f.read()
        uid = status.split('Uid:')[1].split()[0]
        self.assertNotEqual(uid, '0')
        self.assertIn('Seccomp:\t2', status)
        for policy, words in (('{\n "weights": {\n  "cpu": -1}\n}', 'policy:3: weights.cpu: -1 is not between'),
                              ('{"wieghts": {}}', 'policy:1: wieghts: no such section'),
                              ('{\n"moves": {"quiet": "evening"}}', 'policy:2: moves.quiet'),
                              ('nonsense', 'policy:1: not JSON')):
            done = self.policy(policy)
            self.assertEqual(done.returncode, 1)
            self.assertIn(words, done.stderr)
        self.assertEqual(self.n1.cli('balance', 'mode', 'sometimes').returncode, 1)
        self.assertEqual(self.n1.cli('balance', 'apply', 'nothing').returncode, 4)
        for group in ('a:b', 'nodes/n1', 'node/', 'a b'):
            self.assertIn('group', self.refuses('balance', 'mode', 'off', '--group', group))
        self.assertEqual(self.n1.cli('balance', 'mode', 'sometimes', '--group', 'db').returncode, 1)
        self.n1.do('balance', 'mode', 'off', '--group', 'db')
        self.n1.do('balance', 'mode', 'advise', '--group', 'node/' + self.n1.name)
        self.assertEqual([(g['group'], g['mode'], g['guests'], g['nodes']) for g in self.status()['groups']],
                         [('db', 'off', 0, 0), ('node/' + self.n1.name, 'advise', 0, 1)])
        self.assertIn('db: off (0 guests, 0 nodes)', self.n1.cli('balance', 'status').stdout)
        for group in ('db', 'node/' + self.n1.name):
            self.n1.do('balance', 'mode', 'default', '--group', group)
        self.assertNotIn('groups', self.status())
        self.assertEqual(self.status()['mode'], 'off')
        self.assertEqual(self.policy(EAGER).returncode, 0)
        with tempfile.NamedTemporaryFile('w', suffix='.json') as f:
            f.write('{"cost": {"move": -1}}')
            f.flush()
            self.assertIn('shadow:1: cost.move', self.refuses('balance', 'policy', 'set', '--shadow', f.name))
            f.seek(0)
            f.write('{"cost": {"move": 1e6}}')
            f.flush()
            self.n1.do('balance', 'policy', 'set', '--shadow', f.name)
        shown = self.n1.cli('balance', 'policy', 'get')
        self.assertEqual(json.loads(shown.stdout), EAGER)
        self.assertIn('no plan', self.n1.cli('balance', 'plan').stdout)
        # two of three empty nodes may be lost; each has its threads, eight vCPUs on each
        fits = self.n1.do('capacity', '--lose', '1', '--shape', '1:64M')
        cpus = self.n1.do('node', 'show', self.n1.name)['state']['cpus']
        self.assertEqual((fits['nodes_to_lose'], fits['fit']), (2, 3 * 8 * cpus))
        self.assertTrue(8 * cpus < fits['fit_and_lose'] <= 2 * 8 * cpus, fits)  # a safe number: not always the largest one
        self.assertEqual(self.n1.cli('capacity', '--shape', 'large').returncode, 1)
        # with a disk, what the pools have room for; at rest everybody has his reasons, and here nobody is
        room = sum(p['state']['free_bytes'] // (64 << 20) for p in self.n1.do('pool', 'list'))
        disks = self.n1.do('capacity', '--lose', '1', '--shape', '1:64M:64M')
        self.assertEqual((disks['fit'], disks['fit_and_lose']), (min(room, fits['fit']), min(room, fits['fit_and_lose'])))
        self.assertEqual(self.n1.do('capacity', '--lose', '0', '--shape', '1:64M:100T')['fit'], 0)
        reasons = self.n1.cli('balance', 'plan', '--explain')
        self.assertEqual((reasons.returncode, 'no plan' in reasons.stdout), (0, False), reasons.stderr)
        # three empty nodes, of which two are kept; then the one that is labelled is one of the two
        done = self.n1.cli('balance', 'consolidate')
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn('1 of 3 nodes can sleep after 0 moves', done.stdout)
        self.n1.do('node', 'label', self.n1.name, '--label', 'sleep=never')
        advice = until('its label is known', lambda: [a for a in [self.n1.do('balance', 'consolidate')]
                                                      if 'sleep=never' in json.dumps(a)], 30)[0]
        self.assertEqual(([len(advice[k]) for k in ('sleep', 'wake', 'nodes')], advice['on']), ([1, 0, 3], 3))
        self.assertNotIn(self.n1.name, advice['sleep'])
        self.sleep()

    def sleep(self):
        """What is advised is carried out: a node is drained, and no plan refills it."""
        self.assertIn('balancing is off', self.refuses('balance', 'consolidate', '--apply'))
        self.n1.do('balance', 'mode', 'advise')
        would = self.n1.do('balance', 'consolidate', '--apply', '--dry-run')
        self.assertEqual((len(would['spec']['sleep']), self.plans('proposed', 'active', 'done', 'void')), (1, []))
        begun = self.n1.cli('balance', 'consolidate', '--apply')
        self.assertEqual(begun.returncode, 0, begun.stderr)
        self.assertIn('0 moves empty 1 nodes', begun.stdout)
        plan = until('it sleeps', lambda: self.plans('done'), 60)[0]
        drained = [n['name'] for n in self.n1.do('node', 'list') if n['spec'].get('drained')]
        self.assertEqual((plan['spec']['sleep'], plan['spec']['reason']), (drained, ''))
        self.assertIn('can sleep', self.refuses('balance', 'consolidate', '--apply'))  # two are kept
        self.n1.do('node', 'undrain', drained[0])
        self.n1.do('balance', 'mode', 'off')
        return plan['name']

    def what_if(self, plans):
        """Three busy guests are on one node. What another policy would do is said, and nothing comes of it."""
        def asked(policy, *words):
            with tempfile.NamedTemporaryFile('w', suffix='.json') as f:
                f.write(json.dumps(policy) if policy else 'nonsense')
                f.flush()
                return self.n1.cli('balance', 'plan', '--policy', f.name, *words)
        dear = json.loads(asked({'cost': {'move': 1e6}}, '--json').stdout)
        self.assertEqual((dear['moves'], dear['score_before']), (0, dear['score_after']))
        self.assertNotIn('reasons', dear)
        eager = json.loads(asked(EAGER, '--json', '--explain', '--budget', '3s').stdout)
        self.assertGreater(eager['moves'], 1)
        self.assertLess(eager['score_after'], eager['score_before'])
        self.assertEqual(set(eager['reasons']), set(GUESTS))
        shown = asked(EAGER, '--explain')
        self.assertEqual(shown.returncode, 0, shown.stderr)
        for words in (r'WAVE +GUEST', r'busy[123] +%s' % self.n1.name, r'GAIN +MOVES', r'100 %', r'busy[123] moves to '):
            self.assertRegex(shown.stdout, words)
        self.assertGreater(json.loads(self.n1.cli('balance', 'plan', '--budget', '2s', '--json').stdout)['moves'], 1)
        why = self.n1.cli('balance', 'plan', '--why', 'busy1')
        self.assertRegex(why.stdout, r'^busy1 (moves|stays)[^\n]*\n$')
        self.assertIn("guest 'nobody' is not there", self.refuses('balance', 'plan', '--why', 'nobody'))
        # fewer moves, or more of them, each to be had by its price and its part
        frontier = json.loads(asked(EAGER, '--json', '--frontier').stdout)['frontier']
        self.assertIn((1, 100, eager['moves']), [(p['price'], p['part'], p['moves']) for p in frontier])
        self.assertEqual([p['gain'] for p in frontier], sorted(p['gain'] for p in frontier))
        self.assertEqual(json.loads(asked(dict(EAGER, cost={'move': 1e4}), '--json', '--price', '1000').stdout)['moves'], 0)
        self.assertIn('policy:1: not JSON', asked(None).stderr)
        self.assertIn('price: a number from 0.001 to 1000', self.refuses('balance', 'plan', '--price', '0.0001'))
        self.assertIn('--price: a number is needed', self.n1.cli('balance', 'plan', '--price', 'dear').stderr)
        self.assertIn('--part goes with --apply', self.n1.cli('balance', 'plan', '--part', '50').stderr)
        self.assertIn('budget', self.refuses('balance', 'plan', '--budget', 'soon'))
        self.assertEqual((len(self.plans('proposed', 'active', 'done', 'void')), self.moves()), (plans, []))

    def test_1_who_is_left_out(self):
        """What the store has of a guest cannot be read: it is named, and the rest goes on."""
        self.elected()
        broken = '0badc0de-0000-4000-8000-000000000000'
        words = 'the cluster: guest %s: what the store has of it cannot be read; it is left out' % broken
        self.assertIn('OK', self.etcd.ctl('put', '/drover/guest/' + broken, '{"kind": ').stdout)
        until('it is named', lambda: words in (self.status().get('left_out') or []), 30)
        self.assertIn(words, self.n1.cli('balance', 'status').stdout)
        self.assertFalse(self.status()['trouble'])
        until('questions name it', lambda: words in (self.n1.do('capacity').get('warnings') or []), 30)
        self.assertEqual([g for g in self.n1.do('guest', 'list') if g['id'] == broken], [])
        self.etcd.ctl('del', '/drover/guest/' + broken)
        until('it is gone', lambda: words not in (self.status().get('left_out') or []), 30)

    def test_2_advise_and_apply(self):
        for name in GUESTS:
            self.guest(name, self.n1)
        for name in GUESTS:
            self.n1.console(name, BUSY)
        self.n1.do('balance', 'mode', 'advise')
        self.assertIn('left_out', until('they are seen', lambda: self.status().get('left_out') and self.status(), 30))
        plan = until('a plan is proposed', lambda: [p for p in self.plans('proposed') if p['spec']['moves'] > 1], 90)[0]
        self.assertEqual(plan['spec']['shadow']['moves'], [])  # one that asks a million for a move makes none
        text = self.n1.cli('balance', 'plan', '--explain').stdout
        self.assertIn('is proposed', text)
        self.assertRegex(text, r'busy[123] moves to ')
        self.assertEqual((set(self.where().values()), self.moves()), ({self.n1.name}, []))
        # the cluster as it is, planned for by hand, gives a plan, too
        exported = self.n1.do('cluster', 'export')
        self.assertEqual({g['node'] for g in exported['guests']}, {self.n1.name})
        busy = [g for g in exported['guests'] if g['name'] == 'busy1'][0]
        self.assertGreater(busy['load'].get('cpu', 0) + busy.get('steal', 0), 0.1)  # what it got of this machine, and waited for
        self.what_if(len(self.plans('proposed', 'active', 'done', 'void')))
        # who is to leave is looked at by its node: what it writes, which no migration has shown yet, prices the move
        leaving = {m['guest'] for wave in plan['spec']['waves'] for m in wave}
        writes = until('what they write is known', lambda: self.writes(leaving), 60)
        self.assertEqual(set(writes), leaving)
        self.assertEqual(self.moves(), [])
        self.assertLess(max(writes.values()), 1e10)
        # it is applied, and the balancer killed while its first wave moves: the next one goes on with it
        half = self.n1.do('balance', 'apply', plan['name'], '--part', '50', '--dry-run')['spec']
        gain = plan['spec']['score_before'] - plan['spec']['score_after']
        self.assertTrue(1 <= half['moves'] <= plan['spec']['moves'] and half['score_before'] - half['score_after'] >= gain / 2, half)
        self.assertEqual((half['part'], self.plans('active')), (50, []))
        self.assertIn('part', self.refuses('balance', 'apply', plan['name'], '--part', '0'))
        shown = self.n1.cli('balance', 'plan').stdout
        self.assertTrue('DOWNTIME' in shown and '100 %' in shown, shown)
        self.assertEqual(self.n1.cli('balance', 'apply', plan['name']).returncode, 0)
        until('it is carried out', lambda: self.moves(), 20)
        first = self.elected()
        os.kill(self.balancer(first), signal.SIGKILL)
        ended = until('the plan ends', lambda: [p for p in self.plans('done', 'void') if p['name'] == plan['name']], 60)[0]
        self.assertEqual(ended['spec']['phase'], 'done', ended['spec']['reason'])
        self.assertEqual(ended['apply']['by'], 'local:root')
        self.assertEqual(len(self.moves()), ended['spec']['moves'])
        until('all have settled', self.settled)
        where = self.where()
        self.assertEqual(len(set(where.values())), 3, where)  # the load has moved: one on each
        self.assertIn('is done', self.n1.cli('balance', 'apply', plan['name']).stderr)
        self.check_alive()

    def test_3_automatic(self):
        """A node is drained, and comes back; meanwhile the elected balancer is stopped for a while, and deposed."""
        # not where all of them came from: none of them would go back there for an hour
        away = next(self.node(n) for n in self.where().values() if n != self.n1.name)
        before = len(self.moves())
        self.n1.do('balance', 'mode', 'automatic')
        self.n1.do('node', 'drain', away.name)
        until('it is empty', lambda: away.name not in self.where().values() and self.settled(), 60)
        # who has just come somewhere is known from before
        self.assertEqual({g['name'] for g in self.n1.do('cluster', 'export')['guests'] if 'load' in g} & set(GUESTS), set(GUESTS))
        stopped = self.elected()
        pid = self.balancer(stopped)
        os.kill(pid, signal.SIGSTOP)
        try:
            self.elected(other_than=stopped)
        finally:
            os.kill(pid, signal.SIGCONT)
        log = os.path.join(stopped.run, 'balancer.log')
        until('it has seen that', lambda: 'not the elected one any more' in self.text_of(log), 30)
        self.assertNotIn(away.name, [m['spec']['to'] for m in self.moves()[before:]])
        self.n1.do('node', 'undrain', away.name)
        until('it has guests again', lambda: away.name in self.where().values() and self.settled(), 120)
        done = until('the plan is done', lambda: [p for p in self.plans('done') if 'apply' not in p], 30)[-1]
        self.assertEqual(done['spec']['by'], 'balancer')
        quiet = len(self.moves())
        time.sleep(12)  # long enough for another plan
        self.assertLessEqual(len(self.moves()), quiet + 1)
        until('all have settled', self.settled)
        self.check_no_return()
        self.check_alive()
        self.n1.do('balance', 'mode', 'off')
        until('nothing is active', lambda: not self.plans('active'), 30)

    def refuses(self, *words):
        done = self.n1.cli(*words)
        self.assertEqual(done.returncode, 1, done.stdout)
        return done.stderr

    def test_4_rules_of_guests(self):
        """Where new guests go, migrations and a drain, by anti-affinity, pins and avoided nodes."""
        until('all have settled', self.settled)
        kinds = ('--kernel', 'kernel1', '--initrd', 'ramdisk1', '--memory', '32M')
        still = []
        for name in ('db1', 'db2', 'db3'):
            still.append(self.n1.do('guest', 'create', name, '--anti-affinity', 'db', *kinds)['spec']['node'])
            self.addCleanup(self.n1.cli, 'guest', 'delete', name, '--wait')
        self.assertEqual(sorted(still), sorted(n.name for n in self.nodes))
        self.assertIn('anti-affinity db keeps its guests apart', self.refuses('guest', 'create', 'db4', '--anti-affinity', 'db', *kinds))
        self.assertIn('db1', self.refuses('guest', 'create', 'db4', '--anti-affinity', 'db', '--node', still[0], *kinds))
        self.assertIn('must be GROUP', self.refuses('guest', 'create', 'db4', '--anti-affinity', 'db:hall', *kinds))
        self.assertIn("there is no node 'n9'", self.refuses('guest', 'create', 'db4', '--pin', 'n9', *kinds))
        groups = self.n1.do('cluster', 'export')['groups']
        self.assertEqual([(g['name'], g['keep'], g['hard'], sorted(g['guests'])) for g in groups],
                         [('apart db', 'apart', True, ['db1', 'db2', 'db3'])])
        # a pin: no way but by force
        here = self.where()['busy1']
        other = [n.name for n in self.nodes if n.name != here][0]
        self.n1.do('guest', 'set', 'busy1', '--pin', here)
        self.assertIn('pinned to other nodes', self.refuses('guest', 'migrate', 'busy1', '--to', other))
        self.assertIn('no node may have it', self.refuses('guest', 'migrate', 'busy1'))
        self.n1.do('guest', 'set', 'busy1', '--pin', 'none', '--avoid', other)
        self.assertNotIn('pin', self.n1.do('guest', 'show', 'busy1')['spec'])
        self.assertIn('it avoids this node', self.refuses('guest', 'migrate', 'busy1', '--to', other))
        self.n1.do('guest', 'migrate', 'busy1', '--to', other, '--force', '--wait')
        until('it has moved', lambda: self.where()['busy1'] == other and self.settled())
        # no room: nobody's choice, and no way but by force
        self.addCleanup(self.policy, EAGER)
        self.assertEqual(self.policy(dict(EAGER, limits={'vcpu_ratio': 0.1})).returncode, 0)
        self.assertIn('not enough processors: 0 vCPUs are left', self.refuses('guest', 'migrate', 'busy1', '--to', here))
        self.n1.do('guest', 'set', 'busy1', '--avoid', 'none')
        self.assertIn('not enough processors', self.refuses('guest', 'migrate', 'busy1'))
        self.assertIn('not enough processors', self.refuses('guest', 'create', 'db4', '--start', *kinds))
        self.n1.do('guest', 'migrate', 'busy1', '--to', here, '--force', '--wait')
        self.assertEqual(self.policy(EAGER).returncode, 0)
        until('it is back', lambda: self.where()['busy1'] == here and self.settled())
        other = here
        # a drain: who may go nowhere stays, until his rules are others
        self.n1.do('guest', 'set', 'busy1', '--avoid', 'none', '--pin', other)
        self.n1.do('node', 'drain', other)
        node = self.node(other)
        until('it says why', lambda: 'stays on this drained node' in node.log_text(), 60)
        until('the others have gone', lambda: other not in [n for g, n in self.where().items() if g != 'busy1'], 60)
        self.assertEqual(self.where()['busy1'], other)
        self.n1.do('guest', 'set', 'busy1', '--pin', 'none')
        until('it goes', lambda: self.where()['busy1'] != other and self.settled(), 60)
        self.n1.do('node', 'undrain', other)
        self.check_alive()

    def test_5_disks_and_networks_are_measured(self):
        """A guest that writes its disk, which two other nodes have, and hears from outside."""
        self.n1.do('volume', 'create', 'data', '--layout', 'raid1:2', '--pools', 'p2', '--pools', 'p3', '--size', '16M', '--wait')
        self.addClassCleanup(self.n1.cli, 'volume', 'delete', 'data', '--wait')
        guest = self.n1.do('guest', 'create', 'writer', '--memory', '128M', '--node', self.n1.name, '--network', 'net', '--kernel', 'kernel1',
                           '--initrd', 'ramdisk1', '--cmdline', 'console=ttyS0 quiet panic=-1', '--disk', 'data', '--start', '--wait')
        self.addCleanup(self.remove, 'writer')  # what it did counts for five minutes yet
        address = guest['spec']['networks'][0]['address']
        until('it answers', lambda: self.spaces[0].pings(address), 180)
        self.n1.console('writer', 'while [ ! -e /tmp/rest ]; do dd if=/dev/zero of=/dev/vda bs=1M count=8 conv=fsync 2>/dev/null; done &')
        ping = subprocess.Popen(self.n1.inside(['ping', '-q', '-i', '0.01', '-s', '1400', address]), stdout=subprocess.DEVNULL)
        try:
            seen = until('both are measured', lambda: [g for g in self.n1.do('cluster', 'export')['guests'] if g['name'] == 'writer' and
                                                       len(g.get('storage', {})) == 2 and min(g['storage'].values()) > 2e4 and
                                                       g['load'].get('network', 0) > 5e4], 120)[0]
        finally:
            ping.kill()
            ping.wait()
        self.assertLess(seen['load']['network'], 1e8)
        self.assertEqual(set(seen['storage']), {self.n2.name, self.n3.name})
        self.assertTrue(all(rate < 1e10 for rate in seen['storage'].values()), seen)
        self.policy({})  # under which disks and networks have a weight
        spreads = until('it is seen', lambda: [s for s in [self.status()['spreads']] if s['disk'] > 0 and s['network'] > 0], 60)[0]
        self.assertEqual(set(spreads), {'cpu', 'memory', 'disk', 'network'})
        # where links are what is short, it goes to its data
        for node in self.nodes:
            self.n1.do('node', 'label', node.name, '--label', 'network_rate=10M')
            self.addCleanup(self.n1.do, 'node', 'label', node.name, '--label', 'network_rate=')
        links = dict(EAGER, weights={'cpu': 0, 'memory': 0, 'network': 1, 'disk': 0, 'reserved': 0}, overload={'weight': 0})
        moves = until('links show', lambda: [m for m in self.moves_under(links) if m['guest'] == 'writer'], 60)
        self.assertIn(moves[0]['to'], (self.n2.name, self.n3.name))
        self.assertEqual(moves[0]['for'], 'network')
        self.n1.console('writer', 'touch /tmp/rest')

    def test_6_other_days(self):
        """Three days as a balancer would have kept them: who was busy at this hour counts as busy before it is."""
        guest = self.n1.do('guest', 'create', 'daily', '--memory', '128M', '--node', self.n1.name, '--kernel', 'kernel1', '--initrd', 'ramdisk1',
                           '--cmdline', 'console=ttyS0 quiet panic=-1', '--start', '--wait')
        self.addCleanup(self.remove, 'daily')  # what is expected of it would keep others away from its node
        ahead = int(time.time() + 1800) // 3600
        last = int(time.time()) // 3600 - 1
        row = '%d:' % last + ''.join('%04x' % (80 if (hour - ahead) % 24 in (0, 1, 23) else 2) for hour in range(last - 71, last + 1))
        key = '/drover/state/hours/' + guest['id'][:2]
        done = self.etcd.ctl('put', key, json.dumps({guest['id']: row}))
        self.assertEqual(done.returncode, 0, done.stdout)
        self.addCleanup(self.etcd.ctl, 'del', key)
        seen = until('it is measured', lambda: [g for g in self.n1.do('cluster', 'export')['guests'] if g['name'] == 'daily' and 'load' in g], 120)[0]
        self.assertAlmostEqual(seen['expected']['cpu'], 0.8, delta=0.05)
        self.assertLess(seen['load'].get('cpu', 0), 0.5)
        self.assertEqual([g['name'] for g in self.n1.do('cluster', 'export')['guests'] if 'expected' in g], ['daily'])

    def test_7_modes_of_groups(self):
        """Of three busy guests on one node one may be moved, one is advised to, and one stays whatever its load."""
        until('all have settled', self.settled)
        self.policy(dict(EAGER, patience=dict(EAGER['patience'], **{'return': '1s'})))
        here = self.n3.name
        for name in GUESTS:
            if self.where()[name] != here:
                self.n1.do('guest', 'migrate', name, '--to', here, '--wait')
        until('they are together', lambda: set(self.where().values()) == {here} and self.settled())
        self.n1.do('guest', 'set', 'busy1', '--anti-affinity', 'calm:soft')
        self.n1.do('balance', 'mode', 'off', '--group', 'calm')
        self.n1.do('balance', 'mode', 'advise', '--group', 'guest/busy2')
        self.assertIn(('calm', 1), [(g['group'], g['guests']) for g in self.status()['groups']])
        before = len(self.moves())
        self.n1.do('balance', 'mode', 'automatic')
        until('the one that may goes', lambda: self.where()['busy3'] != here and self.settled(), 120)
        proposal = until('the other one is proposed', lambda: [p for p in self.plans('proposed') if 'busy2' in json.dumps(p['spec']['waves'])],
                         120)[0]
        self.assertNotIn('"busy1"', json.dumps(proposal['spec']['waves']))
        self.assertEqual({m['spec']['guest'] for m in self.moves()[before:] if m['spec'].get('plan')} & {'busy1', 'busy2'}, set())
        self.assertEqual([self.where()[n] for n in ('busy1', 'busy2')], [here, here])
        self.n1.do('balance', 'apply', proposal['name'])
        until('it goes when it is applied', lambda: self.where()['busy2'] != here and self.settled(), 120)
        self.assertEqual(self.where()['busy1'], here)
        self.n1.do('balance', 'mode', 'off')
        self.check_alive()

    def test_8_made_to_be_carried_out(self):
        """What nobody has proposed, as moves cost less than usual."""
        for group in ('calm', 'guest/busy2'):
            self.n1.do('balance', 'mode', 'default', '--group', group)
        here = self.where()['busy1']
        self.n1.do('guest', 'set', 'busy1', '--avoid', here)
        self.assertIn('balancing is off', self.refuses('balance', 'plan', '--apply'))
        self.n1.do('balance', 'mode', 'advise')
        before = len(self.plans('done'))
        would = until('it would go', lambda: self.would('--apply', '--price', '0.5', '--dry-run'), 60)
        self.assertEqual((would['spec']['price'], would['spec']['phase'], would['apply']['by']), (0.5, 'proposed', 'local:root'))
        self.assertEqual(len(self.plans('active', 'done')), before)
        done = self.n1.cli('balance', 'plan', '--apply', '--price', '0.5')
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn('balance history', done.stdout)
        ended = until('it is through', lambda: [p for p in self.plans('done', 'void') if p['spec'].get('price')], 120)[0]
        self.assertEqual((ended['spec']['phase'], ended['apply']['by'], ended['spec']['by']), ('done', 'local:root', 'local:root'))
        self.assertNotEqual(self.where()['busy1'], here)
        until('all have settled', self.settled)
        self.assertIn('says why', self.refuses('balance', 'plan', '--apply', '--price', '1000'))
        self.n1.do('balance', 'mode', 'off')
        self.check_alive()

    def test_9_room_for_a_drain(self):
        """A guest that no node takes, until another one has moved out of its way."""
        for name in GUESTS:
            self.remove(name)
        until('nobody is left', lambda: not [g for g in self.n1.do('guest', 'list') if g['spec']['running']], 60)
        memory = min(n['state']['memory_bytes'] for n in self.n1.do('node', 'list'))
        room = memory // 10 - memory // 16  # of each node, by the policy
        self.policy(dict(EAGER, limits={'memory': 0.1, 'lose': 0}))
        sizes = {'big': 0.7, 'left': 0.35, 'right': 0.35}
        for name, node in zip(sizes, self.nodes):
            self.n1.do('guest', 'create', name, '--memory', '%dM' % (room * sizes[name] // 2 ** 21 * 2), '--node', node.name, '--kernel', 'kernel1',
                       '--initrd', 'ramdisk1', '--cmdline', 'console=ttyS0 quiet panic=-1', '--start', '--wait')
            self.addCleanup(self.remove, name)
        here, there = self.n1.name, {self.n2.name, self.n3.name}

        def node_of(name):
            shown = self.n1.do('guest', 'show', name)
            return shown['spec']['node'] if 'migration' not in shown and shown['state'].get('node') == shown['spec']['node'] else None
        self.addCleanup(self.n1.do, 'node', 'undrain', here)
        self.n1.do('node', 'drain', here)
        staying = until('it stays', lambda: self.n1.do('node', 'show', here)['state'].get('staying'), 60)
        self.assertEqual(list(staying), ['big'])
        self.assertIn('not enough memory', staying['big'])
        self.n1.do('balance', 'mode', 'advise')
        plan = until('room is proposed', lambda: self.plans('proposed'), 240)[0]
        movers = [[m['guest'] for m in wave] for wave in plan['spec']['waves']]
        self.assertEqual((len(movers), movers[1]), (2, ['big']))
        self.assertEqual(node_of('big'), here)
        self.n1.do('balance', 'mode', 'automatic')
        until('it leaves', lambda: node_of('big') in there, 180)
        self.assertEqual(({node_of('left'), node_of('right')} | {node_of('big')}), there)
        self.assertEqual(node_of('left'), node_of('right'))
        until('nobody stays', lambda: not self.n1.do('node', 'show', here)['state'].get('staying'), 30)
        ended = until('the plan is through', lambda: self.plans('done', 'void') and not self.plans('active') and self.plans('done', 'void')[-1], 60)
        self.assertEqual(ended['spec']['phase'], 'done', ended['spec']['reason'])
        self.n1.do('balance', 'mode', 'off')

    def test_9_room_one_after_the_other(self):
        """Whoever asks which agent in the same moment: each node has room for one, and gets one."""
        self.n1.do('balance', 'mode', 'off')
        memory = min(n['state']['memory_bytes'] for n in self.n1.do('node', 'list'))
        self.policy(dict(EAGER, limits={'memory': 0.1, 'lose': 0}))
        size = '%dM' % ((memory // 10 - memory // 16) * 6 // 10 // 2 ** 21 * 2)

        def create(i):
            return self.nodes[i % 3].cli('guest', 'create', 'g%d' % i, '--memory', size, '--kernel', 'kernel1', '--initrd', 'ramdisk1',
                                         '--cmdline', 'console=ttyS0 quiet panic=-1', '--start')
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            made = list(pool.map(create, range(12)))
        names = ['g%d' % i for i in range(12) if made[i].returncode == 0]
        for name in names:
            self.addCleanup(self.remove, name)
        self.assertEqual(sorted(self.n1.do('guest', 'show', n)['spec']['node'] for n in names), [n.name for n in self.nodes])
        for refused in made:
            if refused.returncode:
                self.assertIn('not enough memory', refused.stderr)
        until('all run', lambda: all(self.n1.do('guest', 'show', n)['state'].get('phase') == 'running' for n in names))
        on = {self.n1.do('guest', 'show', n)['spec']['node']: n for n in names}
        self.remove(on.pop(self.n3.name))
        for node in on:  # so that what the first one leaves behind is no room for the second
            self.n1.do('guest', 'set', on[node], *[w for other in on if other != node for w in ('--avoid', other)])
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            moved = list(pool.map(lambda n: self.node(n).cli('guest', 'migrate', on[n], '--wait'), on))
        self.assertEqual(sorted(m.returncode != 0 for m in moved), [False, True], [m.stderr for m in moved])
        self.assertIn('not enough memory', [m.stderr for m in moved if m.returncode][0])

    def test_9_same_place_one_after_the_other(self):
        """Where a group is the first of it decides, and the others, who may not be there, are refused."""
        def create(i):
            return self.nodes[i % 3].cli('guest', 'create', 's%d' % i, '--memory', '128M', '--kernel', 'kernel1', '--initrd', 'ramdisk1',
                                         '--affinity', 'together', '--pin', self.nodes[i % 2].name)
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            made = list(pool.map(create, range(12)))
        names = ['s%d' % i for i in range(12) if made[i].returncode == 0]
        for name in names:
            self.addCleanup(self.remove, name)
        self.assertEqual(len({self.n1.do('guest', 'show', n)['spec']['node'] for n in names}), 1, names)
        self.assertEqual(len(names), 6)

    def test_9_apart_one_after_the_other(self):
        """Two that are sent to one node, and may not be there together: one is."""
        for i in range(2):
            self.n1.do('guest', 'create', 'a%d' % i, '--memory', '128M', '--kernel', 'kernel1', '--initrd', 'ramdisk1', '--anti-affinity',
                       'apart', '--node', self.nodes[i].name)
            self.addCleanup(self.remove, 'a%d' % i)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            sent = list(pool.map(lambda i: self.nodes[i].cli('guest', 'set', 'a%d' % i, '--node', self.n3.name), range(2)))
        self.assertEqual(sorted(s.returncode != 0 for s in sent), [False, True], [s.stderr for s in sent])
        self.assertEqual([self.n1.do('guest', 'show', 'a%d' % i)['spec']['node'] for i in range(2)].count(self.n3.name), 1)

    def would(self, *words):
        """A plan that takes busy1 away, if there is one yet."""
        made = self.n1.cli('balance', 'plan', '--json', *words)
        return made.returncode == 0 and 'busy1' in [m['guest'] for w in json.loads(made.stdout)['spec']['waves'] for m in w] and json.loads(made.stdout)


if __name__ == '__main__':
    unittest.main(verbosity=2)
