#!/bin/sh
# Fetches Debian's stock kernels and prints where they are: the cloud one, then the generic one; with an argument that one
# alone. They are kept below build/hv-cache by version, so a second call only prints. modules: the directory with lib/modules.
#
# usage: kernels.sh [cloud|generic] [modules]
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
cache=${DROVER_HV_CACHE:-$root/build/hv-cache}
kinds=${1:-cloud generic} what=${2:-kernel}

package_of() { # kind: the package that the meta package stands for today
    case $1 in
    cloud) meta=linux-image-cloud-amd64 ;;
    generic) meta=linux-image-amd64 ;;
    *) echo "kernels.sh: '$1' is neither cloud nor generic" >&2; exit 2 ;;
    esac
    apt-cache depends "$meta" 2>/dev/null | sed -n 's/^ *Depends: *\(linux-image-[0-9].*\)$/\1/p' | head -n 1
}

fetch() { # package, directory
    rm -rf "$2.new"
    mkdir -p "$2.new/download"
    chmod 755 "$2.new/download"
    (cd "$2.new/download" && apt-get -qq download "$1" >&2) || {
        echo "kernels.sh: cannot download $1: is there a network, and does apt-get update work?" >&2
        exit 1
    }
    dpkg-deb -x "$2.new"/download/*.deb "$2.new"
    rm -r "$2.new/download"
    mv "$2.new" "$2"
}

mkdir -p "$cache"
exec 9>"$cache/kernels.lock"
flock 9
for kind in $kinds; do
    package=$(package_of "$kind")
    if [ -z "$package" ]; then # no package lists: what was fetched last will do
        directory=$(ls -d "$cache"/linux-image-*amd64 2>/dev/null |
            if [ "$kind" = cloud ]; then grep cloud; else grep -v cloud; fi | tail -n 1) || true
        [ -n "$directory" ] || { echo "kernels.sh: no $kind kernel is known: run apt-get update" >&2; exit 1; }
    else
        directory=$cache/$package
    fi
    [ -d "$directory" ] || fetch "$package" "$directory"
    if [ "$what" = modules ]; then
        echo "$directory/lib/modules"
    else
        ls "$directory"/boot/vmlinuz-*
    fi
done
