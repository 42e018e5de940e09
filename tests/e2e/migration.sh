#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Invariants 1 and 2 across live migrations: a guest that swaps goes back and
# forth between QEMUs that differ in their stores and in who serves them, is
# cancelled, is refused by one that is too small, and no page is lost or stale.
# Then how long it stands still, beside the same guest without the device.
#
# Environment: MIGRATIONS=<number> (6), DOWNTIME_LIMIT=<ms>. Downtime counts with 50
# or more of them, on a machine with nothing else to do; it is shown in any case. QEMU
# stops the guest as soon as the limit is what the rest would take, and who swaps
# faster uses more of a long one: then it is 100 ms, else QEMU's own 300, as a busy
# machine may not get there sooner.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
# shellcheck source=tests/lib/migrate.sh
. tests/lib/migrate.sh
vm_setup

migrations=${MIGRATIONS:-6}
limit=${DOWNTIME_LIMIT:-$((migrations < 50 ? 300 : 100))}
VM_MIGRATE_PARAMETERS="{\"max-bandwidth\": 1073741824, \"downtime-limit\": $limit}"

vm_job <<'JOB'
swap_on /dev/vda
work()
{
	n=0
	until [ -f /stop ]; do
		swaptest name=data mib=224 procs=2 seed=$n zero=4 same=3 part=40 \
			phases=fill,rverify,rewrite,verify,fork,drop,rverify || fail swaptest
		n=$((n + 1))
		val rounds $n
	done
}
work &
pid=$!
mark ready
await stop
: >/stop
wait $pid || fail work
JOB
VM_CPUS=2
# The last one may fill up with pages that are not compressed, which the first has to take
# shellcheck disable=SC2054 # commas of QEMU options
stores=(max-size=320M,num-queues=2 max-size=352M,num-queues=2,compression=zstd,ioeventfd=on
	max-size=384M,num-queues=2,compression=none,ioeventfd=on,iothread=io0)

# travel: move the guest so many times; downtimes go to the array "down"
travel()
{
	local n

	down=() moved=0
	for ((n = 1; n <= migrations; n++)); do
		sleep 1
		if [ -n "$VM_TMEM" ]; then
			moved=$((moved + $(vm_tmem pages)))
			VM_TMEM=${stores[n % ${#stores[@]}]}
		fi
		vm_migrate 120
		down+=("$VM_DOWNTIME")
		! vm_has '^@([^ ]*\.error|bad|exit) ' || bail "the guest works after $n migrations"
	done
}

median()
{
	printf '%s\n' "$@" | sort -n | sed -n "$((($# + 1) / 2))p"
}

finish()
{
	vm_send stop
	vm_finish 180
	is "$1: no bad page" "$(grep -c '^@bad ' "$VM_DIR/proto.log")" 0
	verified=$(awk '$1 == "@data.verified" { sum += $2 } END { print sum + 0 }' "$VM_DIR/proto.log")
	cmp_ok "$1: $verified page verifications in $(vm_get rounds) rounds" "$verified" -gt 100000
}

VM_TMEM=${stores[0]}
vm_start
vm_reach ready 60
vm_poll 60 vm_tmem_above pages 10000 || :
cmp_ok "the store holds pages" "$(vm_tmem pages)" -gt 5000

# ---- What does not come to its end ----

held=$(vm_tmem puts)
VM_TMEM=max-size=2M,num-queues=2
vm_incoming
vm_migrate_begin
vm_migrate_end 60
is "a store that is too small refuses" "$VM_MIGRATED" failed
like "and says why" "$(cat "$VM_DIR/qemu.log")" "virtio-tmem: the page store .* may take [0-9]+ bytes"
is "the guest did not stop for that" "$VM_DOWNTIME" 0
vm_peer_drop
VM_TMEM=${stores[1]}
for n in 1 2 3; do
	vm_incoming
	VM_MIGRATE_PARAMETERS='{"max-bandwidth": 16777216}' vm_migrate_begin
	sleep "$n"
	vm_qmp '{"execute": "migrate_cancel"}' >/dev/null
	vm_migrate_end 60
	# QEMU 10.0 may take the end of its own socket for a failure first.
	like "migration $n is cancelled" "$VM_MIGRATED" "^(cancelled|failed)$"
	vm_peer_drop
done
cmp_ok "the guest goes on" "$(vm_tmem puts)" -gt "$held"

# ---- Back and forth ----

travel
is "the guest has migrated $migrations times" "${#down[@]}" "$migrations"
cmp_ok "$moved pages of the store came along" "$moved" -gt $((migrations * 3000))

# ---- Postcopy: RAM follows, the store has gone before ----

postcopy='return-path postcopy-ram'
if [ -n "$(vm_qmp "$(VM_MIGRATE_CAPABILITIES=$postcopy vm_migrate_capabilities)" | jq -r .error.desc//empty)" ]; then
	skip "the guest migrates with postcopy" "the host has none"
else
	VM_MIGRATE_CAPABILITIES=$postcopy
	VM_TMEM=${stores[0]}
	vm_incoming
	VM_MIGRATE_PARAMETERS='{"max-bandwidth": 33554432}' vm_migrate_begin
	vm_qmp '{"execute": "migrate-start-postcopy"}' >/dev/null
	vm_migrate_end 120
	is "the guest migrates with postcopy" "$VM_MIGRATED" completed
	cmp_ok "it was there before its RAM was" "$(jq -r '.return.ram["postcopy-requests"]' <<<"$VM_MIGRATION")" -gt 0
	vm_peer_take
	VM_MIGRATE_CAPABILITIES=return-path
fi
is "no request was malformed" "$(vm_tmem invalid-requests)" 0
is "the last store was asked for nothing that it had not" "$(vm_tmem misses)" 0
finish "with virtio-tmem"
with=$(median "${down[@]}")
diag "downtime with virtio-tmem, limit $limit ms: median $with; ${down[*]}"

# ---- Full stores: puts are refused, and the guest's disk has the rest ----

count=$migrations
# shellcheck disable=SC2054 # commas of QEMU options
stores=(max-size=40M,num-queues=2 max-size=40M,num-queues=2,ioeventfd=on)
VM_TMEM=${stores[0]}
vm_start
vm_reach ready 60
vm_poll 60 vm_tmem_above rejected-puts 1000 || :
cmp_ok "a full store refuses pages" "$(vm_tmem rejected-puts)" -gt 1000
migrations=4
travel
cmp_ok "$moved pages came along" "$moved" -gt 20000
finish "with full stores"
migrations=$count

# ---- Without the device ----

VM_TMEM=
vm_start
vm_reach ready 60
sleep 5
travel
finish "without"
without=$(median "${down[@]}")
diag "downtime without, limit $limit ms: median $without; ${down[*]}"
if [ "$migrations" -ge 50 ]; then
	cmp_ok "downtime with virtio-tmem ($with ms) is like that without ($without ms)" \
		"$with" -le $((without * 120 / 100 + 20))
fi
done_testing
