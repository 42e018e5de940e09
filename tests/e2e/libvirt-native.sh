#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A libvirt with the series of libvirt/: it starts a domain with a <tmem> device, the
# device of QEMU is what the definition says, its sizes can be changed while it runs
# and nothing else can; it outlives a restart of libvirt, and is saved and restored.
# No guest runs: its vCPUs are never started.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
# shellcheck source=tests/lib/libvirt.sh
. tests/lib/libvirt.sh
KERNEL=$QEMU INITRAMFS=$QEMU ACCEL=tcg
vm_setup
if ! text=$(scripts/build-libvirt.sh 2>&1); then
	bail "libvirt is built" "$text"
fi
LV_BUILD=$(cd "$BUILD/libvirt" && pwd) || bail "libvirt is built"
lv_setup

# definition: of a domain that uses what the device has
definition()
{
	cat <<-END
		<domain type='qemu'>
		  <name>native</name>
		  <memory unit='MiB'>64</memory>
		  <vcpu>2</vcpu>
		  <iothreads>2</iothreads>
		  <os><type arch='x86_64' machine='q35'>hvm</type></os>
		  <devices>
		    <emulator>$LV/qemu</emulator>
		    <controller type='usb' index='0' model='none'/>
		    <memballoon model='none'/>
		$(device 512 "$@")
		  </devices>
		</domain>
	END
}

# device MIB [LEVEL]: the element
device()
{
	cat <<-END
		<tmem model='virtio'>
		  <size unit='MiB'>$1</size>
		  <min_guarantee unit='MiB'>$(($1 / 8))</min_guarantee>
		  <pool_quota unit='MiB'>256</pool_quota>
		  <compression algorithm='zstd' level='${2:-3}'/>
		  <pressure mode='file' path='$LV/pressure'/>
		  <spill type='file'><source file='$LV/spill.img'/></spill>
		  <driver queues='4' ioeventfd='on' packed='on'>
		    <iothreads>
		      <iothread id='1'><queue id='0'/><queue id='1'/><queue id='2'/></iothread>
		      <iothread id='2'><queue id='3'/></iothread>
		    </iothreads>
		  </driver>
		</tmem>
	END
}

# refuses NAME REGEX ARGUMENT...: virsh fails, and says this
refuses()
{
	local name=$1 regex=$2

	shift 2
	if v "$@"; then
		not_ok "$name" "virsh $* succeeded"
	else
		like "$name" "$(<"$VM_DIR/virsh.log")" "$regex"
	fi
}

# store FILTER: of query-tmem's answer
store()
{
	lv one virsh -q qemu-monitor-command native '{"execute":"query-tmem"}' | jq -c ".return[0] | $1"
}

property()
{
	lv one virsh -q qemu-monitor-command native "{\"execute\":\"qom-get\",
		\"arguments\":{\"path\":\"/machine/peripheral/tmem0\",\"property\":\"$1\"}}" | jq -c .return
}

# element NAME: what the live definition of the device says of it
element()
{
	lv one virsh -q dumpxml native | sed -n "/<tmem /,/<\/tmem>/s/^ *<\($1[ >].*\)>\$/\1/p"
}

# as_defined MIB: the device is what the definition says
as_defined()
{
	is "$1 MiB: its size" "$(store '."max-size"')" $(($1 << 20))
	is "$1 MiB: what is guaranteed" "$(store '."min-size"')" $(($1 << 17))
	is "$1 MiB: libvirt says so" "$(element size)" "size unit='KiB'>$(($1 << 10))</size"
}

# ---- definitions ----

printf 'some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n' >"$LV/pressure"
truncate -s 64M "$LV/spill.img"
definition >"$LV/native.xml"
definition 20 >"$LV/level.xml"
for mib in 1024 256; do
	device $mib >"$LV/device-$mib.xml"
done
device 512 4 >"$LV/device-level.xml"
lv_daemon one

refuses "a level that zstd does not have is refused" 'compression level of the tmem device must be from 1 to 19' \
	define --validate "$LV/level.xml"
step "libvirt defines the domain" v define --validate "$LV/native.xml"

# ---- started ----

step "starts it" v start --paused native
as_defined 512
is "its queues" "$(property num-queues)" 4
is "its compression" "$(property compression) $(property compression-level)" '"zstd" 3'
is "its quota" "$(property pool-quota)" $((256 << 20))
is "packed rings" "$(property packed)" true
is "IOThreads serve its queues" "$(property ioeventfd) $(property iothread-vq-mapping)" \
	'true [{"iothread":"iothread1","vqs":[0,1,2]},{"iothread":"iothread2","vqs":[3]}]'
is "pages may go to its file" "$(store '.spill | type')" '"object"'
like "it is on the root bus" "$(element address)" "bus='0x00'"
is "its alias" "$(element alias)" "alias name='tmem0'/"
is "nothing taints the domain but what is asked here" \
	"$(grep -rh tainted "$LV"/one --include=native.log | grep -v 'tainted: custom-monitor' || :)" ''

# ---- changed ----

step "it can grow" v update-device --live native "$LV/device-1024.xml"
as_defined 1024
step "it can shrink" v update-device --live native "$LV/device-256.xml"
as_defined 256
refuses "another compression is refused" "cannot modify 'compression' of the tmem device" \
	update-device --live native "$LV/device-level.xml"
refuses "hot-plugging is refused" "live attach of device 'tmem' is not supported" \
	attach-device --live native "$LV/device-256.xml"
refuses "hot-unplugging is refused" "live detach of device 'tmem' is not supported" \
	detach-device --live native "$LV/device-256.xml"
refuses "its IOThreads have to stay" "IOThread '2' since it is being used by the tmem device" \
	iothreaddel native 2 --live

# ---- lives on ----

kill -TERM "${LV_DAEMONS[0]}"
wait "${LV_DAEMONS[0]}" || :
LV_DAEMONS=()
lv_daemon one
is "it outlives libvirt" "$(lv one virsh -q domstate native)" paused
as_defined 256
like "its file is still known" "$(element source)" "file='$LV/spill.img'"
step "save" v save native "$LV/saved"
step "restore" v restore --paused "$LV/saved"
as_defined 256
step "it ends" v destroy native

# ---- the next start ----

is "changes were for the running domain alone" "$(element size)" "size unit='KiB'>$((512 << 10))</size"
refuses "a second device is refused" 'domain already has a tmem device' attach-device --config native "$LV/device-1024.xml"
step "for the next start, its size changes" v update-device --config native "$LV/device-1024.xml"
is "and is" "$(element size)" "size unit='KiB'>$((1024 << 10))</size"
step "it can be taken away" v detach-device --config native "$LV/device-1024.xml"
is "and is" "$(element size)" ''
step "it can be added" v attach-device --config native "$LV/device-1024.xml"
step "undefine" v undefine native
done_testing
