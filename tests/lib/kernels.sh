# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The driver as a module on one of the kernels of scripts/get-kernel.sh. To be
# sourced, after vm.sh. A test is
#
#   kernel_setup KERNEL
#   kernel_loads FRONT_END
#   kernel_keeps_pages FRONT_END
#   done_testing
#
# where a front end is "none", or a word that kernel_front turns into the job that
# has it swap. SKIP_KERNELS="5.10 7.2" skips tests of these kernels.
#
# (SC2034: what vm_start takes.)

# What stock kernels take for themselves more than that of the other tests
KERNEL_MEM=224M

# kernel_setup KERNEL: instead of vm_setup. A kernel that cannot be had or a module
# that cannot be built is a failed test.
kernel_setup()
{
	local out

	case " ${SKIP_KERNELS:-} " in
	*" $1 "*) skip_all "SKIP_KERNELS names $1" ;;
	esac
	if ! out=$(scripts/build-guest.sh "$1" 2>&1); then
		diag "$out"
		not_ok "there is a Linux $1, and the driver as a module for it" \
			"$(grep -m1 'error:' <<<"$out" || tail -n 1 <<<"$out")" \
			"SKIP_KERNELS=\"$1\" skips its tests"
		done_testing
	fi
	ok "there is a Linux $1, and the driver as a module for it"
	KERNEL_NAME=$1
	vm_kernel "$1"
	VM_MEM=$KERNEL_MEM
	vm_setup
}

# kernel_front FRONT_END: words of a job that turn swap on
kernel_front()
{
	case $1 in
	frontswap) echo 'swap_on /dev/vda' ;;
	swapdev)
		echo 'echo /dev/vda >/sys/block/vtmem0/backing_dev || fail "backing_dev"'
		echo 'swap_on /dev/vtmem0 100'
		;;
	*) vm_die "no front end called $1" ;;
	esac
}

# What the kernel says of a module that does not fit
kernel_fits()
{
	is "the kernel has nothing against the module" "$(grep -a -E -m 5 \
		'modprobe .*failed|Unknown symbol|disagrees about version|invalid module format|version magic|unsafe core_param' \
		"$VM_DIR/console.log" || :)" ''
}

# kernel_loads FRONT_END: the module comes, serves its device, and goes
kernel_loads()
{
	vm_job <<'JOB'
pci=$(tmem_pci)
driver=/sys/bus/pci/drivers/virtio-pci
bound()
{
	if ls -d /sys/bus/virtio/drivers/virtio_tmem/virtio* >/dev/null 2>&1; then
		val "$1" yes
	else
		val "$1" no
	fi
}

val release "$(uname -r)"
bound loaded
driver_vals fresh
if rmmod virtio_tmem; then
	val rmmod gone
	bound unloaded
	modprobe virtio_tmem || fail "modprobe virtio_tmem"
	bound reloaded
else
	val rmmod stays
fi
echo "$pci" >"$driver/unbind" || fail "unbind"
bound unbound
echo "$pci" >"$driver/bind" || fail "bind"
bound rebound
driver_vals again
JOB
	VM_TMEM=max-size=40M,num-queues=2
	vm_start
	vm_finish 60
	kernel_fits
	is "it runs" "$(vm_get release)" "$(cat "$BUILD/kernels/$KERNEL_NAME/release")"
	is "the driver binds to its device" "$(vm_get loaded)" yes
	is "debugfs has its counters" "$(vm_get 'fresh.virtio1.gets')" 0
	if [ "$1" = frontswap ]; then
		is "the module stays, as frontswap knows no way back" "$(vm_get rmmod)" stays
	else
		is "the module can be unloaded" "$(vm_get rmmod)" gone
		is "and is gone then" "$(vm_get unloaded)" no
		is "and can be loaded again" "$(vm_get reloaded)" yes
	fi
	is "the device can be taken from the driver" "$(vm_get unbound)" no
	is "and given back" "$(vm_get rebound)" yes
	is "with new counters" "$(vm_get 'again.virtio1.gets')" 0
}

# kernel_keeps_pages FRONT_END: the workload of integrity-1cpu.sh, but less
kernel_keeps_pages()
{
	local used

	vm_job <<JOB
$(kernel_front "$1")
swaptest name=data mib=256 procs=2 zero=4 same=3 part=40 \\
	phases=stop,fill,rverify,rewrite,stop,verify,fork,drop,rverify,stop &
pid=\$!
steps \$pid 3
wait \$pid
driver_vals end
[ "$1" = swapdev ] || exit 0
rmmod virtio_tmem 2>/dev/null && val rmmod.on gone || val rmmod.on refused
swapoff /dev/vtmem0 || fail swapoff
rmmod virtio_tmem && val rmmod.off gone || val rmmod.off refused
JOB
	# The swap device has the size that the store can have.
	VM_TMEM=id=tmem,max-size=512M,num-queues=1
	VM_DISKS=1G
	VM_APPEND=
	[ "$1" = frontswap ] || VM_APPEND=virtio_tmem.frontswap=0
	vm_start
	# Before it holds more: written back while pages come and go, some are asked for in vain
	vm_reach step1 60
	vm_set_size 25165824
	vm_send go1
	vm_reach step2 600
	if [ "$1" = swapdev ]; then
		# While nobody swaps
		used=$(vm_tmem bytes-used)
		diag "it has $(vm_tmem pages) pages in $used bytes"
		vm_set_size $((used / 3))
		vm_poll 60 vm_tmem_below bytes-used $((used / 3 + 1)) || :
		cmp_ok "it gives memory back" "$(vm_tmem bytes-used)" -le $((used / 3))
		vm_set_size 25165824
	fi
	vm_send go2
	vm_reach step3 600
	cmp_ok "the store took pages" "$(vm_tmem puts)" -gt 10000
	cmp_ok "it refused pages at the end" "$(vm_tmem rejected-puts)" -gt 100
	cmp_ok "it gave pages" "$(vm_tmem gets)" -gt 5000
	is "it was asked for nothing that it had not" "$(vm_tmem misses)" 0
	is "no request was malformed" "$(vm_tmem invalid-requests)" 0
	vm_send go3
	vm_finish 60
	kernel_fits
	vm_data_ok data
	cmp_ok "enough was verified" "$(vm_get data.verified)" -ge 400000
	is "the driver lost no page" "$(vm_get end.virtio1.gets_failed)" 0
	[ "$1" = swapdev ] || return 0
	cmp_ok "pages were written back" "$(vm_get end.virtio1.written_back)" -gt 100
	cmp_ok "pages went to the backing device" "$(vm_get end.virtio1.backing_writes)" -gt 1000
	cmp_ok "and came from there" "$(vm_get end.virtio1.backing_reads)" -gt 1000
	is "rmmod with swap on" "$(vm_get rmmod.on)" refused
	is "rmmod after swapoff" "$(vm_get rmmod.off)" gone
}

# kernel_waits_for_lost FRONT_END: on a kernel that cannot be told that a page is
# lost, who needs one waits, and never sees the disk's older page. The device is
# taken away while it holds pages that have an older copy on the disk.
kernel_waits_for_lost()
{
	vm_job <<JOB
cgroup box 48M
$(kernel_front "$1")
within box swaptest name=data mib=128 bus=count phases=fill,rverify,rewrite,stop,rverify,verify &
pid=\$!
stopped \$pid
mark step1
await go1
echo 1 >"/sys/bus/pci/devices/\$(tmem_pci)/remove"
kill -CONT \$pid
sleep 25
val waiting "\$(grep -l '(swaptest) D ' /proc/[0-9]*/stat | wc -l)"
within box swaptest name=disk mib=96 phases=fill,rverify
JOB
	VM_TMEM=max-size=128M
	VM_DISKS=1G
	vm_start
	vm_reach step1 120
	cmp_ok "pages are held" "$(vm_tmem pages)" -gt 10000
	vm_send go1
	vm_finish 180
	cmp_ok "who needs a lost page waits" "$(vm_get waiting)" -ge 1
	cmp_ok "the log says so" "$(grep -a -c 'waits for ever' "$VM_DIR/console.log")" -ge 1
	is "no page is wrong" "$(grep -a -m 5 '^@bad data ' "$VM_DIR/proto.log" || :)" ''
	vm_data_ok disk
}

# kernel_swapoff_waits: on a kernel whose swapoff maps what could not be read, it does
# not come to its end while a page of the swap device is lost.
kernel_swapoff_waits()
{
	vm_job <<JOB
cgroup box 48M
$(kernel_front swapdev)
within box swaptest name=data mib=128 phases=fill,stop &
pid=\$!
stopped \$pid
mark step1
await go1
echo 1 >"/sys/bus/pci/devices/\$(tmem_pci)/remove"
# Who swaps in is charged for it
echo max >/sys/fs/cgroup/box/memory.max
swapoff /dev/vtmem0 &
sleep 15
val on "\$(grep -c '^/dev/vtmem0' /proc/swaps)"
JOB
	VM_TMEM=max-size=128M
	VM_DISKS=1G
	VM_APPEND=virtio_tmem.frontswap=0
	vm_start
	vm_reach step1 120
	cmp_ok "pages are held" "$(vm_tmem pages)" -gt 10000
	vm_send go1
	vm_finish 120
	is "swapoff waits when the device has gone with pages" "$(vm_get on)" 1
	cmp_ok "the log says so" "$(grep -a -c 'swapoff waits for ever' "$VM_DIR/console.log")" -ge 1
}
