# SPDX-License-Identifier: GPL-2.0-or-later
#
# What the charts here share: one look on light and dark pages, axes with round
# numbers.  The text of this file goes before a chart's own awk program.

function svg_begin(width, height, title)
{
	printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" font-family=\"system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif\" font-size=\"13\">\n",
		width, height, width, height
	print "<!-- SPDX-License-Identifier: GPL-2.0-or-later -->"
	printf "<title>%s</title>\n", svg_escape(title)
	print "<style>"
	print "text { fill: #6e7781; } .strong { font-weight: 600; } .small { font-size: 11px; }"
	print ".grid { stroke: #8c959f; stroke-opacity: .28; } .axis { stroke: #8c959f; }"
	print ".line { fill: none; stroke-width: 2; stroke-linejoin: round; }"
	print ".a { fill: #9aa4ae; } .b { fill: #4f8fd0; } .c { fill: #d9822b; }"
	print ".la { stroke: #9aa4ae; } .lb { stroke: #4f8fd0; } .lc { stroke: #d9822b; }"
	print "@media (prefers-color-scheme: dark) { text { fill: #b1bac4; } }"
	print "</style>"
}

function svg_end()
{
	print "</svg>"
}

function svg_escape(s)
{
	gsub(/&/, "\\&amp;", s)
	gsub(/</, "\\&lt;", s)
	gsub(/>/, "\\&gt;", s)
	return s
}

function svg_text(x, y, anchor, class, s)
{
	printf "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" class=\"%s\">%s</text>\n",
		x, y, anchor, class, svg_escape(s)
}

function svg_line(x1, y1, x2, y2, class)
{
	printf "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"%s\"/>\n",
		x1, y1, x2, y2, class
}

# A round step (1, 2 or 5 times a power of ten) of which about COUNT reach MAX.
function svg_step(max, count,    step)
{
	if (max <= 0)
		return 1
	step = 1e-6
	while (1) {
		if (max <= step * count)
			return step
		if (max <= step * 2 * count)
			return step * 2
		if (max <= step * 5 * count)
			return step * 5
		step *= 10
	}
}

# 12345 as 12 345, with a thin space.
function svg_number(n,    s)
{
	s = sprintf("%d", n + .5)
	if (n < 10 && n != int(n))
		return sprintf("%.1f", n)
	while (match(s, /[0-9][0-9][0-9][0-9]( |$)/))
		s = substr(s, 1, RSTART) " " substr(s, RSTART + 1)
	gsub(/ /, "\\&#8201;", s)
	return s
}

# As svg_text(), for what svg_number() made.
function svg_value(x, y, anchor, class, s)
{
	printf "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" class=\"%s\">%s</text>\n",
		x, y, anchor, class, s
}

# Horizontal grid lines with numbers, 0 to MAX at the pixels BOTTOM to TOP.
# Returns the value at TOP.
function svg_scale(left, right, top, bottom, max, count,    step, i, y, n)
{
	step = svg_step(max, count)
	n = int(max / step)
	if (n * step < max)
		n++
	if (n < 1)
		n = 1
	for (i = 0; i <= n; i++) {
		y = bottom - (bottom - top) * i / n
		svg_line(left, y, right, y, i ? "grid" : "axis")
		svg_value(left - 8, y + 4, "end", "small", svg_number(i * step))
	}
	return n * step
}

# One entry of a legend. Returns where the next one goes.
function svg_key(x, y, class, s)
{
	printf "<rect x=\"%.1f\" y=\"%.1f\" width=\"11\" height=\"11\" rx=\"2\" class=\"%s\"/>\n", x, y - 10, class
	svg_text(x + 17, y, "start", "", s)
	return x + 17 + 7.2 * length(s) + 22
}

# A bar from left to right, at least one pixel.
function svg_bar(x, y, width, height, class)
{
	printf "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" class=\"%s\"/>\n",
		x, y, width < 1 ? 1 : width, height, class
}

# Where VALUE is on an axis of powers of ten, MIN to MAX at the pixels LEFT to RIGHT.
function svg_log(value, min, max, left, right)
{
	if (value < min)
		return left
	if (value > max)
		return right
	return left + (right - left) * log(value / min) / log(max / min)
}
