#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# get-source.sh NAME: fetch what has this name into the cache, once, and print
# the cache folder:
#   qemu, linux, libvirt, meson, lz4   what is built
#   compiler                  a compiler with all that it depends on, and something
#                             to compile: what the guest of `make bench-compile`
#                             works with
#   dkms                      what builds modules on a Debian 12: dkms, a compiler,
#                             headers of a stock kernel, with all they depend on
#   systemd           what an empty Debian 12 needs to boot
#   host              what the packages for hosts depend on, and so on
#   host-libvirt      libvirt as a host has it, and what a person looks with
#   kernel-5.10, -6.1, -6.12  a suite's newest stock kernel for virtual machines,
#                             and the headers that modules for it need
#   linux-7.2                 the source of a kernel that no stable suite has
# apt checks the archive's signature and each file's hash; the hashes are kept
# beside the files, and a cache that no longer matches them, or lacks a package that
# is asked for by now, is fetched again.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

name=$1
dest=$CACHE/sources/$name
# Set when it is not of the suites that apt-private.sh has anyway
suite=

case $name in
qemu) mib=60 fetch=(apt apt-get source --download-only --only-source qemu) ;;
linux) mib=200 fetch=(apt apt-get download linux-source-6.1) ;;
libvirt) mib=20 fetch=(fetch_tarballs libvirt) ;;
meson) mib=10 fetch=(apt apt-get download meson/bookworm-backports) ;;
lz4) mib=5 fetch=(apt apt-get source --download-only --only-source lz4) ;;
compiler)
	mib=100
	fetch=(apt apt-get -y --no-install-recommends --download-only
		-o "Dir::Cache::archives=$dest.part" install gcc make libc6-dev busybox-static)
	;;
dkms)
	mib=150
	fetch=(apt apt-get -y --no-install-recommends --download-only
		-o "Dir::Cache::archives=$dest.part" install dkms linux-headers-cloud-amd64)
	;;
systemd)
	mib=30
	fetch=(apt apt-get -y --no-install-recommends --download-only
		-o "Dir::Cache::archives=$dest.part" install systemd-sysv udev kmod)
	;;
host)
	mib=60
	fetch=(apt apt-get -y --no-install-recommends --download-only
		-o "Dir::Cache::archives=$dest.part" install seabios qemu-system-data ipxe-qemu
		libglib2.0-0 liblz4-1 libzstd1 zlib1g libnettle8 libslirp0 libaio1 libpixman-1-0 libseccomp2 libnuma1 liburing2
		libjson-glib-1.0-0 libmicrohttpd12 libncursesw6 libvirt0)
	;;
host-libvirt)
	mib=60
	fetch=(apt apt-get -y --no-install-recommends --download-only
		-o "Dir::Cache::archives=$dest.part" install libvirt-daemon-system libvirt-clients iproute2 curl tmux)
	;;
kernel-5.10) mib=80 suite=bullseye fetch=(fetch_kernel) ;;
kernel-6.1) mib=80 suite=bookworm fetch=(fetch_kernel) ;;
kernel-6.12) mib=100 suite=trixie fetch=(fetch_kernel) ;;
linux-7.2) mib=200 fetch=(fetch_from 'trixie-backports forky sid' linux-source-7.2) ;;
*) die "get-source.sh: no source called $name" ;;
esac

# packages: those that are asked for by name, with what they depend on
packages()
{
	printf '%s\n' "${fetch[@]}" | sed '1,/^install$/d'
}

# The list of packages may have grown since.
intact()
{
	local package

	[ -f "$1/SHA256SUMS" ] && (cd "$1" && sha256sum --check --status SHA256SUMS) || return
	for package in $(packages); do
		compgen -G "$1/${package}_*.deb" > /dev/null || return
	done
}

private()
{
	"$TOP/scripts/apt-private.sh" ${suite:+--suite "$suite"} "$@" 9>&-
}

apt()
{
	local log=$LOGS/get-$name.log

	mkdir -p "$LOGS"
	private "$@" > "$log" 2>&1 && return
	if grep -q -E 'NO_PUBKEY|not signed|signatures were invalid' "$log"; then
		die "the archive's signature cannot be checked: update the package debian-archive-keyring (log: $log)"
	elif grep -q 'does not have a Release file' "$log" && ! grep -q -E 'Could not (resolve|connect)' "$log"; then
		die "the Debian mirror $(private --mirror) has no $suite any more: name one that does with DEBIAN_MIRROR=<url> (log: $log)"
	elif grep -q -E 'Failed to fetch|Could not (resolve|connect)|Unable to connect' "$log"; then
		die "no network: the Debian mirror $(private --mirror) cannot be reached (log: $log)"
	fi
	die "getting $name: $(log_reason "$log") (log: $log)"
}

# apt-get update calls an unreachable mirror a warning.
update()
{
	local stamp=$CACHE/apt/${suite:+$suite/}updated

	[ -z "$(find "$stamp" -mmin -60 2> /dev/null)" ] || return 0
	apt apt-get update --error-on=any
	touch "$stamp"
}

# known PACKAGE: what apt knows of the suite's newest
known()
{
	private apt-cache show --no-all-versions "$1" 2> /dev/null
}

# depends PACKAGE REGEX: the packages it depends on whose names begin so
depends()
{
	{ known "$1" || :; } | sed -n 's/^Depends: //p' | tr ',' '\n' |
		awk -v re="^$2" '$1 ~ re { print $1 }'
}

# The source and Debian's patches to it: not every mirror has upstream's signature
# as well, which apt would insist on, and has no use for.
fetch_tarballs()
{
	apt apt-get source --download-only --only-source --tar-only "$1"
	apt apt-get source --download-only --only-source --diff-only "$1"
}

# Two packages stand for the newest image and headers and name them: the names have
# a number in them that changes with each kernel.
fetch_kernel()
{
	local image headers package
	local -a more libs=()

	image=$(depends linux-image-cloud-amd64 linux-image-)
	headers=$(depends linux-headers-cloud-amd64 linux-headers-)
	[ -n "${image:+$headers}" ] ||
		die "getting $name: $suite has no stock kernel for virtual machines (linux-image-cloud-amd64)"
	mapfile -t more < <(depends "$headers" 'linux-(headers|kbuild)-')
	# The kernel's tools run on this machine with the C library that they are for.
	for package in "${more[@]}"; do
		case $package in
		linux-kbuild-*) mapfile -t libs < <(depends "$package" '(libc6|libelf1|zlib1g)') ;;
		esac
	done
	apt apt-get download "$image" "$headers" "${more[@]}" "${libs[@]}" libzstd1
}

# fetch_from SUITES PACKAGE: from the first suite that has it. (Suites that are no
# release yet go on to newer kernels.)
fetch_from()
{
	for suite in $1; do
		update
		if known "$2" > /dev/null; then
			apt apt-get download "$2"
			return
		fi
	done
	die "getting $name: no suite has $2 any more (looked in $1)"
}

lock "$CACHE/sources"
if ! intact "$dest"; then
	msg "downloading $name" >&2
	need_space "$CACHE" $((mib + 300)) "the download of $name"
	[ "${fetch[0]}" = fetch_from ] || update
	rm -rf "$dest.part"
	mkdir -p "$dest.part"
	cd "$dest.part"
	"${fetch[@]}"
	# apt's own, where it was told to keep its archives
	rm -rf partial lock
	sha256sum -- * > "$dest.sums"
	mv "$dest.sums" SHA256SUMS
	rm -rf "$dest"
	mv "$dest.part" "$dest"
fi
echo "$dest"
