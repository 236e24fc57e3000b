#!/usr/bin/python3
"""drover-balancer from outside: Drover's own format, reasons, drain and loss, capacity, simulation, and mistakes.

usage: program_test.py DROVER_BALANCER
"""
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

PROGRAM = sys.argv.pop(1)


def cluster(nodes=4, guests=16, seed=1):
    """Everybody on the first two nodes."""
    rng = random.Random(seed)
    return {
        'nodes': [{'name': 'n%d' % i, 'cpus': 8, 'memory': '32G', 'rack': 'r%d' % (i // 2), 'age': 5, 'networks': ['lan'],
                   'pools': ['ssd']} for i in range(nodes)],
        'guests': [{'name': 'g%02d' % i, 'node': 'n%d' % (i % 2), 'vcpus': 2, 'memory': '2G', 'age': 5, 'networks': ['lan'],
                    'load': {'cpu': round(rng.uniform(0.3, 1.2), 3)}, 'dirty_rate': '5M'} for i in range(guests)],
    }


class Program(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)

    def path(self, name):
        return os.path.join(self.directory.name, name)

    def write(self, name, content):
        with open(self.path(name), 'w') as f:
            f.write(content if isinstance(content, str) else json.dumps(content, indent=1))
        return self.path(name)

    def run_it(self, *arguments, status=0):
        done = subprocess.run([PROGRAM] + list(arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout if status == 0 else done.stderr

    def plan(self, content, *arguments):
        return json.loads(self.run_it('plan', '--cluster', self.write('c.json', content), '--json', *arguments))

    def refuses(self, content, *pieces, policy=None):
        arguments = ['plan', '--strict', '--cluster', self.write('c.json', content)]
        if policy is not None:
            arguments += ['--policy', self.write('p.json', policy)]
        said = self.run_it(*arguments, status=1)
        for piece in pieces:
            self.assertIn(piece, said)

    def test_spreads_and_rests(self):
        after = self.path('after.json')
        plan = self.plan(cluster(), '--write-after', after)
        self.assertGreater(plan['moves'], 2)
        self.assertLess(plan['spread_after'], plan['spread_before'] / 2)
        self.assertEqual(sum(len(w) for w in plan['waves']), plan['moves'])
        with open(after) as f:
            again = self.plan(json.load(f))
        self.assertEqual(again['moves'], 0)
        self.assertAlmostEqual(again['score_before'], plan['score_after'], 8)

    def test_the_same_for_the_same_seed(self):
        self.assertEqual(self.plan(cluster(6, 60), '--seed', '3'), self.plan(cluster(6, 60), '--seed', '3'))

    def test_begins_at_the_last_plan(self):
        c, kept = cluster(6, 60), self.path('last.json')
        first = self.plan(c, '--write-plan', kept)
        self.assertEqual(self.plan(c, '--last-plan', kept)['moves'], first['moves'])
        # with no budget to find anything, what the last plan found is there
        self.assertEqual(self.plan(c, '--evaluations', '1')['moves'], 0)
        again = self.plan(c, '--evaluations', '1', '--last-plan', kept)
        self.assertAlmostEqual(again['score_after'], first['score_after'], 8)
        # a guest and a node of it are gone: they are passed over
        c['guests'] = [g for g in c['guests'] if g['name'] != first['waves'][0][0]['guest'] and g['node'] != 'n5']
        c['nodes'].pop()
        self.assertTrue(self.plan(c, '--last-plan', kept)['moves'])
        for wrong, why in (('{"waves": [', 'last.json:1: '), ('{"moves": 3}', "last.json: it has no list 'waves'"), ('[]', "no list 'waves'")):
            self.assertIn(why, self.run_it('plan', '--cluster', self.path('c.json'), '--last-plan', self.write('last.json', wrong), status=1))
        self.assertIn('none.json: No such file', self.run_it('plan', '--cluster', self.path('c.json'), '--last-plan',
                                                             self.path('none.json'), status=1))

    def test_frontier(self):
        whole = self.plan(cluster(6, 60))
        part = self.plan(cluster(6, 60), '--part', '50')
        self.assertLess(part['moves'], whole['moves'])
        gain = whole['score_before'] - whole['score_after']
        self.assertGreaterEqual(part['score_before'] - part['score_after'], 0.5 * gain - 1e-9)
        for plan in (whole, part):  # each says what it takes itself
            self.assertAlmostEqual(plan['bytes'], sum(m['bytes'] for wave in plan['waves'] for m in wave))
            self.assertAlmostEqual(plan['seconds'], sum(max(m['seconds'] for m in wave) for wave in plan['waves']))

    def test_frontier_of_prices(self):
        """Fewer moves than the first ones of a plan bring as much; and each point is to be had."""
        whole = self.plan(cluster(6, 60), '--frontier')
        gain, points = whole['score_before'] - whole['score_after'], whole['frontier']
        self.assertGreater(len({p['price'] for p in points}), 2)
        self.assertIn((1, 100, 1), [(p['price'], p['part'], round(p['gain'], 9)) for p in points])
        for less, more in zip(points, points[1:]):
            self.assertTrue(less['moves'] <= more['moves'] and less['gain'] < more['gain'], points)
        for p in points:
            plan = self.plan(cluster(6, 60), '--price', repr(p['price']), '--part', str(p['part']))
            self.assertEqual(plan['moves'], p['moves'])
            self.assertAlmostEqual((plan['score_before'] - plan['score_after']) / gain, p['gain'], 6)
            self.assertAlmostEqual(plan['bytes'], p['bytes'])
            self.assertAlmostEqual(plan['seconds'], p['seconds'])
        own = {p['part']: p['moves'] for p in self.plan(cluster(6, 60))['frontier']}
        for part, moves in own.items():  # what the plan alone has is never better
            self.assertLessEqual(min(p['moves'] for p in points if p['gain'] >= part / 100 - 0.011), moves)
        shown = self.run_it('plan', '--cluster', self.path('c.json'), '--frontier')
        self.assertRegex(shown, r'% of the gain after \d+ moves, [0-9.]+ GiB, about \d+ s: --price 4')
        for words, why in ((('--price', '0'), '--price'), (('--price', 'dear'), '--price'), (('--frontier', '--part', '50'), 'leave out'),
                           (('--frontier', '--drain', 'n1'), 'leave out')):
            self.assertIn(why, self.run_it('plan', '--cluster', self.path('c.json'), *words, status=2))

    def test_links_are_shared(self):
        c = cluster(6, 48)
        rack = {n['name']: n['rack'] for n in c['nodes']}

        def crossings(plan):
            return max(sum(rack[m['from']] != rack[m['to']] for m in wave) for wave in plan['waves'])
        self.assertGreater(crossings(self.plan(c)), 1)
        policy = self.write('p.json', {'moves': {'per_link': 1}})
        self.assertEqual(crossings(self.plan(c, '--policy', policy)), 1)
        self.refuses(c, 'p.json:1: moves.per_link', policy='{"moves": {"per_link": -1}}')

    def test_room_is_made(self):
        """A guest that is too big for what is left anywhere, and would fit if another one moved; of a loss nobody else moves."""
        nodes = [{'name': 'n%d' % i, 'cpus': 8, 'memory': '32G', 'age': 5} for i in range(3)]
        guests = [{'name': 'a', 'node': 'n0', 'memory': '12G', 'age': 5}, {'name': 'b', 'node': 'n1', 'memory': '18G', 'age': 5},
                  {'name': 'big', 'node': 'n2', 'memory': '24G', 'age': 5}]
        c = {'nodes': nodes, 'guests': guests}
        for how, moves in (('--drain', {'a': 'n1', 'big': 'n0'}), ('--lose', {})):
            plan = self.plan(c, how, 'n2')
            self.assertEqual({m['guest']: m['to'] for w in plan['waves'] for m in w}, moves)
            self.assertEqual(plan['stranded'], 0 if moves else 1)
        guests = [{'name': 'a%d' % i, 'node': 'n0', 'memory': '5G', 'age': 5} for i in range(3)]
        guests += [{'name': 'b', 'node': 'n1', 'memory': '28G', 'age': 5}, {'name': 'big', 'node': 'n2', 'memory': '25G', 'age': 5}]
        plan = self.plan({'nodes': nodes, 'guests': guests}, '--drain', 'n2')  # two would have to leave, and cannot
        moves = [(m['guest'][0], m['to']) for w in plan['waves'] for m in w]
        self.assertEqual((plan['stranded'], sorted(moves)), (1, []))
        guests[3]['memory'] = '20G'
        plan = self.plan({'nodes': nodes, 'guests': guests}, '--drain', 'n2')
        moves = [(m['guest'][0], m['to']) for w in plan['waves'] for m in w]
        self.assertEqual((plan['stranded'], sorted(moves)), (0, [('a', 'n1'), ('a', 'n1'), ('b', 'n0')]))

    def test_says_why(self):
        c = cluster()
        c['guests'][0]['movable'] = False
        c['guests'][1].pop('age')
        c['guests'][2].update(moved_ago='5m', came_from='n3')
        c['guests'][3]['networks'] = ['lan', 'dmz']
        c['guests'][4]['pinned'] = ['n0']
        plan = self.plan(c, '--explain')
        reasons = plan['reasons']
        self.assertEqual(set(reasons), {g['name'] for g in c['guests']})
        self.assertIn('may not move', reasons['g00'])
        self.assertIn('no fresh measurements', reasons['g01'])
        self.assertIn('rests', reasons['g02'])
        self.assertRegex(reasons['g03'], 'a network is not reached|no other node is better')
        self.assertRegex(reasons['g04'], 'pinned|no other node is better')
        moved = {m['guest'] for w in plan['waves'] for m in w}
        self.assertFalse(moved & {'g00', 'g01', 'g02', 'g03', 'g04'})
        for guest in moved:
            self.assertIn('moves to', reasons[guest])

    def test_stale_nodes_are_left_alone(self):
        c = cluster()
        c['nodes'][2]['age'] = '2h'
        plan = self.plan(c)
        self.assertTrue(plan['moves'])
        self.assertFalse([m for w in plan['waves'] for m in w if 'n2' in (m['from'], m['to'])])

    def test_groups(self):
        c = cluster()
        c['groups'] = [{'name': 'db', 'guests': ['g00', 'g02'], 'scope': 'rack'}]
        c['nodes'][0]['state'] = 'draining'
        after = self.path('after.json')
        self.plan(c, '--write-after', after)
        with open(after) as f:
            where = {g['name']: int(g['node'][1]) for g in json.load(f)['guests']}
        self.assertNotEqual(where['g00'] // 2, where['g02'] // 2)
        self.assertNotIn(0, where.values())

    def test_drain_and_loss(self):
        c = cluster()
        for how in ('--drain', '--lose'):
            plan = self.plan(c, how, 'n1')
            moved = {m['guest'] for w in plan['waves'] for m in w}
            self.assertEqual(moved, {g['name'] for g in c['guests'] if g['node'] == 'n1'})
            self.assertEqual(plan['stranded'], 0)
        self.assertIn("no node 'n9'", self.run_it('plan', '--cluster', self.path('c.json'), '--drain', 'n9', status=1))

    def test_capacity(self):
        path = self.write('c.json', cluster())
        said = json.loads(self.run_it('capacity', '--cluster', path, '--shape', '2:4G', '--json'))
        self.assertGreaterEqual(said['nodes_that_may_be_lost'], 1)
        self.assertEqual(said['fit'], (4 * 32 - 16 * 2) // 4)
        self.assertLess(said['fit_and_lose'], said['fit'])

    def test_names_what_may_not_be_lost(self):
        """One guest may run on two nodes only: each alone may be lost, both together not."""
        c = cluster(6, 6)
        for i, g in enumerate(c['guests']):
            g['node'] = 'n%d' % i
        c['guests'][5].update(pinned=['n4', 'n5'])
        path = self.write('c.json', c)
        said = json.loads(self.run_it('capacity', '--cluster', path, '--json'))
        self.assertEqual((said['nodes_that_may_be_lost'], said['likely'], said['exact']), (1, 1, True))
        self.assertEqual((sorted(said['worst']), said['guest']), (['n4', 'n5'], 'g05'))
        text = self.run_it('capacity', '--cluster', path)
        self.assertIn('whichever they are: 1\n', text)
        self.assertRegex(text, r'not n[45] and n[45] together: guest g05 would find no place')
        del c['guests'][5]['pinned']
        path = self.write('c.json', c)
        said = json.loads(self.run_it('capacity', '--cluster', path, '--json'))
        self.assertEqual((said['nodes_that_may_be_lost'], said['worst'], said['guest']), (2, [], None))
        self.assertEqual(self.run_it('capacity', '--cluster', path), 'nodes that may be lost at once, whichever they are: 2 or more\n')

    def test_says_what_is_an_estimate(self):
        """Sets of one node of a thousand can be proved at once, or tried; of hundreds of nodes with guests that few nodes take they are too many."""
        nodes = 1000
        c = cluster(nodes, nodes * 3)
        for i, g in enumerate(c['guests']):
            g['node'] = 'n%d' % (i % nodes)
        said = json.loads(self.run_it('capacity', '--cluster', self.write('c.json', c), '--lose', '3', '--json'))
        self.assertEqual((said['nodes_that_may_be_lost'], said['exact'], said['worst']), (4, True, []))
        c['guests'][500]['pinned'] = ['n500', 'n501']
        said = json.loads(self.run_it('capacity', '--cluster', self.write('c.json', c), '--json'))
        self.assertEqual((said['nodes_that_may_be_lost'], said['exact'], sorted(said['worst'])), (1, True, ['n500', 'n501']))
        for i in range(nodes):
            if i != 500:
                c['guests'][i]['pinned'] = ['n%d' % ((i + k) % nodes) for k in range(3)]
        path = self.write('c.json', c)
        said = json.loads(self.run_it('capacity', '--cluster', path, '--json'))
        self.assertEqual((said['nodes_that_may_be_lost'], said['likely'], said['exact']), (1, 2, False))
        self.assertIn('2 are likely: at least one chain of so many losses is survived, but not every set of nodes was tried', self.run_it('capacity', '--cluster', path))

    def test_existing_guests_keep_their_rules(self):
        """One may run on two nodes only; the third guest more would be on the one it is not on, and take its place there."""
        c = cluster(3, 3)
        for i, g in enumerate(c['guests']):
            g.update(node='n%d' % i, memory='20G')
        c['guests'][0].update(node='n0', pinned=['n0', 'n1'])
        c['guests'][1].update(memory='2G')
        c['guests'][2].update(memory='2G')
        for pins, fits in ((True, 2), (False, 3)):
            if not pins:
                del c['guests'][0]['pinned']
            said = json.loads(self.run_it('capacity', '--cluster', self.write('c.json', c), '--shape', '1:10G', '--json'))
            self.assertEqual(said['fit_and_lose'], fits, said)

    def test_says_what_stands_in_the_way(self):
        """A threshold, the room for a loss, which is kept by default, and that nobody has room for who must go."""
        def node(name, **more):
            return dict({'name': name, 'cpus': 8, 'memory': '10G', 'age': 1}, **more)

        def guest(name, at, gib, cpu=0, **more):
            return dict({'name': name, 'node': at, 'vcpus': 8, 'memory': '%gG' % gib, 'age': 1, 'load': {'cpu': cpu}}, **more)
        free = self.write('p.json', {'cost': {'move': 0, 'second': 0, 'downtime': 0, 'gib': 0}})
        calm = {'nodes': [node('a'), node('b')], 'guests': [guest('x', 'a', 1, 0.2), guest('y', 'a', 1, 0.2)]}
        self.assertIn('spread well enough', self.plan(calm, '--explain', '--policy', free)['reasons']['x'])
        tight = {'nodes': [node('a'), node('b'), node('c')],
                 'guests': [guest('a1', 'a', 7.6, 2, movable=False), guest('a2', 'a', 1, 4, avoid=['c']),
                            guest('a3', 'a', 0.5, movable=False), guest('b1', 'b', 7.5),
                            guest('c1', 'c', 2.39)]}
        plan = self.plan(tight, '--explain', '--policy', free)
        self.assertEqual(plan['moves'], 0)
        self.assertIn('the room for a lost node would be gone', plan['reasons']['a2'])
        self.assertIn('leaves the room for a lost node', plan['summary'])
        bold = self.plan(tight, '--policy', self.write('p.json', {'limits': {'lose': 0}}))
        self.assertEqual([(m['guest'], m['to']) for w in bold['waves'] for m in w], [('a2', 'b')])
        full = {'nodes': [node('a'), node('b')], 'guests': [guest('big', 'a', 8), guest('other', 'b', 5, movable=False)]}
        for how in ('--drain', '--lose'):
            plan = self.plan(full, how, 'a', '--explain')
            self.assertEqual(plan['stranded'], 1)
            self.assertRegex(plan['reasons']['big'], 'forbidden, most of them because: .*memory')

    def test_a_new_node_fills_gently(self):
        """So many guests an hour come to one node, and no more; who must go is no part of it."""
        c = cluster(2, 16)
        for g in c['guests']:
            g['node'] = 'n0'
        into = self.write('p.json', {'moves': {'into_per_hour': 3}})
        plan = self.plan(c, '--policy', into, '--explain')
        self.assertEqual((plan['moves'], {m['to'] for w in plan['waves'] for m in w}), (3, {'n1'}))
        c['nodes'][1]['arrived'] = 2
        self.assertEqual(self.plan(c, '--policy', into)['moves'], 1)
        c['nodes'][1]['arrived'] = 3
        plan = self.plan(c, '--policy', into, '--explain')
        self.assertEqual(plan['moves'], 0)
        self.assertTrue(any('enough guests have come to the node within the hour' in r for r in plan['reasons'].values()))
        self.assertEqual(self.plan(c, '--policy', into, '--drain', 'n0')['moves'], 16)
        self.refuses(c, 'p.json:1: moves.into_per_hour', policy='{"moves": {"into_per_hour": -1}}')

    def test_packing_is_not_gentle(self):
        """Consolidation fills nodes: the limit for new ones is none for it."""
        c = cluster(4, 24)
        for i, g in enumerate(c['guests']):
            g.update(node='n%d' % (i % 4), memory='512M', load={'cpu': 0.05})
        policy = self.write('p.json', {'moves': {'into_per_hour': 1}, 'consolidate': {'keep': 1, 'lose': 0}, 'limits': {'lose': 0}})
        said = self.consolidate(c, '--policy', policy)
        self.assertGreaterEqual(len(said['sleep']), 2, said)

    def test_a_move_that_takes_too_long(self):
        """Longer than its gain lasts, by its own node's link and its disk; who must go goes."""
        c = cluster(4, 1)
        c['nodes'][2]['link'] = '100k'
        c['guests'] = [{'name': 'g%d' % i, 'node': 'n2', 'vcpus': 4, 'memory': '4G', 'age': 1, 'load': {'cpu': 3}} for i in range(4)]
        self.assertEqual(self.plan(c)['moves'], 0)
        self.assertEqual(self.plan(c, '--drain', 'n2')['moves'], 4)
        c['nodes'][0]['link'] = c['nodes'][2].pop('link')
        moves = [m for w in self.plan(c)['waves'] for m in w]
        self.assertTrue(moves and all(m['to'] != 'n0' for m in moves), moves)
        for node in c['nodes']:
            node.pop('link', None)
            node['disk'] = '100T'
        for g in c['guests']:
            g['local_disk'] = '20T'
        self.assertEqual(self.plan(c)['moves'], 0)

    def test_keeps_room_for_a_loss(self):
        policy = self.write('p.json', {'limits': {'lose': 1}, 'patience': {'enter': 0, 'leave': 0}})
        for seed in range(5):
            c = cluster(4, 38, seed)
            for i, g in enumerate(c['guests']):
                g['node'] = 'n%d' % (i % 4)
                g['memory'] = '2G'
            path, after = self.write('c.json', c), self.path('after.json')
            before = json.loads(self.run_it('capacity', '--cluster', path, '--json'))['nodes_that_may_be_lost']
            self.run_it('plan', '--cluster', path, '--policy', policy, '--write-after', after)
            kept = json.loads(self.run_it('capacity', '--cluster', after, '--json'))['nodes_that_may_be_lost']
            self.assertGreaterEqual(kept, min(before, 1))

    def test_simulation_reproduces(self):
        path = self.write('c.json', cluster(6, 60))
        outputs = []
        for name in ('a', 'b'):
            self.run_it('simulate', '--cluster', path, '--steps', '60', '--failures', '20', '--seed', '5', '--report',
                        self.path(name))
            with open(self.path(name) + '/report.json', 'rb') as f, open(self.path(name) + '/report.svg', 'rb') as g:
                outputs.append((f.read(), g.read()))
        self.assertEqual(outputs[0], outputs[1])
        by_name = {r['balancer']: r for r in json.loads(outputs[0][0])}
        self.assertLess(by_name['drover']['imbalance'], by_name['none']['imbalance'])
        self.assertEqual(by_name['drover']['returns'], 0)
        self.assertGreater(by_name['none']['failures'], 0)
        self.assertTrue(outputs[0][1].startswith(b'<svg'))

    def test_simulation_obeys_limits(self):
        """So many moves an hour, and none in quiet hours; without the limits there would have been some."""
        path = self.write('c.json', cluster(6, 60))
        series, quiet = {}, 0
        for name in ('free', 'bound'):
            moves = {'per_hour': 0} if name == 'free' else {'per_hour': 3, 'quiet': '%02d:00-%02d:00' % (8 + quiet, 9 + quiet)}
            policy = self.write(name + '.json', {'cost': {'move': 1}, 'patience': {'cool_down': 0, 'return': 0}, 'moves': moves})
            self.run_it('simulate', '--cluster', path, '--steps', '60', '--begin', '8', '--only', 'drover', '--policy', policy,
                        '--report', self.path(name))
            with open(self.path(name) + '/report.json') as f:
                series[name] = [step[2] for step in json.load(f)[0]['steps']]
            quiet = [h for h in range(4) if sum(series['free'][12 * h:12 * h + 12])][-1]  # an hour in which it moved some
        hours = {name: [sum(s[i:i + 12]) for i in range(len(s))] for name, s in series.items()}
        self.assertGreater(max(hours['free']), 3)
        self.assertEqual(max(hours['bound']), 3)
        self.assertEqual(sum(series['bound'][12 * quiet:12 * quiet + 12]), 0)

    def test_simulation_counts_members(self):
        """A cluster as it is exported: what disks do is known by the members alone; a trace of disks says how much that is."""
        c = cluster(4, 8)
        for n in c['nodes']:
            n.update(disk_rate='100M', network_rate='100M')
        c['guests'][0]['storage'] = {'n2': 80e6, 'n3': 20e6}
        self.write('c.json', c)
        still = ['--only', 'none', '--generate', 'still', '--steps', '12']
        reports, _, _ = self.report(*still)
        self.assertEqual(reports['none']['overload_node_minutes_of']['disk'], 0)
        self.assertEqual(reports['none']['overload_node_minutes_of']['network'], 60)  # of n0, which has the guest
        trace = self.write('d.tsv', '\n'.join(['120000000'] + 7 * ['0']) + '\n')
        reports, _, _ = self.report(*still, '--trace-disk', trace)
        self.assertEqual(reports['none']['overload_node_minutes_of']['disk'], 60)  # of n2: 96 MB/s
        del c['guests'][0]['storage']
        self.write('c.json', c)
        reports, _, _ = self.report(*still)
        self.assertIsNone(reports['none']['overload_node_minutes_of']['disk'])

    def test_a_long_move_is_a_move(self):
        """One that takes longer than a step, over a slow link, arrives all the same."""
        path = self.write('c.json', {'nodes': [{'name': 'n%d' % i, 'cpus': 4, 'memory': '256G', 'age': 0} for i in range(2)],
                                     'guests': [{'name': 'g%d' % i, 'node': 'n0', 'vcpus': 4, 'memory': '64G', 'age': 0} for i in range(2)]})
        trace = self.write('t.tsv', '\n'.join(2 * ['\t'.join(24 * ['60'])]) + '\n')
        policy = self.write('p.json', {'cost': {'move': 1, 'link': '100M', 'stable': '12h'}})
        self.run_it('simulate', '--cluster', path, '--trace', trace, '--policy', policy, '--only', 'drover', '--report', self.path('r'))
        with open(self.path('r') + '/report.json') as f:
            report = json.load(f)[0]
        self.assertEqual(report['moves'], 1)
        self.assertLess(report['overload_node_minutes'], 30)

    def report(self, *arguments, name='r'):
        said = self.run_it('simulate', '--cluster', self.path('c.json'), '--report', self.path(name), *arguments)
        with open(self.path(name) + '/report.json') as f, open(self.path(name) + '/report.svg') as g:
            return {r['balancer']: r for r in json.load(f)}, g.read(), said

    def test_simulation_of_all_resources(self):
        """Traces of all four; what has none keeps what the cluster says, and what nobody knows is null."""
        c = cluster(4, 16)
        self.write('c.json', c)
        cpu = self.write('cpu.tsv', '\n'.join(16 * ['\t'.join(24 * ['20'])]))
        by_name, svg, said = self.report('--trace', cpu)
        for r in by_name.values():
            self.assertEqual([k for k, v in r['overload_node_minutes_of'].items() if v is None], ['memory', 'disk', 'network'])
            self.assertEqual(r['overload_node_minutes_of']['cpu'], r['overload_node_minutes'])
            self.assertEqual(r['imbalance_of']['cpu'], r['imbalance'])
            self.assertEqual(len(r['steps']), 24)
        self.assertNotIn('memory', svg)
        for n in c['nodes']:
            n.update(disk_rate='100M', network_rate='100M')
        for g in c['guests']:
            g['load'].update(disk=15 << 20, memory='1G')
        self.write('c.json', c)
        network = self.write('net.tsv', '\n'.join(16 * ['\t'.join(6 * ['1M'] + 6 * ['12M'])]))
        memory = self.write('mem.tsv', '\n'.join(16 * ['50']))
        by_name, svg, said = self.report('--trace', cpu, '--trace-network', network, '--trace-memory', memory)
        minutes = by_name['none']['overload_node_minutes_of']
        # eight guests on each of two nodes: disks above the limit all the time, networks half of it
        self.assertEqual(minutes, {'cpu': 0, 'memory': 0, 'disk': 2 * 24 * 5, 'network': 2 * 12 * 5})
        self.assertEqual([s[4] for s in by_name['none']['steps']], 24 * [2])
        self.assertEqual([s[5] for s in by_name['none']['steps']], 2 * (6 * [0] + 6 * [2]))
        ours = by_name['drover']
        self.assertLess(ours['overload_node_minutes_of']['disk'], 60)
        self.assertGreater(ours['moves'], 0)
        self.assertAlmostEqual(ours['migration_core_minutes'], 2 * 0.2 * ours['migration_seconds'] / 60, 6)
        self.assertGreater(ours['moved_bytes'], ours['moves'] << 31)
        self.assertEqual(ours['failed_moves'], 0)
        self.assertIn('memory, disks or networks', svg)
        drawn = [e.tag.split('}')[1] for e in xml.etree.ElementTree.fromstring(svg)]
        self.assertEqual((drawn.count('polyline'), drawn.count('rect')), (4 * 5, 1 + 4))
        self.assertIn('moves until then', svg)
        self.assertRegex(said, 'disk: overload 240 node minutes')

    def test_simulation_makes_loads(self):
        c = cluster(6, 60)
        self.write('c.json', c)
        for pattern in ('mixed', 'daily', 'bursts', 'growth'):
            made = self.path(pattern + '.tsv')
            first = self.report('--generate', pattern, '--seed', '7', '--days', '2', '--write-trace', made, '--only', 'drover')
            self.assertEqual(first, self.report('--generate', pattern, '--seed', '7', '--steps', '576', '--only', 'drover', name='s'))
            self.assertNotEqual(first, self.report('--generate', pattern, '--seed', '8', '--days', '2', '--only', 'drover'))
            with open(made) as f:
                rows = [[float(v) for v in line.split()] for line in f]
            self.assertEqual([len(row) for row in rows], 60 * [576])
            self.assertEqual(first, self.report('--trace', made, '--seed', '7', '--only', 'drover'))
            if pattern == 'daily':  # around what they have: 0.3 to 1.2 of two vCPUs
                for row, guest in zip(rows, c['guests']):
                    self.assertAlmostEqual(sum(row) / len(row), 50 * guest['load']['cpu'], delta=3)
        still = self.report('--generate', 'still', '--steps', '12', '--only', 'none')[0]['none']
        self.assertEqual(len({tuple(s) for s in still['steps']}), 1)
        loads = [sum(g['load']['cpu'] for g in c['guests'] if g['node'] == n['name']) / 8 for n in c['nodes']]
        mean = sum(loads) / 6
        self.assertAlmostEqual(still['imbalance'], (sum((v - mean) ** 2 for v in loads) / 6) ** 0.5, 6)

    def test_simulation_of_two_policies(self):
        c = cluster(6, 60)
        c['migrations'] = [{'bytes': '1G', 'seconds': 10}]  # both have this link
        for g in c['guests']:
            g['error'] = {'cpu': 0.1}
        self.write('c.json', c)
        bold = self.write('bold.json', {'cost': {'move': 1}, 'patience': {'cool_down': 0}, 'forecast': {'error_factor': 2}})
        by_name, svg, _ = self.report('--generate', 'still', '--steps', '36', '--shadow', bold)
        alone = self.report('--generate', 'still', '--steps', '36', '--only', 'drover', name='s')[0]['drover']
        self.assertEqual(by_name['drover'], alone)
        self.assertEqual(list(by_name), ['none', 'drover', 'imbalance', 'contention', 'foresight', 'shadow'])
        self.assertGreater(by_name['shadow']['moves'], alone['moves'])
        self.assertEqual(by_name['shadow']['steps'][0], alone['steps'][0])  # the same loads, whatever its error_factor
        self.assertGreater(by_name['shadow']['migration_seconds'], 19 * by_name['shadow']['moves'])
        self.assertIn('shadow: ', svg)
        calm = self.report('--generate', 'still', '--steps', '36', '--shadow', self.write('same.json', '{}'), '--only', 'shadow')[0]
        self.assertEqual(dict(calm['shadow'], balancer='drover'), alone)

    def test_simulation_mistakes(self):
        path = self.write('c.json', cluster(4, 3))
        cpu = self.write('cpu.tsv', '1 2 3 4\n1 2 3 4\n1 2 3 4\n')

        def refused(why, *arguments, cluster=path, status=1):
            self.assertIn(why, self.run_it('simulate', '--cluster', cluster, *arguments, status=status))
        for text, why in (('5 5\n5 5\n', 'x.tsv:2: the last of 2 lines, and %s has 3' % cpu), ('1 2 3\n' * 3, 'x.tsv:3: 3 values a line, and %s has 4' % cpu),
                          ('1 2\n\n1 2x\n', "x.tsv:3: '2x' is no load: a percentage"), ('', 'x.tsv: there are no values'),
                          ('1 2\n1 2\n1\n', 'x.tsv:3: fewer values than the 2 of the first line')):
            refused(why, '--trace', cpu, '--trace-memory', self.write('x.tsv', text))
        refused("x.tsv:1: '2Q' is no load: bytes a second", '--trace-disk', self.write('x.tsv', '1 2Q\n'))
        refused('x.tsv:1: the last of 1 lines, and the cluster has 3', '--trace-network', self.write('x.tsv', '1M 2M\n'))
        refused('none.tsv: No such file', '--trace-network', self.path('none.tsv'))
        refused('steps are the most', '--days', '3000', cluster=self.write('big.json', cluster(4, 1000)))
        refused('or with --shadow shadow is needed', '--only', 'shadow')
        refused('p.json:1: weights.cpu', '--shadow', self.write('p.json', '{"weights": {"cpu": -1}}'))
        refused('cannot be written', '--steps', '3', '--write-trace', self.path('no/such'))
        data = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'data', 'clean-nonzero-score.data')
        said = self.run_it('simulate', '--cluster', data, '--steps', '6')
        self.assertNotIn('network', said)
        refused("--trace-disk needs a cluster in Drover's format", '--trace-disk', self.write('x.tsv', '1\n'), cluster=data)
        for arguments, why in ((('--generate', 'wild'), "--generate 'wild': mixed, daily, bursts, growth or still"),
                               (('--generate', 'daily', '--trace', cpu), '--generate is for loads that are made'),
                               (('--write-trace', 'x', '--trace', cpu), '--write-trace is for loads that are made'),
                               (('--write-trace', 'x', '--generate', 'still'), 'makes no trace'),
                               (('--days', '1', '--steps', '2'), 'give one of them'), (('--days', 'many'), 'days')):
            refused(why, *arguments, status=2)

    def test_mistakes(self):
        self.refuses('{"nodes": [', 'c.json:', 'not JSON')
        self.refuses('[]', 'one JSON object')
        self.refuses({'nodes': [{'name': 'a'}]}, 'c.json:', 'nodes.a.cpus', 'has some')
        self.refuses({'nodes': [{'name': 'a', 'cpus': 'x', 'memory': '1G'}]}, 'nodes.a.cpus', 'a number is needed')
        self.refuses({'nodes': [{'name': 'a', 'cpus': 1, 'memory': '1G', 'colour': 1}]}, 'colour', 'no such field')
        c = cluster()
        c['guests'][3]['node'] = 'gone'
        self.refuses(c, 'guests.g03.node', "no node 'gone'")
        text = json.dumps(c, indent=1)
        line = text[:text.index('"g03"')].count('\n') + 1
        said = self.run_it('plan', '--strict', '--cluster', self.path('c.json'), status=1)
        self.assertTrue(line <= int(re.search(r'json:(\d+)', said).group(1)) <= line + 3, said)
        self.refuses(dict(cluster(), wishes=[]), 'wishes', 'no such field')
        self.refuses(dict(cluster(), migrations={}), 'migrations', 'a list is needed')
        self.refuses(cluster(), 'p.json:3', 'weights.cpu', 'not between', policy='{\n "weights": {\n  "cpu": -1}}')
        self.refuses(cluster(), 'patience.leave', 'above enter', policy={'patience': {'enter': 0.1, 'leave': 0.2}})
        self.refuses(cluster(), 'moves.parallel', 'whole number', policy={'moves': {'parallel': 1.5}})
        self.refuses(cluster(), 'moves.quiet', 'two times of the day', policy={'moves': {'quiet': '25:00-06:00'}})
        self.refuses(cluster(), 'no such section', policy={'wishes': {}})
        self.run_it('plan', status=2)
        self.run_it('dance', status=2)
        self.run_it('plan', '--cluster', 'x', '--score', 'mine', status=2)

    def with_bad_ones(self):
        """One of each kind that cannot be used, between the others."""
        c = cluster(6, 24)
        c['nodes'].insert(0, {'name': 'bad', 'cpus': 'many', 'memory': '32G', 'age': 5})
        c['nodes'] += [{'cpus': 1, 'memory': '1G', 'age': 5}, 'n7', dict(c['nodes'][6], cpus=64)]
        c['guests'][2:2] = [{'name': 'none', 'node': 'n1', 'vcpus': 2, 'memory': 0, 'age': 5}, 7,
                            {'name': 'lost', 'node': 'bad', 'memory': '1G', 'age': 5}]
        c['guests'] += [{'node': 'gone', 'memory': '1G'}, {'name': 'stray', 'node': 'gone', 'memory': '1G'}, dict(c['guests'][0], node='n4')]
        c['guests'][7].update(pinned=['n0', 'n3', 'bad'], came_from='bad')
        c['groups'] = [{'name': 'db', 'guests': ['g00', 'none', 'g04', 'never', 'g06']}, {'name': 'odd', 'keep': 'near', 'guests': ['g08']}]
        c['migrations'] = [{'bytes': '2G', 'seconds': -1}, {'bytes': '2G', 'seconds': 2}, 5]
        return c

    def test_what_cannot_be_used_is_left_out(self):
        """It is named; the rest is planned, nothing near it is touched, and what is written has all of it again."""
        c, after = self.with_bad_ones(), self.path('after.json')
        path = self.write('c.json', c)
        done = subprocess.run([PROGRAM, 'plan', '--cluster', path, '--json', '--write-after', after], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        said = done.stderr.splitlines()
        for line, pieces in zip(said, (
                ('nodes.bad.cpus: a number is needed',), ('nodes.7.name: every node needs one',), ('nodes: entry 8 is not an object',),
                ("node 'n5' is there twice", 'nothing is moved to or from the first'),
                ('guests.none.memory: a guest that runs has some', 'nothing is moved to or from node n1'),
                ('guests: entry 3 is not an object',), ("guests.lost.node: node 'bad' is left out",), ('guests.27.name: every guest needs one',),
                ("guests.stray.node: there is no node 'gone'",), ("guest 'g00' is there twice", 'nothing is moved to or from node n4'),
                ("groups.db.guests: there is no guest 'none'; the group holds for the others",), ("there is no guest 'never'",),
                ("groups.odd.keep: 'near'", 'its guests are not moved'), ('migrations.0.seconds: -1 is not between',),
                ('migrations: entry 2 is not an object',)), strict=True):
            for piece in pieces:
                self.assertIn(piece, line)
            self.assertIn('c.json:', line)
        text = json.dumps(c, indent=1).splitlines()
        self.assertIn('"none"', text[int(said[4].split(':')[1]) - 4])
        moves = [m for w in json.loads(done.stdout)['waves'] for m in w]
        self.assertTrue(moves)
        for m in moves:
            self.assertFalse({'n1', 'n4', 'n5', 'bad'} & {m['from'], m['to']}, m)
            self.assertNotIn(m['guest'], ('g00', 'g08', 'none', 'stray', 'lost'))
        to = {m['guest']: m['to'] for m in moves}
        with open(after) as f:
            written = json.load(f)
        for g in c['guests']:
            if isinstance(g, dict) and g.get('name') in to:
                g['node'] = to[g['name']]
        self.assertEqual(written, c)
        for command in ('plan', 'capacity', 'consolidate', 'simulate'):
            self.assertIn('nodes.bad.cpus: a number', self.run_it(command, '--cluster', path, '--strict', status=1))
        for command in ('capacity', 'consolidate'):
            self.run_it(command, '--cluster', path)

    def test_who_is_left_out_is_counted(self):
        """Beyond what there is room for, and before those that are only not measured."""
        c = cluster(2, 400)
        for g in c['guests']:
            g.pop('age')
        for g in c['guests'][50:200]:
            g['memory'] = -1
        path = self.write('c.json', c)
        done = subprocess.run([PROGRAM, 'capacity', '--cluster', path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        lines = done.stderr.splitlines()
        self.assertEqual(int(re.fullmatch(r'and (\d+) more', lines.pop()).group(1)) + len(lines), 400)
        self.assertIn('guests.g50.memory', lines[0])
        self.assertIn('measurements are missing', lines[-1])

    def consolidate(self, content, *arguments):
        return json.loads(self.run_it('consolidate', '--cluster', self.write('c.json', content), '--json', *arguments))

    def idle(self):
        c = cluster(10, 20)
        for i, g in enumerate(c['guests']):
            g.update(node='n%d' % (i % 10), load={'cpu': 0.2})
        return c

    def test_consolidates(self):
        """Nodes are emptied as far as it goes, the result is at rest, and hot it wakes one of those that sleep."""
        c, written = self.idle(), self.path('plan.json')
        said = self.consolidate(c, '--explain', '--write-plan', written)
        with open(written) as f:
            self.assertEqual(json.load(f), said)
        self.assertEqual(said, self.consolidate(c, '--explain'))
        self.assertEqual((len(said['sleep']), said['wake'], said['on']), (7, [], 10))  # 40 GiB, a node of 32 may be lost, 85 %
        moves = [m for w in said['waves'] for m in w]
        self.assertEqual(len(moves), said['moves'])
        self.assertEqual({m['guest'] for m in moves}, {g['name'] for g in c['guests'] if g['node'] in said['sleep']})
        self.assertGreater(said['bytes'], 0)
        self.assertLessEqual(said['load_after']['memory'], 0.85)
        self.assertIn('moves to', said['reasons'][moves[0]['guest']])
        text = self.run_it('consolidate', '--cluster', self.path('c.json'))
        self.assertIn('7 of 10 nodes can sleep after %d moves' % len(moves), text)
        self.assertIn('wave 1', text)
        self.assertRegex(text, 'n0 +stays: ')

        to = {m['guest']: m['to'] for m in moves}
        for g in c['guests']:
            g['node'] = to.get(g['name'], g['node'])
        for n in c['nodes']:
            if n['name'] in said['sleep']:
                n.update(state='offline', drained=True)
        again = self.consolidate(c)
        self.assertEqual((again['sleep'], again['wake'], again['too_full']), ([], [], False))
        for g in c['guests']:
            g['load'] = {'cpu': 1.1}  # 22 of 24 processors
        hot = self.consolidate(c)
        self.assertEqual((hot['sleep'], len(hot['wake']), hot['too_full']), ([], 1, True))
        self.assertIn('should be woken', hot['summary'])
        for n in c['nodes']:
            n.pop('age')
        self.assertEqual(self.consolidate(c)['wake'], [])

    def test_an_empty_cluster_sleeps(self):
        said = self.consolidate(dict(cluster(4), guests=[]))
        self.assertEqual((said['sleep'], said['moves'], said['waves']), (['n2', 'n3'], 0, []))
        self.assertIn('fewer than 2 nodes', said['nodes'][0]['reason'])
        self.assertIn('2 of 4 nodes can sleep', self.run_it('consolidate', '--explain', '--cluster', self.path('c.json')))

    def test_who_cannot_sleep(self):
        c = self.idle()
        c['nodes'][9]['members'] = 2
        c['nodes'][8]['stays_on'] = True
        c['nodes'][7].pop('age')
        c['guests'][6].pop('age')
        c['guests'][5]['movable'] = False
        c['guests'][4]['moved_ago'] = '1m'
        reasons = {n['name']: n.get('reason', '') for n in self.consolidate(c)['nodes']}
        for node, piece in (('n9', '2 members or witnesses of volumes'), ('n8', 'sleep=never'), ('n7', 'missing or too old'),
                            ('n6', 'g06 has no fresh measurements'), ('n5', 'g05 may not move'), ('n4', 'g04 moved 60 s ago')):
            self.assertIn(piece, reasons[node])

    def test_with_somebody_unknown_it_does_not_sleep(self):
        c = cluster(4, 4)
        c['nodes'].append({'name': 'n4', 'state': 'offline', 'drained': True})
        self.assertEqual(self.consolidate(c)['nodes'][4]['verdict'], 'asleep')
        c['guests'].append({'name': 'lost', 'node': 'n4', 'memory': 'much'})
        self.assertEqual(self.consolidate(c)['nodes'][4]['verdict'], 'closed')

    def test_consolidation_mistakes(self):
        said = self.run_it('consolidate', '--cluster', self.write('c.json', self.idle()), '--policy',
                           self.write('p.json', {'consolidate': {'cpu': 0.9}}), status=1)
        self.assertIn('consolidate.wake_cpu: 0.85 is not above cpu (0.9)', said)
        self.refuses(self.idle(), 'consolidate.keep', 'whole number', policy={'consolidate': {'keep': 2.5}})
        c = self.idle()
        c['nodes'][1]['drained'] = True
        self.refuses(c, 'nodes.n1.drained', 'ready')
        self.refuses(dict(c, nodes=[{'name': 'a', 'members': -1}]), 'nodes.a.members', 'not between')
        self.run_it('consolidate', status=2)
        data = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'data', 'clean-nonzero-score.data')
        self.assertIn('not by Ganeti', self.run_it('consolidate', '--cluster', data, status=1))
        self.run_it('consolidate', '--cluster', 'x', '--budget', 'soon', status=2)

    def ask(self, question):
        text = question if isinstance(question, str) else json.dumps(question)
        done = subprocess.run([PROGRAM, 'answer'], input=text, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def test_answers(self):
        """What droverd asks: of a policy, and of objects as the store has them."""
        self.assertEqual(self.ask({'verb': 'policy', 'text': '{"moves": {"quiet": "22:00-06:00", "per_hour": 3}}'}), {})
        self.assertIn('policy:2: limits.lose', self.ask({'verb': 'policy', 'text': '{\n"limits": {"lose": 99}}'})['error'])
        self.assertIn('error', self.ask({'verb': 'dance'}))
        self.assertIn('error', self.ask('nonsense'))
        self.assertIn('error', self.ask('[' * 100000))
        node = {'value': {'id': 'N', 'name': 'n1', 'spec': {}}, 'state': {'alive': True, 'cpus': 4, 'memory_bytes': 16 << 30}}
        guest = {'value': {'id': 'G', 'name': 'g1', 'spec': {'node': 'n1', 'running': True, 'memory': 1 << 30, 'vcpus': 2}}}
        use = {'seen': 90, 'state': {'pressure': {'cpu': 7}, 'guests': {'G': {'cpu': [50, 60, 9999], 'memory': 5}}}}
        objects = {'node': {'N': node}, 'guest': {'G': guest, 'H': {'value': None}}, 'load': {'N': use}}
        question = {'verb': 'export', 'objects': objects, 'clock': 100, 'wall': 1800000000}
        exported = self.ask(question)
        self.assertEqual(exported['nodes'][0]['pressure']['cpu'], 1)
        self.assertEqual((exported['guests'][0]['load']['cpu'], exported['guests'][0]['age']), (2, 10))
        self.plan(exported)
        use['state'].update(unit=1 << 20)
        use['state']['guests']['G'].update(disk=[450, 450, 450], network=[1, 1, 1])
        self.write('c.json', self.ask(question))  # what has no trace keeps what is exported: 450 MiB of 500 MB
        self.assertEqual(self.report('--generate', 'still', '--steps', '6')[0]['none']['overload_node_minutes_of'],
                         {'cpu': 30, 'memory': 0, 'disk': 30, 'network': 0})
        guest['value']['spec'].update(ha=True, ha_priority=70, ha_after=['db'], ha_delay=5000)
        volume = {'members': ['n1', None], 'spare': 1, 'witness': 'n1'}
        protected = self.ask(dict(question, objects=dict(objects, volumes={'G': [volume]})))['guests'][0]
        self.assertEqual({k: protected[k] for k in protected if k.startswith('ha') or k == 'volumes'},
                         {'ha': True, 'ha_priority': 70, 'ha_after': ['db'], 'ha_delay': 5000, 'volumes': [volume]})
        self.plan(dict(exported, guests=[protected]))
        self.assertNotIn('ha', exported['guests'][0])
        question.update(verb='capacity', lose=0, shape='1:1G')
        self.assertNotIn('warnings', self.ask(dict(question, objects=dict(objects, guest={'G': guest}))))
        self.assertEqual(self.ask(question)['fit'], 14)  # 15 GiB are left for guests, one has one
        self.assertIn('--shape', self.ask(dict(question, shape='much'))['error'])
        asleep = {'value': {'id': 'S', 'name': 'n2', 'spec': {'drained': True}}}
        advice = self.ask(dict(question, verb='consolidate', objects=dict(objects, node={'N': node, 'S': asleep}, members={'n1': 3})))
        self.assertEqual([(n['name'], n['verdict']) for n in advice['nodes']], [('n1', 'stays'), ('n2', 'wake')])
        self.assertIn('room for 1 lost node', advice['summary'])
        self.assertIn('error', self.ask(dict(question, lose=-1)))
        self.assertIn('error', self.ask(dict(question, shape='much')))
        twice = dict(objects, node={'N': node, 'M': dict(node, value={'name': 'n1', 'spec': {}})}, guest={})
        self.assertEqual(self.ask(dict(question, objects=twice))['fit'], 0)  # nobody knows which of them it is
        objects['guest'].update(I={'value': {'name': 'g2', 'spec': {'node': 'n9', 'memory': 1 << 30}}},
                                J={'value': {'spec': {'node': 'n1', 'memory': 1 << 30}}})
        exported = self.ask(dict(question, verb='export'))
        self.assertEqual(exported['left_out'], [
            {'who': 'guest H', 'why': 'what the store has of it cannot be read'}, {'who': 'guest g2', 'why': "there is no node 'n9'"},
            {'who': 'guest J', 'why': 'it has no name', 'node': 'n1'}])
        self.refuses(exported, 'guest H: what the store has of it cannot be read')
        fits = self.ask(question)
        self.assertEqual(fits['fit'], 0)  # what J takes there is not known
        self.assertIn('the cluster: guest J: it has no name; it is left out, and nothing is moved to or from node n1', fits['warnings'])
        for verb in ('plan', 'consolidate'):
            self.assertEqual(self.ask(dict(question, verb=verb))['warnings'], fits['warnings'])

    def test_run_needs_a_store(self):
        self.run_it('run', '--node', 'n1', status=2)
        self.assertIn('store', self.run_it('run', '--node', 'n1', '--store', 'nowhere:x', status=1))
        alone = shutil.copy(PROGRAM, self.path('alone'))
        done = subprocess.run([alone, 'run', '--node', 'n1'], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertEqual((done.returncode, done.stderr), (1, 'drover-balancer: %s-run cannot be started: No such file or directory\n' % alone))


unittest.main()
