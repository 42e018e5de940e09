#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# swap-report.sh JSON: write tables (swap.md) and plots (swap-rates.svg,
# swap-latency.svg) next to what tests/bench/swap.sh measured.  What was not
# measured is shown as "-".
set -euo pipefail

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

[ $# = 1 ] || die "usage: swap-report.sh JSON"
jq -e '.format == 2 and (.ways | length > 0)' "$1" > /dev/null 2>&1 ||
	die "$1 is not what tests/bench/swap.sh writes"

json=$1
out=$(dirname "$1")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# What the tables and plots have in common.  A column: a phase, as far as it was
# measured, and its name.
# shellcheck disable=SC2016 # jq's
common='
def columns: [
	["ws384", "fill", "fill, 384 MiB"],
	["ws192", "seq", "in order, 192 MiB"], ["ws288", "seq", "in order, 288 MiB"], ["ws384", "seq", "in order, 384 MiB"],
	["ws192", "rand", "at random, 192 MiB"], ["ws288", "rand", "at random, 288 MiB"], ["ws384", "rand", "at random, 384 MiB"],
	["zipf", "zipf", "zipf, 384 MiB"], ["mix", "mix", "mix, 384 MiB"]];
def named($w; $p): first(columns[] | select(.[0] == $w and .[1] == $p) | .[2]) // "\($w), \($p)";
# Those that have a name first, then others, but for how a workload fills its memory.
def measured: [.ways[].phases[] | [.workload, .phase]] | unique as $all
	| [columns[] | .[:2] | select(. as $c | any($all[]; . == $c))] as $known
	| $known + [$all[] | select(.[1] != "fill") | select(. as $c | all($known[]; . != $c))];
def phase($c): first(.phases[] | select([.workload, .phase] == $c)) // {};
def ratio($all; $c): . as $w | first($all[] | select(.name == $w.base) | phase($c).rate) as $base
	| phase($c).rate as $rate | if $base and $rate and $base > 0 then $rate / $base else null end;
# A number with so many digits after the point, none of them left out
def digits($n): if . == null then "-" elif $n == 0 then round | tostring
	else . * pow(10; $n) | round | tostring | ("0" * ($n + 1 - length) // "") + .
	| .[:-$n] + "." + .[-$n:] end;
def thousands: if . == null then "-" else round | tostring | [while(length > 0; .[:-3]) | .[-3:]] | reverse | join(",") end;
# ns as us, to three digits
def us: if . == null then "-" else . / 1000 | if . < 10 then digits(1) else thousands end end;
def row: "| " + join(" | ") + " |";
def head($first; $columns): [$first] + [$columns[] | named(.[0]; .[1])] | row, (map("---:") | .[0] = "---" | row);
'

rates()
{
	jq -r "$common"'. as $all | measured as $columns | head("pages per second (ratio)"; $columns),
		(.ways[] | . as $w | [.name + (if .guest_ram == "160M" then "" else " (guest: \(.guest_ram))" end)] + [$columns[] | . as $c
			| ($w | phase($c).rate | thousands) + " (" + ($w | ratio($all.ways; $c) | digits(2)) + ")"] | row)' "$json"
}

# Those phases in which it matters how long one fault takes
latencies()
{
	jq -r "$common"'[measured[] | select(.[0] == "ws384" or .[1] == "zipf" or .[1] == "mix")] as $columns
		| head("us: p50 / p99 / p99.9 / max"; $columns),
		(.ways[] | . as $w | [.name] + [$columns[] | . as $c | $w | phase($c)
			| [.p50, .p99, .p999, .max] | map(us) | join(" / ")] | row)' "$json"
}

# cost WHAT FIELD DIGITS: one figure for each way and phase
cost()
{
	jq -r --arg what "$1" --arg field "$2" --argjson digits "$3" "$common"'measured as $columns | head($what; $columns),
		(.ways[] | . as $w | [.name] + [$columns[] | . as $c | $w | phase($c)[$field] | digits($digits)] | row)' "$json"
}

markdown()
{
	cat <<-'END'
	<!-- SPDX-License-Identifier: GPL-2.0-or-later -->
	# A guest that swaps, in each way that one could choose

	END
	jq -r '.machine as $m |
"\($m.cpu), \($m.cores) cores, Linux \($m.kernel), QEMU \($m.qemu), accelerator \(.accel); " +
"medians of \(.rounds) rounds; load \($m.load_before) before; \(.date); commit \($m.commit).",
(if .note == "" then empty else "", .note end),
(if .accel == "tcg" then "", "Under software emulation rates say little; their ratios say more, and counts most: docs/performance.md." else empty end)' "$json"
	cat <<-'END'

	![Rates, as multiples of swap on virtio-blk](swap-rates.svg)
	![How long faults take](swap-latency.svg)

	## Rates

	Pages that the program went over, per second; in brackets, as a multiple of
	virtio-blk with as many vCPUs. Guests have 160 MiB of RAM unless it says otherwise.

	END
	rates
	printf '\n## Latencies of faults\n\nSeen by the program, in microseconds.\n\n'
	latencies
	printf '\n## Costs\n\nA page is an access that faulted.\n\n'
	cost 'notifications per page' notifications_per_page 3
	echo
	cost 'interrupts per page' interrupts_per_page 3
	echo
	cost 'host CPU per page, us' cpu_us_per_page 1
	echo
	cost 'memory per page held, bytes' host_bytes_per_page 0
}

# panels FIELDS: panel, name of the panel, way, kind (a: what others are compared
# with, c: ours, b: the rest), then what the jq expression FIELDS gives
panels()
{
	jq -r --arg only "$2" "$common"'. as $all | [measured[] | select("\(.[0]) \(.[1])" | test($only))] | to_entries[]
		| .key as $n | .value as $c | $all.ways[]
		| [$n + 1, named($c[0]; $c[1]), .name, (if .name == .base then "a" elif .name | test("^virtio-tmem") then "c" else "b" end)]
		+ ('"$1"') | map(. // "") | @tsv' "$json"
}

# What both charts share: panels in columns, with the names of the ways at the left.
# shellcheck disable=SC2016 # awk's
grid='
{
	n = ++num[$1]; panel[$1] = $2; way[n] = $3; kind[n] = $4; value[$1, n] = $5; second[$1, n] = $6; third[$1, n] = $7
	if ($1 > panels) panels = $1
	if ($5 > most[$1]) most[$1] = $5
}

function place(p, columns,    row)
{
	row = int((p - 1) / columns)
	left = 260 + (p - 1) % columns * wide
	right = left + wide - 56
	top = 96 + row * (num[1] * 18 + 62)
	bottom = top + num[1] * 18
	svg_text(left, top - 12, "start", "strong", panel[p])
	if ((p - 1) % columns == 0)
		for (i = 1; i <= num[1]; i++)
			svg_text(left - 12, top + i * 18 - 5, "end", "small", way[i])
}

function height(columns)
{
	return 96 + (int((panels - 1) / columns) + 1) * (num[1] * 18 + 62)
}
'

rates_chart()
{
	# shellcheck disable=SC2016 # jq's
	panels '[ratio($all.ways; $c)]' . | awk -F '\t' "$(cat "$TOP/scripts/svg.awk")$grid"'
END {
	wide = 210
	svg_begin(900, height(3), "Rates of swapping, as multiples of virtio-blk")
	svg_text(20, 26, "start", "strong", "Pages per second, as a multiple of swap on virtio-blk with as many vCPUs")
	x = svg_key(20, 50, "a", "virtio-blk")
	svg_key(svg_key(x, 50, "b", "others"), 50, "c", "virtio-tmem")
	for (p = 1; p <= panels; p++) {
		place(p, 3)
		for (i = 1; i <= num[1]; i++) {
			y = top + i * 18
			w = most[p] ? (right - left) * value[p, i] / most[p] : 0
			if (value[p, i] != "")
				svg_bar(left, y - 15, w, 12, kind[i])
			svg_text(left + w + 5, y - 5, "start", "small", value[p, i] == "" ? "-" : sprintf("%.2f", value[p, i]))
		}
		if (most[p] >= 1) {
			x = left + (right - left) / most[p]
			svg_line(x, top, x, bottom, "axis")
		}
	}
	svg_end()
}'
}

latency_chart()
{
	# shellcheck disable=SC2016 # jq's
	panels '[phase($c) | .p999, .p99, .p50]' '^(ws384|zipf zipf|mix mix)' | awk -F '\t' "$(cat "$TOP/scripts/svg.awk")$grid"'
END {
	wide = 320; min = 1000; max = 1000000000
	svg_begin(900, height(2), "How long faults take")
	svg_text(20, 26, "start", "strong", "How long faults take, as the program sees them (each line: ten times as long)")
	x = svg_key(20, 50, "c", "half of them at most so long (p50)")
	svg_key(svg_key(x, 50, "b", "99 %"), 50, "a", "99.9 %")
	for (p = 1; p <= panels; p++) {
		place(p, 2)
		for (v = min; v <= max; v *= 10) {
			x = svg_log(v, min, max, left, right)
			svg_line(x, top, x, bottom, v == min ? "axis" : "grid")
			if (v == 1000 || v == 1000000 || v == 1000000000)
				svg_text(x, bottom + 14, "middle", "small", v == 1000 ? "1 us" : v == 1000000 ? "1 ms" : "1 s")
		}
		for (i = 1; i <= num[1]; i++) {
			y = top + i * 18 - 15
			if (value[p, i] == "") {
				svg_text(left + 5, y + 10, "start", "small", "-")
				continue
			}
			svg_bar(left, y, svg_log(value[p, i], min, max, left, right) - left, 12, "a")
			svg_bar(left, y, svg_log(second[p, i], min, max, left, right) - left, 12, "b")
			svg_bar(left, y, svg_log(third[p, i], min, max, left, right) - left, 12, "c")
		}
	}
	svg_end()
}'
}

markdown > "$tmp/swap.md"
rates_chart > "$tmp/swap-rates.svg"
latency_chart > "$tmp/swap-latency.svg"
for f in swap.md swap-rates.svg swap-latency.svg; do
	put_file "$tmp/$f" "$out/$f"
done
msg "$out/swap.md, swap-rates.svg, swap-latency.svg"
