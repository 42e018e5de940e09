#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Invariant 1, for each way in which the store can keep a page: zstd, nothing at
# all, and lz4 in huge pages that are locked in memory.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
vm_setup

vm_job <<'JOB'
cgroup box 24M
swap_on /dev/vda
within box swaptest name=data mib=72 zero=3 same=3 part=50 \
	phases=fill,rverify,rewrite,rverify,stop &
pid=$!
steps $pid 1
wait $pid
JOB
VM_MEM=128M
VM_DISKS=256M

# run NAME OPTIONS: sets pages, raw, zstd, stored, and leaves the guest waiting
run()
{
	diag "$1: $2"
	VM_TMEM=$2
	vm_start
	vm_reach step1 60
	# In one answer: the guest may still be sending
	read -r pages raw zstd same stored < <(vm_qmp '{"execute":"query-tmem"}' | jq -r '.return[0] |
		"\(.pages) \(."raw-pages") \(."zstd-pages") \(."same-filled-pages") \(."bytes-stored")"')
	cmp_ok "$1: the store holds $pages pages" "$pages" -gt 8000
	is "$1: none was refused" "$(vm_tmem rejected-puts)" 0
}

finish()
{
	vm_send go1
	vm_finish 30
	vm_data_ok data
}

run zstd max-size=96M,compression=zstd,compression-level=2
cmp_ok "zstd compressed most of them" "$zstd" -gt $((pages * 8 / 10))
cmp_ok "to less than half" "$stored" -lt $((pages * 4096 / 2))
finish

run none max-size=96M,compression=none
is "every page is raw or same-filled" $((raw + same)) "$pages"
cmp_ok "and takes a page" "$stored" -ge $((raw * 4096))
finish

ram=$(awk '/^MemTotal:/ { print $2 }' /proc/meminfo)
if [ "$ram" -lt $((2 << 20)) ]; then
	skip "lz4 in locked huge pages" "the host has only $((ram >> 10)) MiB"
	done_testing
fi
VM_TMEM=max-size=1G,lock-memory=on,hugepages=on
vm_start
vm_poll 5 test -S "$VM_DIR/qmp.sock" || :
sleep 1
if ! vm_alive && grep -qi 'lock' "$VM_DIR/qemu.log"; then
	skip "lz4 in locked huge pages" "$(tail -n 1 "$VM_DIR/qemu.log")"
else
	run "huge and locked" "$VM_TMEM"
	is "zstd was not asked for" "$zstd" 0
	cmp_ok "lz4 compressed most of them" "$raw" -lt $((pages / 10))
	cmp_ok "memory is locked" "$(awk '/^Locked:/ { s += $2 } END { print s + 0 }' "/proc/$VM_PID/smaps")" \
		-ge $((stored / 1024))
	finish
fi
done_testing
