#!/usr/bin/python3
"""What hv/boot puts into guest memory, started on a processor that is not ours: QEMU's. Debian's two kernels, entered
by PVH and by the 64-bit entry, must reach their init, with the initrd and the command line that they were given."""
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '../hv'))
from initrd import Archive  # noqa: E402

PROGRAM = os.path.join(os.environ['DROVER_BUILD'], 'boot_image')
METHODS = {1: 'PVH', 2: 'linux64'}
INIT = r'''
.globl _start
_start: mov $1, %eax; mov $1, %edi; lea text(%rip), %rsi; mov $16, %edx; syscall
        mov $169, %eax; mov $0xfee1dead, %edi; mov $672274793, %esi; mov $0x1234567, %edx; syscall
stop:   jmp stop
text:   .ascii "init: it is up\r\n"
'''


def make_initrd(directory):
    source, init = os.path.join(directory, 'init.S'), os.path.join(directory, 'init')
    with open(source, 'w') as f:
        f.write(INIT)
    subprocess.run(['cc', '-nostdlib', '-static', '-o', init, source], check=True)
    archive = Archive()
    archive.add('dev', 0o040755)
    archive.add('dev/console', 0o020600, device=(5, 1))
    with open(init, 'rb') as f:
        archive.add('init', 0o100755, f.read())
    path = os.path.join(directory, 'initrd')
    with open(path, 'wb') as f:
        f.write(archive.end())
    return path


def make_rom(directory, entry, method):
    plain, rom = os.path.join(directory, 'rom.o'), os.path.join(directory, 'rom')
    flags = ['-DENTRY=' + entry] + (['-DLONG'] if METHODS[method] == 'linux64' else [])
    subprocess.run(['cc', '-c', '-o', plain, *flags, os.path.join(HERE, 'boot_image.S')], check=True)
    subprocess.run(['ld', '-Ttext=0', '-e', '0', '--oformat', 'binary', '-o', rom, plain], check=True)
    return rom


def boot(directory, kernel, initrd, method):
    low, high = os.path.join(directory, 'low'), os.path.join(directory, 'high')
    entry = subprocess.run([PROGRAM, kernel, initrd, str(method), low, high], check=True, capture_output=True,
                           text=True).stdout.strip()
    qemu = ['qemu-system-x86_64', '-accel', 'tcg', '-M', 'pc', '-m', '256', '-nodefaults', '-display', 'none',
            '-serial', 'stdio', '-no-reboot', '-bios', make_rom(directory, entry, method),
            '-device', 'loader,file=%s,addr=0,force-raw=on' % low,
            '-device', 'loader,file=%s,addr=0x100000,force-raw=on' % high]
    run = subprocess.run(qemu, stdin=subprocess.DEVNULL, capture_output=True, timeout=200)
    text = run.stdout.decode(errors='replace')
    for wanted in ('Linux version ' + os.path.basename(kernel).replace('vmlinuz-', ''),
                   'Command line: console=ttyS0 panic=-1 noapic', 'init: it is up'):
        if wanted not in text:
            sys.exit('%s by %s: no "%s" in\n%s' % (kernel, METHODS[method], wanted, text[-4000:]))
    print('%s by %s: its init is up' % (os.path.basename(kernel), METHODS[method]))


def main():
    found = subprocess.run(['sh', os.path.join(HERE, '../hv/kernels.sh')], capture_output=True, text=True)
    if found.returncode:
        print('no Debian kernel to be had here: ' + found.stderr)
        return 77
    with tempfile.TemporaryDirectory() as directory:
        initrd = make_initrd(directory)
        for kernel in found.stdout.split():
            for method in METHODS:
                boot(directory, kernel, initrd, method)
    return 0


if __name__ == '__main__':
    sys.exit(main())
