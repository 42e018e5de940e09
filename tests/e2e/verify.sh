#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# verify=1: the driver keeps a checksum of each page that it has put, so that other
# bytes never pass for it. A device that stores nothing and says that it did, that
# gives back other bytes, or none at all: whoever needs the page gets SIGBUS, never
# a wrong byte; the log says so, and a counter. An honest device is never taken for
# one of these, in a workload that reads, writes, frees and shares pages while the
# host has them written back.
#
# The device is that of qemu-evil-x86_64: qemu/tests/evil/tmem-evil.c.
#
# Environment: VERIFY_FRONT (frontswap, or swapdev)
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
# shellcheck source=tests/lib/evil.sh
. tests/lib/evil.sh
: "${VERIFY_FRONT:=frontswap}"
vm_setup

# job SWAP-ON SWAP-OFF SMALL-SWAP-ON SMALL-SWAP-OFF: in the small area slots are soon
# used again, so that the host has an older page of them
job()
{
	cat <<-JOB
	large_on() { $1; }
	large_off() { $2; }
	on() { $3; }
	off() { $4; }
	JOB
	cat <<-'JOB'
	cgroup box 12M
	large_on
	swaptest name=honest mib=192 procs=4 zero=4 same=3 part=40 \
		phases=fill,rverify,rewrite,verify,fork,drop,rverify &
	pid=$!
	mark moving
	wait $pid
	driver_vals honest
	large_off
	on
	mark honest
	# Each round: pages of two versions, and the host lies about either
	while ask && [ "$answer" != end ]; do
		name=$answer
		if [ "$name" = unverified ]; then
			echo 0 >/sys/module/virtio_tmem/parameters/verify
			off
			on
		fi
		within box swaptest name=$name mib=20 bus=count part=100 \
			phases=fill,stop,rewrite,rewrite,stop,rverify,verify &
		pid=$!
		for step in full again; do
			stopped $pid
			mark $name.$step
			await $name.$step
			kill -CONT $pid
		done
		wait $pid
		driver_vals $name
		mark $name.over
	done
	off
	JOB
}

# wrong NAME: gets that were noticed, of the round and all before it
wrong()
{
	vm_sum "$1[.]virtio[0-9]+[.]gets_wrong"
}

# lie NAME STEP LIE: a round in which the device lies from a step on. When it is
# again, the pages are read then; what was put before is what is to come.
lie()
{
	vm_send "$1" || bail "$1: the guest goes on"
	vm_reach "$1.full" 120
	[ "$2" != full ] || evil "$3"
	vm_send "$1.full" || bail "$1: the guest goes on"
	vm_reach "$1.again" 120
	evil ''
	[ "$2" != again ] || evil "$3"
	vm_send "$1.again" || bail "$1: the guest goes on"
	vm_reach "$1.over" 120
	evil ''
}

# noticed NAME STEP LIE
noticed()
{
	lie "$@"
	vm_data_ok "$1"
	cmp_ok "$1: pages are lost instead" "$(vm_get "$1.sigbus")" -gt 0
	cmp_ok "$1: wrong ones were counted" "$(wrong "$1")" -gt "$before"
	before=$(wrong "$1")
}

case $VERIFY_FRONT in
frontswap)
	vm_job < <(job 'swap_on /dev/vda' 'swapoff /dev/vda' 'swap_on /dev/vdb' 'swapoff /dev/vdb')
	small=tmem
	;;
swapdev)
	vm_job < <(job 'echo /dev/vda >/sys/block/vtmem0/backing_dev || fail backing_dev
		swap_on /dev/vtmem0' 'swapoff /dev/vtmem0' \
		'echo /dev/vdb >/sys/block/vtmem1/backing_dev || fail backing_dev
		swap_on /dev/vtmem1' 'swapoff /dev/vtmem1')
	small=tmem2
	VM_TMEM2=id=tmem2,max-size=16M,num-queues=2
	;;
*) vm_die "VERIFY_FRONT=$VERIFY_FRONT: it is frontswap or swapdev" ;;
esac
VM_CPUS=4
VM_DISKS="1G 21M"
VM_APPEND=virtio_tmem.verify=1
[ "$VERIFY_FRONT" = frontswap ] || VM_APPEND+=" virtio_tmem.frontswap=0"
# As the size of the swap device it must take both sides of the fork
VM_TMEM=id=tmem,max-size=320M,num-queues=2
vm_start

vm_reach moving 60
while vm_alive && ! vm_has '^@(mark honest|exit)'; do
	vm_set_size $((96 << 20))
	sleep 2
	vm_set_size $((4 << 20))
	sleep 1
	vm_poll 2 vm_tmem_below bytes-used $(((4 << 20) + 1)) || :
done
vm_set_size $((16 << 20))
vm_reach honest 300
vm_data_ok honest
diag "$(vm_sum 'honest[.].*[.]gets') gets, $(vm_sum 'honest[.].*[.]staged_loads') of staged pages, $(vm_sum 'honest[.].*[.]ahead_hits') of pages read ahead, $(vm_sum 'honest[.].*[.]written_back') written back"
cmp_ok "honest: pages were got" "$(vm_sum 'honest[.].*[.]gets')" -gt 20000
cmp_ok "... some of them staged ones" "$(vm_sum 'honest[.].*[.]staged_loads')" -gt 10
cmp_ok "... or read ahead" "$(vm_sum 'honest[.].*[.]ahead_hits')" -gt 100
cmp_ok "... or to be written back" "$(vm_sum 'honest[.].*[.]written_back')" -gt 1000
is "honest: none was taken for wrong" "$(wrong honest)" 0
is "honest: and none was lost" "$(grep -a -m 3 'is lost' "$VM_DIR/console.log" || :)" ''

before=0
noticed forgets full 'put,flush idle=1 status=0 done=0xffffffff'
noticed flips again 'get flip=1234'
noticed nothing again 'get idle=1 status=0 done=0xffffffff failed=0 used=200000'
cmp_ok "the log has what came instead" \
	"$(grep -a -c 'came back with other bytes than were put' "$VM_DIR/console.log" || :)" -ge 1

# Nor is a wrong page written to the disk, where it would pass for the right one.
vm_send writeback || bail "the guest goes on"
vm_reach writeback.full 120
evil 'get flip=1234'
vm_set_size $((2 << 20)) $small
vm_poll 60 grep -a -q 'could not be got, or not written' "$VM_DIR/console.log" ||
	not_ok "wrong pages are not written back" "the log does not say so"
evil ''
vm_set_size $((16 << 20)) $small
vm_send writeback.full || bail "the guest goes on"
vm_reach writeback.again 120
vm_send writeback.again || bail "the guest goes on"
vm_reach writeback.over 120
vm_data_ok writeback
is "... and are right later, when the host has them right" "$(vm_get writeback.sigbus)" 0
cmp_ok "... but were noticed" "$(wrong writeback)" -gt "$before"

# What this is good for
lie unverified again 'get flip=1234'
cmp_ok "without verify, a program sees wrong bytes" "$(vm_get unverified.bad)" -gt 0
vm_send end
vm_finish 60
done_testing
