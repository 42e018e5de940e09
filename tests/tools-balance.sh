#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# tmemctl balance: its policy by itself (unit tests), and the whole of it with
# guests that are not there. Built with the sanitizers. With real guests:
# tests/e2e/balance.sh.
set -euo pipefail
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
# shellcheck source=tests/lib/tools.sh
. tests/lib/tools.sh
# shellcheck source=tests/lib/gtest.sh
. tests/lib/gtest.sh

tools_build tmemctl mock-qmp test-balance
gtest_each "$TOOLS/test-balance"
dir=$MOCK_DIR/s
conf=$MOCK_DIR/balance.conf

# limits: max-size of each device, "guest MiB"
limits()
{
	t stat -Q "$dir" -t 5 --json
	out=$(jq -r '.guests[] | .guest as $g | .devices[] | "\($g) \(."max-size" / 1048576 | round)"' <<<"$out" | tr '\n' ' ')
}

cat >"$conf" <<'CONF'
[balance]
total=700M
time-constant=1
[guest b]
weight=2
[guest c]
weight=4
CONF
mock_start {a,b}:ok,demand=4000000000,max=10485760 c:ok,demand=4000000000,max=8589934592
t balance -Q "$dir" -f "$conf" -i 0.2 -n 1 --dry-run
like 'a dry run says what it would do' "$out" 'c tmem0: max-size 8.0G -> .*, on the way to .* \(not changed\)'
limits
is 'and does nothing' "$out" 'a 10 b 10 c 8192 '
rm -f "$MOCK_DIR/log"
mock_start {a,b}:ok,demand=4000000000,max=10485760 c:ok,demand=4000000000,max=10485760
t balance -Q "$dir" -f "$conf" -i 0.2 -n 30 --json
is 'all press: shares by weight, within 5 %' "$status $(tail -n 1 <<<"$out" | jq -c '[.devices[].used / 1048576 |
	. / 100] | [.[0] / 1, .[1] / 2, .[2] / 4] | map(. > 0.95 and . < 1.05)')" '0 [true,true,true]'
is 'never more than the total' "$(jq -s 'map(select(.committed > 734003200)) | length' <<<"$out")" 0
is 'step by step' "$(jq -s '[.[].devices[2].new] | [.[1:], .[:-1]] | transpose | map(.[0] - .[1]) |
	max < 350 * 1048576 and min >= 0' <<<"$out")" true
manual=$(sed -n '/^.Cm balance$/,$p' tools/tmemctl.1)
is 'the manual names each member' "$(jq -r 'keys[], (.devices[0] | keys[])' <<<"$out" | sort -u | while read -r m; do
	grep -qw -e "$m" <<<"$manual" || echo "$m"; done)" ''

# A cap holds from the first round on, and to the end.
printf '[guest c]\ncap=128M\n[guest b]\nmin=300M\n' >"$conf"
t balance -Q "$dir" -f "$conf" -i 0.1 -n 20 --json --total 5G
is 'a capped guest is never above its cap' "$(jq -s '[.[].devices[2].new] | max' <<<"$out")" 134217728
t balance -Q "$dir" -f "$conf" --once --total 500M
is '--once says nothing' "$status $out" '0 '
limits
is 'and sets all of them' "$(awk '{ print ($2 + $4 + $6 <= 500), $6 <= 128 }' <<<"$out")" '1 1'

# The reserve, with a host as we please.
printf 'MemTotal: 8388608 kB\nMemFree: 1 kB\nMemAvailable: 1048576 kB\n' >"$MOCK_DIR/meminfo"
mock_start {a,b}:ok,demand=4000000000,max=104857600
t balance -Q "$dir" -r 768M --meminfo "$MOCK_DIR/meminfo" --once --json
is 'the budget: what is used, and what is available beyond the reserve' \
	"$(jq .budget <<<"$out")" $(((200 + 1024 - 768) << 20))
is 'limits are within it' "$(jq -c '[.devices[].new]' <<<"$out")" "[$((228 << 20)),$((228 << 20))]"
sed -i 's/1048576/262144/' "$MOCK_DIR/meminfo"
t balance -Q "$dir" -r 768M --meminfo "$MOCK_DIR/meminfo" --once --json
is 'a host that is short: down at once, to what is held' \
	"$(jq -c '[.committed <= ([.devices[].used] | add), (.devices | map(.new <= .used) | all)]' <<<"$out")" '[true,true]'

# What does not answer, or refuses, or is not ours.
printf '[guest b]\nmanaged=false\n' >"$conf"
mock_start {a,b}:ok,demand=4000000000,max=104857600 c:hang,max=1 d:refuse,demand=4000000000,max=1048576000
t balance -Q "$dir" -f "$conf" -t 5 -i 0.1 -n 3 --total 1G --json
is 'a guest that hangs costs a line, once' "$status $(grep -c '^tmemctl: c: no greeting' <<<"$err")" '4 1'
like 'a guest that refuses is reported' "$err" 'd: QEMU refused it: it does not want to'
is 'nobody is raised while another did not go down' "$(tail -n 1 <<<"$out" | jq '.devices[0].new <= .devices[0].old')" true
is 'what is not managed stays' "$(jq -s '[.[].devices[1].new] | unique[]' <<<"$out")" 104857600

# Configuration
t balance -Q "$dir" -f "$MOCK_DIR/none.conf"
like 'no configuration' "$status $err" '^2 tmemctl: cannot read the configuration|^1 tmemctl: cannot read the configuration'
echo '[balance]
reserv=1G' >"$conf"
t balance -Q "$dir" -f "$conf"
is 'a mistake in it' "$status $err" "2 tmemctl: DIR/balance.conf: [balance] has no key 'reserv'; it has interval, time-constant, reserve, total"
t balance -Q "$dir" --reserve=1x
is 'a mistake in an option' "$status ${err%%;*}" "2 tmemctl: --reserve: '1x' is no size"

# Changed while it runs, and killed while it runs.
mock_start {a,b}:ok,demand=4000000000,max=104857600
printf '[balance]\ntotal=400M\ntime-constant=0.1\n' >"$conf"
"$TMEMCTL" balance -Q "$dir" -f "$conf" -i 0.1 --json >"$MOCK_DIR/log" 2>"$MOCK_DIR/err" </dev/null &
pid=$!
# waits PATTERN FILE
waits()
{
	local i

	for ((i = 0; i < 200; i++)); do
		! grep -qs -e "$1" "$2" || return 0
		sleep 0.05
	done
	return 1
}
waits '"budget":419430400' "$MOCK_DIR/log" || :
printf '[balance]\ntotal=100M\ntime-constant=0.1\n' >"$conf.new"
mv "$conf.new" "$conf"
if waits '"budget":104857600' "$MOCK_DIR/log"; then
	ok 'a new configuration holds at once'
else
	not_ok 'a new configuration holds at once' "$(<"$MOCK_DIR/err")"
fi
printf '[balance]\ntotal=lots\n' >"$conf.new"
mv "$conf.new" "$conf"
if waits 'the configuration stays as it was: .*lots' "$MOCK_DIR/err" && kill -0 "$pid"; then
	ok 'a bad one is reported, and the old one goes on'
else
	not_ok 'a bad one is reported, and the old one goes on' "$(<"$MOCK_DIR/err")"
fi
{ kill -KILL "$pid" && wait "$pid"; } 2>/dev/null || :
limits
before=$out
sleep 0.3
limits
is 'killed: limits stay' "$out" "$before"
printf '[balance]\ntotal=100M\ntime-constant=0.1\n' >"$conf"
t balance -Q "$dir" -f "$conf" -i 0.1 -n 2 --json
is 'a new one goes on from there' "$status $(jq -s 'map(.devices[]) | map(.new <= .old) | all' <<<"$out")" '0 true'

# Hundreds
mock_start vm\*300:ok,demand=4000000000,max=104857600
t balance -Q "$dir" -t 30 --total 30G --once --json
is '300 guests, the same for each' "$status $(jq -c '[.devices | length, ([.[].new] | max - min < 8192)]' <<<"$out")" '0 [300,true]'
done_testing
