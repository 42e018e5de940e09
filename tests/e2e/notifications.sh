#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What a page costs in notifications, which are what KVM would pay for as exits:
# puts travel 32 at a time, gets in order bring what follows them, flushes go
# along or wait for each other.  Counts, not times: they hold on any machine.
# (design.md, "Targets of the fast path")
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
vm_setup

vm_job <<'JOB'
cgroup box 48M
swap_on /dev/vda
# A program that has it all written once, then read twice in order
within box swaptest name=data mib=192 phases=fill,stop,seq,seq,stop,rand,stop,rverify &
pid=$!
steps $pid 3
wait $pid
driver_vals end
mark finished
await off
JOB
VM_MEM=320M
VM_TMEM=max-size=160M,num-queues=1
vm_start

# count STEP: remembers the device's counters
declare -A seen
count()
{
	local field

	for field in notifications puts gets flushes; do
		seen[${1}_$field]=$(vm_tmem $field)
	done
}

# per_1000 FROM TO FIELD: notifications for 1000 of these
per_1000()
{
	echo $((1000 * (seen[${2}_notifications] - seen[${1}_notifications]) / (seen[${2}_$3] - seen[${1}_$3] + 1)))
}

vm_reach boot 60
count boot
vm_reach step1 120
count fill
diag "fill: $((seen[fill_notifications] - seen[boot_notifications])) notifications, $((seen[fill_puts] - seen[boot_puts])) puts, $((seen[fill_gets] - seen[boot_gets])) gets, $((seen[fill_flushes] - seen[boot_flushes])) flushes"
cmp_ok "pages were put" "${seen[fill_puts]}" -gt 20000
# Pages of the program itself may come back meanwhile: a get each.
puts=$((1000 * (seen[fill_notifications] - seen[boot_notifications] - seen[fill_gets]) /
	(seen[fill_puts] - seen[boot_puts] + 1)))
cmp_ok "notifications for 1000 puts" $puts -le 50
vm_send go1
vm_reach step2 120
count seq
cmp_ok "pages were got in order" $((seen[seq_gets] - seen[fill_gets])) -gt 40000
cmp_ok "notifications for 1000 gets in order" "$(per_1000 fill seq gets)" -le 150
vm_send go2
vm_reach step3 120
count rand
cmp_ok "pages were got at random" $((seen[rand_gets] - seen[seq_gets])) -gt 20000
cmp_ok "notifications for 1000 gets at random" "$(per_1000 seq rand gets)" -le 1010
vm_send go3
vm_reach finished 120
count end
flushes=$(vm_sum 'end[.].*[.]flush_requests')
cmp_ok "notifications for 1000 flushes, at most" \
	$((1000 * flushes / (seen[end_flushes] + 1))) -le 20
diag "puts $puts, gets in order $(per_1000 fill seq gets), at random $(per_1000 seq rand gets) notifications for 1000"
vm_send off
vm_finish 30
vm_data_ok data
done_testing
