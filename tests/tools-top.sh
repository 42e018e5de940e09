#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# tmemctl top: what is on the screen, as text, in a terminal of tmux; and without
# one. Guests are not there; tmemctl is built with the sanitizers.
set -euo pipefail
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
# shellcheck source=tests/lib/tools.sh
. tests/lib/tools.sh

command -v tmux >/dev/null || vm_die "tmux is missing: apt-get install tmux"
tools_build tmemctl mock-qmp
dir=$MOCK_DIR/s
screen=tmemctl-top-$$

# ---- Without a terminal ----

mock_start a:ok,demand=300000000 b:ok,demand=600000000 c:two hung:hang
t top -Q "$dir" -t 5 -b -n 2 -i 0.5
is 'batch: a screen for each look, the greatest first' \
	"$status $(awk '$2 ~ /^tmem[01]$/ { print $1 }' <<<"$out" | tr '\n' ' ')" '4 b a c c b a c c '
like 'the head sums up' "$(grep -c '^tmemctl top  ..:..:..  guests: 4, 1 silent  held: .* of 2.0G$' <<<"$out")" '^2$'
like 'then the host' "$out" '^host: [0-9.]+[KMGT] of [0-9.]+[KMGT] available$'
like 'what is silent comes below' "$(tail -n 2 <<<"$out")" '^hung: no greeting'
t top -Q "$dir" -t 5 -b -n 2 -i 0.5 --sort name
is 'by name' "$(awk '$2 ~ /^tmem[01]$/ { print $1 }' <<<"$out" | tr '\n' ' ')" 'a b c c a b c c '
t top -Q "$dir" -t 5 -b -n 2 -i 0.5 --sort rejected
is 'by what was refused' "$(awk '$2 ~ /^tmem[01]$/ { print $1 }' <<<"$out" | tail -n 4 | head -n 1)" b
t top -Q "$dir" --sort size
is 'by what is no key' "$status $err" "2 tmemctl: --sort: 'size' is not name, used, limit, puts, gets or rejected"
t top -Q "$dir"
is 'no terminal' "$status $err" '2 tmemctl: top needs a terminal; --batch does without'
t top -Q "$dir" -b -n 1 nobody
is 'no such guest' "$status $(grep -c "there is no guest 'nobody' here" <<<"$out")" '3 1'
t top -q "$MOCK_DIR/none*" -b -n 1
is 'no guest at all: one look, if it was one that was asked for' "$status $(grep -c '^tmemctl top' <<<"$out")" '0 1'

# ---- In a terminal ----

# term WIDTH HEIGHT TERM ARGUMENT...: its exit status is in $MOCK_DIR/status
term()
{
	local width=$1 height=$2 type=$3

	shift 3
	rm -f "$MOCK_DIR/status"
	tmux -L "$screen" -f /dev/null new-session -d -x "$width" -y "$height" \
		"env TERM=$type ASAN_OPTIONS=$ASAN_OPTIONS:log_path=$MOCK_DIR/asan '$TMEMCTL' top $* 2>'$MOCK_DIR/err'
		echo \$? >'$MOCK_DIR/status'"
}

# shellcheck disable=SC2317 # called by vm_poll
shows()
{
	tmux -L "$screen" capture-pane -p 2>/dev/null | grep -Eq -e "$1"
}

# shellcheck disable=SC2317 # called by vm_poll
ended()
{
	[ -s "$MOCK_DIR/status" ]
}

first()
{
	tmux -L "$screen" capture-pane -p | awk '$2 ~ /^tmem/ { print $1; exit }'
}

# shellcheck disable=SC2317 # called by vm_poll
first_is()
{
	[ "$(first)" = "$1" ]
}

# shellcheck disable=SC2317 # called by trap
end_all()
{
	local rc=$?

	set +e
	tmux -L "$screen" kill-server 2>/dev/null
	(exit "$rc")
	tools_cleanup
}
trap end_all EXIT

term 110 14 screen -Q "$dir" -t 5 -i 0.5
vm_poll 20 shows ' [0-9.]+k? +[0-9.]+k? +0$' || :
shown=$(tmux -L "$screen" capture-pane -p)
is 'the screen: head, table, who is silent, keys' "$(sed -E -e 's/[0-9]+:[0-9]+:[0-9]+/TIME/' -e 's/^host: .*/host: .../' \
	-e 's/ +[0-9.]+k? +[0-9.]+k? +[0-9.]+k?$/ RATES/' <<<"$shown")" \
	'tmemctl top  TIME  guests: 4, 1 silent  held: 2.4G in 998.1M of 2.0G
host: ...
GUEST  DEVICE    HELD    USED  RATIO   LIMIT     MAX  WHY  PRESSURE  PUTS/S  GETS/S  REJ/S
b      tmem0     1.3G  512.0M   2.50  512.0M  512.0M  max      1.5% RATES
a      tmem0   715.4M  286.1M   2.50  512.0M  512.0M  max      1.5% RATES
c      tmem0   250.1M  100.0M   2.50  512.0M  512.0M  max      1.5% RATES
c      tmem1   250.1M  100.0M   2.50  512.0M  512.0M  max      1.5% RATES
hung: no greeting within 5 s: another program holds this monitor, which serves one client at a time, or its QE





q quit  sort: n name  u used  l limit  p puts  g gets  r rejected'
tmux -L "$screen" send-keys n
if vm_poll 5 first_is a; then ok 'a key sorts by name'; else not_ok 'a key sorts by name' "$(first)"; fi
tmux -L "$screen" send-keys u
vm_poll 5 first_is b || :
tmux -L "$screen" resize-window -x 60 -y 6
vm_poll 5 shows '^q quit' || :
shown=$(tmux -L "$screen" capture-pane -p)
is 'smaller: no line is broken, the keys stay' \
	"$(awk 'length > 60' <<<"$shown" | wc -l) $(wc -l <<<"$shown") $(grep -c '^q quit' <<<"$shown")" '0 6 1'
tmux -L "$screen" send-keys Down
if vm_poll 5 first_is a; then ok 'arrows scroll'; else not_ok 'arrows scroll' "$(tmux -L "$screen" capture-pane -p)"; fi
tmux -L "$screen" send-keys q
vm_poll 5 ended || :
is 'q ends it, well' "$(cat "$MOCK_DIR/status") $(cat "$MOCK_DIR"/asan* 2>/dev/null)" '0 '

# A guest that hangs for longer than the test waits for a key
term 110 14 screen -Q "$dir" -t 60
sleep 1
tmux -L "$screen" send-keys q
if vm_poll 5 ended; then ok 'keys work while a guest hangs'; else not_ok 'keys work while a guest hangs'; fi
tmux -L "$screen" kill-server 2>/dev/null || :

# What leaks there is ncurses' own
ASAN_OPTIONS+=:detect_leaks=0
term 80 10 nonsense -Q "$dir"
vm_poll 5 ended || :
is 'a terminal that nobody knows' "$(cat "$MOCK_DIR/status" "$MOCK_DIR/err")" \
	$'2\ntmemctl: top does not know the terminal TERM=nonsense; --batch does without'
done_testing
