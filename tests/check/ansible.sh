#!/bin/sh
# ansible-lint (its profile "production") and yamllint on the collection, as a copy where Ansible looks for it.
#
# usage: ansible.sh ROOT
set -eu
root=$(cd "$1" && pwd)
command -v ansible-lint >/dev/null && command -v yamllint >/dev/null || {
    echo "ansible: ansible-lint and yamllint are not installed: nothing was looked at"
    exit 77
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$work/ansible_collections/drover"
cp -R "$root/ansible" "$work/ansible_collections/drover/cluster"
cd "$work/ansible_collections/drover/cluster"
yamllint --strict -c .yamllint .
HOME=$work ANSIBLE_COLLECTIONS_PATH=$work ansible-lint --offline --nocolor -p >"$work/said" 2>&1 || {
    cat "$work/said"
    exit 1
}
echo "ansible: the collection is clean"
