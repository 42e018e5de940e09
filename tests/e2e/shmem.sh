#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Invariants 1 and 2 for tmpfs pages, which take another way through the kernel:
# swapped out, read back, punched out, shared by two processes.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
vm_setup

vm_job <<'JOB'
cgroup box 48M
swap_on /dev/vda
within box swaptest name=shm mib=128 map=shm zero=5 same=5 \
	phases=fill,rverify,rewrite,verify,drop,fork,rverify,stop &
pid=$!
steps $pid 1
wait $pid
JOB
VM_MEM=256M
VM_CPUS=2
# Too small: some are refused.
VM_TMEM=max-size=24M,num-queues=2
vm_start
vm_reach step1 150
cmp_ok "tmpfs pages were stored" "$(vm_tmem puts)" -gt 10000
cmp_ok "and read back" "$(vm_tmem gets)" -gt 10000
cmp_ok "some were refused" "$(vm_tmem rejected-puts)" -gt 100
vm_send go1
vm_finish 60
vm_data_ok shm
done_testing
