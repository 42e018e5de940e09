#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Invariants 1 and 6 with exclusive=1: what the guest has got is no longer on the
# host, and it is put again, not lost, when the guest needs the room. And what is
# promised to a guest that does not use it is given back.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
vm_setup

vm_job <<'JOB'
cgroup box 64M
swap_on /dev/vda
within box swaptest name=data mib=160 procs=2 part=20 phases=fill,seq,rverify,stop,verify,rewrite,rverify &
pid=$!
steps $pid 1
wait $pid
driver_vals end
mark ended
await off
swapoff /dev/vda
mark off
await end
JOB

# run NAME PARAMETER: sets $held
run()
{
	VM_APPEND="virtio_tmem.exclusive=$2"
	vm_start
	vm_reach step1 90
	# Flushes travel some milliseconds later.
	sleep 0.2
	held=$(vm_tmem pages)
	vm_tmem_wait reserved-puts 0 5 || :
	is "$1: idle, it has given its reservations back" "$(vm_tmem reserved-puts)" 0
	vm_send go1
	# For as long as it swaps: they go back a second or two later
	if vm_poll 60 vm_tmem_above reserved-puts 0; then
		ok "$1: reservations are used"
	else
		not_ok "$1: reservations are used"
	fi
	vm_reach ended 90
	cmp_ok "$1: pages were staged" "$(vm_sum 'end[.].*[.]puts_staged')" -gt 10000
	vm_send off
	vm_reach off 30
	is "$1: without a swap area there are none" "$(vm_tmem reserved-puts)" 0
	is "$1: nor pages" "$(vm_tmem pages)" 0
	vm_send end
	vm_finish 30
	vm_data_ok data
}

VM_CPUS=2
VM_MEM=256M
VM_TMEM=max-size=256M,num-queues=2
run "not exclusive" 0
all=$held
run "exclusive" 1
# 160 MiB of pages, of which the guest has up to 64.
cmp_ok "the host holds none that the guest has" "$held" -lt $((all * 85 / 100))
cmp_ok "and all others" "$held" -gt 20000
done_testing
