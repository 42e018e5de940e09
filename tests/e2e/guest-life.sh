#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What guests go through in their lives, with swap on: another kernel without a reset
# in between (kexec), a crash and the kernel that saves its memory (kdump), suspend
# and hibernation, a host that stops the guest for a while, one more processor, two
# devices at once, attempts to take the device away. A stock kernel, the driver as a
# module, the swap device.
#
# Invariants 1, 2 and 8: no page is lost or stale, and nothing is left in the store
# of a kernel that is gone.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
# shellcheck source=tests/lib/kernels.sh
. tests/lib/kernels.sh
kernel_setup 6.12
KERNEL_MEM=768M
tmem=id=tmem,max-size=256M,num-queues=2

# qmp_error JSON: the description of the error that it ends in
qmp_error()
{
	vm_qmp "$1" | jq -r '.error.desc // "no error"'
}

# ---- Another kernel ----

# The files of the next kernel are on a disk, one after the other.
next_kernel()
{
	local size

	truncate -s 0 "$VM_DIR/next"
	for file in "$KERNEL" "$VM_JOB"; do
		size=$(stat -L -c %s "$file")
		sizes+=" $(((size + 1048575) >> 20)) $size"
		cat "$file" >>"$VM_DIR/next"
		truncate -s %1M "$VM_DIR/next"
	done
}

# other_kernel HOW: the job, for the first kernel and for the one that HOW (an option
# of kexec) has come
other_kernel()
{
	cat <<JOB
how=$1
cgroup box 32M
if grep -q tmem.second /proc/cmdline; then
	mark second
	await go2
	swap_on /dev/vtmem0
	within box swaptest name=second mib=64 phases=fill,rverify
	driver_vals second
	exit
fi
mark ready
await sizes
read -r kernel_mib kernel_size initrd_mib initrd_size
dd if=/dev/vdb of=/kernel bs=1M count=\$kernel_mib 2>/dev/null
dd if=/dev/vdb of=/initrd bs=1M skip=\$kernel_mib count=\$initrd_mib 2>/dev/null
truncate -s \$kernel_size /kernel
truncate -s \$initrd_size /initrd
next="console=ttyS0 panic=-1 no_timer_check rcupdate.rcu_cpu_stall_timeout=60 watchdog_thresh=60 rootfstype=ramfs tmem.second"
swap_on /dev/vtmem0
within box swaptest name=first mib=128 procs=2 repeat=0 phases=fill,rverify,rewrite &
mark first
await go1
if [ \$how = -p ]; then
	kexec -p /kernel /initrd "\$next maxcpus=1 irqpoll reset_devices" || fail "kexec -p"
	mark crash
	echo c >/proc/sysrq-trigger
else
	kexec -e /kernel /initrd "\$next" || fail "kexec -e"
fi
fail "the kernel goes on"
JOB
}

# comes HOW NAME
comes()
{
	local sizes=

	vm_job < <(other_kernel "$1")
	next_kernel
	VM_MEM=$KERNEL_MEM
	VM_CPUS=2
	VM_TMEM=$tmem
	vm_start -blockdev "driver=raw,node-name=next,file.driver=file,file.filename=$VM_DIR/next" \
		-device virtio-blk-pci,drive=next
	vm_reach ready 60
	vm_send sizes
	echo "$sizes" >&"$VM_IN"
	vm_reach first 60
	vm_poll 60 vm_tmem_above pages 10000 || :
	cmp_ok "$2: pages are held" "$(vm_tmem pages)" -gt 5000
	vm_send go1
	vm_reach second 120
	is "$2: no page is left" "$(vm_tmem pages)" 0
	is "$2: no pool is left" "$(vm_tmem_pools)" 0
	cmp_ok "$2: no memory is in use" "$(vm_tmem bytes-used)" -le $((1 << 20))
	vm_send go2
}

VM_APPEND=
# While the next kernel moves BARs, too, QEMU's emulation may fail: see vm_died_of_tcg()
VM_TCG=thread=single
comes -e "kexec"
vm_finish 120
VM_TCG=
vm_data_ok second
is "kexec: the new kernel lost no page" "$(vm_get second.virtio1.gets_failed)" 0

VM_APPEND=crashkernel=256M
comes -p "kdump"
vm_poll 120 vm_gone || bail "the kernel that saves the memory ends"
VM_PID=
is "kdump: its job succeeds" "$(vm_get exit)" 0
vm_data_ok second
is "no request was malformed, before or after" "$(grep -a -c 'virtio-tmem: ' "$VM_DIR/qemu.log")" 0

# ---- Suspend, hibernation, a pause, a processor ----

vm_job <<'JOB'
# state NAME WORD: what comes of writing it to /sys/power/state
state()
{
	if echo "$2" 2>/dev/null >/sys/power/state; then
		val "$1" done
	else
		val "$1" refused
	fi
}

cgroup box 48M
swap_on /dev/vtmem0
within box swaptest name=pages mib=128 phases=fill,stop,rverify,rewrite,verify &
pid=$!
stopped $pid
driver_vals full
mark full
await suspend
state suspend.full mem
state hibernate.full disk
mark refused
await cpu
kill -CONT $pid
echo 1 >/sys/devices/system/cpu/cpu1/online || fail "cpu1 online"
within box swaptest name=cpus mib=96 procs=2 repeat=2 phases=fill,rverify,rewrite,verify || fail cpus
wait $pid || fail pages
val cpus "$(grep -c ^processor /proc/cpuinfo)"
swapoff /dev/vtmem0 || fail swapoff
JOB
# Linux starts one processor and leaves the other to the job. For one that is plugged
# in there is plug-cpu.sh: under TCG this kernel takes none.
VM_APPEND=maxcpus=1
VM_CPUS=2
VM_TMEM=$tmem
vm_start -global ICH9-LPC.disable_s3=0
vm_reach full 120
cmp_ok "pages are held" "$(vm_tmem pages)" -gt 10000
vm_send suspend
vm_reach refused 60
is "with pages on the host, the guest does not suspend" "$(vm_get suspend.full)" refused
is "nor hibernate" "$(vm_get hibernate.full)" refused
for what in suspend hibernation; do
	is "and says why: $what" "$(grep -a -c "$what refused: swap areas have pages on the host; swapoff first" \
		"$VM_DIR/console.log")" 1
done
# Not when devices have been suspended: Linux 6.12.107 does not survive what follows
is "before any device is suspended" "$(grep -a -c 'Some devices failed to suspend' "$VM_DIR/console.log")" 0
cmp_ok "the pages are still there" "$(vm_tmem pages)" -gt 10000

like "the device cannot be pulled out" "$(qmp_error '{"execute": "device_del", "arguments": {"id": "tmem"}}')" \
	"hotplug"
like "nor can another be put in" "$(qmp_error '{"execute": "device_add", "arguments":
	{"driver": "virtio-tmem-pci", "max-size": 67108864, "id": "more"}}')" "hotplug"

vm_send cpu
sleep 2
vm_qmp '{"execute": "stop"}' >/dev/null
sleep 5
vm_qmp '{"execute": "cont"}' >/dev/null

vm_finish 300
is "it has had two processors" "$(vm_get cpus)" 2
vm_data_ok pages cpus

# ---- Suspend without pages on the host ----

vm_job <<'JOB'
cgroup box 48M
swap_on /dev/vtmem0
within box swaptest name=before mib=96 phases=fill,rverify
swapoff /dev/vtmem0 || fail swapoff
mark empty
echo mem >/sys/power/state || fail "mem"
swap_on /dev/vtmem0
within box swaptest name=awake mib=96 phases=fill,rverify,rewrite,verify
mark over
# Not the end: after a suspend, this machine does not know how to power off
await never
JOB
VM_APPEND=
VM_CPUS=1

# shellcheck disable=SC2317 # called through vm_poll
status_is()
{
	[ "$(vm_qmp '{"execute": "query-status"}' | jq -r .return.status)" = "$1" ]
}

vm_start -global ICH9-LPC.disable_s3=0
vm_reach empty 120
is "the store is empty after swapoff" "$(vm_tmem pages)" 0
vm_poll 60 status_is suspended || bail "with no page on the host, the guest suspends"
ok "with no page on the host, the guest suspends"
sleep 1
vm_qmp '{"execute": "system_wakeup"}' >/dev/null
vm_reach over 120
vm_clean_console
vm_data_ok before awake

# ---- Two devices ----

vm_job <<'JOB'
cgroup box 48M
swap_on /dev/vtmem0 5
swap_on /dev/vtmem1 5
mark on
within box swaptest name=both mib=192 procs=2 phases=fill,rverify,rewrite,verify,stop &
pid=$!
stopped $pid
mark full
await go
kill -CONT $pid
wait $pid || fail both
swapoff /dev/vtmem0 || fail swapoff
swapoff /dev/vtmem1 || fail swapoff
rmmod virtio_tmem || fail rmmod
JOB
VM_CPUS=2
VM_TMEM2=id=tmem2,max-size=128M
vm_start
vm_reach full 300
for n in 0 1; do
	cmp_ok "device $n holds pages" "$(vm_tmem pages $n)" -gt 5000
done
vm_send go
vm_finish 60
vm_data_ok both
done_testing
