#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# As writeback.sh, where pages go through frontswap: the host wants memory back, and
# the guest writes pages to the slots of its own swap disk. Time and again in the
# middle of a workload that reads, writes, frees and shares them.
#
# Environment: DROPS=<number> (10), for at most LONGEST=<seconds> (120)
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
vm_setup
: "${DROPS:=10}" "${LONGEST:=120}"

vm_job <<'JOB'
swap_on /dev/vda
swaptest name=held mib=288 part=100 phases=fill,stop,verify &
pid=$!
stopped $pid
vm_vals full
mark held
await go
kill -CONT $pid
wait $pid
driver_vals held

round=0
answer=again
while [ "$answer" = again ]; do
	round=$((round + 1))
	swaptest name=data$round seed=$round mib=192 procs=4 zero=4 same=3 part=40 \
		phases=fill,rverify,rewrite,verify,fork,drop,rverify || fail "data$round"
	mark round$round
	ask
done
driver_vals end
swapoff /dev/vda || fail swapoff
JOB
VM_CPUS=4
VM_TMEM=id=tmem,max-size=512M,num-queues=4
VM_DISKS="1G"
vm_start

# A limit of a quarter of what is held
vm_reach held 120
held=$(vm_tmem bytes-used)
pages=$(vm_tmem pages)
cmp_ok "the store holds much ($pages pages, $held bytes)" "$pages" -gt 25000
is "nothing is on the disk" "$(vm_get full.pswpout)" 0
begin=$(date +%s%N)
vm_set_size $((held / 4))
vm_poll 60 vm_tmem_below bytes-used $((held / 4 + 1)) || :
us=$((($(date +%s%N) - begin) / 1000))
cmp_ok "it got below the new limit" "$(vm_tmem bytes-used)" -le $((held / 4))
diag "below a quarter of the limit after $((us / 1000)) ms"
vm_send go

# A limit that moves all the time
round=1
drops=0
slow=0
answer=again
while vm_alive && ! vm_has '^@exit'; do
	vm_set_size $((16 << 20))
	sleep 0.5
	vm_set_size $((1600 << 10))
	vm_poll 30 vm_tmem_below bytes-used $(((1600 << 10) + 1)) || slow=$((slow + 1))
	drops=$((drops + 1))
	# A busy machine does not get that far in the time that a suite has.
	[ "$drops" -lt "$DROPS" ] && [ "$slow" -lt 5 ] && [ "$SECONDS" -lt "$LONGEST" ] || answer=enough
	if vm_has "^@mark round$round\$"; then
		# It must not end while it is talked to
		[ "$answer" = again ] || break
		vm_send again
		round=$((round + 1))
	fi
done
vm_set_size $((96 << 20))
vm_send enough
vm_finish 300
vm_data_ok held
is "no page of the others is bad" "$(vm_sum 'data[0-9]+[.]bad')$(grep -a '^@bad' "$VM_DIR/proto.log" || :)" 0
cmp_ok "each was looked at often" "$(vm_sum 'data[0-9]+[.]verified')" -gt 50000
diag "$(vm_sum 'data[0-9]+[.]verified') verifications in $round rounds, the limit was lowered $drops times"
cmp_ok "the limit was lowered several times" "$drops" -ge 5
is "each time the store got below it" "$slow" 0
cmp_ok "the guest wrote pages back for the first drop" "$(vm_get held.virtio1.written_back)" -gt 15000
cmp_ok "and more for the others" "$(vm_get end.virtio1.written_back)" -gt $(($(vm_get held.virtio1.written_back) + 5000))
cmp_ok "pages came from the disk that we wrote there" "$(vm_get end.virtio1.backing_reads)" -gt 5000
is "no page was lost" "$(vm_sum '(held|data[0-9]+)[.]sigbus')" 0
done_testing
