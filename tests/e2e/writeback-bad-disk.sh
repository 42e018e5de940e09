#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The host wants memory back, and the disk refuses writes just where the oldest pages
# belong, in more places than a run of write-back puts up with. These pages stay on
# the host; the others go, and all are right.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
vm_setup

# In so many clusters of 64 pages, from the first on
bad=20

vm_job <<'JOB'
echo /dev/vda >/sys/block/vtmem0/backing_dev || fail "backing_dev"
swap_on /dev/vtmem0 100
swaptest name=held mib=160 part=100 phases=fill,stop,verify &
pid=$!
steps $pid 1
wait $pid
driver_vals end
swapoff /dev/vtmem0 || fail swapoff
JOB
VM_MEM=96M
VM_DISKS=
VM_TMEM=id=tmem,max-size=512M
VM_APPEND="virtio_tmem.frontswap=0"
truncate -s 512M "$VM_DIR/bad"
node=driver=raw,node-name=bad,file.driver=blkdebug,file.image.driver=file,file.image.filename=$VM_DIR/bad
for ((n = 0; n < bad; n++)); do
	node+=,file.inject-error.$n.event=none,file.inject-error.$n.iotype=write
	node+=,file.inject-error.$n.errno=5,file.inject-error.$n.sector=$((n * 512 + 256))
done
vm_start -blockdev "$node" -device virtio-blk-pci,drive=bad

vm_reach step1 120
held=$(vm_tmem bytes-used)
pages=$(vm_tmem pages)
cmp_ok "the store holds much ($pages pages)" "$pages" -gt $((bad * 64 * 4))
vm_set_size $((held / 4))
vm_poll 90 vm_tmem_below bytes-used $((held / 4 + 1)) || :
cmp_ok "it gets below a quarter of that" "$(vm_tmem bytes-used)" -le $((held / 4))
vm_set_size $((512 << 20))
vm_send go1
vm_finish 120
cmp_ok "many pages were written back" "$(vm_get end.virtio0.written_back)" -gt $((pages / 2))
like "the log says that some could not be" "$(cat "$VM_DIR/console.log")" 'could not be got, or not written to its disk'
vm_data_ok held
done_testing
