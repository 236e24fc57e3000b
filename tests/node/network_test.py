#!/usr/bin/python3
"""Networks over two nodes, each a network namespace, joined by a bridge in a third one. A guest is a namespace behind a
tap: network_command carries its frames. Needs root. usage: network_test.py NETWORK_COMMAND [unittest arguments]"""
import json
import os
import re
import subprocess
import sys
import time
import unittest
from random import Random

COMMAND = None
PREFIX = 'drt%d' % os.getpid()
ETH_P_ALL = 3

# What a guest does with raw frames; run inside it.
SEND = '''
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(('eth0', 0))
for frame in sys.argv[1:]:
    s.send(bytes.fromhex(frame))
'''
# Prints each frame that comes in, until one holds the marker.
LISTEN = '''
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.bind((sys.argv[1], 3))
s.settimeout(20)
print('listening', flush=True)
while True:
    frame = s.recv(70000).hex()
    print(frame, flush=True)
    if sys.argv[2] in frame:
        break
'''


def run(*command, check=True, namespace=None):
    if namespace:
        command = ('ip', 'netns', 'exec', namespace) + command
    r = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    if check and r.returncode:
        raise AssertionError('%s: %s%s' % (' '.join(command), r.stdout, r.stderr))
    return r


def until(condition, what, seconds=20):
    """Asks again until it holds: there is nothing to be woken by."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError('did not happen: ' + what)
        time.sleep(0.05)


def mac_bytes(mac):
    return mac.replace(':', '')


def ip_bytes(ip):
    return ''.join('%02x' % int(b) for b in ip.split('.'))


def ipv4(source_mac, source, target, payload, ethertype='0800'):
    """A UDP datagram to everybody, without a checksum of its own; payload: hexadecimal."""
    total = 28 + len(payload) // 2
    head = '4500%04x0000000040110000%s%s' % (total, ip_bytes(source), ip_bytes(target))
    words = sum(int(head[i:i + 4], 16) for i in range(0, 40, 4))
    while words >> 16:
        words = (words & 0xffff) + (words >> 16)
    head = head[:20] + '%04x' % (~words & 0xffff) + head[24:]
    return 'ffffffffffff' + mac_bytes(source_mac) + ethertype + head + '00350035%04x0000' % (8 + len(payload) // 2) + payload


def arp(source_mac, sender_mac, sender, target, operation=1):
    return ('ffffffffffff' + mac_bytes(source_mac) + '08060001080006040%03x' % operation + mac_bytes(sender_mac) +
            ip_bytes(sender) + '000000000000' + ip_bytes(target)).replace('0806000108000604' + '0' + '%03x' % operation,
                                                                         '0806000108000604%04x' % operation)


class Guest:
    def __init__(self, node, name, network, address, **more):
        self.node, self.name = node, name
        self.id = '%s-%s' % (name, '0' * 8)
        number = int(re.sub(r'\D', '', name))
        self.mac = '52:54:00:00:00:%02x' % number
        self.address = address
        self.spec = dict(guest=self.id, index=0, network=network, mac=self.mac, addresses=[address], **more)
        self.namespace = '%s-%s' % (PREFIX, name)
        self.cable = None

    def plug(self, **changes):
        self.spec.update(changes)
        self.node.command('plug', self.spec)

    def start(self, prefix=24):
        run('ip', 'netns', 'add', self.namespace)
        self.plug()
        self.connect()
        self.ip('link', 'set', 'lo', 'up')
        self.configure(prefix)

    def configure(self, prefix=24):
        self.ip('link', 'set', 'eth0', 'address', self.mac, 'mtu', str(self.spec.get('mtu', 1450)), 'up')
        self.ip('addr', 'add', '%s/%d' % (self.address, prefix), 'dev', 'eth0', *(['nodad'] if ':' in self.address else []))

    def tap(self):
        return self.node.command('name', self.id, '0').strip()

    def connect(self):
        self.cable = subprocess.Popen(['ip', 'netns', 'exec', self.node.namespace, COMMAND, 'cable', self.tap(),
                                       '/run/netns/' + self.namespace], stdout=subprocess.PIPE, text=True)
        if self.cable.stdout.readline().strip() != 'plugged':
            raise AssertionError('no cable for ' + self.name)

    def disconnect(self):
        if self.cable:
            self.cable.kill()
            self.cable.wait()
            self.cable.stdout.close()
            self.cable = None

    def ip(self, *words):
        return run('ip', *words, namespace=self.namespace).stdout

    def ping(self, address, count=1, check=True):
        r = run('ping', '-n', '-c', str(count), '-W', '5', address, namespace=self.namespace, check=False)
        if check and r.returncode:
            raise AssertionError('%s cannot ping %s: %s' % (self.name, address, r.stdout))
        return r.returncode == 0

    def send(self, *frames):
        run('/usr/bin/python3', '-c', SEND, *frames, namespace=self.namespace)

    def traffic(self):
        return json.loads(self.node.command('traffic', self.id, '0'))


class Listener:
    """What comes in at a guest, up to a frame that holds the marker."""

    def __init__(self, namespace, marker, device='eth0'):
        self.process = subprocess.Popen(['ip', 'netns', 'exec', namespace, '/usr/bin/python3', '-c', LISTEN, device, marker],
                                        stdout=subprocess.PIPE, text=True)
        self.process.stdout.readline()

    def frames(self):
        try:
            return self.process.communicate(timeout=30)[0].split()
        finally:
            self.process.kill()
            self.process.wait()


class Node:
    def __init__(self, number):
        self.namespace = '%s-n%d' % (PREFIX, number)
        self.address = '192.0.2.%d' % number
        run('ip', 'netns', 'add', self.namespace)
        run('ip', 'link', 'add', 'uplink', 'netns', self.namespace, 'type', 'veth', 'peer', 'name', 'n%d' % number,
            'netns', PREFIX + '-wire')
        run('ip', 'link', 'set', 'n%d' % number, 'master', 'wire', 'up', namespace=PREFIX + '-wire')
        self.ip('link', 'set', 'lo', 'up')
        self.ip('link', 'set', 'uplink', 'up')
        self.ip('addr', 'add', self.address + '/24', 'dev', 'uplink')

    def ip(self, *words):
        return run('ip', *words, namespace=self.namespace).stdout

    def command(self, verb, *words, fails=False):
        words = [w if isinstance(w, str) else json.dumps(w) for w in words]
        r = run(COMMAND, verb, *words, namespace=self.namespace, check=False)
        if bool(r.returncode) != fails:
            raise AssertionError('%s %s: %s' % (verb, ' '.join(words), r.stderr or 'no error'))
        return r.stderr if fails else r.stdout

    def tables(self):
        return run('nft', 'list', 'tables', namespace=self.namespace).stdout

    def devices(self):
        return [l['ifname'] for l in json.loads(self.ip('-json', 'link'))]

    def snapshot(self):
        """All that is set, without what counts and ages."""
        links = re.sub(r'(_timer|gc_timer) +[0-9.]+', '', self.ip('-details', 'link'))
        fdb = run('bridge', 'fdb', 'show', namespace=self.namespace).stdout
        fdb = '\n'.join(l for l in fdb.split('\n') if ' dst ' in l and 'permanent' in l)
        qdisc = run('tc', 'qdisc', namespace=self.namespace).stdout
        rules = run('nft', '-s', 'list', 'ruleset', namespace=self.namespace).stdout
        return links + self.ip('addr').replace(' tentative', '') + fdb + qdisc + rules


class Networks(unittest.TestCase):
    maxDiff = 4000
    NET = '11111111-2222-3333-4444-555555555555'

    def setUp(self):
        self.guests = []
        self.addCleanup(self.clean)
        run('ip', 'netns', 'add', PREFIX + '-wire')
        run('ip', 'link', 'add', 'wire', 'type', 'bridge', namespace=PREFIX + '-wire')
        run('ip', 'link', 'set', 'wire', 'up', namespace=PREFIX + '-wire')
        self.nodes = [Node(1), Node(2)]

    def clean(self):
        for g in self.guests:
            g.disconnect()
        for name in run('ip', 'netns', 'list').stdout.split('\n'):
            if name.startswith(PREFIX + '-'):
                run('ip', 'netns', 'delete', name.split()[0], check=False)

    def network(self, node, **more):
        spec = dict(id=self.NET, vni=7, local=node.address, peers=[n.address for n in self.nodes])
        spec.update(more)
        return spec

    def ensure(self, **more):
        for n in self.nodes:
            n.command('ensure', self.network(n, **more))

    def guest(self, node, name, address, **more):
        g = Guest(self.nodes[node], name, self.NET, address, **more)
        self.guests.append(g)
        g.start(64 if ':' in address else 24)
        return g

    def test_guests_on_two_nodes_reach_each_other(self):
        self.ensure()
        a, b = self.guest(0, 'g2', '10.7.0.2'), self.guest(1, 'g3', '10.7.0.3')
        c = self.guest(1, 'g4', '10.7.0.4')
        a.ping(b.address, 3)
        b.ping(c.address)
        c.ping(a.address)
        server = subprocess.Popen(['ip', 'netns', 'exec', b.namespace, 'iperf3', '-s', '-1'], stdout=subprocess.DEVNULL)
        try:
            until(lambda: ':5201' in run('ss', '-Hltn', namespace=b.namespace).stdout, 'iperf3 listens')
            r = run('iperf3', '-J', '-n', '20M', '-c', b.address, namespace=a.namespace)
        finally:
            server.kill()
            server.wait()
        self.assertGreaterEqual(json.loads(r.stdout)['end']['sum_received']['bytes'], 16 << 20)
        # largest frames pass unbroken
        r = run('ping', '-n', '-c', '1', '-W', '5', '-M', 'do', '-s', str(1450 - 28), b.address, namespace=a.namespace)
        self.assertIn('1 received', r.stdout)

    def test_ipv6(self):
        self.ensure()
        a, b = self.guest(0, 'g2', 'fd00:7::2'), self.guest(1, 'g3', 'fd00:7::3')
        a.ping(b.address, 2)

    def test_twice_is_once_and_remove_leaves_nothing(self):
        before = [n.snapshot() for n in self.nodes]
        more = dict(gateways=['10.7.0.1/24'])
        self.ensure(**more)
        rates = dict(to_guest=5000000, from_guest=4000000)
        a = self.guest(0, 'g2', '10.7.0.2', **rates)
        b = self.guest(1, 'g3', '10.7.0.3', owner=1000, queues=1)
        made = [n.snapshot() for n in self.nodes]
        self.ensure(**more)
        a.plug()
        b.plug()
        self.assertEqual(made, [n.snapshot() for n in self.nodes])
        self.assertIn('is plugged in', self.nodes[0].command('remove', self.NET, fails=True))
        for g in (a, b):
            g.disconnect()
        a.node.command('unplug', a.id, '0')
        b.node.command('unplug', b.id)
        for n in self.nodes:
            n.command('remove', self.NET)
            n.command('remove', self.NET)
        a.node.command('unplug', a.id, '0')
        self.assertEqual(before, [n.snapshot() for n in self.nodes])

    def test_changes_are_made_so(self):
        node = self.nodes[0]
        node.command('ensure', self.network(node, vni=7, gateways=['10.7.0.1/24', 'fd00:7::1/64']))
        bridge, vxlan = node.command('name', self.NET).split()
        node.command('ensure', self.network(node, vni=8, mtu=1400, peers=['192.0.2.9', '192.0.2.8'], gateways=['10.7.1.1/24']))
        details = json.loads(node.ip('-json', '-details', 'link', 'show', vxlan))[0]
        self.assertEqual(details['linkinfo']['info_data']['id'], 8)
        self.assertEqual((details['mtu'], details['master']), (1400, bridge))
        addresses = json.loads(node.ip('-json', 'addr', 'show', bridge))[0]['addr_info']
        self.assertEqual([a['local'] for a in addresses if a['scope'] == 'global'], ['10.7.1.1'])
        fdb = run('bridge', 'fdb', 'show', 'dev', vxlan, namespace=node.namespace).stdout
        self.assertEqual(sorted(re.findall(r'00:00:00:00:00:00 dst (\S+)', fdb)), ['192.0.2.8', '192.0.2.9'])
        node.command('ensure', self.network(node, vni=0))
        self.assertNotIn(vxlan, node.devices())

    def test_strangers_are_left_alone(self):
        node = self.nodes[0]
        bridge, _ = node.command('name', self.NET).split()
        node.ip('link', 'add', bridge, 'type', 'bridge')
        node.ip('link', 'set', bridge, 'up')
        self.assertIn("somebody else's", node.command('ensure', self.network(node), fails=True))
        self.assertIn("somebody else's", node.command('remove', self.NET, fails=True))
        self.assertEqual(node.command('sweep').strip(), '0')
        self.assertIn(bridge, node.devices())
        self.assertEqual(node.tables(), '')

    def test_half_made_is_completed_or_swept(self):
        node = self.nodes[0]
        bridge, vxlan = node.command('name', self.NET).split()
        node.ip('link', 'add', bridge, 'type', 'bridge')     # killed before it had its alias
        node.command('ensure', self.network(node))
        self.assertIn(vxlan, node.devices())
        other = '99999999-2222-3333-4444-555555555555'
        node.ip('link', 'add', node.command('name', other).split()[0], 'type', 'bridge')
        self.assertEqual(node.command('sweep', self.NET).strip(), '1')
        self.assertIn(vxlan, node.devices())
        self.assertNotEqual(node.command('sweep').strip(), '0')
        self.assertEqual(sorted(node.devices()), ['lo', 'uplink'])
        self.assertEqual(node.tables(), '')
        self.assertEqual(node.command('sweep').strip(), '0')

    def test_killed_at_any_moment(self):
        """Whatever was half made is completed by the next call, or swept."""
        node = self.nodes[0]
        network = self.network(node, gateways=['10.7.0.1/24', 'fd00:7::1/64'])
        g = Guest(node, 'g2', self.NET, '10.7.0.2', to_guest=5000000, from_guest=5000000)
        random = Random(4)
        verbs = [('ensure', json.dumps(network)), ('plug', json.dumps(g.spec)), ('unplug', g.id), ('remove', self.NET)]
        node.command('ensure', network)
        g.plug()
        made = node.snapshot()
        for i in range(40):
            p = subprocess.Popen(['ip', 'netns', 'exec', node.namespace, COMMAND, *verbs[i % 4]],
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(random.random() * 0.1)
            p.kill()
            p.wait()
            if i % 8 == 7:
                node.command('ensure', network)
                g.plug()
                self.assertEqual(self.without_numbers(made), self.without_numbers(node.snapshot()))
        node.command('sweep')
        self.assertEqual(sorted(node.devices()), ['lo', 'uplink'])
        self.assertEqual(node.tables(), '')

    @staticmethod
    def without_numbers(snapshot):
        """Devices that were made anew have other numbers, MACs of their own side and places in the lists."""
        text = re.sub(r'\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b|\b8000[0-9a-f.:]+|^[0-9]+:|0x8[0-9a-f]+', '', snapshot, flags=re.M)
        return sorted(re.sub(r'port_no \S+|port_id \S+|designated_port \S+|tick \S+', '', text).split('\n'))

    def test_many_addresses(self):
        node = self.nodes[0]
        node.command('ensure', self.network(node))
        many = ['10.7.0.%d' % i for i in range(2, 18)] + ['fd00:7::%x' % i for i in range(2, 18)]
        g = Guest(node, 'g2', self.NET, many[0])
        g.plug(addresses=many)
        self.assertIn('at most 32', node.command('plug', dict(g.spec, addresses=many + ['10.7.0.99']), fails=True))

    def test_errors_say_what_would_be_right(self):
        node = self.nodes[0]
        for change, words in ((dict(mtu=1500), 'give the network 1450'), (dict(local='192.0.2.77'), 'not an address of this'),
                              (dict(vni=1 << 24), '1 to 16777215'), (dict(id='a b'), 'letters, digits'),
                              (dict(peers=['fd00::1']), 'both be IPv4'), (dict(mtu=500), '1280 to 9000')):
            self.assertIn(words, node.command('ensure', self.network(node, **change), fails=True), change)
        node.command('remove', self.NET)
        g = Guest(node, 'g2', self.NET, '10.7.0.2')
        self.assertIn('is not on this node', node.command('plug', g.spec, fails=True))
        node.command('ensure', self.network(node))
        self.assertIn('1 to 8 queues', node.command('plug', dict(g.spec, queues=9), fails=True))
        self.assertIn('1000 to', node.command('plug', dict(g.spec, to_guest=7), fails=True))
        self.assertIn('must be even', node.command('plug', dict(g.spec, mac='ff:ff:ff:ff:ff:ff'), fails=True))
        self.assertIn('not plugged in', node.command('announce', dict(g.spec, guest='other'), fails=True))

    def test_what_others_took_out_comes_back(self):
        node = self.nodes[0]
        network = self.network(node, gateways=['10.7.0.1/24'])
        node.command('ensure', network)
        g = Guest(node, 'g2', self.NET, '10.7.0.2', to_guest=5000000, from_guest=5000000)
        g.plug()
        made = node.snapshot()
        bridge, vxlan = node.command('name', self.NET).split()
        for damage in (['nft', 'flush chain netdev %s-card guard' % g.tap()], ['nft', 'delete table netdev %s-card' % g.tap()],
                       ['nft', 'flush chain inet %s-border forward' % bridge], ['nft', 'delete table netdev %s-gate' % vxlan],
                       ['nft', 'delete chain netdev %s-card guard' % g.tap()],
                       ['tc', 'qdisc', 'del', 'dev', g.tap(), 'root'], ['ip', 'link', 'set', g.tap(), 'nomaster'],
                       ['ip', 'link', 'set', bridge, 'down'], ['ip', 'addr', 'flush', 'dev', bridge],
                       ['ip', 'addr', 'add', '10.7.0.9/24', 'dev', bridge], ['ip', 'link', 'set', vxlan, 'mtu', '1300']):
            run(*damage, namespace=node.namespace)
            self.assertNotEqual(sorted(made.split('\n')), sorted(node.snapshot().split('\n')), damage)
            node.command('ensure', network)
            g.plug()
            self.assertEqual(self.without_numbers(made), self.without_numbers(node.snapshot()), damage)

    def test_queues_and_owner(self):
        node = self.nodes[0]
        node.command('ensure', self.network(node))
        g = self.guest(0, 'g2', '10.7.0.2', queues=1)
        self.assertIn('stop the guest', node.command('plug', dict(g.spec, queues=4), fails=True))
        g.disconnect()
        until(lambda: 'LOWER_UP' not in node.ip('link', 'show', g.tap()), 'nobody has the tap open')
        g.plug(owner=1) # made anew, and guarded anew
        g.connect()
        g.ip('link', 'set', 'eth0', 'up') # with a MAC that is not its own
        until(lambda: g.traffic()['spoofed'] > 0, 'what it says of itself is refused')
        g.disconnect()
        until(lambda: 'LOWER_UP' not in node.ip('link', 'show', g.tap()), 'nobody has the tap open')
        node.command('plug', dict(g.spec, queues=4, owner=1234))
        info = json.loads(node.ip('-json', '-details', 'link', 'show', g.tap()))[0]['linkinfo']['info_data']
        self.assertTrue(info['multi_queue'] and info['vnet_hdr'] and info['persist'] and not info['pi'])
        self.assertEqual(int(info['user']) if str(info['user']).isdigit() else info['user'], 1234)

    def test_what_is_spoofed_is_dropped(self):
        self.ensure()
        a, b = self.guest(0, 'g2', '10.7.0.2'), self.guest(0, 'g3', '10.7.0.3')
        victim, gateway, end = '10.7.0.3', '10.7.0.1', 'cafef00dcafef00d'
        foreign = '52:54:00:00:00:99'
        bad = {
            'mac': ipv4(foreign, a.address, '10.7.0.255', 'bad0000000000001'),
            'address': ipv4(a.mac, victim, '10.7.0.255', 'bad0000000000002'),
            'vlan': ipv4(a.mac, victim, '10.7.0.255', 'bad0000000000003', ethertype='810000070800'),
            'vlan, own address': ipv4(a.mac, a.address, '10.7.0.255', 'bad0000000000004', ethertype='810000070800'),
            'arp address': arp(a.mac, a.mac, gateway, victim, 2),
            'arp mac': arp(a.mac, foreign, a.address, victim, 2),
            'arp of a strange kind': arp(a.mac, a.mac, gateway, victim, 2).replace('08060001', '08060006'),
            'ipv6 address': self.neighbour_advertisement(a.mac, 'fd000007' + '0' * 23 + '3', 'fd000007' + '0' * 23 + '3'),
            'ipv6 target': self.neighbour_advertisement(a.mac, self.link_local(a.mac), 'fd000007' + '0' * 23 + '3'),
            'router advertisement': self.neighbour_advertisement(a.mac, self.link_local(a.mac), self.link_local(a.mac), '86'),
            'dhcp answer': ipv4(a.mac, a.address, '10.7.0.255', 'bad0000000000009').replace('00350035', '00430044'),
            'other type': 'ffffffffffff' + mac_bytes(a.mac) + '88b5' + 'bad000000000000a' * 8,
        }
        good = [arp(a.mac, a.mac, a.address, victim), arp(a.mac, a.mac, '0.0.0.0', a.address),
                self.neighbour_advertisement(a.mac, self.link_local(a.mac), self.link_local(a.mac)),
                ipv4(a.mac, a.address, '10.7.0.255', end)]
        refused = a.traffic()['spoofed']
        listener = Listener(b.namespace, end)
        a.send(*bad.values())
        a.send(*good)
        seen = listener.frames()
        for what, frame in bad.items():
            self.assertFalse([f for f in seen if f.startswith(frame)], what)
        for frame in good:
            self.assertTrue([f for f in seen if f.startswith(frame)], frame)
        self.assertGreaterEqual(a.traffic()['spoofed'] - refused, len(bad))
        # without its guard all of them pass: the test can tell
        a.plug(unguarded=True)
        listener = Listener(b.namespace, end)
        a.send(*bad.values())
        a.send(good[-1])
        seen = listener.frames()
        for what, frame in bad.items():
            if not what.startswith('vlan'): # the receiving kernel takes the tag off
                self.assertTrue([f for f in seen if f.startswith(frame)], what)
        a.plug(unguarded=False)
        self.assertIn(a.tap() + '-card', a.node.tables())

    @staticmethod
    def link_local(mac):
        b = mac_bytes(mac)
        return 'fe80' + '0' * 12 + '%02x' % (int(b[:2], 16) ^ 2) + b[2:6] + 'fffe' + b[6:]

    @staticmethod
    def neighbour_advertisement(mac, source, target, kind='88'):
        """With a wrong checksum: whether it is passed on is not a matter of that."""
        return ('333300000001' + mac_bytes(mac) + '86dd60000000' + '00203aff' + source + 'ff02' + '0' * 27 + '1' + kind +
                '000000' + '20000000' + target + '0201' + mac_bytes(mac))

    def test_limits(self):
        self.ensure()
        rate = 1250000 # 10 Mbit/s
        a, b = self.guest(0, 'g2', '10.7.0.2', to_guest=rate, from_guest=rate), self.guest(1, 'g3', '10.7.0.3')
        self.assertEqual(a.traffic()['to_guest'], rate)
        server = subprocess.Popen(['ip', 'netns', 'exec', b.namespace, 'iperf3', '-s'], stdout=subprocess.DEVNULL)
        try:
            until(lambda: ':5201' in run('ss', '-Hltn', namespace=b.namespace).stdout, 'iperf3 listens')
            for reverse, count in ((), 'from_guest_dropped_bytes'), (('-R',), 'to_guest_dropped'):
                before = a.traffic()[count]
                r = run('iperf3', '-J', '-u', '-b', '100M', '-n', '12M', '-l', '1200', *reverse, '-c', b.address,
                        namespace=a.namespace)
                end = json.loads(r.stdout)['end']
                lost = end['sum']['lost_packets'] / end['sum']['packets']
                # a tenth of what is sent may pass, and a burst and a queue at the beginning
                self.assertGreater(lost, 0.5, count)
                self.assertGreater(a.traffic()[count], before, count)
        finally:
            server.kill()
            server.wait()
        counted = a.traffic()['from_guest_dropped_bytes']
        a.plug()
        self.assertEqual(a.traffic()['from_guest_dropped_bytes'], counted, 'set again, the same rules go on counting')
        a.plug(to_guest=0, from_guest=0)
        self.assertEqual(a.traffic()['to_guest'], 0)
        self.assertNotIn('police', run('nft', 'list', 'table', 'netdev', a.tap() + '-card', namespace=a.node.namespace).stdout)

    def test_gateway(self):
        """Each node is the way out for its own guests; networks do not see each other, nor the node's services."""
        run('ip', 'addr', 'add', '192.0.2.254/24', 'dev', 'wire', namespace=PREFIX + '-wire')
        run('ip', 'link', 'set', 'lo', 'up', namespace=PREFIX + '-wire')
        self.ensure(gateways=['10.7.0.1/24'])
        a, b = self.guest(0, 'g2', '10.7.0.2'), self.guest(1, 'g3', '10.7.0.3')
        other = '22222222-2222-3333-4444-555555555555'
        self.nodes[0].command('ensure', self.network(self.nodes[0], id=other, vni=9, gateways=['10.8.0.1/24']))
        c = Guest(self.nodes[0], 'g4', other, '10.8.0.2')
        self.guests.append(c)
        c.start()
        for g, gateway in ((a, '10.7.0.1'), (b, '10.7.0.1'), (c, '10.8.0.1')):
            g.ip('route', 'add', 'default', 'via', gateway)
            g.ping(gateway)
            g.ping('192.0.2.254')
        a.ping(b.address)
        self.assertFalse(run('ping', '-n', '-c', '1', '-W', '1', c.address, namespace=a.namespace, check=False).returncode == 0)
        neighbours = a.ip('neigh', 'show', '10.7.0.1')
        self.assertEqual(neighbours.split()[4], b.ip('neigh', 'show', '10.7.0.1').split()[4], 'one MAC on all nodes')
        # a gateway's ARP request for a guest stays on its node
        server = subprocess.Popen(['ip', 'netns', 'exec', self.nodes[0].namespace, 'iperf3', '-s'], stdout=subprocess.DEVNULL)
        try:
            until(lambda: ':5201' in run('ss', '-Hltn', namespace=self.nodes[0].namespace).stdout, 'iperf3 listens')
            r = run('iperf3', '-c', '10.7.0.1', '-n', '1K', '--connect-timeout', '1000', namespace=a.namespace, check=False)
            self.assertNotEqual(r.returncode, 0, 'a guest speaks to the node')
        finally:
            server.kill()
            server.wait()
        self.nodes[0].ip('neigh', 'flush', 'all')
        run('ping', '-n', '-c', '1', '-W', '5', a.address, namespace=self.nodes[0].namespace)

    def test_gateway_of_ipv6(self):
        run('ip', 'addr', 'add', '2001:db8::ff/64', 'dev', 'wire', 'nodad', namespace=PREFIX + '-wire')
        for number, node in enumerate(self.nodes, 1):
            node.ip('addr', 'add', '2001:db8::%d/64' % number, 'dev', 'uplink', 'nodad')
        self.ensure(gateways=['fd00:7::1/64'])
        a, b = self.guest(0, 'g2', 'fd00:7::2'), self.guest(1, 'g3', 'fd00:7::3')
        for g in (a, b):
            g.ip('-6', 'route', 'add', 'default', 'via', 'fd00:7::1')
            g.ping('fd00:7::1')
            g.ping('2001:db8::ff')
        a.ping(b.address)
        there = run('cat', '/proc/sys/net/ipv6/conf/uplink/accept_ra', namespace=self.nodes[0].namespace).stdout
        self.assertEqual(there.strip(), '2', 'a router that goes on taking advertisements')

    def test_a_guest_that_moves_is_found(self):
        self.ensure()
        a, b = self.guest(0, 'g2', '10.7.0.2'), self.guest(1, 'g3', '10.7.0.3')
        a.ping(b.address)
        a.disconnect()
        a.node.command('unplug', a.id)
        a.node = self.nodes[1]
        a.plug()
        listener = Listener(self.nodes[0].namespace, '8035', device=self.nodes[0].command('name', self.NET).split()[1])
        a.node.command('announce', a.spec)
        frames = listener.frames()
        self.assertTrue(any(f.startswith('ffffffffffff' + mac_bytes(a.mac) + '8035') for f in frames))
        bridge, vxlan = self.nodes[0].command('name', self.NET).split()
        fdb = run('bridge', 'fdb', 'show', 'br', bridge, namespace=self.nodes[0].namespace).stdout
        self.assertRegex(fdb, '%s dev %s ' % (a.mac, vxlan))
        self.assertRegex(fdb, r'%s dev %s dst %s' % (a.mac, vxlan, self.nodes[1].address))
        a.connect() # somebody has the tap open, but the guest has said nothing yet: its own node knows, too

        def known_here():
            a.node.command('announce', a.spec)
            here = run('bridge', 'fdb', 'show', 'br', bridge, namespace=self.nodes[1].namespace).stdout
            return re.search('%s dev %s ' % (a.mac, a.tap()), here)
        until(known_here, 'the bridge knows the port')
        a.configure()
        b.ping(a.address)


def main():
    global COMMAND
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    COMMAND = os.path.abspath(sys.argv[1])
    if os.geteuid() != 0:
        print('skipped: network namespaces need root')
        sys.exit(77)
    if not os.path.exists('/dev/net/tun'):
        print('skipped: there is no /dev/net/tun')
        sys.exit(77)
    unittest.main(argv=[sys.argv[0]] + sys.argv[2:])


if __name__ == '__main__':
    main()
