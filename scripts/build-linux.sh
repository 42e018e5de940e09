#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# build-linux.sh: build the guest kernel with the driver, out of tree, in
# build/linux.  Its configuration is linux/config/guest-6.1.config and nothing
# else: what is not named there is off.
#
# The kernel's make takes long to find that there is nothing to do, so
# build/linux/.built holds a hash of everything that went in.  A person's own
# tree (LINUX_SRC) may change anywhere: there make looks each time.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

tree=$SRC/linux
out=$BUILD/linux
config=$TOP/linux/config/guest-6.1.config

# The same input gives the same kernel, and ccache is of use.
make_args=(-C "$tree" "O=$out" -j "$JOBS" "CC=ccache gcc" ARCH=x86_64
	KBUILD_BUILD_TIMESTAMP=@0 KBUILD_BUILD_USER=virtio-tmem KBUILD_BUILD_HOST=build)

key()
{
	cat "$tree.state/applied" "$config"
	sha256sum < "$0"
	gcc -dumpfullversion
}

# An option whose dependencies are not met vanishes without a word.
check_config()
{
	local lost

	lost=$(grep '^CONFIG_' "$config" | grep -v -x -F -f "$out/.config" | paste -sd' ') || :
	[ -z "$lost" ] || die "$config: the kernel does not take $lost"
}

"$TOP/scripts/prepare-source.sh" linux
"$TOP/scripts/apply-overlay.sh" linux "$TOP/linux"
lock "$out"

now=$(key | sha256sum)
[ -n "${LINUX_SRC:-}" ] || [ ! -f "$out/arch/x86/boot/bzImage" ] ||
	[ "$now" != "$(cat "$out/.built" 2> /dev/null)" ] || exit 0

need_space "$out" 900 "building Linux"
mkdir -p "$out"
rm -f "$out/.built"
logged configure-linux "configuring Linux" \
	make "${make_args[@]}" "KCONFIG_ALLCONFIG=$config" allnoconfig
check_config
msg "building Linux (the first time takes some ten minutes; log: $LOGS/linux.log)"
logged linux "building Linux" make "${make_args[@]}" bzImage modules
echo "$now" > "$out/.built"
