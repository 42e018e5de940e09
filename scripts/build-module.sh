#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# build-module.sh KERNEL: build the driver as a module for a kernel of
# get-kernel.sh, or for the headers in a folder, with all of gcc's warnings, none of
# which is let pass. Prints the path of virtio_tmem.ko.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

kernel=${1:-}
case $kernel in
*/*)
	[ -f "$kernel/Module.symvers" ] ||
		die "$kernel: these are no headers of a kernel (no Module.symvers)"
	headers=$(cd "$kernel" && pwd)
	name=$(tr -c '[:alnum:]._\n-' _ <<< "${headers#/}")
	;;
*)
	dir=$("$TOP/scripts/get-kernel.sh" "$kernel")
	headers=$(realpath "$dir/headers")
	name=$kernel
	;;
esac
out=$BUILD/module/$name

# The compiler here is not the one that built the kernel, whose configuration says
# what that could do; and there may be no pahole, or one that is too old.
make_args=(-C "$headers" "M=$out" -j "$JOBS" "CC=ccache gcc" W=1 KCFLAGS=-Werror
	CONFIG_DEBUG_INFO_BTF_MODULES=)
gcc -fmin-function-alignment=16 -c -x c -o /dev/null /dev/null 2> /dev/null ||
	make_args+=(CONFIG_CC_HAS_MIN_FUNCTION_ALIGNMENT=)

lock "$out"
mkdir -p "$out"
"$TOP/scripts/module-source.sh" "$out"
logged "module-$name" "building the module for $kernel" make "${make_args[@]}" modules
if grep -E '^WARNING|warning:' "$LOGS/module-$name.log" |
	grep -v -E 'the compiler differs|is not the one|pahole version differs'; then
	die "building the module for $kernel gives warnings (log: $LOGS/module-$name.log)"
fi
echo "$out/virtio_tmem.ko"
