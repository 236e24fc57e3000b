#!/bin/bash
# `drover drill simulate` as people use it, on files. $1: drover, beside which drover-drill lies. Needs jq.
set -u
drover=$(realpath "$1")
dir=$(mktemp -d "${TMPDIR:-/tmp}/drover-simulate-test-XXXXXX")
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
failures=0

fail() {
    echo "FAILED: $*" >&2
    failures=$((failures + 1))
}

# simulate CODE OPTION...: output in out, errors in err
simulate() {
    local want=$1 code
    shift
    "$drover" drill simulate "$@" >out 2>err
    code=$?
    [ $code -eq "$want" ] || fail "'$*' ended with $code, not $want: $(cat err)"
}

# says TEXT: on standard output; complains CODE TEXT OPTION...: on standard error
says() {
    grep -qF -- "$1" out || fail "there is no '$1' in: $(cat out)"
}
complains() {
    local code=$1 text=$2
    shift 2
    simulate "$code" "$@"
    grep -qF -- "$text" err || fail "'$*' said '$(cat err)', not '$text'"
    [ ! -s out ] || fail "'$*' has an answer all the same: $(cat out)"
}

# three nodes, of which n2 has a guest that nobody else has room for
cat >tight.json <<'JSON'
{"nodes": [{"name": "n1", "memory": "16G", "cpus": 8}, {"name": "n2", "memory": "16G", "cpus": 8},
           {"name": "n3", "memory": "16G", "cpus": 8}],
 "guests": [{"name": "big", "node": "n2", "memory": "12G", "vcpus": 4, "ha": true},
            {"name": "web1", "node": "n1", "memory": "4G", "vcpus": 2, "ha": true, "ha_priority": 80},
            {"name": "web2", "node": "n3", "memory": "4G", "vcpus": 2, "ha": true},
            {"name": "test", "node": "n3", "memory": "1G", "vcpus": 2}]}
JSON
jq '.guests |= map(select(.name != "big"))' tight.json >loose.json

simulate 0 --cluster tight.json --schedules 240
says 'nodes whose loss the cluster cannot bear: n2'
says 'memory enough'
says 'no rule was broken'
simulate 0 --cluster loose.json --schedules 240
says 'every protected guest ran again, whichever node was lost: n1, n2, n3'

simulate 0 --cluster tight.json --schedules 240 --json
[ "$(jq -c .not_borne out)" = '["n2"]' ] || fail "not borne: $(jq -c .not_borne out)"
[ "$(jq -r '.stay_down[0].guest' out)" = big ] || fail "who stays down: $(jq -c .stay_down out)"
[ "$(jq '.kinds | length' out)" = 8 ] || fail "kinds: $(jq -c '[.kinds[].kind]' out)"
mv out first
simulate 0 --cluster tight.json --schedules 240 --json
cmp -s first out || fail "the same seed has said something else"
simulate 0 --cluster tight.json --schedules 240 --json --seed 2
cmp -s first out && fail "another seed has said the same"

# the worst of all, once more and alone
worst=$(jq '.kinds[0].rto.worst_ms' first)
simulate 0 --cluster tight.json --schedules 1 --kind node-power-loss --node "$(jq -r '.kinds[0].rto.worst_node' first)" \
    --seed "$(jq '.kinds[0].rto.worst_seed' first)" --json
[ "$(jq '.kinds[0].rto.worst_ms' out)" = "$worst" ] || fail "the worst one does not come again"
[ "$(jq '.kinds | length' out)" = 1 ] || fail "other kinds than the one that was asked for"

complains 2 "--kind 'flood'" --cluster tight.json --kind flood
complains 2 'drover drill run slow-disk' --cluster tight.json --kind slow-disk
complains 2 --schedules --cluster tight.json --schedules 0
complains 2 --schedules --cluster tight.json --schedules many
complains 2 --seed --cluster tight.json --seed=-1
complains 1 "no node 'n7'" --cluster tight.json --node n7
complains 1 'hits no single node' --cluster tight.json --node n1 --kind store-loss
complains 1 nothing.json --cluster nothing.json
echo '{"guests": []}' >other.json
complains 1 'other.json: nodes: this is no cluster' --cluster other.json
head -c 100 tight.json >cut.json
complains 1 'cut.json:' --cluster cut.json
complains 3 'no droverd answers' --api "unix:$dir/nobody" --schedules 1

[ $failures -eq 0 ] && echo "drover drill simulate does what it says"
exit $failures
