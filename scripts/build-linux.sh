#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# build-linux.sh [kasan|kcsan|delay|coverage]: build the guest kernel with the driver, out of
# tree, in build/linux.  Its configuration is linux/config/guest-6.1.config with
# faults.config and nothing else: what is not named there is off.  The kernels of
# make check-debug are in build/linux-kasan and so on; they have
# linux/config/kasan.config and so on on top of it, two of them debug.config as well.
# That of make coverage counts which lines of the driver run.
#
# The kernel's make takes long to find that there is nothing to do, so
# .built there holds a hash of everything that went in.  A person's own
# tree (LINUX_SRC) may change anywhere: there make looks each time.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

tree=$SRC/linux
variant=${1:-}
name=linux${variant:+-$variant}
out=$BUILD/$name
configs=("$TOP/linux/config/guest-6.1.config" "$TOP/linux/config/faults.config")
case $variant in
'') mib=900 ;;
delay | coverage)
	mib=900
	configs+=("$TOP/linux/config/$variant.config")
	;;
kasan | kcsan)
	mib=2000
	configs+=("$TOP/linux/config/debug.config" "$TOP/linux/config/$variant.config")
	;;
*) die "build-linux.sh $variant: it is kasan, kcsan, delay, coverage or nothing" ;;
esac

# The same input gives the same kernel, and ccache is of use.
make_args=(-C "$tree" "O=$out" -j "$JOBS" "CC=ccache gcc" ARCH=x86_64
	KBUILD_BUILD_TIMESTAMP=@0 KBUILD_BUILD_USER=virtio-tmem KBUILD_BUILD_HOST=build)

# Each of the driver's objects, and nothing else
if [ "$variant" = coverage ]; then
	for file in "$TOP"/linux/drivers/virtio/virtio_tmem*.c; do
		file=${file##*/}
		make_args+=("GCOV_PROFILE_${file%.c}.o=y")
	done
fi

key()
{
	cat "$tree.state/applied" "${configs[@]}"
	sha256sum < "$0"
	gcc -dumpfullversion
}

# An option whose dependencies are not met vanishes without a word.
check_config()
{
	local lost

	lost=$(grep '^CONFIG_' "$out/.wanted" | grep -v -x -F -f "$out/.config" | paste -sd' ') || :
	[ -z "$lost" ] || die "${configs[*]#"$TOP/"}: the kernel does not take $lost"
}

"$TOP/scripts/prepare-source.sh" linux
"$TOP/scripts/apply-overlay.sh" linux "$TOP/linux"
lock "$out"

now=$(key | sha256sum)
[ -n "${LINUX_SRC:-}" ] || [ ! -f "$out/arch/x86/boot/bzImage" ] ||
	[ "$now" != "$(cat "$out/.built" 2> /dev/null)" ] || exit 0

need_space "$out" "$mib" "building Linux"
mkdir -p "$out"
rm -f "$out/.built"
cat "${configs[@]}" > "$out/.wanted"
logged "configure-$name" "configuring Linux" \
	make "${make_args[@]}" "KCONFIG_ALLCONFIG=$out/.wanted" allnoconfig
check_config
msg "building Linux${variant:+ ($variant)} (the first time takes some ten minutes; log: $LOGS/$name.log)"
logged "$name" "building Linux" make "${make_args[@]}" bzImage modules
echo "$now" > "$out/.built"
