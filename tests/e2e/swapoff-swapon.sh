#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Invariant 1: swapoff brings every page back. Invariant 8: it leaves no pool and
# no memory behind. And the next swapon begins anew.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
vm_setup

vm_job <<'JOB'
cgroup box 48M
swap_on /dev/vda
within box swaptest name=data mib=160 zero=5 same=5 \
	phases=fill,rverify,stop,verify,stop,rewrite,rverify &
pid=$!
stopped $pid
mark step1
await go1
# It all fits now.
echo max >/sys/fs/cgroup/box/memory.max
swapoff /dev/vda || fail swapoff
mark off
await go2
kill -CONT $pid
stopped $pid
swap_on /dev/vda
echo 48M >/sys/fs/cgroup/box/memory.max
mark step2
await go3
kill -CONT $pid
wait $pid
swapoff /dev/vda || fail swapoff
mark off2
await go4
JOB
VM_MEM=320M
VM_TMEM=max-size=128M
vm_start
vm_reach step1 120
is "a swap area is a pool" "$(vm_tmem_pools)" 1
cmp_ok "with pages" "$(vm_tmem pages)" -gt 15000
puts=$(vm_tmem puts)
vm_send go1
vm_reach off 60
vm_tmem_wait pages 0 5 || :
is "after swapoff there is no pool" "$(vm_tmem_pools)" 0
is "and no page" "$(vm_tmem pages)" 0
cmp_ok "and no memory in use" "$(vm_tmem bytes-used)" -le $((1 << 20))
vm_send go2
vm_reach step2 60
is "after swapon there is a pool" "$(vm_tmem_pools)" 1
cmp_ok "which takes pages" "$(vm_tmem puts)" -gt $((puts + 15000))
vm_send go3
vm_reach off2 120
is "and goes again" "$(vm_tmem_pools)" 0
vm_send go4
vm_finish 30
vm_data_ok data
done_testing
