#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Invariants 1 and 8, with the host's own pressure: while a program next door
# thrashes (in a cgroup of 64 MiB, so that nobody else is harmed), the limit of
# the store falls; when it is gone, the limit grows again. Skipped where no such
# cgroup can be made, or where it makes no pressure.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
# shellcheck source=tests/lib/pressure.sh
. tests/lib/pressure.sh
# shellcheck source=tests/lib/cgroup.sh
. tests/lib/cgroup.sh

source=/proc/pressure/memory
[ -r $source ] || skip_all "this kernel tells no memory pressure ($source)"
command -v cc >/dev/null || skip_all "no C compiler for the program that makes pressure"
cgroup_find_or_mount "$0" || skip_all "no cgroup with a memory limit can be made here"
vm_setup
hog=$VM_DIR/psi-hog
cc -O2 -Wall -pthread -o "$hog" tests/host/psi-hog.c

# hog SECONDS: in the background; its log is $VM_DIR/hog.log
hog()
{
	"$hog" "$1" "$CGROUP_PARENT" "$BUILD" >"$VM_DIR/hog.log" 2>&1 </dev/null &
	HOG_PID=$!
}

diag "cgroups are made in $CGROUP_PARENT${CGROUP_MOUNTED:+, mounted for that}"

max=$((80 << 20))

vm_job <<'JOB'
cgroup box 48M
swap_on /dev/vda
within box swaptest name=data mib=160 part=60 phases=fill,rverify,stop,rverify,stop &
pid=$!
steps $pid 2
wait $pid
JOB
VM_MEM=256M
VM_TMEM=max-size=$max,min-size=1M,pressure=$source
vm_start_curve "${TEST_LOGS:-build/test-logs}/e2e-real-pressure.curve"
vm_reach step1 120
used=$(vm_tmem bytes-used)
diag "limit $(vm_tmem limit) ($(vm_tmem limit-reason)), used $used, $(vm_qmp '{"execute":"query-tmem"}' |
	jq -c '.return[0].pressure')"
vm_limit_reason_is max || skip_all "the host was short of memory before: $(head -n 1 $source)"
cmp_ok "the store takes $((used >> 20)) MiB" "$used" -gt $((30 << 20))

# shellcheck disable=SC2317 # called by vm_poll
hog_gone()
{
	! kill -0 "$HOG_PID" 2>/dev/null
}

# shellcheck disable=SC2317 # called by vm_poll
fallen_or_hog_gone()
{
	vm_tmem_below limit $((used * 3 / 4)) || hog_gone
}

# It needs some seconds to write its file.
hog 10
fell=
vm_poll 30 fallen_or_hog_gone || :
! vm_tmem_below limit $((used * 3 / 4)) || fell=1
vm_poll 30 hog_gone || kill "$HOG_PID"
wait "$HOG_PID" || not_ok "the hog ends well" "$(tail -n 3 "$VM_DIR/hog.log")"
worst=$(awk '$2 ~ /^[0-9]+$/ && $2 > 200 { n++ } END { print n + 0 }' "$VM_DIR/hog.log")
diag "pressure above 20 % in $worst of $(grep -c '^[0-9]' "$VM_DIR/hog.log") quarters of a second"
low=$(vm_tmem limit)
if [ "$worst" -lt 20 ]; then
	skip "the limit falls" "the hog made no pressure to speak of"
	skip "the limit grows again" "it did not fall"
else
	is "the limit falls (to $((low >> 20)) MiB of $((used >> 20)))" "$fell" 1
	# Ours may not be the only pressure on this host: growth is what counts.
	if vm_poll 60 vm_tmem_above limit $((low + (4 << 20))); then
		ok "the limit grows again"
	else
		not_ok "the limit grows again" "$(tail -n 5 $source)" "$(vm_tmem limit) $(vm_tmem limit-reason)"
	fi
fi
vm_send go1
vm_reach step2 120
is "the store was asked for nothing that it had not" "$(vm_tmem misses)" 0
vm_send go2
vm_finish 60
vm_data_ok data
vm_end_curve
cmp_ok "the curve has points" "$(grep -vc '^#' "$VM_CURVE")" -gt 20
done_testing
