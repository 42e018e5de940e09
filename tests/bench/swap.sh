#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# swap.sh: the same programs in the same guest, swapping in each way that one could
# choose (ways.sh), one after the other.  Writes build/bench/swap.json; tables and
# plots are made from that by scripts/swap-report.sh.  docs/performance.md says how
# to read them.
#
# Each guest goes through all workloads.  Between phases, it stops and counts what
# its kernel knows (guest.sh), and what QEMU did is counted here; so figures of a
# phase are differences.  Rounds go over all ways in turn: what else the machine
# does in the meantime disturbs each of them alike.
#
# Environment: as tests/lib/vm.sh; ROUNDS (3): the median of so many is given;
# WAYS=<regex>, WORKLOADS=<regex>: only those whose name matches, and what they are
# compared with; NOTE=<text>: a remark for the tables.
set -eu
cd "$(dirname "$0")/../.."
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
# shellcheck source=tests/bench/ways.sh
. tests/bench/ways.sh

rounds=${ROUNDS:-3}
out=$BUILD/bench
here=tests/bench

vm_no_tap bench

# workload NAME COMMAND: a part of the job
workload()
{
	[[ $1 =~ ${WORKLOADS:-.} && $1 =~ $ONLY ]] || return 0
	# Each begins with a swap area that nothing was ever written to.
	printf 'swap_on %s\n%s\nswapoff %s\n' "$SWAP" "$2" "$SWAP"
}

job()
{
	cat "$here/guest.sh"
	echo "$PREPARE"
	all_workloads
	echo 'sample end end'
}

# cpu_ticks: CPU time that QEMU has taken, user and system
cpu_ticks()
{
	sed 's/.*) //' "/proc/$VM_PID/stat" | awk '{ print $12 + $13 }'
}

# seen N: what is seen of the guest from outside at its sample N; a line of JSON.
# Only virtio-tmem counts its notifications; of other devices, QEMU's log tells.
seen()
{
	local ticks tmem=null runs=null

	ticks=$(cpu_ticks)
	if [ -n "$VM_TMEM" ]; then
		tmem=$(vm_qmp '{"execute":"query-tmem"}' | jq -c '.return[0] |
			{puts, gets, flushes, notifications, pages, "bytes-used"}')
	else
		runs=$(grep -c virtio_queue_notify "$VM_DIR/qemu.log" || :)
	fi
	jq -nc --argjson n "$1" --argjson cpu "$ticks" --argjson hz "$(getconf CLK_TCK)" \
		--argjson tmem "$tmem" --argjson queue_runs "$runs" \
		'{n: $n, cpu_s: ($cpu / $hz), queue_runs: $queue_runs, tmem: $tmem}'
}

# once NAME ROUND: one guest; all that was seen, as JSON
once()
{
	local n=0 args=()

	vm_job < <(job)
	# shellcheck disable=SC2206 # words
	args=($ARGS)
	[ -n "$VM_TMEM" ] || args+=(-trace enable=virtio_queue_notify)
	vm_start "${args[@]}"
	: >"$VM_DIR/seen"
	while :; do
		vm_reach "s$n" 240
		[ "$(vm_get "s$n.phase")" != end ] || break
		seen "$n" >>"$VM_DIR/seen"
		echo "go.s$n" >&"$VM_IN"
		n=$((n + 1))
	done
	echo "go.s$n" >&"$VM_IN"
	vm_finish 60
	if grep -aE '^@(bad |[^ ]*\.bad [^0])' "$VM_DIR/proto.log" >&2; then
		vm_die "$1: bad pages"
	fi
	tr -d '\r' <"$VM_DIR/proto.log" | jq -R -n -c -f "$here/run.jq" --slurpfile seen "$VM_DIR/seen" \
		--arg way "$1" --argjson round "$2" --arg base "$BASE" --arg held "$HELD" \
		--arg mem "${VM_MEM%%,*}" --argjson cpus "$VM_CPUS"
}

# way NAME [SETTING=VALUE...]: once, unless nobody asked for it. In round 0, only
# finds out which are asked for.
declare -A wanted
way()
{
	local name=$1 setting

	VM_MEM=160M VM_CPUS=1 VM_TMEM='' VM_APPEND='' VM_DISKS=''
	SWAP=/dev/vda PREPARE='' PROCS=1 BASE=virtio-blk HELD=slots ONLY=. ARGS=''
	shift
	for setting; do
		printf -v "${setting%%=*}" '%s' "${setting#*=}"
	done
	if [ "$round" = 0 ]; then
		! [[ $name =~ ${WAYS:-.} ]] || wanted[$name]=1 wanted[$BASE]=1
		return
	fi
	[ -n "${wanted[$name]:-}" ] || return 0
	echo "bench: round $round of $rounds: $name" >&2
	once "$name" "$round"
}

machine()
{
	jq -n --arg cpu "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" \
		--argjson cores "$(nproc)" --arg kernel "$(uname -r)" --arg load "$(cut -d' ' -f1 /proc/loadavg)" \
		--arg qemu "$("$QEMU" --version | sed -n '1s/^QEMU emulator //p')" \
		--arg commit "$(git rev-parse --short HEAD 2>/dev/null)" \
		'{cpu: $cpu, cores: $cores, kernel: $kernel, qemu: $qemu, load_before: $load, commit: $commit}'
}

vm_setup
mkdir -p "$out"
machine >"$VM_DIR/machine"
for ((round = 0; round <= rounds; round++)); do
	all_ways
done >"$VM_DIR/runs"
jq -s --slurpfile machine "$VM_DIR/machine" --arg accel "$VM_ACCEL" --arg note "${NOTE:-}" \
	--arg date "$(date -u +%FT%TZ)" --argjson rounds "$rounds" \
	-f "$here/summary.jq" "$VM_DIR/runs" >"$out/swap.json"
scripts/swap-report.sh "$out/swap.json"
