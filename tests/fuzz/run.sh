#!/bin/sh
# Fuzzes one target, tests/fuzz/fuzz_TARGET.c. usage: run.sh TARGET SECONDS [libFuzzer arguments]
# Needs build/fuzz (tests/run.sh makes it): cmake -S . -B build/fuzz -G Ninja -DDROVER_PRESET=fuzz -DCMAKE_C_COMPILER=clang
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
target=$1 seconds=$2
shift 2
build=${DROVER_FUZZ_BUILD:-$root/build/fuzz}
corpus=$build/corpus-$target
/usr/bin/python3 "$root/tests/fuzz/seeds.py" "$target" "$corpus"
cd "$build"
exec "./fuzz_$target" -max_total_time="$seconds" -max_len=20000 -timeout=60 -rss_limit_mb=4096 -print_final_stats=1 \
    -verbosity=0 -artifact_prefix="$build/crash-$target-" "$@" "$corpus"
