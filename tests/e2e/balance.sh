#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# tmemctl balance with three guests that all swap more than there is room for:
# what they hold comes to be as their weights, a cap holds, and when it is killed
# nothing happens. Rounds are recorded; scripts/balance-plot.sh draws them.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
# shellcheck source=tests/lib/guests.sh
. tests/lib/guests.sh

command -v make >/dev/null || skip_all "no make"
vm_setup
tmemctl=$PWD/$BUILD/tools/tmemctl
make -s -C tools O="$PWD/$BUILD/tools" "$tmemctl" >"$VM_DIR/make.log" 2>&1 ||
	bail "tmemctl builds" "$(tail -n 5 "$VM_DIR/make.log")"

base=$VM_DIR
guests_setup a b c

# shellcheck disable=SC2317 # called by trap
end_all()
{
	local rc=$?

	[ -z "${balance:-}" ] || kill -KILL "$balance" 2>/dev/null || :
	(exit "$rc")
	guests_cleanup
}
trap end_all EXIT

VM_MEM=128M
# Three at a time on a busy machine: a timer that is late is not broken.
VM_DISKS=256M
for guest in "${GUESTS[@]}"; do
	guest_new "$guest"
	vm_job <<'JOB'
cgroup box 24M
swap_on /dev/vda
within box swaptest name=data mib=144 part=100 phases=fill,rewrite repeat=0 &
pid=$!
await end
kill $pid
JOB
	VM_TMEM=id=tmem0,max-size=4M
	vm_start
	guest_keep "$guest"
done
places=(-q "a=$base/a/qmp.sock" -q "b=$base/b/qmp.sock" -q "c=$base/c/qmp.sock")

# stat: guest, max-size, used, rejected, one line each
stat_all()
{
	"$tmemctl" stat "${places[@]}" -t 10 --json |
		jq -r '.guests[] | .guest as $g | .devices[] | "\($g) \(."max-size") \(."bytes-used") \(."rejected-puts")"'
}

# shellcheck disable=SC2317 # called by vm_poll
all_press()
{
	[ "$(stat_all | awk '$4 > 100' | wc -l)" = 3 ]
}

vm_poll 120 all_press || bail "all guests swap more than there is room for" "$(stat_all)"
ok "all guests swap more than there is room for"

conf=$base/balance.conf
log=${TEST_LOGS:-build/test-logs}/e2e-balance.json
mkdir -p "${log%/*}"
printf '[balance]\ntotal=56M\nreserve=1M\ninterval=1\n[guest a]\nweight=1\n[guest b]\nweight=2\n[guest c]\nweight=4\n' >"$conf"
"$tmemctl" balance "${places[@]}" -t 10 -f "$conf" --json >"$log" 2>"$base/balance.err" </dev/null &
balance=$!

# shellcheck disable=SC2317 # called by settled
# How far the worst of them is from its share, in permille of it
error_of()
{
	tail -n 1 "$log" | jq -r --argjson shares "$1" '[.devices, $shares] | transpose |
		map(.[0].used / (.[1] * 1048576) - 1 | fabs) | max * 1000 | round'
}

# shellcheck disable=SC2317 # called by vm_poll
settled()
{
	local off

	off=$(error_of "$1" 2>/dev/null) && [ -n "$off" ] && [ "$off" -le 100 ]
}

start=$SECONDS
if vm_poll 60 settled '[8, 16, 32]'; then
	ok "what they hold is as their weights 1:2:4, to 10 %"
	diag "after $((SECONDS - start)) s; 60 at most on an idle machine"
else
	not_ok "what they hold is as their weights 1:2:4, to 10 %" "$(stat_all)" "$(tail -n 1 "$log")"
fi
# A guest that has no processor for a moment does not press
sleep 10
if vm_poll 5 settled '[8, 16, 32]'; then
	ok "and stays so"
else
	not_ok "and stays so" "$(tail -n 10 "$log")"
fi
# Who grows before his limit falls may be above it for a round: nobody else gets more then
is "never more than the total" "$(jq -s 'map(select(.committed > 56 * 1048576 and any(.devices[]; .new > .old and .new > .used))) |
	length' "$log")" 0

diag "$("$tmemctl" top -b -n 2 -i 2 "${places[@]}" -t 10 | sed '1,/^$/d')"

# A cap for the greatest. What it holds goes as it writes to its pages.
printf '[balance]\ntotal=56M\nreserve=1M\ninterval=1\n[guest a]\nweight=1\n[guest b]\nweight=2\n[guest c]\nweight=4\ncap=12M\n' >"$conf.new"
mv "$conf.new" "$conf"
lines=$(wc -l <"$log")
start=$SECONDS
if vm_poll 60 settled '[14.67, 29.33, 12]'; then
	ok "a cap: what it gives up goes to the others, by weight"
	diag "after $((SECONDS - start)) s"
else
	not_ok "a cap: what it gives up goes to the others, by weight" "$(stat_all)" "$(tail -n 1 "$log")"
fi
is "from the next round on, its limit is never above its cap" \
	"$(tail -n "+$((lines + 2))" "$log" | jq -s 'map(.devices[2].new) | max <= 12 * 1048576')" true
# shellcheck disable=SC2317 # called by vm_poll
below_cap()
{
	[ "$(tail -n 1 "$log" | jq '.devices[2].used <= 12 * 1048576')" = true ]
}

vm_poll 60 below_cap || :
is "nor is what it holds, once it has come below" \
	"$(tail -n "+$((lines + 2))" "$log" | jq -s 'map(.devices[2].used <= 12 * 1048576) | .[index(true):] | all')" true

kill -KILL "$balance"
{ wait "$balance"; } 2>/dev/null || :
balance=
is "balance had nothing to complain of" "$(grep -v 'configuration was read again' "$base/balance.err" || :)" ''
before=$(stat_all | cut -d' ' -f1,2)
sleep 3
is "killed: limits stay as they are" "$(stat_all | cut -d' ' -f1,2)" "$before"
for guest in "${GUESTS[@]}"; do
	guest_use "$guest"
	is "guest $guest: no page was bad, or missing" \
		"$(grep -ac '^@bad' "$VM_DIR/proto.log" || :) $(vm_tmem misses) $(vm_tmem invalid-requests)" '0 0 0'
	vm_send end
	vm_finish 60
done
done_testing
