"""An initial RAM disk for test guests: busybox, the kernel's own virtio modules, and an init that obeys the console.

The archive is written here (newc format, Documentation/driver-api/early-userspace/buffer-format.rst of Linux), so that
it needs no root and is the same for the same input.
"""
import gzip
import os
import stat
import subprocess
import tempfile

MODULES = ['virtio_pci', 'virtio_blk', 'virtio_net', 'virtio_console', 'virtio-rng', 'virtio_balloon',
           'vmw_vsock_virtio_transport', 'acpiphp', 'af_packet', 'button']

# What every init begins with: the file systems, busybox's commands, the modules.
START = r'''#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /mnt /etc /bin /sbin /usr/bin /usr/sbin
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev 2>/dev/null
/bin/busybox --install -s
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/ TERM=dumb
for m in $(cat /modules); do modprobe $m 2>/dev/null; done
'''
# ... and one that talks on the console.
PREAMBLE = START + r'''exec </dev/console >/dev/console 2>&1
stty -echo 2>/dev/null
'''
# Every command is answered with a line that only it can cause.
OBEY = r'''while read -r line; do
    eval "$line"
    printf '\nguest: done %s\n' $?
done
poweroff -f
'''
INIT = PREAMBLE + 'echo "guest: ready"\n' + OBEY


class Archive:
    def __init__(self):
        self.parts, self.inode, self.bytes, self.directories = [], 0, 0, set()

    def _put(self, data):
        self.parts.append(data)
        self.bytes += len(data)

    def _pad(self):
        self._put(b'\0' * (-self.bytes % 4))

    def add(self, name, mode, data=b'', device=(0, 0)):
        self.inode += 1
        name = name.encode() + b'\0'
        fields = [self.inode, mode, 0, 0, 1, 0, len(data), 0, 0, device[0], device[1], len(name), 0]
        self._put(b'070701' + b''.join(b'%08X' % f for f in fields) + name)
        self._pad()
        self._put(data)
        self._pad()

    def add_directory(self, name):
        if name and name not in self.directories:
            self.add_directory(os.path.dirname(name))
            self.directories.add(name)
            self.add(name, stat.S_IFDIR | 0o755)

    def add_files(self, files):
        """Pairs (name in the archive, path here)."""
        for name, path in files:
            self.add_directory(os.path.dirname(name))
            with open(path, 'rb') as f:
                self.add(name, stat.S_IFREG | stat.S_IMODE(os.fstat(f.fileno()).st_mode), f.read())

    def end(self):
        self.add('TRAILER!!!', 0)
        self._put(b'\0' * (-self.bytes % 512))
        return b''.join(self.parts)


def module_files(modules_dir, wanted):
    """The modules wanted and what they need, by modules.dep of a directory lib/modules/VERSION."""
    version = os.path.basename(modules_dir)
    base = os.path.dirname(os.path.dirname(os.path.dirname(modules_dir)))
    dep = os.path.join(modules_dir, 'modules.dep')
    if not os.path.exists(dep):
        subprocess.run(['depmod', '-b', base, version], check=True)
    needs = {}
    with open(dep) as f:
        for line in f:
            path, _, rest = line.partition(':')
            needs[path] = rest.split()
    by_name = {os.path.basename(p).split('.')[0].replace('-', '_'): p for p in needs}
    files = []
    for name in wanted:
        path = by_name.get(name.replace('-', '_'))
        if path:
            files += [p for p in needs[path] + [path] if p not in files]
    return files


def build(output, modules_dir=None, files=(), init=INIT, modules=MODULES):
    """files: pairs (name in the guest, path here). Written whole or not at all."""
    a = Archive()
    for d in ('bin', 'dev'):
        a.add_directory(d)
    a.add('dev/console', stat.S_IFCHR | 0o600, device=(5, 1))
    with open('/bin/busybox', 'rb') as f:
        a.add('bin/busybox', stat.S_IFREG | 0o755, f.read())
    a.add('init', stat.S_IFREG | 0o755, init.encode())
    a.add('modules', stat.S_IFREG | 0o644, ' '.join(modules).encode() if modules_dir else b'')
    if modules_dir:
        version = os.path.basename(modules_dir)
        wanted = ['modules.dep', 'modules.alias', 'modules.symbols'] + module_files(modules_dir, modules)
        a.add_files(('lib/modules/%s/%s' % (version, path), os.path.join(modules_dir, path)) for path in wanted)
    a.add_files(files)
    with tempfile.NamedTemporaryFile(dir=os.path.dirname(output) or '.', delete=False) as f:
        f.write(gzip.compress(a.end(), 1, mtime=0))
    os.rename(f.name, output)
