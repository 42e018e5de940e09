#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Invariants 1 and 2 with huge pages: frontswap is shown a huge page as if it were
# its first 4 KiB, and taking it would lose the other 511 pages. So the kernel is
# to split it before, also on a disk on which it would swap it whole (one that
# does not rotate).
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
vm_setup

vm_job <<'JOB'
echo always >/sys/kernel/mm/transparent_hugepage/enabled
echo always >/sys/kernel/mm/transparent_hugepage/defrag
cgroup box 64M
for rotational in 1 0; do
	echo $rotational >/sys/block/vda/queue/rotational
	swap_on /dev/vda
	within box swaptest name=rotational$rotational mib=160 thp=1 \
		phases=fill,verify,rewrite,fork,rverify || fail $rotational
	val huge$rotational "$(sed -n 's/^thp_fault_alloc //p' /proc/vmstat)"
	vm_vals $rotational
	mark rotational$rotational
	await go$rotational
	swapoff /dev/vda
done
JOB
VM_MEM=384M
VM_TMEM=max-size=192M
vm_start
puts=0
huge=0
for r in 1 0; do
	vm_reach rotational$r 90
	cmp_ok "rotational=$r: there were huge pages" "$(vm_get huge$r)" -gt $((huge + 40))
	cmp_ok "rotational=$r: they were stored" "$(vm_tmem puts)" -gt $((puts + 20000))
	is "rotational=$r: none went to the disk" "$(vm_get $r.pswpout)" 0
	huge=$(vm_get huge$r)
	puts=$(vm_tmem puts)
	vm_send go$r
done
vm_finish 60
vm_data_ok rotational1 rotational0
done_testing
