#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The page store's unit tests under AddressSanitizer, LeakSanitizer,
# UndefinedBehaviorSanitizer, and ThreadSanitizer.  They are built apart from
# QEMU, with its headers alone: the store needs no more (tests/store/Makefile).
#
# Environment: SEED=R02S<32 hexadecimal digits>, for GLib's --seed.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. scripts/lib.sh
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh

out=$BUILD/sanitize
export ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1
export UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS=second_deadlock_stack=1
args=(--tap -k ${SEED:+"--seed=$SEED"})

# The runtime of gcc 12 cannot place its shadow memory when the kernel spreads
# mappings as widely as some do.  Not everyone may ask for it: then without.
unspread=(setarch -R)
"${unspread[@]}" true 2> /dev/null || unspread=()

# finds_nothing CLAIM PROGRAM ARG...: it succeeds
finds_nothing()
{
	local claim=$1 text status=0

	shift
	text=$("${unspread[@]}" "$@" 2>&1) || status=$?
	if [ "$status" = 0 ]; then
		ok "$claim"
	else
		not_ok "$claim" "$*: status $status" "$(tail -n 100 <<< "$text")"
	fi
}

if ! make -s -j "$JOBS" -C tests/store O="$out" asan tsan > "$out.log" 2>&1; then
	bail 'the store is built without QEMU' "$(tail -n 30 "$out.log")"
fi
ok 'the store is built without QEMU'

# ---- ThreadSanitizer itself ----

status=0
text=$("${unspread[@]}" "$out/tsan/tsan-race" 2>&1) || status=$?
like 'ThreadSanitizer sees a race between threads of GLib' "status $status $text" \
	'WARNING: ThreadSanitizer: data race'
finds_nothing 'and none where a lock of GLib is held' "$out/tsan/tsan-race" locked

# ---- The store: side by side, as some of the tests wait for time to pass ----

for program in "$out"/asan/test-*; do
	[ -x "$program" ] || continue
	finds_nothing "AddressSanitizer finds nothing in ${program##*/}" "$program" "${args[@]}"
done > "$out/asan.tap" &
asan=$!
for program in "$out"/tsan/test-*; do
	[ -x "$program" ] || continue
	finds_nothing "ThreadSanitizer finds nothing in ${program##*/}" "$program" "${args[@]}"
done > "$out/tsan.tap" &
tsan=$!
wait "$asan" "$tsan"

# Their numbers were those of a shell of their own.
while IFS= read -r line; do
	case $line in
	'ok '*) ok "${line#* - }" ;;
	'not ok '*) not_ok "${line#* - }" ;;
	*) printf '%s\n' "$line" ;;
	esac
done < <(cat "$out/asan.tap" "$out/tsan.tap")
cmp_ok 'every test ran under both' "$TAP_N" -eq "$((3 + 2 * $(find qemu/tests/unit -name 'test-tmem-*.c' | wc -l)))"
done_testing
