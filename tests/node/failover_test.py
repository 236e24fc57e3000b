#!/usr/bin/python3
"""Fail-over on three nodes: a node that is killed, cut off, stopped for a while; the store away; fail-over disarmed. In each
case a guest writes and says so on its console; afterwards everything that it said must be there, once, on one node.

    n1, n2, n3 --- bridge of the test       each a network namespace with a droverd of its own; n1 has the etcd

DROVER_DRILLS=N: N drills of a killed node instead, with their times.
DROVER_STORE_AWAY=S: the store is away for S seconds, not 20, which is longer than any lease."""
import os
import re
import signal
import subprocess
import sys
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from cluster import BUILD, Members, ThreeNodes, seeded_guest_files, sha256, until  # noqa: E402

SLOTS = 512
STORE_AWAY_S = int(os.environ.get('DROVER_STORE_AWAY', '20'))
LOAD = ('i=%d; while :; do i=$((i+1)); printf "%%-511s\\n" $i | dd of=/dev/vda bs=512 seek=$((i%%' + str(SLOTS) + ')) '
        'conv=notrunc,fsync 2>/dev/null && echo "ack $i"; sleep 0.03; done')


class Load:
    """A guest that writes a number after the other into the slots of its disk; what it has said is kept here."""
    def __init__(self, node, guest, start=0):
        self.node, self.console = node, node.open_console(guest)
        self.acked, self.text = [], b''
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()
        self.console.stdin.write((LOAD % start).encode() + b'\n')

    def read(self):
        while True:
            data = os.read(self.console.stdout.fileno(), 4096)
            if not data:
                return
            self.text += data
            *lines, self.text = self.text.split(b'\n')
            for line in lines:
                match = re.match(rb'\s*ack (\d+)\s*$', line)
                if match:
                    self.acked.append(int(match.group(1)))

    def last(self):
        return self.acked[-1] if self.acked else 0

    def goes_on(self, more=5):
        since = self.last()
        until('the guest writes', lambda: self.last() >= since + more)

    def end(self):
        self.console.kill()
        self.thread.join()
        self.node.close_console(self.console)


class Failover(ThreeNodes):
    @classmethod
    def prepare(cls):
        """What guests boot from is imported on n2 alone, which is mostly the one that is lost."""
        kernel, ramdisk = seeded_guest_files(cls.nodes[0].folder)
        for i, node in enumerate(cls.nodes, 1):
            node.do('pool', 'create', 'p%d' % i, '--node', node.name, '--path', node.pool)
        cls.nodes[0].do('image', 'import', 'kernel', '--pool', 'p2', '--source', kernel, '--wait')
        cls.nodes[0].do('image', 'import', 'ramdisk', '--pool', 'p2', '--source', ramdisk, '--wait')
        cls.nodes[0].do('network', 'create', 'net', '--subnet', '10.7.0.0/24', '--nat')

    def setUp(self):
        self.n1, self.n2, self.n3 = self.nodes
        self.addCleanup(self.all_are_back)

    # ---- what the tests are made of ----

    def space(self, node):
        return self.spaces[self.nodes.index(node)]

    def link(self, node, state):
        self.space(node).ip('link', 'set', 'up0', state)

    def all_are_back(self):
        if not self.etcd.process:
            self.etcd.start()
        for node in self.nodes:
            self.link(node, 'up')
            self.space(node).run('nft', 'delete', 'table', 'inet', 'cut', stderr=subprocess.DEVNULL)
            if not node.process:
                node.start()
        until('all are alive', lambda: all(n['state'].get('alive') for n in self.n1.do('node', 'list')))
        self.n1.do('ha', 'arm')

    def protect(self, name, node, layout='replica:3'):
        """A protected guest on that node, which can be talked to."""
        n1 = self.n1
        n1.do('volume', 'create', name, '--size', '32M', '--layout', layout, '--wait')
        self.addCleanup(self.remove, name)
        n1.do('guest', 'create', name, '--memory', '192M', '--node', node.name, '--disk', name, '--kernel', 'kernel',
              '--initrd', 'ramdisk', '--network', 'net', '--cmdline', 'console=ttyS0 quiet panic=-1', '--ha', '--start',
              '--wait')
        self.answers(name, node)
        for image in ('kernel', 'ramdisk'):
            self.holders(image, self.n1, self.n3)

    def holders(self, image, *nodes):
        """These nodes come to have copies, and are all that have; the image itself is on n2."""
        names = sorted(n.name for n in nodes)
        until('%s has its copies' % image, lambda: sorted(self.image(image).get('copies', [])) == names)
        self.assertEqual(self.image(image).get('lacking', []), [])

    def image(self, name):
        return self.n1.do('image', 'show', name)['state']

    def copies(self, node):
        return set(os.listdir(os.path.join(node.state, 'boot')))

    def cut_members(self, node):
        """Nothing but the store and the other agents is reached from there."""
        rules = ('iifname up0 tcp sport { 2379, 7480 } accept; iifname up0 tcp dport 7480 accept; iifname up0 meta l4proto tcp drop;',
                 'oifname up0 tcp dport { 2379, 7480 } accept; oifname up0 tcp sport 7480 accept; oifname up0 meta l4proto tcp drop;')
        done = self.space(node).run('nft', 'table inet cut { chain in { type filter hook input priority 0; %s }; '
                                    'chain out { type filter hook output priority 0; %s }; }' % rules)
        self.assertEqual(done.returncode, 0)

    def given(self, name, away_from, cause, seconds=120):
        heir = until('another node runs it', lambda: self.runs_on(name) not in (None, away_from) and self.runs_on(name), seconds)
        record = self.show(name)['failover']
        self.assertEqual((record['count'], record['from'], record['to'], record['cause']), (1, away_from.name, heir.name, cause))
        until('only one is left', lambda: self.processes(name) == [heir])
        self.assertTrue(self.n1.do('node', 'show', away_from.name)['state']['alive'])
        tasks = [t for t in self.n1.do('task', 'list') if t['spec']['verb'] == 'failover' and t['spec']['object'] == name]
        self.assertEqual([t['spec']['by'] for t in tasks], ['drover'])
        with open(os.path.join(away_from.state, 'audit.log')) as f:
            self.assertTrue([line for line in f if '"who":"drover"' in line and name in line and 'could not run it' in line])
        return heir

    def stuck(self, name, node, waits=''):
        return until('it says why', lambda: (lambda s: s and waits in s['waits'] and s)(node.do('guest', 'show', name)['state'].get('stuck')))

    def remove(self, name):
        self.all_are_back()  # whoever has something of it has to be asked
        self.n1.cli('guest', 'stop', name, '--force', '--wait')
        self.n1.cli('guest', 'delete', name, '--wait')
        done = self.n1.cli('volume', 'delete', name, '--wait')
        self.assertIn(done.returncode, (0, 4), done.stderr)

    def answers(self, name, node):
        address = node.do('guest', 'show', name)['spec']['networks'][0]['address']
        until('it answers', lambda: self.space(node).pings(address))

    def show(self, name):
        return self.n1.do('guest', 'show', name)

    def runs_on(self, name):
        """The node on which it runs as far as the cluster knows; None: it does not."""
        guest = self.show(name)
        there = guest['state'].get('phase') == 'running' and guest['state'].get('node') == guest['spec']['node']
        return next(n for n in self.nodes if n.name == guest['spec']['node']) if there else None

    def moves(self, name, away_from):
        return until('another node runs it', lambda: self.runs_on(name) not in (None, away_from) and self.runs_on(name))

    def processes(self, name):
        """The nodes that have a process of the guest."""
        wanted = ('guests/%s.sock' % self.show(name)['id']).encode()
        found = []
        for node in self.nodes:
            for pid in node.pids():
                try:
                    with open('/proc/%d/cgroup' % pid) as f:
                        if self.show(name)['id'] in f.read():
                            found.append(node)
                except OSError:
                    continue
        self.assertTrue(wanted)
        return found

    def kill(self, node):
        """As a power cut does it."""
        self.link(node, 'down')
        pids = node.pids()
        for pid in [node.process.pid] + pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        node.process.wait()
        node.process = None

    def verify(self, name, node, load):
        """Nothing that the guest has said it wrote is lost; and what it writes next is newer than all of it."""
        load.end()
        self.assertGreater(len(load.acked), 0)
        self.answers(name, node)
        text = node.console(name, 'tr -cd "0-9\\n" </dev/vda | head -n %d; echo' % SLOTS)
        # what is there, by slot: a number belongs to the slot that it leaves as a remainder
        there = {}
        for word in re.findall(r'^\s*(\d+)\s*$', text, re.M):
            there[int(word) % SLOTS] = int(word)
        for number in load.acked[-SLOTS:]:
            self.assertGreaterEqual(there.get(number % SLOTS, 0), number, 'write %d was acknowledged' % number)
        return max(there.values())

    # ---- what happens ----

    def test_node_killed(self):
        for layout, name in (('replica:3', 'web'), ('raid1:2', 'two')):
            with self.subTest(layout=layout):
                self.protect(name, self.n2, layout)
                load = Load(self.n2, name)
                load.goes_on(20)
                self.kill(self.n2)
                heir = self.moves(name, self.n2)
                last = self.verify(name, heir, load)
                guest = self.show(name)
                self.assertEqual(guest['failover']['count'], 1)
                self.assertEqual(guest['failover']['from'], self.n2.name)
                tasks = [t for t in self.n1.do('task', 'list') if t['spec']['verb'] == 'failover' and
                         t['spec']['object'] == name]
                until('its task is done', lambda: self.n1.do('task', 'show', tasks[0]['name'])['state']['phase'] == 'done')
                self.assertEqual(len(tasks), 1)
                self.all_are_back()
                self.assertEqual(self.runs_on(name), heir)  # it does not go back by itself
                self.assertEqual(self.processes(name), [heir])
                again = Load(heir, name, last)
                again.goes_on()
                again.end()
                self.remove(name)

    def slow(self, node):
        """... so that a guest's memory is on its way for long enough."""
        space = self.space(node)
        self.assertEqual(space.run('tc', 'qdisc', 'add', 'dev', 'up0', 'root', 'tbf', 'rate', '60mbit', 'burst', '64k', 'latency',
                                   '50ms').returncode, 0)
        self.addCleanup(space.run, 'tc', 'qdisc', 'del', 'dev', 'up0', 'root', stderr=subprocess.DEVNULL)

    def sent(self, name, to):
        """On its way: some of its memory is there, and most of it is not."""
        self.n1.do('guest', 'migrate', name, '--to', to.name)
        last = [m for m in self.n1.do('migration', 'list') if m['spec']['guest'] == name][-1]['name']
        until('it copies', lambda: self.n1.do('migration', 'show', last)['state'].get('done_bytes', 0) > 1 << 20)
        return last

    def test_source_lost_on_the_way(self):
        self.protect('torn', self.n2)
        load = Load(self.n2, 'torn')
        load.goes_on(20)
        self.slow(self.n2)
        last = self.sent('torn', self.n3)
        self.kill(self.n2)
        heir = self.moves('torn', self.n2)
        self.verify('torn', heir, load)
        until('nothing is left of the move', lambda: 'migration' not in self.show('torn') and self.processes('torn') == [heir])
        self.assertEqual(self.show('torn')['failover']['count'], 1)
        self.all_are_back()
        until('the move has failed', lambda: self.n1.do('migration', 'show', last)['state'].get('phase') == 'failed')
        self.assertEqual((self.runs_on('torn'), self.processes('torn')), (heir, [heir]))

    def test_destination_lost_on_the_way(self):
        self.protect('torn', self.n2)
        load = Load(self.n2, 'torn')
        load.goes_on(20)
        self.slow(self.n2)
        last = self.sent('torn', self.n3)
        self.kill(self.n3)
        until('the move has failed', lambda: self.n1.do('migration', 'show', last)['state'].get('phase') == 'failed')
        load.goes_on(20)  # where it was, with the members that are left
        self.assertEqual((self.runs_on('torn'), self.processes('torn')), (self.n2, [self.n2]))
        self.assertNotIn('failover', self.show('torn'))
        self.all_are_back()
        self.assertEqual(self.processes('torn'), [self.n2])
        for what in (('stop', 'torn', '--force'), ('start', 'torn')):  # its shell is in the load for good
            self.assertEqual(self.n1.cli('guest', *what, '--wait').returncode, 0)
        self.verify('torn', self.n2, load)

    def test_disarmed(self):
        self.protect('quiet', self.n3)
        self.assertEqual(self.n1.do('ha', 'disarm')['armed'], False)
        self.kill(self.n3)
        until('its loss is seen', lambda: not self.n1.do('node', 'show', self.n3.name)['state'].get('alive'))
        for node in (self.n1, self.n2):
            until('it says so', lambda: 'fail-over is disarmed' in node.log_text())
        self.assertEqual(self.show('quiet')['spec']['node'], self.n3.name)
        self.n1.do('ha', 'arm')
        heir = self.moves('quiet', self.n3)
        self.assertNotEqual(heir, self.n3)

    def test_store_away(self):
        """Nobody is taken over, and nobody stands: all others pledge to leave them alone."""
        self.protect('steady', self.n2)
        load = Load(self.n2, 'steady')
        load.goes_on(20)
        said = os.path.getsize(self.n2.log)

        def news():
            with open(self.n2.log) as f:
                f.seek(said)
                return f.read()
        self.etcd.end()
        until('the others pledge', lambda: 'guests run on' in news())
        began, since = time.monotonic(), load.last()
        while time.monotonic() < began + STORE_AWAY_S:
            time.sleep(0.5)
        self.assertGreater(load.last(), since)
        self.assertNotIn('is frozen', news())
        self.etcd.start()
        until('the store is back', lambda: self.n1.cli('ha', 'disarm').returncode == 0)
        self.n1.do('ha', 'arm')
        load.goes_on()
        self.assertEqual(self.runs_on('steady'), self.n2)
        self.assertNotIn('failover', self.show('steady'))
        self.assertEqual(self.n1.do('guest', 'show', 'steady')['state']['restarts']['count'], 0)
        load.end()

    def test_link_cut(self):
        """The guest stands where nobody can be reached, another node runs it, and after healing there is one."""
        self.protect('alone', self.n3)
        load = Load(self.n3, 'alone')
        load.goes_on(20)
        self.link(self.n3, 'down')
        heir = self.moves('alone', self.n3)
        until('it stands there', lambda: 'is frozen' in self.n3.log_text())
        self.assertEqual(sorted(n.name for n in self.processes('alone')), sorted([heir.name, self.n3.name]))
        self.link(self.n3, 'up')
        until('only one is left', lambda: self.processes('alone') == [heir])
        self.assertEqual(self.runs_on('alone'), heir)
        self.verify('alone', heir, load)
        self.assertEqual(self.show('alone')['failover']['count'], 1)

    def test_stopped(self):
        """Everything of a node is stopped for a while: what wakes up is not the guest any more."""
        self.protect('sleepy', self.n2)
        load = Load(self.n2, 'sleepy')
        load.goes_on(20)
        pids = [self.n2.process.pid] + self.n2.pids()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            heir = self.moves('sleepy', self.n2)
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        until('only one is left', lambda: self.processes('sleepy') == [heir])
        self.verify('sleepy', heir, load)
        again = Load(heir, 'sleepy', 10000)
        again.goes_on()
        again.end()

    def test_agent_away_and_node_lost(self):
        """A node is cut off while the agent of another is away: that one's members answer all the same, and the third takes over."""
        self.protect('near', self.n2)
        self.n1.end(signal.SIGKILL)
        self.link(self.n2, 'down')
        until('n3 runs it', lambda: (lambda g: g['spec']['node'] == self.n3.name and g['state']['phase'] == 'running')(
            self.n3.do('guest', 'show', 'near')))
        self.assertIsNone(self.n1.process)
        self.answers('near', self.n3)
        self.all_are_back()

    def test_members_cut_off(self):
        """The node lives, and its guest's volume is out of its reach: another node that reaches it runs the guest."""
        self.protect('stuck', self.n2)
        load = Load(self.n2, 'stuck')
        load.goes_on(20)
        said = len(self.n1.log_text())
        self.n1.do('ha', 'disarm')
        self.cut_members(self.n2)
        stuck = self.stuck('stuck', self.n1, 'fail-over is disarmed')
        self.assertEqual(stuck['cause'], 'volumes')
        self.assertEqual(self.processes('stuck'), [self.n2])
        self.n1.do('ha', 'arm')
        heir = self.given('stuck', self.n2, 'volumes')
        self.assertNotIn('is lost', self.n1.log_text()[said:])
        last = self.verify('stuck', heir, load)
        again = Load(heir, 'stuck', last)
        again.goes_on()
        again.end()
        self.assertNotIn('stuck', self.show('stuck')['state'])

    def test_image_gone(self):
        """It crashes, and cannot be started where it was."""
        self.protect('kept', self.n2)
        load = Load(self.n2, 'kept')
        load.goes_on(20)
        path = self.n1.do('image', 'show', 'kernel')['state']['path']
        os.rename(path, path + '.away')
        self.addCleanup(os.rename, path + '.away', path)
        os.kill(self.show('kept')['state']['pid'], signal.SIGKILL)
        self.assertEqual(self.stuck('kept', self.n1)['cause'], 'no-start')
        heir = self.given('kept', self.n2, 'no-start')
        self.verify('kept', heir, load)

    def test_boot_images(self):
        """What is not what it was is refused; a node that has no copy takes nobody, until it has; copies go with the last guest."""
        n1, good, wrong = self.n1, os.path.join(self.n1.folder, 'good'), b'another'
        with open(good, 'wb') as f:
            f.write(os.urandom(300000))
        n1.do('image', 'import', 'odd', '--pool', 'p2', '--source', good, '--wait')
        self.addCleanup(n1.cli, 'image', 'delete', 'odd', '--wait')
        state = self.image('odd')
        self.assertEqual((state['content_sha256'], state.get('copies')), (sha256(good), None))  # nobody boots from it
        with open(state['path'], 'r+b') as f:
            right = f.read(len(wrong))
            f.seek(0)
            f.write(wrong)
        n1.do('volume', 'create', 'odd', '--size', '32M', '--layout', 'replica:3', '--wait')
        self.addCleanup(self.remove, 'odd')
        n1.do('guest', 'create', 'odd', '--memory', '64M', '--node', self.n2.name, '--disk', 'odd', '--kernel', 'odd', '--avoid',
              self.n3.name)
        reason = until('it is refused', lambda: next((m['reason'] for m in self.image('odd')['lacking'] if 'was wanted' in m['reason']),
                                                     None))
        self.assertIn(state['content_sha256'], reason)
        self.assertEqual([m['node'] for m in self.image('odd')['lacking']], [n1.name])
        self.assertNotIn(state['content_sha256'], self.copies(n1))
        guest = n1.do('guest', 'set', 'odd', '--ha')
        self.assertTrue(guest['spec']['ha'])
        with open(state['path'], 'r+b') as f:
            f.write(right)
        self.holders('odd', n1)
        self.assertIn(state['content_sha256'], self.copies(n1))
        self.assertEqual(self.copies(self.n3), set())
        # another node may have him now, and finds the copy where the image is not: its own node is away
        self.kill(self.n2)
        until('its loss is seen', lambda: not n1.do('node', 'show', self.n2.name)['state'].get('alive'))
        n1.do('guest', 'set', 'odd', '--avoid', 'none')
        self.holders('odd', n1, self.n3)
        self.all_are_back()
        n1.restart(signal.SIGKILL)  # what is whole is kept
        self.holders('odd', n1, self.n3)
        n1.do('guest', 'delete', 'odd', '--wait')
        for node in (n1, self.n3):
            until('its copy is gone', lambda: not self.copies(node))
        self.assertNotIn('copies', self.image('odd'))

    def test_crashes(self):
        """Its attempts are used up on one node: another one may try, once."""
        self.protect('weak', self.n2)
        self.n1.do('guest', 'set', 'weak', '--restart-attempts', '1', '--restart-delay', '200ms')

        def crash_twice(node):
            for _ in range(2):
                until('it runs', lambda: self.runs_on('weak') == node and self.show('weak')['state']['pid'])
                pid = self.show('weak')['state']['pid']
                os.kill(pid, signal.SIGKILL)
                until('that is seen', lambda: self.show('weak')['state']['pid'] != pid)
        crash_twice(self.n2)
        self.assertEqual(self.stuck('weak', self.n1)['cause'], 'crashes')
        heir = self.given('weak', self.n2, 'crashes')
        crash_twice(heir)
        self.stuck('weak', self.n1, 'it crashed on another node, too')
        self.assertEqual((self.runs_on('weak'), self.processes('weak'), self.show('weak')['failover']['count']), (None, [], 1))
        self.n1.do('guest', 'start', 'weak', '--wait')
        self.assertEqual(self.runs_on('weak'), heir)

    def test_agent_restarts(self):
        """The lease outlives the agent: the guest is not taken over, and does not stand for long."""
        self.protect('kept', self.n2)
        load = Load(self.n2, 'kept')
        load.goes_on()
        load.end()
        pid = self.show('kept')['state']['pid']
        for how in (signal.SIGTERM, signal.SIGKILL):
            self.n2.restart(how)
            until('it is adopted', lambda: 'runs already' in self.n2.log_text() and self.runs_on('kept') == self.n2)
            self.assertEqual(self.show('kept')['state']['pid'], pid)
        self.assertNotIn('failover', self.show('kept'))

    def test_refused(self):
        n1 = self.n1
        n1.do('volume', 'create', 'plain', '--size', '32M', '--pool', 'p1', '--wait')
        self.addCleanup(n1.cli, 'volume', 'delete', 'plain', '--wait')
        n1.do('volume', 'create', 'thin', '--size', '32M', '--layout', 'raid0:2', '--wait')
        self.addCleanup(n1.cli, 'volume', 'delete', 'thin', '--wait')
        for volume, why in (('plain', 'is on one node'), ('thin', 'does not survive the loss of a node')):
            done = n1.cli('guest', 'create', 'g', '--disk', volume, '--ha')
            self.assertEqual(done.returncode, 1)
            self.assertIn(why, done.stderr)
        status = n1.do('ha', 'status')
        self.assertEqual((status['armed'], status['protected'], status['warnings']), (True, 0, []))
        self.assertEqual(status['nodes_to_lose'], 2)  # there is nothing to lose


class StoreLeader(Failover):
    """Three members of the store, one beside each node, with certificates of their own."""
    store = 'etcd:https://192.168.77.1:2379,192.168.77.2:2379,192.168.77.3:2379'

    @classmethod
    def begin_store(cls, first):
        cls.etcd = Members(cls.nodes)
        first.init()

    def test_leader_lost(self):
        """The member that leads dies: nobody notices but the log."""
        self.protect('calm', self.n2)
        pid = self.show('calm')['state']['pid']
        load = Load(self.n2, 'calm')
        load.goes_on(20)
        for _ in range(3):
            leader = self.etcd.leader()
            self.etcd.kill(leader)
            since = load.last()
            until('the cluster takes changes', lambda: self.n1.cli('ha', 'arm').returncode == 0)
            self.etcd.start()
            until('it is well again', lambda: self.etcd.status(leader))
            load.goes_on()
            self.assertGreater(load.last(), since)
        self.assertEqual(self.runs_on('calm'), self.n2)
        self.assertNotIn('failover', self.show('calm'))
        self.assertEqual(self.show('calm')['state']['pid'], pid)
        load.end()

    def test_leader_and_node_lost(self):
        """A node dies, and with it the member that leads."""
        self.protect('both', self.n2)
        load = Load(self.n2, 'both')
        load.goes_on(20)
        self.etcd.lead(self.n2)
        began = time.monotonic()
        self.etcd.kill(self.n2)
        self.kill(self.n2)
        heir = self.moves('both', self.n2)
        print('node and leader lost: %.1f s' % (time.monotonic() - began), file=sys.stderr)
        self.verify('both', heir, load)
        self.assertEqual(self.show('both')['failover']['count'], 1)
        self.all_are_back()
        self.assertEqual(self.processes('both'), [heir])


class Drills(Failover):
    """By hand: how long it takes."""
    def test_drills(self):
        count, times = int(os.environ['DROVER_DRILLS']), []
        for drill in range(count):
            home = self.n2 if drill % 2 else self.n3  # n1 has the store
            name = 'web%d' % drill
            self.protect(name, home)
            load = Load(home, name)
            load.goes_on(20)
            time.sleep(0.1 * (drill % 10))
            began = time.monotonic()
            self.kill(home)
            try:
                heir = self.moves(name, home)
            except AssertionError:
                self.show_members()
                raise
            times.append(time.monotonic() - began)
            last = self.verify(name, heir, load)
            print('drill %d: %.2f s, %d writes said, last there %d' % (drill, times[-1], len(load.acked), last), flush=True)
            self.remove(name)
        times.sort()
        print('%d drills: p50 %.2f s, max %.2f s' % (count, times[len(times) // 2], times[-1]))


    def show_members(self):
        for node in self.nodes:
            print(node.log_text())
            for f in os.listdir(node.pool):
                if f.endswith('.volume'):
                    stack = '[{"driver":"fence"},{"driver":"raw","file":"%s","no-lock":true}]' % os.path.join(node.pool, f)
                    subprocess.run([os.path.join(BUILD, 'drover-img'), 'member', 'info', stack])


def load_tests(loader, tests, pattern):
    chosen = Drills if os.environ.get('DROVER_DRILLS') else Failover
    names = ['test_drills'] if chosen is Drills else loader.getTestCaseNames(chosen)
    more = [] if chosen is Drills else [StoreLeader(n) for n in ('test_leader_lost', 'test_leader_and_node_lost')]
    return unittest.TestSuite([chosen(n) for n in names] + more)


if __name__ == '__main__':
    assert BUILD
    unittest.main(verbosity=2)
