#!/bin/sh
# Installs the Debian packages named that are not there yet, and those that building Drover needs.
# usage: packages.sh [PACKAGE...]
set -eu
set -- build-essential cmake ninja-build pkg-config acpica-tools liburing-dev libjansson-dev libssl-dev libseccomp-dev \
    libargon2-dev libcurl4-openssl-dev libsqlite3-dev libnl-3-dev libnftables-dev libarchive-dev libisal-dev zlib1g-dev \
    liblzma-dev liblz4-dev libzstd-dev libxxhash-dev "$@"
missing=""
for p in "$@"; do
    dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $p"
done
[ -n "$missing" ] || exit 0
[ "$(id -u)" = 0 ] || { echo "needs root to install:$missing" >&2; exit 1; }
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -q >/dev/null
# shellcheck disable=SC2086
apt-get install -q -y --no-install-recommends $missing >/dev/null
