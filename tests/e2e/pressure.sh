#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Invariants 1, 2 and 8: while the host is short of memory the store's limit
# falls, what it refuses goes to the guest's disk, what it holds stays right, and
# when the host is calm again the store gets its room back. The host's pressure
# is scripted; real-pressure.sh has real one.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
# shellcheck source=tests/lib/pressure.sh
. tests/lib/pressure.sh
vm_setup

max=$((80 << 20))
min=$((8 << 20))

vm_job <<'JOB'
cgroup box 48M
swap_on /dev/vda
within box swaptest name=data mib=160 part=60 \
	phases=fill,rverify,stop,rewrite,rverify,stop,verify,rewrite,stop,rewrite,rverify,stop &
pid=$!
steps $pid 4
wait $pid
driver_vals end
JOB
pressure_begin
VM_MEM=256M
VM_TMEM=max-size=$max,min-size=$min,pressure=$VM_DIR/pressure
vm_start_curve "${TEST_LOGS:-build/test-logs}/e2e-pressure.curve"
vm_reach step1 120
used=$(vm_tmem bytes-used)
is "calm: the limit is max-size" "$(vm_tmem limit) $(vm_tmem limit-reason)" "$max max"
is "calm: nothing is refused" "$(vm_tmem rejected-puts)" 0
cmp_ok "the store takes $((used >> 20)) MiB" "$used" -gt $((30 << 20))

pressure_set 60
start=${EPOCHREALTIME/[^0-9]/}
if vm_poll 5 vm_tmem_below limit "$used"; then
	ok "pressure: the limit falls below what is used"
	diag "seen after $(((${EPOCHREALTIME/[^0-9]/} - start) / 1000)) ms, it is to be less than 2000"
else
	not_ok "pressure: the limit falls below what is used"
fi
# The guest swaps while it falls, and while it is at its least.
vm_send go1
# shellcheck disable=SC2317 # called by vm_poll
is_least()
{
	seen=$(vm_qmp '{"execute":"query-tmem"}' | jq -r '.return[0] | "\(.limit) \(."limit-reason")"')
	[ "$seen" = "$min min" ]
}
vm_poll 20 is_least || :
is "it keeps falling, down to min-size" "$seen" "$min min"
vm_reach step2 120
cmp_ok "what the guest has put elsewhere since is given back" "$(vm_tmem bytes-used)" -lt $((used * 85 / 100))

pressure_set 0
vm_send go2
vm_reach step3 120
vm_poll 60 vm_limit_reason_is max || :
is "calm again: the limit is back at max-size" "$(vm_tmem limit) $(vm_tmem limit-reason)" "$max max"
rejected=$(vm_tmem rejected-puts)
puts=$(vm_tmem puts)
vm_send go3
vm_reach step4 120
is "nothing is refused any more" "$(vm_tmem rejected-puts)" "$rejected"
cmp_ok "pages are stored again" "$(vm_tmem puts)" -gt $((puts + 5000))
is "the store was asked for nothing that it had not" "$(vm_tmem misses)" 0
is "no request was malformed" "$(vm_tmem invalid-requests)" 0
vm_send go4
vm_finish 60
# By the store, or by the driver, which knows that it is full
cmp_ok "puts were refused" "$(vm_sum 'end[.].*[.]puts_rejected')" -gt 0
vm_data_ok data

vm_end_curve
cmp_ok "the curve has points" "$(grep -vc '^#' "$VM_CURVE")" -gt 60
events=$(curve_events | wc -l)
cmp_ok "events told of the limit" "$events" -gt 10
cmp_ok "at most one each second ($events in $(curve_seconds) s)" "$events" -le $(($(curve_seconds) + 2))
like "the last one of its end" "$(curve_events | tail -n 1)" "^$max max$"
done_testing
