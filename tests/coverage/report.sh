#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# report.sh [SUITE...]: how many lines and branches of driver, device and page store
# the tests run: those of the store, of the device, and SUITEs (else all of
# tests/e2e that start guests with our kernel).  QEMU and kernel are built anew for
# this, in build/qemu-coverage and build/linux-coverage.
#
# Prints a table, which is build/coverage/coverage.md then; beside it are driver.gcov/all
# and qemu.gcov/all: each object's sources with their counts, "#####" at lines that
# never ran.  A branch is taken or not for each side of a condition, and what the
# compiler made of one counts as well.
#
# Environment: KEEP_COUNTS=1 (add guests to what was counted before)
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../../scripts/lib.sh"
cd "$TOP"

out=$BUILD/coverage
qemu=$BUILD/qemu-coverage
linux=$BUILD/linux-coverage

# The tests of the page store, and those of the device without a guest
count_without_guests()
{
	local program path

	msg "tests of the page store"
	for program in "${targets[@]}"; do
		case $program in
		tests/unit/*) "$qemu/$program" > "$out/${program##*/}.log" 2>&1 || msg "$program: status $?" ;;
		esac
	done
	msg "tests of the device"
	while read -r path; do
		QTEST_QEMU_BINARY=$qemu/qemu-system-x86_64 "$qemu/tests/qtest/qos-test" -p "$path" \
			> "$out/qtest.log" 2>&1 < /dev/null || msg "${path##*/}: status $?"
	done < <(QTEST_QEMU_BINARY=$qemu/qemu-system-x86_64 "$qemu/tests/qtest/qos-test" -l 2> /dev/null |
		grep '^/.*/virtio-tmem')
}

# Other kernels, no guest, guests of packages; or instructions, which counting adds to
not_ours='/(kernels.*|packages|guide|libvirt.*|tmemctl.*|balance|systemd|guest-life|swapdev-huge|instructions)[.]sh$'

mapfile -t targets < <(grep -v '^#' tests/qemu-targets)
scripts/build-qemu.sh --coverage "${targets[@]}" qemu-system-x86_64
scripts/build-linux.sh coverage
scripts/build-guest.sh

if [ -z "${KEEP_COUNTS:-}" ]; then
	rm -rf "$out"
	find "$qemu" -name '*.gcda' -delete
fi
mkdir -p "$out/guests" "$out/driver"

if [ $# -gt 0 ]; then
	suites=("$@")
else
	mapfile -t suites < <(printf '%s\n' tests/e2e/*.sh | grep -vE "$not_ours")
fi

# What fails is for make check to say; it counts all the same.
[ -n "${KEEP_COUNTS:-}" ] || count_without_guests
msg "guests: ${#suites[@]} suites"
QEMU=$qemu/qemu-system-x86_64 KERNEL=$linux/arch/x86/boot/bzImage VM_COVERAGE=$out/guests \
	tests/run "${suites[@]}" > "$out/guests.log" 2>&1 || msg "$(tail -n 1 "$out/guests.log")"

# What each guest counted, added up
cp "$linux"/drivers/virtio/virtio_tmem*.gcno "$out/driver/"
for dir in "$out"/guests/guest.*; do
	[ -n "$(ls "$dir")" ] || continue
	if [ ! -d "$out/merged" ]; then
		cp -a "$dir" "$out/merged"
	else
		gcov-tool merge "$out/merged" "$dir" -o "$out/merged.new" 2> /dev/null
		rm -rf "$out/merged"
		mv "$out/merged.new" "$out/merged"
	fi
done
[ -d "$out/merged" ] || die "no guest has said what ran in it: see $out/guests.log"
cp "$out"/merged/*.gcda "$out/driver/"

# counts DIRECTORY FILE...: a line for each source: name, lines, how many of them ran,
# branches, how many of them were taken. A source may be in several objects, as the
# tests of the store have one each, and a header always is: what ran in one, ran.
counts()
{
	local dir=$out/$1.gcov file

	shift
	rm -rf "$dir"
	mkdir -p "$dir"
	for file; do
		(cd "$dir" && gcov -b -c "$file" > /dev/null 2>&1 && cat ./*.gcov && rm -f ./*.gcov)
	done | tee "$dir/all" | awk '
		/^ *-: *0:Source:/ { name = $0; sub(/.*[:\/]/, "", name); line = 0; next }
		/^branch/ {
			key = name SUBSEP line SUBSEP $2
			if (!(key in arm)) { arm[key] = 0; arms[name]++ }
			if ($3 == "taken" && $4 > 0 && !arm[key]) { arm[key] = 1; taken[name]++ }
			next
		}
		match($0, /^ *[^ :]+: *[0-9]+:/) {
			split($0, part, ":")
			gsub(/ /, "", part[1])
			line = part[2] + 0
			if (part[1] == "-" || line == 0) next
			key = name SUBSEP line
			if (!(key in code)) { code[key] = 0; of[name]++ }
			if (part[1] !~ /^[#=]/ && !code[key]) { code[key] = 1; ran[name]++ }
		}
		END { for (n in of) print n, of[n], ran[n] + 0, arms[n] + 0, taken[n] + 0 }'
}

# table NAME REGEX < COUNTS: rows, and their sum
table()
{
	awk -v part="$1" -v re="$2" '
		function percent(some, all) { return all ? sprintf("%.1f %%", 100 * some / all) : "" }
		function row(name, l, r, a, t) {
			return sprintf("| %s | %d | %s | %d | %s |", name, l, percent(r, l), a, percent(t, a))
		}
		$1 ~ re {
			print row("`" $1 "`", $2, $3, $4, $5) | "sort"
			lines += $2; ran += $3; arms += $4; taken += $5
		}
		END { close("sort"); print row("**" part "**", lines, ran, arms, taken) }'
}

# QEMU's objects have paths relative to their build folder
ln -sfn "$SRC" "$out/src"
counts driver "$out"/driver/*.gcda > "$out/driver.counts"
mapfile -t data < <(find "$qemu" -name '*hw_virtio_*tmem*.gcda')
counts qemu "${data[@]}" > "$out/qemu.counts"
{
	echo "| file | lines | run | branches | taken |"
	echo "|---|--:|--:|--:|--:|"
	table driver '^virtio_tmem' < "$out/driver.counts"
	table device '^virtio-tmem' < "$out/qemu.counts"
	table 'page store' '^tmem-' < "$out/qemu.counts"
} | tee "$out/coverage.md"
