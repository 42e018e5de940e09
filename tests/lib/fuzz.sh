# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Runs of libFuzzer as tests. To be sourced, after scripts/lib.sh and vm.sh.
#
# Kept inputs are text: a line of hexadecimal each, tests/store/seeds.sh makes files
# of them. An input that fails is shown as such a line. What a search finds worth
# keeping stays in the cache, where the next search begins.
#
# Environment: FUZZ_SECONDS (of each search; else what the test says), JOBS
# (processes, when there is more than a minute)

export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
# libFuzzer looks for leaks after an input that left something behind
export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=1

# fuzz_run CLAIM COMMAND...: libFuzzer finds nothing
fuzz_run()
{
	local claim=$1 status=0 found text dir

	shift
	dir=$(mktemp -d)
	text=$("$@" -timeout=60 -report_slow_units=60 -rss_limit_mb=2048 -artifact_prefix="$dir/" 2>&1) || status=$?
	found=$(compgen -G "$dir/*" | head -n 1) || :
	if [ "$status" = 0 ] && [ -z "$found" ]; then
		ok "$claim"
		grep -E '^(Done |stat::average|#[0-9]+: cov)' <<< "$text" | tail -n 2 | sed 's/^/# /'
	else
		not_ok "$claim" "status $status" \
			"${found:+input: $(od -An -v -tx1 "$found" | tr -d ' \n')}" \
			"$(grep -v -E '^#[0-9]+[[:space:]:]' <<< "$text" | tail -n 60)"
	fi
	rm -rf "$dir"
}

# fuzz_search NAME SECONDS MAX-LENGTH SEEDS COMMAND...: kept inputs, then new ones
fuzz_search()
{
	local name=$1 seconds=${FUZZ_SECONDS:-$2} length=$3 seeds=$4 corpus=$CACHE/fuzz-$1 more=()

	shift 4
	mkdir -p "$corpus"
	fuzz_run "$name: the kept inputs find nothing" "$@" -runs=0 "$seeds"
	[ "$seconds" -le 60 ] || [ "$JOBS" -le 1 ] || more=("-fork=$JOBS")
	fuzz_run "$name: nor does a search of $seconds seconds" "$@" "-max_total_time=$seconds" \
		"-max_len=$length" -len_control=0 -print_final_stats=1 "${more[@]}" "$corpus" "$seeds"
}
