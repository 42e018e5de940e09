#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Invariant 2: a get that fails never falls through to the guest's disk, where an
# older page lies. The device is taken away while it holds pages: who touches one
# gets SIGBUS, nobody gets wrong data, and swapping goes on, to the disk.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
vm_setup

vm_job <<'JOB'
cgroup box 48M
swap_on /dev/vda
within box swaptest name=data mib=128 bus=count phases=fill,rverify,stop,rverify,verify &
pid=$!
stopped $pid
vm_vals held
mark step1
await go1
echo 1 >"/sys/bus/pci/devices/$(tmem_pci)/remove"
mark removed
await go2
kill -CONT $pid
wait $pid
mark judged
vm_vals before
within box swaptest name=disk mib=128 phases=fill,rverify
vm_vals after
JOB
VM_MEM=256M
VM_TMEM=max-size=128M
vm_start
vm_reach step1 90
held=$(vm_tmem pages)
cmp_ok "pages are held" "$held" -gt 15000
is "none is on the disk" "$(vm_get held.pswpout)" 0
vm_send go1
vm_reach removed 60
vm_send go2
vm_reach judged 120
# Two passes touch each lost page.
cmp_ok "lost pages are SIGBUS" "$(vm_get data.sigbus)" -gt 15000
is "no page is wrong" "$(vm_get data.bad)" 0
vm_finish 120
cmp_ok "swapping goes on, to the disk" \
	"$(($(vm_get after.pswpout) - $(vm_get before.pswpout)))" -gt 10000
vm_data_ok data disk
done_testing
