#!/bin/sh
# Builds Drover's Debian packages. What is built is a copy of the tree in a temporary directory, because Debian wants debian/
# at the top.
#
# usage: node/debian/build.sh [--built BUILD] OUTDIR
#        --built: package the programs of an existing release build as they are, instead of compiling (no -dbgsym packages then)
# It needs debhelper and what `sh node/packages.sh help2man` installs; no root.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)

fail() {
    echo "build.sh: $*" >&2
    exit 1
}

built=
if [ "${1:-}" = --built ]; then
    built=$(cd "${2:-}" && pwd) || fail "--built wants the directory of a release build"
    [ -e "$built/droverd.8" ] || fail "$built has no manual pages: make it as a release build, with help2man installed"
    shift 2
fi
[ $# = 1 ] || fail "usage: build.sh [--built BUILD] OUTDIR"
mkdir -p "$1"
out=$(cd "$1" && pwd)

version=$(sed -n 's/^project(drover VERSION \([0-9.]*\).*/\1/p' "$root/CMakeLists.txt")
packaged=$(sed -n '1s/^drover (\([^)]*\)).*/\1/p' "$root/node/debian/changelog")
case $packaged in
"$version" | "$version"[+~]*) ;;
*) fail "CMakeLists.txt says version $version, node/debian/changelog $packaged: they must agree" ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
tree=$work/drover-$version
mkdir "$tree"
(cd "$root" && tar -cf - CMakeLists.txt LICENSE README.md balancer docs hv nbd node replication tests) | tar -xf - -C "$tree"
cp -R "$root/node/debian" "$tree/debian"
cd "$tree"
if [ -n "$built" ]; then
    export DROVER_BUILT="$built" DEB_BUILD_OPTIONS="${DEB_BUILD_OPTIONS:-} noautodbgsym"
fi
dpkg-buildpackage -b -us -uc >"$work/log" 2>&1 || {
    tail -40 "$work/log" >&2
    fail "dpkg-buildpackage failed"
}
rm "$work/log"
find "$work" -maxdepth 1 -type f -exec mv -t "$out" {} +
ls "$out"/drover*.deb
