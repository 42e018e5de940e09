#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The driver as its reviewers would look at it: the kernel's checkpatch, all of
# gcc's warnings, sparse.  In a build folder of its own, so that the flags used
# here do not make the next `make linux` compile the driver again.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. scripts/lib.sh
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh

tree=$SRC/linux
out=$BUILD/check-linux

mapfile -t sources < <(cd linux && find . -name '*.[ch]' -printf '%P\n' | sort)
mapfile -t patches < <(find "$PWD/linux/patches" -name '*.patch' | sort)

# The patches are not mails: who signs them off is said when they are sent.
checkpatch()
{
	(cd "$tree" && ./scripts/checkpatch.pl --strict --no-signoff --terse --no-summary \
		--show-types --ignore FILE_PATH_CHANGES,SPDX_LICENSE_TAG "$@" 2>&1)
}

if ! { scripts/prepare-source.sh linux && scripts/apply-overlay.sh linux "$TOP/linux"; }; then
	bail 'the overlay applies'
fi

is 'checkpatch finds nothing in the files' "$(checkpatch -f "${sources[@]}" || :)" ''
is 'checkpatch finds nothing in the patches' "$(checkpatch "${patches[@]}" || :)" ''

# tests/lib/vm.sh counts on it. The delays allocate what is to be found as a leak.
is 'allocations that cannot wait fail without a word' \
	"$(grep -nE '[^_]GFP_(NOWAIT|ATOMIC)\>' linux/drivers/virtio/*.c |
		grep -vE '__GFP_NOWARN|^[^:]*virtio_tmem_delay|:\s*(\*|//|/\*)' || :)" ''

kernel_make()
{
	make -s -C "$tree" O="$out" -j "$JOBS" "CC=ccache gcc" ARCH=x86_64 "$@"
}

# The first build makes the headers and tools that a kernel object needs.  With
# the delays: there is no code without them that there is not with them.
mkdir -p "$out"
cat "$TOP"/linux/config/{guest-6.1,delay}.config > "$out/.wanted"
if ! { kernel_make KCONFIG_ALLCONFIG="$out/.wanted" allnoconfig &&
	kernel_make prepare; } > "$out/prepare.log" 2>&1; then
	bail 'the kernel is configured' "$(tail -n 5 "$out/prepare.log")"
fi

mapfile -t objects < <(printf '%s\n' "${sources[@]}" | sed -n 's/\.c$/.o/p')
[ "${#objects[@]}" -gt 0 ] || bail 'there is a driver to check'
(cd "$out" && rm -f "${objects[@]}")
if ! kernel_make W=1 C=2 CF=-D__CHECK_ENDIAN__ "${objects[@]}" > "$out/warnings.log" 2>&1; then
	bail 'the driver compiles' "$(tail -n 20 "$out/warnings.log")"
fi
is 'gcc with W=1 and sparse find nothing in the driver' \
	"$(grep -E 'warning:|error:' "$out/warnings.log" || :)" ''

# Sparse that does not run finds nothing either.
printf '#include <linux/types.h>\n__le32 tmem_probe(u32 v);\n__le32 tmem_probe(u32 v)\n{\n\treturn v;\n}\n' \
	> "$tree/drivers/virtio/tmem_probe.c"
kernel_make C=2 CF=-D__CHECK_ENDIAN__ drivers/virtio/tmem_probe.o > "$out/probe.log" 2>&1 || :
rm -f "$tree/drivers/virtio/tmem_probe.c" "$out"/drivers/virtio/tmem_probe.o
like 'sparse finds a planted fault' "$(cat "$out/probe.log")" 'incorrect type in return'
done_testing
