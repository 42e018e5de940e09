#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# instructions.sh: instructions that a guest executes for each operation of the
# driver, counted by a TCG plugin.  Writes build/bench/instructions.json and .md.
#
# "Driver" is the driver, its frontswap part and the ring's functions; "called" is
# what they call elsewhere in the kernel (locks, bit maps, xarrays); "waiting" is
# spinning for the device's answer.  Copying a page counts as the one instruction
# that it is, whatever it takes.
#
# Environment: as tests/lib/vm.sh and tests/lib/insn.sh.
set -eu
cd "$(dirname "$0")/../.."
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
# shellcheck source=tests/lib/insn.sh
. tests/lib/insn.sh

out=$BUILD/bench

# run NAME ARGUMENTS: one guest; an object with what it took
run()
{
	echo "bench: instructions, $1" >&2
	insn_guest "$2"
	insn_result | jq -c --arg name "$1" '{($name): .}'
}

vm_no_tap bench
vm_setup
insn_setup
mkdir -p "$out"
{
	run order phases=fill,seq
	run random phases=fill,rand
	run same_filled 'phases=fill,seq zero=100'
} | jq -s --arg date "$(date -u +%FT%TZ)" '{date: $date} + add' >"$out/instructions.json"

jq -r '
	def row(name; op): op as $o |
		"| \(name) | \($o.number) | \($o.mean | round) | \($o.p50) | \($o.p99) | \($o.max) | " +
		"\($o.called_mean | round) | \($o.wait_mean | round) |";
	def most(op): op.functions | to_entries | sort_by(-.value)[:6] |
		map("\(.key) \(.value | round)") | join(", ");
	"Instructions for each operation",
	"",
	"| | number | driver, mean | half need no more than | 99 % | most | called, mean | waiting, mean |",
	"|---|---|---|---|---|---|---|---|",
	row("put"; .order.put),
	row("get, in order"; .order.get),
	row("get, at random"; .random.get),
	row("flush (interrupts off)"; .order.flush),
	row("sending flushes, later"; .order.work),
	row("same-filled page out, its words are looked at"; .same_filled.store),
	row("same-filled page in, its words are written"; .same_filled.load),
	"",
	"Sending flushes comes to \(.order.work.driver / .order.flush.number | round) instructions for each flush.",
	"",
	"Functions that take most:",
	"",
	"- put: \(most(.order.put))",
	"- get, in order: \(most(.order.get))",
	"- get, at random: \(most(.random.get))",
	"- flush: \(most(.order.flush))"' "$out/instructions.json" | tee "$out/instructions.md"
