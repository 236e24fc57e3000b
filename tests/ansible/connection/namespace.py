"""Ansible's way into a host of the test: the namespaces of a process."""
import os
import shutil
import subprocess

from ansible.errors import AnsibleError
from ansible.plugins.connection import ConnectionBase

DOCUMENTATION = '''
name: namespace
short_description: Run tasks in the namespaces of a process
description: ansible_host is the process' id.
author: Drover (@drover)
options:
  pid:
    description: Of the process.
    vars: [{name: ansible_host}]
'''


class Connection(ConnectionBase):
    transport = 'namespace'
    has_pipelining = True

    def _connect(self):
        self._connected = True
        return self

    def inside(self, words, **more):
        pid = self.get_option('pid')
        return subprocess.Popen(['nsenter', '--target', str(pid), '--mount', '--uts', '--net', '--pid', '--root', '--wd'] + words,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                env={'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'HOME': '/root', 'LC_ALL': 'C.UTF-8'}, **more)

    def exec_command(self, cmd, in_data=None, sudoable=True):
        process = self.inside(['/bin/sh', '-c', cmd], stdin=subprocess.PIPE)
        out, err = process.communicate(in_data)
        return process.returncode, out, err

    def put_file(self, in_path, out_path):
        with open(in_path, 'rb') as f:
            process = self.inside(['/bin/sh', '-c', 'umask 077; cat >"$0"', out_path], stdin=f)
            _, err = process.communicate()
        if process.returncode:
            raise AnsibleError('%s cannot be written: %s' % (out_path, err))

    def fetch_file(self, in_path, out_path):
        process = self.inside(['cat', in_path], stdin=subprocess.DEVNULL)
        with open(os.open(out_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 'wb') as f:
            shutil.copyfileobj(process.stdout, f)
        _, err = process.communicate()
        if process.returncode:
            raise AnsibleError('%s cannot be read: %s' % (in_path, err))

    def close(self):
        self._connected = False
