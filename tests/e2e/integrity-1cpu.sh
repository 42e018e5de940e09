#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Invariants 1 and 2: what was put is got until it is put again or flushed, and
# never anything older. Two processes on one vCPU; the store is too small for
# them, so that pages go to the store or to the disk as it happens.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
vm_setup

vm_job <<'JOB'
swap_on /dev/vda
swaptest name=data mib=320 procs=2 zero=4 same=3 part=40 repeat=2 \
	phases=fill,rverify,rewrite,verify,fork,drop,rverify,stop &
pid=$!
steps $pid 2
wait $pid
JOB
VM_TMEM=max-size=40M,num-queues=1
VM_DISKS=1G
vm_start
vm_reach step1 240
cmp_ok "the store held pages in the middle" "$(vm_tmem pages)" -gt 5000
cmp_ok "it refused pages in the middle" "$(vm_tmem rejected-puts)" -gt 100
vm_send go1
vm_reach step2 240
rejected=$(vm_tmem rejected-puts)
gets=$(vm_tmem gets)
cmp_ok "it refused $rejected pages" "$rejected" -gt 200
cmp_ok "it gave $gets pages" "$gets" -gt 50000
is "it was asked for nothing that it had not" "$(vm_tmem misses)" 0
is "no request was malformed" "$(vm_tmem invalid-requests)" 0
cmp_ok "it stays within its limit" "$(vm_tmem bytes-used)" -le "$(vm_tmem limit)"
vm_send go2
vm_finish 60
vm_data_ok data
cmp_ok "enough was verified" "$(vm_get data.verified)" -ge 650000
done_testing
