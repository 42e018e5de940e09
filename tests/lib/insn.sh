# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Instructions that a guest executes for each operation of the driver, counted by
# tests/bench/insn-plugin.c. To be sourced after vm.sh, before vm_setup: plugins
# are TCG's.
#
# Environment: SYSTEM_MAP (of KERNEL), QEMU_SRC_TREE (whose plugin header is
# taken), besides those of vm.sh.

: "${SYSTEM_MAP:=${KERNEL%/arch/x86/boot/bzImage}/System.map}"
: "${QEMU_SRC_TREE:=$BUILD/src/qemu}"
: "${ACCEL:=tcg}"

INSN_PLUGIN=$BUILD/bench/insn-plugin.so

# What is counted apart, because it waits for the host. (Looking at the used ring
# between two such steps is not; where the vCPU serves its requests, there are none.)
INSN_WAIT='^virtio_tmem_wait_step'
INSN_DRIVER='^(virtio_tmem|tmem_frontswap|tmem_area|tmem_page|virtqueue|vring)_'

# Operations and where they begin, the lesser first: a "free" that gets as far as
# virtio_tmem_flush() is a flush; a store that does so, because the slot had an
# older page, is still a store, or a put. What is left in store, load and free is
# same-filled pages, which are kept in the guest, and slots with none.
INSN_OPS='free tmem_frontswap_invalidate_page
flush virtio_tmem_flush
store tmem_frontswap_store
put virtio_tmem_put
load tmem_frontswap_load
get virtio_tmem_get
work virtio_tmem_flush_work'

# insn_setup: once, after vm_setup
insn_setup()
{
	local log=$VM_DIR/plugin.log

	[ "$VM_ACCEL" = tcg ] || vm_die "instructions are counted under TCG only: ACCEL=tcg"
	[ -e "$SYSTEM_MAP" ] || vm_die "$SYSTEM_MAP is missing: run \"make linux\" first"
	[ -e "$QEMU_SRC_TREE/include/qemu/qemu-plugin.h" ] ||
		vm_die "$QEMU_SRC_TREE has no plugin header: run \"make qemu\" first"
	make -s -C tests/bench "O=$(realpath -m "${INSN_PLUGIN%/*}")" \
		"QEMU_SRC_TREE=$(realpath "$QEMU_SRC_TREE")" >"$log" 2>&1 ||
		vm_die "the plugin does not compile: $(grep -m1 error "$log" || tail -n 1 "$log")"
	insn_map >"$VM_DIR/insn.map"
	[ "$(grep -c '^op ' "$VM_DIR/insn.map")" = "$(wc -l <<<"$INSN_OPS")" ] ||
		vm_die "$SYSTEM_MAP lacks functions of the driver: is it of another kernel?"
}

# A function ends where the next symbol begins.
insn_map()
{
	awk -v driver="$INSN_DRIVER" -v wait="$INSN_WAIT" -v ops="$INSN_OPS" '
		$3 == "_text" { first = $1 }
		$3 == "_etext" { last = $1 }
		$2 !~ /^[tTwW]$/ { next }
		name != "" && $1 != start {
			print "function", start, $1, name ~ wait ? "wait" : "driver", name
			name = ""
		}
		$3 ~ driver && first != "" && last == "" { name = $3; start = $1; at[name] = start }
		END {
			n = split(ops, line, "\n")
			for (i = 1; i <= n; i++) {
				split(line[i], word, " ")
				if (word[2] in at)
					print "op", at[word[2]], word[1]
			}
			print "text", first, last
		}' "$SYSTEM_MAP"
}

# insn_guest ARGUMENTS: a guest from boot to power-off in which swaptest, with these
# arguments and half of the memory that it wants, runs and exits. Leaves
# $VM_DIR/insn.json, and the driver's counters in end.DEVICE.COUNTER.
insn_guest()
{
	# shellcheck disable=SC2034 # vm_start takes them
	local VM_MEM=160M VM_CPUS=1 VM_TMEM=max-size=160M,num-queues=1
	# System.map holds for a kernel that stays where it was linked.
	# shellcheck disable=SC2034
	local VM_APPEND="nokaslr ${VM_APPEND:-}"

	vm_job <<-JOB
		cgroup box 32M
		swap_on /dev/vda
		within box swaptest name=data mib=64 $1
		driver_vals end
	JOB
	rm -f "$VM_DIR/insn.json"
	vm_start -plugin "$INSN_PLUGIN,map=$VM_DIR/insn.map,out=$VM_DIR/insn.json"
	vm_finish 120
	jq -e 'any(.[]; .number > 0)' "$VM_DIR/insn.json" >/dev/null 2>&1 ||
		bail "something is counted" "is $SYSTEM_MAP of $KERNEL?"
}

# insn_result: what was counted, operations by name, each with number; driver,
# called and wait (sums) and their means; p50, p99 and max of driver; max_all,
# which is with what was called; functions (means)
insn_result()
{
	jq 'map_values((if .number > 0 then .number else 1 end) as $n |
		. + {mean: (.driver / $n), called_mean: (.called / $n), wait_mean: (.wait / $n),
		     functions: (.functions | map_values(. / $n * 10 | round / 10))})' "$VM_DIR/insn.json"
}
