#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A hostile guest against the device in a machine, under AddressSanitizer and
# UndefinedBehaviorSanitizer: rings, requests and registers that know the format
# (qemu/tests/qtest/fuzz/virtio_tmem_fuzz.c), and QEMU's generic fuzzer, that knows
# only where registers and memory are.
#
# A QEMU of its own is built for this, with little in it but the device. That takes
# too long for `make check`, which has the device's requests without a machine
# (tests/qemu-store-fuzz.sh): make fuzz.
#
# Environment: FUZZ_SECONDS, JOBS: tests/lib/fuzz.sh
set -euo pipefail
# shellcheck source=scripts/lib.sh
. scripts/lib.sh
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
# shellcheck source=tests/lib/fuzz.sh
. tests/lib/fuzz.sh

fuzzer=$BUILD/qemu-fuzz/qemu-fuzz-x86_64
if ! out=$(scripts/build-qemu.sh --fuzz qemu-fuzz-x86_64 2>&1); then
	bail 'the fuzzers are built' "$out"
fi
tests/store/seeds.sh "$BUILD/qemu-fuzz/tmem-seeds" < tests/store/qemu-seeds.txt

# LeakSanitizer finds what QEMU never frees, too.
export ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0
# QEMU has a word to say of each bad ring: not to be kept, there are millions.
fuzz_search qemu 20 300 "$BUILD/qemu-fuzz/tmem-seeds" \
	"$fuzzer" --fuzz-target=virtio-tmem-fuzz -close_fd_mask=3
fuzz_run "generic: a search of ${FUZZ_SECONDS:-10} seconds finds nothing" \
	"$fuzzer" --fuzz-target=generic-fuzz-virtio-tmem -close_fd_mask=3 "-max_total_time=${FUZZ_SECONDS:-10}" \
	-max_len=500 -print_final_stats=1
done_testing
