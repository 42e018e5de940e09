#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# build-qemu.sh TARGET...: build QEMU with the device, out of tree, in
# build/qemu.  Nothing is fetched here but meson, which QEMU wants newer than
# Debian 12 has it; it stays inside build/.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

tree=$SRC/qemu
out=$BUILD/qemu
meson=$BUILD/meson

# No default features: fewer packages to install and minutes to wait.  The
# firmware comes from Debian's packages: no blobs, but their folders.
options=(
	--without-default-features --target-list=x86_64-softmmu
	--enable-tcg --enable-kvm --enable-lz4 --enable-zstd --enable-plugins --enable-trace-backends=log
	--firmwarepath=/usr/share/qemu:/usr/share/seabios:/usr/lib/ipxe/qemu
	--disable-install-blobs --disable-docs --disable-download
	--python=/usr/bin/python3 "--cc=ccache gcc"
	"--extra-cflags=${CFLAGS:--O2 -g}"
)

get_meson()
{
	local cached

	[ ! -d "$meson" ] || return 0
	cached=$("$TOP/scripts/get-source.sh" meson)
	rm -rf "$meson.new"
	logged unpack-meson "unpacking meson" dpkg-deb -x "$cached"/*.deb "$meson.new"
	mv "$meson.new" "$meson"
}

configure()
{
	local key

	key=$(printf '%s\n' "$tree" "$meson" "${options[@]}" | sha256sum)
	[ "$key" != "$(cat "$out/.configured" 2> /dev/null)" ] || return 0
	msg "configuring QEMU"
	rm -rf "$out"
	mkdir -p "$out"
	cd "$out"
	PYTHONPATH=$meson/usr/lib/python3/dist-packages logged configure-qemu \
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
lock "$out"
get_meson
configure

# A handful of steps is what ninja does each time, to look at the version.
pending=$(ninja -C "$out" -n "$@" 2> /dev/null | grep -c "^\[") || :
if [ "$pending" -gt 5 ]; then
	need_space "$out" $((pending / 2 + 100)) "building QEMU"
	msg "building QEMU, $pending steps (all of them take some ten minutes; log: $LOGS/qemu.log)"
fi
logged qemu "building QEMU" ninja -C "$out" -j "$JOBS" "$@"
