#!/usr/bin/python3
# Apache License 2.0, see LICENSE
"""Guests whose processes run on a machine, whoever knows of them."""
from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r'''
module: guest_processes
short_description: Which guests have processes on a machine; ends those that must not
version_added: "0.1.0"
description:
  - Asks no agent and no store, but looks at the control groups of processes.
  - For the restoring of a store, which may know another node for a guest than the one it runs on.
options:
  end:
    description: Guests, by their ids, whose processes are killed. They lose what they have not written, as by a cut of power.
    type: list
    elements: str
    default: []
author:
  - Drover (@drover)
'''

EXAMPLES = r'''
- name: Who runs here
  drover.cluster.guest_processes:
  register: running
'''

RETURN = r'''
node:
  description: The node's name, empty for a machine that is none.
  returned: always
  type: str
guests:
  description: Ids of guests that run, before anything was ended.
  returned: always
  type: list
'''

import json
import os
import re
import signal
import time

from ansible.module_utils.basic import AnsibleModule

IDENTITY = '/var/lib/drover/node.json'


def node_name():
    if not os.path.exists(IDENTITY):
        return ''
    with open(IDENTITY, encoding='utf-8') as f:
        return json.load(f)['node']


def is_guest(pid):
    try:
        with open('/proc/%s/comm' % pid, encoding='utf-8') as f:
            return f.read().startswith('drover-guest')
    except OSError:
        return False


def processes(node):
    """Guest's id to its processes."""
    found = {}
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open('/proc/%s/cgroup' % pid, encoding='utf-8') as f:
                match = re.search(r'/drover-%s/(?:guest-)?([0-9a-f-]{36})' % re.escape(node), f.read())
        except OSError:
            continue
        if match and is_guest(pid):
            found.setdefault(match.group(1), []).append(int(pid))
    return found


def main():
    module = AnsibleModule(argument_spec={'end': {'type': 'list', 'elements': 'str', 'default': []}}, supports_check_mode=True)
    node = node_name()
    found = processes(node) if node else {}
    ended = [g for g in module.params['end'] if g in found]
    deadline = time.monotonic() + 30
    while not module.check_mode and any(g in processes(node) for g in ended):
        for guest in ended:
            for pid in processes(node).get(guest, []):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            module.fail_json(msg='guests %s do not end' % ', '.join(ended))
        time.sleep(0.1)
    module.exit_json(changed=bool(ended), node=node, guests=sorted(found))


if __name__ == '__main__':
    main()
