#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# gen-standard-header.sh QEMU_TREE OUT: write QEMU's copy of virtio_tmem.h to
# OUT/include/standard-headers/linux, by the very function that QEMU's own
# scripts/update-linux-headers.sh uses for every other virtio header.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

script=$1/scripts/update-linux-headers.sh
header=$TOP/linux/include/uapi/linux/virtio_tmem.h
out=$2/include/standard-headers/linux

function=$(sed -n "/^cp_portable() {\$/,/^}\$/p" "$script")
[ -n "$function" ] || die "no function cp_portable in $script"
eval "$function"

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
# shellcheck disable=SC2034 # read by cp_portable
arch=
cp_portable "$header" "$tmp" || die "cp_portable refuses $header"
put_file "$tmp/virtio_tmem.h" "$out/virtio_tmem.h"
