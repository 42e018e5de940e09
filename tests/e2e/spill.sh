#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Invariants 1, 2 and 8: with a node to spill to, the store is below a limit that
# falls to a quarter of what it holds, in large writes, and every page is right,
# also while the limit moves all the time. A QEMU that is killed leaves nothing
# behind: the next one uses the same file, whatever is in it.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
vm_setup

max=$((320 << 20))

below_limit()
{
	vm_qmp '{"execute":"query-tmem"}' |
		jq -e '.return[0] | ."bytes-used" <= .limit' > /dev/null
}

# vm_spill FIELD: of query-tmem
vm_spill()
{
	vm_qmp '{"execute":"query-tmem"}' | jq -r --arg f "$1" '.return[0].spill[$f]'
}

# In memory: a disk that stands still for 2 seconds has failed, and the guest is asked
mkdir "$VM_SHM/spill"
spill=$VM_SHM/spill/file
truncate -s 1G "$spill"
node=(-blockdev "driver=file,node-name=spill,filename=$spill,discard=unmap")

vm_job <<'JOB'
cgroup box 48M
swap_on /dev/vda
within box swaptest name=data mib=304 procs=2 random=100 part=100 \
	phases=fill,stop,verify,stop,rewrite,rverify,stop &
pid=$!
steps $pid 3
wait $pid
JOB
VM_MEM=256M
# Two queues: requests are served without the big lock.
VM_CPUS=2
VM_TMEM=id=tmem0,max-size=$max,num-queues=2,spill=spill
vm_start "${node[@]}"
vm_reach step1 200
used=$(vm_tmem bytes-used)
cmp_ok "the store holds $((used >> 20)) MiB" "$used" -ge $((240 << 20))

start=${EPOCHREALTIME/[^0-9]/}
vm_set_size $((used / 4)) tmem0
vm_poll 10 below_limit || :
took=$(((${EPOCHREALTIME/[^0-9]/} - start) / 1000))
is "the limit falls to a quarter: the store is below it" "$(below_limit && echo yes)" yes
diag "after $took ms; 2000 at most on an idle machine"
cmp_ok "a write is 256 KiB or more on average" "$(vm_spill average-write)" -ge $((256 << 10))
like "the guest is asked for nothing" "$(vm_tmem target-pages)" "^922337203685477"
diag "spilled: $(vm_spill pages) pages, $(($(vm_spill bytes-stored) >> 20)) MiB"

# In order, each read brings neighbours: a request a page would take three times as many.
reads=$(vm_spill reads)
hits=$(vm_spill read-hits)
vm_send go1
vm_reach step2 300
reads=$(($(vm_spill reads) - reads))
hits=$(($(vm_spill read-hits) - hits))
cmp_ok "$hits pages came along with $reads others" "$hits" -gt $((reads * 2))

# The limit moves to and fro, by all that there is.
vm_send go2
n=0
until vm_has_or_dead '^@mark step3$' || [ $n -ge 600 ]; do
	vm_set_size $((((RANDOM % 19) * 16 + 16) << 20)) tmem0
	n=$((n + 1))
	sleep 0.3
done
vm_reach step3 300
diag "the limit has moved $n times; $(vm_hmp 'info tmem' | grep -E 'spill|given')"
is "no page of the node was bad" "$(vm_spill bad-pages) $(vm_spill read-errors)" '0 0'
is "the store was asked for nothing that it had not" "$(vm_tmem misses)" 0
vm_send go3
vm_finish 100
vm_data_ok data

# Killed in the middle of it
vm_start "${node[@]}"
vm_reach step1 200
vm_set_size $((64 << 20)) tmem0
# shellcheck disable=SC2317 # called by vm_poll
is_written()
{
	[ "$(vm_spill writes)" -gt 0 ]
}
vm_poll 10 is_written || :
vm_stop
is "a killed QEMU leaves no process" "$(jobs -rp)" ''
cmp_ok "and a file that is not empty" "$(du -k "$spill" | cut -f1)" -gt 0
vm_job <<'JOB'
cgroup box 32M
swap_on /dev/vda
within box swaptest name=again mib=96 random=100 phases=fill,stop,verify,verify &
pid=$!
steps $pid 1
wait $pid
JOB
vm_start "${node[@]}"
vm_reach step1 200
vm_set_size $((16 << 20)) tmem0
vm_poll 30 below_limit || :
cmp_ok "the next one spills to the same file" "$(vm_spill pages)" -gt 1000
vm_send go1
vm_finish 200
vm_data_ok again
done_testing
