# SPDX-License-Identifier: GPL-2.0-or-later
#
# One guest of swap.sh.  Input: what it said, a line each; $seen: what was seen from
# outside at each of its samples.  Output: the figures of each phase.  What was not
# measured is null.

def counter: if . == null then null else tonumber end;
def minus($a; $b): if $a == null or $b == null then null else $a - $b end;
def words: if . == null then null else split(" ") | map(select(. != "")) | map(tonumber) end;

# Everything that "@KEY VALUE" says; a key that comes again counts as new.
reduce (inputs | capture("^@(?<key>[^ ]+) (?<value>.*)$")) as $line ({}; .[$line.key] = $line.value)
| . as $said

# The samples, with both sides of them.
| [$seen[] | . as $host | "s\($host.n)." as $s | $host + {
	workload: $said[$s + "workload"], phase: $said[$s + "phase"],
	interrupts: ($said[$s + "interrupts"] | counter),
	swap_pages: ($said[$s + "swap_kib"] | if . then tonumber / 4 else null end),
	disk: ($said[$s + "disk"] | words), zram: ($said[$s + "zram"] | words),
	zswap_bytes: ($said[$s + "zswap_bytes"] | counter),
	zswap_pages: ($said[$s + "zswap_pages"] | counter)}] as $samples

# Bytes that the pages take which are swapped out, and how many these are.  A slot
# of a disk is a page; mm_stat: the bytes of pages as they were, compressed, used.
| def held:
	if $held == "tmem" and .tmem then {pages: .tmem.pages, bytes: .tmem["bytes-used"]}
	elif $held == "zram" and .zram then {pages: (.zram[0] / 4096), bytes: .zram[2]}
	elif $held == "zswap" and .zswap_pages and .swap_pages then
		{pages: .swap_pages, bytes: (.zswap_bytes + (.swap_pages - .zswap_pages) * 4096)}
	elif $held == "slots" and .swap_pages then {pages: .swap_pages, bytes: (.swap_pages * 4096)}
	else {pages: null, bytes: null} end;

{way: $way, round: $round, base: $base, guest_ram: $mem, vcpus: $cpus,
 phases: [range(1; $samples | length) as $i | $samples[$i - 1] as $a | $samples[$i] as $b
	| select($b.phase != "begin")
	| "\($b.workload).\($b.phase)." as $key
	| {workload: $b.workload, phase: $b.phase}
	+ (["pages", "us", "rate", "faults", "p50", "p99", "p999", "max"]
		| map({key: ., value: ($said[$key + .] | counter)}) | from_entries)
	# A program that is no swaptest says only what it did, and how long that took.
	| .rate //= (if .pages and .us and .us > 0 then .pages * 1000000 / .us else null end)
	| . + {cpu_s: minus($b.cpu_s; $a.cpu_s),
	   notifications: (if $b.tmem then minus($b.tmem.notifications; $a.tmem.notifications)
		else minus($b.queue_runs; $a.queue_runs) end),
	   interrupts: minus($b.interrupts; $a.interrupts),
	   disk_reads: minus($b.disk[0]; $a.disk[0]), disk_writes: minus($b.disk[4]; $a.disk[4]),
	   puts: minus($b.tmem.puts; $a.tmem.puts), gets: minus($b.tmem.gets; $a.tmem.gets),
	   flushes: minus($b.tmem.flushes; $a.tmem.flushes), held: ($b | held)}],
 samples: $samples}
