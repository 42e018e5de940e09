#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Huge pages through the swap device: they travel whole, without a copy, and one
# may lie half on the host and half on the backing device. With verify=1, which is
# to take none of their pages for wrong.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
# shellcheck source=tests/lib/kernels.sh
. tests/lib/kernels.sh
# Others split most of them first
kernel_setup 6.12

vm_job <<'JOB'
echo /dev/vda >/sys/block/vtmem0/backing_dev || fail "backing_dev"
# Small guests have it off, whatever the command line says
echo always >/sys/kernel/mm/transparent_hugepage/enabled
echo always >/sys/kernel/mm/transparent_hugepage/defrag
# Where the kernel can swap in more than one page, let it
for f in /sys/kernel/mm/transparent_hugepage/hugepages-64kB/enabled; do
	[ ! -f $f ] || echo always >$f
done
swap_on /dev/vtmem0 100
mark ready
await go
driver_vals before
swaptest name=fill mib=320 thp=1 part=40 phases=fill
driver_vals middle
val middle.whole "$(sed -n 's/^thp_swpout //p' /proc/vmstat)"
mark full
await go
swaptest name=data mib=288 procs=2 thp=1 zero=4 same=3 part=40 repeat=1 \
	phases=fill,rverify,rewrite,verify,fork,drop,rverify
driver_vals end
swapoff /dev/vtmem0 || fail swapoff
JOB
VM_MEM=256M
VM_TMEM=id=tmem,max-size=512M
VM_APPEND="virtio_tmem.frontswap=0 virtio_tmem.verify=1"
VM_DISKS="1G"
vm_start
vm_reach ready 60
vm_send go
vm_reach full 240
vm_set_size 20971520
vm_send go
vm_finish 400
vm_data_ok fill
vm_data_ok data
puts=$(vm_get middle.virtio1.puts)
cmp_ok "huge pages went out whole ($(vm_get middle.whole))" "$(vm_get middle.whole)" -gt 20
cmp_ok "$puts pages were put without a copy" "$(vm_get middle.virtio1.puts_staged)" -lt $((puts / 2))
requests=$(($(vm_get middle.virtio1.requests) - $(vm_get before.virtio1.requests)))
cmp_ok "a request carries 12 or more of them ($requests)" $((requests * 12)) -le "$puts"
cmp_ok "some ended on the backing device" "$(vm_get end.virtio1.backing_writes)" -gt 1000
cmp_ok "and came from there" "$(vm_get end.virtio1.backing_reads)" -gt 1000
like "pages were verified" "$(tr -d '\r' < "$VM_DIR/console.log")" 'pages are verified, with [0-9]+ KiB'
is "none was taken for wrong" "$(vm_get end.virtio1.gets_wrong)" 0
done_testing
