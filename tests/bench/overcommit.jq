# SPDX-License-Identifier: GPL-2.0-or-later
#
# One way of overcommit.sh: what was written down meanwhile -> JSON. Work is in
# pages, memory in bytes, time in seconds since the guests were started.

def lines: split("\n") | map(select(. != "") | split(" "));
def numbers: map(tonumber);
def rate($work; $seconds): if $seconds > 0 then $work * 60 / $seconds | round else null end;

($guests | map(.name)) as $names
| [$phases | lines[] | (.[:8] | numbers) as $n
	| {name: (.[8:] | join(" ")), begin: $n[0], seconds: ($n[1] - $n[0]),
	   work: ([range(3) as $i | {key: $names[$i], value: ($n[5 + $i] - $n[2 + $i])}] | from_entries)}] as $phases
| [$samples | lines[] | select(length == 6) | numbers] as $samples
| ($phases | map(.seconds) | add) as $seconds
| [$names[] as $name | {key: $name, value: ($phases | map(.work[$name]) | add)}] as $work
| {name: $name, ram_mib: $ram, tmem_mib: $tmem, host_swap: ($host_swap == 1), seconds: $seconds,
   per_minute: ($work | map(.value |= rate(.; $seconds)) | from_entries
	+ {total: rate($work | map(.value) | add; $seconds)}),
   phases: ($phases | map(. + {per_minute: rate(.work | add; .seconds)})),
   memory_most: ([$samples[][1]] | max), memory_peak: $peak, host_swap_most: ([$samples[][2]] | max),
   limit_kept: (all($samples[][1]; . <= $limit) and $peak <= $limit),
   oom_kills: {host: $oom, guest: ($guests | map(.oom_kills) | add)},
   verified: ($guests | map(.verified) | add), bad: ($guests | map(.bad) | add),
   guests: $guests, samples: $samples}
