#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A guest powers the PCIe slot of the device off, which no property of the device can
# forbid, while the page store is sent. The thread that sends it is without QEMU's big
# lock: the migration fails, QEMU and the guest go on, and later migrations work.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
vm_setup

vm_job <<'JOB'
swap_on /dev/vda
device=$(readlink -f "/sys/bus/pci/devices/$(tmem_pci)")
port=${device%/*}/config
byte()
{
	hexdump -s "$1" -n 1 -v -e '1/1 "%d"' "$port"
}
# The capability that is for PCI Express
cap=$(byte 52)
while [ "$(byte "$cap")" != 16 ]; do
	cap=$(byte $((cap + 1)))
	[ "$cap" != 0 ] || fail "the device is in no PCIe slot"
done
cgroup box 24M
within box swaptest name=data mib=300 random=100 bus=count phases=fill,stop,verify &
pid=$!
stopped $pid
mark ready
await off
# Slot control: power controller and indicator off
printf '\000\007' | dd of="$port" bs=2 seek=$(((cap + 24) / 2)) count=1 conv=notrunc 2>/dev/null ||
	fail "slot control"
mark off
await end
kill -9 $pid
# Swap works without it
within box swaptest name=disk mib=48 phases=fill,rverify
JOB
VM_CPUS=2
VM_MEM=128M
VM_APPEND=virtio_tmem.timeout=2
# Else it is ACPI that takes devices away, which asks first
vm_start -global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off \
	-device pcie-root-port,id=rp0,slot=1,chassis=1 \
	-device virtio-tmem-pci,id=tmem,bus=rp0,max-size=384M,num-queues=2,pressure=off
vm_reach ready 120
pages=$(vm_tmem pages)
cmp_ok "the store holds $pages pages" "$pages" -gt 40000

# shellcheck disable=SC2317 # called by vm_poll
migration_ends()
{
	state=$(vm_qmp '{"execute": "query-migrate"}' | jq -r .return.status)
	[ "$state" = failed ] || [ "$state" = completed ]
}

# migrate MS COMMAND: with this downtime limit, to a command
migrate()
{
	vm_qmp "{\"execute\": \"migrate-set-parameters\", \"arguments\":
		{\"max-bandwidth\": 4294967296, \"downtime-limit\": $1}}" >/dev/null
	vm_qmp "$(jq -nc --arg uri "exec:($2) >/dev/null" '{execute: "migrate", arguments: {uri: $uri}}')" >/dev/null
}

# The other side takes a rest when it has taken so much that some of the store is left:
# RAM and store come in turn, and RAM is mostly zeros.
migrate 0 "head -c $((pages * 3000)); touch $VM_DIR/rest; until [ -e $VM_DIR/go ]; do sleep 0.1; done; cat"
vm_poll 30 test -e "$VM_DIR/rest" || bail "the guest is on its way"
sleep 1
vm_send off
vm_reach off 60
is "it removes the device: that is gone at once" "$(vm_qmp '{"execute": "query-tmem"}' | jq -c .return)" '[]'
touch "$VM_DIR/go"
vm_poll 30 migration_ends || :
is "the migration fails" "$state" failed
like "and says why" "$(cat "$VM_DIR/qemu.log")" 'virtio-tmem: the guest has removed the device'
is "QEMU goes on" "$(vm_qmp '{"execute": "query-status"}' | jq -r .return.status)" running
migrate 300 cat
vm_poll 30 migration_ends || :
is "without the device it can migrate" "$state" completed
vm_qmp '{"execute": "cont"}' >/dev/null
vm_send end
vm_finish 120
vm_data_ok disk
done_testing
