#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# "Zero pages are never written" (design.md, the old argument): pages that repeat
# one word cost no request. Invariant 1: they come back right.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
vm_setup

vm_job <<'JOB'
cgroup box 32M
swap_on /dev/vda
for kind in zero same; do
	within box swaptest name=$kind mib=128 $kind=100 \
		phases=fill,verify,rewrite,rverify,stop &
	pid=$!
	stopped $pid
	driver_vals $kind
	vm_vals $kind
	mark $kind
	await go-$kind
	kill -CONT $pid
	wait $pid || fail $kind
done
JOB
VM_MEM=256M
VM_TMEM=max-size=128M
vm_start
vm_reach zero 120
cmp_ok "zero: tens of thousands of pages are swapped out" "$(vm_get zero.swap_used_kib)" -gt 80000
# A few are the program's own, not of its 128 MiB.
cmp_ok "zero: no put, but for a few pages of other content" "$(vm_tmem puts)" -le 200
cmp_ok "zero: no get either" "$(vm_tmem gets)" -le 200
cmp_ok "zero: nothing on the disk" "$(vm_get zero.pswpout)" -eq 0
puts=$(vm_tmem puts)
vm_send go-zero
vm_reach same 120
stores=$(vm_sum 'same[.].*[.]same_filled_stores')
# The driver keeps words of 63 bits; swaptest's are of 64, so half of them. The
# host knows the rest as same-filled, too.
cmp_ok "same: half are kept in the guest" "$(($(vm_tmem puts) - puts))" -le "$stores"
cmp_ok "same: the host keeps the rest as words" \
	"$(vm_tmem same-filled-pages)" -ge $(($(vm_tmem pages) - 200))
cmp_ok "same: nothing on the disk" "$(vm_get same.pswpout)" -eq 0
vm_send go-same
vm_finish 60
vm_data_ok zero same
done_testing
