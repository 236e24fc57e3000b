#!/bin/sh
# Runs benchmarks. usage: sh tests/bench/run.sh [--short] [small|stream|durable|copy|tls|luks|volume|idle|guest|migration|drain|kvm|agent|balancer]...
# Without names: all but kvm, which measures in an emulated machine and takes its time. Needs build/release and the packages that tests/run.sh installs. DROVER_BENCH_DIR: where the disks are put (default /tmp).
set -eu
cd "$(dirname "$0")"
exec /usr/bin/python3 -c '
import importlib, sys
short = "--short" in sys.argv
names = [a for a in sys.argv[1:] if a != "--short"] or ["small", "stream", "durable", "copy", "tls", "luks", "volume", "idle", "guest", "migration", "drain", "agent", "balancer"]
for name in names:
    print("== " + name, flush=True)
    importlib.import_module(name).main(short)
' "$@"
