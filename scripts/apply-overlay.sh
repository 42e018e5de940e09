#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# apply-overlay.sh TREE OVERLAY [DIR...]: bring build/src/TREE to "source, plus
# the files of OVERLAY and DIRs, plus OVERLAY/patches/*.patch in order".
#
# The result is worked out in TREE.state/want and compared with the tree; only
# files whose content differs are written, so their times tell make and ninja
# what to rebuild.  Rules that make it safe to interrupt:
#   - before a file of the source is touched, it is in TREE.state/orig, or its
#     name in TREE.state/absent when the source has no such file;
#   - the tree is touched only after every patch has applied to the copies;
#   - TREE.state/applied, which lets the next run skip everything, comes last.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

tree=$SRC/$1
state=$tree.state
overlay=$2
dirs=("${@:2}")

# What the result depends on.  The originals change when a person's tree does.
key()
{
	hash_tree "${dirs[@]}"
	sha256sum < "$0"
	cat "$state/source"
}

originals()
{
	[ ! -d "$state/orig" ] || (cd "$state/orig" && find . -type f -printf '%P\n')
}

overlay_files()
{
	(cd "$1" && find . -path ./patches -prune -o -path ./config -prune -o \
		-type f -printf '%P\n')
}

patch_files()
{
	sed -n -E 's,^(---|\+\+\+) [ab]/([^\t]*).*,\2,p' "$1"
}

save_original()
{
	[ ! -f "$state/orig/$1" ] || return 0
	if grep -q -x -F "$1" "$state/absent"; then
		return 0
	elif [ -f "$tree/$1" ]; then
		put_file "$tree/$1" "$state/orig/$1"
		touch -r "$tree/$1" "$state/orig/$1"
	else
		echo "$1" >> "$state/absent"
	fi
}

# want/ starts as the originals of whatever the overlay or a patch touches.
work_out()
{
	local dir file patch

	rm -rf "$state/want"
	mkdir -p "$state/want"
	while read -r file; do
		save_original "$file"
		if [ -f "$state/orig/$file" ]; then
			mkdir -p "$(dirname "$state/want/$file")"
			cp -p "$state/orig/$file" "$state/want/$file"
		fi
	done < <({ for dir in "${dirs[@]}"; do overlay_files "$dir"; done
		for patch in "${patches[@]}"; do patch_files "$patch"; done; } | sort -u)

	for dir in "${dirs[@]}"; do
		while read -r file; do
			mkdir -p "$(dirname "$state/want/$file")"
			cp "$dir/$file" "$state/want/$file"
		done < <(overlay_files "$dir")
	done

	for patch in "${patches[@]}"; do
		patch -p1 -s -N -F1 --no-backup-if-mismatch -r - -d "$state/want" \
			< "$patch" > "$state/patch.log" 2>&1 ||
			die "${patch#"$TOP/"} does not apply to $1 ($(cat "$state/source")): $(grep -m1 -E "FAILED|can't find|malformed|garbage" "$state/patch.log") (log: $state/patch.log)"
	done
}

carry_over()
{
	local file

	while read -r file; do
		put_file "$state/want/$file" "$tree/$file"
	done < <(cd "$state/want" && find . -type f -printf '%P\n')

	# What an earlier overlay touched and this one does not.
	while read -r file; do
		[ -f "$state/want/$file" ] || put_file "$state/orig/$file" "$tree/$file"
	done < <(originals)
	while read -r file; do
		[ -f "$state/want/$file" ] || rm -f "$tree/$file"
	done < "$state/absent"
}

lock "$tree"
mkdir -p "$state"
touch "$state/absent"
now=$(key)
[ "$now $(hash_tree "$state/orig")" != "$(cat "$state/applied" 2> /dev/null)" ] || exit 0

patches=()
while read -r file; do
	patches+=("$file")
done < <([ ! -d "$overlay/patches" ] || find "$overlay/patches" -name '*.patch' | sort)

rm -f "$state/applied"
msg "applying the overlay to $1"
work_out "$1"
carry_over
echo "$now $(hash_tree "$state/orig")" > "$state/applied"
