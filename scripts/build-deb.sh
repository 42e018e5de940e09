#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# build-deb.sh [PART...]: make the Debian packages of these parts (by default all) in
# build/deb, and print their paths:
#   dkms   virtio-tmem-dkms: builds the driver for each kernel that is or will be there
#   guest  virtio-tmem-guest: has the driver's swap device used at boot
#   qemu   qemu-system-x86-tmem: what is in build/qemu, to be used beside Debian's own
#   tmemctl
# Each part is a folder of packaging/. The same sources give the same package, with the
# same compiler.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

version=0.1
maintainer='virtio-tmem maintainers <maintainers@users.noreply.h-seed-09eae404.example>'
released='2026-11-21 00:00 UTC'
out=$BUILD/deb
parts=(dkms guest qemu tmemctl)

# ---- what is in them: stage_PART fills $root ----

# shellcheck disable=SC2317 # called as stage_$part, as those below
stage_dkms()
{
	local src=$root/usr/src/virtio-tmem-$version

	mkdir -p "$src"
	"$TOP/scripts/module-source.sh" "$src"
	fill "$from/dkms.conf.in" > "$src/dkms.conf"
}

# shellcheck disable=SC2317
stage_guest()
{
	install -D -m 755 "$from/virtio-tmem-swap" "$root/usr/lib/virtio-tmem/virtio-tmem-swap"
	install -D -m 644 "$from/virtio-tmem-swap@.service" "$root/usr/lib/systemd/system/virtio-tmem-swap@.service"
	install -D -m 644 "$from/60-virtio-tmem.rules" "$root/usr/lib/udev/rules.d/60-virtio-tmem.rules"
	install -D -m 644 "$from/virtio-tmem.default" "$root/etc/default/virtio-tmem"
	install -D -m 644 "$TOP"/docs/{guest,reference}.md -t "$root/usr/share/doc/$package"
}

# strip_to PROGRAM TO: without what only a debugger needs
strip_to()
{
	mkdir -p "${2%/*}"
	strip --strip-unneeded --remove-section=.comment --remove-section=.note -o "$2" "$1"
	chmod 755 "$2"
}

# shellcheck disable=SC2317
stage_qemu()
{
	local doc=$root/usr/share/doc/$package

	[ -x "$BUILD/qemu/qemu-system-x86_64" ] || { echo 'error: there is no QEMU yet: run "make qemu"'; return 1; }
	strip_to "$BUILD/qemu/qemu-system-x86_64" "$root/usr/bin/qemu-system-x86_64-tmem"
	install -D -m 644 "$from/qemu-system-x86_64-tmem.1" -t "$root/usr/share/man/man1"
	install -D -m 644 "$TOP/qemu/docs/system/devices/virtio-tmem.rst" -t "$doc"
	install -D -m 644 "$from/apparmor-libvirt-qemu" "$TOP"/libvirt-xml/*.xml -t "$doc/examples"
	install -D -m 644 "$TOP"/libvirt-xml/fragments/* -t "$doc/examples/fragments"
	install -D -m 644 "$TOP/docs/libvirt.md" -t "$doc"
	gzip -9n "$doc/virtio-tmem.rst" "$root"/usr/share/man/man1/*
}

# shellcheck disable=SC2317
stage_tmemctl()
{
	local doc=$root/usr/share/doc/$package

	export DEB_BUILD_MAINT_OPTIONS=hardening=+bindnow
	CFLAGS=$(dpkg-buildflags --get CFLAGS) CPPFLAGS=$(dpkg-buildflags --get CPPFLAGS) \
		LDFLAGS=$(dpkg-buildflags --get LDFLAGS) \
		make -C "$TOP/tools" -j "$JOBS" "O=$BUILD/deb-tools" prefix=/usr "DESTDIR=$root" install
	strip_to "$root/usr/bin/tmemctl" "$root/usr/bin/tmemctl"
	gzip -9n "$root"/usr/share/man/man*/*
	install -D -m 644 "$TOP"/docs/{operations.md,reference.md,balance*} -t "$doc"
}

# ---- what all have ----

# The libraries of the programs in $root, as dpkg-shlibdeps knows them
shlibs()
{
	local work=$root.shlibs programs found

	mapfile -t programs < <(find "$root/usr/bin" -type f 2> /dev/null)
	[ "${#programs[@]}" -gt 0 ] || return 0
	# It wants a source package around it.
	mkdir -p "$work/debian"
	printf 'Source: virtio-tmem\n\nPackage: %s\nArchitecture: amd64\n' "$package" > "$work/debian/control"
	found=$(cd "$work" && dpkg-shlibdeps -O "${programs[@]}") || return
	rm -r "$work"
	sed -n 's/^shlibs:Depends=//p' <<< "$found"
}

# fill TEMPLATE
fill()
{
	sed -e "s/@VERSION@/$version/g" "$1"
}

# Lines that are for readers of the template have no place in a control file.
control()
{
	local size libs

	libs=$(shlibs) || return
	size=$(du -sk --apparent-size "$root/usr" | cut -f1)
	fill "$from/control.in" | sed -e '/^# SPDX/d' -e "s/@SHLIBS@/$libs/" -e "/^Package:/a\\
Source: virtio-tmem\\
Version: $version\\
Maintainer: $maintainer\\
Installed-Size: $size\\
Priority: optional"
}

docs()
{
	local doc=$root/usr/share/doc/$package copyright=$from/copyright

	mkdir -p "$doc"
	[ -f "$copyright" ] || copyright=$TOP/packaging/common/copyright
	sed '/^# SPDX/d' "$copyright" > "$doc/copyright"
	printf '%s (%s) unstable; urgency=medium\n\n  * As it is in the source tree.\n\n -- %s  %s\n' \
		virtio-tmem "$version" "$maintainer" "$(date -u -R -d "$released")" | gzip -9n > "$doc/changelog.gz"
}

# Programs keep their right to be run; all else is for reading.
modes()
{
	find "$root" -type d -exec chmod 755 {} +
	find "$root" -type f -perm /100 -exec chmod 755 {} +
	find "$root" -type f ! -perm /100 -exec chmod 644 {} +
	find "$root" -exec touch -h -d "$released" {} +
}

# shellcheck disable=SC2317 # called by logged
build()
{
	local script

	rm -rf "$root"
	mkdir -p "$root/DEBIAN"
	"stage_$part"
	docs
	control > "$root/DEBIAN/control" || return
	for script in preinst postinst prerm postrm; do
		[ -f "$from/$script.in" ] || continue
		fill "$from/$script.in" > "$root/DEBIAN/$script" || return
		chmod 755 "$root/DEBIAN/$script"
	done
	[ ! -d "$root/etc" ] || (cd "$root" && find etc -type f -printf '/%p\n' | sort > DEBIAN/conffiles)
	(cd "$root" && find usr -type f -print0 | sort -z | xargs -0 md5sum > DEBIAN/md5sums)
	modes
	SOURCE_DATE_EPOCH=$(date -d "$released" +%s) \
		dpkg-deb --root-owner-group -Zxz --build "$root" "$deb.new"
	mv "$deb.new" "$deb"
	rm -rf "$root"
}

field()
{
	sed -n "s/^$1: //p" "$from/control.in"
}

[ $# -gt 0 ] || set -- "${parts[@]}"
umask 022
mkdir -p "$out"
for part; do
	from=$TOP/packaging/$part
	[ -f "$from/control.in" ] || die "build-deb.sh: no part called $part; there are ${parts[*]}"
	package=$(field Package)
	root=$out/root-$part
	deb=$out/${package}_${version}_$(field Architecture).deb
	lock "$out"
	logged "deb-$part" "building $package" build
	echo "$deb"
done
