#!/bin/sh
# The quickstart's own check, with the disk image that other tests have made already.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
DROVER_QUICKSTART_IMAGE=$(/usr/bin/python3 "$here/../hv/disk_image.py")
DROVER_QUICKSTART_DIR=$(mktemp -d /var/tmp/drover-quickstart-XXXXXX)
DROVER_BUILD=$(cd "$DROVER_BUILD" && pwd)
export DROVER_QUICKSTART_IMAGE DROVER_QUICKSTART_DIR DROVER_BUILD
exec sh "$here/../../node/quickstart.sh" check
