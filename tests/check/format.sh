#!/bin/sh
# Every source is as clang-format would write it. usage: format.sh ROOT
cd "$1" || exit 2
find node nbd replication hv balancer tests -name '*.[ch]' -print0 | xargs -0 clang-format --dry-run -Werror &&
    echo "every file is formatted"
