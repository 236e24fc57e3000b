#!/usr/bin/python3
# Apache License 2.0, see LICENSE
"""Makes an old store safe to go on with, before any agent reads it."""
from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r'''
module: restored_store
short_description: Make a store that was restored from a snapshot safe to go on with
version_added: "0.1.0"
description:
  - Runs on a member of the store, while no agent runs anywhere.
  - Raises the epoch of every volume's owner by so much that nobody can have had a greater one since the snapshot. A process that was
    started since then would else have the same epoch as the next one that is started, and both could write.
  - Says which guests run where the store does not know them. They must end before an agent begins, because the store lets them be
    started elsewhere.
options:
  running:
    description: Guests' ids by the name of the node that they run on.
    type: dict
    required: true
  raise_by:
    description: How much epochs are raised.
    type: int
    default: 1000000
  command:
    description: etcdctl with its certificates.
    type: path
    default: /usr/local/sbin/drover-store-ctl
author:
  - Drover (@drover)
'''

EXAMPLES = r'''
- name: Nobody can have a greater epoch
  drover.cluster.restored_store:
    running:
      n1: [e4e52621-dd7d-4844-ba73-d90960830530]
'''

RETURN = r'''
raised:
  description: Epochs as they are now, by the volume's id.
  returned: always
  type: dict
misplaced:
  description: Guests that run where the store does not know them.
  returned: always
  type: list
'''

import base64
import json

from ansible.module_utils.basic import AnsibleModule


def ask(module, *words, **more):
    rc, out, err = module.run_command([module.params['command']] + list(words), **more)
    if rc:
        module.fail_json(msg='etcdctl %s: %s' % (words[0], err.strip()))
    return out


def objects(module, kind):
    """Key to value, of all of a kind."""
    answer = json.loads(ask(module, 'get', '--prefix', '/drover/%s/' % kind, '--write-out=json'))
    return {base64.b64decode(kv['key']).decode(): json.loads(base64.b64decode(kv['value'])) for kv in answer.get('kvs', [])}


def raise_epochs(module):
    raised = {}
    for key, owner in sorted(objects(module, 'owner').items()):
        owner['spec']['epoch'] += module.params['raise_by']
        raised[owner['id']] = owner['spec']['epoch']
        if not module.check_mode:
            ask(module, 'put', key, data=json.dumps(owner, separators=(',', ':')), binary_data=True)
    return raised


def main():
    module = AnsibleModule(
        argument_spec={'running': {'type': 'dict', 'required': True}, 'raise_by': {'type': 'int', 'default': 1000000},
                       'command': {'type': 'path', 'default': '/usr/local/sbin/drover-store-ctl'}},
        supports_check_mode=True)
    guests = {g['id']: g for g in objects(module, 'guest').values()}
    misplaced = [guest for node, ids in sorted(module.params['running'].items()) for guest in ids
                 if guest not in guests or guests[guest]['spec'].get('node') != node]
    raised = raise_epochs(module)
    module.exit_json(changed=bool(raised), raised=raised, misplaced=misplaced)


if __name__ == '__main__':
    main()
