#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The package virtio-tmem-guest in a Debian 12 that boots, with systemd, udev and the
# stock kernel: nobody does anything, and the guest swaps into its host first; at the
# next boot too, then with other settings; systemctl stop brings all pages back.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. scripts/lib.sh
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
# shellcheck source=tests/lib/kernels.sh
. tests/lib/kernels.sh
# shellcheck source=tests/lib/root.sh
. tests/lib/root.sh
# shellcheck source=tests/lib/image.sh
. tests/lib/image.sh
root_possible
kernel_setup 6.1

deb=$(scripts/build-deb.sh guest) || bail "the package builds"
root_step "systemd and the package install" image_make 6.1 "$deb"
image_job <<'JOB'
unit=virtio-tmem-swap@vtmem0.service

# state PREFIX: what a person would look at
state()
{
	val "$1.unit" "$(systemctl is-active $unit)"
	while read -r area _ _ used prio; do
		case $area in
		/dev/vtmem*) val "$1.tmem" "$prio" ;;
		/dev/*) val "$1.disk" "$prio" ;;
		esac
	done </proc/swaps
}

# settled: no job of systemd is left; and how it ended
settled()
{
	val "system$boots" "$(systemctl is-system-running --wait)"
	systemctl --failed --plain --no-legend >&2
	# Devices may be found later than that.
	tries=60
	until [ "$(systemctl is-active $unit)" = active ] || [ $((tries -= 1)) = 0 ]; do
		sleep 1
	done
}

settled
state "boot$boots"
case $boots in
1)
	val installed "$(dpkg-query -W -f '${db:Status-Status}' virtio-tmem-guest)"
	journalctl -q -b --no-pager -u $unit >&2
	printf 'PRIORITY=7\nBACKING=/dev/disk/by-id/virtio-spare\n' >/etc/default/virtio-tmem
	mark reboot
	systemctl reboot
	;;
*)
	val backing "$(cat /sys/block/vtmem0/backing_dev)"
	cgroup box 32M
	within box swaptest name=data mib=96 phases=fill,stop,rverify &
	pid=$!
	stopped $pid
	mark filled
	await stop
	systemctl stop $unit || fail "systemctl stop"
	state stopped
	mark stopped
	await go
	kill -CONT $pid
	wait $pid
	systemctl start $unit || fail "systemctl start"
	state again
	dpkg -P virtio-tmem-guest >&2 || fail "dpkg -P"
	val left "$(find /etc /usr -name '*virtio-tmem*' | tr '\n' ' ')"
	echo "@exit 0"
	systemctl poweroff
	;;
esac
JOB
VM_MEM=384M
VM_TMEM=max-size=128M
VM_APPEND=quiet
image_start
vm_reach boot1 120
vm_reach reboot 60
is "the package is installed" "$(vm_get installed)" installed
is "the system is up, and no unit has failed" "$(vm_get system1)" running
is "the unit is active" "$(vm_get boot1.unit)" active
is "the swap device is on, with its default priority" "$(vm_get boot1.tmem)" 100
cmp_ok "which is above that of the swap disk" "$(vm_get boot1.disk)" -lt 100
vm_reach boot2 120
vm_reach filled 60
is "second boot: the system is up, and no unit has failed" "$(vm_get system2)" running
is "second boot: the unit is active" "$(vm_get boot2.unit)" active
is "second boot: the priority of the settings" "$(vm_get boot2.tmem)" 7
cmp_ok "second boot: above that of the swap disk" "$(vm_get boot2.disk)" -lt 7
is "second boot: the backing device of the settings" "$(vm_get backing)" /dev/disk/by-id/virtio-spare
cmp_ok "pages are on the host" "$(vm_tmem pages)" -gt 8000
vm_send stop
vm_reach stopped 60
is "systemctl stop: the unit is not active" "$(vm_get stopped.unit)" inactive
is "the swap device is off" "$(vm_get stopped.tmem)" ''
cmp_ok "the swap disk is on" "$(vm_get stopped.disk)" -lt 7
is "no page is left on the host" "$(vm_tmem pages)" 0
vm_send go
vm_finish 60
vm_data_ok data
is "systemctl start: the unit is active" "$(vm_get again.unit)" active
is "the swap device is on again" "$(vm_get again.tmem)" 7
is "the package leaves nothing when it goes" "$(vm_get left)" ''
done_testing
