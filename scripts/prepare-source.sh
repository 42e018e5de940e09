#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# prepare-source.sh qemu|linux|libvirt: make build/src/NAME, the tree that the
# overlay goes onto, from the Debian source package or as a copy of a person's own
# tree (QEMU_SRC, LINUX_SRC, LIBVIRT_SRC), which is only read. QEMU_VERSION,
# LINUX_VERSION and LIBVIRT_VERSION say which version that may be, for who brings the
# overlay to another one: docs/rebase.md.
#
# build/src/NAME.state/source says what the tree came from and is written last:
# without it the tree is made again.  NAME.state/orig and absent belong to
# apply-overlay.sh: they tell which files here are no longer the source's own.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

name=$1
tree=$SRC/$name
state=$tree.state

case $name in
qemu) var=QEMU_SRC version=${QEMU_VERSION:-10.0} mib=1000 package='*.dsc' ;;
linux) var=LINUX_SRC version=${LINUX_VERSION:-6.1} mib=2500 package='*.deb' ;;
libvirt) var=LIBVIRT_SRC version=${LIBVIRT_VERSION:-11.3} mib=400 package='*.debian.tar.xz' ;;
*) die "prepare-source.sh: no source called $name" ;;
esac
own=${!var:-}

# What a build inside somebody's tree leaves there would confuse ours.
not_copied=(.git .svn '*.o' '*.ko' '*.a' '.*.cmd' '.tmp_*' '/build' '/.config'
	'/include/config' '/include/generated' '/arch/*/include/generated' '/vmlinux')

qemu_version()
{
	[ -f "$1/VERSION" ] && [ -f "$1/configure" ] && [ -d "$1/hw/virtio" ] &&
		cat "$1/VERSION"
}

linux_version()
{
	[ -f "$1/Makefile" ] && [ -f "$1/Kbuild" ] && [ -d "$1/drivers/virtio" ] &&
		sed -n -E 's/^(VERSION|PATCHLEVEL|SUBLEVEL) = *//p' "$1/Makefile" |
		paste -sd.
}

libvirt_version()
{
	[ -f "$1/meson.build" ] && [ -d "$1/src/qemu" ] &&
		sed -n "s/^  version: '\(.*\)',\$/\1/p" "$1/meson.build"
}

check_own()
{
	local found

	[ -d "$own" ] || die "$var=$own: no such directory"
	found=$("${name}_version" "$own") || die "$var=$own: this is no $name source tree"
	case $found in
	"$version" | "$version".*) ;;
	*) die "$var=$own: $name $found is not supported, $version.x is" ;;
	esac
	own=$(cd "$own" && pwd)
	[ "$own" != "$tree" ] || die "$var=$own: this is the copy, name the original"
}

unpack_qemu()
{
	dpkg-source --no-check -x "$cached"/*.dsc "$1"
}

unpack_linux()
{
	mkdir "$1"
	dpkg-deb --fsys-tarfile "$cached"/*.deb |
		tar -xO --wildcards './usr/src/linux-source-*.tar.xz' |
		tar -xJ -C "$1" --strip-components=1
}

unpack_libvirt()
{
	local patch

	mkdir "$1"
	tar -xJ -C "$1" --no-same-owner --strip-components=1 -f "$cached"/*.orig.tar.xz
	tar -xJ -C "$1" --no-same-owner -f "$cached"/*.debian.tar.xz
	while read -r patch; do
		patch -p1 -s -N --no-backup-if-mismatch -d "$1" < "$1/debian/patches/$patch"
	done < <(sed 's/[ \t]*#.*//; /^$/d' "$1/debian/patches/series")
}

# A tree from elsewhere makes every object and every saved file a stranger.
start_over()
{
	rm -rf "$tree" "$state" "$tree.new" "${BUILD:?}/$name"
	mkdir -p "$state" "$tree.new"
}

from_debian()
{
	local cached

	! grep -q -s "^debian " "$state/source" || return 0
	cached=$("$TOP/scripts/get-source.sh" "$name")
	need_space "$SRC" "$mib" "unpacking $name"
	msg "unpacking $name"
	start_over
	rmdir "$tree.new"
	logged "unpack-$name" "unpacking $name" "unpack_$name" "$tree.new"
	mv "$tree.new" "$tree"
	# shellcheck disable=SC2086 # a pattern
	(cd "$cached" && echo debian $package) > "$state/source"
}

# Each run brings over what changed in the person's tree; the files that the
# overlay stands on go to where apply-overlay.sh keeps originals.
from_own()
{
	local path

	check_own
	if [ "$(cat "$state/source" 2> /dev/null)" != "$own" ]; then
		need_space "$SRC" "$mib" "copying $own"
		msg "copying $own"
		start_over
		mv "$tree.new" "$tree"
	fi
	touch "$state/absent"
	{ [ ! -d "$state/orig" ] || (cd "$state/orig" && find . -type f -printf '/%P\n')
	  sed 's|^|/|' "$state/absent"; } > "$state/overlaid"
	logged "copy-$name" "copying $own" rsync -a --delete \
		"${not_copied[@]/#/--exclude=}" --exclude-from="$state/overlaid" "$own/" "$tree/"
	while read -r path; do
		if [ -f "$own$path" ]; then
			put_file "$own$path" "$state/orig$path"
		else
			rm -f "$state/orig$path"
		fi
	done < "$state/overlaid"
	echo "$own" > "$state/source"
}

lock "$SRC/$name"
if [ -n "$own" ]; then from_own; else from_debian; fi
