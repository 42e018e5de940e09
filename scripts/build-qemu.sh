#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# build-qemu.sh [--fuzz | --coverage] TARGET...: build QEMU with the device, out of
# tree, in build/qemu; with --fuzz in build/qemu-fuzz, by clang and with its
# sanitizers, and little else than the device; with --coverage in
# build/qemu-coverage, where device and store count which of their lines run.
# Nothing is fetched here but meson, which QEMU wants newer than Debian 12 has it;
# it stays inside build/.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

variant=qemu
case ${1:-} in
--fuzz | --coverage)
	variant=qemu-${1#--}
	shift
	;;
esac
tree=$SRC/qemu
out=$BUILD/$variant
meson=$BUILD/meson

# No default features: fewer packages to install and minutes to wait.  The
# firmware comes from Debian's packages: no blobs, but their folders.  nettle is for
# luks, and the tools for qemu-img, which makes luks files: spilling is tested on one;
# so is the device in QEMU's sandbox.  The others are for people: what libvirt gives
# a domain unless told otherwise is a screen by VNC and a network by vhost.
options=(
	--without-default-features --target-list=x86_64-softmmu
	--enable-kvm --enable-lz4 --enable-zstd
	--firmwarepath=/usr/share/qemu:/usr/share/seabios:/usr/lib/ipxe/qemu
	--disable-install-blobs --disable-docs --disable-download
	--python=/usr/bin/python3
)
flags=${CFLAGS:--O2 -g}
if [ "$variant" = qemu-coverage ]; then
	# As little as possible is moved and merged, so that lines stay lines
	flags="-O1 -g1 --coverage -fprofile-update=atomic -fprofile-filter-files=.*tmem.*"
	options+=(--extra-ldflags=--coverage)
fi
if [ "$variant" != qemu-fuzz ]; then
	options+=(--enable-tcg --enable-plugins --enable-trace-backends=log --enable-nettle --enable-tools --enable-seccomp
		--enable-pixman --enable-vnc --enable-slirp --enable-vhost-kernel --enable-vhost-net --enable-vhost-user
		--enable-linux-aio --enable-linux-io-uring --enable-numa
		"--cc=ccache gcc" "--extra-cflags=$flags")
else
	# No guest code runs in a fuzzer: qtest is the processor.
	options+=(--without-default-devices --with-devices-x86_64=tmem-fuzz
		--enable-fuzzing --enable-asan --enable-ubsan
		"--cc=ccache ${CLANG:-clang}" "--cxx=${CLANG:-clang}++" "--extra-cflags=-O1 -g1")
fi

configure()
{
	local key

	key=$(printf '%s\n' "$tree" "$meson" "${options[@]}" | sha256sum)
	[ "$key" != "$(cat "$out/.configured" 2> /dev/null)" ] || return 0
	msg "configuring QEMU"
	rm -rf "$out"
	mkdir -p "$out"
	cd "$out"
	PYTHONPATH=$meson/usr/lib/python3/dist-packages logged "configure-$variant" \
		"configuring QEMU" "$tree/configure" "${options[@]}"
	# ninja may want to run meson again, from whichever shell.
	echo "$meson/usr/lib/python3/dist-packages" > \
		"$(echo pyvenv/lib/python3*/site-packages)/meson.pth"
	# Run from here, QEMU looks for everything below qemu-bundle.
	mkdir -p qemu-bundle/usr/share qemu-bundle/usr/lib/ipxe
	ln -sfn -t qemu-bundle/usr/share /usr/share/qemu /usr/share/seabios
	ln -sfn -t qemu-bundle/usr/lib/ipxe /usr/lib/ipxe/qemu
	echo "$key" > .configured
}

"$TOP/scripts/prepare-source.sh" qemu
"$TOP/scripts/gen-standard-header.sh" "$tree" "$SRC/qemu.generated"
"$TOP/scripts/apply-overlay.sh" qemu "$TOP/qemu" "$SRC/qemu.generated"
get_meson
lock "$out"
configure

# A handful of steps is what ninja does each time, to look at the version.
pending=$(ninja -C "$out" -n "$@" 2> /dev/null | grep -c "^\[") || :
if [ "$pending" -gt 5 ]; then
	need_space "$out" $((pending / 2 + 100)) "building QEMU"
	msg "building QEMU, $pending steps (all of them take some ten minutes; log: $LOGS/$variant.log)"
fi
logged "$variant" "building QEMU" ninja -C "$out" -j "$JOBS" "$@"
