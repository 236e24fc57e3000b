#!/usr/bin/python3
"""The Debian 12 disk of the tests: node/debian_image.py's, with gcc, fio and iperf3. On ttyS0 root logs in without a password.

usage: disk_image.py        prints where the image is; makes it first if there is none of this recipe

The image is kept below build/hv-cache under the name of its recipe: what is written here and there, and the versions of the
packages named here. Needs root and a mirror."""
import fcntl
import glob
import hashlib
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
CACHE = os.environ.get('DROVER_HV_CACHE', os.path.join(HERE, '..', '..', 'build', 'hv-cache'))

PARTITION_AT = 1 << 20  # of its file system, bytes
MAKER = os.path.join(HERE, '..', '..', 'node', 'debian_image.py')
PACKAGES = ['linux-image-cloud-amd64', 'xz-utils', 'gcc', 'libc6-dev', 'fio', 'iperf3']
# Not what the image is for, and a fifth of it.
EXCLUDED = ['/usr/share/fio/*', '/usr/lib/gcc/*/lto1', '/usr/lib/gcc/*/lib?san*', '/usr/lib/x86_64-linux-gnu/lib?san.so*']


def run(*command, **more):
    return subprocess.run(command, check=True, stdin=subprocess.DEVNULL, **more)


def versions():
    """What the mirror would install for PACKAGES today, or '' where package lists are missing."""
    done = run('apt-cache', 'policy', *PACKAGES, stdout=subprocess.PIPE, universal_newlines=True, env={**os.environ, 'LC_ALL': 'C'})
    found = re.findall(r'^(\S+):$|^  Candidate: (\S+)$', done.stdout, re.M)
    text = ' '.join(a or b for a, b in found)
    return '' if '(none)' in text or text.count(' ') + 1 != 2 * len(PACKAGES) else text


def recipe():
    known = versions()
    if not known:
        return None
    digest = hashlib.sha256(known.encode())
    for name in (__file__, MAKER):
        with open(name, 'rb') as f:
            digest.update(f.read())
    return digest.hexdigest()[:16]


def build(path):
    run('/usr/bin/python3', MAKER, '--size', '2048', '--include', ','.join(PACKAGES[1:]), '--exclude', ','.join(EXCLUDED), path,
        stdout=sys.stderr)


def disk_image():
    """The image's path. It is shared by all tests: copy it before a guest writes to it."""
    cache = os.path.abspath(CACHE)
    os.makedirs(cache, exist_ok=True)
    name = recipe()
    with open(os.path.join(cache, 'disk.lock'), 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        present = sorted(glob.glob(os.path.join(cache, 'debian-*.img')), key=os.path.getmtime)
        if name is None:  # no package lists: what was made last will do
            if not present:
                sys.exit('disk_image.py: no package lists and no image: run apt-get update')
            return present[-1]
        path = os.path.join(cache, 'debian-%s.img' % name)
        if path not in present:
            build(path)
            for old in present:
                os.unlink(old)
    return path


def copy(to):
    """A copy of the image that may be written to; sparse as it is."""
    run('cp', '--sparse=always', '--reflink=auto', disk_image(), to)
    return to


if __name__ == '__main__':
    print(disk_image())
