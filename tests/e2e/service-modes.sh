#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Invariants 1 and 3 in each thread that may serve a queue: in the vCPU that
# notifies (without the big lock), in an IOThread of its own, in one for all, in
# the main loop. The VM is stopped and goes on, which stops the queues while
# both vCPUs swap; query-tmem looks on.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
vm_setup

vm_job <<'JOB'
cgroup box 40M
swap_on /dev/vda
mark ready
within box swaptest name=data mib=96 procs=2 phases=fill,rverify,seq,rewrite,rverify,verify
mark done
await end
JOB

# iothread_ticks: CPU time of all IOThreads but the disks', in clock ticks
iothread_ticks()
{
	local tid

	for tid in $(vm_qmp '{"execute":"query-iothreads"}' |
		jq -r '.return[] | select(.id | startswith("tmem")) | ."thread-id"'); do
		sed 's/.*) //' "/proc/$VM_PID/task/$tid/stat"
	done | awk '{ sum += $12 + $13 } END { print sum + 0 }'
}

# mode NAME IOTHREADS [QEMU ARGUMENT...]
mode()
{
	local name=$1 iothreads=$2 ticks n

	shift 2
	vm_start "$@"
	vm_reach ready 30
	for n in 1 2 3 4 5 6; do
		sleep 0.3
		vm_qmp '{"execute":"stop"}' >/dev/null
		vm_qmp '{"execute":"query-tmem"}' >/dev/null
		vm_qmp '{"execute":"cont"}' >/dev/null
	done
	vm_reach 'done' 120
	ticks=$(iothread_ticks)
	if [ "$iothreads" = 0 ]; then
		is "$name: no IOThread serves" "$ticks" 0
	else
		cmp_ok "$name: IOThreads serve" "$ticks" -gt 10
	fi
	cmp_ok "$name: puts" "$(vm_tmem puts)" -gt 10000
	cmp_ok "$name: gets" "$(vm_tmem gets)" -gt 10000
	is "$name: no invalid request" "$(vm_tmem invalid-requests)" 0
	vm_send end
	vm_finish 30
	vm_data_ok data
}

VM_CPUS=2
VM_MEM=256M
VM_TMEM=max-size=256M,num-queues=2
mode "in vCPUs" 0
VM_TMEM=max-size=256M,num-queues=2,ioeventfd=on
mode "in the main loop" 0
VM_TMEM=max-size=256M,num-queues=2,ioeventfd=on,iothread=tmem0
mode "in an IOThread" 1 -object iothread,id=tmem0
VM_TMEM=
mode "in an IOThread for each queue" 2 -object iothread,id=tmem0 -object iothread,id=tmem1 \
	-device '{"driver": "virtio-tmem-pci", "max-size": 268435456, "num-queues": 2, "pressure": "off", "ioeventfd": true,
		"iothread-vq-mapping": [{"iothread": "tmem0"}, {"iothread": "tmem1"}]}'
done_testing
