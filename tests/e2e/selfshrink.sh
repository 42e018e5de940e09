#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A guest that has memory to spare again pulls its pages in from the host, if it is
# told to, and only then. A memory cgroup that is full keeps its pages there.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
vm_setup

vm_job <<'JOB'
cgroup full 16M
cgroup box 16M
shrink=/sys/module/virtio_tmem/parameters/selfshrink
swap_on /dev/vda
within full swaptest name=full mib=32 phases=fill,stop,rverify &
full=$!
stopped $full
within box swaptest name=data mib=48 phases=fill,stop,verify,rewrite,rverify &
pid=$!
stopped $pid
echo 128M >/sys/fs/cgroup/box/memory.max
mark held
await on
echo 101 2>/dev/null >$shrink && fail "selfshrink=101"
echo 20 >$shrink || fail "selfshrink=20"
await off
driver_vals pulled
vm_vals pulled
echo 0 >$shrink
kill -CONT $full $pid
wait $full && wait $pid
driver_vals end
swapoff /dev/vda || fail swapoff
JOB
VM_MEM=256M
VM_CPUS=2
VM_TMEM=max-size=128M,num-queues=2
vm_start
vm_reach held 90
held=$(vm_tmem pages)
cmp_ok "the host holds pages of both ($held)" "$held" -gt 10000
sleep 3
# Staged pages may still come
cmp_ok "off, nothing is pulled in" "$(vm_tmem pages)" -ge "$held"
vm_send on
# What stays is that of the full group.
vm_poll 90 vm_tmem_below pages 6000 || :
left=$(vm_tmem pages)
cmp_ok "pages are pulled in" "$left" -lt 6000
cmp_ok "but not those of a group that has no room" "$left" -gt 3000
vm_send off
vm_finish 90
diag "$(vm_get pulled.virtio1.pulled_in) pages were pulled in, $left are left"
cmp_ok "the driver has counted them" "$(vm_get pulled.virtio1.pulled_in)" -gt 4000
is "none was reclaimed for it to the disk" "$(vm_get pulled.pswpout)" 0
vm_data_ok full data
done_testing
