#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The specification builds, and agrees with the header and with itself.  What
# watches over that is watched: each kind of disagreement, made on purpose, is
# to be noticed.
# shellcheck disable=SC2016 # $ is for sed
set -euo pipefail
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

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

# noticed CLAIM FILE SED-SCRIPT REGEX: after the edit, one line of check.sh matches
noticed()
{
	local out status=0

	rm -rf "$tmp/spec"
	cp -r spec/device-types/tmem "$tmp/spec"
	cp linux/include/uapi/linux/virtio_tmem.h "$tmp/spec"
	sed -i -E "$3" "$tmp/spec/$2"
	if cmp -s "$tmp/spec/$2" spec/device-types/tmem/"$2" ||
		cmp -s "$tmp/spec/$2" linux/include/uapi/linux/"$2"; then
		not_ok "$1" "the edit changed nothing: $3"
		return
	fi
	out=$(spec/check.sh "$tmp/spec/virtio_tmem.h" "$tmp/spec" 2>&1) || status=$?
	is "$1" "$status $(grep -c -E "$4" <<< "$out")" '1 1'
}

quiet 'chapter, conformance clauses and header say the same' make -s -C spec check
quiet 'the chapter builds' make -s -C spec O="$PWD/build/spec"

noticed 'a new constant is noticed' virtio_tmem.h \
	'$a #define VIRTIO_TMEM_NEW 1' '^spec: VIRTIO_TMEM_NEW: in .*, but not described'
noticed 'a renamed constant is noticed' virtio_tmem.h \
	's/VIRTIO_TMEM_F_STATS/VIRTIO_TMEM_F_NUMBERS/' '^spec: VIRTIO_TMEM_F_STATS: named in .*, but not in'
noticed 'a new field is noticed' virtio_tmem.h \
	'/^struct virtio_tmem_config/a \	__le32 novelty;' '^spec: novelty: field in .*, but not described'
noticed 'a field that only the text has is noticed' description.tex \
	'$a The \\field{novelty}.' '^spec: novelty: field described in .*, but not in'
noticed 'a new structure is noticed' virtio_tmem.h \
	'$a struct virtio_tmem_novelty {\n};' '^spec: virtio_tmem_novelty: structure in .*, but not listed'
noticed 'a normative block without its clause is noticed' driver-conformance.tex \
	'0,/drivernormative:/{/drivernormative:/d}' '^spec: .*: driver normative in .*, but not listed'
noticed 'a clause without its block is noticed' device-conformance.tex \
	'0,/devicenormative:/{s/(devicenormative:[^}]*)/\1 Other/}' '^spec: .* Other: listed in .*, but not device normative'
noticed 'a MUST outside of a normative block is noticed' description.tex \
	's/^All requestqs are alike/All requestqs MUST be alike/' 'outside of a normative block'
done_testing
