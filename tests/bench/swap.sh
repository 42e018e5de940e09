#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# swap.sh: the same guest and the same program, swapping in each way that one
# could choose, one after the other.  Writes build/bench/swap.json and swap.md.
#
# 160 MiB of RAM, a program that uses 384 MiB (34 % random bytes): writes all
# pages, reads them in order, reads them at random; what is timed touches one
# word of each page and checks it.  The disk has an IOThread, and its file is on
# tmpfs.  Under TCG, rates mean little and their ratios more: see
# docs/performance.md for what the counts mean on KVM.
#
# Environment: as tests/lib/vm.sh; ROUNDS (3): the median of so many is given;
# WAYS=<regex>: only those whose name matches, and virtio-blk.
set -eu
cd "$(dirname "$0")/../.."
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh

rounds=${ROUNDS:-3}
out=$BUILD/bench
mib=384
disk=448M

vm_no_tap bench

# job COMMAND PROCS: the job of a guest that prepares swap with this command
job()
{
	vm_job <<-JOB
		$1
		swaptest name=b mib=$mib procs=$2 phases=fill,seq,rand,stop &
		pid=\$!
		stopped \$pid
		mark measured
		await go
		kill -9 \$pid
	JOB
}

# once NAME: one guest; a line of JSON
once()
{
	local tmem='{}'

	vm_start
	vm_reach measured 240
	if [ -n "$VM_TMEM" ]; then
		tmem=$(vm_qmp '{"execute":"query-tmem"}' | jq -c '.return[0] |
			{puts, gets, flushes, notifications, "bytes-used", pages}')
	fi
	vm_send go
	vm_finish 60
	jq -nc --arg name "$1" --argjson tmem "$tmem" \
		--argjson fill "$(vm_get b.fill.rate)" --argjson seq "$(vm_get b.seq.rate)" \
		--argjson rand "$(vm_get b.rand.rate)" \
		'{name: $name, fill: $fill, seq: $seq, rand: $rand, tmem: $tmem}'
}

# way NAME COMMAND PROCS: ROUNDS of it (the settings of vm.sh are the caller's)
way()
{
	local n

	[[ $1 = virtio-blk || $1 =~ ${WAYS:-.} ]] || return 0
	echo "bench: $1" >&2
	job "$2" "$3"
	for ((n = 0; n < rounds; n++)); do
		once "$1"
	done
}

all()
{
	VM_MEM=160M VM_CPUS=1 VM_TMEM='' VM_APPEND=''
	VM_DISKS=$disk
	way 'virtio-blk' 'swap_on /dev/vda' 1
	way 'virtio-blk, page-cluster=0' 'echo 0 >/proc/sys/vm/page-cluster; swap_on /dev/vda' 1
	VM_APPEND="zswap.enabled=1 zswap.compressor=lz4 zswap.zpool=zsmalloc zswap.max_pool_percent=50"
	way 'zswap lz4 over virtio-blk' 'swap_on /dev/vda' 1
	# The floor: no exit at all.  Its memory is the guest's, in addition.
	VM_MEM=616M VM_APPEND="brd.rd_size=458752 brd.rd_nr=1"
	way 'RAM disk in the guest' \
		'dd if=/dev/zero of=/dev/ram0 bs=1M count=448 2>/dev/null; swap_on /dev/ram0' 1
	VM_MEM=160M VM_APPEND=''
	VM_TMEM=max-size=512M,num-queues=1
	way 'virtio-tmem' 'swap_on /dev/vda' 1
	VM_APPEND="virtio_tmem.staging=0 virtio_tmem.readahead=0"
	way 'virtio-tmem, each page by itself' 'swap_on /dev/vda' 1
	VM_APPEND='' VM_TMEM=max-size=512M,num-queues=1,ioeventfd=on
	way 'virtio-tmem, served in the main loop' 'swap_on /dev/vda' 1
	VM_CPUS=2 VM_TMEM='' VM_MEM=616M VM_APPEND="brd.rd_size=458752 brd.rd_nr=1"
	way 'RAM disk in the guest, 2 vCPUs, 2 processes' \
		'dd if=/dev/zero of=/dev/ram0 bs=1M count=448 2>/dev/null; swap_on /dev/ram0' 2
	VM_MEM=160M VM_APPEND=''
	way 'virtio-blk, 2 vCPUs, 2 processes' 'swap_on /dev/vda' 2
	VM_TMEM=max-size=512M,num-queues=2
	way 'virtio-tmem, 2 vCPUs, 2 processes' 'swap_on /dev/vda' 2
}

vm_setup
mkdir -p "$out"
all | jq -s --arg accel "$VM_ACCEL" --arg date "$(date -u +%FT%TZ)" '
	def median: sort | .[(length / 2 | floor)];
	{accel: $accel, date: $date, rounds: .,
	 ways: (group_by(.name) | map({name: .[0].name,
		fill: (map(.fill) | median), seq: (map(.seq) | median),
		rand: (map(.rand) | median), tmem: .[0].tmem}))}' > "$out/swap.json"

jq -r '(.ways[] | select(.name == "virtio-blk")) as $blk |
	"Pages per second, median, and ratio to virtio-blk (\(.accel))",
	"",
	"| | fill | in order | at random | notifications a page |",
	"|---|---|---|---|---|",
	(.ways | sort_by(.rand)[] | . as $w |
	 def cell(k): "\($w[k]) (\($w[k] / $blk[k] * 10 | round / 10)x)";
	 "| \(.name) | \(cell("fill")) | \(cell("seq")) | \(cell("rand")) | " +
	 (if .tmem.puts then "\(.tmem.notifications / (.tmem.puts + .tmem.gets) * 1000 | round / 1000)"
	  else "-" end) + " |")' "$out/swap.json" | tee "$out/swap.md"
