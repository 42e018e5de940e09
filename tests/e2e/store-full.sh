#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Invariants 2 and 8: a full store refuses, what it refuses is right on the
# guest's disk, and what is flushed makes room again.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
vm_setup

vm_job <<'JOB'
cgroup box 48M
swap_on /dev/vda
within box swaptest name=data mib=192 part=100 \
	phases=fill,verify,stop,drop,stop,rewrite,rverify,stop &
pid=$!
steps $pid 3
wait $pid
vm_vals end
JOB
VM_MEM=256M
VM_TMEM=max-size=16M
vm_start
vm_reach step1 120
full=$(vm_tmem pages)
puts=$(vm_tmem puts)
rejected=$(vm_tmem rejected-puts)
used=$(vm_tmem bytes-used)
limit=$(vm_tmem limit)
is "the limit is what was asked for" "$limit" $((16 << 20))
cmp_ok "the full store refuses ($rejected)" "$rejected" -gt 20
cmp_ok "it holds what fits ($full pages)" "$full" -gt 8000
cmp_ok "it takes no more than the limit" "$used" -le "$limit"
cmp_ok "it makes use of the limit" "$used" -ge $((limit * 8 / 10))

vm_send go1
vm_reach step2 60
# The kernel keeps up to 64 freed slots of each CPU to itself.
vm_poll 5 vm_tmem_below pages 65 || :
cmp_ok "flushed pages are gone" "$(vm_tmem pages)" -le 64
cmp_ok "so is their memory" "$(vm_tmem bytes-used)" -le $((limit / 4))

vm_send go2
vm_reach step3 120
cmp_ok "there is room again" "$(vm_tmem puts)" -ge $((puts + full * 8 / 10))
cmp_ok "as many pages as before are held" "$(vm_tmem pages)" -ge $((full * 8 / 10))
vm_send go3
vm_finish 60
cmp_ok "refused pages went to the disk" "$(vm_get end.pswpout)" -ge "$rejected"
vm_data_ok data
done_testing
