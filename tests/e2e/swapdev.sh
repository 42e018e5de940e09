#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The swap device front end: pages on the host, those it rejects on the backing
# device, nothing lost between the two; and what a device for swap only refuses.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
vm_setup

vm_job <<'JOB'
# What is not swap is refused, and nothing is there before
dd if=/dev/vtmem0 bs=4k count=8 2>/dev/null | tr -d '\0' | wc -c >/tmp/n
val fresh.bytes "$(cat /tmp/n)"
if dd if=/dev/urandom of=/dev/vtmem0 bs=4k seek=1 count=16 conv=fsync 2>/dev/null; then
	val foreign.write accepted
else
	val foreign.write refused
fi
val backing.small "$(echo /dev/vdb >/sys/block/vtmem0/backing_dev 2>/dev/null && echo accepted || echo refused)"
echo /dev/vda >/sys/block/vtmem0/backing_dev || fail "backing_dev"
val backing.path "$(cat /sys/block/vtmem0/backing_dev)"

swap_on /dev/vtmem0 100
val backing.busy "$(echo none >/sys/block/vtmem0/backing_dev 2>/dev/null && echo accepted || echo refused)"
swaptest name=data mib=320 procs=2 zero=4 same=3 part=40 repeat=2 \
	phases=fill,rverify,rewrite,verify,fork,drop,rverify,stop &
pid=$!
steps $pid 2
wait $pid
driver_vals end
vm_vals end
swapoff /dev/vtmem0 || fail swapoff
mark off
await end
JOB
VM_TMEM=id=tmem,max-size=512M,num-queues=1
VM_APPEND=virtio_tmem.frontswap=0
VM_DISKS="1G 16M"
vm_start
# The disk has the size that the store can have; what it may have now is less.
vm_poll 60 vm_has "^@backing.busy"
vm_set_size 41943040
vm_reach step1 240
cmp_ok "the store held pages in the middle" "$(vm_tmem pages)" -gt 5000
vm_send go1
vm_reach step2 240
cmp_ok "it refused pages" "$(vm_tmem rejected-puts)" -gt 100
cmp_ok "it gave pages" "$(vm_tmem gets)" -gt 30000
is "it was asked for nothing that it had not" "$(vm_tmem misses)" 0
is "no request was malformed" "$(vm_tmem invalid-requests)" 0
cmp_ok "it stays within its limit" "$(vm_tmem bytes-used)" -le "$(vm_tmem limit)"
vm_send go2
vm_reach off 120
is "after swapoff the host holds nothing" "$(vm_tmem pages)" 0
vm_send end
vm_finish 60
vm_data_ok data
is "a fresh device reads as zeros" "$(vm_get fresh.bytes)" 0
is "a write that is not swap" "$(vm_get foreign.write)" refused
is "a backing device that is too small" "$(vm_get backing.small)" refused
is "the backing device" "$(vm_get backing.path)" /dev/vda
is "another one while swap is on" "$(vm_get backing.busy)" refused
cmp_ok "rejected pages went to the backing device" "$(vm_get end.virtio2.backing_writes)" -gt 1000
cmp_ok "and came back from there" "$(vm_get end.virtio2.backing_reads)" -gt 1000
done_testing
