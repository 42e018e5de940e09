#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Invariants 1 and 2 across savevm and loadvm: a guest that swaps goes back to
# what it was, and so does the store: in the same QEMU, whose store has changed
# since, and in a new one with another store.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
vm_setup

disk=$VM_DIR/disk.qcow2
VM_CPUS=2
VM_DISKS=
# A file system's snapshot is that of all disks: this one can have them
with_disk=(
	-blockdev "driver=qcow2,node-name=disk0,file.driver=file,file.filename=$disk"
	-device "virtio-blk-pci,drive=disk0"
)

vm_job <<'JOB'
swap_on /dev/vda
work()
{
	n=0
	until [ -f /stop ]; do
		swaptest name=data mib=224 procs=2 seed=$n zero=4 same=3 part=40 \
			phases=fill,rverify,rewrite,verify,drop,rverify || fail swaptest
		n=$((n + 1))
	done
}
work &
pid=$!
mark ready
await stop
: >/stop
wait $pid || fail work
JOB

# shellcheck disable=SC2317 # vm_poll calls it
job_concluded()
{
	[ "$(vm_qmp '{"execute": "query-jobs"}' | jq -r '.return[0].status')" = concluded ]
}

# make_disk: QEMU itself makes it
make_disk()
{
	: >"$disk"
	VM_SOCK=$VM_DIR/make.sock
	"$QEMU" -M none -nodefaults -display none -qmp "unix:$VM_SOCK,server=on,wait=off" \
		-blockdev "driver=file,node-name=file,filename=$disk" </dev/null &
	VM_PID=$!
	vm_poll 20 test -S "$VM_SOCK" || bail "QEMU starts"
	vm_qmp '{"execute": "blockdev-create", "arguments": {"job-id": "make", "options":
		{"driver": "qcow2", "file": "file", "size": 805306368}}}' >/dev/null
	vm_poll 20 job_concluded || bail "QEMU makes a qcow2 disk"
	vm_qmp '{"execute": "job-dismiss", "arguments": {"id": "make"}}' >/dev/null
	vm_stop
}

# held: what the store holds, while nothing runs
held()
{
	echo "$(vm_tmem pages) pages, $(vm_tmem bytes-stored) bytes, $(vm_tmem_pools) pools"
}

finish()
{
	vm_send stop
	vm_finish 180
	is "$1: no bad page" "$(grep -c '^@bad ' "$VM_DIR/proto.log")" 0
	cmp_ok "$1: $(vm_get data.verified) page verifications" "$(vm_get data.verified)" -gt 50000
}

make_disk
VM_TMEM=max-size=192M,num-queues=2
vm_start "${with_disk[@]}"
vm_reach ready 60
vm_poll 60 vm_tmem_above pages 10000 || :
vm_qmp '{"execute": "stop"}' >/dev/null
saved=$(held)
cmp_ok "the store holds pages" "$(vm_tmem pages)" -gt 5000
is "savevm succeeds" "$(vm_hmp 'savevm one')" ""
vm_qmp '{"execute": "cont"}' >/dev/null
for n in 1 2; do
	sleep $((n * 4))
	vm_qmp '{"execute": "stop"}' >/dev/null
	now=$(held)
	if [ "$now" != "$saved" ]; then ok "$n: the store has changed"; else
		not_ok "$n: the store has changed" "$now"
	fi
	is "$n: loadvm succeeds" "$(vm_hmp 'loadvm one')" ""
	is "$n: the store is as it was" "$(held)" "$saved"
	vm_qmp '{"execute": "cont"}' >/dev/null
done
finish "the same QEMU"

VM_TMEM=max-size=300M,num-queues=2,compression=none
vm_start "${with_disk[@]}" -loadvm one
finish "a new QEMU"

VM_TMEM=max-size=2M,num-queues=2
vm_start "${with_disk[@]}" -loadvm one
vm_poll 20 vm_gone || :
like "a store that is too small says so" "$(cat "$VM_DIR/qemu.log")" \
	"virtio-tmem: the page store .* may take [0-9]+ bytes"
done_testing
