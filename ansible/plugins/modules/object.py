#!/usr/bin/python3
# Apache License 2.0, see LICENSE
"""An object of the cluster, by the API of the node itself."""
from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r'''
module: object
short_description: Make, change or remove an object of a Drover cluster
version_added: "0.1.0"
description:
  - Compares what is wanted with what the cluster has, and changes the difference, through the socket of the node that
    it runs on. Root needs no token there.
  - What C(spec) does not name stays as it is.
  - An object that cannot be changed (such as a network) and differs is an error that says so, never replaced.
options:
  kind:
    description: What it is, as in the path of the API. C(balance/policy) is the one object that has no name.
    type: str
    required: true
    choices: [nodes, pools, networks, drill-schedules, balance/policy]
  name:
    description: Its name.
    type: str
  spec:
    description: The fields that it shall have.
    type: dict
    default: {}
  state:
    description: Whether it is to be there.
    type: str
    default: present
    choices: [present, absent]
  socket:
    description: Where the node's agent listens.
    type: path
    default: /run/drover/api.sock
  patience:
    description: How many seconds to go on trying while the agent or the store does not answer.
    type: int
    default: 60
author:
  - Drover (@drover)
'''

EXAMPLES = r'''
- name: A pool
  drover.cluster.object:
    kind: pools
    name: pool1
    spec: {node: n1, path: /var/lib/drover/pool}

- name: Where a node stands
  drover.cluster.object:
    kind: nodes
    name: n1
    spec: {labels: {rack: r7}}
'''

RETURN = r'''
object:
  description: The object as it is afterwards; without one in check mode.
  returned: when it is there
  type: dict
'''

import http.client
import json
import os
import socket
import time
from urllib.parse import quote

from ansible.module_utils.basic import AnsibleModule


class Local(http.client.HTTPConnection):
    """HTTP over the agent's socket."""
    def __init__(self, path):
        super().__init__('localhost', timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def ask_once(path, method, where, body, etag):
    connection = Local(path)
    headers = {'Content-Type': 'application/json', 'X-Drover-Reason': 'ansible'}
    if etag:
        headers['If-Match'] = etag
    try:
        connection.request(method, where, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text else {}, answer.getheader('ETag')
    finally:
        connection.close()


def ask(module, method, where, body=None, etag=None):
    """Status, answer and ETag; for as long as nobody answers, or the store is away, once more."""
    end = time.monotonic() + module.params['patience']
    while True:
        try:
            status, answer, seen = ask_once(module.params['socket'], method, where, body, etag)
            trouble = answer.get('detail', 'the answer is %d' % status)
        except (OSError, http.client.HTTPException, ValueError) as e:
            status, answer, seen, trouble = 503, {}, None, str(e)
        if status != 503:
            return status, answer, seen
        if time.monotonic() > end:
            module.fail_json(msg='%s: %s' % (module.params['socket'], trouble))
        time.sleep(0.5)


def wanted_of(module, method, where, body=None, etag=None):
    status, answer, seen = ask(module, method, where, body, etag)
    if status >= 300:
        field = ' (%s)' % answer['field'] if answer.get('field') else ''
        module.fail_json(msg='%s%s' % (answer.get('detail', 'the answer is %d' % status), field))
    return answer


def same(wanted, there):
    """A field is as wanted: of objects, those members that are wanted."""
    if isinstance(wanted, dict) and isinstance(there, dict):
        return all(k in there and same(v, there[k]) for k, v in wanted.items())
    return wanted == there


def remove(module, where, there):
    if there is None:
        module.exit_json(changed=False)
    if not module.check_mode:
        wanted_of(module, 'DELETE', where)
    module.exit_json(changed=True, diff={'before': there.get('spec', {}), 'after': {}})


def change(module, where, there, etag):
    spec = module.params['spec']
    before = there.get('spec', there)
    different = {k: v for k, v in spec.items() if not same(v, before.get(k))}
    if not different:
        module.exit_json(changed=False, object=there)
    if module.params['kind'] in ('pools', 'networks', 'drill-schedules'):
        module.fail_json(msg='%s is there and differs in %s, which cannot be changed: remove it first, or describe it as it is'
                         % (module.params['name'], ', '.join('%s (%r, not %r)' % (k, before.get(k), v)
                                                             for k, v in sorted(different.items()))))
    if not module.check_mode:
        there = wanted_of(module, 'PATCH', where, {'spec': different}, etag)
    module.exit_json(changed=True, object=there, diff={'before': {k: before.get(k) for k in different}, 'after': different})


def main():
    module = AnsibleModule(
        argument_spec={
            'kind': {'required': True, 'choices': ['nodes', 'pools', 'networks', 'drill-schedules', 'balance/policy']},
            'name': {},
            'spec': {'type': 'dict', 'default': {}},
            'state': {'default': 'present', 'choices': ['present', 'absent']},
            'socket': {'type': 'path', 'default': '/run/drover/api.sock'},
            'patience': {'type': 'int', 'default': 60},
        },
        supports_check_mode=True)
    kind, name = module.params['kind'], module.params['name']
    if (kind != 'balance/policy') != bool(name):
        module.fail_json(msg='name: is for every kind but balance/policy')
    if module.check_mode and not os.path.exists(module.params['socket']):  # a machine that is to become a node
        module.exit_json(changed=module.params['state'] == 'present')
    where = '/v1/%s' % kind + ('/' + quote(name, safe='') if name else '')
    status, there, etag = ask(module, 'GET', where)
    if status not in (200, 404):
        module.fail_json(msg=there.get('detail', 'the answer is %d' % status))
    there = there if status == 200 else None
    if module.params['state'] == 'absent':
        remove(module, where, there)
    if there is not None:
        change(module, where, there, etag)
    if kind == 'nodes' and not module.check_mode:
        module.fail_json(msg='there is no node %s: nodes join, they are not made' % name)
    if not module.check_mode:
        there = wanted_of(module, 'POST', '/v1/%s' % kind, {'name': name, 'spec': module.params['spec']})
    module.exit_json(changed=True, object=there or {}, diff={'before': {}, 'after': module.params['spec']})


if __name__ == '__main__':
    main()
