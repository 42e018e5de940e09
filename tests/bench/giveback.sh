#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# giveback.sh: the limit falls to a quarter of what the store holds. How long until it
# holds no more than that, and what a program in the guest feels that swaps
# meanwhile: its rate of accesses, by that in the seconds before. Where the guest
# writes back, on both front ends, and with a node to spill to. A program that
# writes as well has to put pages while the store takes none: they go to its disk.
#
# Environment: as tests/lib/vm.sh; ROUNDS (3), HELD=<MiB> (256), WAYS=<regex>,
# WRITES=<percentages> ("0 20"): of the program's accesses
# Writes build/bench/giveback.json, and a table to standard output.
set -eu
cd "$(dirname "$0")/../.."
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh

: "${ROUNDS:=3}" "${HELD:=256}" "${WAYS:=.}" "${WRITES:=0 20}"
out=$BUILD/bench
recorder=

vm_no_tap giveback

# job SWAP PREPARE: cold pages that do not compress, then a program that is somewhat
# larger than what is left for it, with a few pages that it uses more than others
job()
{
	cat <<-JOB
	$2
	swap_on $1
	swaptest name=cold mib=$HELD random=100 phases=fill,stop,verify &
	cold=\$!
	stopped \$cold
	swaptest name=front mib=144 theta=50 writes=$writes phases=fill,work,rverify &
	front=\$!
	mark working
	await enough
	kill -TERM \$front
	wait \$front
	kill -CONT \$cold
	wait \$cold
	swapoff $1 || fail swapoff
	JOB
}

# In the background: when the program said what it had done so far, in us
record()
{
	local name value

	exec tail -n +1 -s 0.05 -f "$VM_DIR/proto.log" 2>/dev/null |
		while read -r name value; do
			[ "$name" != @front.did ] || echo "${EPOCHREALTIME/[^0-9]/} ${value%$'\r'}"
		done >"$VM_DIR/did"
}

# rate BEGIN END: accesses a second between these, in us
rate()
{
	awk -v from="$1" -v to="$2" '
		function at(t, i) {
			for (i = 2; i < NR && when[i] < t; i++)
				;
			return did[i - 1] + (did[i] - did[i - 1]) * (t - when[i - 1]) / (when[i] - when[i - 1])
		}
		{ when[NR] = $1; did[NR] = $2 }
		END { printf "%d\n", (at(to) - at(from)) * 1e6 / (to - from) }' "$VM_DIR/did"
}

# watch BYTES: until the store holds no more than that; prints when that was seen, in
# us. The guest has the processors: a process for each look would be felt there.
watch()
{
	local line

	coproc QMP { exec socat - "UNIX-CONNECT:$VM_DIR/watch.sock"; }
	# shellcheck disable=SC2153 # set by coproc
	echo '{"execute":"qmp_capabilities"}' >&"${QMP[1]}"
	while [ $SECONDS -lt $((watch_begin + 60)) ]; do
		echo '{"execute":"query-tmem"}' >&"${QMP[1]}"
		while read -r line && [[ $line != *'"bytes-used": '* ]]; do
			:
		done <&"${QMP[0]}"
		line=${line#*'"bytes-used": '}
		if [ "${line%%[!0-9]*}" -le "$1" ]; then
			now
			return
		fi
		sleep 0.1
	done
}

now()
{
	echo "${EPOCHREALTIME/[^0-9]/}"
}

# once NAME SWAP PREPARE [ARGUMENT OF QEMU...]: a line of JSON
once()
{
	local name=$1 held begin end before meanwhile

	vm_job < <(job "$2" "$3")
	shift 3
	vm_start "$@" -qmp "unix:$VM_DIR/watch.sock,server=on,wait=off"
	record &
	recorder=$!
	vm_reach working 120
	vm_poll 60 vm_has '^@front.fill.rate'
	sleep "$settle"
	held=$(vm_tmem bytes-used)
	begin=$(now)
	vm_set_size $((held / 4))
	watch_begin=$SECONDS
	end=$(watch $((held / 4)))
	[ -n "$end" ] || vm_die "$name: still above the limit after a minute"
	# The program says ten times a second what it did
	sleep 2
	before=$(rate $((begin - 6000000)) "$begin")
	meanwhile=$(rate "$begin" "$((end > begin + 300000 ? end : begin + 300000))")
	pkill -P "$recorder" 2>/dev/null || :
	wait "$recorder" 2>/dev/null || :
	vm_set_size $((512 << 20))
	vm_send enough
	vm_finish 200
	if grep -aE '^@(bad |[^ ]*\.bad [^0])' "$VM_DIR/proto.log" >&2; then
		vm_die "$name: bad pages"
	fi
	jq -nc --arg way "$name" --argjson held "$held" --argjson us $((end - begin)) \
		--argjson before "$before" --argjson meanwhile "$meanwhile" --argjson writes "$writes" \
		'{$way, writes_percent: $writes, held_bytes: $held, seconds: ($us / 1e6), rate_before: $before, rate_meanwhile: $meanwhile}'
}

way()
{
	local writes

	[[ $1 =~ $WAYS ]] || return 0
	for writes in $WRITES; do
		echo "giveback: round $round of $ROUNDS: $1, $writes % are writes" >&2
		rm -f "$VM_DIR/spill"
		truncate -s 1G "$VM_DIR/spill"
		once "$@"
	done
}

all_ways()
{
	local device='VM_APPEND=virtio_tmem.frontswap=0'
	local backing='echo /dev/vda >/sys/block/vtmem0/backing_dev || fail backing_dev'

	settle=8
	VM_CPUS=2 VM_DISKS=1G VM_TMEM=id=tmem,max-size=512M,num-queues=2 VM_APPEND=
	way 'frontswap: written back' /dev/vda ''
	VM_APPEND=${device#*=}
	way 'swap device: written back' /dev/vtmem0 "$backing"
	# What is cold the store knows after two looks at its pages, 30 s apart
	settle=70
	VM_APPEND='' VM_TMEM+=,spill=spill
	way 'spilled' /dev/vda '' -blockdev "driver=file,node-name=spill,filename=$VM_DIR/spill,discard=unmap"
}

vm_setup
mkdir -p "$out"
for ((round = 1; round <= ROUNDS; round++)); do
	all_ways
done >"$VM_DIR/runs"
jq -s . "$VM_DIR/runs" >"$out/giveback.json"
jq -r 'def median: sort | .[length / 2 | floor];
	"| way | writes | held, MiB | seconds until a quarter | rate of others meanwhile |", "|---|---:|---:|---:|---:|",
	(group_by([.way, .writes_percent])[] | "| \(.[0].way) | \(.[0].writes_percent) % | \(map(.held_bytes) | median / 1048576 | floor)"
	+ " | \(map(.seconds) | median * 10 | round / 10)"
	+ " | \(map(.rate_meanwhile / .rate_before) | median * 100 | round / 100) |")' "$out/giveback.json"
