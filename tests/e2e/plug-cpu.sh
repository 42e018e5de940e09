#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A processor that QEMU plugs into a guest that swaps: it swaps too, with the queues
# that there are, and no page is lost or stale (invariants 1 and 2).
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
vm_setup

vm_job <<'JOB'
cgroup box 48M
swap_on /dev/vda
within box swaptest name=data mib=128 phases=fill,stop,rverify,rewrite,rverify,drop,rewrite,verify &
pid=$!
stopped $pid
val before "$(grep -c ^processor /proc/cpuinfo)"
mark held
await plugged
kill -CONT $pid
n=0
while [ ! -e /sys/devices/system/cpu/cpu1 ] && [ $n -lt 600 ]; do
	usleep 100000
	n=$((n + 1))
done
# In the middle of it
usleep 500000
echo 1 >/sys/devices/system/cpu/cpu1/online || fail "cpu1 online"
# The faults of what runs on the new processor alone
within box taskset 2 swaptest name=second mib=96 phases=fill,rverify,rewrite,verify || fail second
wait $pid || fail data
val after "$(grep -c ^processor /proc/cpuinfo)"
val busy "$(awk '$1 == "cpu1" { print $2 + $4 }' /proc/stat)"
swapoff /dev/vda || fail swapoff
JOB
VM_CPUS=1,maxcpus=2
VM_TMEM=id=tmem,max-size=256M,num-queues=2
vm_start
vm_reach held 120
cmp_ok "the host holds pages" "$(vm_tmem pages)" -gt 10000
is "there is one processor" "$(vm_get before)" 1
cpu=$(vm_qmp '{"execute": "query-hotpluggable-cpus"}' | jq -c '.return[] | select(has("qom-path") | not) |
	{execute: "device_add", arguments: ({id: "cpu1", driver: .type} + .props)}')
is "another is plugged in" "$(vm_qmp "$cpu" | jq -r '.error.desc // "done"')" 'done'
vm_send plugged
vm_finish 300
is "there are two processors" "$(vm_get after)" 2
cmp_ok "the second one works (ticks)" "$(vm_get busy)" -gt 100
cmp_ok "and swaps: faults of who runs there alone" "$(vm_get second.rverify.faults)" -gt 5000
is "no request was malformed" "$(grep -a -c 'virtio-tmem: ' "$VM_DIR/qemu.log")" 0
vm_data_ok data second
done_testing
