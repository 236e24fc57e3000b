#!/bin/sh
# Builds Drover and runs every test on a fresh Debian 12 machine. Run as root: it installs the packages it needs, and
# some tests mount file systems of their own.
#
# usage: sudo sh tests/run.sh [ctest arguments, as in -R peers]
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
build=${DROVER_TEST_BUILD:-$root/build}

sh "$root/node/packages.sh" build-essential cmake ninja-build pkg-config liburing-dev libjansson-dev libssl-dev \
    libseccomp-dev libcmocka-dev clang libclang-rt-14-dev clang-format python3 python3-libnbd libnbd-bin nbdkit \
    nbd-server nbd-client qemu-utils fio gnutls-bin openssl jq e2fsprogs iproute2 procps util-linux libfuse3-dev \
    fuse3

configure() { # directory, cmake arguments
    d=$build/$1
    shift
    cmake -S "$root" -B "$d" -G Ninja "$@" >/dev/null
    cmake --build "$d" | grep -v '^\[' || true
    cmake --build "$d" >/dev/null # the pipe above hides the exit status; this one does not
}

cd "$root"
echo "building: release"
configure release
echo "building: clang"
configure clang -DCMAKE_C_COMPILER=clang
echo "building: fuzz"
configure fuzz -DDROVER_PRESET=fuzz -DCMAKE_C_COMPILER=clang
echo "building: tsan"
configure tsan -DDROVER_PRESET=tsan
echo "building: debug (AddressSanitizer, UBSan)"
configure debug -DDROVER_PRESET=debug
exec ctest --test-dir "$build/debug" --output-on-failure "$@"
