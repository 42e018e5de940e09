#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The patterns of the benchmark, with every byte looked at afterwards: what is read
# and what is written lies mixed, in one process and in several of different
# sizes.  And the times that swaptest tells make sense.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
vm_setup

vm_job <<'JOB'
swap_on /dev/vda
swaptest name=zipf mib=224 accesses=100 phases=fill,zipf,verify || fail zipf
swaptest name=mix mib=224 accesses=60 procs=4 sizes=uneven phases=fill,mix,verify || fail mix
JOB
VM_MEM=144M
VM_TMEM=max-size=256M,num-queues=1
vm_start
vm_finish 180
vm_data_ok zipf mix
for phase in zipf.zipf mix.mix; do
	pages=$(vm_get $phase.pages) longest=$(vm_get $phase.max) us=$(vm_get $phase.us)
	cmp_ok "$phase: some accesses fault" "$(vm_get $phase.faults)" -gt 2000
	cmp_ok "$phase: others do not" "$(vm_get $phase.faults)" -lt "$pages"
	cmp_ok "$phase: half of the faults take some time" "$(vm_get $phase.p50)" -gt 0
	cmp_ok "$phase: 99 % take as long or longer" "$(vm_get $phase.p99)" -ge "$(vm_get $phase.p50)"
	cmp_ok "$phase: and 99.9 %" "$(vm_get $phase.p999)" -ge "$(vm_get $phase.p99)"
	# The middle of its interval may be 3 % above the longest of all.
	cmp_ok "$phase: and the longest" $((${longest:-0} * 104 / 100)) -ge "$(vm_get $phase.p999)"
	# One worker's faults are not longer than the phase.
	cmp_ok "$phase: which is no longer than the phase" "$longest" -le $((${us:-0} * 1001))
done
done_testing
