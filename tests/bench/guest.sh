# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Words of the jobs of swap.sh, beyond those of tests/guest/lib.sh.  They read
# with what is built into the shell: to start a program takes milliseconds of a
# processor that is emulated, and they would be counted with what is measured.

samples=0

# line_of FILE: sets $line to its first line, if there is one
line_of()
{
	line=
	[ ! -r "$1" ] || read -r line <"$1" || :
}

# irqs: sets $sum to the interrupts of virtio devices, of all CPUs
irqs()
{
	sum=0
	while read -r _ rest; do
		case $rest in
		*virtio*) ;;
		*) continue ;;
		esac
		for field in $rest; do
			case $field in
			*[!0-9]*) break ;;
			esac
			sum=$((sum + field))
		done
	done </proc/interrupts
}

# sample WORKLOAD PHASE: this phase has ended (phase "begin": the first one is to
# begin); what has been counted so far, and the host adds what it sees
sample()
{
	s=s$samples
	samples=$((samples + 1))
	irqs
	val "$s.interrupts" "$sum"
	while read -r swap _ _ used _; do
		case $swap in
		/*) val "$s.swap_kib" "$used" ;;
		esac
	done </proc/swaps
	line_of /sys/block/vda/stat
	[ -z "$line" ] || val "$s.disk" "$line"
	line_of /sys/block/zram0/mm_stat
	[ -z "$line" ] || val "$s.zram" "$line"
	line_of /sys/kernel/debug/zswap/pool_total_size
	[ -z "$line" ] || val "$s.zswap_bytes" "$line"
	line_of /sys/kernel/debug/zswap/stored_pages
	[ -z "$line" ] || val "$s.zswap_pages" "$line"
	val "$s.workload" "$1"
	val "$s.phase" "$2"
	mark "$s"
	await "go.$s"
}

# program NAME PHASES ARGUMENT...: swaptest, with a sample after each phase.  What
# it prints comes through a pipe, so that the shell sleeps until a phase ends.
program()
{
	name=$1
	phases=$(echo "$2" | sed 's/,/,stop,/g')
	shift 2
	rm -f /tmp/said
	mkfifo /tmp/said
	swaptest "name=$name" "phases=stop,$phases,stop" "$@" >/tmp/said &
	pid=$!
	exec 3</tmp/said
	phases="begin $(echo "$phases" | sed 's/,stop,/ /g')"
	while read -r said <&3; do
		if [ "$said" != "@mark $name.stopped" ]; then
			echo "$said"
			continue
		fi
		stopped "$pid"
		sample "$name" "${phases%% *}"
		phases=${phases#* }
		kill -CONT "$pid"
	done
	exec 3<&-
	wait "$pid" || fail "$name: status $?"
}
