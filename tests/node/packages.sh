#!/bin/sh
# The Debian packages, made of a release build's programs: lintian has no error, every program, page and unit is in one package
# and runs from where it was unpacked, dependencies name every library, nothing tells where it was built, an upgrade stops
# nothing and a purge keeps a node's data. Nothing is installed.
#
# usage: DROVER_BUILD=build/release packages.sh
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
built=$(cd "$DROVER_BUILD" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

fail() {
    echo "packages: $*" >&2
    exit 1
}

sh "$root/node/debian/build.sh" --built "$built" "$work/out"

# ---- who holds what ----

mkdir "$work/control" "$work/tree"
for deb in "$work"/out/*.deb; do
    name=$(dpkg-deb -f "$deb" Package)
    dpkg-deb --contents "$deb" | awk -v p="$name" '$1 !~ /^d/ { sub(/^\./, "", $6); print $6, p }' >>"$work/files"
    dpkg-deb -e "$deb" "$work/control/$name"
    dpkg-deb -x "$deb" "$work/tree"
done
cut -d' ' -f1 "$work/files" | sort | uniq -d | grep . && fail "the files above are in two packages"

while read -r file package; do
    [ "$(grep "^$file " "$work/files")" = "$file $package" ] || fail "$file is not in $package"
done <<'LIST'
/usr/bin/droverd drover-agent
/usr/bin/drover-fault drover-agent
/usr/bin/drover-power drover-agent
/usr/bin/drover-import drover-agent
/usr/bin/drover-guest drover-guest
/usr/bin/drover-nbd drover-nbd
/usr/bin/drover-img drover-nbd
/usr/bin/drover-balancer drover-balancer
/usr/bin/drover-balancer-run drover-balancer
/usr/bin/drover drover-cli
/usr/bin/drover-drill drover-cli
/usr/share/man/man8/droverd.8.gz drover-agent
/usr/share/man/man8/drover-power.8.gz drover-agent
/usr/share/man/man1/drover-guest.1.gz drover-guest
/usr/share/man/man1/drover-nbd.1.gz drover-nbd
/usr/share/man/man1/drover-img.1.gz drover-nbd
/usr/share/man/man1/drover-balancer.1.gz drover-balancer
/usr/share/man/man1/drover.1.gz drover-cli
/usr/share/bash-completion/completions/drover drover-cli
/lib/systemd/system/droverd.service drover-agent
LIST
[ "$(grep -c '^/usr/bin/' "$work/files")" = 11 ] || fail "there are programs that this test does not know"
for page in "$root"/docs/*.md "$root"/docs/decisions/*.md; do
    grep -q "^/usr/share/doc/drover/${page#"$root/docs/"} drover-doc\$" "$work/files" || fail "$page is not in drover-doc"
done

# ---- programs ----

version=$(sed -n 's/^project(drover VERSION \([0-9.]*\).*/\1/p' "$root/CMakeLists.txt")
objdump -p "$work"/tree/usr/bin/* | awk '$1 == "NEEDED" { print "*/" $2 }' | sort -u >"$work/needed"
# shellcheck disable=SC2046 # a pattern each
dpkg -S $(set -f; cat "$work/needed") >"$work/owners"
for program in "$work"/tree/usr/bin/*; do
    name=${program##*/}
    case $name in
    drover-fault | drover-import) said=$("$program" 2>&1 3<&-) && fail "$name works without droverd" ;;
    *) said=$("$program" --version) || fail "$name --version fails" ;;
    esac
    case $name:$said in
    drover-import:*'is started by droverd'* | drover-fault:*'what drover-fault is to do'* | *:"$name $version") ;;
    *) fail "$name says '$said'" ;;
    esac
    package=$(grep "^/usr/bin/$name " "$work/files" | cut -d' ' -f2)
    wanted=" $(dpkg-deb -f "$work/out/${package}"_*.deb Depends | tr ',' '\n' | awk '{ print $1 }' | tr '\n' ' ')"
    for library in $(objdump -p "$program" | awk '$1 == "NEEDED" { print $2 }'); do
        for owner in $(grep "/$library\$" "$work/owners" | cut -d: -f1 | sort -u) none; do
            case $wanted in *" $owner "*) break ;; esac
        done
        [ "$owner" != none ] || fail "$name needs $library, which no package that $package depends on has"
    done
done
for package in drover-balancer drover-guest drover-nbd; do # what droverd starts
    dpkg-deb -f "$work"/out/drover-agent_*.deb Depends | grep -qF "$package (= $version" || fail "the agent does without $package"
done
if grep -rlF -e "$built" -e "$root" "$work/tree"; then
    fail "the files above tell where they were built"
fi

# ---- what happens to a node ----

unit=$work/tree/lib/systemd/system/droverd.service
grep -qx 'KillMode=process' "$unit" || fail "the end of the unit would end guests"
grep -qx 'ExecStart=/usr/bin/droverd' "$unit" || fail "the unit does not start the packaged agent"
if command -v systemd-analyze >/dev/null; then
    sed -i "s|=/usr/bin/droverd|=$work/tree/usr/bin/droverd|" "$unit"
    said=$(systemd-analyze verify --man=no "$unit" 2>&1) || fail "systemd-analyze: $said"
    [ -z "$said" ] || fail "systemd-analyze: $said"
fi
[ ! -e "$work/control/drover-agent/preinst" ] || fail "something happens before the new agent is there"
grep -q 'deb-systemd-invoke try-restart' "$work/control/drover-agent/postinst" || fail "an upgrade leaves the old agent running"
node=$work/node
mkdir -p "$node/var/lib/drover"
echo '{}' >"$node/var/lib/drover/node.json"
said=$(DPKG_ROOT=$node DPKG_MAINTSCRIPT_PACKAGE=drover-agent sh "$work/control/drover-agent/postrm" purge 2>&1)
case $said in *'/var/lib/drover is kept'*) ;; *) fail "purge does not say what it keeps: $said" ;; esac
[ -e "$node/var/lib/drover/node.json" ] || fail "purge removes what a node knows"

# ---- Debian's own opinion ----

lintian --allow-root --fail-on error "$work"/out/*.changes || fail "lintian has errors"
echo "packages: 8 programs in $(find "$work/out" -name '*.deb' | wc -l) packages"
