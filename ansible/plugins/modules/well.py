#!/usr/bin/python3
# Apache License 2.0, see LICENSE
"""Waits until a cluster is well, as its own words say."""
from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r'''
module: well
short_description: Wait until a Drover cluster is well
version_added: "0.1.0"
description:
  - All nodes are there and the store answers. Volumes of guests that are to run lack nothing, unless C(volumes) is false.
  - With C(empty), no guest runs on that node, or waits for pages from it, either.
  - Changes nothing. When the time is over it fails, and says what is missing.
options:
  empty:
    description: A node that no guest shall run on, as after C(drover node drain).
    type: str
  without:
    description: Nodes that need not be there.
    type: list
    elements: str
    default: []
  volumes:
    description: Whether every member of every volume must be in sync.
    type: bool
    default: true
  patience:
    description: How many seconds to wait.
    type: int
    default: 600
  socket:
    description: Where the node's agent listens.
    type: path
    default: /run/drover/api.sock
author:
  - Drover (@drover)
'''

EXAMPLES = r'''
- name: Nobody runs on n2, and all is well
  drover.cluster.well:
    empty: n2
'''

RETURN = r'''
nodes:
  description: All nodes, each with what is known of it.
  returned: always
  type: list
'''

import json
import time

from ansible.module_utils.basic import AnsibleModule


def ask(module, *words):
    rc, out, err = module.run_command(['drover'] + list(words) + ['--json', '--api=unix:' + module.params['socket']])
    if rc:
        raise RuntimeError(err.strip())
    return json.loads(out)


def missing(module):
    """What is not as it should be; and the nodes."""
    wrong, nodes, guests = [], ask(module, 'node', 'list'), ask(module, 'guest', 'list')
    trouble = ask(module, 'cluster', 'status')['trouble']
    if trouble:
        wrong.append('the store is in trouble: ' + trouble)
    wrong += ['node %s is not there' % n['name'] for n in nodes
              if not n['state'].get('alive') and n['name'] not in module.params['without']]
    empty = module.params['empty']
    if empty:
        wrong += ['guest %s is %s on node %s%s' % (g['name'], g['state'].get('phase'), empty,
                                                 ': ' + g['state']['reason'] if g['state'].get('reason') else '')
                  for g in guests if g['spec']['node'] == empty and g['state'].get('phase', 'stopped') not in ('stopped', 'failed')]
        wrong += ['guest %s waits for its last pages from node %s' % (m['spec']['guest'], empty) for m in ask(module, 'migration', 'list')
                  if m['spec']['from'] == empty and m['state'].get('phase') == 'post-copy']
    if module.params['volumes']:
        used = [d['volume'] for g in guests if g['spec'].get('running') for d in g['spec'].get('disks') or []]
        wrong += ['volume %s is %s' % (v['name'], v['state']['health']) for v in ask(module, 'volume', 'list')
                  if v['name'] in used and v['state'].get('health', 'good') != 'good']
    return wrong, nodes


def main():
    module = AnsibleModule(
        argument_spec={
            'empty': {},
            'without': {'type': 'list', 'elements': 'str', 'default': []},
            'volumes': {'type': 'bool', 'default': True},
            'patience': {'type': 'int', 'default': 600},
            'socket': {'type': 'path', 'default': '/run/drover/api.sock'},
        },
        supports_check_mode=True)
    end = time.monotonic() + module.params['patience']
    while True:
        try:
            wrong, nodes = missing(module)
        except (RuntimeError, ValueError, KeyError) as e:
            wrong, nodes = [str(e)], []
        if not wrong:
            module.exit_json(changed=False, nodes=nodes)
        if time.monotonic() > end:
            module.fail_json(msg='; '.join(wrong))
        time.sleep(1)


if __name__ == '__main__':
    main()
