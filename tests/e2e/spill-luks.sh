#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What virtio-tmem.rst says of encryption: pages are spilled to a luks node of
# QEMU's, and come back; on the file there is nothing of the guest to be read.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
: "${QEMU_IMG:=$BUILD/qemu/qemu-img}"
[ -x "$QEMU_IMG" ] || skip_all "$QEMU_IMG is not there"
vm_setup

vm_spill()
{
	vm_qmp '{"execute":"query-tmem"}' | jq -r --arg f "$1" '.return[0].spill[$f]'
}

# guest NODE...: fills, has most of it spilled, and reads it back
guest()
{
	vm_job <<-'JOB'
		cgroup box 24M
		swap_on /dev/vda
		within box swaptest name=data mib=96 random=100 phases=fill,stop,verify &
		pid=$!
		steps $pid 1
		wait $pid
	JOB
	VM_MEM=224M
	# However slow the disk, pages go nowhere else
	VM_TMEM=id=tmem0,max-size=128M,spill=spill,target=off
	vm_start "$@"
	vm_reach step1 200
	vm_set_size 25165824 tmem0
	vm_poll 40 vm_tmem_below bytes-used 25165825 || :
	cmp_ok "pages are spilled" "$(vm_spill pages)" -gt 8000
	vm_send go1
	vm_finish 200
	vm_data_ok data
}

# swaptest writes 5a01, a version and the number of the page at the head of each page:
# how many heads a file has.
heads_in()
{
	LC_ALL=C grep -aoP "\x00\x00\x00\x01\x01\x5a" "$1" | wc -l
}

head -c 32 /dev/urandom | base64 > "$VM_DIR/key"
secret=secret,id=key,file=$VM_DIR/key
"$QEMU_IMG" create -q -f luks --object "$secret" -o key-secret=key,iter-time=10 \
	"$VM_DIR/spill.luks" 256M || bail 'qemu-img makes a luks file'
like 'the file begins as luks files do' "$(head -c 4 "$VM_DIR/spill.luks")" LUKS
guest -object "$secret" -blockdev "driver=file,filename=$VM_DIR/spill.luks,node-name=file" \
	-blockdev driver=luks,file=file,key-secret=key,node-name=spill
cmp_ok 'it was written to' "$(du -m "$VM_DIR/spill.luks" | cut -f1)" -gt 30
truncate -s 256M "$VM_DIR/spill.raw"
mv "$VM_DIR/spill.luks" "$VM_DIR/cipher"
guest -blockdev "driver=file,filename=$VM_DIR/spill.raw,node-name=spill"
plain=$(heads_in "$VM_DIR/spill.raw")
cmp_ok "without luks the heads of pages can be read" "$plain" -gt 1000
cmp_ok "with luks they cannot" "$(heads_in "$VM_DIR/cipher")" -eq 0
done_testing
