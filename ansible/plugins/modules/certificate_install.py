#!/usr/bin/python3
# Apache License 2.0, see LICENSE
"""Certificates that an authority has signed take their place beside their keys."""
from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r'''
module: certificate_install
short_description: Put signed certificates in their place
version_added: "0.1.0"
description:
  - What M(drover.cluster.certificate_requests) asked for and M(drover.cluster.authority) has signed is put beside its key,
    each by rename, the key first.
  - The authority's certificates become C(FOLDER/ca-cert.pem), and its list of those that are refused C(FOLDER/ca-crl.pem).
options:
  folder:
    description: Where they are.
    type: path
    required: true
  owner:
    description: Whose the files are.
    type: str
    default: root
  authority:
    description: Its certificates, PEM.
    type: str
    required: true
  revoked:
    description: Its list of refused certificates, PEM. None is written without one.
    type: str
  certificates:
    description: As the authority answered; each with C(name) and C(certificate).
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Of the files.
        type: str
        required: true
      certificate:
        description: PEM.
        type: str
        required: true
author:
  - Drover (@drover)
'''

EXAMPLES = r'''
- name: Take what was signed
  drover.cluster.certificate_install:
    folder: /etc/drover-store/tls
    authority: "{{ signed.authority }}"
    certificates: "{{ signed.certificates }}"
'''

RETURN = r'''
installed:
  description: The files that have changed.
  returned: always
  type: list
'''

import os
import shutil

from ansible.module_utils.basic import AnsibleModule


def put(module, name, text):
    """By rename; False: it is so already."""
    path = os.path.join(module.params['folder'], name)
    if os.path.exists(path):
        with open(path, encoding='ascii') as f:
            if f.read().strip() == text.strip():
                return False
    if module.check_mode:
        return True
    with open(path + '.new', 'w', encoding='ascii') as f:
        f.write(text.strip() + '\n')
        f.flush()
        os.fsync(f.fileno())
    os.chmod(path + '.new', 0o644)
    shutil.chown(path + '.new', module.params['owner'])
    os.rename(path + '.new', path)
    return True


def main():
    module = AnsibleModule(
        argument_spec={
            'folder': {'type': 'path', 'required': True},
            'owner': {'default': 'root'},
            'authority': {'required': True},
            'revoked': {},
            'certificates': {'type': 'list', 'elements': 'dict', 'default': [], 'options': {
                'name': {'required': True}, 'certificate': {'required': True}}},
        },
        supports_check_mode=True)
    folder, changed = module.params['folder'], []
    if not module.check_mode:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        shutil.chown(folder, module.params['owner'])
    files = [('ca-cert.pem', module.params['authority'])]
    if module.params['revoked']:
        files.append(('ca-crl.pem', module.params['revoked']))
    for certificate in module.params['certificates']:
        key = os.path.join(folder, certificate['name'] + '-next.pem')
        if os.path.exists(key) and not module.check_mode:
            os.rename(key, os.path.join(folder, certificate['name'] + '-key.pem'))
        files.append((certificate['name'] + '-cert.pem', certificate['certificate']))
    for name, text in files:
        if put(module, name, text):
            changed.append(name)
    module.exit_json(changed=bool(changed), installed=changed)


if __name__ == '__main__':
    main()
