#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# frontswap has one backend. When zswap has it, virtio-tmem says so in one clear
# line and stays out of the way. (Invariant 1, for pages that zswap holds.)
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
vm_setup

vm_job <<'JOB'
cgroup box 48M
swap_on /dev/vda
within box swaptest name=zswap mib=96 phases=fill,rverify || fail zswap
val stored "$(cat /sys/kernel/debug/zswap/stored_pages)"
mark zswap
await go
echo 1 >/sys/module/virtio_tmem/parameters/frontswap
pci=$(tmem_pci)
echo 1 >"/sys/bus/pci/devices/$pci/remove"
echo 1 >/sys/bus/pci/rescan
sleep 1
tmem_pci >/dev/null
mark rescanned
within box swaptest name=still mib=96 phases=fill,rverify,stop &
pid=$!
steps $pid 1
wait $pid
JOB
VM_MEM=256M
VM_TMEM=max-size=128M
VM_APPEND="virtio_tmem.frontswap=0 zswap.enabled=1 zswap.max_pool_percent=40"
vm_start
vm_reach zswap 90
cmp_ok "zswap took pages" "$(grep -ac 'zswap: loaded' "$VM_DIR/console.log")" -eq 1
is "virtio-tmem took none" "$(vm_tmem puts)" 0
vm_send go
vm_reach step1 90
lines=$(grep -aE 'tmem.*zswap|tmem.*frontswap' "$VM_DIR/console.log" | grep -aiE 'already|taken|busy|another|register' || :)
is "one line says that frontswap is taken" "$(grep -c . <<<"$lines")" 1
diag "$lines"
is "virtio-tmem still takes none" "$(vm_tmem puts)" 0
vm_send go1
vm_finish 60
vm_data_ok zswap still
done_testing
