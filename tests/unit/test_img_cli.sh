#!/bin/bash
# drover-img as people use it: the real binary on real files and over NBD. $1: drover-img, $2: drover-nbd. Needs jq.
set -u
img=$(realpath "$1")
nbd=$(realpath "$2")
dir=$(mktemp -d "${TMPDIR:-/tmp}/drover-img-test-XXXXXX")
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
failures=0

fail() {
    echo "FAILED: $*" >&2
    failures=$((failures + 1))
}

# run CODE ARGUMENT...: output in out, errors in err
run() {
    local want=$1 code
    shift
    "$img" "$@" >out 2>err
    code=$?
    [ $code -eq "$want" ] || fail "'$*' ended with $code, not $want: $(cat err)"
}

# complains CODE TEXT ARGUMENT...: one line on standard error that has the text, nothing on standard output
complains() {
    local code=$1 text=$2
    shift 2
    run "$code" "$@"
    grep -qF -- "$text" err || fail "'$*' said '$(cat err)', not '$text'"
    [ "$(wc -l <err)" -eq 1 ] || fail "'$*' said more than one line: $(cat err)"
    [ ! -s out ] || fail "'$*' printed '$(cat out)'"
}

# prints TEXT: the last output has it
prints() {
    grep -qF -- "$1" out || fail "printed '$(cat out)', not '$1'"
}

# json FILTER: true of the last output
json() {
    jq -e "$1" out >/dev/null || fail "'$1' is not true of $(cat out)"
}

same() {
    cmp "$1" "$2" || fail "$1 and $2 differ"
}

# ---- help ----
run 0 --help
prints "Exit codes:"
help=$(cat out)
for command in create info map copy compare resize; do
    grep -q "^  $command " <<<"$help" || fail "--help does not list $command"
    run 0 $command --help
    prints "Exit codes:"
    prints "Usage: drover-img $command"
done
run 0 --version
prints "drover-img "
complains 2 "a command is missing: create, info, map, copy"
complains 2 "there is no command 'convert' (there are: create, info" convert

# ---- create ----
run 0 create a.img 10M
prints "'a.img' created, 10485760 bytes"
[ "$(stat -c %s a.img)" -eq 10485760 ] || fail "a.img has a wrong size"
run 0 create --json full.img 300K --preallocate=full
json '.file == "full.img" and .size_bytes == 307200'
[ "$(stat -c %b full.img)" -ge 600 ] || fail "full.img is not allocated"
run 0 create falloc.img 1M --preallocate falloc
[ "$(stat -c %b falloc.img)" -ge 2048 ] || fail "falloc.img is not allocated"
complains 2 "there is no driver 'odd' (there are: raw, mem" create odd:name.img 5
run 0 create ./odd:name.img 5
run 0 info odd:name.img
complains 1 "'a.img' exists (--force overwrites it)" create a.img 1M
echo data >a.img
run 0 create a.img 1M --force
[ "$(tr -d '\0' <a.img | wc -c)" -eq 0 ] || fail "--force kept old data"
complains 2 "FILE SIZE: nothing was given" create
complains 2 "FILE SIZE: the second one is missing" create b.img
complains 2 "'x' is one too many: only FILE SIZE is wanted" create b.img 1M x
complains 2 "SIZE: 'big' is not a size" create b.img big
complains 2 "SIZE: size '9E' is over 2^63-1 bytes" create b.img 9E
complains 2 "--preallocate: 'some' must be one of: off, falloc, full" create b.img 1M --preallocate=some
complains 2 "there is no option --sparse (there are: --preallocate, --force, --json, --help)" create --sparse b.img 1M
complains 2 "there is no option -f " create -f b.img 1M
complains 2 "--preallocate needs a value: --preallocate=HOW" create b.img 1M --preallocate
complains 2 "--force takes no value" create b.img 1M --force=yes
complains 2 "'mem:1M' is no file name" create mem:1M 1M
complains 1 "cannot create 'none/b.img': No such file or directory" create none/b.img 1M
complains 1 "cannot create '.': Is a directory" create --force . 1M
complains 1 "'/dev/null' is not a regular file" create --force /dev/null 1M
complains 2 "an empty location" create "" 1M
[ ! -e b.img ] || fail "b.img was made"

# ---- info ----
run 0 info a.img
prints "size:        1 MiB (1048576 bytes)"
run 0 info --json a.img
json '.drivers == ["raw"] and .size_bytes == 1048576 and .align_bytes == 1 and (.allocated_bytes | type) == "number"'
json '(.can | index("extents")) and .image == "a.img"'
run 0 info --json '[{"driver":"throttle","iops":5},{"driver":"fault","rules":[]},{"driver":"mem","size":"3M"}]'
json '.drivers == ["throttle", "fault", "mem"] and .size_bytes == 3145728 and has("allocated_bytes") == false'
echo '{"driver":"mem","size":77}' >stack.json
run 0 info --json @stack.json
json '.size_bytes == 77'
complains 1 "raw: 'none.img': No such file or directory" info none.img
complains 1 "unknown driver 'qcow9' (there are: raw, mem" info '[{"driver":"qcow9"}]'
complains 1 "there is no driver 'qcow9'" info qcow9:a.img
complains 1 "line 1, column" info '[{'
complains 2 "IMAGE: nothing was given" info --json

# ---- copy ----
head -c 3000001 /dev/urandom >r.img
run 0 copy r.img c.img
same r.img c.img
grep -Eq '^3000001 bytes copied, 0 bytes skipped as zeroes, [0-9.]+ seconds, [0-9.]+ MB/s$' out || fail "printed $(cat out)"
[ ! -s err ] || fail "progress without a terminal: $(cat err)"
run 0 copy --json --progress=always r.img raw:c2.img
json '.copied_bytes == 3000001 and .zero_bytes == 0 and .seconds > 0 and .bytes_per_second > 0'
grep -q '100.0% \[=*\] 2.9 MiB of 2.9 MiB' err || fail "no progress: $(cat -v err)"
same r.img c2.img

truncate -s 20M s.img
dd if=r.img of=s.img bs=64K count=10 seek=100 conv=notrunc status=none
dd if=/dev/zero of=s.img bs=64K count=10 seek=200 conv=notrunc status=none
run 0 copy --json s.img s1.img
same s.img s1.img
json '.copied_bytes == 655360 and .copied_bytes + .zero_bytes == 20971520'
[ "$(stat -c %b s1.img)" -le 1400 ] || fail "the copy is not sparse"
run 0 copy --json --sparse=never s.img s2.img
same s.img s2.img
json '.copied_bytes == 20971520'
[ "$(stat -c %b s2.img)" -ge 40960 ] || fail "the copy is sparse"
tr '\0' 'x' <s.img >dirty.img
run 0 copy --sparse=always --request-size=64K --requests=3 --no-flush s.img dirty.img
same s.img dirty.img

run 0 create ./small.img 1000
run 0 copy --offset 1M --length 100000 --to-offset 12345 r.img small.img
cmp <(tail -c +1048577 r.img | head -c 100000) <(tail -c +12346 small.img) || fail "windows"
[ "$(stat -c %s small.img)" -eq 112345 ] || fail "small.img did not grow to 112345"
run 0 copy --length 10 r.img large.img --to-offset 1M
[ "$(stat -c %s large.img)" -eq 1048586 ] || fail "large.img is not 1048586 bytes"
run 0 copy --length 0 r.img empty.img
[ -e empty.img ] && [ ! -s empty.img ] || fail "empty.img is not empty"
(umask 027 && "$img" copy a.img masked.img >/dev/null)
[ "$(stat -c %a masked.img)" = 640 ] || fail "the umask was not kept"

complains 1 "'none.img' does not exist, and --no-create forbids" copy --no-create r.img none.img
complains 1 "--offset: 4000000 is behind the end of the source, which has 3000001 bytes" copy --offset 4000000 r.img n.img
complains 1 "--length: 2 bytes from 3000000 do not fit into the source, which has 3000001 bytes" copy --offset 3000000 --length 2 r.img n.img
complains 1 "are the same file" copy r.img ./r.img
complains 1 "raw: 'none.img': No such file" copy none.img n.img
[ ! -e n.img ] || fail "n.img was made"
complains 1 "is too small: it has 1048576 bytes, 3000001 are needed, and it cannot grow" copy r.img '[{"driver":"raw","file":"a.img","size":"1M"}]'
complains 2 "--requests: '0' is not a number from 1 to 1024" copy --requests 0 r.img n.img
complains 2 "--requests: '5x' is not a number" copy --requests 5x r.img n.img
complains 2 "--request-size: '5000' must be a power of two from 4K to 32M" copy --request-size 5000 r.img n.img
complains 2 "--sparse: 'yes' must be one of: auto, always, never" copy --sparse yes r.img n.img
complains 2 "--progress: 'no' must be one of: auto, always, never" copy --progress no r.img n.img
complains 2 "--offset: '-1' is not a size" copy --offset=-1 r.img n.img
complains 2 "SOURCE DESTINATION: the second one is missing" copy r.img
complains 2 "'x' is one too many" copy r.img n.img x
complains 2 "--offset needs a value: --offset=SIZE" copy r.img n.img --offset

bad_read='[{"driver":"fault","rules":[{"op":"read","offset":"1M","length":1,"error":"EIO"}]},{"driver":"raw","file":"r.img"}]'
complains 1 "'bad.img' is incomplete: reading the source at offset 1048576: Input/output error" copy --request-size=64K "$bad_read" bad.img
[ -e bad.img ] || fail "the incomplete copy is gone"
bad_write='[{"driver":"fault","rules":[{"op":"write","after":2,"error":"ENOSPC"}]},{"driver":"raw","file":"bad.img"}]'
complains 1 "writing the destination at offset" copy r.img "$bad_write"
bad_flush='[{"driver":"fault","rules":[{"op":"flush","error":"EIO"}]},{"driver":"raw","file":"bad.img"}]'
complains 1 "flushing the destination: Input/output error" copy r.img "$bad_flush"
run 0 copy --no-flush r.img "$bad_flush"

# a signal ends a copy that would take an hour
slow='[{"driver":"throttle","bps":1000,"bps-burst":1},{"driver":"raw","file":"r.img"}]'
for signal in INT:130 TERM:143; do
    rm -f err # that of the one before: a signal before the program is there would end a shell, which removes the folder
    "$img" copy --request-size=4K --requests=1 --progress=always "$slow" slow.img >out 2>err &
    pid=$!
    until grep -qs '%' err; do :; done # the bar is drawn once signals are watched for
    kill -${signal%:*} $pid
    wait $pid
    code=$?
    [ $code -eq ${signal#*:} ] || fail "SIG${signal%:*} ended the copy with $code"
    grep -q "is incomplete: stopped before the end" err || fail "SIG${signal%:*}: $(cat -v err)"
done

# ---- map ----
run 0 map --json s.img
json 'map(.length_bytes) | add == 20971520'
json '[.[] | select(.zero | not) | .offset_bytes] == [6553600, 13107200]'
json '.[0] == {offset_bytes: 0, length_bytes: 6553600, zero: true, hole: true, depth: 0}'
run 0 map --json --offset 6553500 --length 200 s.img
json '. == [{offset_bytes: 6553500, length_bytes: 100, zero: true, hole: true, depth: 0},
            {offset_bytes: 6553600, length_bytes: 100, zero: false, hole: false, depth: 1}]'
run 0 map s.img
prints "         6553600           655360      1  data"
run 0 map --json --length 0 s.img
json '. == []'
complains 1 "--offset: 41943040 is behind the end of the image, which has 20971520 bytes" map --offset 40M s.img
complains 1 "--length: the image has only 20971520 bytes from there" map --length 21M s.img
complains 1 "asking for extents at offset 0: Input/output error" map --json '[{"driver":"fault","rules":[{"op":"extents","error":"EIO"}]},{"driver":"mem","size":"1M"}]'
complains 2 "IMAGE: nothing was given" map

# ---- compare ----
run 0 compare s.img s2.img
prints "the images are the same"
printf x | dd of=s2.img bs=1 seek=13107201 conv=notrunc status=none
run 1 compare s.img s2.img
prints "the images differ, first at offset 13107201"
run 1 compare --json s2.img s.img
json '.same == false and .first_difference_offset == 13107201 and .size_bytes == [20971520, 20971520]'
cp s.img longer.img
truncate -s +5M longer.img
run 0 compare s.img longer.img
prints "the same, but for zeroes at the end: 20971520 and 26214400 bytes"
run 0 compare --json longer.img s.img
json '.same and .first_difference_offset == null and .size_bytes == [26214400, 20971520]'
run 1 compare --strict s.img longer.img
prints "differ in size: 20971520 and 26214400 bytes"
complains 2 "reading the first image at offset 6815744: Input/output error" compare "$(sed 's/"1M"/"6700K"/; s/r.img/s.img/' <<<"$bad_read")" s.img
complains 2 "No such file" compare s.img none.img
complains 2 "IMAGE IMAGE: the second one is missing" compare s.img
complains 2 "there is no option --bogus (there are: --strict" compare --bogus s.img s.img

# ---- resize ----
run 0 create z.img 1M
run 0 resize z.img 3M
prints "resized from 1048576 to 3145728 bytes"
run 0 resize --json z.img +1000
json '.size_bytes == 3146728 and .old_size_bytes == 3145728'
complains 1 "this would cut 1048576 bytes off the end: --shrink allows it" resize z.img -1M
complains 1 "this would cut 3146718 bytes off the end" resize z.img 10
run 0 resize --shrink z.img -1M
run 0 resize -5 z.img --shrink
[ "$(stat -c %s z.img)" -eq 2098147 ] || fail "z.img has $(stat -c %s z.img) bytes"
complains 1 "the image has only 2098147 bytes, it cannot lose 1099511627776" resize z.img -1T --shrink
complains 2 "SIZE: 'more' is not a size" resize z.img more
complains 2 "SIZE: '' is not a size" resize z.img +
complains 2 "IMAGE SIZE: the second one is missing" resize z.img
complains 2 "'-1M' is one too many" resize z.img 5M -1M
complains 1 "cannot be resized" resize '[{"driver":"raw","file":"z.img","size":"1M"}]' 2M

# ---- luks ----
printf secret >key
cheap="--kdf=pbkdf2 --iterations=1000"
run 0 luks --help
prints "change-key"
run 0 luks create v.img --size=1M --key-file=key $cheap
prints "'v.img' is a LUKS2 volume of 1048576 bytes"
run 0 luks info --json v.img
json '.version == 2 and .data_bytes == 1048576 and (.keyslots | length) == 1 and .headers[1].state == "good"'
run 0 luks check v.img
prints "both headers are sound"
complains 1 "'v.img': File exists" luks create v.img --size=1M --key-file=key
complains 2 "give --size for a new file, or --force" luks create v.img --key-file=key
run 0 luks create v.img --size=2M --force --key-file=key $cheap
[ "$(stat -c %s v.img)" -eq 18874368 ] || fail "v.img has $(stat -c %s v.img) bytes"
run 0 luks create --force v2.img --size=2M --key-file=key $cheap
complains 2 "--type: 'luks3' must be one of: luks1, luks2" luks create v.img --type=luks3
complains 2 "there is no command 'luks bogus' (there are: create, info, check" luks bogus
complains 2 "a command is missing: create, info, check" luks
complains 1 "cannot open the key file 'none'" luks create w.img --size=1M --key-file=none
[ ! -e w.img ] || fail "w.img was left behind"
complains 1 "LUKS1 has only pbkdf2" luks create w.img --size=1M --type=luks1 --kdf=argon2id --key-file=key
[ ! -e w.img ] || fail "w.img was left behind"
complains 1 "both headers are damaged" luks info r.img
complains 1 "there is no keyslot 5" luks remove-key v.img --slot 5
complains 1 "--yes does it" luks erase v.img
run 0 luks erase --yes v.img
run 0 luks info --json v.img
json '.keyslots == []'

# ---- over NBD ----
run 0 create nbd.img 20M
coproc server { exec "$nbd" --listen="unix:$dir/nbd.sock" --print-listening raw:nbd.img 2>server.err; }
server_pid=$server_PID
read -r -t 30 _ <&"${server[0]}" || fail "drover-nbd does not listen: $(cat server.err)"
uri="nbd+unix:///?socket=$dir/nbd.sock"
run 0 info --json "$uri"
json '.drivers == ["nbd"] and .size_bytes == 20971520'
run 0 copy --json s.img "$uri"
json '.copied_bytes == 655360'
same s.img nbd.img
run 0 compare "$uri" s.img
run 0 copy "$uri" back.img
same s.img back.img
[ "$(stat -c %b back.img)" -le 1400 ] || fail "the copy over NBD is not sparse"
run 0 map --json "$uri"
json '[.[] | select(.zero | not) | .offset_bytes][0] == 6553600'
complains 1 "is too small: it has 20971520 bytes, 26214400 are needed, and it cannot grow" copy longer.img "$uri"
complains 1 "is in use by another program" copy r.img nbd.img
kill "$server_pid"
wait "$server_pid"

# ---- standard output ----
if [ -c /dev/full ]; then
    "$img" info a.img >/dev/full 2>err
    [ $? -eq 1 ] && grep -q "cannot write to standard output" err || fail "a full standard output: $(cat err)"
fi

[ $failures -eq 0 ] || { echo "$failures failures" >&2; exit 1; }
echo "all passed"
