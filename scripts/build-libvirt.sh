#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# build-libvirt.sh [TARGET...]: build libvirt with the <tmem> device, out of tree, in
# build/libvirt: its QEMU driver, its daemon, its client and its tests, and nothing
# that these can do without. Without a target: what domains can be run with.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

[ $# -gt 0 ] || set -- src/libvirtd src/libvirt_driver_qemu.so src/libvirt_iohelper tools/virsh
tree=$SRC/libvirt
out=$BUILD/libvirt

# Not to be installed, and built in each run of the tests: what gcc takes least
# time for, and what ccache knows wherever the tree is (no debug information).
# A warning is an error, as it would be for those who read the patches.
options=(
	--auto-features=disabled -Ddriver_qemu=enabled -Ddriver_remote=enabled
	-Ddriver_libvirtd=enabled -Djson_c=enabled -Dlibnl=enabled -Dtests=enabled
	-Doptimization=0 -Ddebug=false -Dwerror=true
)
export PYTHONPATH=$BUILD/meson/usr/lib/python3/dist-packages
meson=$BUILD/meson/usr/bin/meson

configure()
{
	local key

	key=$(printf '%s\n' "$tree" "$meson" "${options[@]}" | sha256sum)
	[ "$key" != "$(cat "$out/.configured" 2> /dev/null)" ] || return 0
	msg "configuring libvirt"
	rm -rf "$out"
	CC="ccache gcc" logged configure-libvirt "configuring libvirt" \
		"$meson" setup "${options[@]}" "$out" "$tree"
	echo "$key" > "$out/.configured"
}

"$TOP/scripts/prepare-source.sh" libvirt
"$TOP/scripts/apply-overlay.sh" libvirt "$TOP/libvirt"
get_meson
lock "$out"
configure

# What tests preload is not among what they are made of.
case " $*" in
*' tests/'*) mapfile -t mocks < <(ninja -C "$out" -t targets all | sed -n -E 's,^(tests/lib[^:/]*mock\.[^:/]*): .*,\1,p') ;;
*) mocks=() ;;
esac
set -- "$@" "${mocks[@]}"

pending=$(ninja -C "$out" -n "$@" 2> /dev/null | grep -c "^\[") || :
if [ "$pending" -gt 5 ]; then
	need_space "$out" 500 "building libvirt"
	msg "building libvirt, $pending steps (all of them take some five minutes; log: $LOGS/libvirt.log)"
fi
logged libvirt "building libvirt" ninja -C "$out" -j "$JOBS" "$@"
