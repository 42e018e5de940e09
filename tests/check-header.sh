#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Driver and device speak one wire format: QEMU's virtio_tmem.h is what QEMU's
# own script makes of the kernel's, and a compiler sees the same in both.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. scripts/lib.sh
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh

uapi=linux/include/uapi/linux/virtio_tmem.h
name=include/standard-headers/linux/virtio_tmem.h

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# A C program that prints each constant, and size and place of each field.
program()
{
	echo '#include <stddef.h>'
	echo '#include <stdio.h>'
	echo '#include HEADER'
	echo 'int main(void) {'
	awk '
	function out(label, expr) {
		printf "printf(\"%s %%lld\\n\", (long long)(%s));\n", label, expr
	}
	/^#define[ \t]+(VIRTIO_ID_TMEM|VIRTIO_TMEM_)[A-Z0-9_]*[ \t]/ { out($2, $2) }
	/^struct [a-z_]+ \{/ { s = $2; out(s, "sizeof(struct " s ")") }
	/^\};/ { s = "" }
	s && /^\t[a-z_0-9]+ [a-z_0-9]+(\[[^]]*\])?;/ {
		f = $2; sub(/[\[;].*/, "", f)
		out(s "." f, "offsetof(struct " s ", " f ") * 1000 + sizeof(((struct " s " *)0)->" f ")")
	}' "$uapi"
	echo 'return 0; }'
}

# seen_by NAME CPPFLAG...: what the program prints with this header
seen_by()
{
	local out=$tmp/$1

	shift
	gcc -std=c11 -Wall -Werror "$@" -x c "$tmp/layout.c" -o "$out" && "$out"
}

is 'no copy of the header is committed' "$(find qemu -path "*/$name")" ''

scripts/prepare-source.sh qemu || bail 'the source is there'
scripts/gen-standard-header.sh "$SRC/qemu" "$tmp"
is "the header in QEMU's tree is made from the kernel's" \
	"$(diff "$tmp/$name" "$SRC/qemu/$name" || :)" ''

# The kernel installs user headers without their _UAPI guard and its like;
# nothing in that changes what a compiler sees here.
program > "$tmp/layout.c"
kernel=$(seen_by kernel -Ilinux/include/uapi '-DHEADER=<linux/virtio_tmem.h>')
qemu=$(seen_by qemu -include stdint.h -include "$SRC/qemu/include/qemu/compiler.h" \
	-I"$SRC/qemu/include" '-DHEADER="standard-headers/linux/virtio_tmem.h"')
cmp_ok 'constants and fields were found in the header' "$(wc -l <<< "$kernel")" -ge 40
is 'both sides see the same constants, sizes and offsets' "$qemu" "$kernel"
done_testing
