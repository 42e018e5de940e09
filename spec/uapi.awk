# SPDX-License-Identifier: GPL-2.0-or-later
# Writes a chapter with all that it takes from the wire format filled in:
#
#   awk -f uapi.awk virtio_tmem.h description.tex
#
#   \uapi{struct NAME}    a listing of the structure   (alone on its line)
#   \uapi{PREFIX_*}       a listing of these constants (alone on its line)
#   \uapivalue{NAME}      the value of one constant
#
# Comments stay behind: the chapter says in its own words what a field means.

function fail(what) {
	printf "%s:%d: %s is not in %s\n", FILENAME, FNR, what, header > "/dev/stderr"
	status = 1
	exit 1
}

# $0 without its comments, which can span lines
function strip_comments(    at) {
	if (in_comment) {
		at = index($0, "*/")
		if (!at) {
			$0 = ""
			return
		}
		$0 = substr($0, at + 2)
		in_comment = 0
	}
	while ((at = index($0, "/*")) > 0) {
		tail = substr($0, at + 2)
		$0 = substr($0, 1, at - 1)
		if (!(at = index(tail, "*/"))) {
			in_comment = 1
			break
		}
		$0 = $0 substr(tail, at + 2)
	}
	sub(/[ \t]+$/, "")
}

function listing(body) {
	printf "\\begin{lstlisting}\n%s\\end{lstlisting}\n", body
}

function constants(pattern,    prefix, body, width, i) {
	prefix = substr(pattern, 1, length(pattern) - 1)
	for (i = 1; i <= n; i++)
		if (index(name[i], prefix) == 1 && length(name[i]) > width)
			width = length(name[i])
	for (i = 1; i <= n; i++)
		if (index(name[i], prefix) == 1)
			body = body sprintf("#define %-*s %s\n", width, name[i], value[name[i]])
	if (!body)
		fail(pattern)
	listing(body)
}

FNR == 1 { file++; if (file == 1) header = FILENAME }

file == 1 {
	strip_comments()
	if ($1 == "#define" && NF > 2) {
		name[++n] = $2
		value[$2] = $3
		for (i = 4; i <= NF; i++)
			value[$2] = value[$2] " " $i
	} else if ($1 == "struct" && $3 == "{") {
		in_struct = $2
		body[in_struct] = $0 "\n"
	} else if (in_struct && NF) {
		gsub(/__le/, "le")
		gsub(/__u8/, "u8")
		gsub(/\t/, "        ")
		body[in_struct] = body[in_struct] $0 "\n"
		if ($1 == "};")
			in_struct = ""
	}
	next
}

/^\\uapi{struct [a-z_]+}$/ {
	what = substr($0, 14, length($0) - 14)
	if (!(what in body))
		fail("struct " what)
	listing(body[what])
	next
}

/^\\uapi{[A-Z_]+\*}$/ {
	constants(substr($0, 7, length($0) - 7))
	next
}

{
	while (match($0, /\\uapivalue{[A-Z_]+}/)) {
		what = substr($0, RSTART + 11, RLENGTH - 12)
		if (!(what in value))
			fail(what)
		$0 = substr($0, 1, RSTART - 1) value[what] substr($0, RSTART + RLENGTH)
	}
	if (/\\uapi/) {
		printf "%s:%d: cannot read this \\uapi\n", FILENAME, FNR > "/dev/stderr"
		status = 1
		exit 1
	}
	print
}

END { exit status }
