#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Checks that chapter, conformance clauses and wire format say the same:
#
#   check.sh virtio_tmem.h device-types/tmem
#
# - each constant, structure and field of the header is described in the text,
#   and the text names none that the header does not have;
# - each normative block is listed in its conformance clause, and each clause
#   lists only blocks that exist;
# - MUST, SHOULD and MAY appear in normative blocks only.
#
# Silent when all is well. Otherwise one line for each fault, and exit status 1.
set -eu
export LC_ALL=C

header=$1
dir=$2
chapter=$dir/description.tex
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
faults=$tmp/faults
: > "$faults"

# same A B "text for what only A has" "text for what only B has"
same()
{
    sort -u "$1" > "$1.sorted"
    sort -u "$2" > "$2.sorted"
    comm -23 "$1.sorted" "$2.sorted" | sed "s|\$|: $3|" >> "$faults"
    comm -13 "$1.sorted" "$2.sorted" | sed "s|\$|: $4|" >> "$faults"
}

# words REGEX FILE: each match on a line of its own
words()
{
    grep -o -E "$1" "$2" || true
}

# A listing or a value mentions a constant without saying what it is for
sed -e 's/\\uapivalue{[^}]*}//g' -e '/^\\uapi{/d' "$chapter" > "$tmp/prose"

sed -n 's/^#define[[:space:]]*\(VIRTIO_TMEM_[A-Z0-9_]*\)[[:space:]].*/\1/p' \
    "$header" > "$tmp/constants"
words 'VIRTIO_TMEM_[A-Z0-9_]+' "$tmp/prose" > "$tmp/named"
same "$tmp/constants" "$tmp/named" \
    "in $header, but not described in $chapter" \
    "named in $chapter, but not in $header"

sed -n 's/^struct \([a-z_]*\) {.*/\1/p' "$header" > "$tmp/structs"
sed -n 's/^\\uapi{struct \([a-z_]*\)}.*/\1/p' "$chapter" > "$tmp/listed"
same "$tmp/structs" "$tmp/listed" \
    "structure in $header, but not listed in $chapter" \
    "structure listed in $chapter, but not in $header"

sed -n 's/^[[:space:]]*__[a-z0-9]* \([a-z_]*\)\(\[[0-9]*\]\)*;.*/\1/p' \
    "$header" > "$tmp/members"
words '\\field\{[^}]*\}' "$tmp/prose" | sed 's/.*{\(.*\)}/\1/' > "$tmp/fields"
same "$tmp/members" "$tmp/fields" \
    "field in $header, but not described in $chapter" \
    "field described in $chapter, but not in $header"

for side in driver device; do
    clause=$dir/$side-conformance.tex
    words "\\\\${side}normative\{.*" "$chapter" |
        sed -E 's/.*\{([^}]*)\}$/\1/' > "$tmp/blocks"
    words "\\\\ref\{(driver|device)normative:[^}]*" "$clause" |
        sed "s/^.ref{${side}normative://" > "$tmp/clauses"
    for list in blocks clauses; do
        sort "$tmp/$list" | uniq -d |
            sed "s|\$|: twice among the $side normative $list|" >> "$faults"
    done
    same "$tmp/blocks" "$tmp/clauses" \
        "$side normative in $chapter, but not listed in $clause" \
        "listed in $clause, but not $side normative in $chapter"
done

awk -v chapter="$chapter" '
    /^\\(sub)*section{|^\\paragraph{/ { normative = 0 }
    /^\\(driver|device)normative{/ { normative = 1 }
    !normative && /(^|[^A-Z_])(MUST|SHOULD|MAY|SHALL|REQUIRED)([^A-Z_]|$)/ {
        printf "%s:%d: MUST, SHOULD or MAY outside of a normative block\n",
               chapter, FNR
    }' "$chapter" >> "$faults"

if [ -s "$faults" ]; then
    sed 's/^/spec: /' "$faults" >&2
    exit 1
fi
