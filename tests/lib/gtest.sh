# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# GLib's test programs as parts of one TAP stream. To be sourced, after vm.sh.

# gtest_each PROGRAM [COMMAND...]: a TAP test for each test of the program, each
# in a process of its own, since the first failure ends a GLib program.  COMMAND
# runs it.
gtest_each()
{
	local program=$1 path out status
	local -a paths

	shift
	mapfile -t paths < <("$@" "$program" -l 2> /dev/null | grep '^/')
	[ "${#paths[@]}" -gt 0 ] || not_ok "${program##*/} has tests"
	for path in "${paths[@]}"; do
		status=0
		out=$("$@" "$program" --tap -k -p "$path" 2>&1) || status=$?
		if [ "$status" != 0 ]; then
			not_ok "$path" "${program##*/} -p $path: status $status" "$(tail -n 60 <<< "$out")"
		elif grep -q -i -F "ok 1 $path # SKIP" <<< "$out"; then
			skip "$path" "$(sed -n -E 's/^ok 1 .*# SKIP *//Ip' <<< "$out")"
		elif grep -q -F "ok 1 $path" <<< "$out"; then
			ok "$path"
		else
			not_ok "$path" "${program##*/} -p $path: status 0, but it was not run"
		fi
	done
}
