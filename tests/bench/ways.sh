# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The ways to swap, and the programs that do it.  To be sourced by swap.sh, which
# has way() and workload(): what they say here is all that there is to a way or a
# workload.
#
# A way: its name, then settings of tests/lib/vm.sh (VM_...) and
#   SWAP=     the guest's swap device
#   PREPARE=  shell for the guest, before swap is turned on
#   PROCS=    processes that share the work
#   BASE=     the way that its rates are compared with
#   HELD=     where pages are: slots (4 KiB each), zswap, zram or tmem
#   ONLY=     regex: the workloads that it is fit for
#   ARGS=     more arguments of QEMU
# Guests have 160 MiB; those that hold what they swap themselves have as much more
# as that takes, and the tables say so.

swap_size=448M
swap_kib=$((448 * 1024))
tmem=max-size=512M

all_ways()
{
	local blk='virtio-blk' blk2='virtio-blk, 2 vCPUs' disk="VM_DISKS=$swap_size"
	local fill_ram="[ -e /dev/ram0 ] || modprobe brd rd_size=$swap_kib rd_nr=1; dd if=/dev/zero of=/dev/ram0 bs=1M count=448 2>/dev/null"
	local ram=(VM_MEM=616M "VM_APPEND=brd.rd_size=$swap_kib brd.rd_nr=1" SWAP=/dev/ram0 "PREPARE=$fill_ram")
	local two=(VM_CPUS=2 PROCS=2 "BASE=$blk2")

	way "$blk" "$disk"
	way "$blk, page-cluster=0" "$disk" 'PREPARE=echo 0 >/proc/sys/vm/page-cluster'
	way 'zswap lz4 over virtio-blk' "$disk" HELD=zswap \
		'VM_APPEND=zswap.enabled=1 zswap.compressor=lz4 zswap.zpool=zsmalloc zswap.max_pool_percent=50'
	# Of 384 MiB about 250 are out at a time, and take 95 MiB there. A smaller set
	# would hardly swap in this guest: a rate of something else.
	way 'zram lz4' VM_MEM=256M SWAP=/dev/zram0 HELD=zram 'ONLY=^(ws384|zipf|mix)$' \
		"PREPARE=[ -e /dev/zram0 ] || modprobe zram; echo lz4 >/sys/block/zram0/comp_algorithm; echo $swap_size >/sys/block/zram0/disksize"
	# The floor: no exit, no copy to elsewhere, no compression.
	way 'RAM disk in the guest' "${ram[@]}"
	way 'virtio-tmem' "$disk" HELD=tmem "VM_TMEM=$tmem,num-queues=1"
	way 'virtio-tmem, main loop' "$disk" HELD=tmem "VM_TMEM=$tmem,num-queues=1,ioeventfd=on"
	way 'virtio-tmem, IOThread' "$disk" HELD=tmem "VM_TMEM=$tmem,num-queues=1,ioeventfd=on,iothread=tmem" \
		'ARGS=-object iothread,id=tmem'
	# The other front end, which kernels without frontswap have.
	way 'virtio-tmem, swap device' SWAP=/dev/vtmem0 HELD=tmem "VM_TMEM=$tmem,num-queues=1" \
		'VM_APPEND=virtio_tmem.frontswap=0'
	way 'virtio-tmem, each page by itself' "$disk" HELD=tmem "VM_TMEM=$tmem,num-queues=1" \
		'VM_APPEND=virtio_tmem.staging=0 virtio_tmem.readahead=0'
	way "$blk2" "$disk" "${two[@]}"
	way 'RAM disk in the guest, 2 vCPUs' "${ram[@]}" "${two[@]}"
	way 'virtio-tmem, swap device, 2 vCPUs' "${two[@]}" SWAP=/dev/vtmem0 HELD=tmem "VM_TMEM=$tmem,num-queues=2" \
		'VM_APPEND=virtio_tmem.frontswap=0'
	way 'virtio-tmem, 2 vCPUs, 2 queues' "$disk" "${two[@]}" HELD=tmem "VM_TMEM=$tmem,num-queues=2"
}

# A workload: its name, and shell for the guest, made of the words of guest.sh.  One
# that is no swaptest calls "sample NAME begin" when it is ready, "sample NAME PHASE"
# when a phase has ended, and says "@NAME.PHASE.us" and "@NAME.PHASE.pages".
all_workloads()
{
	local mib

	for mib in 192 288 384; do
		workload "ws$mib" "program ws$mib fill,seq,rand mib=$mib procs=$PROCS touch=50"
	done
	workload zipf "program zipf fill,zipf mib=384 procs=$PROCS accesses=150"
	workload mix 'program mix fill,mix mib=384 procs=4 sizes=uneven accesses=100'
}
