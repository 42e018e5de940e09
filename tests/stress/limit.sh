#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Five million pages are read and compared while the limit moves all the time: on both
# front ends, with and without a node to spill to. For longer than make check has time:
# make stress.
#
# Environment: VERIFICATIONS=<number> (5000000) for each of these; WAYS=<regex>
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
vm_setup
: "${VERIFICATIONS:=5000000}" "${WAYS:=.}"

# job SWAP PREPARE
job()
{
	cat <<-JOB
	$2
	swap_on $1
	round=0
	answer=again
	while [ "\$answer" = again ]; do
		round=\$((round + 1))
		swaptest name=data\$round seed=\$round mib=192 procs=4 zero=4 same=3 part=40 repeat=4 \\
			phases=fill,rverify,rewrite,verify,fork,drop,rverify || fail "data\$round"
		mark round\$round
		ask
	done
	driver_vals end
	swapoff $1 || fail swapoff
	JOB
}

verified()
{
	vm_sum 'data[0-9]+[.]verified'
}

# A limit for some hundreds of milliseconds: from a little to more than there is
move_limit()
{
	vm_set_size $(((RANDOM % 24 * 4 + 1) << 20)) || : # it may have ended just now
	moves=$((moves + 1))
	sleep "0.$((RANDOM % 5 + 3))"
}

# way NAME SWAP PREPARE [ARGUMENT OF QEMU...]
way()
{
	local name=$1 round=1 answer=again moves=0

	[[ $name =~ $WAYS ]] || return 0
	vm_job < <(job "$2" "$3")
	shift 3
	vm_start "$@"
	while vm_alive && ! vm_has '^@exit'; do
		move_limit
		vm_has "^@mark round$round\$" || continue
		[ "$(verified)" -lt "$VERIFICATIONS" ] || answer=enough
		vm_send "$answer"
		[ "$answer" = again ] || break
		round=$((round + 1))
	done
	vm_set_size $((96 << 20)) || :
	vm_finish 300
	is "$name: no page is bad" "$(vm_sum 'data[0-9]+[.]bad')$(grep -a '^@bad' "$VM_DIR/proto.log" || :)" 0
	cmp_ok "$name: so many were compared" "$(verified)" -ge "$VERIFICATIONS"
	is "$name: none was lost" "$(vm_sum 'data[0-9]+[.]sigbus')" 0
	diag "$name: $(verified) pages compared in $round rounds, the limit has moved $moves times, written back: $(vm_get end.virtio1.written_back)"
}

VM_CPUS=4
VM_DISKS=1G
for front in frontswap swapdev; do
	swap=/dev/vda prepare=
	VM_APPEND=
	if [ $front = swapdev ]; then
		swap=/dev/vtmem0
		prepare='echo /dev/vda >/sys/block/vtmem0/backing_dev || fail backing_dev'
		VM_APPEND=virtio_tmem.frontswap=0
	fi
	VM_TMEM=id=tmem,max-size=512M,num-queues=4
	way "$front" "$swap" "$prepare"
	truncate -s 0 "$VM_DIR/spill"
	truncate -s 1G "$VM_DIR/spill"
	VM_TMEM+=,spill=spill
	way "$front, spill" "$swap" "$prepare" \
		-blockdev "driver=file,node-name=spill,filename=$VM_DIR/spill,discard=unmap"
done
done_testing
