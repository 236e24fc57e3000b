#!/bin/sh
# A three-node cluster on this machine: three network namespaces joined by a bridge. Two Debian guests, one with disks that
# are kept three times, encrypted; load, which the cluster spreads by moving one of them while it runs; then a drill: the
# node of web1 loses its power. Run again, it goes on where it is; nothing outside of the folder below and those
# namespaces is changed but the packages that are installed.
#
# usage: sudo sh node/quickstart.sh          bring it up, show the whole story, and what to try next
#        sudo sh node/quickstart.sh check    the same, look closer, take it down: for tests
#        sudo sh node/quickstart.sh down     take it down
#
# DROVER_QUICKSTART_DIR: where everything is put (/var/tmp/drover-quickstart, about 4 GB)
# DROVER_QUICKSTART_IMAGE: a disk image to use instead of building a Debian one
# DROVER_QUICKSTART_USER: who may log in there and become root by sudo (root): cloud images have one called debian
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
bin=${DROVER_BUILD:-$root/build/release}
work=${DROVER_QUICKSTART_DIR:-/var/tmp/drover-quickstart}
user=${DROVER_QUICKSTART_USER:-root}
subnet=192.168.78
patience=900

say() {
    printf '%s %s\n' "$(date +%H:%M:%S)" "$*"
}

fail() {
    echo "quickstart: $*" >&2
    exit 1
}

drover() { # node, words...
    node=$1
    shift
    DROVER_API=unix:$work/$node/run/api.sock "$bin/drover" "$@"
}

inside() { # node, words...
    node=$1
    shift
    nsenter --net="/run/netns/drover-$node" "$@"
}

until_true() { # what, words...
    what=$1
    shift
    tries=0
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ $tries -lt $((patience * 2)) ] || fail "$what: not in $patience seconds; see the logs in $work"
        sleep 0.5
    done
}

running() { # pid file: the process it names is there
    [ -s "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null
}

# ---- up ----

install_and_build() {
    say "installing packages"
    sh "$root/node/packages.sh" etcd-server mmdebstrap grub-pc-bin e2fsprogs iproute2 iputils-ping nftables seabios \
        openssh-client python3 util-linux
    [ -z "${DROVER_BUILD:-}" ] || return 0
    say "building Drover (one to three minutes the first time)"
    cmake -S "$root" -B "$bin" -G Ninja >/dev/null
    cmake --build "$bin" --target droverd drover drover-guest drover-nbd drover-img drover-import drover-fault drover-balancer drover-drill >/dev/null
}

make_network() {
    say "making three network namespaces, joined by a bridge"
    ip netns list | grep -q '^drover-hub\b' || {
        ip netns add drover-hub
        ip -n drover-hub link set lo up
        ip -n drover-hub link add hub type bridge
        ip -n drover-hub link set hub up
    }
    for i in 1 2 3; do
        ip netns list | grep -q "^drover-n$i\\b" && continue
        ip netns add "drover-n$i"
        ip -n "drover-n$i" link set lo up
        ip -n drover-hub link add "n$i" type veth peer name up0 netns "drover-n$i"
        ip -n drover-hub link set "n$i" master hub up
        ip -n "drover-n$i" address add $subnet.$i/24 dev up0
        ip -n "drover-n$i" link set up0 up
    done
}

start_etcd() {
    running "$work/etcd.pid" && return 0
    tls=$work/n1/state/tls
    setsid nsenter --net=/run/netns/drover-n1 etcd --data-dir "$work/etcd" --listen-client-urls "https://$subnet.1:2379" \
        --advertise-client-urls "https://$subnet.1:2379" --listen-peer-urls http://127.0.0.1:2380 --client-cert-auth \
        --trusted-ca-file "$tls/ca-cert.pem" --cert-file "$tls/server-cert.pem" --key-file "$tls/server-key.pem" \
        </dev/null >"$work/etcd.log" 2>&1 &
    echo $! >"$work/etcd.pid"
}

start_node() {
    running "$work/$1/pid" || {
        setsid nsenter --net="/run/netns/drover-$1" "$bin/droverd" --state "$work/$1/state" --run "$work/$1/run" </dev/null >>"$work/$1/log" 2>&1 &
        echo $! >"$work/$1/pid"
    }
    until_true "droverd of $1" drover "$1" cluster status
}

start_nodes() {
    say "starting etcd and three nodes"
    mkdir -p "$work/n1/pool" "$work/n2/pool" "$work/n3/pool"
    chmod 700 "$work"
    [ -s "$work/n1/state/node.json" ] || inside n1 "$bin/droverd" --init quickstart --node n1 --address $subnet.1 \
        --state "$work/n1/state" --store "etcd:https://$subnet.1:2379"
    start_etcd
    start_node n1
    for n in n2 n3; do
        [ -s "$work/$n/state/node.json" ] || {
            drover n1 cluster invite >"$work/invitation"
            inside $n "$bin/droverd" --join "$work/invitation" --node $n --address "$subnet.${n#n}" --state "$work/$n/state"
            rm -f "$work/invitation"
        }
        start_node $n
    done
}

has() { # noun, name
    drover n1 "$1" show "$2" >/dev/null 2>&1
}

make_image() {
    image=${DROVER_QUICKSTART_IMAGE:-$work/debian.img}
    [ -s "$image" ] || {
        say "building a Debian 12 disk image with mmdebstrap (two to four minutes)"
        /usr/bin/python3 "$root/node/debian_image.py" --size 1024 "$image" >"$work/image.log" 2>&1 ||
            fail "the image cannot be built, see $work/image.log"
    }
}

make_volume() { # name, words...
    has volume "$1" || drover n1 volume create "$@" --wait >/dev/null
}

make_guest() { # name, words...
    has guest "$1" || drover n1 guest create "$@" --memory 384M --network lan --node n2 --ssh-key "$work/key.pub" --start --wait >/dev/null
}

make_guests() {
    for n in n1 n2 n3; do
        has pool pool-$n || drover n1 pool create pool-$n --node $n --path "$work/$n/pool" >/dev/null
    done
    say "importing the image on node n2"
    has image debian || drover n1 image import debian --pool pool-n2 --source "$image" --wait >/dev/null
    say "creating a network, volumes (web1's on all three nodes, encrypted) and two guests, both on n2"
    has network lan || drover n1 network create lan --subnet 10.7.0.0/24 --nat >/dev/null
    [ -s "$work/key" ] || ssh-keygen -q -t ed25519 -N '' -f "$work/key"
    make_volume canary --size 64M --layout replica:3 --encrypt
    make_volume web1 --size 3G --layout replica:3 --encrypt --image debian
    make_volume web2 --size 3G --pool pool-n1 --image debian
    make_guest web1 --disk web1 --disk canary --ha
    make_guest web2 --disk web2
}

of_guest() { # guest, member of its JSON: the first one of that name
    drover n1 guest show "$1" --json | sed -n "s/.*\"$2\": \"*\([^\",]*\).*/\1/p" | head -n 1
}

in_guest() { # guest, a command without single quotes
    node=$(of_guest "$1" node) address=$(of_guest "$1" address)
    shift
    become=
    [ "$user" = root ] || become=sudo
    inside "$node" ssh -i "$work/key" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR \
        -o ConnectTimeout=10 -o BatchMode=yes "$user@$address" "$become sh -c '$*'"
}

up() {
    start=$(date +%s)
    install_and_build
    mkdir -p "$work"
    make_network
    start_nodes
    make_image
    make_guests
    say "waiting until the guests answer (they boot: BIOS, GRUB, Linux, systemd)"
    until_true "web1 lets us in" in_guest web1 true
    until_true "web2 lets us in" in_guest web2 true
    say "up, after $(($(date +%s) - start)) seconds"
    echo
    drover n1 node list
    echo
    drover n1 guest list
    echo
}

# ---- the story ----

# Measured for half a minute a guest may be moved, by this policy; the usual one has more patience.
impatient='{"patience": {"enter": 0.05, "leave": 0.02, "cool_down": "15s"}, "cost": {"move": 1, "stable": "10m"},
 "forecast": {"error_factor": 0}, "weights": {"memory": 0, "network": 0, "disk": 0}, "moves": {"parallel": 1}}'

are_apart() {
    [ "$(of_guest web1 node)" != "$(of_guest web2 node)" ]
}

are_spread() {
    are_apart && ! drover n1 balance plan | grep -q 'is active'
}

balance() {
    are_apart && return 0
    say "both guests get busy, and balancing becomes automatic"
    echo "$impatient" >"$work/policy.json"
    drover n1 balance policy set "$work/policy.json" >/dev/null
    for guest in web1 web2; do
        in_guest $guest 'pkill yes; nohup yes >/dev/null 2>&1 &'
    done
    drover n1 balance mode automatic >/dev/null
    until_true "the balancer moves one of them" are_spread
    drover n1 balance mode advise >/dev/null
    for guest in web1 web2; do
        until_true "$guest is well" in_guest $guest 'pkill -x yes || true'
    done
    echo
    drover n1 balance history
    echo
    drover n1 migration list
    echo
}

start_canary() {
    drover n1 drill canary | in_guest web1 'cat >/usr/local/sbin/canary'
    printf '[Service]\nExecStart=/bin/sh /usr/local/sbin/canary /dev/vdb /dev/ttyS0\n[Install]\nWantedBy=multi-user.target\n' |
        in_guest web1 'cat >/etc/systemd/system/canary.service; systemctl enable --now canary 2>&1; sync'
}

# etcd runs on n1, so that is not the node to lose; nor the one with web2.
leave_n1() {
    [ "$(of_guest web1 node)" = n1 ] || return 0
    for n in n2 n3; do
        [ "$(of_guest web2 node)" = $n ] || to=$n
    done
    say "web1 moves to $to while it runs"
    drover n1 guest migrate web1 --to "$to" --wait >/dev/null
}

drill() {
    [ ! -s "$work/drill.html" ] || return 0
    leave_n1
    start_canary >/dev/null
    node=$(of_guest web1 node)
    say "drill: node $node, which runs web1, loses its power for 30 seconds"
    drover n1 drill run node-power-loss --node "$node" --guest web1 --for 30s --heal 10m --yes --wait --timeout 900 >/dev/null || true
    name=$(drover n1 drill list --no-header | awk 'END { print $1 }')
    drover n1 drill report "$name" --html "$work/drill.html" >/dev/null
    echo
    drover n1 drill report "$name"
    echo
}

next() {
    cat <<END
What to try next:
  export DROVER_API=unix:$work/n1/run/api.sock PATH=$bin:\$PATH
  drover guest console web1                     log in as root, no password; Ctrl-A x leaves
  drover volume show web1                       each of its members is reached over NBD with TLS
  drover guest migrate web2 --to n1             while it runs
  drover event follow                           and in another terminal: drover guest stop web2
  drover --help
The drill as a page: $work/drill.html
Take it all down:
  sudo sh node/quickstart.sh down
END
}

# ---- check ----

check() {
    drover n1 drill list --json | grep -q '"phase": "done"' || fail "the drill has failed"
    drover n1 migration list --json | grep -q '"phase": "done"' || fail "nothing was moved"
    say "checking: the guest writes to its disk, and reads it back"
    until_true "web1 lets us in" in_guest web1 true
    in_guest web1 'dd if=/dev/urandom of=/root/r bs=64k count=32 2>/dev/null; sync; md5sum </root/r' >"$work/sum"
    in_guest web1 'echo 3 >/proc/sys/vm/drop_caches; md5sum </root/r' | cmp - "$work/sum" || fail "the disk does not hold what was written"
    [ "$(in_guest web1 hostname)" = web1 ] || fail "the guest does not know its name"
    drover n1 volume show web2 --json | grep -q '"uri": "nbds://' || fail "the volume is not served over TLS"
    say "checking: agents are killed, the guests are not"
    pid=$(of_guest web1 pid)
    for n in n1 n2 n3; do
        agent=$(pgrep -f "droverd --state $work/$n/")
        # shellcheck disable=SC2086
        kill -9 $agent
        rm "$work/$n/pid"
        while kill -0 "$agent" 2>/dev/null; do sleep 0.1; done
        start_node $n
    done
    is_adopted() { [ "$(of_guest web1 pid)" = "$pid" ]; }
    until_true "the guest is adopted" is_adopted
    in_guest web1 'echo 3 >/proc/sys/vm/drop_caches; md5sum </root/r' | cmp - "$work/sum" || fail "the disk was lost"
    say "checking: web2 shuts down when its power button is pressed"
    drover n1 guest stop web2 --wait >/dev/null
    drover n1 guest stop web1 --force --wait >/dev/null
    for guest in web1 web2; do
        drover n1 guest delete $guest --wait >/dev/null
        drover n1 volume delete $guest --wait >/dev/null
    done
    say "all of it holds"
}

# ---- down ----

# Everything whose folder is ours, or which is in one of our namespaces.
our_processes() {
    for n in n1 n2 n3; do
        ip netns pids "drover-$n" 2>/dev/null || true
        # guests have left the namespace for one of their own; their control groups are known
        cat "/sys/fs/cgroup/drover-$n"/*/cgroup.procs /sys/fs/cgroup/*/"drover-$n"/*/cgroup.procs 2>/dev/null || true
    done
    for f in "$work"/*.pid "$work"/n?/pid; do
        [ -s "$f" ] && running "$f" && cat "$f"
    done
    for p in $(pgrep -f "$work/" || true); do
        [ "$p" = $$ ] || echo "$p"
    done
}

down() {
    say "taking it down"
    tries=0
    while pids=$(our_processes | sort -u) && [ -n "$pids" ] && [ $tries -lt 50 ]; do
        # shellcheck disable=SC2086
        kill -9 $pids 2>/dev/null || true
        tries=$((tries + 1))
        sleep 0.2
    done
    for n in n1 n2 n3 hub; do
        ip netns del "drover-$n" 2>/dev/null || true
        for group in /sys/fs/cgroup/drover-$n /sys/fs/cgroup/*/drover-$n; do
            [ ! -d "$group" ] || find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
        done
    done
    rm -rf "$work"
}

[ "$(id -u)" = 0 ] || fail "needs root: it makes network namespaces"
case ${1:-up} in
up)
    up
    balance
    drill
    next
    ;;
check)
    trap down EXIT
    trap 'exit 1' INT TERM
    up
    balance
    drill
    check
    ;;
down)
    down
    ;;
*)
    fail "'$1': give nothing, check or down"
    ;;
esac
