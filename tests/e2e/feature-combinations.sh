#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Invariants 1, 2 and 5 with every way in which driver and device may have agreed:
# features that one of them lacks, ring formats, staging and read-ahead of other
# sizes. What is not offered must not be missed.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
vm_setup

vm_job <<'JOB'
cgroup box 24M
swap_on /dev/vda
within box swaptest name=data mib=40 procs=2 zero=4 same=4 \
	phases=fill,rverify,rewrite,fork,seq,drop,verify,rverify || fail data
swapoff /dev/vda
driver_vals end
JOB
VM_MEM=256M
VM_CPUS=2

# run NAME DEVICE-OPTIONS KERNEL-OPTIONS
run()
{
	VM_TMEM=max-size=24M,num-queues=2$2
	VM_APPEND=$3
	vm_start
	vm_poll 120 vm_gone || bail "$1: guest ends"
	is "$1: job succeeds" "$(vm_get exit)" 0
	vm_data_ok data
	vm_clean_console
	cmp_ok "$1: pages were put" "$(vm_sum 'end[.].*[.]puts')" -gt 3000
	staged=$(vm_sum 'end[.].*[.]puts_staged')
	ahead=$(vm_sum 'end[.].*[.]ahead')
}

run "all that there is" "" ""
cmp_ok "pages were staged" "$staged" -gt 1000
cmp_ok "pages were read ahead" "$ahead" -gt 1000
run "no reservations" ,reserve=off ""
is "nothing is staged without a promise" "$staged" 0
run "no features at all" ,reserve=off,target=off,stats=off,ephemeral=off,exclusive-get=off ""
run "packed ring" ,packed=on ""
run "packed ring, no event index" ,packed=on,event_idx=off ""
run "no event index, no indirect descriptors" ,event_idx=off,indirect_desc=off ""
run "notifications to another thread" ,ioeventfd=on ""
run "no staging, no read-ahead" "" "virtio_tmem.staging=0 virtio_tmem.readahead=0"
is "nothing is staged" "$staged" 0
is "nothing is read ahead" "$ahead" 0
run "little of both" "" "virtio_tmem.staging=3 virtio_tmem.readahead=1"
run "zstd" ,compression=zstd ""
done_testing
