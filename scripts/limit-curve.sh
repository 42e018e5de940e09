#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# limit-curve.sh FILE SVG: draw how the limit of a page store follows memory
# pressure.  Each line of FILE: seconds, limit in bytes, used bytes, pressure
# in permille; lines that begin with # are left out.
set -euo pipefail

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

[ $# = 2 ] || die "usage: limit-curve.sh FILE SVG"
[ -r "$1" ] || die "cannot read $1"

awk "$(cat "$TOP/scripts/svg.awk")"'
/^#/ || NF == 0 { next }
NF != 4 { printf "line %d has %d fields, it needs 4\n", NR, NF > "/dev/stderr"; bad = 1; exit 1 }
{
	n++
	time[n] = $1; limit[n] = $2 / 1048576; used[n] = $3 / 1048576
	pressure[n] = $4 / 10
	if (limit[n] > most) most = limit[n]
	if (used[n] > most) most = used[n]
	if (pressure[n] > worst) worst = pressure[n]
}

function at_x(i)
{
	return left + (right - left) * (time[i] - time[1]) / span
}

# A value that holds from each sample to the next is drawn in steps.
function curve(values, class, top, bottom, max, steps,    i, y, last)
{
	printf "<polyline class=\"line %s\" points=\"", class
	for (i = 1; i <= n; i++) {
		y = bottom - (bottom - top) * values[i] / max
		if (steps && i > 1)
			printf "%.1f,%.1f ", at_x(i), last
		printf "%.1f,%.1f ", at_x(i), y
		last = y
	}
	print "\"/>"
}

END {
	if (bad)
		exit 1
	if (n < 2 || time[n] <= time[1]) {
		print "a curve needs two points in time at least" > "/dev/stderr"
		exit 1
	}
	left = 70; right = 850; span = time[n] - time[1]

	svg_begin(880, 470, "Limit of the page store and memory pressure over time")
	svg_text(left, 24, "start", "strong", "Limit and use of the page store, MiB")
	svg_key(svg_key(right - 130, 24, "b", "limit"), 24, "c", "used")
	max = svg_scale(left, right, 42, 262, most, 5)
	curve(used, "lc", 42, 262, max, 0)
	curve(limit, "lb", 42, 262, max, 1)

	svg_text(left, 302, "start", "strong", "Memory pressure, % of the time stalled")
	max = svg_scale(left, right, 316, 416, worst > 1 ? worst : 1, 4)
	curve(pressure, "la", 316, 416, max, 0)

	step = svg_step(span, 10)
	for (t = 0; t <= span; t += step) {
		x = left + (right - left) * t / span
		svg_line(x, 416, x, 421, "axis")
		svg_value(x, 436, "middle", "small", svg_number(t))
	}
	svg_text((left + right) / 2, 458, "middle", "", "seconds")
	svg_end()
}' "$1" > "$2" || { rm -f "$2"; die "cannot draw $1"; }
