#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# seeds.sh DIR: files from lines of hexadecimal numbers on standard input
set -euo pipefail

rm -rf "$1.new"
mkdir -p "$1.new"
n=0
while IFS= read -r line; do
	line=${line//[[:space:]]/}
	case $line in '' | '#'*) continue ;; esac
	bytes=
	for ((i = 0; i < ${#line}; i += 2)); do
		bytes+="\\x${line:i:2}"
	done
	n=$((n + 1))
	printf '%b' "$bytes" > "$1.new/$n"
done
rm -rf "$1"
mv "$1.new" "$1"
