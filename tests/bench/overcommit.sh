#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# overcommit.sh: three guests whose working sets are far more than the memory that
# all their QEMU processes may take together (a cgroup); busy in turn, then all a
# little. The same in each way that an operator could choose (overcommit-ways.sh).
# Writes build/bench/overcommit.json; tables and plots are made from that by
# scripts/overcommit-report.sh. docs/overcommit.md says how to read them.
#
# Needs root: for the cgroup, the throttle of its disk, and the host's swap file,
# which is there during the ways that need it only and goes however this ends.
#
# Environment: as tests/lib/vm.sh, and all that overcommit-ways.sh names in capitals;
# WAYS=<regex>; NOTE=<text>; OUT=<folder>; LOGS=<folder> for what was written down of
# the last way, and what its policy said; DISK_DIR (/var/tmp): where the guests' disks
# and the host's swap file are, not on tmpfs.
set -eu
cd "$(dirname "$0")/../.."
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
# shellcheck source=tests/lib/guests.sh
. tests/lib/guests.sh
# shellcheck source=tests/lib/cgroup.sh
. tests/lib/cgroup.sh
# shellcheck source=tests/bench/overcommit-ways.sh
. tests/bench/overcommit-ways.sh
# shellcheck source=tests/bench/overcommit-host.sh
. tests/bench/overcommit-host.sh
# shellcheck source=tests/bench/overcommit-balloon.sh
. tests/bench/overcommit-balloon.sh

here=tests/bench
out=${OUT:-$BUILD/bench}
names=(a b c)

vm_no_tap overcommit

# The job of a guest: its seed differs, so that no two have a page in common
guest_job()
{
	cat "$here/overcommit-guest.sh"
	echo "access='theta=$THETA writes=$WRITES'"
	echo "$PREPARE"
	echo 'swap_on /dev/vda'
	echo "service $SERVICE $SERVICE_PACE"
}

# start_guest NAME
start_guest()
{
	local args

	guest_new "$1"
	VM_MEM=${RAM}M VM_APPEND=$APPEND VM_TCG=tb-size=32 VM_DISKS='' VM_TMEM=''
	vm_job < <(guest_job)
	# shellcheck disable=SC2206 # words
	args=($ARGS)
	# shellcheck disable=SC2054 # QEMU's commas
	args+=(-object iothread,id=swap
		-blockdev "driver=raw,node-name=swap,file.driver=file,file.filename=$host_dir/$1.raw$host_direct"
		-device "virtio-blk-pci,drive=swap,iothread=swap"
		-qmp "unix:$VM_DIR/policy.sock,server=on,wait=off")
	[ -z "$TMEM" ] || VM_TMEM=id=tmem,max-size=$((TMEM / 3))M,min-size=1M
	vm_start "${args[@]}"
	guest_keep "$1"
}

# guest_reach REGEX SECONDS: the current guest says it; fails if it cannot any more
guest_reach()
{
	vm_poll "$2" vm_has_or_gone "$1" && vm_has "$1"
}

vm_has_or_gone()
{
	vm_has "$1" || ! vm_alive
}

# tell LINE: to the current guest, if it is there
tell()
{
	! vm_alive || echo "$1" >&"$VM_IN"
}

# done_by: pages that each guest has gone over so far, on a line
done_by()
{
	local logs=("${names[@]/#/$GUESTS_DIR/}")

	awk '$1 ~ /^@[a-z0-9]+\.did$/ && $2 > did[FILENAME, $1] { sum[FILENAME] += $2 - did[FILENAME, $1]; did[FILENAME, $1] = $2 }
		END { for (i = 1; i < ARGC; i++) printf "%d%s", sum[ARGV[i]], i < ARGC - 1 ? " " : "\n" }' "${logs[@]/%//proto.log}"
}

seconds_now()
{
	local us=${EPOCHREALTIME/[^0-9]/}

	printf '%d.%03d' $(((us - epoch) / 1000000)) $(((us - epoch) / 1000 % 1000))
}

# In the background, each second: time, memory and swap of the cgroup, work of each
sample()
{
	while [ -d "$CGROUP" ] && kill -0 $$ 2>/dev/null; do
		echo "$(seconds_now) $(cgroup_usage) $(cgroup_swap) $(done_by)"
		sleep 1
	done
}

# phase NAME JOB...: a job is a guest, MiB and pace
phase()
{
	local name=$1 job guest mib pace begin before

	phases=$((phases + 1))
	shift
	begin=$(seconds_now)
	before=$(done_by)
	for job; do
		read -r guest mib pace <<<"$job"
		guest_use "$guest"
		tell "busy $phases $mib $pace"
	done
	sleep "$PHASE"
	for job; do
		guest_use "${job%% *}"
		tell "calm $phases"
	done
	# What a job needs to end counts too
	for job; do
		guest_use "${job%% *}"
		guest_reach "^@mark calm$phases" 60 || echo "$way: guest ${job%% *} did not end its job" >&2
	done
	echo "$begin $(seconds_now) $before $(done_by) $name" >>"$GUESTS_DIR/phases"
}

# What is left of a guest when it has ended, or cannot: a line of JSON
guest_summary()
{
	jq -nc --arg name "$1" --argjson ended "$2" --argjson verified "$(vm_sum '[a-z0-9]+[.]verified')" \
		--argjson bad "$(($(vm_sum '[a-z0-9]+[.]bad') + $(grep -ac '^@bad ' "$VM_DIR/proto.log" || :)))" \
		--argjson oom "$(grep -acE 'ut of memory: Killed process' "$VM_DIR/console.log" || :)" \
		--arg error "$(grep -aE '^@[^ ]*[.](error|status) ' "$VM_DIR/proto.log" | head -n 1)" \
		'{name: $name, ended: $ended, verified: $verified, bad: $bad, oom_kills: $oom}
		+ if $error == "" then {} else {error: $error} end'
}

end_guests()
{
	local guest ended

	for guest in "${names[@]}"; do
		guest_use "$guest"
		tell end
	done
	for guest in "${names[@]}"; do
		guest_use "$guest"
		ended=true
		vm_poll 60 vm_gone || ended=false
		[ "$(vm_get exit)" = 0 ] || ended=false
		guest_summary "$guest" "$ended"
	done
}

# play: the scenario in one way; JSON of what was seen
play()
{
	local guest pids=() oom peak policy=

	phases=0
	rm -f "$GUESTS_DIR"/{phases,samples,guests,policy}
	cgroup_make $((LIMIT << 20))
	host_begin
	epoch=${EPOCHREALTIME/[^0-9]/}
	for guest in "${names[@]}"; do
		start_guest "$guest"
	done
	if [ -n "$POLICY" ]; then
		"$POLICY" >"$GUESTS_DIR/policy" 2>"$GUESTS_DIR/policy.err" </dev/null &
		policy=$!
		pids+=("$policy")
	fi
	for guest in "${names[@]}"; do
		guest_use "$guest"
		guest_reach '^@service.fill.rate' 120 || echo "$way: guest $guest does not start" >&2
	done
	# Policies have seen them idle
	sleep 5
	sample >"$GUESTS_DIR/samples" 2>/dev/null </dev/null &
	pids+=($!)
	all_phases
	[ -z "$policy" ] || kill -0 "$policy" 2>/dev/null ||
		echo "$way: its policy has ended early: $(tail -n 1 "$GUESTS_DIR/policy.err")" >&2
	end_guests >"$GUESTS_DIR/guests"
	oom=$(cgroup_oom_kills)
	peak=$(cgroup_peak)
	kill "${pids[@]}" 2>/dev/null || :
	wait "${pids[@]}" 2>/dev/null || :
	guests_stop
	host_end
	VM_DIR=$GUESTS_DIR
	if [ -n "${LOGS:-}" ]; then
		mkdir -p "$LOGS"
		cp "$GUESTS_DIR"/{samples,phases,guests,policy} "$LOGS" 2>/dev/null || :
	fi
	jq -nc -f "$here/overcommit.jq" --arg name "$way" --argjson ram "$RAM" --argjson tmem "${TMEM:-null}" \
		--argjson host_swap "${HOST_SWAP:-0}" --argjson oom "$oom" --argjson peak "$peak" \
		--argjson limit $((LIMIT << 20)) --slurpfile guests "$GUESTS_DIR/guests" \
		--rawfile phases "$GUESTS_DIR/phases" --rawfile samples "$GUESTS_DIR/samples"
}

# way NAME [SETTING=VALUE...]
way()
{
	local setting

	[[ $1 =~ ${WAYS:-.} ]] || return 0
	way=$1 RAM='' HOST_SWAP='' APPEND='' PREPARE='' ARGS='' TMEM='' POLICY=''
	shift
	for setting; do
		printf -v "${setting%%=*}" '%s' "${setting#*=}"
	done
	echo "overcommit: $way" >&2
	if [ -n "$HOST_SWAP" ] && [ -z "$host_swap" ]; then
		echo "overcommit: $way: the host has no swap for it" >&2
	fi
	play
}

summary()
{
	jq -s --arg date "$(date -u +%FT%TZ)" --arg accel "$VM_ACCEL" --arg note "${NOTE:-}" \
		--arg cpu "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" --argjson cores "$(nproc)" \
		--arg kernel "$(uname -r)" --arg qemu "$("$qemu" --version | sed -n '1s/^QEMU emulator version //p')" \
		--arg commit "$(git rev-parse --short HEAD 2>/dev/null)" --arg load "$load" --arg disk "$host_disk" \
		--arg cgroup "$cgroup_kind" --argjson limit "$LIMIT" --argjson service "$SERVICE" --argjson job "$JOB" \
		--argjson little "$LITTLE" --argjson phase "$PHASE" --argjson theta "$THETA" --argjson writes "$WRITES" \
		--argjson pace "$SERVICE_PACE" --argjson little_pace "$LITTLE_PACE" \
		'{format: 1, date: $date, accel: $accel, note: $note,
		machine: {cpu: $cpu, cores: $cores, kernel: $kernel, qemu: $qemu, commit: $commit, load_before: $load},
		disk: $disk, cgroup: $cgroup,
		scenario: {limit_mib: $limit, service_mib: $service, job_mib: $job, little_mib: $little, phase_s: $phase,
			service_pace: $pace, little_pace: $little_pace, theta: ($theta / 100), writes_percent: $writes},
		ways: .}' "$1"
}

cgroup_find_or_mount "$PWD/tests/bench/overcommit.sh" || vm_die "no cgroup with a memory limit can be made here: run this as root, with cgroups mounted"
vm_setup
guests_setup "${names[@]}"
load=$(cut -d' ' -f1 /proc/loadavg)
host_setup
mkdir -p "$out"
all_ways >"$GUESTS_DIR/ways"
summary "$GUESTS_DIR/ways" >"$out/overcommit.json"
scripts/overcommit-report.sh "$out/overcommit.json"
