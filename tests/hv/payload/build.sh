#!/bin/sh
# Builds the payload. usage: build.sh OUTPUT [CC]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
cc=${2:-cc}
flags="-std=gnu17 -O1 -Wall -Wextra -Werror -ffreestanding -nostdlib -fno-pic -mgeneral-regs-only -fno-stack-protector \
    -fno-asynchronous-unwind-tables -fcf-protection=none -fno-strict-aliasing -I $root"
legacy=$(mktemp -d)
trap 'rm -r "$legacy"' EXIT
# 32-bit code in a 64-bit file: what the compiler says in 32-bit mode, assembled by the other assembler
for source in "$here"/legacy/*.c; do
    name=$legacy/$(basename "$source" .c)
    # shellcheck disable=SC2086
    "$cc" $flags -m32 -S -o "$name.s" "$source"
    { echo .code32; cat "$name.s"; } | "$cc" -m64 -c -x assembler -o "$name.o" -
done
# shellcheck disable=SC2086
"$cc" $flags -g -m64 -static -no-pie -mcmodel=large -mno-red-zone -Wl,--build-id=none -Wl,-z,noexecstack \
    -Wl,-T,"$here/payload.ld" -Wl,--no-warn-rwx-segments -o "$1" "$here/start.S" "$here"/*.c "$legacy"/*.o
