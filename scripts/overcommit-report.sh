#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# overcommit-report.sh JSON: write tables (overcommit.md) and plots
# (overcommit-work.svg, overcommit-memory.svg) next to what
# tests/bench/overcommit.sh measured.
# overcommit-report.sh JSON DOCS: put the same into DOCS/overcommit.md, between its
# lines "figures", and the plots beside it.
set -euo pipefail

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

[ $# = 1 ] || [ $# = 2 ] || die "usage: overcommit-report.sh JSON [DOCS]"
jq -e '.format == 1 and (.ways | length > 0)' "$1" > /dev/null 2>&1 ||
	die "$1 is not what tests/bench/overcommit.sh writes"

json=$1
out=$(dirname "$1")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# shellcheck disable=SC2016 # jq's
common='
def thousands: if . == null then "-" else round | tostring | [while(length > 0; .[:-3]) | .[-3:]] | reverse | join(",") end;
def digits2: if . == null then "-" else . * 100 | round | tostring | ("0" * (3 - length) // "") + . | .[:-2] + "." + .[-2:] end;
def mib: if . == null then "-" else . / 1048576 | round | tostring end;
def row: "| " + join(" | ") + " |";
def rule: map("---:") | .[0] = "---" | row;
def ours: .tmem_mib != null;
def whose: .guests | map(.name);
'

totals()
{
	jq -r "$common"'(.ways[0] | whose) as $names | .scenario.limit_mib as $limit
		| ((["pages a minute"] + $names + ["all", "RAM of each", "most of \($limit) MiB", "host swap", "limit kept", "OOM kills", "bad pages"])
		| row, rule),
		(.ways[] | . as $w | [.name] + [$names[] | $w.per_minute[.] | thousands] + [(.per_minute.total | thousands), "\(.ram_mib)",
			([.memory_most, .memory_peak] | max | mib), (.host_swap_most | mib), (if .limit_kept then "yes" else "no" end),
			"\(.oom_kills.host + .oom_kills.guest)", "\(.bad)"] | row)' "$json"
}

by_phase()
{
	jq -r "$common"'(["pages a minute, of all"] + [.ways[0].phases[].name] | row, rule),
		(.ways[] | [.name] + [.phases[].per_minute | thousands] | row)' "$json"
}

# What ours is compared with: the best of the others, whichever that is
verdict()
{
	jq -r "$common"'(first(.ways[] | select(ours)) // null) as $own
		| ([.ways[] | select(ours | not)] | max_by(.per_minute.total)) as $best
		| if $own and $best and $best.per_minute.total > 0 then
			"virtio-tmem: \($own.per_minute.total / $best.per_minute.total | digits2) times the best of the others (\($best.name))."
		else empty end' "$json"
	jq -r '.ways[] | .name as $way | .guests[] | select(.error or (.ended | not))
		| "\($way): guest \(.name) did not end well\(if .error then ": \(.error)" else "" end)."' "$json"
}

# What was measured, on what, and what came out
figures_text()
{
	jq -r '.machine as $m | .scenario as $s |
"\($m.cpu), \($m.cores) cores, Linux \($m.kernel), QEMU \($m.qemu), accelerator \(.accel); load \($m.load_before) before; " +
"\(.date); commit \($m.commit). Disks and the host'"'"'s swap file: \(.disk). Cgroups \(.cgroup).", "",
"All QEMU processes together have \($s.limit_mib) MiB. Each guest keeps \($s.service_mib) MiB, of which it uses \($s.service_pace) pages " +
"a second; a busy one takes \($s.job_mib) MiB more, and all \($s.little_mib) MiB when they are busy a little, with at most " +
"\($s.little_pace) pages a second each. Phases of \($s.phase_s) s; accesses with a skew (theta) of \($s.theta), " +
"\($s.writes_percent) % of them writes.",
(if .note == "" then empty else "", .note end)' "$json"
	printf '\n![Work done](overcommit-work.svg)\n\n'
	totals
	echo
	by_phase
	echo
	verdict
	printf '\n![Memory of the host](overcommit-memory.svg)\n'
}

markdown()
{
	cat <<-'END'
	<!-- SPDX-License-Identifier: GPL-2.0-or-later -->
	# Three guests on a host that is too small for them

	END
	figures_text
}

# into_docs FILE: between its two lines that say so
into_docs()
{
	[ "$(grep -cE '^<!-- (end of )?figures -->$' "$1")" = 2 ] ||
		die "$1 has no lines \"<!-- figures -->\" and \"<!-- end of figures -->\""
	figures_text > "$tmp/figures"
	sed -e '/^<!-- figures -->$/,/^<!-- end of figures -->$/{
		/^<!-- /p
		d
	}' "$1" | sed "/^<!-- figures -->\$/r $tmp/figures"
}

# Lines for the charts: "way" number name, ours; "work" number, of a, b, c and all;
# "at" number, seconds, memory, swap (MiB), work of a, b, c in the second (thousands)
figures()
{
	jq -r '.scenario.limit_mib as $limit | ["limit", $limit], (.ways | to_entries[] | (.key + 1) as $n | .value as $w
		| ($w.guests | map(.name)) as $names
		| ["way", $n, $w.name],
		(["work", $n] + [$names[] | $w.per_minute[.]] + [$w.per_minute.total]),
		(range(1; $w.samples | length) as $i | $w.samples[$i] as $b | $w.samples[$i - 1] as $a | select($b[0] > $a[0])
			| ["at", $n, $b[0] - $w.phases[0].begin, $b[1] / 1048576, $b[2] / 1048576]
			+ [range(3; 6) as $k | ($b[$k] - $a[$k]) / ($b[0] - $a[0]) / 1000])) | @tsv' "$json"
}

# shellcheck disable=SC2016 # awk's
read_figures='
$1 == "limit" { limit = $2 }
$1 == "way" { ways = $2; name[$2] = $3 }
$1 == "work" { for (i = 1; i <= 4; i++) work[$2, i] = $(i + 2); if ($6 > most_work) most_work = $6 }
$1 == "at" {
	k = ++points[$2]
	for (i = 3; i <= 8; i++)
		at[$2, k, i - 2] = $i
	if ($3 > span) span = $3
	for (i = 4; i <= 5; i++)
		if ($i > most_memory) most_memory = $i
	for (i = 6; i <= 8; i++)
		if ($i > most_rate) most_rate = $i
}

# Panels in two columns, 190 high, from TOP_OF_ALL on
function place(p)
{
	left = 60 + (p - 1) % 2 * 430
	right = left + 370
	top = top_of_all + int((p - 1) / 2) * 190 + 30
	bottom = top + 120
	svg_text(left, top - 10, "start", "strong", name[p])
}

function curve(p, column, class, max,    k, x)
{
	printf "<polyline class=\"line %s\" style=\"stroke-width: 1.5\" points=\"", class
	for (k = 1; k <= points[p]; k++) {
		x = at[p, k, 1] < 0 ? 0 : at[p, k, 1]
		printf "%.1f,%.1f ", left + (right - left) * x / span, bottom - (bottom - top) * at[p, k, column] / max
	}
	print "\"/>"
}

function times(    t, step, x)
{
	step = svg_step(span, 6)
	for (t = 0; t <= span; t += step) {
		x = left + (right - left) * t / span
		svg_line(x, bottom, x, bottom + 4, "axis")
		svg_value(x, bottom + 17, "middle", "small", svg_number(t) (t == 0 ? " s" : ""))
	}
}

function height()
{
	return top_of_all + int((ways + 1) / 2) * 190 + 10
}
'

work_chart()
{
	figures | awk -F '\t' "$(cat "$TOP/scripts/svg.awk")$read_figures"'
END {
	top_of_all = 100 + ways * 24
	svg_begin(880, height(), "Work done by three guests")
	svg_text(20, 26, "start", "strong", "Pages a minute, in millions")
	svg_key(svg_key(svg_key(600, 26, "a", "guest a"), 26, "b", "b"), 26, "c", "c")
	for (p = 1; p <= ways; p++) {
		y = 46 + (p - 1) * 24; x = 260
		svg_text(x - 12, y + 12, "end", "small", name[p])
		for (i = 1; i <= 3; i++) {
			w = most_work ? 520 * work[p, i] / most_work : 0
			svg_bar(x, y, w, 16, substr("abc", i, 1))
			x += w
		}
		svg_text(x + 6, y + 12, "start", "small", sprintf("%.2f", work[p, 4] / 1e6))
	}
	svg_text(20, top_of_all - 20, "start", "strong", "Thousands of pages a second, over time")
	for (p = 1; p <= ways; p++) {
		place(p)
		max = svg_scale(left, right, top, bottom, most_rate, 4)
		curve(p, 4, "la", max); curve(p, 5, "lb", max); curve(p, 6, "lc", max)
		times()
	}
	svg_end()
}'
}

memory_chart()
{
	figures | awk -F '\t' "$(cat "$TOP/scripts/svg.awk")$read_figures"'
END {
	top_of_all = 40
	svg_begin(880, height(), "Memory that all QEMU processes take")
	svg_text(20, 26, "start", "strong", "Memory of all QEMU processes, MiB")
	svg_key(svg_key(svg_key(420, 26, "b", "limit"), 26, "c", "memory"), 26, "a", "swapped by the host")
	for (p = 1; p <= ways; p++) {
		place(p)
		max = svg_scale(left, right, top, bottom, most_memory > limit ? most_memory : limit, 4)
		curve(p, 3, "la", max); curve(p, 2, "lc", max)
		y = bottom - (bottom - top) * limit / max
		printf "<line x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\" class=\"lb\"/>\n", left, y, right, y
		times()
	}
	svg_end()
}'
}

if [ $# = 2 ]; then
	out=$2
	into_docs "$2/overcommit.md" > "$tmp/overcommit.md"
else
	markdown > "$tmp/overcommit.md"
fi
work_chart > "$tmp/overcommit-work.svg"
memory_chart > "$tmp/overcommit-memory.svg"
for f in overcommit.md overcommit-work.svg overcommit-memory.svg; do
	put_file "$tmp/$f" "$out/$f"
done
msg "$out/overcommit.md, overcommit-work.svg, overcommit-memory.svg"
