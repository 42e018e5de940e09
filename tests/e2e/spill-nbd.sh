#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Invariants 1 and 2, with what is spilled on a server (NBD) that goes away and
# comes back: for less than reconnect-delay, nobody notices; for longer, the guest
# loses the pages that it asks for meanwhile, and no other one, and never gets
# wrong bytes.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
vm_setup

# The server is a QEMU without a machine.
nbd=
server_start()
{
	rm -f "$VM_DIR"/nbd.socket "$VM_DIR"/nbd.qmp
	# shellcheck disable=SC2086 # two words each
	"$QEMU" $VM_FIRMWARE -M none -nodefaults -display none \
		-blockdev "driver=file,node-name=spill,filename=$VM_DIR/spill" \
		-qmp "unix:$VM_DIR/nbd.qmp,server=on,wait=off" > "$VM_DIR/nbd.log" 2>&1 < /dev/null &
	nbd=$!
	vm_poll 10 test -S "$VM_DIR/nbd.qmp" || bail 'the server starts' "$(cat "$VM_DIR/nbd.log")"
	VM_SOCK=$VM_DIR/nbd.qmp vm_qmp "$(printf '{"execute":"nbd-server-start","arguments":{"addr":{"type":"unix","data":{"path":"%s"}}}}' \
		"$VM_DIR/nbd.socket")" >> "$VM_DIR/nbd.log"
	VM_SOCK=$VM_DIR/nbd.qmp vm_qmp '{"execute":"block-export-add","arguments":
		{"type":"nbd","id":"nbd","node-name":"spill","name":"","writable":true}}' >> "$VM_DIR/nbd.log"
	vm_poll 10 test -S "$VM_DIR/nbd.socket" || bail 'the server listens' "$(cat "$VM_DIR/nbd.log")"
}
server_stop()
{
	[ -z "$nbd" ] || kill -9 "$nbd" 2> /dev/null || :
	wait "$nbd" 2> /dev/null || :
	nbd=
	rm -f "$VM_DIR/nbd.socket"
}
trap 'server_stop; vm_cleanup' EXIT
truncate -s 512M "$VM_DIR/spill"

vm_spill()
{
	vm_qmp '{"execute":"query-tmem"}' | jq -r --arg f "$1" '.return[0].spill[$f]'
}

# guest RECONNECT-DELAY STOPS PHASES [SWAPTEST-ARGUMENT]: fills, and has most of it spilled
guest()
{
	server_start
	vm_job <<-JOB
		cgroup box 32M
		swap_on /dev/vda
		within box swaptest name=data mib=128 random=100 $4 phases=$3 &
		pid=\$!
		steps \$pid $2
		wait \$pid
	JOB
	VM_MEM=256M
	# However slow the server, pages go nowhere else
	VM_TMEM=id=tmem0,max-size=160M,spill=spill,target=off
	vm_start -blockdev "driver=nbd,node-name=spill,server.type=unix,server.path=$VM_DIR/nbd.socket,reconnect-delay=$1"
	vm_reach step1 200
	vm_set_size 25165824 tmem0
	vm_poll 20 vm_tmem_below bytes-used 25165825 || :
	cmp_ok "reconnect-delay=$1: pages are on the server" "$(vm_spill pages)" -gt 10000
}

guest 120 2 fill,stop,verify,stop,verify ""
vm_send go1
sleep 1
server_stop
sleep 4
server_start
vm_reach step2 200
vm_send go2
vm_finish 200
vm_data_ok data
server_stop

guest 0 1 fill,stop,verify bus=count
server_stop
vm_send go1
vm_poll 200 vm_gone || bail "guest ends within 200 seconds"
lost=$(vm_get data.sigbus)
cmp_ok "the server is away: $lost pages are lost" "${lost:-0}" -gt 0
is "none is wrong" "$(vm_get data.bad)" 0
vm_stop
done_testing
