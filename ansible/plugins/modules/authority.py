#!/usr/bin/python3
# Apache License 2.0, see LICENSE
"""The store's certificate authority: it is made, it signs, it refuses."""
from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r'''
module: authority
short_description: The certificate authority of a Drover cluster's store
version_added: "0.1.0"
description:
  - Runs where the authority's key is, which never leaves that machine. Who reads the key is the store.
  - Makes the authority if there is none, signs requests, and keeps the list of certificates that are refused.
  - The list is good for as long as the authority, because etcd looks at its entries only.
options:
  folder:
    description: Where the authority is.
    type: path
    required: true
  common_name:
    description: Its name, when it is made.
    type: str
    default: Drover store
  days:
    description: How long it is good, when it is made.
    type: int
    default: 3650
  requests:
    description: What M(drover.cluster.certificate_requests) answered.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Of the files.
        type: str
        required: true
      names:
        description: Alternative names of the certificate.
        type: list
        elements: str
        default: []
      request:
        description: PKCS 10, PEM. Empty in check mode, and not signed then.
        type: str
        required: true
  certificate_days:
    description: How long what it signs is good.
    type: int
    default: 365
  revoke:
    description: Common names whose certificates are refused from now on, all that were ever signed.
    type: list
    elements: str
    default: []
author:
  - Drover (@drover)
'''

EXAMPLES = r'''
- name: Sign what is asked for
  drover.cluster.authority:
    folder: /etc/drover-store/ca
    requests: "{{ asked.requests }}"
  delegate_to: n1
'''

RETURN = r'''
authority:
  description: The authority's certificate, PEM.
  returned: always
  type: str
revoked:
  description: The list of refused certificates, PEM.
  returned: always
  type: str
certificates:
  description: What was signed; each with C(name) and C(certificate).
  returned: always
  type: list
'''

import fcntl
import os
import tempfile

from ansible.module_utils.basic import AnsibleModule

CONFIG = '''[ca]
default_ca = store
[store]
database = index
new_certs_dir = signed
serial = serial
crlnumber = crlnumber
certificate = ca-cert.pem
private_key = ca-key.pem
default_md = sha256
default_days = 365
default_crl_days = %(days)d
unique_subject = no
policy = anybody
[anybody]
commonName = supplied
'''

EXTENSIONS = '''basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
authorityKeyIdentifier = keyid
'''


def openssl(module, *words):
    rc, out, err = module.run_command(['openssl'] + list(words), cwd=module.params['folder'])
    if rc:
        module.fail_json(msg='openssl %s: %s' % (words[0], err.strip()))
    return out


def read(folder, name):
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        return ''
    with open(path, encoding='ascii') as f:
        return f.read()


def write(folder, name, text):
    with open(os.path.join(folder, name), 'w', encoding='ascii') as f:
        f.write(text)


def make(module):
    folder = module.params['folder']
    os.makedirs(os.path.join(folder, 'signed'), mode=0o700, exist_ok=True)
    os.chmod(folder, 0o700)
    write(folder, 'index', '')
    write(folder, 'serial', '01\n')
    write(folder, 'crlnumber', '01\n')
    write(folder, 'openssl.cnf', CONFIG % module.params)
    openssl(module, 'genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', 'ca-key.pem')
    openssl(module, 'req', '-new', '-x509', '-key', 'ca-key.pem', '-days', str(module.params['days']), '-sha256', '-subj',
            '/CN=' + module.params['common_name'], '-addext', 'keyUsage=critical,keyCertSign,cRLSign',
            '-out', 'ca-cert.new')
    os.rename(os.path.join(folder, 'ca-cert.new'), os.path.join(folder, 'ca-cert.pem'))


def sign(module, wanted):
    with tempfile.TemporaryDirectory() as scratch:
        write(scratch, 'request', wanted['request'])
        names = wanted['names']
        write(scratch, 'extensions', EXTENSIONS + ('subjectAltName = %s\n' % ', '.join(names) if names else ''))
        openssl(module, 'ca', '-config', 'openssl.cnf', '-batch', '-notext', '-days', str(module.params['certificate_days']),
                '-extfile', os.path.join(scratch, 'extensions'), '-in', os.path.join(scratch, 'request'),
                '-out', os.path.join(scratch, 'certificate'))
        return {'name': wanted['name'], 'certificate': read(scratch, 'certificate')}


def to_revoke(module):
    """Serial numbers of what is good and named so: a line of the index is STATE, end, revoked, serial, file, subject."""
    names = ['/CN=' + n for n in module.params['revoke']]
    lines = [line.split('\t') for line in read(module.params['folder'], 'index').splitlines()]
    return [fields[3] for fields in lines if fields[0] == 'V' and fields[5] in names]


def main():
    module = AnsibleModule(
        argument_spec={
            'folder': {'type': 'path', 'required': True},
            'common_name': {'default': 'Drover store'},
            'days': {'type': 'int', 'default': 3650},
            'requests': {'type': 'list', 'elements': 'dict', 'default': [], 'options': {
                'name': {'required': True}, 'names': {'type': 'list', 'elements': 'str', 'default': []},
                'request': {'required': True}}},
            'certificate_days': {'type': 'int', 'default': 365},
            'revoke': {'type': 'list', 'elements': 'str', 'default': []},
        },
        supports_check_mode=True)
    folder = module.params['folder']
    certificate = os.path.join(folder, 'ca-cert.pem')
    if module.check_mode:
        missing = not os.path.exists(certificate)
        module.exit_json(changed=missing or bool(module.params['requests']) or bool(not missing and to_revoke(module)),
                         authority=read(folder, 'ca-cert.pem'), revoked=read(folder, 'ca-crl.pem'), certificates=[])
    os.umask(0o077)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    with open(os.path.join(folder, 'lock'), 'w', encoding='ascii') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several machines may ask at once
        missing = not os.path.exists(certificate)
        if missing:
            make(module)
        signed = [sign(module, w) for w in module.params['requests']]
        revoked = to_revoke(module)
        for serial in revoked:
            openssl(module, 'ca', '-config', 'openssl.cnf', '-revoke', os.path.join('signed', serial + '.pem'))
        if revoked or not read(folder, 'ca-crl.pem'):
            openssl(module, 'ca', '-config', 'openssl.cnf', '-gencrl', '-out', 'ca-crl.pem')
    module.exit_json(changed=bool(missing or signed or revoked), authority=read(folder, 'ca-cert.pem'),
                     revoked=read(folder, 'ca-crl.pem'), certificates=signed)


if __name__ == '__main__':
    main()
