#!/usr/bin/python3
"""A Debian 12 disk for guests: an MBR with GRUB, one ext4 file system with Debian's cloud kernel, systemd and an SSH server.
It boots by a BIOS from its first virtio disk, and takes its name, addresses and keys from its seed (a small service of its
own does that; --cloud-init installs cloud-init instead, which knows more and takes longer). On the serial console root logs
in without a password: whoever may use the console has the machine anyway.

usage: debian_image.py [--include PACKAGE,...] [--size MIB] [--cloud-init] [--mirror URL] FILE

Made with mmdebstrap, mke2fs and grub-mkimage, without loop devices. Needs root and a mirror; takes one to two minutes."""
import argparse
import glob
import os
import re
import struct
import subprocess
import sys
import tempfile

PACKAGES = ['linux-image-cloud-amd64', 'initramfs-tools', 'busybox', 'zstd', 'systemd-sysv', 'udev', 'kmod', 'iproute2',
            'openssh-server']
EXCLUDED = ['/usr/share/man/*', '/usr/share/doc/*', '/usr/share/locale/*', '/usr/share/info/*', '/usr/share/lintian/*']
MODULES = ['virtio_pci', 'virtio_blk', 'ext4', 'crc32c']  # of its initial RAM disk

SECTOR, MIB = 512, 1 << 20
PARTITION_AT, INODES = MIB, 65536
LABEL = 'root'

# What wakes up by itself would be load that nobody asked for.
QUIET = ['apt-daily.timer', 'apt-daily-upgrade.timer', 'dpkg-db-backup.timer', 'e2scrub_all.timer', 'e2scrub_reap.service',
         'fstrim.timer', 'motd-news.timer', 'systemd-tmpfiles-clean.timer']

GRUB_MODULES = ['biosdisk', 'part_msdos', 'ext2', 'normal', 'linux', 'serial', 'terminal', 'echo', 'test', 'ls', 'cat',
                'reboot', 'halt']
GRUB_DIRECTORY = '/usr/lib/grub/i386-pc'
GRUB_CONFIG = '''serial --unit=0 --speed=115200
terminal_input serial
terminal_output serial
set timeout=1
menuentry 'Debian' {
    linux %(kernel)s root=LABEL=%(label)s ro console=ttyS0 quiet
    initrd %(initrd)s
}
'''

# The seed is JSON (which is YAML), written by the agent; see docs/networks.md.
SEED = r'''#!/bin/sh
# Takes name, addresses and keys from the disk labelled CIDATA.
seed=/run/drover-seed
mkdir -p $seed
mount -t iso9660 -o ro /dev/disk/by-label/CIDATA $seed || exit 0
one() { tr -d '\n' <"$seed/$1" | sed -n "s/.*\"$2\": *\"\([^\"]*\)\".*/\1/p"; }
name=$(one meta-data local-hostname)
[ -z "$name" ] || { echo "$name" >/etc/hostname; hostname "$name"; }
mkdir -p -m 700 /root/.ssh
tr ',[]' '\n' <$seed/user-data | sed -n 's/^ *"\(\(ssh\|ecdsa\|sk\)-[^"]*\)".*/\1/p' | sed 's|\\/|/|g' >/root/.ssh/authorized_keys
# a card: its MAC, then what follows up to the next one
(tr -d '\n' <$seed/network-config; echo) | sed 's/"macaddress"/\n&/g' | while read -r card; do
    mac=$(echo "$card" | sed -n 's/^"macaddress": *"\([^"]*\)".*/\1/p')
    device=$(grep -l "^$mac$" /sys/class/net/*/address 2>/dev/null | cut -d/ -f5)
    [ -n "$mac" ] && [ -n "$device" ] || continue
    address=$(echo "$card" | sed -n 's/.*"addresses": *\[ *"\([^"]*\/[0-9]*\)".*/\1/p')
    gateway=$(echo "$card" | sed -n 's/.*"via": *"\([^"]*\)".*/\1/p')
    mtu=$(echo "$card" | sed -n 's/.*"mtu": *\([0-9]*\).*/\1/p')
    [ -z "$mtu" ] || ip link set "$device" mtu "$mtu"
    ip link set "$device" up
    [ -z "$address" ] || ip address add "$address" dev "$device"
    [ -z "$gateway" ] || ip route replace default via "$gateway"
    server=$(echo "$card" | sed -n 's/.*"nameservers": *{ *"addresses": *\[ *"\([^"]*\)".*/\1/p')
    [ -z "$server" ] || echo "nameserver $server" >/etc/resolv.conf
done
umount $seed
'''
SEED_UNIT = '''[Unit]
Description=Name, addresses and keys from the guest's seed
DefaultDependencies=no
After=local-fs.target systemd-udev-settle.service
Wants=systemd-udev-settle.service network.target
Before=network.target ssh.service

[Service]
Type=oneshot
ExecStart=/usr/local/sbin/drover-seed
RemainAfterExit=yes

[Install]
WantedBy=multi-user.target
'''


def run(*command, **more):
    return subprocess.run(command, check=True, stdin=subprocess.DEVNULL, **more)


# ---- the file system ----

def write(root, path, text, mode=0o644):
    whole = os.path.join(root, path)
    os.makedirs(os.path.dirname(whole), exist_ok=True)
    with open(whole, 'w') as f:
        f.write(text)
    os.chmod(whole, mode)


def bootstrap(root, packages, excluded, mirror):
    hook = ('mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/usr/share/initramfs-tools/modules.d" && '
            'printf "MODULES=list\\nCOMPRESS=zstd\\n" > "$1/etc/initramfs-tools/conf.d/drover" && '
            'printf "%s\\n" > "$1/usr/share/initramfs-tools/modules.d/drover"' % '\\n'.join(MODULES))
    run('mmdebstrap', '--mode=root', '--format=directory', '--variant=minbase', '--quiet', '--include=' + ','.join(packages),
        '--essential-hook=' + hook, '--dpkgopt=force-unsafe-io', *('--dpkgopt=path-exclude=' + path for path in excluded),
        'bookworm', root, *([mirror] if mirror else []), stdout=sys.stderr)


def settle(root, cloud_init):
    """From a directory with packages to a system that boots to a login."""
    def newest(name):
        return '/boot/' + os.path.basename(sorted(glob.glob(os.path.join(root, 'boot', name + '-*')))[-1])
    run('chroot', root, 'passwd', '-d', 'root', stdout=sys.stderr)
    write(root, 'etc/hostname', 'debian\n')
    write(root, 'etc/hosts', '127.0.0.1 localhost debian\n')
    write(root, 'etc/fstab', 'LABEL=%s / ext4 noatime,errors=remount-ro 0 0\n' % LABEL)
    write(root, 'etc/machine-id', '')  # made at each first boot
    for unit in QUIET:
        path = os.path.join(root, 'etc/systemd/system', unit)
        if not os.path.lexists(path):
            os.symlink('/dev/null', path)
    if cloud_init:  # which writes .network files and leaves it to others to read them
        write(root, 'etc/cloud/cloud.cfg.d/90_drover.cfg', 'datasource_list: [NoCloud, None]\nlocale: false\n')
        run('chroot', root, 'systemctl', 'enable', '--quiet', 'systemd-networkd.service', stdout=sys.stderr)
    else:
        write(root, 'usr/local/sbin/drover-seed', SEED, 0o755)
        write(root, 'etc/systemd/system/drover-seed.service', SEED_UNIT)
        run('chroot', root, 'systemctl', 'enable', '--quiet', 'drover-seed.service', stdout=sys.stderr)
    names = {'kernel': newest('vmlinuz'), 'initrd': newest('initrd.img'), 'label': LABEL}
    write(root, 'boot/grub/grub.cfg', GRUB_CONFIG % names)


# ---- the disk ----

def boot_record(sectors):
    """GRUB's first sector with a partition table of one."""
    with open(os.path.join(GRUB_DIRECTORY, 'boot.img'), 'rb') as f:
        code = bytearray(f.read(SECTOR))
    first = PARTITION_AT // SECTOR
    entry = struct.pack('<B3sB3sII', 0x80, b'\xfe\xff\xff', 0x83, b'\xfe\xff\xff', first, sectors - first)
    code[440:SECTOR] = struct.pack('<IH', 0x64726f76, 0) + entry + bytes(48) + b'\x55\xaa'
    return bytes(code)


def install_boot_loader(image, size, directory):
    """boot.img loads sector 1, which is the first of core.img and loads the sectors behind it: both say so already."""
    core = os.path.join(directory, 'core.img')
    run('grub-mkimage', '-O', 'i386-pc', '-d', GRUB_DIRECTORY, '-p', '(,msdos1)/boot/grub', '-o', core, *GRUB_MODULES)
    with open(core, 'rb') as f:
        data = f.read()
    if len(data) > PARTITION_AT - SECTOR:
        raise RuntimeError('GRUB has %d bytes and does not fit before the partition' % len(data))
    with open(image, 'r+b') as f:
        f.write(boot_record(size // SECTOR) + data)


def memory_available():
    with open('/proc/meminfo') as f:
        return int(re.search(r'^MemAvailable: +(\d+) kB', f.read(), re.M).group(1)) << 10


def fill(directory, root, image, a):
    bootstrap(root, PACKAGES + a.include + (['cloud-init'] if a.cloud_init else []), EXCLUDED + a.exclude, a.mirror)
    settle(root, a.cloud_init)
    size = a.size * MIB
    with open(image, 'wb') as f:
        f.truncate(size)
    run('mke2fs', '-q', '-t', 'ext4', '-L', LABEL, '-d', root, '-N', str(INODES), '-m', '0', '-J', 'size=8', '-E',
        'offset=%d,lazy_itable_init=0,lazy_journal_init=0' % PARTITION_AT, image, '%dk' % ((size - PARTITION_AT) >> 10),
        stdout=sys.stderr)
    install_boot_loader(image, size, directory)


def build(path, a):
    """Whole or not at all. The tree is built in memory if there is plenty, since dpkg waits for disks most of its time;
    the mount is in a namespace of our own (see main) and goes with us."""
    with tempfile.TemporaryDirectory(dir=os.path.dirname(path), prefix='disk-') as directory:
        os.chmod(directory, 0o755)  # apt's own user reads below it
        tree, image = os.path.join(directory, 'tree'), os.path.join(directory, 'image')
        os.mkdir(tree, 0o755)
        mounted = memory_available() > 2 * a.size * MIB
        if mounted:
            run('mount', '-t', 'tmpfs', '-o', 'mode=755,size=%dm' % a.size, 'tmpfs', tree)
        try:
            fill(directory, os.path.join(tree, 'root'), image, a)
        finally:
            if mounted:
                run('umount', tree)
        os.rename(image, path)


def words(text):
    return [word for word in text.split(',') if word]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--include', type=words, default=[], metavar='PACKAGE,...')
    parser.add_argument('--exclude', type=words, default=[], metavar='PATH,...', help='paths that are not installed')
    parser.add_argument('--size', type=int, default=2048, metavar='MIB')
    parser.add_argument('--cloud-init', action='store_true')
    parser.add_argument('--mirror')
    parser.add_argument('file')
    a = parser.parse_args()
    if os.geteuid():
        sys.exit('debian_image.py: needs root')
    if not os.environ.get('DROVER_UNSHARED'):
        os.execvpe('unshare', ['unshare', '--mount', sys.executable, *sys.argv], {**os.environ, 'DROVER_UNSHARED': '1'})
    build(os.path.abspath(a.file), a)


if __name__ == '__main__':
    main()
