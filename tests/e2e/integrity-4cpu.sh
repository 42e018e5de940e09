#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Invariants 1, 2 and 4: as integrity-1cpu.sh, with processes and threads on 4
# vCPUs that share keys, slots and queues: one queue for each vCPU, then 2 for
# all, so that vCPUs meet in a queue.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
vm_setup

VM_CPUS=4
VM_DISKS=1G
vm_job <<'JOB'
swap_on /dev/vda
swaptest name=threads mib=128 seed=1 threads=3 zero=4 same=3 part=40 repeat=2 \
	phases=fill,rverify,rewrite,verify,fork,drop,rverify &
a=$!
swaptest name=procs mib=192 seed=2 procs=3 zero=4 same=3 part=40 repeat=1 \
	phases=fill,rverify,rewrite,verify,fork,rverify &
b=$!
wait $a || fail threads
wait $b || fail procs
mark over
await end
JOB
total=0
for queues in 4 2; do
	VM_TMEM=max-size=40M,num-queues=$queues
	vm_start
	vm_reach over 300
	diag "$queues queues: $(vm_tmem puts) puts, $(vm_tmem rejected-puts) refused, $(vm_tmem gets) gets"
	cmp_ok "$queues queues: the store refused pages" "$(vm_tmem rejected-puts)" -gt 200
	cmp_ok "$queues queues: it gave pages" "$(vm_tmem gets)" -gt 20000
	is "$queues queues: it was asked for nothing that it had not" "$(vm_tmem misses)" 0
	is "$queues queues: no request was malformed" "$(vm_tmem invalid-requests)" 0
	vm_send end
	vm_finish 60
	vm_data_ok threads procs
	total=$((total + $(vm_get threads.verified) + $(vm_get procs.verified)))
done
cmp_ok "enough was verified: $total pages" "$total" -ge 1400000
done_testing
