#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# compile.sh: a compile in a guest that has too little memory for it, swapping in
# each way that one could choose.  Writes build/bench/compile.json and compile.md.
#
# "make -j3" of the lz4 library with gcc -O2: once with as much memory as it wants,
# then in a cgroup with so little that swap on virtio-blk takes twice the time.
# What swapping adds to the time is what is compared.  The compiler itself is in
# the file cache and stays there, outside of the cgroup: reading it again and again
# would be the same in each way.  The objects must be the same, too.
#
# Environment: as tests/lib/vm.sh; ROUNDS (1): the median of so many is given;
# WAYS=<regex>: only those whose name matches, besides ample memory and virtio-blk;
# LITTLE: the limit of the cgroup.
set -eu
cd "$(dirname "$0")/../.."
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh

rounds=${ROUNDS:-1}
little=${LITTLE:-13M}
out=$BUILD/bench

vm_no_tap bench

# job LIMIT: the disk is read-only, output goes to memory.  "measured" is when all
# that counts is done.
job()
{
	vm_job <<-JOB
		limit=$1
		$(job_text)
	JOB
}

job_text()
{
	cat <<-'JOB'
		swap_on /dev/vda
		cgroup box "$limit"
		mkdir /m
		mount -t ext4 -o ro /dev/vdb /m || fail "mount the disk with the compiler"
		mount -t tmpfs out /m/out && mount -t tmpfs tmp /m/tmp &&
			mount -t proc proc /m/proc && mount --bind /dev /m/dev || fail mount
		cp -r /m/src/lz4 /m/out
		cat /m/usr/lib/gcc/*/*/cc1 /m/usr/bin/* /m/lib/*/*.so* /m/usr/lib/*/*.so* >/dev/null 2>&1
		now()
		{
			cut -d' ' -f1 /proc/uptime
		}
		begin=$(now)
		mark begin
		PATH=/usr/bin:/bin within box chroot /m make -j3 -C /out/lz4/lib CFLAGS=-O2 \
			lz4hc.o lz4.o lz4frame.o xxhash.o lz4file.o >/dev/console 2>&1 || fail make
		val seconds "$(now | awk -v begin="$begin" '{ print $1 - begin }')"
		mark measured
		await counted
		vm_vals end
		driver_vals end
		for key in zswpin zswpout; do
			val end.$key "$(sed -n "s/^$key //p" /proc/vmstat)"
		done
		val objects "$(cat /m/out/lz4/lib/*.o | sha256sum | cut -d' ' -f1)"
		disk_vals compiler vdb
	JOB
}

# cpu_seconds: what QEMU has used so far: on a busy machine a better measure
cpu_seconds()
{
	awk -v hz="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); print ($12 + $13) / hz }' "/proc/$VM_PID/stat"
}

# pages DIRECTION DRIVER-COUNTERS: pages that swapped, wherever to
pages()
{
	echo $(($(vm_sum "end[.]pswp$1") + $(vm_sum "end[.]zswp$1") + $(vm_sum "end[.].*[.]($2)")))
}

# once NAME LIMIT: one guest; a line of JSON
once()
{
	local cpu

	job "$2"
	vm_start -blockdev "driver=raw,node-name=compiler,read-only=on,file.driver=file,file.filename=$image" \
		-device virtio-blk-pci,drive=compiler
	vm_reach begin 60
	cpu=$(cpu_seconds)
	vm_reach measured 600
	cpu=$(cpu_seconds | awk -v begin="$cpu" '{ print $1 - begin }')
	vm_send counted
	vm_finish 60
	jq -nc --arg name "$1" --arg objects "$(vm_get objects)" \
		--argjson seconds "$(vm_get seconds)" --argjson cpu "$cpu" \
		--argjson out "$(pages out 'puts|same_filled_stores')" \
		--argjson in "$(pages in 'gets|same_filled_loads')" \
		--argjson disk "$(vm_sum 'end[.]pswp(in|out)')" \
		--argjson file "$(vm_get compiler.sectors_read)" \
		'{name: $name, seconds: $seconds, cpu: $cpu, out: $out, in: $in,
		  disk: $disk, file_mib: ($file / 2048), objects: $objects}'
}

# way NAME LIMIT: ROUNDS of it (the settings of vm.sh are the caller's)
way()
{
	local n

	[[ $1 =~ ^(ample|virtio-blk) || $1 =~ ${WAYS:-.} ]] || return 0
	echo "bench: compile, $1" >&2
	for ((n = 0; n < rounds; n++)); do
		once "$1" "$2"
	done
}

# One vCPU: with two, on a host of two processors that had other things to do, the
# figures scattered by more than what is compared.
#
# zswap is given as much as it takes: its pages count in the cgroup.
all()
{
	VM_CPUS=1 VM_DISKS=512M VM_TMEM='' VM_APPEND=''
	VM_MEM=1G
	way 'ample memory' max
	VM_MEM=256M
	way 'virtio-blk' "$little"
	VM_TMEM=max-size=512M
	way 'virtio-tmem' "$little"
	VM_TMEM='' VM_APPEND="zswap.enabled=1 zswap.compressor=lz4 zswap.zpool=zsmalloc zswap.max_pool_percent=50"
	way 'zswap lz4 over virtio-blk' "$little"
}

vm_setup
image=$(tests/bench/compile-image.sh)
# Read once, so that no guest waits for the host's disk
cat "$image" >/dev/null
mkdir -p "$out"
all >"$VM_DIR/rounds"

jq -s --arg accel "$VM_ACCEL" --arg date "$(date -u +%FT%TZ)" --arg limit "$little" '
	def median: sort | .[(length / 2 | floor)];
	{accel: $accel, date: $date, limit: $limit, rounds: .,
	 same: (map(.objects) | unique | length == 1),
	 ways: (. as $all | reduce .[].name as $n ([]; if index($n) then . else . + [$n] end) |
		map(. as $n | [$all[] | select(.name == $n)] | .[0] +
			{seconds: (map(.seconds) | median), cpu: (map(.cpu) | median)}))} |
	(.ways[] | select(.name == "ample memory")) as $ample |
	(.ways[] | select(.name == "virtio-blk")) as $blk |
	.ways |= map(. + {added: (.seconds - $ample.seconds), added_cpu: (.cpu - $ample.cpu)} |
		. + {ratio: (.added / ($blk.seconds - $ample.seconds)),
		     ratio_cpu: (.added_cpu / ($blk.cpu - $ample.cpu))})' "$VM_DIR/rounds" >"$out/compile.json"

jq -r '
	def round2: . * 100 | round / 100;
	def way(name): .ways[] | select(.name == name);
	"Compiling lz4 (make -j3, gcc -O2), 1 vCPU, in a cgroup of \(.limit) (\(.accel))",
	"",
	"| | seconds | swapping adds | of what it adds with virtio-blk | CPU seconds of QEMU | added | ratio | pages out | pages in | of these by disk |",
	"|---|---|---|---|---|---|---|---|---|---|",
	(.ways[] | "| \(.name) | \(.seconds | round) | \(.added | round) | \(.ratio | round2)x | " +
		"\(.cpu | round) | \(.added_cpu | round) | \(.ratio_cpu | round2)x | " +
		"\(.out) | \(.in) | \(.disk) |"),
	"",
	(if way("virtio-blk").seconds < 2 * way("ample memory").seconds
	 then "Too much memory: with virtio-blk it takes less than twice the time (LITTLE= sets the limit)." else empty end),
	(way("virtio-tmem").ratio | "virtio-tmem: \(round2)x, goal 0.4x: \(if . <= 0.4 then "met" else "missed" end)."),
	"Objects: \(if .same then "the same in each way" else "NOT the same" end)."' \
	"$out/compile.json" | tee "$out/compile.md"
jq -e .same "$out/compile.json" >/dev/null || vm_die "the compiler's output is not the same in each way"
