"""A guest under KVM beside QEMU's, in the KVM lab (tests/hv/lab.py): its disk, its network, the memory it costs.

Both guests run in one lab, with the same kernel, RAM disk and command line, each asked in turn over its console; who is
not asked stands still (SIGSTOP). QEMU has the disk twice, for its two ways of reading a file. The processor of the lab is
emulated: only ratios mean anything, and the exits and the processor time of an operation more than its duration."""
import os
import re
import statistics
import subprocess
import sys

from sides import BUILD, MIB, ROOT, Bench

sys.path.insert(0, os.path.join(ROOT, 'tests/hv'))
import initrd  # noqa: E402
import kernels  # noqa: E402
from lab import Lab  # noqa: E402

GUEST = os.path.join(BUILD, 'drover-guest')
QEMU = '/usr/bin/qemu-system-x86_64'
QEMU_FILES = ['/usr/share/seabios/bios-256k.bin', '/usr/share/qemu/pvh.bin', '/usr/share/qemu/linuxboot_dma.bin',
              '/usr/share/qemu/kvmvapic.bin']
GUEST_MIB, DISK_MIB = 256, 64
CMDLINE = 'console=ttyS0 quiet panic=-1 nowatchdog'

# figure, operations, what the load program is asked, bytes of an operation
DISK_FIGURES = [('4 KiB random read, depth 1', 500, '4096 1 random', 4096),
                ('4 KiB random read, depth 32', 5000, '4096 32 random', 4096),
                ('128 KiB stream, depth 8', 500, '131072 8 stream', 131072)]
# figure, MiB, word
NET_FIGURES = [('TCP stream guest to host', 30, 'send'), ('TCP stream host to guest', 30, 'receive')]

# A side is a guest: its number, and its name. Its console is a pair of FIFOs, so nobody has to look again and again.
SCRIPT = r'''
mkdir -p /dev/shm/d; mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
begin() { # side, command...
    side=$1; shift
    dd if=/dev/zero of=/dev/shm/d/$side bs=1M count=@DISK@ 2>/dev/null
    mkfifo /tmp/$side.in /tmp/$side.out
    "$@" </tmp/$side.in >/tmp/$side.out 2>/tmp/$side.log &
    echo $! >/tmp/$side.pid
    eval "exec $((3 + 2 * side))<>/tmp/$side.in $((4 + 2 * side))<>/tmp/$side.out"
}
lose() { echo "lost: $*"; tail -n 20 /tmp/*.log; exit 1; }
say() { echo "$2" >&$((3 + 2 * $1)); }
hear() { read -t 120 -r line <&$((4 + 2 * $1)); }
until_ready() {
    while hear $1; do
        case $line in *"guest: ready"*) return 0;; esac # behind what a firmware left
        echo "side $1 says: $line"
    done
    lose "side $1 does not start"
}
ask() { # side, command: its last line that begins with "load:" is in $load
    load=
    say $1 "$2"
    while hear $1; do
        case $line in "load:"*) load=$line;; "guest: done 0"*) return 0;; "guest: done"*) lose "$1: $2: $load";; esac
    done
    lose "side $1 does not answer to $2"
}
pid() { cat /tmp/$1.pid; }
cpu_ns() { cat /proc/$(pid $1)/task/*/schedstat | awk '{ s += $1 } END { printf "%.0f", s }'; }
exits() { cat /sys/kernel/debug/kvm/$(pid $1)-*/$2; }
counters() { echo $(cpu_ns $1) @COUNTERS@; }
measure() { # side, label, command
    kill -CONT $(pid $1)
    echo "mark begin-$2-$round"
    before=$(counters $1); ask $1 "$3"; after=$(counters $1)
    echo "mark end-$2-$round"
    echo "result $2 $round $load $before $after"
    kill -STOP $(pid $1)
}
memory() { # beside the guest's memory: mappings smaller than it
    awk -v limit=@GUEST_KIB@ '/^Size:/ { size = $2 } /^Pss:/ && size < limit { p += $2 }
        END { print "memory", '$1', p * 1024 }' /proc/$(pid $1)/smaps
}
connect() { # side
    ifconfig side$1 10.$1.0.1 netmask 255.255.255.0 up || lose "side $1 has no tap"
    ask $1 "ifconfig eth0 10.$1.0.2 netmask 255.255.255.0 up"
}

@BEGINS@
for side in @SIDES@; do until_ready $side; memory $side; done
for side in @SIDES@; do connect $side; kill -STOP $(pid $side); done
@LOAD@ serve 5001 & server=$!
for round in $(seq @ROUNDS@); do
@MEASURES@
done
kill $server
for side in @SIDES@; do memory $side; kill -9 $(pid $side); done
exit 0
'''
COUNTERS = ('exits', 'io_exits', 'mmio_exits', 'irq_injections', 'halt_exits')


def load_program(b):
    path = b.path('kvm_load')
    subprocess.run(['cc', '-std=gnu17', '-D_GNU_SOURCE', '-O2', '-Wall', '-Wextra', '-Werror', '-static', '-o', path,
                    os.path.join(ROOT, 'tests/bench/kvm_load.c')], check=True)
    return path


class Drover:
    disks = {'': 'vda'}

    def __init__(self, name='drover', program=GUEST):
        self.name, self.program = name, program
        self.files = [program]

    def command(self, side, kernel, ramdisk):
        return [self.program, 'run', '--engine', 'kvm', '--memory', '%dM' % GUEST_MIB, '--kernel', kernel, '--initrd',
                ramdisk, '--cmdline', "'%s'" % CMDLINE, '--disk', 'raw:/dev/shm/d/%d' % side, '--read-only', '--net',
                'tap=side%d,mac=52:54:00:00:00:0%d' % (side, side), '--console', 'stdio']


class Qemu:
    name = 'qemu'
    disks = {' threads': 'vda', ' io_uring': 'vdb'}
    files = [QEMU, *QEMU_FILES]

    @staticmethod
    def command(side, kernel, ramdisk):
        command = [QEMU, '-accel', 'kvm', '-cpu', 'host', '-M', 'pc', '-m', str(GUEST_MIB), '-nodefaults', '-nographic',
                   '-no-reboot', '-serial', 'stdio', '-kernel', kernel, '-initrd', ramdisk, '-append', "'%s'" % CMDLINE]
        for i, aio in enumerate(('threads', 'io_uring')):
            command += ['-object', 'iothread,id=io%d' % i, '-drive',
                        'if=none,id=d%d,format=raw,file=/dev/shm/d/%d,readonly=on,aio=%s' % (i, side, aio),
                        '-device', 'virtio-blk-pci,drive=d%d,iothread=io%d' % (i, i)]
        return command + ['-netdev', 'tap,id=n,ifname=side%d,script=no,downscript=no,vhost=off' % side, '-device',
                          'virtio-net-pci,netdev=n,mac=52:54:00:00:00:0%d,romfile=' % side]


def measures(b, sides):
    """Shell lines of a round, each somebody's turn; and what a label means: (figure, who, bytes of an operation)."""
    lines, meaning = [], []

    def add(side, command, figure, name, bytes_each):
        lines.append("measure %d %d '/kvm_load %s'" % (side, len(meaning), command))
        meaning.append((figure, name, bytes_each))

    part = 10 if b.short else 1
    for figure, count, words, bytes_each in DISK_FIGURES:
        for i, side in enumerate(sides):
            for name, disk in side.disks.items():
                add(i, 'read /dev/%s %d %s' % (disk, count // part, words), figure, side.name + name, bytes_each)
    for figure, mib, word in NET_FIGURES:
        for i, side in enumerate(sides):
            add(i, '%s 10.%d.0.1 5001 %d' % (word, i, mib // part), figure, side.name, 0)
    return lines, meaning


def run_lab(b, sides, before='', files=()):
    """What the lab says, its marks, and what its labels mean."""
    kernel, ramdisk, load = kernels.vmlinux('cloud'), b.path('initrd.gz'), load_program(b)
    initrd.build(ramdisk, kernels.modules('cloud'), [('kvm_load', load)])
    lines, meaning = measures(b, sides)
    numbers = range(len(sides))
    script = SCRIPT
    for name, text in {
            'DISK': DISK_MIB, 'GUEST_KIB': GUEST_MIB * 1024, 'ROUNDS': b.rounds, 'LOAD': load,
            'COUNTERS': ' '.join('$(exits $1 %s)' % c for c in COUNTERS), 'SIDES': ' '.join(str(i) for i in numbers),
            'BEGINS': '\n'.join('begin %d %s' % (i, ' '.join(sides[i].command(i, kernel, ramdisk))) for i in numbers),
            'MEASURES': '\n'.join([before, *lines])}.items():
        script = script.replace('@%s@' % name, str(text))
    path = b.path('script')
    with open(path, 'w') as f:
        f.write(script)
    all_files = [kernel, ramdisk, load, path, *files]
    for side in sides:
        all_files += side.files
    lab = Lab(all_files, 'sh ' + path, memory=3072)
    code, text = lab.run(1200)
    if code:
        raise RuntimeError('the lab ended with %d: %s' % (code, text[-3000:]))
    return text, lab.marks, meaning


class Taken:
    """One measurement: how much, and what an operation (or a MiB of a network) cost, the whole lab and in exits."""

    def __init__(self, words, bytes_each, lab_seconds):
        count, took_ns, *counters = (int(w) for w in words)
        units = count if bytes_each else count / MIB
        half = len(counters) // 2
        self.cpu_us, *self.exits = ((counters[half + i] - counters[i]) / units for i in range(half))
        self.cpu_us /= 1000
        self.lab_us = lab_seconds * 1e6 / units
        self.rate = units / (took_ns / 1e9) * (bytes_each / MIB if bytes_each > 4096 else 1)


def rows(b, text, marks, meaning):
    taken, memory = {}, {}
    for label, turn, words in re.findall(r'^result (\d+) (\d+) load: ([\d ]+)$', text, re.M):
        figure, name, bytes_each = meaning[int(label)]
        lab_seconds = marks['end-%s-%s' % (label, turn)] - marks['begin-%s-%s' % (label, turn)]
        taken.setdefault(figure, {}).setdefault(name, []).append(Taken(words.split(), bytes_each, lab_seconds))
    for figure, who in taken.items():
        each = 'MiB' if 'TCP' in figure else 'op'
        unit = 'IOPS' if '4 KiB' in figure else 'MiB/s'

        def column(key):
            return {n: [key(t) for t in v] for n, v in who.items()}
        b.row(figure, unit, column(lambda t: t.rate), 'high', 1)
        b.row(figure + ': whole lab', 'us/' + each, column(lambda t: t.lab_us), 'low', 1)
        b.row(figure + ': process', 'us/' + each, column(lambda t: t.cpu_us), 'low', 1)
        for i, counter in enumerate(COUNTERS):
            print('    %-14s per %s: %s' % (counter, each, ', '.join(
                '%s %.3f' % (n, statistics.median(v)) for n, v in column(lambda t: t.exits[i]).items())), flush=True)
    for side, pss in re.findall(r'^memory (\d+) (\d+)$', text, re.M):
        memory.setdefault(int(side), []).append(int(pss) / MIB)
    return memory


def main(short):
    with Bench('kvm', short) as b:
        sides = [Drover(), Qemu]
        memory = rows(b, *run_lab(b, sides))
        for i, side in enumerate(sides):
            print('    %s beside the guest, at init and at the end: %s MiB' % (
                side.name, ', '.join('%.1f' % m for m in memory[i])))
        b.row('memory beside the guest, KVM', 'MiB', {'drover': memory[0], 'wanted': [8.0]}, 'low', 1)
        b.done()
