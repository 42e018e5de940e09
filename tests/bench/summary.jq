# SPDX-License-Identifier: GPL-2.0-or-later
#
# All guests of swap.sh -> swap.json: the runs as they were, and for each way and
# phase the medians of the rounds.  "Per page": per access that faulted, the same
# number in each way but for what happened to be in memory.

def median: map(select(. != null)) | sort |
	if length == 0 then null
	elif length % 2 == 1 then .[length / 2 | floor]
	else (.[length / 2 - 1] + .[length / 2]) / 2 end;
def per($a; $b): if $a == null or $b == null or $b == 0 then null else $a / $b end;
def each(f): map(f) | median;

. as $runs
# In the order in which they ran
| (reduce $runs[].way as $w ([]; if any(.[]; . == $w) then . else . + [$w] end)) as $names
| {format: 2, date: $date, accel: $accel, rounds: $rounds, note: $note, machine: $machine[0],
   ways: [$names[] as $name | [$runs[] | select(.way == $name)] as $own
	| {name: $name} + ($own[0] | {base, guest_ram, vcpus}) + {phases: [
		$own[0].phases[] | . as $p
		| [$own[].phases[] | select(.workload == $p.workload and .phase == $p.phase)]
		| {workload: $p.workload, phase: $p.phase,
		   rate: each(.rate), rate_min: (map(.rate) | min), rate_max: (map(.rate) | max),
		   fault_share: each(per(.faults; .pages)),
		   p50: each(.p50), p99: each(.p99), p999: each(.p999), max: each(.max),
		   notifications_per_page: each(per(.notifications; .faults)),
		   interrupts_per_page: each(per(.interrupts; .faults)),
		   cpu_us_per_page: each(per(.cpu_s; .faults) | if . then . * 1000000 else null end),
		   host_bytes_per_page: each(per(.held.bytes; .held.pages))}]}],
   runs: $runs}
