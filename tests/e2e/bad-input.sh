#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What a person can get wrong on QEMU's command line is answered by one sentence
# and an exit status other than 0. No guest.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
vm_setup

run()
{
	# shellcheck disable=SC2086 # two words each
	timeout 20 "$QEMU" $VM_FIRMWARE -M q35 -accel tcg -nodefaults -display none \
		-S -monitor none "$@" </dev/null 2>&1
}

# refused NAME DEVICE-ARGUMENTS REGEX
refused()
{
	local out rc=0

	out=$(run -object iothread,id=io0 -blockdev driver=null-co,node-name=null,size=67108864,read-zeroes=on \
		-blockdev driver=null-co,node-name=small,size=1048576,read-zeroes=on \
		-blockdev driver=null-co,node-name=ro,size=67108864,read-zeroes=on,read-only=on \
		-device "$2") || rc=$?
	if [ "$rc" -eq 0 ] || [ "$rc" -ge 124 ]; then
		not_ok "$1" "$2: exit status $rc" "$out"
	elif [ "$(grep -c . <<<"$out")" -ne 1 ]; then
		not_ok "$1" "$2: not one line:" "$out"
	else
		like "$1" "$out" "$3"
		diag "$out"
	fi
}

host_kib=$(awk '/^MemTotal:/ { print $2 }' /proc/meminfo)

refused "max-size=0" virtio-tmem-pci,max-size=0 'max-size'
refused "max-size below one page" virtio-tmem-pci,max-size=100 'max-size'
refused "max-size over the host's memory" \
	"virtio-tmem-pci,max-size=$((host_kib + 1024))K" 'max-size.*memory of the host'
refused "max-size that no host has" virtio-tmem-pci,max-size=7E 'max-size'
refused "max-size beyond 64 bits" virtio-tmem-pci,max-size=99999999999G 'max-size'
refused "max-size that is no number" virtio-tmem-pci,max-size=plenty 'max-size'
refused "negative max-size" virtio-tmem-pci,max-size=-1 'max-size'
refused "num-queues=0" virtio-tmem-pci,max-size=64M,num-queues=0 'num-queues'
refused "num-queues=65" virtio-tmem-pci,max-size=64M,num-queues=65 'num-queues'
refused "num-queues that is no number" virtio-tmem-pci,max-size=64M,num-queues=x 'num-queues'
refused "a property that is none" virtio-tmem-pci,max-size=64M,size=1 "'?size'? ?not found|\.size"
refused "no max-size" virtio-tmem-pci 'max-size'
refused "min-size over max-size" virtio-tmem-pci,max-size=64M,min-size=65M \
	'min-size.* 68157440 .*max-size.* 67108864 '
refused "a compression that is none" virtio-tmem-pci,max-size=64M,compression=gzip \
	"compression.*'gzip'.*lz4, zstd or none"
refused "a level beyond all levels" \
	virtio-tmem-pci,max-size=64M,compression=zstd,compression-level=20 'compression-level.* 20,.*1 to 19'
refused "a level for lz4" virtio-tmem-pci,max-size=64M,compression-level=3 \
	'compression-level.*compression=zstd'
refused "pressure in a file that is not there" \
	virtio-tmem-pci,max-size=64M,pressure=/nonexistent 'pressure.*/nonexistent.*No such file'
refused "pressure in a file that has none" \
	virtio-tmem-pci,max-size=64M,pressure=/proc/version 'pressure.*/proc/version'
refused "pool-quota that is no number" virtio-tmem-pci,max-size=64M,pool-quota=x 'pool-quota'
refused "huge pages for a small store" virtio-tmem-pci,max-size=64M,hugepages=on \
	'67108864 .*huge pages.* 1073741824'
refused "an IOThread without ioeventfd" virtio-tmem-pci,max-size=64M,iothread=io0 \
	"'iothread'.*ioeventfd=on"
refused "an IOThread that is none" virtio-tmem-pci,max-size=64M,ioeventfd=on,iothread=io7 'io7'
refused "a node to spill to that is none" virtio-tmem-pci,max-size=64M,spill=x "spill.*'x'"
refused "a node that is too small" virtio-tmem-pci,max-size=64M,spill=small \
	"'spill'.* 1048576 bytes is too small to spill to.* 2097152"
refused "a node that cannot be written" virtio-tmem-pci,max-size=64M,spill=ro "'spill'.*read-only"
refused "a store that is too small to spill" virtio-tmem-pci,max-size=8M,spill=null \
	"'spill'.* 8388608 bytes is too small to spill.* 16777216"
both='"iothread": "io0", "iothread-vq-mapping": [{"iothread": "io0"}]'
refused "an IOThread in both ways" \
	"{\"driver\": \"virtio-tmem-pci\", \"max-size\": 67108864, \"ioeventfd\": true, $both}" \
	"'iothread' and 'iothread-vq-mapping'"

# Address space for half of the host's memory, and a store of three quarters
out=$(ulimit -v $((host_kib / 2)) && run -device "virtio-tmem-pci,max-size=$((host_kib * 3 / 4))K") && rc=0 || rc=$?
like "a store that cannot be allocated: one line" "$rc:$(wc -l <<<"$out"):$out" \
	'^1:1:.*cannot make the page store: cannot reserve address space .*Cannot allocate memory'

# The same command with good values runs, until it is stopped.
for good in max-size=1M max-size=64M,num-queues=64 \
	max-size=64M,min-size=64M,pressure=off,compression=zstd,compression-level=19 \
	max-size=64M,compression=none,pool-quota=1G,ephemeral=off,target=off; do
	rc=0
	# shellcheck disable=SC2086
	out=$(timeout 10 "$QEMU" $VM_FIRMWARE -M q35 -accel tcg -nodefaults -display none \
		-S -monitor none -device "virtio-tmem-pci,$good" </dev/null 2>&1) || rc=$?
	if [ "$rc" -eq 124 ] && ! grep -v "terminating on signal" <<<"$out" | grep -q .; then
		ok "$good is good"
	else
		not_ok "$good is good" "exit status $rc" "$out"
	fi
done
done_testing
