#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# get-kernel.sh KERNEL: make build/kernels/KERNEL, a kernel that the driver is a
# module for, and print that folder. In it:
#   vmlinuz, config, release   the kernel, its configuration, what uname -r says
#   modules                    its modules, as in /lib/modules/RELEASE
#   headers                    what modules for it are built against
# 5.10, 6.1 and 6.12 are stock Debian kernels for virtual machines; 7.2 is built
# from Debian's source with linux/config, and kept in the cache: building takes
# minutes, and nothing of ours goes into it.
#
# .made names what it was made from and is written last.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

kernel=${1:-}
dest=$BUILD/kernels/$kernel

case $kernel in
5.10 | 6.1 | 6.12) make=unpack_stock source=kernel-$kernel ;;
7.2) make=unpack_built source=linux-$kernel ;;
*) die "get-kernel.sh: no kernel called ${kernel:-(nothing)}; there are 5.10, 6.1, 6.12 and 7.2" ;;
esac

# ---- stock kernels ----

# The packages' files name each other by where they would be installed. (Scripts of
# the kernel find the rest from where they are.)
relocate()
{
	local link to file

	while read -r link; do
		to=$(readlink "$link")
		[ "${to#/}" = "$to" ] || ln -sfn "$dest/root$to" "$link"
	done < <(find "$1/usr" -type l)
	for file in "$1"/usr/src/linux-headers-*-cloud-amd64/Makefile; do
		sed -i "s,^include /usr/,include $dest/root/usr/," "$file"
	done
}

# What was built against a newer C library than this machine has runs with that.
wrap_tools()
{
	local tool

	while read -r tool; do
		[[ $(ldd "$tool" 2>&1) == *'not found'* ]] || continue
		mv "$tool" "$tool.bin"
		cat > "$tool" <<-END
			#!/bin/sh
			exec $dest/root/usr/lib64/ld-linux-x86-64.so.2 --library-path \\
			    $dest/root/usr/lib/x86_64-linux-gnu \\
			    "\$0.bin" "\$@"
		END
		chmod +x "$tool"
	done < <(find "$1"/usr/lib/linux-kbuild-* -type f -perm -u+x \
		-exec grep -l -a -m1 '^.ELF' {} +)
}

# shellcheck disable=SC2317 # called by logged
unpack_stock()
{
	local new=$dest.new deb dir release

	mkdir -p "$new/root"
	for deb in "$cached"/*.deb; do
		dpkg-deb -x "$deb" "$new/root"
	done
	# As in a system, whichever place the packages know
	for dir in bin lib lib64; do
		[ ! -d "$new/root/$dir" ] || cp -al "$new/root/$dir" "$new/root/usr/"
		rm -rf "${new:?}/root/$dir"
	done
	release=$(cd "$new/root/boot" && echo vmlinuz-*)
	release=${release#vmlinuz-}
	echo "$release" > "$new/release"
	relocate "$new/root"
	wrap_tools "$new/root"
	ln -s "root/boot/vmlinuz-$release" "$new/vmlinuz"
	ln -s "root/boot/config-$release" "$new/config"
	ln -s "root/usr/src/linux-headers-$release" "$new/headers"
	ln -s "root/usr/lib/modules/$release" "$new/modules"
	ln -s usr/lib "$new/root/lib"
	depmod -b "$new/root" "$release"
}

# ---- the kernel that is built ----

configs=("$TOP/linux/config/guest-6.1.config" "$TOP/linux/config/guest-$kernel.config")

# The same input gives the same kernel, and ccache is of use.
kernel_make()
{
	make -C "$src" O="$out" -j "$JOBS" "CC=ccache gcc" ARCH=x86_64 \
		KBUILD_BUILD_TIMESTAMP=@0 KBUILD_BUILD_USER=virtio-tmem KBUILD_BUILD_HOST=build "$@"
}

# Without the driver, which is no part of this tree: its options come and go.
config()
{
	sed -E '/^CONFIG_(VIRTIO_TMEM|FRONTSWAP)/d; /^CONFIG_|^# CONFIG_/!d' "${configs[@]}"
}

# An option whose dependencies are not met vanishes without a word.
check_config()
{
	local lost

	lost=$(grep '^CONFIG_' "$work/config" | grep -v -x -F -f "$out/.config" |
		paste -sd' ') || :
	[ -z "$lost" ] || { echo "error: the kernel does not take $lost"; return 1; }
}

# install-extmod-build: what distributions make their packages of headers with
# shellcheck disable=SC2317 # called by logged
build()
{
	rm -rf "$work"
	mkdir -p "$src" "$out" "$work/pack/headers"
	dpkg-deb --fsys-tarfile "$cached"/*.deb |
		tar -xO --wildcards './usr/src/linux-source-*.tar.xz' |
		tar -xJ -C "$src" --strip-components=1
	config > "$work/config"
	kernel_make "KCONFIG_ALLCONFIG=$work/config" allnoconfig
	check_config
	kernel_make bzImage modules
	cp "$out/arch/x86/boot/bzImage" "$work/pack/vmlinuz"
	cp "$out/.config" "$work/pack/config"
	kernel_make -s --no-print-directory kernelrelease | tail -n 1 > "$work/pack/release"
	kernel_make INSTALL_MOD_PATH="$work/mod" modules_install
	mv "$work/mod/lib/modules/$(cat "$work/pack/release")" "$work/pack/modules"
	rm -f "$work"/pack/modules/{build,source}
	(cd "$out" && srctree=$src SRCARCH=x86 CC='ccache gcc' HOSTCC=gcc MAKE=make \
		KCONFIG_CONFIG=.config "$src/scripts/package/install-extmod-build" "$work/pack/headers")
	tar -C "$work/pack" -czf "$packed.new" .
	mv "$packed.new" "$packed"
	rm -rf "$work"
}

# shellcheck disable=SC2317 # called by logged
unpack_built()
{
	local new=$dest.new release

	mkdir -p "$new/root/lib/modules"
	tar -C "$new" -xzf "$packed"
	release=$(cat "$new/release")
	mv "$new/modules" "$new/root/lib/modules/$release"
	ln -s "root/lib/modules/$release" "$new/modules"
	depmod -b "$new/root" "$release"
}

# Of the functions: what makes the result.
key()
{
	cat "$cached/SHA256SUMS"
	if [ "$make" = unpack_stock ]; then
		declare -f unpack_stock relocate wrap_tools
	else
		declare -f build kernel_make
		config
		gcc -dumpfullversion
	fi
}

cached=$("$TOP/scripts/get-source.sh" "$source")
lock "$dest"
now=$(key | sha256sum | cut -d' ' -f1)
if [ "$now" != "$(cat "$dest/.made" 2> /dev/null)" ]; then
	if [ "$make" = unpack_built ]; then
		work=$BUILD/kernels/$kernel.build
		src=$work/src out=$work/out
		packed=$CACHE/kernels/linux-$kernel-${now:0:16}.tar.gz
		if [ ! -f "$packed" ]; then
			need_space "$BUILD" 3500 "building Linux $kernel"
			mkdir -p "$CACHE/kernels"
			msg "building Linux $kernel (once; it takes some ten minutes; log: $LOGS/kernel-$kernel-build.log)" >&2
			logged "kernel-$kernel-build" "building Linux $kernel" build
		fi
	fi
	need_space "$BUILD" 600 "unpacking Linux $kernel"
	msg "unpacking Linux $kernel" >&2
	rm -rf "$dest" "$dest.new"
	logged "kernel-$kernel" "unpacking Linux $kernel" "$make"
	echo "$now" > "$dest.new/.made"
	mv "$dest.new" "$dest"
fi
echo "$dest"
