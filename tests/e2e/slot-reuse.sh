#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Invariants 2 and 4 where they are in most danger: a swap area that is nearly
# full, so that a slot is taken again within the time that its flush waits for
# company. A flush that comes late would take the new page.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
vm_setup

vm_job <<'JOB'
cgroup box 24M
swap_on /dev/vda
within box swaptest name=data mib=40 procs=2 repeat=4 \
	phases=fill,rewrite,rverify,drop,rewrite,verify || fail data
driver_vals end
JOB
VM_MEM=256M
VM_CPUS=2
VM_DISKS=28M
VM_TMEM=max-size=64M,num-queues=2
vm_start
vm_finish 120
vm_data_ok data
cmp_ok "slots were used again and again" "$(vm_sum 'end[.].*[.]puts_staged')" -gt 20000
done_testing
