#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# build-guest.sh [KERNEL...]: build what test guests boot: build/guest, and for each
# KERNEL of get-kernel.sh also that kernel, the driver as a module for it, and an
# initramfs that has both its modules and ours.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

guest()
{
	make -s --no-print-directory -C "$TOP/tests/guest" "O=$BUILD/guest" "$@" >&2
}

guest
for kernel; do
	dir=$("$TOP/scripts/get-kernel.sh" "$kernel")
	module=$("$TOP/scripts/build-module.sh" "$kernel")
	guest "KERNEL=$kernel" "KERNEL_DIR=$dir" "MODULE=$module"
done
