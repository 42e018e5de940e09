#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# compile-image.sh: the disk of a guest that compiles: gcc, make, the C library's
# headers, busybox for the rest, and the source of lz4.  Prints its path.  It is
# built once, from Debian's packages as they are, and kept in the cache.
#
# Nothing is installed or mounted here, so this needs no root.
set -euo pipefail
. "$(dirname "$0")/../../scripts/lib.sh"

# mke2fs is not on the path of those who are not root.
PATH=$PATH:/usr/sbin:/sbin

dir=$CACHE/compile
image=$dir/disk
work=$dir/root

# A compile does not miss these: other languages, sanitizers, documentation.
unneeded=(
	usr/share usr/lib/x86_64-linux-gnu/gconv 'usr/bin/*lto-dump*'
	'usr/lib/gcc/x86_64-linux-gnu/*/lto1'
	'usr/lib/x86_64-linux-gnu/lib*san.*' 'usr/lib/gcc/x86_64-linux-gnu/*/lib*san*'
)

# shellcheck disable=SC2317 # called by logged
unpack()
{
	local deb path applet

	rm -rf "$work"
	mkdir -p "$work"/{bin,dev,proc,tmp,out,src}
	for deb in "$compiler"/*.deb; do
		dpkg-deb --extract "$deb" "$work"
	done
	for path in "${unneeded[@]}"; do
		# shellcheck disable=SC2086 # patterns
		(cd "$work" && rm -rf $path)
	done
	# Maintainer scripts would have made the link; busybox is the shell.
	[ -e "$work/usr/bin/cc" ] || ln -s gcc "$work/usr/bin/cc"
	for applet in $("$work/bin/busybox" --list); do
		[ -e "$work/bin/$applet" ] || [ -e "$work/usr/bin/$applet" ] ||
			ln -s busybox "$work/bin/$applet"
	done
	tar -C "$work/src" --no-same-owner -xzf "$lz4"/lz4_*.orig.tar.gz
	mv "$work"/src/lz4-* "$work/src/lz4"
}

# shellcheck disable=SC2317 # called by logged
make_image()
{
	local mib

	unpack
	mib=$(du -sm "$work" | cut -f1)
	rm -f "$image.new"
	mke2fs -q -t ext4 -O ^has_journal -m 0 -E root_owner=0:0 \
		-d "$work" "$image.new" "$((mib + mib / 4 + 16))M"
	rm -rf "$work"
	mv "$image.new" "$image"
}

compiler=$("$TOP/scripts/get-source.sh" compiler)
lz4=$("$TOP/scripts/get-source.sh" lz4)
lock "$dir"
key=$(cat "$0" "$compiler/SHA256SUMS" "$lz4/SHA256SUMS" | sha256sum)
if [ ! -f "$image" ] || [ "$key" != "$(cat "$image.key" 2> /dev/null)" ]; then
	need_space "$dir" 600 "the disk of the guest that compiles"
	msg "making the disk of the guest that compiles" >&2
	rm -f "$image.key"
	logged compile-image "making the disk of the guest that compiles" make_image
	echo "$key" > "$image.key"
fi
echo "$image"
