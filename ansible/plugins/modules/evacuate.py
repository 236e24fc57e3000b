#!/usr/bin/python3
# Apache License 2.0, see LICENSE
"""What a node has for others is made anew elsewhere, and its pools are forgotten."""
from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r'''
module: evacuate
short_description: Empty a node of a Drover cluster for good
version_added: "0.1.0"
description:
  - Each member of a volume over several nodes that is in a pool of the node is replaced by one elsewhere, one after the other, and waited
    for until it is in sync. C(volume replace) chooses where.
  - Then the node's pools are deleted.
  - Nothing is destroyed. Guests that are stopped, volumes without a layout, images and witnesses are named, and the module fails, before
    anything is changed.
options:
  node:
    description: Which.
    type: str
    required: true
  patience:
    description: How many seconds each member may take to be filled.
    type: int
    default: 3600
author:
  - Drover (@drover)
'''

EXAMPLES = r'''
- name: Nothing is on n4
  drover.cluster.evacuate:
    node: n4
'''

RETURN = r'''
replaced:
  description: Members that were replaced, as in C(web1/2).
  returned: always
  type: list
pools:
  description: Pools that were deleted.
  returned: always
  type: list
'''

import json
import time

from ansible.module_utils.basic import AnsibleModule


def drover(module, *words):
    rc, out, err = module.run_command(['drover'] + list(words) + ['--json'])
    if rc:
        module.fail_json(msg='drover %s: %s' % (' '.join(words[:3]), err.strip()))
    return json.loads(out) if out.strip() else {}


def in_the_way(module, node, pools):
    """What only a person can decide about."""
    found = ['guest %s (drover guest set %s --node ...)' % (g['name'], g['name'])
             for g in drover(module, 'guest', 'list') if g['spec']['node'] == node]
    for volume in drover(module, 'volume', 'list'):
        spec = volume['spec']
        if spec.get('pool') in pools:
            found.append('volume %s, which is there only' % volume['name'])
        if spec.get('witness') in pools:
            found.append('the witness of volume %s' % volume['name'])
    return found + ['image %s' % i['name'] for i in drover(module, 'image', 'list') if i['spec']['pool'] in pools]


def is_whole(module, name):
    state = drover(module, 'volume', 'show', name)['state']
    return all(m.get('condition') == 'in-sync' for m in state.get('members', []))


def replace(module, name, index):
    drover(module, 'volume', 'replace', name, str(index), '--wait', '--timeout=%d' % module.params['patience'])
    end = time.monotonic() + module.params['patience']
    while not is_whole(module, name):
        if time.monotonic() > end:
            module.fail_json(msg='volume %s is not in sync after %d seconds: is a guest using it?' % (name, module.params['patience']))
        time.sleep(1)


def main():
    module = AnsibleModule(argument_spec={'node': {'required': True}, 'patience': {'type': 'int', 'default': 3600}},
                           supports_check_mode=True)
    node = module.params['node']
    pools = [p['name'] for p in drover(module, 'pool', 'list') if p['spec']['node'] == node]
    found = in_the_way(module, node, pools)
    if found and not module.check_mode:
        module.fail_json(msg='node %s still has: %s' % (node, ', '.join(found)))
    members = [(v['name'], i) for v in drover(module, 'volume', 'list') for i, p in enumerate(v['spec'].get('pools') or [])
               if p in pools]
    if not module.check_mode:
        for name, index in members:
            replace(module, name, index)
        for pool in pools:
            drover(module, 'pool', 'delete', pool)
    module.exit_json(changed=bool(members or pools), replaced=['%s/%d' % m for m in members], pools=pools)


if __name__ == '__main__':
    main()
