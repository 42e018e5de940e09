#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# balance-plot.sh sim FILE SVG: draw what balance-sim prints.
# balance-plot.sh guests FILE SVG: draw what tmemctl balance --json prints, of up
# to three guests.
set -euo pipefail

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

[ $# = 3 ] || die "usage: balance-plot.sh sim|guests FILE SVG"
[ -r "$2" ] || die "cannot read $2"

# Both: lines of numbers, the first a time in seconds; columns are drawn over it.
# shellcheck disable=SC2016 # awk's own
common='
/^#/ || NF == 0 { next }
{ n++; for (i = 1; i <= NF; i++) v[n, i] = $i }

function most(column,    i, m)
{
	for (i = 1; i <= n; i++)
		if (v[i, column] > m)
			m = v[i, column]
	return m
}

function curve(column, class, top, bottom, max,    i)
{
	printf "<polyline class=\"line %s\" points=\"", class
	for (i = 1; i <= n; i++)
		printf "%d,%.1f ", left + (right - left) * (v[i, 1] - v[1, 1]) / span,
			bottom - (bottom - top) * v[i, column] / max
	print "\"/>"
}

function times(y,    t, step, x)
{
	step = svg_step(span, 12)
	for (t = 0; t <= span; t += step) {
		x = left + (right - left) * t / span
		svg_line(x, y, x, y + 5, "axis")
		svg_value(x, y + 20, "middle", "small", svg_number(t))
	}
	svg_text((left + right) / 2, y + 42, "middle", "", "seconds")
}

END {
	if (n < 2) {
		print "two points in time at least are needed" > "/dev/stderr"
		exit 1
	}
	left = 70; right = 850; span = v[n, 1] - v[1, 1]
	draw()
}'

draw()
{
	awk "$(cat "$TOP/scripts/svg.awk")$common$1" > "$svg" || { rm -f "$svg"; die "cannot draw $file"; }
}

file=$2 svg=$3
case $1 in
sim)
	awk '/^#/ || $1 % 3 == 0 { print; next } $1 > 60 && $1 < 100 || $1 > 298 && $1 < 330' "$file" |
		awk '!/^#/ { $2 /= 1024; $3 /= 1024; $4 /= 1024; $6 *= 100 } { print }' | draw '
function draw(    max)
{
	svg_begin(880, 520, "Simulated guests: what is shared, and how fairly")
	svg_text(left, 24, "start", "strong", "All guests together, GiB")
	svg_key(svg_key(svg_key(right - 300, 24, "a", "budget"), 24, "b", "limits"), 24, "c", "used")
	max = svg_scale(left, right, 42, 242, most(4) > most(2) ? most(4) : most(2), 5)
	curve(2, "la", 42, 242, max); curve(4, "lb", 42, 242, max); curve(3, "lc", 42, 242, max)
	svg_text(left, 282, "start", "strong", "Fairness, %")
	svg_key(svg_key(svg_key(right - 470, 282, "b", "fairness index (Jain)"), 282, "c", "in wrong hands"), 282, "a", "reserve lacking")
	max = svg_scale(left, right, 300, 460, 100, 5)
	curve(6, "lb", 300, 460, max); curve(7, "la", 300, 460, max); curve(5, "lc", 300, 460, max)
	times(460)
	svg_end()
}'
	;;
guests)
	jq -r '[.devices[] | .used, .new] | map(. / 1048576) | @tsv' "$file" |
		awk '{ print NR - 1, $0 }' | draw '
function draw(    max)
{
	svg_begin(880, 320, "Three guests of weights 1:2:4: what they use")
	svg_text(left, 24, "start", "strong", "Used of the page store, MiB (thin: max-size)")
	svg_key(svg_key(svg_key(right - 330, 24, "a", "weight 1"), 24, "b", "weight 2"), 24, "c", "weight 4")
	max = most(6) > most(7) ? most(6) : most(7)
	max = svg_scale(left, right, 42, 262, max, 5)
	print "<g stroke-dasharray=\"2 4\" opacity=\".6\">"
	curve(3, "la", 42, 262, max); curve(5, "lb", 42, 262, max); curve(7, "lc", 42, 262, max)
	print "</g>"
	curve(2, "la", 42, 262, max); curve(4, "lb", 42, 262, max); curve(6, "lc", 42, 262, max)
	times(262)
	svg_end()
}'
	;;
*)
	die "usage: balance-plot.sh sim|guests FILE SVG"
	;;
esac
