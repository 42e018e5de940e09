# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A Debian 12 with systemd on a disk, that boots on a kernel of get-kernel.sh. To be
# sourced after vm.sh and root.sh, and after vm_setup.
#
#   image_make KERNEL PACKAGE...   a system with these packages in it
#   image_job <<'JOB'              what a service of its own runs at each boot
#   image_start                    boots it
#
# The job has the words of tests/guest/lib.sh and, in /boots, how often it has been
# started. Disks have names in /dev/disk/by-id: virtio-root, virtio-swap (in fstab),
# virtio-spare. Each boot is one of a person's: nothing but the packages sets up
# what is not in fstab.
#
# (SC2034: what vm_start takes.)

image_modules()
{
	tests/guest/pack-modules "$BUILD/kernels/$1" "$BUILD/module/$1/virtio_tmem.ko" \
		"$VM_DIR/modules" ext4 autofs4
}

# What the kernel starts: it finds the disk and hands over to systemd. It does not load
# the driver: that is for udev, as on a machine with the dkms package.
image_initramfs()
{
	local dir=$VM_DIR/initroot

	mkdir -p "$dir"/{bin,dev,proc,sys,root,lib}
	cp /bin/busybox "$dir/bin/"
	cp -r "$VM_DIR/modules/lib/modules" "$dir/lib/"
	cat > "$dir/init" <<-'END'
		#!/bin/busybox sh
		/bin/busybox --install -s /bin
		export PATH=/bin
		mount -t proc proc /proc
		mount -t sysfs sysfs /sys
		mount -t devtmpfs devtmpfs /dev
		for module in virtio_pci virtio_blk ext4; do
			modprobe "$module"
		done
		for disk in /sys/block/vd*; do
			[ "$(cat "$disk/serial")" != root ] || mount -t ext4 "/dev/${disk##*/}" /root
		done
		umount /proc /sys
		mount -o move /dev /root/dev
		exec switch_root /root /sbin/init
	END
	chmod +x "$dir/init"
	(cd "$dir" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0) > "$VM_DIR/image.initrd"
}

# image_packages DEB...: systemd, and what is tested
image_packages()
{
	# systemd-sysv wants the others to be there first
	root_debs "$VM_DIR/image" systemd &&
		root_run "$VM_DIR/image" sh -c 'cd /systemd && mv systemd-sysv_*.deb .. &&
			dpkg --skip-same-version -i *.deb && dpkg -i ../systemd-sysv_*.deb && rm ../*.deb' || return
	rm -r "$VM_DIR/image/systemd"
	[ $# -eq 0 ] || {
		mkdir "$VM_DIR/image/debs"
		cp "$@" "$VM_DIR/image/debs/"
		root_run "$VM_DIR/image" sh -c 'dpkg -i /debs/*.deb'
	}
}

# image_make KERNEL DEB...
image_make()
{
	local kernel=$1

	shift
	image_modules "$kernel" && root_make "$VM_DIR/image" && image_packages "$@" || return
	# Nothing that the boot does not need
	rm -rf "$VM_DIR/image"/usr/share/{doc,man,locale} "$VM_DIR/image"/var/cache/apt/* "$VM_DIR/image/usr/sbin/policy-rc.d"
	rm -rf "$VM_DIR/image/lib/modules"
	cp -r "$VM_DIR/modules/lib/modules" "$VM_DIR/image/lib/"
	printf '%s\n' '/dev/disk/by-id/virtio-root / ext4 defaults 0 0' \
		'/dev/disk/by-id/virtio-swap none swap sw 0 0' > "$VM_DIR/image/etc/fstab"
	echo tmem-test > "$VM_DIR/image/etc/hostname"
	# systemd gives up devices that are not found in 90 s: on a busy host, without KVM,
	# that is some seconds of the guest's work.
	mkdir -p "$VM_DIR/image/etc/systemd/system.conf.d"
	printf '%s\n' '[Manager]' 'DefaultTimeoutStartSec=30min' 'DefaultTimeoutStopSec=30min' DefaultDeviceTimeoutSec=30min \
		> "$VM_DIR/image/etc/systemd/system.conf.d/patience.conf"
	image_initramfs
}

# image_job: the job on standard input. It may look; systemd does not wait for it.
image_job()
{
	local etc=$VM_DIR/image/etc/systemd/system

	install -D -m 644 tests/guest/lib.sh "$VM_DIR/image/lib.sh"
	install -D "$BUILD/guest/swaptest" tests/guest/within -t "$VM_DIR/image/usr/local/bin"
	{
		cat <<-'END'
			#!/bin/sh
			. /lib.sh
			usleep()
			{
				sleep 0.1
			}
			stty -F /dev/ttyS1 raw -echo
			exec </dev/ttyS1 >/dev/ttyS1 2>/dev/console
			boots=$(($(cat /boots 2>/dev/null) + 1))
			echo $boots >/boots
			mark "boot$boots"
		END
		cat
	} > "$VM_DIR/image/job"
	chmod +x "$VM_DIR/image/job"
	mkdir -p "$etc/multi-user.target.wants"
	printf '%s\n' '[Unit]' 'Description=The job of a test' '[Service]' 'ExecStart=/job' > "$etc/job.service"
	ln -sf ../job.service "$etc/multi-user.target.wants/job.service"
}

# image_start: the guest has the disks of the header and one virtio-tmem, $VM_TMEM
image_start()
{
	local disk args=()

	truncate -s 1G "$VM_DIR/root.img"
	truncate -s 256M "$VM_DIR/swap.img" "$VM_DIR/spare.img"
	mke2fs -q -t ext4 -O ^has_journal,^metadata_csum -d "$VM_DIR/image" "$VM_DIR/root.img" || vm_die "no image: mke2fs failed"
	mkswap -q "$VM_DIR/swap.img"
	for disk in root swap spare; do
		args+=(-blockdev "driver=raw,node-name=$disk,file.driver=file,file.filename=$VM_DIR/$disk.img"
			-device "virtio-blk-pci,drive=$disk,serial=$disk")
	done
	VM_JOB=$VM_DIR/image.initrd
	VM_DISKS=
	vm_start "${args[@]}"
}
