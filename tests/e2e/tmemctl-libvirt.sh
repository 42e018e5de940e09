#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# tmemctl finds guests through libvirt, asks and sets them; a QEMU that hangs is a
# line, and takes no more than its time. With a libvirtd of its own, for a user
# without rights (root's would be that of the whole host).
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh

# shellcheck source=tests/lib/libvirt.sh
. tests/lib/libvirt.sh
vm_setup
lv_setup
tmemctl=$PWD/$BUILD/tools/tmemctl
make -s -C tools O="$PWD/$BUILD/tools" "$tmemctl" >"$VM_DIR/make.log" 2>&1 ||
	bail "tmemctl builds" "$(tail -n 5 "$VM_DIR/make.log")"
"$tmemctl" --version | grep -q 'libvirt: yes' || skip_all "tmemctl was built without libvirt"
vm_job <<<'await end'
cp "$KERNEL" "$LV/kernel"
cp "$VM_JOB" "$LV/initrd"
cp "$tmemctl" "$LV/tmemctl"
lv_daemon one

cat >"$LV/web.xml" <<XML
<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>web</name><memory unit='MiB'>128</memory><vcpu>1</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type>
    <kernel>$LV/kernel</kernel><initrd>$LV/initrd</initrd>
    <cmdline>console=ttyS0 rootfstype=ramfs panic=-1</cmdline></os>
  <features><acpi/></features><cpu mode='maximum'/>
  <devices><emulator>$LV/qemu</emulator><memballoon model='none'/></devices>
  <qemu:commandline>
    <qemu:arg value='-L'/><qemu:arg value='/usr/share/qemu'/>
    <qemu:arg value='-L'/><qemu:arg value='/usr/share/seabios'/>
    <qemu:arg value='-device'/>
    <qemu:arg value='virtio-tmem-pci,id=tmem0,max-size=64M,addr=0x10,pressure=off'/>
  </qemu:commandline>
</domain>
XML
lv one virsh -q create "$LV/web.xml" >"$VM_DIR/virsh.log" 2>&1 || bail "libvirt starts the guest" "$(<"$VM_DIR/virsh.log")"

# t ARGUMENT...: sets $out and $status
t()
{
	status=0
	out=$(lv one ./tmemctl "$@" 2>&1) || status=$?
}

t list -t 20
is "tmemctl finds the guest" "$status $(awk 'NR == 2 { print $1, $2, $5, $7, $8 }' <<<"$out")" \
	'0 web tmem0 64.0M ok libvirt:web'
t set web -M 96M -m 8M -t 20
is "sets its limits" "$status $out" '0 web tmem0: max-size 64.0M -> 96.0M, min-size 0 -> 8.0M'
t stat --json -t 20
is "and libvirt's QEMU has them" "$(jq -c '.guests[0].devices[0] | [."max-size", ."min-size"]' <<<"$out")" \
	"[$((96 << 20)),$((8 << 20))]"
t set web -M 512T -t 20
like "what QEMU refuses is told with its reason" "$status $out" '^5 .*it must not be more than the memory of the host'
t balance --once --total 32M -t 20
is "balance sets it too" "$status $out" '0 '
t stat --json -t 20
is "to all that there is" "$(jq '.guests[0].devices[0]."max-size"' <<<"$out")" $((32 << 20))

pid=$(find "$LV" -name web.pid -exec cat {} +)
kill -STOP "$pid"
t stat -t 1
like "a QEMU that hangs" "$status $out" '^4 tmemctl: web: no answer through libvirt within 1 s'
t stat -w -n 3 -i 0.5 -t 0.5
is "is asked once, not again and again" "$(grep -c 'still no answer to an earlier question' <<<"$out")" 2
kill -CONT "$pid"
# shellcheck disable=SC2317 # called by vm_poll
answers()
{
	t stat -t 5
	[ "$status" = 0 ]
}
if vm_poll 20 answers; then
	ok "it goes on, and answers"
else
	not_ok "it goes on, and answers" "$out"
fi
lv one virsh -q destroy web >"$VM_DIR/virsh.log" 2>&1 || :
t list -t 5
is "a guest that is gone is not there" "$status $(wc -l <<<"$out")" '0 1'
t stat -c test:///default
like "a libvirt that has no QEMU" "$status $out" '^4 tmemctl: test: libvirt does not pass the question on: '
t stat -c nonsense:///
like "a URI that is none" "$status $out" '^4 tmemctl: cannot connect to libvirt at nonsense:///: .*--qmp'
done_testing
