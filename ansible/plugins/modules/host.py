#!/usr/bin/python3
# Apache License 2.0, see LICENSE
"""What a node's roles want to know of a machine beside Ansible's own facts."""
from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r'''
module: host
short_description: Whether a machine can be a node of a Drover cluster
version_added: "0.1.0"
description:
  - Says whether the processor can virtualise, and whether the kernel's clock is kept right by somebody.
  - Changes nothing.
author:
  - Drover (@drover)
'''

EXAMPLES = r'''
- name: What this machine can do
  drover.cluster.host:
  register: machine
'''

RETURN = r'''
kvm:
  description: There is a C(/dev/kvm); without it guests run by translation, which is slower.
  returned: always
  type: bool
time_synchronised:
  description: The kernel knows its clock to be right, as it does while chrony, ntpd or systemd-timesyncd keep it so.
  returned: always
  type: bool
'''

import ctypes
import os

from ansible.module_utils.basic import AnsibleModule

TIMEX_BYTES = 208   # struct timex of adjtimex(2) on 64-bit Linux
TIME_ERROR = 5      # what it returns for a clock that nobody keeps


def main():
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    answer = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(TIMEX_BYTES))
    module.exit_json(changed=False, kvm=os.path.exists('/dev/kvm'), time_synchronised=0 <= answer < TIME_ERROR)


if __name__ == '__main__':
    main()
