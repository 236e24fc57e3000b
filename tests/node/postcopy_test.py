#!/usr/bin/python3
"""Guests that write faster than the link between two nodes takes: refused, with the reason; or, where that is allowed, they go before
their last pages. While these follow, the link breaks, agents begin anew, processes and nodes are lost.

    n1, n2, n3 --- bridge of the test       each a network namespace with a droverd of its own; n1 has the etcd
         n2 -> n3 is narrow                 by a link of its own, so that the store is reached as ever"""
import json
import os
import signal
import subprocess
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from cluster import BUILD, ThreeNodes, seeded_guest_files, until  # noqa: E402

MIB = 32  # are rewritten, over and over, and compared with what was written
NARROW, TIGHT = '40mbit', '6mbit'  # TIGHT: so that what happens meanwhile happens before the last page
WISH = ('--within-s', '1')  # less than everything takes once: then it is known that it cannot end


class PostCopy(ThreeNodes):
    @classmethod
    def prepare(cls):
        first = cls.nodes[0]
        cls.add_side()
        cls.load = os.path.join(first.folder, 'memory_load')
        subprocess.run(['gcc', '-O2', '-static', '-o', cls.load, os.path.join(HERE, '..', 'hv', 'memory_load.c')], check=True)
        kernel, ramdisk = seeded_guest_files(first.folder, [cls.load])
        first.do('pool', 'create', 'p1', '--node', first.name, '--path', first.pool)
        for i, node in enumerate(cls.nodes[1:], 2):
            node.do('pool', 'create', 'p%d' % i, '--node', node.name, '--path', node.pool)
        first.do('image', 'import', 'kernel', '--pool', 'p1', '--source', kernel, '--wait')
        first.do('image', 'import', 'ramdisk', '--pool', 'p1', '--source', ramdisk, '--wait')
        first.do('network', 'create', 'net', '--subnet', '10.7.0.0/24', '--nat')

    @classmethod
    def add_side(cls):
        """n2 and n3 have a link of their own, and reach each other by nothing else."""
        two, three = cls.spaces[1:]
        two.ip('link', 'add', 'side0', 'type', 'veth', 'peer', 'name', 'side0', 'netns', three.name)
        for space, other in ((two, cls.nodes[2]), (three, cls.nodes[1])):
            space.ip('link', 'set', 'side0', 'up')
            space.ip('route', 'add', other.address + '/32', 'dev', 'side0')

    def setUp(self):
        self.n1, self.n2, self.n3 = self.nodes
        self.addCleanup(self.all_are_back)

    # ---- what the tests are made of ----

    def space(self, node):
        return self.spaces[self.nodes.index(node)]

    def narrow(self, rate):
        """What n2 says to n3 takes its time."""
        done = self.space(self.n2).run('tc', 'qdisc', 'replace', 'dev', 'side0', 'root', 'tbf', 'rate', rate, 'burst', '64k', 'latency',
                                       '100ms')
        self.assertEqual(done.returncode, 0)

    def widen(self):
        self.space(self.n2).run('tc', 'qdisc', 'del', 'dev', 'side0', 'root', stderr=subprocess.DEVNULL)

    def cut(self):
        """n2 and n3 do not hear each other any more."""
        rule = '{ type filter hook %s priority 0; ip %s ' + self.n3.address + ' drop; }; '
        done = self.space(self.n2).run('nft', 'table inet cut { chain in %s chain out %s }' % (rule % ('input', 'saddr'),
                                                                                            rule % ('output', 'daddr')))
        self.assertEqual(done.returncode, 0)

    def heal(self):
        self.space(self.n2).run('nft', 'delete', 'table', 'inet', 'cut', stderr=subprocess.DEVNULL)

    def all_are_back(self):
        self.widen()
        self.heal()
        for node in self.nodes:
            self.space(node).ip('link', 'set', 'up0', 'up')
            if not node.process:
                node.start()
        until('all are alive', lambda: all(n['state'].get('alive') for n in self.n1.do('node', 'list')))

    def kill(self, node):
        """As a power cut does it."""
        self.space(node).ip('link', 'set', 'up0', 'down')
        for pid in [node.process.pid] + node.pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        node.process.wait()
        node.process = None

    def guest(self, name, *more):
        """On n2, under its load."""
        self.n1.do('volume', 'create', name, '--size', '32M', '--layout', 'replica:3', '--wait')
        self.addCleanup(self.remove, name)
        self.n1.do('guest', 'create', name, '--memory', '192M', '--disk', name, '--network', 'net', '--node', self.n2.name,
                   '--kernel', 'kernel', '--initrd', 'ramdisk', '--cmdline', 'console=ttyS0 quiet panic=-1', '--start', '--wait', *more)
        self.answers(name, self.n2)
        self.begin_load(name, self.n2)

    def answers(self, name, node):
        address = self.show(name)['spec']['networks'][0]['address']
        until('it answers', lambda: self.space(node).pings(address))

    def begin_load(self, name, node):
        node.console(name, '%s %d verify >/dev/null &' % (self.load, MIB), 'until [ -e /tmp/passes ]; do sleep 0.1; done')

    def remove(self, name):
        self.all_are_back()
        self.n1.cli('guest', 'stop', name, '--force', '--wait')
        self.n1.cli('guest', 'delete', name, '--wait')
        self.n1.cli('volume', 'delete', name, '--wait')

    def show(self, name):
        return self.n1.do('guest', 'show', name)

    def runs_on(self, name, node):
        guest = self.show(name)
        return (guest['spec']['node'] == node.name and guest['state'].get('node') == node.name and
                guest['state'].get('phase') == 'running' and 'migration' not in guest)

    def processes(self, name, *on):
        return self.guest_processes(self.show(name)['id'], on or self.nodes)

    def goes_on(self, name, node):
        """The load does, and has found nothing that it had not written."""
        text = node.console(name, 'cp /tmp/passes /tmp/before; until ! cmp -s /tmp/passes /tmp/before; do sleep 0.1; done; '
                            'cat /tmp/passes; dd if=/dev/vda of=/dev/null bs=64k 2>&1')
        self.assertRegex(text, r'passes \d+ wrong 0')

    def log(self, name, node):
        with open(os.path.join(node.run, 'guests', self.show(name)['id'] + '.log')) as f:
            return f.read()

    def metrics(self, node):
        done = subprocess.run(['curl', '-sS', '--unix-socket', os.path.join(node.run, 'api.sock'), 'http://drover/metrics'],
                              stdout=subprocess.PIPE, universal_newlines=True)
        return done.stdout

    def migration(self, name):
        return [m for m in self.n1.do('migration', 'list') if m['spec']['guest'] == name][-1]

    def ended(self, name, phase):
        def state():
            told = self.migration(name)['state']
            return told.get('phase') in ('done', 'failed', 'cancelled') and told
        told = until('the migration ends', state, 240)
        self.assertEqual(told['phase'], phase, '%r\n%s' % (told, '\n'.join(n.log_text() for n in self.nodes)))
        return told

    def begin(self, name, *more):
        """It runs at n3, and most of what it needs still is at n2."""
        self.narrow(NARROW)
        wanted = self.n1.do('guest', 'migrate', name, '--to', self.n3.name, *WISH, '--post-copy', *more)
        until('it goes', lambda: self.migration(name)['state'].get('phase') in ('post-copy', 'failed', 'done'))
        self.narrow(TIGHT)
        until('it runs there', lambda: self.show(name)['state'].get('node') == self.n3.name)
        told = self.migration(name)['state']
        self.assertEqual(told['phase'], 'post-copy', told)
        return wanted['task']

    def finish(self, name):
        """All of it comes."""
        self.widen()
        told = self.ended(name, 'done')
        until('it is there', lambda: self.runs_on(name, self.n3) and [n.name for n, _ in self.processes(name)] == [self.n3.name])
        self.goes_on(name, self.n3)
        return told

    def started_anew(self, name, *words):
        """As after a crash: where it was, with the reason."""
        until('it is started anew', lambda: self.runs_on(name, self.n3) and self.show(name)['state']['restarts']['count'] == 1)
        self.assertEqual([n.name for n, _ in self.processes(name, self.n3)], [self.n3.name])
        for word in words:
            self.assertIn(word, self.show(name)['state']['reason'])
        self.answers(name, self.n3)
        self.assertIn('fresh', self.n3.console(name, 'test -e /tmp/passes || echo fresh'))

    # ---- what happens ----

    def test_only_with_it(self):
        self.guest('fast')
        self.narrow(NARROW)
        done = self.n1.cli('guest', 'migrate', 'fast', '--to', self.n3.name, *WISH, '--wait')
        self.assertNotEqual(done.returncode, 0)
        told = self.ended('fast', 'failed')
        self.assertRegex(told['reason'], 'dirties .* the link takes')
        self.assertNotIn('post_copy', told)
        until('it goes on', lambda: self.runs_on('fast', self.n2) and [n for n, _ in self.processes('fast')] == [self.n2])
        self.goes_on('fast', self.n2)
        done = self.n1.cli('guest', 'migrate', 'fast', '--to', self.n3.name, *WISH, '--post-copy', '--wait')
        self.assertEqual(done.returncode, 0, done.stderr)
        told = self.finish('fast')
        print(told, flush=True)
        self.assertTrue(told['post_copy'])
        self.assertGreater(told['post_copy_bytes'], 4 << 20)
        self.assertGreater(told['pages_asked'], 0)
        self.assertGreater(told['longest_wait_ms'], 0)
        self.assertEqual((told['link'], told['breaks']), ('up', 0))
        self.assertIn('arrived', self.migration('fast'))
        self.assertRegex(self.n1.cli('migration', 'show', self.migration('fast')['name']).stdout, 'PAGES-ASKED')
        self.assertRegex(self.metrics(self.n2), r'drover_migrations_post_copy [1-9]')
        # what that link takes is known now
        told = self.n1.do('guest', 'migrate', 'fast', '--to', self.n2.name, *WISH, '--dry-run')['state']
        self.assertTrue(told['needs_post_copy'], told)
        self.assertIn('--post-copy', told['reason'])
        told = self.n1.do('guest', 'migrate', 'fast', '--to', self.n2.name, *WISH, '--post-copy', '--dry-run')['state']
        self.assertTrue(told['predicted_post_copy'], told)
        self.assertGreater(told['predicted_post_copy_s'], 0)

    def test_policy(self):
        self.guest('ruled', '--post-copy', 'never')

        def asked(*more):
            return self.n1.cli('guest', 'migrate', 'ruled', '--to', self.n3.name, '--dry-run', '--json', *more)
        done = asked('--post-copy')
        self.assertNotEqual(done.returncode, 0)
        self.assertIn('never to run before all of its memory is there', done.stderr)
        self.assertIn('"post_copy": false', asked().stdout)
        self.n1.do('guest', 'set', 'ruled', '--post-copy', 'allowed')
        self.assertIn('"post_copy": true', asked().stdout)
        self.assertIn('"post_copy": false', asked('--no-post-copy').stdout)
        self.assertNotEqual(self.n1.cli('guest', 'set', 'ruled', '--post-copy', 'perhaps').returncode, 0)
        # it leaves a drained node, whatever it takes
        self.addCleanup(self.n1.cli, 'node', 'undrain', self.n2.name)
        self.assertEqual(self.n1.cli('node', 'drain', self.n2.name).returncode, 0)
        until('it has left', lambda: not self.runs_on('ruled', self.n2) and 'migration' not in self.show('ruled'))
        self.assertTrue(self.migration('ruled')['spec']['post_copy'])

    def process(self, name, node, what='migration'):
        """What it says of its migration, or of itself."""
        socket = 'unix:' + os.path.join(node.run, 'guests', self.show(name)['id'] + '.sock')
        done = subprocess.run([os.path.join(BUILD, 'drover-guest'), 'ctl', socket, what], stdout=subprocess.PIPE, check=True, timeout=60)
        return json.loads(done.stdout)

    def test_link_cut_before(self):
        """All is at n3 that it needs to run, but it has not changed hands when no page can follow any more: it stays."""
        self.guest('held')
        self.narrow(NARROW)
        self.n1.do('guest', 'migrate', 'held', '--to', self.n3.name, *WISH, '--post-copy')
        until('it copies', lambda: self.process('held', self.n2).get('bytes-sent', 0) > 1 << 20)
        self.n2.process.send_signal(signal.SIGSTOP)
        try:
            until('it stands', lambda: self.process('held', self.n2)['phase'] == 'ready')
            self.cut()
            until('it breaks', lambda: self.process('held', self.n2).get('link') == 'broken')
            self.assertEqual(self.show('held')['spec']['node'], self.n2.name)
            self.heal()
        finally:
            self.n2.process.send_signal(signal.SIGCONT)
        told = self.ended('held', 'failed')
        self.assertIn('connections broke before', told['reason'])
        until('it goes on', lambda: self.runs_on('held', self.n2) and [n for n, _ in self.processes('held')] == [self.n2])
        self.goes_on('held', self.n2)

    def test_link_cut(self):
        self.guest('torn')
        self.begin('torn')
        self.cut()
        told = until('it is said', lambda: (lambda s: s.get('link') == 'broken' and s)(self.migration('torn')['state']))
        self.assertRegex(told['reason'], 'connections broke')
        self.assertEqual(told['phase'], 'post-copy')
        self.assertIn('drover_migration_link_up{guest="torn"} 0', self.metrics(self.n2))
        done = self.n1.cli('guest', 'migrate', 'torn', '--to', self.n1.name)
        self.assertIn('on its way', done.stderr)
        self.heal()
        told = self.finish('torn')
        self.assertGreater(told['breaks'], 0)

    def test_agents_killed(self):
        self.guest('steady')
        self.begin('steady')
        for node, how in ((self.n2, signal.SIGKILL), (self.n3, signal.SIGKILL), (self.n2, signal.SIGTERM)):
            node.restart(how)
            self.assertEqual(len(self.processes('steady')), 2)
        self.assertEqual(self.migration('steady')['state']['phase'], 'post-copy')
        self.finish('steady')

    def test_destination_agent_stands(self):
        """All comes, and the source's process ends, while the agent that is to say so does nothing."""
        self.guest('unheard')
        self.begin('unheard')
        begun = time.monotonic()
        self.n3.process.send_signal(signal.SIGSTOP)
        try:
            self.widen()
            until('it is said', lambda: self.migration('unheard')['state'].get('source_gone'))
            until('nothing was heard for long', lambda: time.monotonic() > begun + 8)
        finally:
            self.n3.process.send_signal(signal.SIGCONT)
        self.finish('unheard')
        self.assertEqual(self.show('unheard')['state'].get('restarts', {}).get('count', 0), 0)

    def test_link_cut_without_agent(self):
        """The connections break while nobody watches them."""
        self.guest('alone')
        self.begin('alone')
        self.n2.end(signal.SIGKILL)
        self.cut()
        until('it breaks', lambda: 'the connections are broken' in self.log('alone', self.n2))
        self.heal()
        self.n2.start()
        self.finish('alone')

    def test_source_process_killed(self):
        self.guest('lost')
        self.begin('lost')
        for _, pid in self.processes('lost', self.n2):
            os.kill(pid, signal.SIGKILL)
        self.started_anew('lost', 'process', 'has ended')
        self.assertIn('has ended', self.ended('lost', 'failed')['reason'])
        self.assertEqual(self.processes('lost', self.n2), [])

    def test_stays_down(self):
        """By its policy, with the reason; and is started by whoever wants it."""
        self.guest('down', '--on-crash', 'stop')
        self.begin('down')
        for _, pid in self.processes('down', self.n2):
            os.kill(pid, signal.SIGKILL)
        until('it stays down', lambda: self.show('down')['state'].get('phase') == 'failed' and 'migration' not in self.show('down'))
        self.assertIn('has ended', self.show('down')['state']['reason'])
        self.ended('down', 'failed')
        self.assertEqual(self.n1.cli('guest', 'start', 'down', '--wait').returncode, 0)
        until('it runs', lambda: self.runs_on('down', self.n3))

    def test_source_node_killed(self):
        self.guest('orphan')
        self.begin('orphan')
        self.kill(self.n2)
        self.started_anew('orphan', 'node', 'is lost')
        self.all_are_back()
        self.assertIn('is lost', self.ended('orphan', 'failed')['reason'])
        self.assertTrue(self.runs_on('orphan', self.n3))
        until('nothing is left', lambda: self.processes('orphan', self.n2) == [])

    def test_destination_node_killed(self):
        """It is taken over; perhaps by the node whose process still has pages of what it was."""
        self.guest('twice', '--ha')
        self.begin('twice')
        self.kill(self.n3)
        heir = until('it runs elsewhere', lambda: [n for n in (self.n1, self.n2) if self.runs_on('twice', n)])[0]
        until('there is one process', lambda: [n.name for n, _ in self.processes('twice')] == [heir.name])
        self.answers('twice', heir)
        self.assertIn('fresh', heir.console('twice', 'test -e /tmp/passes || echo fresh'))
        self.ended('twice', 'failed')

    def test_lease_ends_while_it_waits(self):
        """A vCPU waits for a page that cannot come when its node is cut off: it stands all the same, and the process listens."""
        self.guest('iced', '--ha')
        self.begin('iced')
        self.space(self.n3).ip('link', 'set', 'up0', 'down')
        self.cut()
        until('it stands', lambda: self.process('iced', self.n3, 'status')['frozen'])
        heir = until('it runs elsewhere', lambda: [n for n in (self.n1, self.n2) if self.runs_on('iced', n)])[0]
        self.assertTrue(self.process('iced', self.n3, 'status')['frozen'])
        self.all_are_back()
        until('there is one process', lambda: [n.name for n, _ in self.processes('iced')] == [heir.name])
        self.answers('iced', heir)
        self.ended('iced', 'failed')

    def test_back_meanwhile(self):
        """It was stopped, and is to run where a process of it still serves pages that nobody needs any more."""
        self.guest('back')
        self.begin('back')
        self.n2.end(signal.SIGKILL)
        old = [p for _, p in self.processes('back', self.n2)]
        self.assertEqual(self.n1.cli('guest', 'stop', 'back', '--force', '--wait').returncode, 0)
        until('it is in no migration', lambda: 'migration' not in self.show('back'))
        self.n1.do('guest', 'set', 'back', '--node', self.n2.name)
        self.n1.do('guest', 'start', 'back')
        self.n2.start()
        until('it runs', lambda: self.runs_on('back', self.n2) and [p for _, p in self.processes('back')] not in ([], old))
        self.answers('back', self.n2)
        self.assertEqual(len(self.processes('back')), 1)
        self.ended('back', 'failed')

    def test_stopped_meanwhile(self):
        self.guest('enough')
        self.begin('enough')
        self.cut()
        self.assertEqual(self.n1.cli('guest', 'stop', 'enough', '--force', '--wait').returncode, 0)
        self.heal()
        self.assertIn('stopped', self.ended('enough', 'failed')['reason'])
        until('nothing is left', lambda: self.processes('enough') == [])
        self.assertEqual(self.n1.cli('guest', 'start', 'enough', '--wait').returncode, 0)
        until('it runs', lambda: self.runs_on('enough', self.n3))


if __name__ == '__main__':
    unittest.main(verbosity=2)
