#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The device and the store as their reviewers would look at them: QEMU's own
# checkpatch, and not one warning from the compiler (which QEMU, unlike its
# developers, lets pass when it is built from a source package).
set -euo pipefail
# shellcheck source=scripts/lib.sh
. scripts/lib.sh
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh

tree=$SRC/qemu

mapfile -t files < <(cd qemu && find . -path ./patches -prune -o -type f -printf '%P\n' | sort)
mapfile -t patches < <(find "$PWD/qemu/patches" -name '*.patch' | sort)

# The patches are not mails: who signs them off is said when they are sent.
checkpatch()
{
	# Its rules for tests go by the path below the top of the tree.
	(cd qemu && "$tree/scripts/checkpatch.pl" --no-tree --no-signoff --terse --no-summary "$@" 2>&1)
}

scripts/prepare-source.sh qemu || bail 'the source is there'
is 'checkpatch finds nothing in the files' "$(checkpatch -f "${files[@]}" || :)" ''
is 'checkpatch finds nothing in the patches' "$(checkpatch "${patches[@]}" || :)" ''

# Each of our files, compiled as the build compiles it.
warnings()
{
	local command

	while IFS= read -r command; do
		(cd "$BUILD/qemu" && eval "$command -Werror -o /dev/null" 2>&1) || :
	done < <(jq -r 'unique_by(.file)[] | select(.file | test("[-/]tmem[^/]*$")) | .command' "$commands" |
		sed -E 's/^ccache //; s/ -M[A-Z]+( [^ -][^ ]*)?//g; s/ -o [^ ]+//')
}

# The order of measures over the limit: a table in the code, and one for people.
measures_in_code()
{
	sed -n -E 's/^    \[TMEM_MEASURE_[A-Z]+\] = \{ "([a-z]+)".*/\1/p' qemu/hw/virtio/tmem-store-maintain.c
}
# shellcheck disable=SC2016 # the backquotes are those of the documentation
measures_in_docs()
{
	sed -n '/^measure  *what happens/,/^``target``/s/^``\([a-z]*\)``.*/\1/p' qemu/docs/system/devices/virtio-tmem.rst
}

is 'measures over the limit: the documentation has those of the code, in its order' \
	"$(measures_in_docs)" "$(measures_in_code)"
cmp_ok 'there are six of them' "$(measures_in_code | wc -l)" -eq 6

commands=$BUILD/qemu/compile_commands.json
if [ ! -f "$commands" ]; then
	skip 'the compiler has nothing to say' 'QEMU is not built'
else
	is 'the compiler has nothing to say' "$(warnings)" ''
fi
done_testing
