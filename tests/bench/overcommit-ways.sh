# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The scenario of make demo-overcommit, and the ways that it is played in. To be
# sourced by overcommit.sh, which has way(). docs/overcommit.md gives the reasons.
#
# All sizes in MiB. What a QEMU takes beyond its guest's RAM is the emulator's
# translated code for the most part.

: "${LIMIT:=768}"		# of all QEMU processes together
: "${QEMU_TAKES:=80}"		# each: 60 to 75, and more in a moment
: "${SERVICE:=32}"		# memory that each guest keeps
: "${JOB:=768}"			# memory that a busy one takes beyond that
: "${LITTLE:=224}"		# the same when all are busy a little
: "${SERVICE_PACE:=200}"	# accesses a second
: "${LITTLE_PACE:=4000}"
: "${THETA:=50}"		# skew of accesses, 1/100: 0 is uniform, 99 is very skewed
: "${WRITES:=20}"		# % of accesses
: "${PHASE:=25}"		# seconds
: "${DISK_IOPS:=1000}"		# of the host's disk; 0: as fast as it is
: "${DISK_MBS:=100}"
: "${PAGE_CLUSTER:=3}"		# of guests that swap to their disk: 2^n pages at a time
: "${HOST_PAGE_CLUSTER:=0}"	# of the host, while it swaps
: "${ZSWAP_PERCENT:=25}"	# of the guest's RAM
: "${TMEM_RAM:=72}"
: "${TMEM_APPEND:=}"		# for the kernels of guests with virtio-tmem

# What one guest needs for its job and for itself: so much that it never swaps, as what a
# guest swaps out the host may have to swap in first. What it does not use costs nothing.
guest_kernel=128
whole=$((guest_kernel + SERVICE + JOB))
share=$(((LIMIT - 3 * QEMU_TAKES) / 3))
store=$((LIMIT - 3 * (QEMU_TAKES + TMEM_RAM)))

# A way: its name, then
#   RAM=        MiB of each guest
#   HOST_SWAP=1 the host may swap what is in the cgroup
#   APPEND=     for the guest's kernel
#   PREPARE=    shell for the guest
#   ARGS=       of QEMU
#   TMEM=       MiB that all page stores may take together
#   POLICY=     function that moves memory while the guests run
all_ways()
{
	local balloon=-device\ virtio-balloon-pci,id=balloon,deflate-on-oom=on

	local cluster="PREPARE=echo $PAGE_CLUSTER >/proc/sys/vm/page-cluster"

	way 'disk swap in the guest' RAM=$share "$cluster"
	way 'zswap lz4 in the guest' RAM=$share "$cluster" \
		"APPEND=zswap.enabled=1 zswap.compressor=lz4 zswap.zpool=zsmalloc zswap.max_pool_percent=$ZSWAP_PERCENT"
	way 'host swap' RAM=$whole HOST_SWAP=1
	way 'host swap, free page reporting' RAM=$whole HOST_SWAP=1 "ARGS=$balloon,free-page-reporting=on"
	way 'balloon by demand' RAM=$whole HOST_SWAP=1 "$cluster" "ARGS=$balloon,free-page-reporting=on" POLICY=balloon_policy
	way 'virtio-tmem' RAM="$TMEM_RAM" TMEM=$store APPEND="$TMEM_APPEND" POLICY=tmem_policy
}

# Phases: guest and size of its job and its pace (0: as fast as it can)
all_phases()
{
	phase 'a is busy' "a $JOB 0"
	phase 'b is busy' "b $JOB 0"
	phase 'c is busy' "c $JOB 0"
	phase 'all are busy a little' "a $LITTLE $LITTLE_PACE" "b $LITTLE $LITTLE_PACE" "c $LITTLE $LITTLE_PACE"
}
