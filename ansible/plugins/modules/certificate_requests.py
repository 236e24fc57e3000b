#!/usr/bin/python3
# Apache License 2.0, see LICENSE
"""Keys of this machine, and requests for those certificates that are not there, run out, or are for somebody else."""
from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r'''
module: certificate_requests
short_description: Which certificates a machine needs, and requests for them
version_added: "0.1.0"
description:
  - Each certificate is C(FOLDER/NAME-cert.pem) with its key C(FOLDER/NAME-key.pem).
  - A key is made here, mode 0600, and never leaves the machine. What is answered holds no secret.
  - A request is made where there is no certificate, where it is good for less than C(renew_days), where its names are not
    those that are wanted, or where it is not signed by C(FOLDER/ca-cert.pem).
options:
  folder:
    description: Where they are. It is made, mode 0700, if it is not there.
    type: path
    required: true
  owner:
    description: Whose the folder and the keys are.
    type: str
    default: root
  certificates:
    description: What is wanted.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Of the files.
        type: str
        required: true
      common_name:
        description: Whom it names.
        type: str
        required: true
      names:
        description: Its alternative names, as in C(IP:10.0.0.1) and C(DNS:n1).
        type: list
        elements: str
        default: []
  renew_days:
    description: A certificate that ends sooner is made anew.
    type: int
    default: 60
  renew:
    description: Make all of them anew, with new keys.
    type: bool
    default: false
author:
  - Drover (@drover)
'''

EXAMPLES = r'''
- name: What this member of the store needs
  drover.cluster.certificate_requests:
    folder: /etc/drover-store/tls
    owner: etcd
    certificates:
      - {name: server, common_name: n1, names: ["IP:10.0.0.1", "DNS:n1"]}
'''

RETURN = r'''
requests:
  description: For the authority; each with C(name), C(names) and C(request), PKCS 10 in PEM.
  returned: always
  type: list
'''

import os
import shutil

from ansible.module_utils.basic import AnsibleModule


def openssl(module, *words):
    rc, out, err = module.run_command(['openssl'] + list(words))
    if rc:
        module.fail_json(msg='openssl %s: %s' % (words[0], err.strip()))
    return out


def holds(module, *words):
    return module.run_command(['openssl'] + list(words))[0] == 0


def names_of(module, path):
    """As they are asked for: IP:10.0.0.1, DNS:n1."""
    text = openssl(module, 'x509', '-in', path, '-noout', '-ext', 'subjectAltName')
    return sorted(n.strip().replace('IP Address:', 'IP:') for line in text.splitlines() if ':' in line
                  and 'Alternative Name' not in line for n in line.split(','))


def is_good(module, want):
    folder, days = module.params['folder'], module.params['renew_days']
    path, key = [os.path.join(folder, want['name'] + end) for end in ('-cert.pem', '-key.pem')]
    authority = os.path.join(folder, 'ca-cert.pem')
    return (not module.params['renew'] and all(os.path.exists(p) for p in (path, key, authority)) and
            holds(module, 'x509', '-in', path, '-noout', '-checkend', str(days * 86400)) and
            holds(module, 'verify', '-CAfile', authority, path) and
            names_of(module, path) == sorted(want['names']) and
            openssl(module, 'x509', '-in', path, '-noout', '-subject', '-nameopt', 'RFC2253').strip() ==
            'subject=CN=' + want['common_name'] and
            openssl(module, 'x509', '-in', path, '-noout', '-pubkey') == openssl(module, 'pkey', '-in', key, '-pubout'))


def own(module, path, mode):
    os.chmod(path, mode)
    shutil.chown(path, module.params['owner'])


def request_for(module, want):
    """The new key waits as NAME-next.pem until its certificate is there: what is in use stays whole."""
    key = os.path.join(module.params['folder'], want['name'] + '-next.pem')
    umask = os.umask(0o077)
    openssl(module, 'genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', key)
    os.umask(umask)
    own(module, key, 0o600)
    return openssl(module, 'req', '-new', '-key', key, '-subj', '/CN=' + want['common_name'])


def main():
    module = AnsibleModule(
        argument_spec={
            'folder': {'type': 'path', 'required': True},
            'owner': {'default': 'root'},
            'certificates': {'type': 'list', 'elements': 'dict', 'required': True, 'options': {
                'name': {'required': True}, 'common_name': {'required': True},
                'names': {'type': 'list', 'elements': 'str', 'default': []}}},
            'renew_days': {'type': 'int', 'default': 60},
            'renew': {'type': 'bool', 'default': False},
        },
        supports_check_mode=True)
    folder = module.params['folder']
    missing = [w for w in module.params['certificates'] if not is_good(module, w)]
    if missing and not module.check_mode:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        own(module, folder, 0o700)
    requests = [{'name': w['name'], 'names': w['names'], 'request': '' if module.check_mode else request_for(module, w)}
                for w in missing]
    module.exit_json(changed=bool(requests), requests=requests)


if __name__ == '__main__':
    main()
