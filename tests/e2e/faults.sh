#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The guest has no memory, at any step: each allocation of probe, of swapon and of
# swapoff fails in turn; then allocations fail at random while programs swap and the
# host has pages written back. No oops, no hang, no memory lost, no wrong byte, and
# a line in the log for each thing that is not there for want of memory.
#
# Environment: FAULTS_FRONT (frontswap, or swapdev)
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
: "${FAULTS_FRONT:=frontswap}"
vm_setup

# job DEVICE PREPARE: swapon of this device, once this is done
job()
{
	cat <<-JOB
	device=$1
	prepare() { $2; }
	JOB
	cat <<-'JOB'
	debug=/sys/kernel/debug
	pci=$(tmem_pci)
	driver=/sys/bus/pci/drivers/virtio-pci

	# faults PERCENT WAIT: of allocations, of those that may wait too (N: they do
	# not fail)
	faults()
	{
		for f in failslab fail_page_alloc; do
			echo 0 >$debug/$f/verbose
			echo 1000000 >$debug/$f/times
			echo "$2" | tr NY YN >$debug/$f/ignore-gfp-wait
			echo "$1" >$debug/$f/probability
		done
		echo N >$debug/fail_page_alloc/ignore-gfp-highmem
		echo 0 >$debug/fail_page_alloc/min-order
	}

	failed()
	{
		echo $((2000000 - $(cat $debug/failslab/times) - $(cat $debug/fail_page_alloc/times)))
	}

	free_kib()
	{
		echo 3 >/proc/sys/vm/drop_caches
		sleep 1
		awk '/^MemFree/ { print $2 }' /proc/meminfo
	}

	# sweep NAME AFTER COMMAND...: with the first allocation failing, then with the
	# second, and so on until none is left. AFTER undoes what the command has done.
	sweep()
	{
		name=$1
		after=$2
		shift 2
		n=1 good=0 bad=0
		while :; do
			hit=$(nth $n "$@" 2>/dev/null) && good=$((good + 1)) || bad=$((bad + 1))
			$after
			[ "$hit" = 1 ] || break
			n=$((n + 1))
			[ $n -le 3000 ] || fail "$name: no end"
		done
		val $name.steps $((n - 1))
		val $name.succeeded $good
		val $name.failed $bad
	}

	unbind()
	{
		[ ! -e "$driver/$pci" ] || echo "$pci" >$driver/unbind || fail unbind
	}

	# The same, and count how often the driver was there
	unprobe()
	{
		ls -d /sys/bus/virtio/drivers/virtio_tmem/virtio* >/dev/null 2>&1 &&
			probed=$((probed + 1))
		unbind
	}

	off()
	{
		# Only if it is on, and not with a message
		! grep -q "^$device" /proc/swaps || swapoff $device || fail "swapoff $device"
	}

	on_again()
	{
		grep -q "^$device" /proc/swaps || swapon-prio $device 5 || fail "swapon $device"
	}

	cgroup box 12M
	faults 0 Y
	unbind
	before=$(free_kib)
	probed=0
	sweep probe unprobe write $driver/bind "$pci"
	val probe.probed $probed
	val probe.lost_kib $((before - $(free_kib)))
	echo "$pci" >$driver/bind || fail bind
	mark probed

	prepare
	mkswap $device >/dev/null || fail mkswap
	before=$(free_kib)
	sweep swapon off swapon $device 5
	val swapon.lost_kib $((before - $(free_kib)))
	on_again
	sweep swapoff on_again swapoff $device
	within box swaptest name=simple mib=24 phases=fill,rverify,rewrite,verify || fail simple
	mark swept

	# Those that cannot wait fail in anybody, as in the put path
	faults 10 N
	swaptest name=all mib=160 procs=4 zero=20 same=20 part=40 \
		phases=fill,rverify,rewrite,verify,fork,drop,rverify &
	pid=$!
	mark moving
	wait $pid || fail "all: $?"
	val all.faults "$(failed)"
	faults 0 N

	# And those of programs that swap, even if they could wait
	swaptest name=some mib=160 procs=2 zero=20 same=20 part=40 repeat=2 \
		phases=fill,stop,rverify,rewrite,verify,drop,rverify &
	pid=$!
	stopped $pid
	for f in failslab fail_page_alloc; do
		echo Y >$debug/$f/task-filter
	done
	for p in /proc/[0-9]*/task/[0-9]*; do
		case $(cat $p/comm 2>/dev/null) in
		swaptest | kswapd* | kworker*) echo 1 >$p/make-it-fail 2>/dev/null ;;
		esac
	done
	faults 2 Y
	kill -CONT $pid
	stopped $pid
	kill -CONT $pid
	wait $pid || fail "some: $?"
	val some.faults "$(failed)"
	faults 0 N
	driver_vals end
	off
	unbind
	mark over
	# It must not end while it is talked to
	await end
	JOB
}

case $FAULTS_FRONT in
frontswap) vm_job < <(job /dev/vda :) ;;
swapdev)
	vm_job < <(job /dev/vtmem0 'echo /dev/vda >/sys/block/vtmem0/backing_dev || fail backing_dev')
	;;
*) vm_die "FAULTS_FRONT=$FAULTS_FRONT: it is frontswap or swapdev" ;;
esac
VM_CPUS=4
VM_MEM=192M
VM_DISKS=256M
VM_APPEND=slub_debug=FZP
VM_TMEM=id=tmem,max-size=128M,num-queues=2
if [ "$FAULTS_FRONT" = swapdev ]; then
	VM_APPEND+=" virtio_tmem.frontswap=0"
	# The size of the swap area, which must take both sides of the fork
	VM_TMEM=id=tmem,max-size=256M,num-queues=2
fi

# Instead of that of vm.sh: who has no memory and did not expect it shows where, which
# is no fault here. Nor is it ours that the kernel warns when it removes a file in
# /proc/irq that it could not make, or has no map of frontswap's for an area.
vm_clean_console()
{
	is "kernel log has no oops, stall or OOM, and no warning of ours" \
		"$(grep -aE -e "${VM_SPLATS/Call Trace:|/}" "$VM_DIR/console.log" |
			grep -vE ' at (fs/proc/generic|mm/frontswap)[.]c:' | head -n 5 || :)" ''
}

vm_start
vm_reach probed 300
for what in probe swapon swapoff; do
	[ "$what" != swapon ] || vm_reach swept 300
	diag "$what: $(vm_get $what.steps) allocations failed in turn, $(vm_get $what.failed) times it failed"
done
cmp_ok "probe: the first of many allocations fails, the last one too" "$(vm_get probe.steps)" -gt 200
cmp_ok "probe: most of these it cannot do without" "$(vm_get probe.probed)" -lt $(($(vm_get probe.steps) / 2))
cmp_ok "probe: others it can" "$(vm_get probe.probed)" -gt 1
cmp_ok "probe: no memory is lost" "$(vm_get probe.lost_kib)" -lt 2048
cmp_ok "swapon: allocations fail" "$(vm_get swapon.steps)" -gt 20
cmp_ok "swapon: no memory is lost" "$(vm_get swapon.lost_kib)" -lt 2048
cmp_ok "swapoff: allocations fail" "$(vm_get swapoff.steps)" -gt 0
log=$(tr -d '\r' < "$VM_DIR/console.log")
like "the log says that there is no device" "$log" 'virtio_tmem: probe of virtio[0-9]+ failed with error -12'
case $FAULTS_FRONT in
frontswap) like "... or no pool" "$log" 'no pool for swap area [0-9]+ \(error -12\): it uses its disk only' ;;
swapdev)
	like "... or no swap device" "$log" 'no swap device \(error -12\)'
	like "... or no pool" "$log" 'no pool for vtmem0 \(error -12\)'
	;;
esac
vm_data_ok simple

vm_reach moving 60
while vm_alive && ! vm_has '^@(mark over|exit|job.error)'; do
	vm_set_size $((96 << 20))
	sleep 2
	vm_set_size $((4 << 20))
	sleep 1
	vm_poll 2 vm_tmem_below bytes-used $(((4 << 20) + 1)) || :
done
vm_reach over 300
vm_send end
vm_finish 60
vm_data_ok all some
diag "$(vm_get all.faults) and $(vm_get some.faults) allocations failed, $(vm_sum 'end[.].*[.]written_back') pages were written back"
cmp_ok "allocations that cannot wait have failed" "$(vm_get all.faults)" -gt 1000
cmp_ok "and others of programs that swap" "$(vm_get some.faults)" -gt 100
cmp_ok "pages were put" "$(vm_sum 'end[.].*[.]puts')" -gt 10000
cmp_ok "pages were written back meanwhile" "$(vm_sum 'end[.].*[.]written_back')" -gt 100
# Write-back may ask in vain for one that is freed meanwhile: that is none.
is "none was lost" "$(grep -a -m 3 'is lost' "$VM_DIR/console.log" || :)" ''
done_testing
