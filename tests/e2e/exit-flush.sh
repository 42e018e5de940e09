#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Invariant 8, from end to end: pages of processes that are gone are gone from
# the host, every one of them, and the counts agree exactly.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
vm_setup

vm_job <<'JOB'
cgroup box 48M
swap_on /dev/vda
within box swaptest name=forks mib=128 procs=4 phases=fill,fork,stop &
pid=$!
steps $pid 1
wait $pid
mark exited
await next
# Killed, not ended: the kernel frees all at once.
within box swaptest name=killed mib=160 procs=2 phases=fill,rverify,stop &
pid=$!
stopped $pid
mark full
await kill
kill -9 $pid
wait $pid
mark killed
await off
swapoff /dev/vda
driver_vals end
mark off
await end
JOB
VM_CPUS=2
VM_MEM=256M
VM_TMEM=max-size=160M,num-queues=2
# shellcheck disable=SC2317 # called by vm_poll
has_memory_back()
{
	[ "$(vm_store_kib)" -le 4096 ]
}

vm_start
vm_reach step1 180
cmp_ok "pages of 4 processes are held" "$(vm_tmem pages)" -gt 10000
vm_send go1
vm_reach exited 60
# The kernel keeps up to 64 freed slots of each CPU to itself, until swapoff.
vm_poll 5 vm_tmem_below pages 129 || :
cmp_ok "after exit of forked processes they are gone" "$(vm_tmem pages)" -le 128
vm_send next
vm_reach full 120
cmp_ok "pages of the next process are held" "$(vm_tmem pages)" -gt 15000
cmp_ok "in memory of the host" "$(vm_store_kib)" -gt 20000
vm_send kill
vm_reach killed 60
vm_poll 5 vm_tmem_below pages 129 || :
cmp_ok "after kill -9 they are gone" "$(vm_tmem pages)" -le 128
# What is left over may lie in as many blocks, until they are compacted
vm_poll 5 has_memory_back || :
cmp_ok "the host has its memory back" "$(vm_store_kib)" -le 4096
vm_send off
vm_reach off 60
vm_tmem_wait pages 0 5 || :
info=$(vm_qmp '{"execute":"query-tmem"}')
is "after swapoff nothing is left" "$(jq '.return[0].pages' <<<"$info")" 0
# What is put twice without a flush between (the driver saves a flush that a put
# of the same key follows at once) is removed only once.
replaced=$(jq '.return[0] | .puts - .flushes' <<<"$info")
cmp_ok "every page that was put was removed" "$replaced" -ge 0
cmp_ok "or replaced by a put, which is rare ($replaced)" "$replaced" -le \
	"$(jq '.return[0].puts / 50 | floor' <<<"$info")"
# The driver serves gets from what it has staged or read ahead.
is "host and driver agree: gets" "$(jq '.return[0].gets' <<<"$info")" \
	$(($(vm_sum 'end[.].*[.]gets') + $(vm_sum 'end[.].*[.]ahead') -
		$(vm_sum 'end[.].*[.]ahead_hits') - $(vm_sum 'end[.].*[.]staged_loads')))
for pair in puts:puts rejected-puts:puts_rejected requests:requests \
	notifications:notifications; do
	is "host and driver agree: ${pair%:*}" "$(jq ".return[0].\"${pair%:*}\"" <<<"$info")" \
		"$(vm_sum "end[.].*[.]${pair#*:}")"
done
diag "$(jq -r '.return[0] | "\(.puts) puts, \(.flushes) flushes"' <<<"$info")"
vm_send end
vm_finish 30
vm_data_ok forks
done_testing
