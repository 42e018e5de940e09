#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Invariant 8: a guest that reboots leaves nothing in the store. Invariant 2: the
# tasks that still run while the kernel shuts its devices down never see the
# disk's stale copy. Then the device works for the new kernel.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
vm_setup

vm_job <<'JOB'
used_kib()
{
	awk '/^SwapTotal/ { t = $2 } /^SwapFree/ { print t - $2 }' /proc/meminfo
}

cgroup box 48M
swap_on /dev/vda
ask
case $answer in
crash*)
	# Never ends: still busy with faults when the devices go.
	within box swaptest name=loop mib=160 procs=4 bus=count repeat=0 \
		phases=fill,rand,rverify &
	until [ "$(used_kib)" -gt 100000 ]; do
		usleep 100000
	done
	mark "busy${answer#crash}"
	await "reboot${answer#crash}"
	reboot -n -f
	;;
esac
within box swaptest name=after mib=128 phases=fill,rverify
JOB
VM_CPUS=4
VM_MEM=256M
# Devices are shut down last one first, and initcall_debug has the kernel write a
# line to the slow console for each: with others between them, the swap disk
# outlives virtio-tmem by some milliseconds, in which a wrong read would succeed.
VM_DISKS="768M 1M 1M 1M 1M 1M 1M 1M 1M"
VM_TMEM=max-size=128M,num-queues=4,addr=0x1e
VM_APPEND=initcall_debug

# shellcheck disable=SC2317 # called through vm_poll
booted()
{
	local n

	# What was said last before a reboot may lack its end
	n=$(grep -c '@mark boot$' "$VM_DIR/proto.log" 2>/dev/null) || :
	[ "${n:-0}" -ge "$1" ] || ! vm_alive
}

# Without MSI-X, and with one thread for all vCPUs: QEMU 10.0 under TCG may abort
# (msix_table_mmio_write, or iotlb_to_section: Assertion) when a vCPU writes to
# registers while another moves the BARs of devices.
VM_TCG=thread=single
vm_start -global virtio-blk-pci.vectors=0 -global virtio-tmem-pci.vectors=0
vm_poll 60 booted 1 || bail "guest boots"
# More than once: the moment between the device's end and the guest's is short.
for n in 1 2 3; do
	vm_send "crash$n" || bail "guest $n answers"
	vm_reach "busy$n" 60
	sleep 1
	cmp_ok "boot $n: pages are held" "$(vm_tmem pages)" -gt 15000
	cmp_ok "boot $n: in memory of the host" "$(vm_store_kib)" -gt 15000
	vm_send "reboot$n" || bail "guest $n answers"
	vm_poll 120 booted $((n + 1)) || bail "guest $n reboots"
	vm_alive || bail "QEMU runs guest $n"
	is "reboot $n: no page is left" "$(vm_tmem pages)" 0
	is "reboot $n: no pool is left" "$(vm_tmem_pools)" 0
	cmp_ok "reboot $n: no memory is in use" "$(vm_tmem bytes-used)" -le $((1 << 20))
	cmp_ok "reboot $n: the host has it back" "$(vm_store_kib)" -le 1024
done
puts=$(vm_tmem puts)
vm_send last || bail "guest answers"
vm_finish 90
vm_data_ok after
is "no task saw a wrong page before the end" "$(grep -c '^@bad ' "$VM_DIR/proto.log" || :)" 0
diag "puts before the last boot: $puts"
done_testing
