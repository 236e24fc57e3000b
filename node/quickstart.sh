#!/bin/sh
# The main job on a fresh Debian 12 machine: build Drover, make a disk image with a real file system in it, serve it over
# NBD, copy it through the network, verify the copy, print the rate. Nothing is left running.
#
# usage: sudo sh node/quickstart.sh
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)

sh "$root/node/packages.sh" build-essential cmake ninja-build pkg-config liburing-dev libjansson-dev libssl-dev \
    libseccomp-dev e2fsprogs

echo "building Drover"
cmake -S "$root" -B "$root/build/release" -G Ninja >/dev/null
cmake --build "$root/build/release" --target drover-nbd drover-img >/dev/null
bin=$root/build/release

work=$(mktemp -d)
server=""
clean() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    [ -z "$server" ] || wait "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap clean EXIT INT TERM

echo "making a disk image with a file system full of real files"
for files in /usr/share /usr/lib /usr/share/doc /usr/include; do
    [ "$(du -sm "$files" | cut -f1)" -gt 700 ] || break
done
"$bin/drover-img" create "$work/disk.img" 1G
mke2fs -q -t ext4 -F -d "$files" "$work/disk.img"

echo "serving it"
"$bin/drover-nbd" --listen tcp:127.0.0.1:0 --print-listening --export "disk=raw:$work/disk.img" \
    --description "quickstart disk" >"$work/address" 2>"$work/server.log" &
server=$!
tries=0
until [ -s "$work/address" ]; do
    tries=$((tries + 1))
    [ $tries -lt 300 ] && kill -0 "$server" 2>/dev/null || { cat "$work/server.log" >&2; exit 1; }
    sleep 0.1
done
address=$(sed -n '1s/^tcp://p' "$work/address")
uri=nbd://$address/disk
"$bin/drover-img" info "$uri"

echo "copying it through the network"
"$bin/drover-img" copy "$uri" "$work/copy.img"

echo "verifying the copy"
"$bin/drover-img" compare "$uri" "$work/copy.img"
kill "$server"
wait "$server"
server=""
cmp "$work/disk.img" "$work/copy.img"
e2fsck -fn "$work/copy.img" >/dev/null 2>&1
echo "the copy is the same, byte for byte, and its file system is clean"
