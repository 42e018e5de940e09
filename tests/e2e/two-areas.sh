#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Invariants 1 and 2: a key is (pool, index): the same index of two swap areas
# names two pages. swapoff of one area leaves the other alone, in use as it is.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
vm_setup

vm_job <<'JOB'
cgroup rest 24M
cgroup busy 24M
swap_on /dev/vda 5
swap_on /dev/vdb 5
within rest swaptest name=rest mib=96 seed=1 phases=fill,rverify,stop,verify,rewrite,rverify &
rest=$!
within busy swaptest name=busy mib=64 seed=2 repeat=8 \
	phases=fill,rverify,rewrite,verify &
busy=$!
stopped $rest
mark step1
await go1
# Room for what comes back from vda, while "busy" goes on swapping.
echo max >/sys/fs/cgroup/rest/memory.max
swapoff /dev/vda || fail swapoff vda
mark off
await go2
kill -CONT $rest
wait $rest || fail rest
wait $busy || fail busy
swap_on /dev/vda 5
swapoff /dev/vdb || fail swapoff vdb
mark end
await go3
JOB
VM_CPUS=2
VM_MEM=320M
VM_DISKS="256M 256M"
VM_TMEM=max-size=128M,num-queues=2
vm_start
vm_reach step1 120
# Two sums are of one moment only if nothing moves
vm_qmp '{"execute":"stop"}' >/dev/null
info=$(vm_qmp '{"execute":"query-tmem"}')
vm_qmp '{"execute":"cont"}' >/dev/null
is "two areas are two pools" "$(jq '.return[0].pools | length' <<<"$info")" 2
cmp_ok "both hold pages" "$(jq '[.return[0].pools[].pages] | min' <<<"$info")" -gt 3000
is "their pages are the store's" "$(jq '.return[0] | ([.pools[].pages] | add) - .pages' <<<"$info")" 0
vm_send go1
vm_reach off 90
info=$(vm_qmp '{"execute":"query-tmem"}')
is "one pool is left" "$(jq '.return[0].pools | length' <<<"$info")" 1
cmp_ok "with pages in it" "$(jq '.return[0].pools[0].pages' <<<"$info")" -gt 1000
vm_send go2
vm_reach end 180
is "one pool for the area that came back" "$(vm_tmem_pools)" 1
is "nothing was asked for that was not there" "$(vm_tmem misses)" 0
vm_send go3
vm_finish 30
vm_data_ok rest busy
done_testing
