#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# module-source.sh DIR: bring DIR to the source of the driver as a module outside of
# the kernel's tree: its files, the wire format, the Kbuild. Only what differs is
# written, and what is built there stays.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

dir=$1

files=("$TOP"/linux/drivers/virtio/virtio_tmem*.[ch] "$TOP/packaging/dkms/Kbuild")
for file in "${files[@]}"; do
	put_file "$file" "$dir/${file##*/}"
done
put_file "$TOP/linux/include/uapi/linux/virtio_tmem.h" "$dir/include/uapi/linux/virtio_tmem.h"
for file in "$dir"/virtio_tmem*.[ch]; do
	# What modpost makes
	[ "${file%.mod.c}" = "$file" ] || continue
	[ -f "$TOP/linux/drivers/virtio/${file##*/}" ] || rm -f "$file"
done
