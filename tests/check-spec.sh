#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The specification builds, and agrees with the header and with itself.
set -euo pipefail
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh

# quiet CLAIM COMMAND...: it succeeds
quiet()
{
	local claim=$1 out

	shift
	if out=$("$@" 2>&1); then
		ok "$claim"
	else
		not_ok "$claim" "$(tail -n 20 <<< "$out")"
	fi
}

quiet 'chapter, conformance clauses and header say the same' make -s -C spec check
quiet 'the chapter builds' make -s -C spec O="$PWD/build/spec"
done_testing
