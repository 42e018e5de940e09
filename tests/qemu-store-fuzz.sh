#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The page store against a model, with inputs that libFuzzer makes up
# (tests/store/tmem-store-fuzz.c), under AddressSanitizer and
# UndefinedBehaviorSanitizer.  First the inputs of tests/store/seeds.txt, then
# new ones for FUZZ_SECONDS (30), beginning with those that earlier runs kept.
#
# The input that fails is shown as a line for seeds.txt.
#
# Environment: FUZZ_SECONDS, JOBS (processes, when there is more than a minute)
set -euo pipefail
# shellcheck source=scripts/lib.sh
. scripts/lib.sh
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh

: "${FUZZ_SECONDS:=30}"
out=$BUILD/sanitize
corpus=$CACHE/fuzz-store
fuzzer=$out/fuzz/tmem-store-fuzz
export UBSAN_OPTIONS=print_stacktrace=1

# fuzz CLAIM ARG...
fuzz()
{
	local claim=$1 status=0 found text

	shift
	rm -f "$out"/found-*
	text=$("$fuzzer" -max_len=600 -timeout=20 -rss_limit_mb=2048 -artifact_prefix="$out/found-" \
		"$@" 2>&1) || status=$?
	found=$(compgen -G "$out/found-*" | head -n 1) || :
	if [ "$status" = 0 ] && [ -z "$found" ]; then
		ok "$claim"
		grep -E '^(Done |stat::average|#[0-9]+: cov)' <<< "$text" | tail -n 2 | sed 's/^/# /'
	else
		not_ok "$claim" "status $status" \
			"${found:+input: $(od -An -v -tx1 "$found" | tr -d ' \n')}" \
			"$(grep -v -E '^#[0-9]+[[:space:]:]' <<< "$text" | tail -n 60)"
	fi
}

if ! make -s -j "$JOBS" -C tests/store O="$out" fuzz > "$out-fuzz.log" 2>&1; then
	bail 'the fuzzer is built' "$(tail -n 30 "$out-fuzz.log")"
fi
mkdir -p "$corpus"
fuzz 'the kept inputs find nothing' -runs=0 "$out/fuzz/seeds"
more=()
[ "$FUZZ_SECONDS" -le 60 ] || [ "$JOBS" -le 1 ] || more=("-fork=$JOBS")
fuzz "nor does a search of $FUZZ_SECONDS seconds" "-max_total_time=$FUZZ_SECONDS" \
	-print_final_stats=1 "${more[@]}" "$corpus" "$out/fuzz/seeds"
done_testing
