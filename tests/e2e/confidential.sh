#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What the guest swapped out is in no memory of QEMU that a core dump would have, in
# no log with all of the device's traces on, and in no memory once it was flushed.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
vm_setup
cc -O2 -Wall -o "$VM_DIR/memsearch" tests/host/memsearch.c

# The guest makes it of this: QEMU also has the job's text in its memory. It is longer
# than a vector register, which has what was copied last, and is saved on stacks.
coded="frperg-$RANDOM$RANDOM-bs-gur-thrfg-juvpu-vf-abg-gb-or-frra-ol-nalobql-ryfr-naq-jvyy-or-sbhaq-vs-vg-vf"
# shellcheck disable=SC2018,SC2019 # no accents
secret=$(tr 'a-z' 'n-za-m' <<<"$coded")

vm_job <<JOB
cgroup box 16M
swap_on /dev/vda
mkdir /secret
mount -t tmpfs -o size=128M none /secret || fail mount
secret=\$(echo $coded | tr 'a-z' 'n-za-m')
within box sh -c 'yes "\$1-and-more-to-fill-a-line" | head -c 50331648 >/secret/file' sh "\$secret" || fail write
mark out
await gone
rm /secret/file
swapoff /dev/vda || fail swapoff
secret=
mark gone
await end
JOB
VM_MEM=256M
VM_TMEM=id=tmem,max-size=128M,compression=none,spill=spill
# In memory: were a disk slow, the guest would have to write back, and QEMU buffers for it
mkdir "$VM_SHM/spill"
truncate -s 256M "$VM_SHM/spill/file"
vm_start -object memory-backend-memfd,id=ram,size=256M,dump=off -machine memory-backend=ram -trace 'virtio_tmem*' \
	-blockdev "driver=file,node-name=spill,filename=$VM_SHM/spill/file"

# found dumped|hidden: how often the secret is in memory that a core dump has, or has
# not; guest RAM aside
found()
{
	"$VM_DIR/memsearch" "$VM_PID" "$secret" | grep -v memfd >"$VM_DIR/found" || :
	sed 's/^/# /' "$VM_DIR/found" >&2
	awk -v want="$1" '$1 == want { n += $2 } END { print n + 0 }' "$VM_DIR/found"
}

vm_reach out 120
cmp_ok "the store has pages" "$(vm_tmem pages)" -gt 4000
cmp_ok "they are found in memory that is not dumped" "$(found hidden)" -gt 4000
is "and nowhere else" "$(found dumped)" 0
vm_set_size $((16 << 20))
vm_poll 30 vm_tmem_below bytes-used $((16 << 20)) || :
cmp_ok "some are spilled" "$(vm_qmp '{"execute":"query-tmem"}' | jq '.return[0].spill.pages')" -gt 100
is "what is on its way to the disk would not be dumped either" "$(found dumped)" 0
vm_send gone
vm_reach gone 60
vm_poll 30 vm_tmem_below pages 1 || :
is "flushed: the store has nothing" "$(vm_tmem pages)" 0
sleep 2
is "and neither has memory that would be dumped" "$(found dumped)" 0
# A thread's last page, and what was spilled or read last: less than a MiB
is "nor where it was, but for buffers" \
	"$(awk '$1 == "hidden" && $3 >= 1024' "$VM_DIR/found")" ''
is "no log has it" "$(cat "$VM_DIR"/*.log | grep -acF "$secret")" 0
like "though the device's traces are on" "$(cat "$VM_DIR/qemu.log")" 'virtio_tmem_'
vm_send end
vm_finish 60
done_testing
