#!/bin/sh
# Builds Drover and runs every test on a fresh Debian 12 machine. Run as root: it installs the packages it needs, and
# some tests mount file systems of their own.
#
# usage: sudo sh tests/run.sh [ctest arguments, as in -R peers]
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
build=${DROVER_TEST_BUILD:-$root/build}

sh "$root/node/packages.sh" libcmocka-dev clang libclang-rt-14-dev clang-format python3 python3-libnbd libnbd-bin nbdkit cryptsetup-bin \
    nbd-server nbd-client qemu-utils qemu-system-x86 seabios fio gnutls-bin openssl curl jq e2fsprogs iproute2 nftables \
    iputils-ping iperf3 procps util-linux libfuse3-dev fuse3 busybox-static kmod lz4 libzydis-dev etcd-server etcd-client prometheus gdb \
    mmdebstrap grub-pc-bin help2man groff-base lvm2 debhelper lintian ansible-core ansible-lint yamllint python3-apt \
    mold ganeti-htools coinor-cbc systemd-container faketime openipmi ipmitool

configure() { # directory, target, cmake arguments
    d=$build/$1 target=$2
    shift 2
    cmake -S "$root" -B "$d" -G Ninja "$@" >/dev/null
    cmake --build "$d" --target "$target" | grep -v '^\[' || true
    cmake --build "$d" --target "$target" >/dev/null # the pipe above hides the exit status; this one does not
}

cd "$root"
echo "building: release"
configure release all
echo "building: fuzz (clang)"
configure fuzz all -DDROVER_PRESET=fuzz -DCMAKE_C_COMPILER=clang
echo "building: tsan"
configure tsan tsan_tests -DDROVER_PRESET=tsan
echo "building: debug (AddressSanitizer, UBSan)"
configure debug all -DDROVER_PRESET=debug
# those of clusters wait for most of their time: two more at a time than there are processors
code=0
ctest --test-dir "$build/debug" --output-on-failure --parallel $(($(nproc) + 2)) "$@" || code=$?
[ $code = 8 ] || exit $code # 8: tests have failed

# Processes, guests and clusters wait for each other, beside other tests, on a machine whose load nobody knows: they get
# one more try, alone. All other tests (check, fuzz, sim, power) can be repeated exactly, and have failed.
failed=$build/debug/Testing/Temporary/LastTestsFailed.log
if grep -Evq '^[0-9]+:(unit|tsan|node|hv|bench|peers)/' "$failed" || [ "$(wc -l <"$failed")" -gt 5 ]; then
    exit $code
fi
echo "FAILED BESIDE OTHERS, and run once more alone: a fault of the test or of Drover, even if they pass now"
cat "$failed"
exec ctest --test-dir "$build/debug" --output-on-failure --rerun-failed
