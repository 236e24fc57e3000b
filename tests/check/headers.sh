#!/bin/sh
# Each header compiles alone, starts with a comment, and has the guard its path says.
# usage: headers.sh ROOT
root=$1
cd "$root" || exit 2
status=0
for h in $(find node nbd replication hv balancer tests -name '*.h' | sort); do
    guard=$(echo "$h" | tr 'a-z/.' 'A-Z__')
    case $h in tests/*) ;; *)
        grep -q "^#ifndef $guard\$" "$h" || { echo "$h: guard should be $guard"; status=1; }
        head -c 2 "$h" | grep -q '/\*' || { echo "$h: must start with its contract"; status=1; } ;;
    esac
    cc -std=gnu17 -D_GNU_SOURCE -Wall -Wextra -Werror -fsyntax-only -I. -x c "$h" -Wno-unused-function \
        -Wno-pragma-once-outside-header || { echo "$h: does not compile alone"; status=1; }
done
[ $status = 0 ] && echo "every header stands alone"
exit $status
