#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# tmemctl's commands with guests that are not there: what it prints, in each
# format, its exit statuses, and that no guest, however broken, keeps it from the
# others. Built with the sanitizers.
set -euo pipefail
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
# shellcheck source=tests/lib/tools.sh
. tests/lib/tools.sh
# shellcheck source=tests/lib/gtest.sh
. tests/lib/gtest.sh

command -v jq >/dev/null || vm_die "jq is missing: apt-get install jq"
tools_build tmemctl mock-qmp test-size
gtest_each "$TOOLS/test-size"
dir=$MOCK_DIR/s

# ---- What is shown ----

mock_start web:ok,demand=600000000 db:two idle:none
t list -Q "$dir"
is 'list shows guests and devices' "$out" 'GUEST  DEVICE    USED  MIN     MAX  POOLS  STATE      SOURCE
db     tmem0   100.0M    0  512.0M      1  ok         qmp:DIR/s/db.sock
db     tmem1   100.0M    0  512.0M      1  ok         qmp:DIR/s/db.sock
idle   -            -    -       -      -  no device  qmp:DIR/s/idle.sock
web    tmem0   512.0M    0  512.0M      1  ok         qmp:DIR/s/web.sock'
is 'and ends well' "$status $err" '0 '
t stat -Q "$dir"
is 'stat shows totals' "$out" 'GUEST  DEVICE    HELD    USED  RATIO   LIMIT     MAX  WHY  PRESSURE    PUTS    GETS  REJECTED
db     tmem0   250.1M  100.0M   2.50  512.0M  512.0M  max      1.5%  313.0k  293.0k         0
db     tmem1   250.1M  100.0M   2.50  512.0M  512.0M  max      1.5%  313.0k  293.0k         0
web    tmem0     1.3G  512.0M   2.50  512.0M  512.0M  max      1.5%  313.0k  293.0k       200'
t stat -Q "$dir" --color=always web
is 'colours on request' "$(sed -n 2p <<<"$out" | grep -c $'\033\\[32mmax\033\\[0m')" 1
t stat -Q "$dir" web
is 'no colours in a pipe' "$(grep -c $'\033' <<<"$out" || :)" 0
t stat -Q "$dir" 'd*' idle
is 'patterns choose guests' "$(awk 'NR > 1 { print $1, $2 }' <<<"$out")" $'db tmem0\ndb tmem1'
t stat -q "other=$dir/web.sock"
is 'a name given wins' "$(awk 'NR > 1 { print $1 }' <<<"$out")" other
t stat -q "$dir/w*.sock" -q "$dir/web.sock" -q "$dir/nothing*"
is 'patterns of sockets; none is asked twice' "$status $(wc -l <<<"$out")" '0 2'
t stat -Q "$dir" --long web
is 'stat --long has every number' "$(grep -Ec '^  [a-z-]+ ' <<<"$out")" 39
like 'with sizes as people read them' "$out" 'max-size +536870912 \(512.0M\)'
like 'and quantiles' "$out" 'get-latency +50 % below 1024 ns, 99 % below 1024 ns'
t stat -Q "$dir" -w -n 2 -i 0.2 web
is 'stat --watch: no rates at first' "$(awk 'NR == 2 { print $10, $11, $12 }' <<<"$out")" '- - -'
like 'then rates' "$(sed -n 5p <<<"$out")" '[0-9.]+k? +[0-9.]+k? +[0-9]+$'

# ---- JSON ----

t stat -Q "$dir" --json
is 'stat --json is JSON, with all guests' "$(jq -c '[.format, .guests[].guest]' <<<"$out")" '[1,"db","idle","web"]'
is 'its numbers are those of query-tmem' "$(jq -c '.guests[2].devices[0] |
	[.id, ."max-size", .puts, .ratio > 2.49, .pressure.permille, ."target-pages", .rates]' <<<"$out")" \
	'["tmem0",536870912,322045,true,15,null,null]'
is 'no device is an empty list' "$(jq -c '.guests[1] | [.error, .devices]' <<<"$out")" '[null,[]]'
t stat -Q "$dir" --json -w -n 2 -i 0.2
is 'stat --watch --json has a line for each look' "$(jq -c '.guests[2].devices[0].rates.puts > 0' <<<"$out")" $'false\ntrue'
t list -Q "$dir" --json
is 'list --json too' "$(jq -c '[.guests[].source | split("/")[-1]]' <<<"$out")" '["db.sock","idle.sock","web.sock"]'

# ---- set ----

t set -Q "$dir" web --max-size 1.5G --min-size 512M
is 'set says what it did' "$status $out" '0 web tmem0: max-size 512.0M -> 1.5G, min-size 0 -> 512.0M'
t set -Q "$dir" web -M 256M -m 0
is 'both below the old minimum: in the right order' "$status $out" '0 web tmem0: max-size 1.5G -> 256.0M, min-size 512.0M -> 0'
t list -Q "$dir" web
like 'the guest has it' "$out" '256.0M'
t set -Q "$dir" web -M 128M --dry-run --json
is 'a dry run, as JSON' "$status $(jq -c '.changes[0] | [.guest, .id, ."max-size", .changed]' <<<"$out")" \
	'0 ["web","tmem0",{"old":268435456,"new":134217728},false]'
t list -Q "$dir" web
like 'a dry run changes nothing' "$out" '256.0M'
t set -Q "$dir" db -M 128M
is 'several devices: it asks for one' "$status $err" "2 tmemctl: db: it has 2 virtio-tmem devices; name one with --device, for example --device tmem0
tmemctl: set: nothing was changed"
t set -Q "$dir" db -M 128M --device tmem1
is '--device names it' "$status $out" '0 db tmem1: max-size 512.0M -> 128.0M, min-size 0 -> 0'
t set -Q "$dir" web db -M 1G
is 'nothing is changed when one of them is wrong' "$status $out" '2 '
t set -Q "$dir" idle -M 1G
is 'no device' "$status $err" "3 tmemctl: idle: it has no virtio-tmem device
tmemctl: set: nothing was changed"
t set -Q "$dir" web -m 2G
is 'min-size above max-size' "$status $err" "2 tmemctl: web: min-size would be 2.0G, more than max-size, 256.0M; set both
tmemctl: set: nothing was changed"
for size in 1x '' -5 1e3 G 1..5G 99999999T 0x10 '1 G' nan; do
	t set -Q "$dir" web "--max-size=$size"
	is "'$size' is no size" "$status $(grep -c 'M *, *G or T\|more than 8192T\|with K, M, G or T' <<<"$err")" '2 1'
done

# ---- Spilling, and what each measure gave back ----

mock_start web disk:spill full:spill-full failed:spill-failed older:older
t stat -Q "$dir" --long disk
is 'stat --long has the node' "$status $(grep -Ec '^  spill ' <<<"$out")" '0 18'
like 'its name and status too' "$(tr -s ' \n' ' ' <<<"$out")" ' spill node disk spill status active spill size 17179869184 \(16\.0G\) '
like 'and what each measure gave back, in this order' "$(tr -s ' \n' ' ' <<<"$out")" \
	' given-back refuse 4096 \(4\.0K\) given-back drop 0 given-back compact .* given-back spill 1048576 \(1\.0M\) given-back target 65536 '
is 'in one column' "$(sed -n 's/^\(  \(given-back\|spill\) [a-z-]* *\)[^ ].*/\1/p' <<<"$out" | awk '{ print length }' | sort -u)" 25
t stat -Q "$dir" --long older
is 'a QEMU that knows neither' "$status $(grep -E '^  (given-back|spill)' <<<"$out" | tr -s ' ')" \
	$'0  given-back not known\n spill none'
t stat -Q "$dir" --json
is 'both are null in the JSON then' "$(jq -c '.guests[] | select(.guest == "older") | .devices[0] | [."given-back", .spill]' <<<"$out")" \
	'[null,null]'
is 'else they are those of query-tmem' "$(jq -c '.guests[] | select(.guest == "failed") | .devices[0] |
	[."given-back", (.spill | del(."bytes-free", .pages, ."bytes-stored", .writes, ."bytes-written"))]' <<<"$out")" \
	'[{"refuse":4096,"drop":0,"compact":2097152,"recompress":3000000,"spill":3145728,"target":65536},'\
'{"node":"disk","status":"failed","size":17179869184,"average-write":262144,"reads":31,"bytes-read":2031616,"read-hits":1204,'\
'"write-errors":1,"read-errors":2,"bad-pages":3,"cleaned":5,"discarded":12,"full":0}]'

# The manual says which members there are, and what they are. Some are null with one
# guest, and an object with another.
t stat -Q "$dir" --json
cmp_json=$(jq -r '[.guests[] | paths(type != "object") as $p |
	"\($p | map(if type == "number" then "[]" else . end) | join(".") | gsub("\\.\\[\\]"; "[]")) \(getpath($p) |
	if type == "array" then "array" else type end)"] | unique[]' <<<"$out" | sort -u)
manual_json=$(sed -n '/^\.\\" JSON-BEGIN/,/^\.\\" JSON-END/s/^\.It Li \([^ ]*\) Pq \(.*\)$/\1 \2/p' tools/tmemctl.1)
unknown=$(awk 'NR == FNR { split($2, t, ","); for (i in t) known[$1, t[i]] = 1; next }
	!(($1, $2) in known)' <(echo "$manual_json") <(echo "$cmp_json"))
is 'the manual knows each member and its type' "$unknown" ''
is 'and has no others' "$(comm -23 <(awk '{ print $1 }' <<<"$manual_json" | grep -v -e '^error\.' -e '^devices\[\]\.rates\.' | sort -u) \
	<(awk '{ print $1 }' <<<"$cmp_json" | sort -u))" ''

# ---- Bad command lines ----

t
is 'no command' "$status $out" '2 '
t frob
is 'no such command' "$status ${err%%;*}" "2 tmemctl: there is no command 'frob'"
t stat --frob
is 'no such option' "$status ${err%%$'\n'*}" '2 tmemctl: stat: Unknown option --frob'
t stat -Q "$dir" nobody
is 'no such guest' "$status $err" "3 tmemctl: there is no guest 'nobody' here; 'tmemctl list' shows those that there are"
t stat -Q "$dir" -t 0
is 'a timeout of 0' "$status $err" '2 tmemctl: --timeout: 0 is not from 0.01 to 3600 seconds'
t stat -Q /nonexistent
is 'no such folder' "$status $err" '2 tmemctl: --qmp-dir: cannot read the folder /nonexistent; is it there, and may you read it?'
t set -Q "$dir" -M 1G
is 'set without guests' "$status $err" "2 tmemctl: set: name the guests; '*' is all of them"
t set -Q "$dir" web
is 'set without sizes' "$status $err" '2 tmemctl: set: nothing to set; give --max-size or --min-size'
t stat -Q "$dir" --color=pink
is 'no such colour mode' "$status $err" "2 tmemctl: --color: 'pink' is not auto, always or never"
t export -Q "$dir" --listen 1234
is 'no such address' "$status $err" "2 tmemctl: --listen: '1234' is no address with a port, such as 127.0.0.1:9779 or [::1]:9779"
status=0
"$TMEMCTL" list -Q "$dir" >/dev/full 2>"$MOCK_DIR/err" || status=$?
is 'a full disk' "$status $(<"$MOCK_DIR/err")" '1 tmemctl: cannot write the output: the disk is full, or nobody reads it'
t --version
like '--version' "$status $out" '^0 tmemctl [0-9.]+ \(libvirt: (yes|no)\)$'
t -c test:///default stat
is 'a command comes first' "$status" 2
t --help
commands=$(sed -n 's/^  \([a-z]*\) .*/\1/p' <<<"$out" | grep -v tmemctl)
for c in $commands; do
	t "$c" --help
	like "$c --help" "$status $out" '^0 Usage:'
done

# ---- Guests that misbehave ----

mock_start good slow:slow ev:events old:no-tmem hang:hang mute:mute mt:mute-tmem g:garbage h:http b:binary \
	huge:huge deep:deep die:die wt:wrong-type neg:negative big:big miss:missing bins:bins \
	wg:wrong-given ws:wrong-spill ns:no-status
: >"$dir/file.sock"
t stat -Q "$dir" -t 5
is 'those that are well are shown, all others have a line' \
	"$status $(awk 'NR > 1 { print $1 }' <<<"$out" | tr '\n' ' ')$(wc -l <<<"$err")" '4 ev good slow 18'
says()
{
	like "$1" "$err" "^tmemctl: $2"
}
says 'a QEMU that is none of ours' 'old: its QEMU has no query-tmem: it was built without virtio-tmem$'
says 'a monitor that is taken' 'hang: no greeting within 5 s: another program holds this monitor'
says 'a QEMU that hangs' 'mute: no answer within 5 s: its QEMU hangs'
says 'later too' 'mt: no answer within 5 s: its QEMU hangs'
says 'no JSON' 'g: what it sends is not QMP; is this the socket of a QMP monitor'
says 'another protocol' 'h: what it sends is not QMP'
says 'no text' 'b: what it sends is not QMP'
says 'an answer without end' 'huge: its answer is longer than 4 MiB'
says 'brackets without end' 'deep: what it sends is not QMP'
says 'an end in the middle' 'die: it hung up in the middle: its QEMU has ended'
says 'a string for a number' "wt: its query-tmem has no 'max-size' that is a number"
says 'a negative number' "neg: its query-tmem has no 'max-size' that is a number"
says 'a number too great' "big: its query-tmem has no 'max-size' that is a number"
says 'a number that is missing' "miss: its query-tmem has no 'reserved-puts'"
says 'a histogram with too few bins' "bins: its query-tmem has no 'put-latency' that is a histogram"
says 'a string for a measure' "wg: its query-tmem has no 'given-back.compact' that is a number"
says 'a string for the node to spill to' "ws: its query-tmem has no 'spill' that is an object"
says 'no status of it' "ns: its query-tmem has no 'status' that is a string"
t stat -Q "$dir" -t 5 --json
is 'errors are in the JSON too' "$(jq -c '[.guests[] | select(.error) | .error.kind] | group_by(.) |
	map("\(.[0]) \(length)")' <<<"$out")" '["protocol 13","timeout 3","unreachable 1","unsupported 1"]'
t list -Q "$dir" -t 5
is 'list names the fault' "$(awk '$1 == "hang" || $1 == "die" { print $1, $7 }' <<<"$out")" $'die unreachable\nhang timeout'
t stat -q "$MOCK_DIR/none.sock" -q "$dir/file.sock"
like 'no socket there' "$err" 'none: there is no socket .*/none.sock: is the guest running\?'
like 'a file that is no socket' "$err" 'file: nobody listens on .*/file.sock: the guest has ended, or it is no socket'
t stat -q "$dir/$(printf 'x%.0s' {1..120})"
like 'a path too long' "$err" 'the path of a socket can have 107 bytes'
mock_start ref:refuse esc:escape
t set -Q "$dir" ref -M 1G
is 'QEMU refuses' "$status $err" '5 tmemctl: ref: QEMU refused it: it does not want to'
t list -Q "$dir"
is 'no control character of a guest reaches the terminal' "$(LC_ALL=C grep -c $'[\001-\011\013-\037]' <<<"$out" || :)" 0
like 'names are shown as well as can be' "$out" 'evil\?\]0;x\?\?"\\name  a\?\[31mb'

# ---- One client at a time ----

mock_start one
socat -u "UNIX-CONNECT:$dir/one.sock" - >"$MOCK_DIR/holder" </dev/null &
holder=$!
for ((i = 0; i < 100; i++)); do
	! grep -qs QMP "$MOCK_DIR/holder" || break
	sleep 0.05
done
t stat -Q "$dir" -t 0.3
like 'a monitor that someone else holds' "$err" 'one: no greeting within 0.3 s: another program holds this monitor'
# The socket's queue is full: not even a connection can be had
waiters=()
for i in 1 2 3 4; do
	socat -u "UNIX-CONNECT:$dir/one.sock" - >/dev/null 2>&1 </dev/null &
	waiters+=($!)
done
sleep 0.5
t stat -Q "$dir" -t 0.3
like 'one that many wait for' "$err" 'one: no greeting within 0.3 s: another program holds this monitor'
kill "${waiters[@]}"
{ wait "${waiters[@]}"; } 2>/dev/null || :
(sleep 0.5; kill "$holder") >/dev/null 2>&1 &
t stat -Q "$dir" -t 10
is 'tmemctl waits for its turn' "$status $(wc -l <<<"$out")" '0 2'
wait "$holder" || :

# ---- Many ----

mock_start vm\*300
t stat -Q "$dir" -t 30
is '300 guests' "$status $(wc -l <<<"$out")" '0 301'
done_testing
