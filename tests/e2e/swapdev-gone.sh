#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The device is taken away while swap is on: who needs a page that the host had gets
# SIGBUS, pages on the backing device are still read, and the kernel goes on. The
# disk goes with its last user.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
vm_setup

vm_job <<'JOB'
cgroup box 48M
echo /dev/vda >/sys/block/vtmem0/backing_dev || fail "backing_dev"
swap_on /dev/vtmem0 100
mark ready
await go
within box swaptest name=data mib=160 bus=count part=100 phases=fill,stop,rverify,rewrite,rverify &
pid=$!
stopped $pid
driver_vals full
mark step1
await go1
echo 1 >"/sys/bus/pci/devices/$(tmem_pci)/remove"
val there "$([ -e /sys/block/vtmem0 ] && echo yes || echo no)"
kill -CONT $pid
wait $pid
vm_vals end
val read "$(cut -d' ' -f1 /proc/self/stat >/dev/null && awk '$3 == "vda" {print $4}' /proc/diskstats)"
swapoff /dev/vtmem0 || fail swapoff
n=0
while [ -e /sys/block/vtmem0 ] && [ $n -lt 100 ]; do
	usleep 100000
	n=$((n + 1))
done
val gone "$([ -e /sys/block/vtmem0 ] && echo no || echo yes)"
# What it had is free again, and swap works without it
swap_on /dev/vda
within box swaptest name=disk mib=96 phases=fill,rverify
JOB
VM_MEM=256M
VM_TMEM=id=tmem,max-size=512M
VM_APPEND="virtio_tmem.frontswap=0"
VM_DISKS="1G"
vm_start
vm_reach ready 60
# Half of the pages have room
vm_set_size 31457280
vm_send go
vm_reach step1 120
# What is still to be sent would be lost, too
vm_tmem_wait reserved-puts 0 20 || :
held=$(vm_tmem pages)
cmp_ok "the host holds pages ($held)" "$held" -gt 5000
vm_send go1
vm_finish 180
is "the disk stays for as long as it is used" "$(vm_get there)" yes
cmp_ok "pages are on the backing device too" "$(vm_get full.virtio1.backing_writes)" -gt 5000
cmp_ok "who needs a page that the host had gets SIGBUS ($(vm_get data.sigbus))" "$(vm_get data.sigbus)" -gt 2000
cmp_ok "but not for more than that" "$(vm_get data.sigbus)" -le $((held * 3))
cmp_ok "pages are read from the backing device" "$(vm_get read)" -gt 5000
is "no page is wrong" "$(grep -a -m 5 '^@bad data ' "$VM_DIR/proto.log" || :)" ''
is "after swapoff the disk is gone" "$(vm_get gone)" yes
vm_data_ok disk
done_testing
