#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# tmemctl and a real QEMU agree: what it shows is what query-tmem says, what it
# sets is set, and a QEMU that stops or ends is reported as that.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh

vm_setup
log=$VM_DIR/make.out
tmemctl=$PWD/$BUILD/tools/tmemctl
make -s -C tools O="$PWD/$BUILD/tools" "$tmemctl" >"$log" 2>&1 ||
	bail "tmemctl builds" "$(tail -n 5 "$log")"

vm_job <<'JOB'
cgroup box 32M
swap_on /dev/vda
within box swaptest name=data mib=64 zero=2 part=100 phases=fill,rverify,stop,rewrite,rverify,stop &
pid=$!
steps $pid 2
wait $pid
JOB
VM_MEM=192M
# On a busy machine, a timer that is late is not broken.
spill=$VM_DIR/spill
truncate -s 256M "$spill"
VM_TMEM=id=tmem0,max-size=64M,spill=spill
VM_TMEM2=id=tmem1,max-size=32M,min-size=8M
vm_start -blockdev "driver=file,node-name=spill,filename=$spill,discard=unmap"
sock=$VM_DIR/qmp.sock
vm_reach step1 60

t()
{
	"$tmemctl" "$1" -q "$sock" -t 20 "${@:2}"
}

# What tmemctl adds is left out, and null is what query-tmem does not have.
# shellcheck disable=SC2317 # called by same_looks
looks()
{
	shown=$(t stat --json | jq -cS '[.guests[0].devices[] | del(.id, .ratio, .rates) |
		.pressure |= with_entries(select(.value != null)) |
		if ."target-pages" == null then ."target-pages" = 9223372036854775807 else . end |
		if .spill == null then del(.spill) else . end]')
	told=$(vm_qmp '{"execute":"query-tmem"}' | jq -cS '.return | sort_by(.path)')
}
# shellcheck disable=SC2317 # called by vm_poll
same_looks()
{
	looks
	[ "$shown" = "$told" ]
}
# The driver sends what it has staged, and gives its reservations back.
vm_poll 20 same_looks || :
is "every number is that of query-tmem" "$shown" "$told"
is "the guest has the name that QEMU has" "$(t list | awk 'NR == 2 { print $1 }')" tmem-test
like "stat shows both devices" "$(t stat | tr '\n' ' ')" 'tmem0 .*64\.0M.* tmem1 .*32\.0M'
like "the metrics too" "$(t export)" '^virtio_tmem_max_size_bytes\{guest="tmem-test",device="tmem1"\} 33554432$'

# ---- set ----

like "a new limit" "$(t set tmem-test --device tmem0 --max-size 96M)" 'max-size 64.0M -> 96.0M'
is "QEMU has it" "$(vm_tmem max-size "$(vm_qmp '{"execute":"query-tmem"}' | jq '.return | map(.path) | index("/machine/peripheral/tmem0")')")" $((96 << 20))
like "both sizes, below the old minimum" "$(t set tmem-test -d tmem1 -M 4M -m 2M)" 'max-size 32.0M -> 4.0M, min-size 8.0M -> 2.0M'
like "both sizes, above the old maximum" "$(t set tmem-test -d tmem1 -M 64M -m 48M)" 'max-size 4.0M -> 64.0M, min-size 2.0M -> 48.0M'
status=0
out=$(t set tmem-test -d tmem0 -M 512T 2>&1) || status=$?
like "more than the host has: QEMU's reason is told" "$status $out" \
	"^5 tmemctl: tmem-test: QEMU refused it: property 'max-size' is .*, it must not be more than the memory of the host"

# ---- Spilling ----

# As little as it can be: what the guest has swapped must leave.
t set tmem-test -d tmem0 -M 16M -m 0 >/dev/null
# shellcheck disable=SC2317 # called by vm_poll
has_spilled()
{
	[ "$(t stat --json | jq '.guests[0].devices[0].spill.pages')" -gt 0 ]
}
vm_poll 20 has_spilled || :
# Spilling goes on for a while, so two looks may differ.
vm_poll 20 same_looks || :
is "every number is that of query-tmem when it has spilled, too" "$shown" "$told"
cmp_ok "pages are on the node" "$(jq '.[0].spill.pages' <<<"$shown")" -gt 0
cmp_ok "they gave memory back" "$(jq '.[0]."given-back".spill' <<<"$shown")" -gt 0
is "a device without a node has no spill" "$(jq '.[1] | has("spill")' <<<"$shown")" false
# shellcheck disable=SC2317 # called by vm_poll
is_active()
{
	[ "$(vm_qmp '{"execute":"query-tmem"}' | jq -r '.return[].spill.status | select(.)')" = active ]
}
# A disk that was too slow is tried again after 10 seconds
vm_poll 20 is_active || :
like "the metrics have the node's status" "$(t export)" \
	'^virtio_tmem_spill_status\{guest="tmem-test",device="tmem0",status="active"\} 1$'

# ---- top ----

if command -v tmux >/dev/null; then
	screen=tmemctl-test-$$
	tmux -L "$screen" -f /dev/null new-session -d -x 120 -y 12 \
		"exec env TERM=screen '$tmemctl' top -q '$sock' -t 20 -i 0.5"
	# shellcheck disable=SC2317 # called by vm_poll
	has_rates()
	{
		tmux -L "$screen" capture-pane -p | grep -Eq 'tmem0 .* [0-9.]+k? +[0-9.]+k? +[0-9.]+k?$'
	}
	vm_poll 20 has_rates || :
	shown=$(tmux -L "$screen" capture-pane -p)
	like "top shows both devices, with rates" "$(tr '\n' ' ' <<<"$shown")" 'GUEST +DEVICE .*tmem0 .*tmem1 .*q quit'
	diag "$shown"
	tmux -L "$screen" send-keys q
	# shellcheck disable=SC2317 # called by vm_poll
	top_gone()
	{
		! tmux -L "$screen" has-session 2>/dev/null
	}
	if vm_poll 10 top_gone; then
		ok "q ends it"
	else
		not_ok "q ends it"
		tmux -L "$screen" kill-server
	fi
else
	skip "top shows both devices, with rates" "no tmux"
	skip "q ends it" "no tmux"
fi
vm_send go1
vm_reach step2 60
vm_send go2
vm_finish 30
vm_data_ok data

# ---- A QEMU that hangs, and one that has ended ----

vm_job <<<'await end'
VM_TMEM=id=tmem0,max-size=64M
VM_TMEM2=
vm_start
vm_poll 10 test -S "$VM_DIR/qmp.sock" || bail "QEMU starts"
vm_wait boot 60 || :
kill -STOP "$VM_PID"
status=0
start=$SECONDS
out=$("$tmemctl" stat -q "$sock" -t 1 2>&1 >/dev/null) || status=$?
like "a stopped QEMU" "$status $out" '^4 tmemctl: qmp: no (greeting|answer) within 1 s'
cmp_ok "costs the time that it may" $((SECONDS - start)) -le 10
kill -CONT "$VM_PID"
is "it can be asked again" "$(t list | awk 'NR == 2 { print $2 }')" tmem0
vm_stop
status=0
out=$("$tmemctl" stat -q "$sock" -t 5 2>&1 >/dev/null) || status=$?
like "a QEMU that was killed" "$status $out" '^4 tmemctl: qmp: nobody listens on '
done_testing
