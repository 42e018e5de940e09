#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# series.sh qemu|linux: the work on a tree as a series of patches to send, with a
# cover letter, in build/series/NAME; each passes the tree's checkpatch.
#
# scripts/series/NAME has a file for each patch, in order: its subject, its text, a
# line "---", and what it brings: files of the overlay (patterns, each file once) and
# patches of the overlay. 00-cover is the cover letter. That together they bring
# all is checked. The patches are made on top of the tree's own files, of
# prepare-source.sh.
#
# Environment: SIGNOFF="Name <mail>" (else that of git; author and Signed-off-by),
# BUILD_EACH=1 (build after each patch; some ten minutes more)
set -euo pipefail
. "$(dirname "$0")/lib.sh"

name=${1:-}
case $name in
qemu) check=(scripts/checkpatch.pl --no-tree --terse --no-summary) ;;
# A new file in MAINTAINERS is for who applies the series.
linux) check=(scripts/checkpatch.pl --no-tree --strict --terse --no-summary --ignore FILE_PATH_CHANGES) ;;
*) die 'series.sh: which tree? It is qemu or linux' ;;
esac
out=$BUILD/series/$name
repo=$BUILD/series/$name.git
whole=$BUILD/series/$name-tree
tree=$SRC/$name
state=$tree.state
: "${SIGNOFF:=$(git -C "$TOP" config user.name) <$(git -C "$TOP" config user.email)>}"
[[ $SIGNOFF == *' <'*@*'>' ]] || die "SIGNOFF=\"$SIGNOFF\": it is a name and <mail>"
mail=${SIGNOFF##*<}
mail=${mail%>}

git_in()
{
	GIT_AUTHOR_NAME=${SIGNOFF% <*} GIT_AUTHOR_EMAIL=$mail \
		GIT_COMMITTER_NAME=${SIGNOFF% <*} GIT_COMMITTER_EMAIL=$mail \
		git -C "$repo" -c core.hooksPath=/dev/null -c commit.gpgsign=false "$@"
}

# The tree's own files, as far as a patch touches them
begin()
{
	rm -rf "$repo" "$out"
	mkdir -p "$repo" "$out"
	git_in init -q -b base
	(cd "$state/orig" && find . -type f | cpio --quiet -pdm "$repo")
	git_in add -A
	git_in commit -q -m "what the tree has"
	git_in checkout -q -b series
}

# bring PATTERN: a patch of the overlay, or files that match
bring()
{
	local file found=

	if [[ $1 == patches/* ]]; then
		# shellcheck disable=SC2086 # a pattern
		patch -p1 -s -N -F1 --no-backup-if-mismatch -d "$repo" < <(cat "$TOP/$name"/$1) ||
			die "$name/$1 does not apply after the patches before it"
		return
	fi
	while read -r file; do
		# shellcheck disable=SC2053 # a pattern
		if [[ $file != $1 ]] || [ -e "$repo/$file" ]; then
			continue
		fi
		mkdir -p "$(dirname "$repo/$file")"
		cp "$state/want/$file" "$repo/$file"
		found=1
	done < "$state/absent"
	[ -n "$found" ] || die "scripts/series/$name: no file of $name is called $1, or an earlier patch has it"
}

# ---- Building ----

ninja_configured()
{
	local not="'--enable-lz4'"

	# An option of ours, which is there from some patch on
	! grep -q -e --enable-lz4 "$whole/scripts/meson-buildoptions.sh" || not=
	[ ! -f build.ninja ] || [ "$not" != "$(cat .not 2> /dev/null)" ] || return 0
	# As our own build is configured
	PYTHONPATH=$BUILD/meson/usr/lib/python3/dist-packages \
		sh -c "$(sed -n "s|^exec '[^']*/configure'|exec '$whole/configure'|p" "$BUILD/qemu/config.status" |
			sed "${not:+s|$not||}")"
	echo "$not" > .not
	echo "$BUILD/meson/usr/lib/python3/dist-packages" > "$(echo pyvenv/lib/python3*/site-packages)/meson.pth"
}

build_qemu()
{
	mkdir -p "$whole.build"
	cd "$whole.build"
	ninja_configured
	ninja -j "$JOBS" qemu-system-x86_64
}

build_linux()
{
	mkdir -p "$whole.build"
	cp "$BUILD/linux/.config" "$whole.build/.config"
	make -C "$whole" O="$whole.build" CC="ccache gcc" olddefconfig
	make -C "$whole" O="$whole.build" CC="ccache gcc" -j "$JOBS" mm/ drivers/virtio/
}

# The whole tree, with what the series has touched by now
build_each()
{
	local file

	msg "building after: $1"
	[ -d "$whole" ] || cp -a "$tree" "$whole"
	while read -r file; do
		if [ -f "$repo/$file" ]; then
			put_file "$repo/$file" "$whole/$file"
		else
			rm -f "$whole/$file"
		fi
	done < <({ cat "$state/absent"; find "$state/orig" -type f -printf '%P\n'; } | sort -u)
	logged "series-$name" "building after \"$1\"" "build_$name"
}

commit()
{
	local subject text line

	subject=$(sed -n 1p "$1")
	text=$(sed '1d; /^---$/,$d' "$1")
	while read -r line; do
		[ -z "$line" ] || bring "$line"
	done < <(sed '1,/^---$/d' "$1")
	git_in add -A
	git_in commit -q -F - << END
$subject
$text

Signed-off-by: $SIGNOFF
END
	[ -z "${BUILD_EACH:-}" ] || build_each "$subject"
}

# Nothing of the overlay is left out, and nothing is as it is not there
compare()
{
	local file

	while read -r file; do
		[ -e "$repo/$file" ] || die "scripts/series/$name: no patch brings $file"
		cmp -s "$repo/$file" "$state/want/$file" ||
			die "scripts/series/$name: $file is not as in the overlay after all patches"
	done < <(cd "$state/want" && find . -type f -printf '%P\n')
}

cover()
{
	SUBJECT=$(sed -n 1p "$1") TEXT=$(sed 1,2d "$1") perl -0pi -e \
		's/\*\*\* SUBJECT HERE \*\*\*/$ENV{SUBJECT}/; s/\*\*\* BLURB HERE \*\*\*/$ENV{TEXT}/' \
		"$out/0000-cover-letter.patch"
}

"$TOP/scripts/prepare-source.sh" "$name"
if [ "$name" = qemu ]; then
	"$TOP/scripts/gen-standard-header.sh" "$tree" "$tree.generated"
	"$TOP/scripts/apply-overlay.sh" qemu "$TOP/qemu" "$tree.generated"
else
	"$TOP/scripts/apply-overlay.sh" linux "$TOP/linux"
fi
begin
for patch in "$TOP/scripts/series/$name"/[0-9]*; do
	[[ $patch == */00-cover ]] || commit "$patch"
done
compare
git_in format-patch -q --cover-letter -M -o "$out" base..series
cover "$TOP/scripts/series/$name/00-cover"
# Not what a script cannot know: MAINTAINERS has patterns for all files, and the header
# was made by update-linux-headers.sh.
cd "$tree"
bad=$(find "$out" -name '*.patch' ! -name '0000-*' | sort | xargs "${check[@]}" 2>&1 |
	grep -v -E 'does MAINTAINERS need updating|are you using scripts/update-linux-headers' || :)
[ -z "$bad" ] || die "checkpatch: $bad"
msg "$(find "$out" -name '*.patch' | wc -l) mails are in $out"
