#!/usr/bin/python3
"""Pools that are no folders, which need a kernel with device mapper: a volume group and a whole device, in the lab
(../hv/lab.py). Volumes are made, filled from an image, grown, encrypted and deleted by droverd there, and a guest runs
under KVM from one."""
import os
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'hv'))
import initrd  # noqa: E402
import kernels  # noqa: E402
from guest import BUILD  # noqa: E402
from lab import Lab  # noqa: E402

MIB = 1 << 20
PROGRAMS = [os.path.join(BUILD, name) for name in ('drover', 'droverd', 'drover-img', 'drover-nbd', 'drover-import', 'drover-guest')]
LVM = ['/sbin/' + name for name in ('lvm', 'lvcreate', 'lvextend', 'lvremove')]
GUEST = initrd.PREAMBLE + '''echo "written under KVM" | dd of=/dev/vda conv=notrunc,fsync 2>/dev/null
poweroff -f
'''
SCRIPT = r'''
export DM_DISABLE_UDEV=1 PATH=$PATH:@build@ DROVER_API=unix:/run/drover/api.sock
export ASAN_OPTIONS=detect_leaks=0
fail() { echo "FAILED: $*"; tail -5 /tmp/droverd.log; exit 1; }
is() { [ "$2" = "$3" ] || fail "$1: $2, not $3"; }
modprobe dm_mod
printf 'root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n' >/etc/passwd
printf 'root:x:0:\nnogroup:x:65534:\n' >/etc/group
mkdir -p /etc/lvm /run/lock/lvm /run/lvm /var/lib/drover /run/drover /srv/images
printf 'activation { udev_sync=0 udev_rules=0 }\ndevices { obtain_device_list_from_udev=0 }\n' >/etc/lvm/lvm.conf
# a machine that locked up was started again, with the disks as they were
dd if=/dev/zero of=/dev/vda bs=1M count=4 conv=notrunc,fsync 2>/dev/null
lvm pvcreate -q /dev/vda >/dev/null && lvm vgcreate -q group /dev/vda >/dev/null || fail "no volume group"
drover cluster init lab --node n1 --address 127.0.0.1 --listen none || fail init
droverd >/tmp/droverd.log 2>&1 &
agent=$!
n=0; until drover cluster status >/dev/null 2>&1; do n=$((n+1)); [ $n -lt 300 ] || fail "droverd does not answer"; sleep 1; done
drover pool create files --node n1 --path /srv/images >/dev/null || fail "pool files"
drover pool create group --node n1 --driver lvm --path /dev/group >/dev/null || fail "pool group"
drover pool create disk --node n1 --driver block --path /dev/vdb >/dev/null || fail "pool disk"
drover image import image --pool files --source @image@ --wait >/dev/null || fail image
first() { head -c 1048576 "$1" | md5sum | cut -d' ' -f1; }
image=$(first @image@)

drover volume create one --size 16M --pool group --image image --wait >/dev/null || fail "volume one"
path=$(drover volume show one --json | sed -n 's/.*"path": "\(.*\)".*/\1/p')
is "a logical volume from an image" $(first $path) $image
is "its size" $(blockdev --getsize64 $path) 16777216
drover volume resize one --size 24M --wait >/dev/null || fail "resize one"
is "its size now" $(blockdev --getsize64 $path) 25165824

kill -9 $agent; wait $agent 2>/dev/null
droverd >>/tmp/droverd.log 2>&1 &
agent=$!
n=0; until drover cluster status >/dev/null 2>&1; do n=$((n+1)); [ $n -lt 300 ] || fail "droverd does not answer again"; sleep 1; done
is "what it began as, for another agent" $(first $path) $image

drover volume create two --size 8M --pool group --image image --encrypt --wait >/dev/null || fail "volume two"
path2=$(drover volume show two --json | sed -n 's/.*"path": "\(.*\)".*/\1/p')
is "an encrypted one, header and all" $(blockdev --getsize64 $path2) 25165824
is "its first bytes" "$(head -c 4 $path2)" LUKS
drover volume key two --json | sed -n 's/.*"passphrase": "\(.*\)".*/\1/p' | tr -d '\n' >/tmp/key
drover-img copy --progress=never '[{"driver":"luks","key":{"file":"/tmp/key"}},{"driver":"raw","file":"'$path2'"}]' /tmp/plain >/dev/null || fail copy
is "what is in it" $(first /tmp/plain) $image

# a guest under KVM, whose disk it is; it writes, and switches itself off
drover image import kernel --pool files --source @kernel@ --wait >/dev/null || fail kernel
drover image import ramdisk --pool files --source @ramdisk@ --wait >/dev/null || fail ramdisk
drover guest create g --memory 256M --disk one --kernel kernel --initrd ramdisk --engine kvm --cmdline "console=ttyS0 quiet panic=-1" \
    --start --wait >/dev/null || fail "the guest"
n=0; until drover guest list | grep -q " stopped "; do n=$((n+1)); [ $n -lt 300 ] || fail "the guest: $(drover guest list)"; sleep 1; done
is "what it wrote" "$(head -c 17 $path)" "written under KVM"
drover guest delete g --wait >/dev/null || fail "delete g"

# volumes move into the group and out of it, encrypted or not, where their size is one that a group has
drover volume create odd --size 5M --pool files --wait >/dev/null || fail "volume odd"
drover volume move odd --to n1:group --dry-run >/dev/null 2>/tmp/why && fail "a volume of 5 MiB in a group"
grep -q "make it a multiple of 4M" /tmp/why || fail "the reason: $(cat /tmp/why)"
drover volume move odd --to n1:disk --dry-run >/dev/null 2>/tmp/why && fail "a volume that would become a device"
grep -q "would change the size of the disk" /tmp/why || fail "the reason: $(cat /tmp/why)"
for name in one two; do
    for pool in files group; do
        drover volume move $name --to n1:$pool --wait >/dev/null 2>/tmp/why || fail "$name to $pool: $(cat /tmp/why); $(drover volume-move list)"
    done
    n=0; until [ $(lvm lvs --noheadings group | wc -l) = 2 ]; do n=$((n+1)); [ $n -lt 60 ] || fail "old bytes of $name: $(lvm lvs)"; sleep 1; done
done
path=$(drover volume show one --json | sed -n 's/.*"path": "\(.*\)".*/\1/p')
is "what a guest wrote before it moved" "$(head -c 17 $path)" "written under KVM"
is "its size after that" $(blockdev --getsize64 $path) 25165824
path2=$(drover volume show two --json | sed -n 's/.*"path": "\(.*\)".*/\1/p')
drover-img copy --progress=never '[{"driver":"luks","key":{"file":"/tmp/key"}},{"driver":"raw","file":"'$path2'"}]' /tmp/plain >/dev/null || fail "copy after the move"
is "what is in the encrypted one after that" $(first /tmp/plain) $image
drover volume delete odd --wait >/dev/null || fail "delete odd"

drover volume create three --size 1G --pool group --wait >/dev/null 2>/tmp/why && fail "a volume larger than its group"
grep -q "insufficient free space" /tmp/why || fail "the reason: $(cat /tmp/why)"
drover volume delete three --wait >/dev/null || fail "delete three"

drover volume create rows --size 8M --room 64M --layout replica:1 --pools group --wait >/dev/null 2>/tmp/why || fail "volume rows: $(cat /tmp/why)"
member=/dev/group/drover-$(drover volume show rows --json | sed -n '/"members"/,/]/s/.*"id": "\(.*\)".*/\1/p')
before=$(blockdev --getsize64 $member)
drover volume resize rows --size 16M --wait >/dev/null 2>/tmp/why || fail "resize rows: $(cat /tmp/why)"
drover volume show rows --json | grep -q '"bytes": 16777216' || fail "a volume over a logical volume has not grown"
[ $(blockdev --getsize64 $member) -ge $((before + 8388608)) ] || fail "the member has not grown: $before, $(blockdev --getsize64 $member)"
drover volume resize rows --size 60M >/dev/null 2>/tmp/why || fail "resize rows again: $(cat /tmp/why)"
n=0; until drover volume show rows --json | grep -q '"reason": "member 0 .*nsufficient free space'; do n=$((n+1)); [ $n -lt 120 ] || fail "no reason: $(drover volume show rows --json)"; sleep 1; done
drover volume delete rows --wait >/dev/null || fail "delete rows"

drover volume create whole --size 16M --pool disk --image image --wait >/dev/null || fail "volume whole"
is "a whole device from an image" $(first /dev/vdb) $image
drover volume resize whole --size 1G --wait >/dev/null 2>&1 && fail "a device that grows"
echo "a guest's own" | dd of=/dev/vdb conv=notrunc,fsync 2>/dev/null
kill -9 $agent; wait $agent 2>/dev/null
droverd >>/tmp/droverd.log 2>&1 &
agent=$!
n=0; until drover cluster status >/dev/null 2>&1; do n=$((n+1)); [ $n -lt 300 ] || fail "droverd does not answer"; sleep 1; done
n=0; until drover volume list | grep "^whole" | grep -q "does not grow"; do n=$((n+1)); [ $n -lt 60 ] || break; sleep 1; done
is "what it holds, though it cannot grow" "$(head -c 13 /dev/vdb)" "a guest's own"
drover volume create second --size 16M --pool disk >/dev/null 2>/tmp/why && fail "a second volume on one device"
grep -q "is one device, and volume whole has it" /tmp/why || fail "the reason: $(cat /tmp/why)"


for name in one two whole; do drover volume delete $name --wait >/dev/null || fail "delete $name"; done
is "logical volumes left" "$(lvm lvs --noheadings group | wc -l)" 0
kill $agent; wait $agent || fail "droverd ended with $?"
echo "all as it should be"
'''


class Pools(unittest.TestCase):
    def test_pools(self):
        with tempfile.TemporaryDirectory(prefix='drover-lvm-') as directory:
            paths = [os.path.join(directory, name) for name in ('image', 'group', 'device')]
            with open(paths[0], 'wb') as f:
                f.write(os.urandom(MIB))
                f.truncate(4 * MIB)
            for path, mib in ((paths[1], 96), (paths[2], 32)):
                with open(path, 'wb') as f:
                    f.truncate(mib * MIB)
            ramdisk = os.path.join(directory, 'ramdisk.gz')
            initrd.build(ramdisk, kernels.modules('cloud'), [], GUEST)
            files = {'@image@': paths[0], '@kernel@': kernels.vmlinuz('cloud'), '@ramdisk@': ramdisk}
            script = SCRIPT.replace('@build@', BUILD)
            for word, path in files.items():
                script = script.replace(word, path)
            code, text = Lab([*PROGRAMS, *LVM, *files.values()], script, disks=paths[1:]).run(400)
            self.assertEqual(code, 0, text[-3000:])
            self.assertIn('all as it should be', text)


if __name__ == '__main__':
    unittest.main(verbosity=2)
