#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# House rules that a program can check: licence lines, file length, shell.
set -euo pipefail
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh

mapfile -t files < <(find . -path ./.git -prune -o -path ./build -prune -o \
	-type f -printf '%P\n' | sort)

# A patch is a part of files that have such a line already, and a mail is none; the kernel
# reads each line of Documentation/ABI.
unlicensed()
{
	local file

	for file in "${files[@]}"; do
		case $file in
		*.patch | scripts/series/*/* | linux/Documentation/ABI/* | LICENSES/* | LICENSE | COPYING) ;;
		*) head -n 20 "$file" | grep -q 'SPDX-License-Identifier:.*GPL-2.0-or-later' || echo "$file" ;;
		esac
	done
}

scripts()
{
	local file

	for file in "${files[@]}"; do
		if head -n 1 "$file" | grep -q -E '^#!.*\b(ba|da)?sh\b|shellcheck shell='; then
			echo "$file"
		fi
	done
}

is 'every file names its licence' "$(unlicensed)" ''
is 'no file has more than 1000 lines' \
	"$(wc -l "${files[@]}" | awk '$1 > 1000 && $2 != "total"')" ''
mapfile -t shell < <(scripts)
is 'shellcheck finds nothing in the shell scripts' \
	"$(shellcheck -x --source-path=SCRIPTDIR:. "${shell[@]}" 2>&1 || :)" ''
done_testing
