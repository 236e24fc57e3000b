#!/usr/bin/python3
"""Drills on three nodes, with a canary that writes and says so: each kind, what is refused, one that is aborted in the
middle, one whose conductor is killed. What a drill measures is read from its report; that the fault was real, and is gone,
from the nodes themselves.

    n1, n2, n3 --- bridge of the test       each a network namespace with a droverd of its own; n1 has the etcd"""
import json
import os
import re
import signal
import subprocess
import sys
import time
import unittest
import xml.etree.ElementTree as tree

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from cluster import BUILD, DROVER, ThreeNodes, initrd, kernels, sha256, until  # noqa: E402

CANARY_INIT = initrd.PREAMBLE + 'echo "guest: ready"\nsh /canary /dev/vda /dev/console 64 &\n' + initrd.OBEY


def droverds(node):
    """The agents of a node, however they were started."""
    found = []
    for pid in node.pids():
        try:
            with open('/proc/%d/cmdline' % pid, 'rb') as f:
                words = f.read().split(b'\0')
        except OSError:
            continue
        if words and words[0].endswith(b'droverd'):
            found.append(pid)
    return found


class Drill(ThreeNodes):
    @classmethod
    def prepare(cls):
        folder = cls.nodes[0].folder
        canary, ramdisk = os.path.join(folder, 'canary'), os.path.join(folder, 'canary.gz')
        with open(canary, 'w') as f:
            subprocess.run([DROVER, 'drill', 'canary'], stdout=f, check=True)
        initrd.build(ramdisk, kernels.modules('cloud'), [('canary', canary)], CANARY_INIT)
        kernel = kernels.vmlinuz('cloud')
        sums = [sha256(kernel), sha256(ramdisk)]
        for i, node in enumerate(cls.nodes, 1):
            node.do('pool', 'create', 'p%d' % i, '--node', node.name, '--path', node.pool)
            node.do('image', 'import', 'kernel%d' % i, '--pool', 'p%d' % i, '--source', kernel, '--sha256', sums[0], '--wait')
            node.do('image', 'import', 'ramdisk%d' % i, '--pool', 'p%d' % i, '--source', ramdisk, '--sha256', sums[1], '--wait')
        # the canary is n2's or n3's: n1 has the store, and is not to be cut off from it
        first = cls.nodes[0]
        first.do('volume', 'create', 'web', '--size', '16M', '--layout', 'replica:3', '--wait')
        first.do('node', 'drain', first.name)
        first.do('guest', 'create', 'web', '--memory', '128M', '--node', cls.nodes[1].name, '--disk', 'web', '--kernel',
                 'kernel2', '--initrd', 'ramdisk2', '--cmdline', 'console=ttyS0 quiet panic=-1', '--ha', '--start', '--wait')

    def setUp(self):
        self.n1, self.n2, self.n3 = self.nodes
        self.addCleanup(self.all_are_back)

    # ---- what the tests are made of ----

    def all_are_back(self):
        for node in self.nodes:
            if node.process and node.process.poll() is not None:
                node.process = None
            if not droverds(node):
                node.start()
        until('all are alive', lambda: all(n['state'].get('alive') for n in self.n1.do('node', 'list')))
        until('no drill is left', lambda: all(d['state'].get('phase') in ('done', 'aborted', 'failed')
                                              for d in self.n1.do('drill', 'list')))
        self.n1.do('ha', 'arm')

    def home(self):
        """Where the canary runs, once its volume has all it needs."""
        until('its volume is in sync', self.is_in_sync)
        until('it runs', lambda: self.n1.do('guest', 'show', 'web')['state'].get('phase') == 'running')
        name = self.n1.do('guest', 'show', 'web')['spec']['node']
        return next(n for n in self.nodes if n.name == name)

    def is_in_sync(self):
        members = self.n1.do('volume', 'show', 'web')['state'].get('members', [])
        return len(members) == 3 and all(m['condition'] == 'in-sync' for m in members)

    def begin(self, kind, node, *more):
        return self.n1.do('drill', 'run', kind, '--node', node.name, '--yes', *more)['name']

    def show(self, name, node=None):
        return (node or self.n1).do('drill', 'show', name)

    def phase(self, name, node=None):
        return self.show(name, node)['state'].get('phase')

    def ends(self, name, node=None):
        until('the drill ends', lambda: self.phase(name, node) in ('done', 'aborted', 'failed'))
        drill = self.show(name, node)
        if os.environ.get('DROVER_DRILL_REPORT'):
            print((node or self.n1).cli('drill', 'report', name).stdout, flush=True)
        return drill

    def events(self, drill, kind):
        return [e['text'] for e in drill['state']['timeline'] if e['kind'] == kind]

    def is_cut(self, node):
        space = self.spaces[self.nodes.index(node)]
        tables = space.run('nft', 'list', 'tables', stdout=subprocess.PIPE, universal_newlines=True).stdout
        return 'drover-drill' in tables

    def refused(self, code, *words):
        done = self.n1.cli('drill', 'run', *words)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn(code, done.stderr)

    def check_page(self, name):
        """The page is well-formed, its picture an SVG with the lanes of fault, node and guests."""
        path = os.path.join(self.n1.folder, 'page.html')
        self.assertEqual(self.n1.cli('drill', 'report', name, '--html', path).returncode, 0)
        with open(path) as f:
            text = f.read()
        self.assertNotIn('<script', text)
        root = tree.fromstring(re.sub(r'^<!DOCTYPE html>\n', '', text))
        svg = root.find('.//{http://www.w3.org/2000/svg}svg')
        names = [t.text for t in svg.iter('{http://www.w3.org/2000/svg}text') if t.get('class') == 'name']
        self.assertIn('fault', names)
        return root, svg, names

    # ---- in virtual time ----

    def test_in_virtual_time(self):
        """On a picture of this very cluster, which it leaves alone: asked for, or from a file."""
        exported = self.n1.do('cluster', 'export')
        web = [g for g in exported['guests'] if g['name'] == 'web'][0]
        self.assertTrue(web['ha'])
        names = sorted(n.name for n in self.nodes)
        self.assertEqual((sorted(web['volumes'][0]['members']), web['volumes'][0]['spare']), (names, 1))
        done = self.n1.cli('drill', 'simulate', '--schedules', '80', '--json')
        self.assertEqual(done.returncode, 0, done.stderr)
        report = json.loads(done.stdout)
        self.assertEqual((report['cluster']['nodes'], report['cluster']['protected']), (3, 1))
        self.assertEqual((report['violations'], report['not_borne'], report['lost']), ([], [], names), report)
        self.assertGreater(report['kinds'][0]['take_overs'], 0)
        path = os.path.join(self.n1.folder, 'exported.json')
        with open(path, 'w') as f:
            json.dump(exported, f)
        self.assertEqual(self.n1.cli('drill', 'simulate', '--schedules', '80', '--json', '--cluster', path).stdout, done.stdout)
        self.assertEqual(self.home().name, web['node'])

    # ---- what is drilled ----

    def test_a_node_loses_power(self):
        home = self.home()
        before = droverds(home)
        name = self.begin('node-power-loss', home, '--guest', 'web', '--for', '9s')
        until('all of the node is dead', lambda: self.is_cut(home) and not set(before) & set(droverds(home)))
        drill = self.ends(name)
        self.assertEqual(drill['state']['phase'], 'done', drill['state'])
        self.is_taken_over(drill, home)
        self.assertFalse(self.is_cut(home))
        root, svg, names = self.check_page(name)
        self.assertEqual(names, ['fault', home.name, 'web', 'events'])
        self.assertEqual(len([r for r in svg.iter('{http://www.w3.org/2000/svg}rect') if r.get('class') == 'down']), 2)
        report = json.loads(self.n1.cli('drill', 'report', name, '--json').stdout)
        self.assertEqual(report['state']['result'], drill['state']['result'])
        task = [t for t in self.n1.do('task', 'list') if t['spec']['object'] == name][0]
        until('its task is done', lambda: self.n1.do('task', 'show', task['name'])['state']['phase'] == 'done')

    def is_taken_over(self, drill, home):
        """Once, with everything that was acknowledged."""
        result, guest = drill['state']['result'], drill['state']['guests'][0]
        self.assertEqual(result['lost_writes'], 0)
        self.assertGreater(guest['acked'], 0)
        self.assertEqual(guest['outage_ms'], result['rto_ms'])
        self.assertGreater(guest['outage_ms'], 4000)  # no lease ends before that
        self.assertEqual(len([e for e in self.events(drill, 'guest') if 'is granted to' in e]), 1, drill['state'])
        self.assertTrue(any('found' in e and ' 0 missing' in e for e in self.events(drill, 'canary')), drill)
        self.assertEqual([e.split(',')[0].split()[-1] for e in self.events(drill, 'node')], ['lost', 'back'])
        self.assertNotEqual(self.n1.do('guest', 'show', 'web')['spec']['node'], home.name)

    def test_partition_conductor_restarts(self):
        """The agent that was asked is killed in the middle: the next one goes on, and says that it has."""
        home = self.home()
        name = self.begin('partition', home, '--guest', 'web', '--for', '9s')
        until('the fault is there', lambda: self.is_cut(home))
        self.n1.restart(signal.SIGKILL)
        drill = self.ends(name)
        self.assertEqual(drill['state']['phase'], 'done', drill['state'])
        self.is_taken_over(drill, home)
        self.assertTrue(any('goes on from what was written' in e for e in self.events(drill, 'phase')), drill)
        self.assertFalse(self.is_cut(home))

    def test_coordinator_loss(self):
        """The store answers the others, so nobody pledges: the guest stands, and runs elsewhere."""
        home = self.home()
        drill = self.ends(self.begin('coordinator-loss', home, '--guest', 'web', '--for', '9s'))
        self.assertEqual(drill['state']['phase'], 'done', drill['state'])
        self.is_taken_over(drill, home)
        self.assertFalse(self.is_cut(home))

    def test_conductor_lost(self):
        """The agent that was asked does not come back: the third node conducts the rest."""
        home = self.home()
        other = self.n3 if home is self.n2 else self.n2
        name = self.begin('slow-disk', home, '--volume', 'web', '--guest', 'web', '--for', '10s')
        until('it runs', lambda: self.phase(name) == 'running')
        self.n1.end(signal.SIGKILL)
        drill = self.ends(name, other)
        self.assertEqual(drill['state']['phase'], 'done', drill['state'])
        self.assertEqual((drill['spec']['conductor'], drill['state']['conductor']), (self.n1.name, other.name))
        self.assertEqual(drill['state']['result']['lost_writes'], 0)

    def test_abort(self):
        """A node that is cut off from everybody hears that its drill is over."""
        home = self.home()
        name = self.begin('partition', home, '--guest', 'web', '--for', '10m')
        until('the fault is there', lambda: self.is_cut(home))
        self.n1.do('drill', 'abort', name)
        until('the node is whole again', lambda: not self.is_cut(home))
        drill = self.ends(name)
        self.assertEqual(drill['state']['phase'], 'aborted')
        self.assertIn('aborted by local:root', drill['state']['reason'])
        self.assertEqual(drill['state']['result']['lost_writes'], 0)
        self.assertEqual(self.n1.cli('drill', 'abort', name).returncode, 1)

    def test_abort_if(self):
        """A canary is silent: the condition comes true by itself."""
        home = self.home()
        name = self.begin('partition', home, '--guest', 'web', '--for', '10m', '--abort-if', 'silent > 2s')
        drill = self.ends(name)
        self.assertEqual(drill['state']['phase'], 'aborted')
        self.assertIn('silent is', drill['state']['reason'])
        self.assertFalse(self.is_cut(home))

    def test_migration_fault(self):
        """The agent of the source, then of the destination, dies while the canary moves: it is somewhere, whole."""
        for side in ('source', 'destination'):
            with self.subTest(side=side):
                home = self.home()
                other = self.n3 if home is self.n2 else self.n2
                drill = self.ends(self.begin('migration-fault', home if side == 'source' else other, '--guest', 'web', '--for',
                                             '2s'))
                self.assertEqual(drill['state']['phase'], 'done', drill['state'])
                self.assertEqual(drill['state']['result']['lost_writes'], 0)
                self.assertEqual(drill['state']['blast']['guests'][0]['next'], other.name)
                moved = [m for m in self.n1.do('migration', 'list') if m['spec']['by'] == 'drill:' + drill['name']]
                self.assertEqual(len(moved), 1)
                self.assertIn(moved[0]['state']['phase'], ('done', 'failed', 'cancelled'))

    def test_fault_killed(self):
        """Who would have ended the fault is killed: the node is whole again at once, and the drill has failed."""
        home = self.home()
        name = self.begin('partition', home, '--guest', 'web', '--for', '10m')
        until('the fault is there', lambda: self.is_cut(home))
        for pid in home.pids():
            with open('/proc/%d/cmdline' % pid, 'rb') as f:
                if f.read().startswith(b'drover-fault'):
                    os.kill(pid, signal.SIGKILL)
        until('the node is whole again', lambda: not self.is_cut(home))
        drill = self.ends(name)
        self.assertEqual(drill['state']['phase'], 'failed')
        self.assertIn('killed by SIGKILL', drill['state']['reason'])

    def test_scheduled(self):
        """One that is due comes by itself, once: an agent that crashes, and no guest notices. /metrics tells."""
        home, n1 = self.home(), self.n1
        pid, before = n1.do('guest', 'show', 'web')['state']['pid'], droverds(home)
        at = time.strftime('%H:%M', time.gmtime())
        self.assertEqual(n1.cli('drill', 'schedule', 'bad', '--kind', 'agent-crash', '--node', home.name, '--day', 'daily',
                                '--at', '24:00').returncode, 1)
        n1.do('drill', 'schedule', 'weekly', '--kind', 'agent-crash', '--node', home.name, '--day', 'daily', '--at', at,
              '--guest', 'web', '--for', '2s')
        self.addCleanup(n1.cli, 'drill', 'unschedule', 'weekly')
        mine = lambda: [d for d in n1.do('drill', 'list') if d['spec']['by'] == 'schedule:weekly']
        until('it comes', mine)
        drill = self.ends(mine()[0]['name'])
        self.assertEqual(drill['state']['phase'], 'done', drill['state'])
        self.assertEqual(drill['state']['result']['lost_writes'], 0)
        self.assertEqual(drill['state']['result']['rto_ms'], 0)
        self.assertFalse(set(before) & set(droverds(home)))
        guest = n1.do('guest', 'show', 'web')
        self.assertEqual((guest['state']['pid'], guest['spec']['node']), (pid, home.name))  # nobody touched it
        self.assertEqual(n1.do('drill', 'schedules')[0]['state']['drill'], drill['name'])
        self.assertEqual(len(mine()), 1)
        conductor = next(n for n in self.nodes if n.name == drill['state']['conductor'])
        metrics = subprocess.run(['curl', '-s', '--unix-socket', os.path.join(conductor.run, 'api.sock'),
                                  'http://node/metrics'], stdout=subprocess.PIPE, universal_newlines=True).stdout
        self.assertIn('drover_drill_last_success{kind="agent-crash",node="%s"} 1' % home.name, metrics)
        self.assertIn('drover_drill_last_lost_writes{kind="agent-crash",node="%s"} 0' % home.name, metrics)
        n1.do('drill', 'unschedule', 'weekly')

    def test_members(self):
        """A member's server is killed and stays away; then one stands most of the time. The guest goes on with both."""
        home = self.home()
        other = self.n3 if home is self.n2 else self.n2
        # a member that does not answer is lost after five seconds; one that is slow is not
        for kind, more in (('member-loss', ['--for', '12s']), ('slow-disk', ['--for', '3s', '--delay', '300ms'])):
            with self.subTest(kind=kind):
                self.home()
                restarts = self.n1.do('guest', 'show', 'web')['state']['restarts']
                name = self.begin(kind, other, '--volume', 'web', '--guest', 'web', *more)
                if kind == 'member-loss':
                    until('the member is away', lambda: not self.is_in_sync())
                drill = self.ends(name)
                self.assertEqual(drill['state']['phase'], 'done', drill['state'])
                self.assertEqual(drill['state']['result']['lost_writes'], 0)
                self.assertEqual(drill['state']['blast']['volumes'],
                                 [{'volume': 'web', 'members': 3, 'left': 2, 'needed': 2}])
                self.assertEqual(self.home(), home)
                self.assertEqual(self.n1.do('guest', 'show', 'web')['state']['restarts'], restarts)

    def test_refused(self):
        home, n1 = self.home(), self.n1
        other = self.n3 if home is self.n2 else self.n2
        self.refused('say --yes', 'node-power-loss', '--node', home.name)
        shown = n1.do('drill', 'run', 'node-power-loss', '--node', home.name, '--dry-run')
        self.assertEqual([(g['guest'], g['next']) for g in shown['state']['blast']['guests']], [('web', other.name)])
        self.assertNotIn('key', shown)
        self.refused('the store is on node', 'partition', '--node', n1.name, '--yes')
        self.refused('there is no node', 'partition', '--node', 'nobody', '--yes')
        self.refused('node-power-loss', 'meteorite', '--node', home.name, '--yes')
        self.refused('needs the volume', 'member-loss', '--node', home.name, '--yes')
        self.refused('write for example', 'partition', '--node', home.name, '--yes', '--abort-if', 'silence > 3')
        n1.do('ha', 'disarm')
        self.refused('`drover ha arm` first', 'partition', '--node', home.name, '--yes')
        n1.do('ha', 'arm')
        n1.do('node', 'drain', other.name)  # it takes nothing over: the guest would have nowhere to go
        self.refused('would not run again', 'partition', '--node', home.name, '--yes')
        n1.do('node', 'undrain', other.name)
        n1.do('guest', 'create', 'lone', '--memory', '128M', '--node', other.name, '--kernel',
              'kernel%d' % (self.nodes.index(other) + 1), '--initrd', 'ramdisk%d' % (self.nodes.index(other) + 1), '--start',
              '--wait')
        self.addCleanup(n1.cli, 'guest', 'delete', 'lone', '--wait')
        self.refused('--also-unprotected', 'node-power-loss', '--node', other.name, '--yes')
        n1.do('drill', 'run', 'node-power-loss', '--node', other.name, '--also-unprotected', '--dry-run')
        name = self.begin('agent-crash', home, '--guest', 'lone', '--for', '2s')
        self.refused('is under way', 'agent-crash', '--node', home.name, '--yes')
        n1.do('drill', 'abort', name)  # its canary has said nothing: the fault was never there
        self.assertEqual(self.ends(name)['state']['reason'], 'by local:root, before the fault')


if __name__ == '__main__':
    assert BUILD
    unittest.main(verbosity=2)
