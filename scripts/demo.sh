#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# make demo: one guest that needs more memory than it has, twice: swapping to a
# virtio-blk disk, then the same with virtio-tmem in front of that disk.
#
# The comparison is to be fair to the disk: it has a thread of its own
# (IOThread), its file is on tmpfs, and read-ahead (page-cluster) is the kernel's
# default for both. What is timed touches one word of each page and checks it;
# every byte is verified afterwards.
#
# Environment: see tests/lib/vm.sh; MAX_SIZE (of the page store, 512M).
set -eu

cd "$(dirname "$0")/.."
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh

mib=384
max_size=${MAX_SIZE:-512M}

vm_no_tap demo

# one NAME: the guest's run; afterwards its values are in the file NAME
one()
{
	local wall=$SECONDS

	vm_start
	vm_reach demo.stopped 170
	if [ -n "$VM_TMEM" ]; then
		vm_qmp '{"execute":"query-tmem"}' |
			jq -r '.return[0] | to_entries[] | select(.value | type == "number") |
				"@tmem.\(.key) \(.value)"' >"$VM_DIR/$1"
	else
		: >"$VM_DIR/$1"
	fi
	echo "@rss $(($(vm_rss_kib) * 1024))" >>"$VM_DIR/$1"
	vm_send go || not_ok "no answer on the serial port"
	vm_finish 60
	[ "$(vm_get demo.bad)" = 0 ] ||
		not_ok "$(vm_get demo.bad) bad pages" "$(grep '^@bad ' "$VM_DIR/proto.log")"
	echo "@wall $((SECONDS - wall))" >>"$VM_DIR/$1"
	grep -a '^@[^ ]* [0-9]*$' "$VM_DIR/proto.log" >>"$VM_DIR/$1"
}

vm_setup
vm_job <<JOB
swap_on /dev/vda
disk_vals before vda
swaptest name=demo mib=$mib phases=fill,seq,rand,verify,stop &
pid=\$!
stopped \$pid
disk_vals after vda
await go
kill -CONT \$pid
wait \$pid
JOB

case $VM_ACCEL in
tcg) accel="TCG (software emulation: rates mean little, their ratio more)" ;;
kvm) accel="KVM" ;;
esac
echo "Guest: 160 MiB of RAM, 1 vCPU, a program that uses $mib MiB (34 % random bytes)."
echo "Accelerator: $accel"

echo "1/2 swap on a virtio-blk disk ..."
VM_TMEM=
one blk
echo "2/2 the same, with virtio-tmem (max-size=$max_size) ..."
VM_TMEM="id=tmem0,max-size=$max_size,num-queues=1"
one tmem

awk -v blk="$VM_DIR/blk" '
# 1234567 as 1,234,567
function commas(n,   s, r)
{
	s = sprintf("%d", n)
	while (length(s) > 3) {
		r = "," substr(s, length(s) - 2) r
		s = substr(s, 1, length(s) - 3)
	}
	return s r
}
function mib(bytes) { return sprintf("%.1f MiB", bytes / 1048576) }
function row(what, a, b, c) { printf "%-34s %16s %16s %10s\n", what, a, b, c }
function ratio(x, y) { return y ? sprintf("%.1fx", x / y) : "-" }
function speed(what, ph)
{
	row(what ", pages/s", commas(B["demo." ph ".rate"]), commas(T["demo." ph ".rate"]),
	    ratio(T["demo." ph ".rate"], B["demo." ph ".rate"]))
	row("    time", sprintf("%.1f s", B["demo." ph ".us"] / 1e6),
	    sprintf("%.1f s", T["demo." ph ".us"] / 1e6), "")
}
function disk(a, f) { return a["after." f] - a["before." f] }
FILENAME == blk { B[substr($1, 2)] = $2; next }
{ T[substr($1, 2)] = $2 }
END {
	print ""
	row("", "virtio-blk only", "with virtio-tmem", "ratio")
	speed("write all pages", "fill")
	speed("read again, in order", "seq")
	speed("read again, at random", "rand")
	row("disk read requests", commas(disk(B, "reads")), commas(disk(T, "reads")), "")
	row("    data", mib(512 * disk(B, "sectors_read")), mib(512 * disk(T, "sectors_read")), "")
	row("disk write requests", commas(disk(B, "writes")), commas(disk(T, "writes")), "")
	row("    data", mib(512 * disk(B, "sectors_written")), mib(512 * disk(T, "sectors_written")), "")
	row("disk reads avoided", "", commas(disk(B, "reads") - disk(T, "reads")), "")
	row("disk writes avoided", "", commas(disk(B, "writes") - disk(T, "writes")), "")
	row("memory of the QEMU process", mib(B["rss"]), mib(T["rss"]), "")
	row("pages verified, every byte", commas(B["demo.verified"]), commas(T["demo.verified"]), "")
	row("bad pages", B["demo.bad"], T["demo.bad"], "")
	print ""
	printf "Page store at the end of the run: %s pages (%s of guest memory) in %s of host memory;\n",
	    commas(T["tmem.pages"]), mib(4096 * T["tmem.pages"]), mib(T["tmem.bytes-used"])
	printf "compression ratio %.2f (%.2f with the overhead of the store), limit %s.\n",
	    T["tmem.bytes-stored"] ? 4096 * T["tmem.pages"] / T["tmem.bytes-stored"] : 0,
	    T["tmem.bytes-used"] ? 4096 * T["tmem.pages"] / T["tmem.bytes-used"] : 0,
	    mib(T["tmem.limit"])
	moved = T["tmem.puts"] + T["tmem.gets"]
	printf "%s pages put (%s refused), %s got, %s flushed; %.2f notifications for each page put or got.\n",
	    commas(T["tmem.puts"]), commas(T["tmem.rejected-puts"]), commas(T["tmem.gets"]),
	    commas(T["tmem.flushes"]), moved ? T["tmem.notifications"] / moved : 0
}' "$VM_DIR/blk" "$VM_DIR/tmem"
