#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Runs LaTeX until references settle, and lets a PDF out only if they did:
#
#   latex.sh virtio-tmem.tex <output directory>
#
# Any error, any LaTeX warning and any line that does not fit fails the build,
# with one line that says which. The chapter is read from the output directory.
set -eu

source=$1
out=$(cd "$2" && pwd)
name=$(basename "$source" .tex)
work=$out/latex
log=$work/$name.log

if ! command -v pdflatex > /dev/null; then
    echo "spec: no pdflatex, on Debian: apt-get install --no-install-recommends" \
         "$(sed "/^#/d" packages | paste -sd" ")" >&2
    exit 1
fi

# The first line of the log that matches, in one line of ours
complain()
{
    line=$(grep -m 1 -E "$1" "$log" || true)
    if [ -n "$line" ]; then
        echo "spec: $line (see $log)" >&2
        exit 1
    fi
}

rm -rf "$work"
mkdir -p "$work"
for _ in 1 2 3 4; do
    cp "$work/$name.aux" "$work/before" 2> /dev/null || : > "$work/before"
    cp "$work/$name.toc" "$work/before.toc" 2> /dev/null || : > "$work/before.toc"
    # Long lines, so that no message is cut in two
    if ! TEXINPUTS="$out:" max_print_line=1000 pdflatex -halt-on-error \
            -file-line-error -interaction=batchmode -output-directory "$work" \
            "$source" > "$work/stdout" 2>&1; then
        complain '^[^ ]+:[0-9]+: |^! '
        echo "spec: pdflatex failed: $(tail -n 1 "$work/stdout")" >&2
        exit 1
    fi
    if cmp -s "$work/before" "$work/$name.aux" &&
       cmp -s "$work/before.toc" "$work/$name.toc"; then
        break
    fi
done

complain 'Warning: |^Overfull|^Missing character'
mv "$work/$name.pdf" "$out/$name.pdf"
