#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The page store against a model (tests/store/tmem-store-fuzz.c), then the requests
# of a hostile guest against the device without a machine (tmem-request-fuzz.c), with
# inputs that libFuzzer makes up, under AddressSanitizer and
# UndefinedBehaviorSanitizer. The first sees more of the store, the second is some
# thirty times as fast.
#
# Environment: FUZZ_SECONDS, JOBS: tests/lib/fuzz.sh
set -euo pipefail
# shellcheck source=scripts/lib.sh
. scripts/lib.sh
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
# shellcheck source=tests/lib/fuzz.sh
. tests/lib/fuzz.sh

out=$BUILD/sanitize
if ! make -s -j "$JOBS" -C tests/store O="$out" fuzz > "$out-fuzz.log" 2>&1; then
	bail 'the fuzzers are built' "$(tail -n 30 "$out-fuzz.log")"
fi
fuzz_search store 15 600 "$out/fuzz/store-seeds" "$out/fuzz/tmem-store-fuzz"
fuzz_search request 15 100 "$out/fuzz/request-seeds" "$out/fuzz/tmem-request-fuzz"
done_testing
