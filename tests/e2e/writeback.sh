#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The host wants memory back: the guest writes pages to the backing device, the host
# gets below its limit in time, and nothing is lost while pages are read, written
# and freed in the middle of it, again and again.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
vm_setup
: "${DROPS:=12}"

vm_job <<'JOB'
echo /dev/vda >/sys/block/vtmem0/backing_dev || fail "backing_dev"
swap_on /dev/vtmem0 100
swaptest name=held mib=288 part=100 phases=fill,stop,verify &
pid=$!
steps $pid 1
wait $pid
driver_vals held
swaptest name=data mib=256 procs=4 zero=4 same=3 part=40 repeat=4 \
	phases=fill,rverify,rewrite,verify,fork,drop,rverify &
pid=$!
mark moving
wait $pid
driver_vals end
swapoff /dev/vtmem0 || fail swapoff
JOB
VM_CPUS=4
VM_TMEM=id=tmem,max-size=512M,num-queues=4
VM_APPEND="virtio_tmem.frontswap=0"
VM_DISKS="1G"
vm_start

# A limit of a quarter of what is held
vm_reach step1 120
held=$(vm_tmem bytes-used)
pages=$(vm_tmem pages)
cmp_ok "the store holds much ($pages pages, $held bytes)" "$pages" -gt 25000
begin=$(date +%s%N)
vm_set_size $((held / 4))
vm_poll 60 vm_tmem_below bytes-used $((held / 4 + 1)) || :
us=$((($(date +%s%N) - begin) / 1000))
diag "below a quarter of the limit after $((us / 1000)) ms"
cmp_ok "it got below the new limit" "$(vm_tmem bytes-used)" -le $((held / 4))
vm_send go1

# A limit that moves all the time, once there is what can be written back
vm_reach moving 240
vm_poll 240 vm_has '^@data.fill.rate' || :
drops=0
while vm_alive && ! vm_has '^@data.verified' && [ "$drops" -lt "$DROPS" ]; do
	vm_set_size $((96 << 20))
	sleep 3
	vm_set_size $((8 << 20))
	sleep 2
	drops=$((drops + 1))
done
vm_set_size $((96 << 20))
vm_finish 300
vm_data_ok held data
diag "the limit was lowered $drops times"
cmp_ok "the guest wrote pages back for the first drop" "$(vm_get held.virtio1.written_back)" -gt 15000
cmp_ok "and more for the others" "$(vm_get end.virtio1.written_back)" -gt $(($(vm_get held.virtio1.written_back) + 5000))
cmp_ok "pages came from the backing device" "$(vm_get end.virtio1.backing_reads)" -gt 5000
done_testing
