#!/bin/bash
# The NBD client against other implementations' servers, with verification of every byte.
#
#     client_peers.sh EXERCISE CASE          EXERCISE: the program blk_exercise; CASE: one of the functions case_*
#
# Exit: 0 good, 77 the server is not installed here, anything else bad. Everything is made in a directory of its own,
# and only processes started here are ended.
set -euo pipefail

exercise=$1
exercise_dir=$(dirname "$1")
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d "${TMPDIR:-/tmp}/drover-peers.XXXXXX")
pids=()

clean_up() {
    local pid
    for pid in "${pids[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    rm -rf "$dir"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

need() {
    local tool
    for tool in "$@"; do
        command -v "$tool" >/dev/null || { echo "$tool is not installed"; exit 77; }
    done
}

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# Runs a check until it succeeds, for at most 20 seconds.
wait_until() {
    local i
    for ((i = 0; i < 400; i++)); do
        "$@" && return
        sleep 0.05
    done
    fail "waited in vain: $*"
}

# start SOCKET COMMAND...: a server in the background, until it listens. Its pid is then in $server.
start() {
    local socket=$1
    shift
    rm -f "$socket"
    "$@" >>"$dir/server.log" 2>&1 &
    server=$!
    pids+=("$server")
    wait_until listening "$socket" "$server"
}

listening() {
    kill -0 "$2" 2>/dev/null || { cat "$dir/server.log" >&2; fail "the server did not start"; }
    [ -S "$1" ]
}

# stop PID [SIGNAL]
stop() {
    kill "-${2:-TERM}" "$1"
    wait "$1" || true
}

stack() { # stack SOCKET [OPTIONS]
    echo "{\"driver\":\"nbd\",\"uri\":\"nbd+unix:///?socket=$1\"${2:+,$2}}"
}

good() {
    echo "--- $*"
    timeout 120 "$exercise" "$@" || fail "blk_exercise $*"
}

# bad TEXT ARGUMENTS...: has to fail, cleanly, and say that
bad() {
    local text=$1 rc=0
    shift
    echo "--- (to be refused) $*"
    timeout 60 "$exercise" "$@" >"$dir/out" 2>&1 || rc=$?
    cat "$dir/out"
    [ "$rc" = 1 ] || fail "exit status $rc instead of 1: $*"
    grep -qF -- "$text" "$dir/out" || fail "it does not say '$text'"
}

past() { # past COUNT: the exercise running in the background has done so many requests
    kill -0 "$exercise_pid" 2>/dev/null || fail "blk_exercise ended too soon"
    [ "$(cat "$dir/progress" 2>/dev/null || echo 0)" -ge "$1" ] 2>/dev/null
}

in_background() {
    rm -f "$dir/progress"
    timeout 120 "$exercise" -p "$dir/progress" "$@" &
    exercise_pid=$!
    pids+=("$exercise_pid")
}

finished() {
    wait "$exercise_pid" || fail "blk_exercise in the background: $?"
}

# ---- cases ----

case_nbdkit() {
    need nbdkit
    local s=$dir/s
    start "$s" nbdkit -f -U "$s" memory 64M
    good -n 3000 "$(stack "$s")"
    good -n 3000 -q 1 -s 2 "$(stack "$s")"
    good -n 3000 -q 64 -s 3 "$(stack "$s" '"connections":4,"in-flight":8')"
    good -n 200 -q 2 -b 8M -a 64M -s 4 "$(stack "$s")"
    stop "$server"
    start "$s" nbdkit -f -U "$s" --no-sr memory 64M
    good -n 2000 "$(stack "$s")"
    stop "$server"
    for mask in 0 1 2; do
        start "$s" nbdkit -f -U "$s" --mask-handshake=$mask memory 64M
        good -n 500 "$(stack "$s")"
        stop "$server"
    done
    start "$s" nbdkit -f -U "$s" -e wanted --filter=exportname memory 16M exportname=wanted exportname-strict=true
    good -n 200 "$(stack "$s" '"export":"wanted"')"
    bad "the server" "$(stack "$s" '"export":"other"')"
    stop "$server"
    start "$s" nbdkit -f -U "$s" pattern 16M
    good -r -n 500 "$(stack "$s")"
    stop "$server"
    start "$s" nbdkit -f -U "$s" memory 1000001
    good -n 500 -q 4 "$(stack "$s")"
    stop "$server"
    start "$s" nbdkit -f -o -U "$s" memory 16M
    bad "oldstyle" "$(stack "$s")"
}

case_filters() {
    need nbdkit python3
    local s=$dir/s
    start "$s" nbdkit -f -U "$s" --filter=error memory 64M error=ENOSPC error-pwrite-rate=5%
    bad "No space left on device" -n 2000 "$(stack "$s")"
    stop "$server"
    start "$s" nbdkit -f -U "$s" --filter=error memory 64M error=EIO error-pread-rate=5%
    bad "Input/output error" -n 2000 "$(stack "$s")"
    stop "$server"
    start "$s" nbdkit -f -U "$s" --filter=blocksize-policy memory 64M blocksize-minimum=4096 blocksize-preferred=64K \
        blocksize-maximum=256K blocksize-error-policy=error
    good -n 2000 -b 1M "$(stack "$s")"
    stop "$server"
    start "$s" nbdkit -f -U "$s" --filter=delay memory 64M rdelay=2ms wdelay=1ms
    good -n 1000 -q 16 "$(stack "$s" '"connections":2')"
    stop "$server"
    start "$s" nbdkit -f -U "$s" --filter=noextents --filter=nozero memory 64M
    good -n 1000 "$(stack "$s")"
    stop "$server"
    start "$s" nbdkit -f -U "$s" --filter=pause memory 64M pause-control="$dir/control"
    in_background -n 3000 "$(stack "$s")"
    wait_until past 500
    python3 - "$dir/control" <<'PYTHON'
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
for command, answer in ((b"p", b"P"), (b"r", b"R")):
    s.sendall(command)
    assert s.recv(1) == answer
PYTHON
    finished
}

case_qemu() {
    need qemu-nbd
    local s=$dir/s
    truncate -s 64M "$dir/disk"
    start "$s" qemu-nbd -t -f raw -e 8 --discard=unmap -k "$s" "$dir/disk"
    good -n 3000 "$(stack "$s")"
    good -n 3000 -q 32 -s 2 "$(stack "$s" '"connections":4')"
    stop "$server"
    start "$s" qemu-nbd -t -r -f raw -x ro -k "$s" "$dir/disk"
    good -n 300 "$(stack "$s" '"export":"ro"')"
    bad "no such export" "$(stack "$s" '"export":"rw"')"
}

# By TCP: version 3.24 ends after the first client of its Unix socket.
case_nbd_server() {
    need nbd-server python3
    local port uri
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    uri="nbd://127.0.0.1:$port"
    truncate -s 64M "$dir/disk"
    cat >"$dir/config" <<CONFIG
[generic]
    listenaddr = 127.0.0.1
    port = $port
    allowlist = true
[disk]
    exportname = $dir/disk
    flush = true
    fua = true
    trim = true
[plain]
    exportname = $dir/disk
    flush = true
    fua = false
CONFIG
    nbd-server -C "$dir/config" -p "$dir/pid"
    wait_until test -s "$dir/pid"
    pids+=("$(cat "$dir/pid")")
    wait_until connects "$port"
    good -n 2000 "nbd:$uri/disk"
    good -n 2000 -q 32 -s 2 "{\"driver\":\"nbd\",\"uri\":\"$uri/disk\",\"connections\":4}"
    good -n 1000 -s 3 "nbd:$uri/plain"
    bad "no such export" "nbd:$uri/nothing"
}

connects() {
    (: </dev/tcp/127.0.0.1/"$1") 2>/dev/null
}

case_tls() {
    need nbdkit psktool certtool
    local s=$dir/s x=$dir/x509
    psktool -u alice -p "$dir/keys" >/dev/null 2>&1
    psktool -u bob -p "$dir/other" >/dev/null 2>&1
    psktool -u alice -p "$dir/wrong" >/dev/null 2>&1
    chmod 600 "$dir/keys" "$dir/other" "$dir/wrong"
    start "$s" nbdkit -f -U "$s" --tls=require --tls-psk="$dir/keys" memory 64M
    local uri="nbds+unix://alice@/?socket=$s&tls-psk-file="
    good -n 2000 "nbd:${uri}$dir/keys"
    good -n 2000 -q 32 "{\"driver\":\"nbd\",\"uri\":\"${uri}$dir/keys\",\"connections\":3}"
    bad "TLS" "nbd:${uri}$dir/wrong"
    bad "alice" "nbd:${uri}$dir/other"
    bad "write nbds://" "$(stack "$s")"
    stop "$server"
    start "$s" nbdkit -f -U "$s" memory 16M
    bad "STARTTLS was refused" "nbd:${uri}$dir/keys"
    stop "$server"
    make_certificates "$x"
    start "$s" nbdkit -f -U "$s" --tls=require --tls-certificates="$x" --tls-verify-peer memory 64M
    uri="nbds+unix:///?socket=$s&tls-certificates="
    good -n 2000 "nbd:${uri}$x&tls-hostname=storage1.example"
    good -n 300 "nbd:${uri}$x"
    bad "TLS" "nbd:${uri}$x&tls-hostname=storage2.example"
    make_certificates "$dir/strangers"
    bad "TLS" "nbd:${uri}$dir/strangers&tls-hostname=storage1.example"
}

make_certificates() { # make_certificates DIRECTORY
    mkdir "$1"
    printf 'cn = test authority\nca\ncert_signing_key\nexpiration_days = 2\n' >"$1/ca.info"
    printf 'cn = storage1.example\ndns_name = storage1.example\ntls_www_server\nsigning_key\nencryption_key\n' \
        >"$1/server.info"
    printf 'cn = node7\ntls_www_client\nsigning_key\nencryption_key\n' >"$1/client.info"
    {
        certtool --generate-privkey --outfile "$1/ca-key.pem"
        certtool --generate-self-signed --load-privkey "$1/ca-key.pem" --template "$1/ca.info" \
            --outfile "$1/ca-cert.pem"
        for side in server client; do
            certtool --generate-privkey --outfile "$1/$side-key.pem"
            certtool --generate-certificate --load-privkey "$1/$side-key.pem" --load-ca-certificate "$1/ca-cert.pem" \
                --load-ca-privkey "$1/ca-key.pem" --template "$1/$side.info" --outfile "$1/$side-cert.pem"
        done
    } >"$dir/certtool.log" 2>&1 || { cat "$dir/certtool.log"; fail "certtool"; }
    chmod 600 "$1"/*-key.pem
}

# Connections are cut again and again, between and in the middle of messages. (nbdkit 1.32 does not survive that.)
case_cut() {
    need qemu-nbd python3
    local s=$dir/s p=$dir/proxy proxy seed cuts
    truncate -s 64M "$dir/disk"
    start "$s" qemu-nbd -t -f raw -e 16 -k "$s" "$dir/disk"
    local options=
    for seed in 1 2 3; do
        : >"$dir/server.log"
        start "$p" python3 "$here/cut_proxy.py" "$p" "$s" "$seed" 100000 8000000
        proxy=$server
        good -n 2500 -s "$seed" -q 8 "$(stack "$p" "$options")"
        options='"connections":4'
        stop "$proxy"
        cuts=$(grep -E '^[0-9]+$' "$dir/server.log" | tail -n 1) # others write there, too
        echo "$cuts cuts"
        [ "${cuts:-0}" -gt 10 ] || fail "too few cuts to mean anything"
    done
}

# The server is killed and started again while requests are in flight.
case_kill() {
    need nbdkit
    local s=$dir/s at
    truncate -s 64M "$dir/disk"
    start "$s" nbdkit -f -U "$s" file "$dir/disk"
    in_background -n 8000 -q 16 "$(stack "$s" '"connections":3')"
    for at in 1000 2500 4000 5500; do
        wait_until past $at
        stop "$server" KILL
        start "$s" nbdkit -f -U "$s" file "$dir/disk"
    done
    finished
}

# Ours to ours: 64-bit headers, cuts in clear and under TLS, the server killed under two stages of connections. In the
# last one the exercise talks to a sealed drover-nbd whose own stack is the NBD client, which must reconnect in there.
case_drover() {
    need psktool python3
    local nbd=$exercise_dir/drover-nbd s=$dir/s p=$dir/proxy front=$dir/front seed at
    export ASAN_OPTIONS=detect_leaks=0
    truncate -s 64M "$dir/disk"
    psktool -u alice -p "$dir/keys" >/dev/null 2>&1
    chmod 600 "$dir/keys"

    start "$s" "$nbd" --listen "unix:$s" mem:64M
    good -n 3000 "$(stack "$s")"
    good -n 3000 -q 64 -s 3 "$(stack "$s" '"connections":4,"in-flight":8')"
    good -n 200 -q 2 -b 8M -a 64M -s 4 "$(stack "$s")"
    stop "$server"

    start "$s" "$nbd" --listen "unix:$s" --tls on --tls-psk "$dir/keys" "raw:$dir/disk"
    for seed in 1 2; do
        : >"$dir/server.log"
        start "$p" python3 "$here/cut_proxy.py" "$p" "$s" "$seed" 100000 8000000
        good -n 2500 -s "$seed" -q 8 "$(stack "$p" '"connections":4')"
        good -n 2000 -s "$seed" -q 8 "nbd:nbds+unix://alice@/?socket=$p&tls-psk-file=$dir/keys"
        stop "$server"
        [ "$(grep -cE '^[0-9]+$' "$dir/server.log")" -ge 1 ] || fail "the proxy did not say how often it cut"
        [ "$(grep -E '^[0-9]+$' "$dir/server.log" | tail -n 1)" -gt 10 ] || fail "too few cuts to mean anything"
    done
    stop "${pids[1]}"

    # a sealed server that was started as root is somebody else when it connects again
    umask 0
    chmod 711 "$dir"
    start "$s" "$nbd" --listen "unix:$s" "raw:$dir/disk"
    local back=$server
    start "$front" "$nbd" --listen "unix:$front" "$(stack "$s" '"connections":2')"
    in_background -n 6000 -q 16 "$(stack "$front" '"connections":3')"
    for at in 1000 2500 4000; do
        wait_until past $at
        stop "$back" KILL
        start "$s" "$nbd" --listen "unix:$s" "raw:$dir/disk"
        back=$server
    done
    finished
}

"case_$2"
