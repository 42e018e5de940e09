#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The domains of libvirt-xml/ and the fragments of them: they are valid; an unpatched
# libvirt defines and starts them, and their devices are what they say; a guest that
# has swapped is saved, restored and migrated to another libvirt, with all its pages.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
# shellcheck source=tests/lib/libvirt.sh
. tests/lib/libvirt.sh
vm_setup
lv_setup
command -v virt-xml-validate >/dev/null || skip_all "no virt-xml-validate"

# arguments FILE: of QEMU, one in a line
arguments()
{
	sed -n "s/^ *<qemu:arg value='\(.*\)'\/>\$/\1/p" "$1"
}

# adapt FILE NAME [WORDS]: for this host: no KVM, no networks of libvirt's, its own folders,
# and a kernel of ours, with WORDS, instead of a system on the first disk
adapt()
{
	sed -e "s,<domain type='kvm',<domain type='qemu'," -e "s,host-passthrough,maximum," \
		-e "s,<name>.*</name>,<name>$2</name>," \
		-e "s,/usr/bin/qemu-system-x86_64-tmem,$LV/qemu," \
		-e "s,/var/lib/libvirt/images/,$LV/images/$2-," -e "s,/proc/pressure/memory,$LV/pressure," \
		-e '/<interface/,/<\/interface>/d' \
		-e "s,^ *<serial type='pty'/>,<serial type='file'><source path='$LV/console.log' append='on'/></serial>\
<serial type='file'><source path='$LV/proto.log' append='on'/></serial>," \
		-e "s,^ *<boot dev='hd'/>,<kernel>$LV/kernel</kernel><initrd>$LV/initrd</initrd>\
<cmdline>console=ttyS0 rootfstype=ramfs no_timer_check panic=-1 oops=panic rcupdate.rcu_cpu_stall_timeout=60$3</cmdline>," "$1"
}

# device DAEMON DOMAIN FILTER: of query-tmem's answer
device()
{
	lv "$1" virsh -q qemu-monitor-command "$2" '{"execute":"query-tmem"}' | jq -c ".return[0] | $3"
}

# property DOMAIN NAME
property()
{
	lv one virsh -q qemu-monitor-command "$1" "{\"execute\":\"qom-get\",
		\"arguments\":{\"path\":\"/machine/peripheral/tmem0\",\"property\":\"$2\"}}" | jq -c .return
}

# follows DOMAIN: it has looked at a file
# shellcheck disable=SC2317 # called through vm_poll
follows()
{
	[ "$(device one "$1" .pressure.path)" != null ]
}

# passes: how often the guest has verified all its pages
passes()
{
	grep -c '^@data.rverify.us ' "$LV/proto.log" || :
}

# shellcheck disable=SC2317 # called through vm_poll
passed_more_than()
{
	[ "$(passes)" -gt "$1" ]
}

# goes_on NAME: the guest verifies its pages once more, from the beginning
goes_on()
{
	if vm_poll 60 passed_more_than $(($(passes) + 1)); then
		is "$1" "$(grep -E '^@(bad|data\.error|job\.error)' "$LV/proto.log" || :)" ''
	else
		not_ok "$1" "$(tail -n 5 "$LV/proto.log")" "$(tail -n 5 "$LV/console.log")"
	fi
}

# ---- as files ----

for file in libvirt-xml/*.xml; do
	like "$file is valid" "$(virt-xml-validate "$file" domain 2>&1)" ' validates$'
	case ${file##*/} in
	frontswap.xml | swapdev.xml) fragment=libvirt-xml/fragments/device.xml ;;
	*) fragment=libvirt-xml/fragments/${file##*/} ;;
	esac
	is "and its fragment is $fragment" "$(arguments "$fragment")" "$(arguments "$file")"
done

# ---- started ----

vm_job <<'JOB'
swap_on /dev/vdb
cgroup box 16M
within box swaptest name=data mib=32 repeat=0 phases=fill,rverify
JOB
cp "$KERNEL" "$LV/kernel"
cp "$VM_JOB" "$LV/initrd"
mkdir "$LV/images"
for file in libvirt-xml/*.xml; do
	for disk in root swap backing spill; do
		truncate -s 512M "$LV/images/$(basename "$file" .xml)-tmem-$disk.img"
	done
done
printf 'some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n' >"$LV/pressure"
lv_daemon one

for file in libvirt-xml/*.xml; do
	name=$(basename "$file" .xml)
	# With one processor, BARs that move do no harm: see vm_died_of_tcg()
	cpus=
	[ "$name" = frontswap ] || cpus=' maxcpus=1'
	adapt "$file" "$name" "$cpus" >"$LV/$name.xml"
	lv_own
	step "$name: libvirt defines it" v define --validate "$LV/$name.xml"
	step "$name: starts it" v start "$name"
	is "$name: it has a store of 512M" "$(device one "$name" '."max-size"')" $((512 << 20))
	case $name in
	spill) is "$name: pages may go to its file" "$(device one "$name" '.spill | type')" '"object"' ;;
	multi-queue) is "$name: its queues" "$(property "$name" num-queues)" 4 ;;
	pressure)
		vm_poll 10 follows "$name" || :
		is "$name: it follows the file" "$(device one "$name" .pressure.path)" "\"$LV/pressure\""
		is "$name: it keeps some" "$(device one "$name" '."min-size"')" $((64 << 20))
		;;
	esac
	[ "$name" = frontswap ] || step "$name: it ends" v destroy "$name"
	[ "$name" = frontswap ] || step "$name: it is undefined" v undefine "$name"
done

# ---- a fragment in somebody's own domain, which knows nothing of its name space ----

sed -e '/<qemu:commandline>/,/<\/qemu:commandline>/d' -e "s, xmlns:qemu='[^']*',," -e '/<\/domain>/d' \
	"$LV/swapdev.xml" | sed 's,<name>.*</name>,<name>own</name>,' >"$LV/own.xml"
{
	sed '/^<!--/,/-->/d' libvirt-xml/fragments/device.xml
	echo '</domain>'
} >>"$LV/own.xml"
lv_own
step "own domain: libvirt takes the fragment" v define --validate "$LV/own.xml"
step "own domain: starts it" v start own
is "own domain: it has the device" "$(device one own '."max-size"')" $((512 << 20))
step "own domain: it ends" v destroy own

# ---- a guest's life ----

vm_poll 60 passed_more_than 0 || bail "the guest fills its memory" "$(tail -n 5 "$LV/console.log")"
cmp_ok "the guest has swapped into its host" "$(device one frontswap .pages)" -gt 2000
step "save" v save frontswap "$LV/saved"
is "it does not run" "$(lv one virsh -q domstate frontswap)" 'shut off'
step "restore" v restore "$LV/saved"
cmp_ok "its pages are on the host again" "$(device one frontswap .pages)" -gt 2000
goes_on "restored: no page is wrong"

if unshare --uts true 2>/dev/null; then
	lv_daemon two
	step "migrate to another libvirt" v migrate --live --p2p --unsafe --persistent \
		--migrateuri "unix://$LV/migrate" frontswap \
		"qemu+unix:///session?socket=$LV/two/run/libvirt/libvirt-sock"
	is "it runs there" "$(lv two virsh -q domstate frontswap)" running
	is "and not here" "$(lv one virsh -q domstate frontswap)" 'shut off'
	cmp_ok "its pages are there" "$(device two frontswap .pages)" -gt 2000
	goes_on "migrated: no page is wrong"
	lv two virsh -q destroy frontswap >"$VM_DIR/virsh.log" 2>&1 || not_ok "it ends there" "$(<"$VM_DIR/virsh.log")"
else
	skip "migrate to another libvirt" "no right to have two host names"
	step "it ends" v destroy frontswap
fi
is "the kernel has no complaint" "$(vm_console "$LV/console.log" | grep -aE -m 5 -e "$VM_SPLATS" || :)" ''
step "undefine" v undefine frontswap
is "nothing is left" "$(lv one virsh -q list --all --name | grep -v '^own$' | tr -d '\n')" ''
done_testing
