#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What sets up the swap device at boot (packaging/guest): the script that the
# service runs, in a guest; the service and the udev rule, as far as their own
# checkers go.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
vm_setup
guest=packaging/guest

# said KEY: all that the guest has said of it
said()
{
	sed -n "s/^@$1 //p" "$VM_DIR/proto.log" | tr -d '\r'
}

job()
{
	echo "cat >/bin/virtio-tmem-swap <<'END'"
	# The guest's swapon knows no priority
	# shellcheck disable=SC2016 # meant so
	sed 's,swapon -p "$PRIORITY" "/dev/$name",swapon-prio "/dev/$name" "$PRIORITY",' "$guest/virtio-tmem-swap"
	echo END
	cat <<'JOB'
chmod +x /bin/virtio-tmem-swap
mkdir -p /etc/default
says()
{
	name=$1
	shift
	if "$@" >/tmp/said 2>&1; then
		val "$name" "ok $(head -n 1 /tmp/said)"
	else
		val "$name" "failed $(head -n 1 /tmp/said)"
	fi
}
says noargs virtio-tmem-swap
says other virtio-tmem-swap start sda
says absent virtio-tmem-swap start vtmem7
says unknown virtio-tmem-swap restart vtmem0
printf 'BACKING=/dev/vdz\nBACKING_WAIT=1\n' >/etc/default/virtio-tmem
says nodisk virtio-tmem-swap start vtmem0
echo BACKING=/dev/null >/etc/default/virtio-tmem
says notdisk virtio-tmem-swap start vtmem0
rm /etc/default/virtio-tmem
says plain virtio-tmem-swap start vtmem0
says again virtio-tmem-swap start /dev/vtmem0
val on "$(tail -n +2 /proc/swaps | tr -s '\t ' ' ')"
says stop virtio-tmem-swap stop vtmem0
says stopagain virtio-tmem-swap stop vtmem0
val off "$(tail -n +2 /proc/swaps | wc -l)"
printf 'PRIORITY=7\nBACKING=/dev/late\n' >/etc/default/virtio-tmem
(
	sleep 2
	ln -s vda /dev/late
) &
says backed virtio-tmem-swap start vtmem0
val prio "$(tail -n +2 /proc/swaps | tr -s '\t ' ' ')"
val backing "$(cat /sys/block/vtmem0/backing_dev)"
JOB
}
vm_job < <(job)
VM_TMEM=max-size=64M
VM_APPEND=virtio_tmem.frontswap=0
VM_DISKS=128M
vm_start
vm_finish 90
like "without arguments" "$(said noargs)" '^failed virtio-tmem-swap: usage: '
like "another disk" "$(said other)" '^failed .*sda is no swap device of virtio-tmem'
like "a device that is not there" "$(said absent)" '^failed .*there is no vtmem7'
like "something else to do" "$(said unknown)" '^failed .*expected start or stop'
like "a backing device that is not there" "$(said nodisk)" '^failed .*/dev/vdz.* is not there'
like "a backing device that is no disk" "$(said notdisk)" '^failed .*(/dev/null cannot|write error)'
like "no backing device" "$(said plain)" '^ok .*has no backing device'
like "started twice" "$(said again)" '^ok'
like "swap is on, before that of a disk" "$(said on)" '^/dev/vtmem0 .* 100$'
like "stopped" "$(said stop)" '^ok'
like "stopped twice" "$(said stopagain)" '^ok'
is "swap is off" "$(said off)" 0
like "with settings" "$(said backed)" '^ok'
like "the priority that was asked for" "$(said prio)" '^/dev/vtmem0 .* 7$'
is "the backing device that was asked for, though it came late" "$(said backing)" /dev/late

if command -v systemd-analyze >/dev/null; then
	# It wants the program in its place
	dir=$(mktemp -d "$VM_DIR/units.XXXXXX")
	sed "s,/usr/lib/virtio-tmem/,$PWD/$guest/," "$guest/virtio-tmem-swap@.service" \
		>"$dir/virtio-tmem-swap@vtmem0.service"
	is "systemd has nothing against the service" \
		"$(systemd-analyze verify "$dir/virtio-tmem-swap@vtmem0.service" 2>&1 | grep -F "$dir" || :)" ''
else
	skip "systemd has nothing against the service" "no systemd-analyze"
fi
done_testing
