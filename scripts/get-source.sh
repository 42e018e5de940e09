#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# get-source.sh qemu|linux|meson|lz4|compiler: fetch the package into the cache,
# once.  (A compiler with all that it depends on, and something to compile: what
# the guest of `make bench-compile` works with.)
# Prints the cache folder.  apt checks the archive's signature and each file's
# hash; the hashes are kept beside the files, and a cache that no longer
# matches them is fetched again.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

name=$1
dest=$CACHE/sources/$name

case $name in
qemu) mib=60 fetch=(apt-get source --download-only --only-source qemu) ;;
linux) mib=200 fetch=(apt-get download linux-source-6.1) ;;
meson) mib=10 fetch=(apt-get download meson/bookworm-backports) ;;
lz4) mib=5 fetch=(apt-get source --download-only --only-source lz4) ;;
compiler)
	mib=100
	fetch=(apt-get -y --no-install-recommends --download-only
		-o "Dir::Cache::archives=$dest.part" install gcc make libc6-dev busybox-static)
	;;
*) die "get-source.sh: no source called $name" ;;
esac

intact()
{
	[ -f "$1/SHA256SUMS" ] && (cd "$1" && sha256sum --check --status SHA256SUMS)
}

apt()
{
	local log=$LOGS/get-$name.log

	mkdir -p "$LOGS"
	"$TOP/scripts/apt-private.sh" "$@" > "$log" 2>&1 9>&- && return
	if grep -q -E 'NO_PUBKEY|not signed|signatures were invalid' "$log"; then
		die "the archive's signature cannot be checked: update the package debian-archive-keyring (log: $log)"
	elif grep -q -E 'Failed to fetch|Could not (resolve|connect)|Unable to connect' "$log"; then
		die "no network: the Debian mirror $("$TOP/scripts/apt-private.sh" --mirror) cannot be reached (log: $log)"
	fi
	die "getting $name: $(log_reason "$log") (log: $log)"
}

# apt-get update calls an unreachable mirror a warning.
update()
{
	apt apt-get update --error-on=any
	touch "$CACHE/apt/updated"
}

lock "$CACHE/sources"
if ! intact "$dest"; then
	msg "downloading $name" >&2
	need_space "$CACHE" $((mib + 300)) "the download of $name"
	[ -n "$(find "$CACHE/apt/updated" -mmin -60 2> /dev/null)" ] || update
	rm -rf "$dest.part"
	mkdir -p "$dest.part"
	cd "$dest.part"
	apt "${fetch[@]}"
	# apt's own, where it was told to keep its archives
	rm -rf partial lock
	sha256sum -- * > "$dest.sums"
	mv "$dest.sums" SHA256SUMS
	rm -rf "$dest"
	mv "$dest.part" "$dest"
fi
echo "$dest"
