#!/usr/bin/python3
"""The KVM lab: a machine with AMD-V that QEMU emulates, with Debian's kernel and its KVM, in which a command is run.

    lab.py [--memory 2048] [--cpus 2] [--seconds N] FILE... -- COMMAND...

FILEs are put into the lab under the same absolute paths, programs with the libraries they need. What the command prints
is printed, its exit code is ours; 99 if the lab did not get that far. Needs no root."""
import argparse
import os
import re
import select
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import initrd  # noqa: E402
import kernels  # noqa: E402

LOST = 99
CPU = 'EPYC,+svm,+npt,-smap'  # with SMAP the emulation lets no program use IRET, which our translator does
BOOTS, BOOT_SECONDS = 4, 120
HEART_SECONDS, LOOK_SECONDS = 60, 5
LOCKED = re.compile(rb'soft lockup|detected stall')  # the lab's kernel says it of itself
MODULES = ['kvm', 'kvm_amd', 'virtio_pci', 'virtio_blk', 'virtio-rng', 'tun', 'veth', 'bridge', 'loop', 'nbd', 'dm_crypt',
           'fuse', 'ext4',
           'xts', 'ecb', 'algif_skcipher', 'algif_hash']
# left to itself the kernel mistrusts the emulated TSC, and every look at the clock costs a call and an emulated register
CMDLINE = 'console=ttyS0 quiet panic=-1 mitigations=off clocksource=tsc tsc=reliable'
INIT = initrd.START + r'''mkdir -p /run /dev/shm /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t devpts devpts /dev/pts
ifconfig lo 127.0.0.1 up
stty -onlcr 2>/dev/null
exec </dev/null >/dev/console 2>&1
while echo; do sleep 2; done >/dev/ttyS1 &
echo "lab: begins"
sh /command
echo "lab: ends $?"
poweroff -f
'''


def libraries(path):
    """What the dynamic linker would load, and the linker."""
    done = subprocess.run(['ldd', path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, universal_newlines=True)
    return re.findall(r'(/\S+)', done.stdout) if done.returncode == 0 else []


def contents(files):
    """Pairs (name in the lab, path here) with every library once."""
    pairs, seen = [], set()
    for path in files:
        for part in [path] + libraries(path):
            name = os.path.abspath(part)
            if name not in seen:
                seen.add(name)
                pairs.append((name.lstrip('/'), os.path.realpath(part)))
    return pairs


class Lab:
    def __init__(self, files, command, memory=2048, cpus=2, disks=()):
        """disks: raw files here; they are /dev/vda, /dev/vdb and so on in the lab."""
        self.marks = {}
        self.directory = tempfile.TemporaryDirectory(prefix='drover-lab-')
        script = os.path.join(self.directory.name, 'command')
        with open(script, 'w') as f:
            f.write(command + '\n')
        image = os.path.join(self.directory.name, 'initrd.gz')
        initrd.build(image, kernels.modules('generic'), contents(files) + [('command', script)], INIT, MODULES)
        self.heart = os.path.join(self.directory.name, 'heart')
        self.argv = ['qemu-system-x86_64', '-accel', 'tcg,thread=multi', '-cpu', CPU, '-smp', str(cpus),
                     '-m', str(memory), '-nodefaults', '-nographic', '-no-reboot', '-serial', 'stdio', '-serial', 'file:' + self.heart, '-kernel',
                     kernels.vmlinux('generic'), '-initrd', image, '-append', CMDLINE]
        for path in disks:
            self.argv += ['-drive', 'if=virtio,format=raw,cache=unsafe,file=' + path]

    def run(self, seconds):
        """(exit code or LOST, what was printed). The emulated machine sometimes locks up, mostly while it starts, and no
        program in it could make it do so: its kernel runs nothing any more, not even its heart. Then it is started
        again."""
        with self.directory:
            for _ in range(BOOTS):
                text, began, alive = self.attempt(seconds)
                if began and alive:
                    break
                print('the emulated machine locked up:\n%s' % text[-2000:], file=sys.stderr)
        body = text[text.find('lab: begins\n') + len('lab: begins\n'):] if began else text
        match = re.search(r'^lab: ends (\d+)$', body, re.M)
        return (int(match.group(1)), body[:match.start()]) if match else (LOST, body)

    def note_marks(self, process, line_start, data):
        """A line "mark NAME" from the lab: what the emulator has used of the processor by then, in seconds."""
        lines = (line_start + data).split(b'\n')
        names = [line[len(b'mark '):].strip().decode() for line in lines[:-1] if line.startswith(b'mark ')]
        if names:
            with open('/proc/%d/stat' % process.pid) as f:
                fields = f.read().rsplit(') ', 1)[1].split()
            used = (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')
            self.marks.update((name, used) for name in names)
        return lines[-1]

    def beats(self):
        return os.path.getsize(self.heart) if os.path.exists(self.heart) else 0

    def attempt(self, seconds):
        """(what was printed, whether the command began, whether the machine lived to the end)."""
        process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        text, line, start = b'', b'', time.monotonic()
        beats, beaten = 0, start
        try:
            while True:
                began, now = b'lab: begins' in text, time.monotonic()
                if self.beats() != beats:
                    beats, beaten = self.beats(), now
                alive = now < (beaten + HEART_SECONDS if began else start + BOOT_SECONDS)
                if not alive or now >= start + BOOT_SECONDS + seconds:
                    break
                ready, _, _ = select.select([process.stdout], [], [], LOOK_SECONDS)
                if not ready:
                    continue
                data = os.read(process.stdout.fileno(), 65536)
                text += data
                alive = not LOCKED.search(data)
                if not data or not alive:
                    break
                line = self.note_marks(process, line, data)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        text = text.decode('utf-8', 'replace').replace('\r', '')
        return text, 'lab: begins\n' in text, alive


def run_jobs(jobs, memory=2048, cpus=2):
    """jobs: tuples (name, files, script, seconds). One lab runs them all, one after the other; {name: (exit code or
    LOST, what it printed)}. A job that takes longer than its seconds is ended (143), and the next one begins."""
    command, files = [], []
    with tempfile.TemporaryDirectory(prefix='drover-jobs-') as directory:
        for name, job_files, script, seconds in jobs:
            path = os.path.join(directory, name)
            with open(path, 'w') as f:
                f.write(script + '\n')
            files += [*job_files, path]
            command += ['echo "job: begins %s"' % name, 'timeout %d sh %s' % (seconds, path),
                        'echo; echo "job: ends %s $?"' % name]
        code, text = Lab(files, '\n'.join(command), memory, cpus).run(sum(job[3] for job in jobs) + 60)
    results = {}
    for name, *_ in jobs:
        body = text.partition('job: begins %s\n' % name)[2]
        match = re.search(r'^job: ends %s (\d+)$' % name, body, re.M)
        if match:
            results[name] = int(match.group(1)), body[:match.start()]
        else:
            results[name] = LOST, body or 'the lab (%d) did not get to %s:\n%s' % (code, name, text[-3000:])
    return results


def main():
    if '--' not in sys.argv:
        sys.exit(__doc__)
    split = sys.argv.index('--')
    parser = argparse.ArgumentParser()
    parser.add_argument('--memory', type=int, default=2048)
    parser.add_argument('--cpus', type=int, default=2)
    parser.add_argument('--seconds', type=int, default=900)
    parser.add_argument('files', nargs='*')
    a = parser.parse_args(sys.argv[1:split])
    code, text = Lab(a.files, ' '.join(sys.argv[split + 1:]), a.memory, a.cpus).run(a.seconds)
    print(text, end='')
    sys.exit(code)


if __name__ == '__main__':
    main()
