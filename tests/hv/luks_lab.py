#!/usr/bin/python3
"""LUKS volumes of ours under the kernel's dm-crypt, and its under our driver, in the lab (lab.py).

Each volume is made here and filled by us; in the lab cryptsetup opens it, the data is compared, changed through
/dev/mapper, and read back by drover-img. Then cryptsetup makes one of the same kind, and we write and it reads."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from guest import BUILD  # noqa: E402
from lab import Lab  # noqa: E402

IMG = os.path.join(BUILD, 'drover-img')
UNWINDER = '/lib/x86_64-linux-gnu/libgcc_s.so.1'  # cryptsetup's Argon2 ends threads with it
MIB = 1 << 20
KINDS = {'luks1': ['--type=luks1', '--kdf=pbkdf2', '--iterations=1000'],
         'luks2-512': ['--sector-size=512', '--kdf=argon2id', '--iterations=4', '--memory=1M'],
         'luks2-1024': ['--sector-size=1024', '--kdf=pbkdf2', '--iterations=1000', '--key-bits=256'],
         'luks2-4096': ['--sector-size=4096', '--kdf=argon2i', '--iterations=4', '--memory=1M']}
THEIRS = {'luks1': '--type luks1', 'luks2-512': '--type luks2 --sector-size 512',
          'luks2-1024': '--type luks2 --sector-size 1024 --key-size 256', 'luks2-4096': '--type luks2 --sector-size 4096'}
SCRIPT = r'''
export DM_DISABLE_UDEV=1
mkdir -p /run/cryptsetup
sum() { head -c 2097152 | md5sum | cut -d' ' -f1; }
fail() { echo "FAILED $kind: $*"; exit 1; }
stack() { echo "[{\"driver\":\"luks\",\"key\":{\"file\":\"@key@\"}},{\"driver\":\"raw\",\"file\":\"$1\"}]"; }
is() { [ "$2" = "$3" ] || fail "$1: $2, not $3"; }
map() { loop=$(losetup -f) && losetup $loop $1 && cryptsetup open --key-file @key@ $loop lab || fail "cryptsetup open $1"; }
unmap() { cryptsetup close lab && losetup -d $loop || fail "close"; }
data=$(sum <@data@) other=$(sum <@other@)
for image in @images@; do
    kind=$(basename $image)
    map $image
    is "their eyes on ours" "$(sum </dev/mapper/lab)" $data
    dd if=@other@ of=/dev/mapper/lab bs=64k conv=fsync 2>/dev/null || fail dd
    unmap
    rm -f /tmp/back
    @img@ copy --progress=never "$(stack $image)" /tmp/back >/dev/null || fail "reading what they wrote"
    is "our eyes on theirs" "$(sum </tmp/back)" $other
done
while read kind options; do
    truncate -s 24M /tmp/theirs
    cryptsetup luksFormat -q --key-file @key@ --pbkdf pbkdf2 --pbkdf-force-iterations 1000 $options /tmp/theirs || fail luksFormat
    @img@ copy --progress=never @data@ "$(stack /tmp/theirs)" >/dev/null || fail "writing theirs"
    map /tmp/theirs
    is "what we wrote to theirs" "$(sum </dev/mapper/lab)" $data
    unmap
    rm /tmp/theirs
done <@kinds@
echo "all the same"
'''


class Luks(unittest.TestCase):
    def test_dm_crypt(self):
        with tempfile.TemporaryDirectory(prefix='drover-luks-') as directory:
            def path(name):
                return os.path.join(directory, name)

            def write(name, data):
                with open(path(name), 'wb') as f:
                    f.write(data)
                return path(name)

            key = write('key', b'a passphrase\n of two lines')
            data, other = write('data', os.urandom(2 * MIB)), write('other', os.urandom(2 * MIB))
            kinds = write('kinds', ''.join('%s %s\n' % k for k in THEIRS.items()).encode())
            images = []
            for kind, options in KINDS.items():
                image = path(kind)
                subprocess.run([IMG, 'luks', 'create', image, '--size=%d' % (2 * MIB), '--offset=2M', '--key-file', key, *options],
                               check=True, stdout=subprocess.DEVNULL)
                subprocess.run([IMG, 'copy', data, json.dumps([{'driver': 'luks', 'key': {'file': key}},
                                                              {'driver': 'raw', 'file': image}])],
                               check=True, stdout=subprocess.DEVNULL)
                images.append(image)
            script = SCRIPT
            for name, value in {'key': key, 'data': data, 'other': other, 'images': ' '.join(images), 'img': IMG,
                                'kinds': kinds}.items():
                script = script.replace('@%s@' % name, value)
            code, text = Lab([IMG, '/sbin/cryptsetup', UNWINDER, key, data, other, kinds, *images], script).run(300)
        self.assertEqual(code, 0, text[-3000:])
        self.assertIn('all the same', text)


if __name__ == '__main__':
    unittest.main()
