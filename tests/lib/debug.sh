# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guests that look for bugs in their own kernel, for tests/debug. To be sourced
# after vm.sh.
#
# One job has all that makes the driver's parts meet: processes and threads on 4
# vCPUs, pages that are shared and copied, two swap areas of which one goes and
# comes, an area that is nearly full, so that slots are taken again at once, and
# a store whose limit moves. It runs once for each way to serve the queues. Then
# the guest's kernel is asked what it has seen.

# shellcheck disable=SC2034 # most of what is set here is for vm.sh

debug_consoles=0

# debug_setup VARIANT: the kernel of build/linux-VARIANT
debug_setup()
{
	KERNEL=$BUILD/linux-$1/arch/x86/boot/bzImage
	# Several times as slow as other kernels, and there are 4 vCPUs.
	: "${DEBUG_PATIENCE:=8}"
	VM_PATIENCE=$DEBUG_PATIENCE
	vm_setup
	VM_CPUS=4
	VM_MEM=512M
	VM_DISKS="256M 40M 28M"
	vm_job <<'JOB'
cgroup a 12M
cgroup b 12M
cgroup box 24M
# With the swap device, pages also move to its backing device, and the others lie
# on disks alone.
first=/dev/vda
last=/dev/vdc
if [ -e /dev/vtmem0 ]; then
	echo /dev/vda >/sys/block/vtmem0/backing_dev || fail backing_dev
	first=/dev/vtmem0
	last=/dev/vtmem0
fi
swap_on $first 5
swap_on /dev/vdb 5
within a swaptest name=threads mib=28 seed=1 threads=3 zero=4 same=3 part=40 repeat=1 \
	phases=fill,rverify,rewrite,fork,drop,rverify &
a=$!
within b swaptest name=procs mib=36 seed=2 procs=3 zero=4 same=3 part=40 repeat=1 \
	phases=fill,seq,rewrite,drop,rewrite,fork,verify &
b=$!
mark running
for n in 1 2; do
	usleep 2000000
	swapoff /dev/vdb || fail swapoff vdb
	swap_on /dev/vdb 5
done
wait $a || fail threads
wait $b || fail procs
swapoff $first && swapoff /dev/vdb || fail swapoff
mark reuse
swap_on $last
within box swaptest name=reuse mib=40 seed=3 procs=2 repeat=2 \
	phases=fill,rewrite,rverify,drop,rewrite,verify || fail reuse
swapoff $last || fail swapoff $last
driver_vals end
mark over
await end
debug_vals
JOB
}

# The limit goes up and down for as long as this is asked
debug_over()
{
	debug_max=$((debug_max == 8 ? 128 : 8))
	vm_set_size $((debug_max << 20)) || :
	sleep 1
	vm_has_or_dead '^@mark over$'
}

# debug_kcsan ours|foreign: the titles of the reports of data races, each once. A
# report is ours when our code is in one of the two stacks.
debug_kcsan()
{
	tr -d '\r' <"$VM_DIR/console.log" | sed -E 's/^\[ *[0-9.]+\] ?//' | awk -v want="$1" '
		/^BUG: KCSAN: / { title = $0; whose = "foreign" }
		title && /(^|[^a-z_])(virtio_)?tmem_[a-z_]+/ { whose = "ours" }
		title && /^=====/ { if (whose == want) print title; title = "" }
		END { if (title && whose == want) print title }' | sort | uniq -c
}

# Instead of that of vm.sh: reports of data races in code of others are told, and
# are no failure.
vm_clean_console()
{
	local bad

	debug_kcsan foreign | sed 's/^/# not ours: /'
	is "no data race of ours" "$(debug_kcsan ours)" ''
	bad=$(grep -av 'BUG: KCSAN: ' "$VM_DIR/console.log" | grep -aE -m 5 \
		-e "$VM_SPLATS|possible irq lock inversion|suspicious RCU usage|DMA-API: [^ ]+ [^ ]+: |KFENCE|KASAN|lockdep: |turning off the locking|leak detector disabled" || :)
	is "no splat in the kernel's log" "$bad" ''
	[ -z "${TEST_LOGS:-}" ] || cp "$VM_DIR/console.log" "$TEST_LOGS/debug-console-$((++debug_consoles)).log"
}

# debug_verdict NAME: what the guest has said of itself before it ended
debug_verdict()
{
	if [ -n "$(vm_get debug.locks)" ]; then
		is "$1: lockdep is on until the end" "$(vm_get debug.locks)" 1
	fi
	if [ -n "$(vm_get debug.kcsan)" ]; then
		cmp_ok "$1: accesses were watched" "$(vm_get debug.kcsan)" -gt 10000
	fi
	if [ -n "$(vm_get debug.leaks)" ]; then
		diag "$1: $(vm_get debug.leaks) leaks are suspected"
		is "$1: none is ours" "$(vm_get debug.our_leaks)" 0
	fi
}

# debug_run NAME PROPERTIES [QEMU ARGUMENT...]: one guest, and what is wrong with
# all guests of this kind. WAYS=<regex>: only those whose name matches
debug_run()
{
	local name=$1 puts

	[[ $name =~ ${WAYS:-.} ]] || return 0
	VM_TMEM=id=tmem,max-size=128M,$2
	shift 2
	debug_max=128
	vm_start "$@"
	vm_reach running 60
	vm_poll 300 debug_over || bail "$name: the workload ends in time"
	vm_has '^@mark over$' || bail "$name: the workload succeeds"
	puts=$(vm_tmem puts)
	diag "$name: $puts puts, $(vm_tmem rejected-puts) refused, $(vm_tmem gets) gets"
	cmp_ok "$name: pages were put" "$puts" -gt 10000
	cmp_ok "$name: pages were refused" "$(vm_tmem rejected-puts)" -gt 100
	# A page that is freed while it is read ahead may be asked for in vain, no other.
	cmp_ok "$name: the store was hardly asked for what it had not" "$(vm_tmem misses)" -le 20
	is "$name: no request was malformed" "$(vm_tmem invalid-requests)" 0
	vm_send end
	vm_finish 90
	debug_verdict "$name"
	is "$name: no get of a page that was wanted failed" "$(vm_sum 'end\.virtio[0-9]+\.gets_failed')" 0
	grep -a "^@delay[.]" "$VM_DIR/proto.log" >>"$VM_DIR/delays" || :
	vm_data_ok threads procs reuse
}

# debug_ways: debug_run for each way in which a device may serve its queues
debug_ways()
{
	local append=$VM_APPEND

	debug_run "4 queues, in vCPUs" num-queues=4
	# There is memory to spare, only the groups have none.
	VM_APPEND="$append virtio_tmem.selfshrink=10"
	debug_run "1 queue, in vCPUs" num-queues=1
	VM_APPEND=$append
	debug_run "4 queues, in an IOThread" num-queues=4,ioeventfd=on,iothread=tmem0 \
		-object iothread,id=tmem0
	VM_APPEND="$append virtio_tmem.exclusive=1"
	debug_run "2 queues, exclusive" num-queues=2
	VM_APPEND="$append virtio_tmem.frontswap=0"
	debug_run "2 queues, swap device" num-queues=2
	VM_APPEND=$append
}

# debug_planted REGEX...: faults that are planted in the driver are found; each regex
# is for the kernel's log. Leaks: "leak".
debug_planted()
{
	local log found

	VM_TMEM=id=tmem,max-size=128M,num-queues=4
	VM_APPEND+=" virtio_tmem.plant=1"
	vm_start
	vm_reach over 300
	vm_send end
	vm_poll 90 vm_gone || :
	for found; do
		if [ "$found" = leak ]; then
			cmp_ok "a planted leak is found" "$(vm_get debug.our_leaks)" -gt 0
			continue
		fi
		log=$(debug_kcsan ours; grep -a 'BUG: KASAN' "$VM_DIR/console.log" || :)
		like "a planted fault is found: $found" "$log" "$found"
	done
}

# debug_delays_hit: after debug_ways with delays: no point was passed by
debug_delays_hit()
{
	is "somebody was held up at each point" \
		"$(awk '{ n[$1] += $2 } END { for (p in n) if (!n[p]) print p }' "$VM_DIR/delays")" ''
	diag "held up: $(awk '{ n[$1] += $2 } END { for (p in n) printf "%s %d, ", p, n[p] }' "$VM_DIR/delays")"
	cmp_ok "there are points" "$(cut -d' ' -f1 "$VM_DIR/delays" | sort -u | wc -l)" -gt 10
	rm "$VM_DIR/delays"
}
