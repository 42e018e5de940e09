# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Words for the jobs of test guests. Each line to the host is one echo, thus one
# write, and begins with @: "@mark NAME" or "@KEY VALUE".

mark()
{
	echo "@mark $1"
}

val()
{
	echo "@$1 $2"
}

fail()
{
	echo "@job.error $*"
	exit 1
}

# await WORD: until the host sends this line (vm_send)
await()
{
	while read -r line; do
		[ "$line" = "$1" ] && break
	done
	echo "@got $1"
}

# ask: sets $answer to the next line that the host sends
ask()
{
	read -r answer
	echo "@got $answer"
}

# swap_on DEVICE [PRIORITY]
swap_on()
{
	mkswap "$1" >/dev/null || fail "mkswap $1"
	if [ $# -gt 1 ]; then
		swapon-prio "$1" "$2"
	else
		swapon "$1"
	fi || fail "swapon $1"
}

# cgroup NAME LIMIT: a memory cgroup, so that what runs in it swaps and what
# judges it (the shell) does not: within NAME COMMAND...
cgroup()
{
	mkdir -p "/sys/fs/cgroup/$1" || fail "cgroup $1"
	echo "$2" >"/sys/fs/cgroup/$1/memory.max" || fail "cgroup $1: memory.max"
}

# stopped PID: until the process has stopped itself (phase stop of swaptest). A
# program to look at it would take as much of the processor as what is timed.
stopped()
{
	until read -r _ _ state _ <"/proc/$1/stat" && [ "$state" = T ]; do
		[ -d "/proc/$1" ] || fail "process $1 is gone"
		usleep 50000
	done
}

# disk_vals PREFIX DISK: requests and sectors of a disk so far
disk_vals()
{
	# shellcheck disable=SC2046 # fields of the line
	set -- "$1" $(cat "/sys/block/$2/stat")
	val "$1.reads" "$2"
	val "$1.sectors_read" "$4"
	val "$1.writes" "$6"
	val "$1.sectors_written" "$8"
}

# vm_vals PREFIX: pages swapped from and to disks (frontswap does not count)
vm_vals()
{
	val "$1.pswpin" "$(sed -n 's/^pswpin //p' /proc/vmstat)"
	val "$1.pswpout" "$(sed -n 's/^pswpout //p' /proc/vmstat)"
	val "$1.majfault" "$(sed -n 's/^pgmajfault //p' /proc/vmstat)"
	val "$1.swap_used_kib" "$(awk '/^SwapTotal/ {t=$2} /^SwapFree/ {print t-$2}' /proc/meminfo)"
}

# driver_vals PREFIX: every counter of the driver, PREFIX.DEVICE.COUNTER
driver_vals()
{
	for f in /sys/kernel/debug/virtio_tmem/*/stats; do
		[ -f "$f" ] || continue
		d=${f%/stats}
		while read -r key value; do
			val "$1.${d##*/}.$key" "$value"
		done <"$f"
	done
}

# tmem_pci: PCI address of the (first) virtio-tmem device
tmem_pci()
{
	for d in /sys/bus/pci/devices/*; do
		if [ "$(cat "$d/vendor" "$d/device" | tr '\n' ' ')" = "0x1af4 0x107f " ]; then
			echo "${d##*/}"
			return
		fi
	done
	fail "no virtio-tmem device on the PCI bus"
}

# steps PID COUNT: lets swaptest go on from its phases "stop", one by one, each
# when the host has done its part: "mark stepN", then the host sends goN
steps()
{
	n=1
	while [ "$n" -le "$2" ]; do
		stopped "$1"
		mark "step$n"
		await "go$n"
		kill -CONT "$1"
		n=$((n + 1))
	done
}

# debug_vals: what a kernel that watches itself has found, as far as it does
debug_vals()
{
	if [ -f /proc/lockdep_stats ]; then
		val debug.locks "$(sed -n 's/^ *debug_locks: *//p' /proc/lockdep_stats)"
	fi
	leaks=/sys/kernel/debug/kmemleak
	if [ -f "$leaks" ]; then
		# What is reported was lost in two scans, and is some seconds old.
		sleep 6
		echo scan >"$leaks" || fail "$leaks"
		echo scan >"$leaks" || fail "$leaks"
		val debug.leaks "$(grep -c '^unreferenced' "$leaks")"
		val debug.our_leaks "$(grep -c 'tmem_' "$leaks")"
		cat "$leaks" >&2
	fi
	if [ -f /sys/kernel/debug/kcsan ]; then
		val debug.kcsan "$(sed -n "s/^setup_watchpoints: *//p" /sys/kernel/debug/kcsan)"
	fi
	sed 's/^/@delay./' /sys/kernel/debug/virtio_tmem/delays 2>/dev/null || :
}
