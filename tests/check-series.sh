#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The work as it would be sent: each file is in one patch, the patches apply one
# after the other, and pass checkpatch (scripts/series.sh says when not).
set -euo pipefail
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh

for name in qemu linux; do
	if text=$(SIGNOFF='A Person <person@example.org>' scripts/series.sh "$name" 2>&1); then
		ok "$name: there is a series of patches"
	else
		not_ok "$name: there is a series of patches" "$text"
		continue
	fi
	is "$name: the cover letter has a text" "$(grep -c 'BLURB HERE\|SUBJECT HERE' "build/series/$name/0000-cover-letter.patch" || :)" 0
	is "$name: each is signed off" "$(grep -L '^Signed-off-by: A Person <person@example.org>$' \
		build/series/"$name"/*.patch | grep -v 0000-cover-letter || :)" ''
done
done_testing
