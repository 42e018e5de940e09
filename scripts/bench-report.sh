#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# bench-report.sh JSON...: write build/bench/store.md and store.svg from what
# tmem-store-bench --json wrote.  With several files, corpora of the later ones
# replace those of the same name; machine and settings are of the last.
#
# Whether a goal is reached is computed here from the figures: from the best
# of the rounds, which other work on the machine disturbs least.
set -euo pipefail

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

[ $# -gt 0 ] || die "usage: bench-report.sh JSON..."
for file; do
	jq -e '.format == 1 and (.corpora | length > 0)' "$file" > /dev/null 2>&1 ||
		die "$file is not what tmem-store-bench --json writes"
done

out=$BUILD/bench
mkdir -p "$out"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

jq -s '.[-1] + {corpora: (map(.corpora[]) | group_by(.name) | map(.[-1])
	| sort_by(.name as $n | ["zero", "text", "code", "heap", "random", "mix"] | index($n)))}' \
	"$@" > "$tmp/all.json"

# The goals of the store, one a line: what, corpus, value, whether the value
# must be at most or at least the goal, goal.  A ratio whose figures are missing
# has an empty value.
goals()
{
	jq -r '
def ns($op; $t): .ns_per_page[$op]["threads_\($t)"].best;
def over($a; $b): if $a and $b and $b > 0 then $a / $b else null end;
def noisy($op; $t): .ns_per_page[$op]["threads_\($t)"].disturbed;
def goal($what; $name; $value; $sign; $goal; $noisy):
	[$what, $name, $value, $sign, $goal, if $noisy then "(disturbed)" else "" end] | @tsv;
def goal($what; $name; $value; $sign; $goal): goal($what; $name; $value; $sign; $goal; false);
def ratio($what; $a; $b; $sign; $goal):
	goal($what; .name; over(ns($a; 1); ns($b; 1)); $sign; $goal; noisy($a; 1) or noisy($b; 1));
def speedup($op): over(ns($op; 1); ns($op; 2));
def payload: over(.payload_bytes; [.used_bytes, .rss_bytes] | max);
. as $all | (.settings.threads == 2) as $two | .metadata_bytes_per_page as $meta |
(.corpora[] | select(.name != "zero") |
	ratio("put, new key / lz4 compress + copy, new memory"; "put_new"; "lz4_compress_new"; "<="; 1.25)),
(.corpora[] | select(.name != "zero") |
	ratio("put, replacing / lz4 compress + copy"; "put"; "lz4_compress"; "<="; 1.25)),
(.corpora[] | select(.name != "zero") |
	ratio("get / lz4 decompress"; "get"; "lz4_decompress"; "<="; 1.25)),
(.corpora[] | select(.name != "zero") |
	ratio("get, random order / lz4 decompress, random order"; "get_random"; "lz4_decompress_random"; "<="; 1.25)),
(.corpora[] | select(.name == "zero") |
	ratio("same-filled put, new key / scan of a page"; "put_new"; "scan"; "<="; 1.2),
	ratio("same-filled put, replacing / scan of a page"; "put"; "scan"; "<="; 1.2)),
(("put_new lz4_compress_new", "put lz4_compress", "get lz4_decompress",
	"get_random lz4_decompress_random") | split(" ") as [$op, $peer] | $all.corpora[] | select($two) |
	goal("two threads / one: \($op | gsub("_"; " ")), where bare lz4 does " +
		"\(speedup($peer) | if . then . * 100 | round / 100 else "–" end)"; .name; speedup($op); ">="; 1.8; noisy($op; 1) or noisy($op; 2))),
goal("metadata, bytes per page of dense keys"; "zero"; $meta.dense.same_filled; "<="; 32),
goal("metadata, bytes per page of dense keys"; "random"; $meta.dense.raw; "<="; 32),
(.corpora[] | select(.name != "zero") | goal("payload / resident after the fill"; .name; .after_fill | payload; ">="; 0.90)),
(.corpora[] | select(.name != "zero") | goal("payload / resident, 90 % deleted, then maintained"; .name; .after_maintain | payload; ">="; 0.80))
' "$tmp/all.json"
}

goal_table()
{
	echo '| figure | corpus | value | goal | |'
	echo '|---|---|---:|---:|---|'
	goals | awk -F '\t' '{
		if ($3 == "") {
			missing++
			printf "| %s | %s | – | %s %s | **not measured** |\n", $1, $2,
				$4 == "<=" ? "≤" : "≥", $5
			next
		}
		good = $4 == "<=" ? $3 <= $5 : $3 >= $5
		reached += good
		format = $3 >= 8 ? "%.1f" : "%.2f"
		printf "| %s | %s | " format " | %s %s | %s%s |\n", $1, $2, $3,
			$4 == "<=" ? "≤" : "≥", $5, good ? "reached" : "**not reached**", $6 == "" ? "" : " " $6
	}
	END { printf "\n%d of %d reached, %d not measured.\n", reached, NR, missing }'
}

time_tables()
{
	jq -r '
def r: if . == null then "–" elif . < 10 then . * 10 | round / 10 else round end;
.settings.threads as $n |
.corpora[] | "", "### \(.name)", "",
"\(.what | .[:1] | ascii_upcase)\(.what[1:]); \(.distinct_pages) distinct pages, \(.samples) samples, " +
"\(100 * .undisturbed / .samples | round) % of them undisturbed.", "",
"| ns per page | 1 thread, best | median | \($n) threads, best | median | speedup |",
"|---|---:|---:|---:|---:|---:|",
(.ns_per_page | to_entries[] |
	.value.threads_1 as $a | .value["threads_\($n)"] as $b |
	"| \(.key | gsub("_"; " ")) | \($a.best | r) | \($a.median | r) | \($b.best | r) | \($b.median | r) | " +
	(if $a and $b and $n > 1 then "\($a.best / $b.best * 100 | round / 100)" else "–" end) + " |")
' "$tmp/all.json"
}

space_table()
{
	jq -r '
def mib: . / 1048576 * 10 | round / 10;
def part($a; $b): if $a > 0 and $b > 0 then $a / $b * 1000 | round / 1000 else "–" end;
"| corpus | when | pages | payload, MiB | used, MiB | resident, MiB | payload / used | payload / resident | page / payload |",
"|---|---|---:|---:|---:|---:|---:|---:|---:|",
(.corpora[] | .name as $name |
	(["filled", .after_fill], ["90 % deleted", .after_delete], ["then maintained", .after_maintain]) |
	.[0] as $when | .[1] |
	"| \($name) | \($when) | \(.pages) | \(.payload_bytes | mib) | \(.used_bytes | mib) | \(.rss_bytes | mib) | " +
	"\(part(.payload_bytes; .used_bytes)) | \(part(.payload_bytes; .rss_bytes)) | " +
	"\(part(.pages * 4096; .payload_bytes)) |")
' "$tmp/all.json"
}

metadata_table()
{
	jq -r '
"| keys | pages | same-filled pages, bytes | raw pages, bytes |", "|---|---:|---:|---:|",
(.metadata_bytes_per_page | to_entries[] |
	"| \(.key | gsub("_"; " ")) | \(.value.pages) | \(.value.same_filled) | \(.value.raw) |")
' "$tmp/all.json"
}

markdown()
{
	cat <<-'END'
	<!-- SPDX-License-Identifier: GPL-2.0-or-later -->
	# The page store by itself

	END
	jq -r '.machine as $m | .settings as $s |
"\($s.pages * $s.page_bytes / 1048576 | round) MiB of pages stored, \($s.rounds) rounds, up to \($s.threads) threads" +
(if $s.quick then "; **a quick run, not a measurement**" else "" end) + ".",
"", "\($m.cpu), \($m.cores) cores; Linux \($m.kernel); \($m.compiler); lz4 \($m.lz4), zstd \($m.zstd); " +
"load \($m.loadavg | split(" ")[0]) before; \($m.date)."' "$tmp/all.json"
	cat <<-'END'

	![ns per page of put and get](store.svg)

	## Goals

	Ratios of the best times, store to peer, on the same pages in the same run.
	Resident is the larger of what the store says and what the process grew by.
	Disturbed: only samples in which other work took a processor away.

	END
	goal_table
	cat <<-'END'

	## Times

	Best: mean over the segments of each one's fastest round. Speedup: one thread
	to several; that of bare lz4 and of copy is what the machine itself can do.
	END
	time_tables
	printf '\n## Space\n\n'
	space_table
	printf '\n## Metadata\n\nBytes that the store takes for a page beyond those of the page.\n\n'
	metadata_table
}

# One line for each corpus: name, then ns of the bars.
bars()
{
	jq -r --arg lz4 "$1" --arg store "$2" '.corpora[] |
		[.name, (("copy", $lz4, $store) as $op | .ns_per_page[$op].threads_1.best // 0)] | @tsv' \
		"$tmp/all.json" | sed "s/^/$3\t/"
}

chart()
{
	{
		bars lz4_compress_new put_new 1
		bars lz4_decompress get 2
	} | awk -F '\t' "$(cat "$TOP/scripts/svg.awk")"'
{
	n = ++num[$1]
	name[$1, n] = $2
	for (b = 1; b <= 3; b++) {
		value[$1, n, b] = $(b + 2)
		if ($(b + 2) > most[$1])
			most[$1] = $(b + 2)
	}
}

function panel(p, title, peer, store, top, bottom,    max, i, b, wide, x, y, h)
{
	svg_text(left, top - 42, "start", "strong", title)
	x = svg_key(left, top - 20, "a", "memcpy of a page")
	x = svg_key(x, top - 20, "b", peer)
	svg_key(x, top - 20, "c", store)
	max = svg_scale(left, right, top, bottom, most[p], 5)
	wide = (right - left) / num[p]
	bar = wide * .78 / 3
	if (bar > 46)
		bar = 46
	for (i = 1; i <= num[p]; i++) {
		x = left + wide * (i - .5)
		for (b = 1; b <= 3; b++) {
			h = (bottom - top) * value[p, i, b] / max
			y = bottom - h
			printf "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" class=\"%s\"/>\n",
				x + (b - 2.5) * bar + 1, y, bar - 2, h, substr("abc", b, 1)
			svg_value(x + (b - 2) * bar, y - 5, "middle", "small",
				value[p, i, b] ? svg_number(value[p, i, b]) : "?")
		}
		svg_text(x, bottom + 19, "middle", "strong", name[p, i])
		if (value[p, i, 2] && value[p, i, 3])
			svg_text(x, bottom + 35, "middle", "small",
				sprintf("%.2f × lz4", value[p, i, 3] / value[p, i, 2]))
	}
}

END {
	left = 62; right = 880
	svg_begin(900, 740, "Page store: ns per page of put and get")
	panel(1, "Put of a new page, ns (one thread, best of the rounds)",
		"bare lz4 compress + copy to new memory", "put", 70, 320)
	panel(2, "Get in order of the keys, ns (one thread, best of the rounds)",
		"bare lz4 decompress", "get", 440, 690)
	svg_end()
}'
}

markdown > "$tmp/store.md"
chart > "$tmp/store.svg"
put_file "$tmp/store.md" "$out/store.md"
put_file "$tmp/store.svg" "$out/store.svg"
msg "$out/store.md: $(sed -n 's/^\([0-9]* of [0-9]* reached.*\)\.$/\1/p' "$out/store.md")"
