#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What comes with tmemctl agrees with it: manual, completion, units, metrics,
# alerts, dashboard, and the guide in docs/.
set -euo pipefail
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
# shellcheck source=tests/lib/tools.sh
. tests/lib/tools.sh

for f in jq curl promtool mandoc; do
	command -v "$f" >/dev/null || vm_die "$f is missing: run scripts/deps.sh check"
done
tools_build tmemctl mock-qmp
dir=$MOCK_DIR/s

# ---- Manual ----

manual=tools/tmemctl.1
conf=tools/tmemctl-balance.conf.5
is 'mandoc finds nothing in the manual' "$(mandoc -T lint -W warning $manual $conf 2>&1 || :)" ''
common=$(sed -n '/^\.Ss Options of all commands/,/^\.El/p' $manual)
t --help
mapfile -t commands < <(sed -n '/^Commands/,/^$/s/^  \([a-z]*\) .*/\1/p' <<<"$out")
is 'the manual has all commands' "$(sed -n '/^\.Ss Commands/,/^\.El/s/^\.It Cm //p' $manual)" \
	"$(printf '%s\n' "${commands[@]}")"
# options TEXT: "-x --long", sorted, of what is in a manual's list
manual_options()
{
	sed -n -e 's/^\.It Fl \([A-Za-z0-9]\) , Fl Fl \([a-z-]*\).*/-\1 --\2/p' -e 's/^\.It Fl Fl \([a-z-]*\).*/--\1/p' | sort
}
for command in "${commands[@]}"; do
	t "$command" --help
	own=$(sed -n "/^\.Ss Options of $command\$/,/^\.El/p" $manual)
	is "$command: the manual has its options, and no others" \
		"$(printf '%s\n' "$common" "$own" | manual_options | grep -v -e '--version')" \
		"$(sed -n -E -e 's/^  -([A-Za-z0-9]), --([a-z-]+).*/-\1 --\2/p' -e 's/^  --([a-z-]+).*/--\1/p' <<<"$out" | sort)"
done
# reference COMMAND: what docs/reference.md has of its options
reference()
{
	awk -v command="$1" '/^\| \*\*/ { on = $0 ~ "\\*\\*(all commands|" command ")\\*\\*" } /^$/ { on = 0 } on' docs/reference.md |
		sed -n -E -e 's/^\| `-([A-Za-z0-9]), --([a-z-]+).*/-\1 --\2/p' -e 's/^\| `--([a-z-]+).*/--\1/p' | sort
}
for command in "${commands[@]}"; do
	t "$command" --help
	is "$command: so has docs/reference.md" "$(reference "$command")" \
		"$(sed -n -E -e 's/^  -([A-Za-z0-9]), --([a-z-]+).*/-\1 --\2/p' -e 's/^  --([a-z-]+).*/--\1/p' <<<"$out" | sort)"
done
is 'the manual has all exit statuses' "$(sed -n '/^\.Sh EXIT/,/^\.El/s/^\.It Li //p' $manual | tr '\n' ' ')" \
	"$(sed -n 's/^    TMEM_EXIT_[A-Z_]* = \([0-9]\),.*/\1/p' tools/tmem-error.h | tr '\n' ' ')"
sed -n '/^\.Bd/,/^\.Ed/p' $conf | sed '1d;$d' >"$MOCK_DIR/example.conf"
mock_start db-1 build
t balance -Q "$dir" -f "$MOCK_DIR/example.conf" --dry-run -n 1
is "the manual's example of a configuration is one" "$status $err" '0 '
t balance -Q "$dir" -f tools/systemd/balance.conf --dry-run -n 1
is 'so is the file that is installed' "$status $err" '0 '
sed 's/^#\([[a-z]\)/\1/' tools/systemd/balance.conf >"$MOCK_DIR/all.conf"
t balance -Q "$dir" -f "$MOCK_DIR/all.conf" --dry-run -n 1
is 'also with what is commented out' "$status $err" '0 '

# ---- Installation ----

make -s -C tools O="$TOOLS" SANITIZE=1 CFLAGS='-O1 -g' DESTDIR="$MOCK_DIR/root" prefix=/usr install >/dev/null
is 'what is installed' "$(cd "$MOCK_DIR/root" && find . -type f | sort)" './etc/tmemctl/balance.conf
./usr/bin/tmemctl
./usr/lib/systemd/system/tmemctl-balance.service
./usr/lib/systemd/system/tmemctl-export.service
./usr/share/bash-completion/completions/tmemctl
./usr/share/man/man1/tmemctl.1
./usr/share/man/man5/tmemctl-balance.conf.5
./usr/share/tmemctl/grafana/virtio-tmem.json
./usr/share/tmemctl/prometheus/tmem-alerts.yml'
is 'units start what is installed' "$(sed -n 's/^ExecStart=//p' "$MOCK_DIR"/root/usr/lib/systemd/system/*.service)" \
	$'/usr/bin/tmemctl balance\n/usr/bin/tmemctl export --listen=127.0.0.1:9779'
echo '# mine' >"$MOCK_DIR/root/etc/tmemctl/balance.conf"
make -s -C tools O="$TOOLS" SANITIZE=1 CFLAGS='-O1 -g' DESTDIR="$MOCK_DIR/root" prefix=/usr install >/dev/null
is 'a configuration that is there stays' "$(<"$MOCK_DIR/root/etc/tmemctl/balance.conf")" '# mine'
if command -v systemd-analyze >/dev/null; then
	# It wants the program where the unit says
	sed "s|/usr/bin/tmemctl|$TMEMCTL|" "$MOCK_DIR/root/usr/lib/systemd/system/tmemctl-balance.service" \
		>"$MOCK_DIR/tmemctl-balance.service"
	is 'systemd finds nothing in the unit' \
		"$(systemd-analyze verify --man=no "$MOCK_DIR/tmemctl-balance.service" 2>&1 | grep tmemctl || :)" ''
else
	skip 'systemd finds nothing in the unit' 'no systemd-analyze'
fi
log=$MOCK_DIR/log
if make -s -C tools -j "${JOBS:-2}" O="$MOCK_DIR/nolibvirt" WITH_LIBVIRT=0 CFLAGS=-O0 "$MOCK_DIR/nolibvirt/tmemctl" >"$log" 2>&1; then
	TMEMCTL=$MOCK_DIR/nolibvirt/tmemctl t --version
	like 'it builds without libvirt' "$out" 'libvirt: no'
	TMEMCTL=$MOCK_DIR/nolibvirt/tmemctl t stat
	is 'and says so' "$status $err" '2 tmemctl: this tmemctl was built without libvirt; name guests with --qmp or --qmp-dir'
else
	not_ok 'it builds without libvirt' "$(tail -n 5 "$log")"
fi

# ---- Completion ----

if [ -r /usr/share/bash-completion/bash_completion ]; then
	# completes WORD...: what the last one could be
	completes()
	{
		# shellcheck disable=SC2016 # for the other shell
		PATH=$TOOLS:$PATH bash --norc -c '. /usr/share/bash-completion/bash_completion
			. tools/completion/tmemctl.bash
			COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE}
			_tmemctl; printf "%s\n" "${COMPREPLY[@]}" | sort | tr "\n" " "' - "$@" 2>&1
	}
	is 'commands are completed' "$(completes tmemctl s)" 'set stat '
	is 'all of them' "$(completes tmemctl '')" "$(printf '%s\n' --help --version "${commands[@]}" | sort | tr '\n' ' ')"
	is 'options are completed' "$(completes tmemctl set --m)" '--max-size --min-size '
	is 'values too' "$(completes tmemctl top --sort r)" 'rejected '
	is 'and guests' "$(completes tmemctl stat -Q "$dir" d)" 'db-1 '
else
	skip 'completion' 'bash-completion is not installed'
fi

# ---- Metrics ----

mock_start web db:two old:no-tmem esc:escape idle:none disk:spill full:spill-full older:older
t export -Q "$dir" -t 5
metrics=$out
is 'export says which guests could not be asked' "$status $(grep -c '^virtio_tmem_guest_up.* 0$' <<<"$metrics")" '4 1'
is 'promtool finds nothing in the metrics' "$(promtool check metrics <<<"$metrics" 2>&1 || :)" ''
# shellcheck disable=SC2016 # backquotes of the page
is 'docs/reference.md has all metrics, with their texts' \
	"$(sed -n -E 's/^\| `(virtio_tmem_[a-z_]+)` \| ([a-z]+) \| (.*) \|$/\1 \2 \3/p' docs/reference.md)" \
	"$(sed -n -E '/^# HELP /{ s/^# HELP (.*)\.$/\1/; N; s/^([^ ]+) (.*)\n# TYPE [^ ]+ (.*)/\1 \3 \2/p }' <<<"$metrics" | LC_ALL=C sort)"
like 'sizes are in bytes' "$metrics" '^virtio_tmem_limit_bytes\{guest="web",device="tmem0"\} 536870912$'
like 'times are in seconds' "$metrics" '^virtio_tmem_get_duration_seconds_bucket\{guest="web",device="tmem0",le="1.024e-06"\} 18110$'
like 'bins add up' "$metrics" '^virtio_tmem_get_duration_seconds_count\{guest="web",device="tmem0"\} 18189$'
like 'reasons are a set of states' "$metrics" '^virtio_tmem_limit_reason\{guest="web",device="tmem0",reason="max"\} 1$'
like 'so is how the node to spill to is' "$(grep '^virtio_tmem_spill_status{' <<<"$metrics" | tr '\n' ' ')" \
	'^(virtio_tmem_spill_status\{guest="disk",device="tmem0",status=")active"\} 1 \1full"\} 0 \1failed"\} 0 .*guest="full",device="tmem0",status="full"\} 1 '
is 'no node is no sample' "$(grep '^virtio_tmem_spill_[a-z_]*{' <<<"$metrics" | sed 's/.*guest="\([a-z]*\)".*/\1/' | sort -u | tr '\n' ' ')" 'disk full '
like 'each measure is a sample of one metric' "$(grep '^virtio_tmem_given_back_bytes_total{guest="web"' <<<"$metrics" | sed 's/.*measure=//' | tr '\n' ' ')" \
	'^"refuse"\} 4096 "drop"\} 0 "compact"\} 2097152 "recompress"\} 3000000 "spill"\} 1048576 "target"\} 65536 $'
is 'an older QEMU has none' "$(grep -c '^virtio_tmem_given_back_bytes_total{guest="older"' <<<"$metrics" || :)" 0
like 'no target is no sample' "$(grep -c '^virtio_tmem_target_pages{' <<<"$metrics" || :)" '^0$'
t export -Q "$dir" -t 5 -o "$MOCK_DIR/tmem.prom" web
is 'a text file' "$status $(promtool check metrics <"$MOCK_DIR/tmem.prom" 2>&1)$(grep -c '^virtio_tmem_pages{' "$MOCK_DIR/tmem.prom")" '0 1'
is 'nothing is left beside it' "$(find "$MOCK_DIR" -name 'tmem.prom*' | wc -l)" 1
t export -Q "$dir" -t 5 -o /nonexistent/tmem.prom web
is 'a folder that is not there' "$status $(grep -c 'nonexistent' <<<"$err")" '1 1'
mkdir "$MOCK_DIR/twins"
cp -a "$dir/web.sock" "$MOCK_DIR/twins/" 2>/dev/null || :
ln -s "$dir/web.sock" "$MOCK_DIR/twin.sock"
t export -q "$dir/web.sock" -q "$MOCK_DIR/twin.sock" -t 5
is 'guests with one name are two series' "$(promtool check metrics <<<"$out" 2>&1)$(grep -c '^virtio_tmem_pages{' <<<"$out")" 2

port=$((20000 + RANDOM % 10000))
"$TMEMCTL" export -Q "$dir" -t 5 --listen 127.0.0.1:$port 2>"$MOCK_DIR/http" </dev/null &
pid=$!
for ((i = 0; i < 1000; i++)); do
	! grep -qs metrics "$MOCK_DIR/http" || break
	sleep 0.05
done
# get PATH [CURL OPTION...]
get()
{
	curl -sS -m 20 --noproxy '*' "${@:2}" "http://127.0.0.1:$port$1" 2>&1
}
is 'a scrape' "$(get /metrics | promtool check metrics 2>&1)$(get /metrics | grep -c '^virtio_tmem_guest_up')" 8
like 'with the type that Prometheus wants' "$(get /metrics -o /dev/null -w '%{http_code} %{content_type}')" \
	'^200 text/plain; version=0.0.4'
is 'anything else is not found' "$(get / -o /dev/null -w '%{http_code}')" 404
is 'nothing can be posted' "$(get /metrics -d x -o /dev/null -w '%{http_code}')" 405
kill "$pid"
{ wait "$pid"; } 2>/dev/null || :

# ---- Alerts and dashboard ----

cp tools/prometheus/*.yml "$MOCK_DIR"
is 'promtool finds nothing in the alerts' "$(promtool check rules "$MOCK_DIR/tmem-alerts.yml" 2>&1 | grep -c SUCCESS)" 1
if out=$(promtool test rules "$MOCK_DIR/tmem-alerts-test.yml" 2>&1); then
	ok 'alerts come when they should, and not before'
else
	not_ok 'alerts come when they should, and not before' "$out"
fi
mapfile -t alerts < <(sed -n 's/.*- alert: //p' tools/prometheus/tmem-alerts.yml)
is 'each alert is tested' "$(for a in "${alerts[@]}"; do grep -q "$a" tools/prometheus/tmem-alerts-test.yml || echo "$a"; done)" ''
is 'the guide explains each' "$(for a in "${alerts[@]}"; do grep -q "^### $a\$" docs/operations.md || echo "$a"; done)" ''
is 'and the metrics that it names exist' "$(grep -oh 'virtio_tmem_[a-z_]*' docs/operations.md | sort -u |
	while read -r m; do grep -q "^# TYPE ${m%_bucket} " <<<"$metrics" || echo "$m"; done)" ''
board=tools/grafana/virtio-tmem.json
is 'the dashboard is JSON, with panels' "$(jq '.panels | length > 10' $board)" true
is 'no two panels are the same' "$(jq '[.panels[].id] | length == (unique | length)' $board)" true
is 'it shows what the guide says is worth a look' "$(sed -n '/^## Monitoring/,/^## /p' docs/operations.md | grep -v '^    ' |
	grep -oh 'virtio_tmem_[a-z_]*' | sort -u | while read -r m; do grep -qw "$m" $board || echo "$m"; done)" ''
n=0
{
	echo 'groups:'
	echo '- name: dashboard'
	echo '  rules:'
	# shellcheck disable=SC2016 # variables of Grafana
	jq -r '.panels[].targets[].expr' $board | sed -e 's/\$__rate_interval/5m/g' -e 's/\$guest/.*/g' |
		while IFS= read -r expr; do
			printf '  - record: x\n    expr: %s\n    labels: {n: "%d"}\n' "$(jq -R . <<<"$expr")" $((n += 1))
		done
} >"$MOCK_DIR/board.yml"
is 'its expressions are ones' "$(promtool check rules "$MOCK_DIR/board.yml" 2>&1 | grep -c SUCCESS)" 1
is 'of metrics that exist' "$(cat $board tools/prometheus/tmem-alerts.yml | grep -oh 'virtio_tmem_[a-z_]*' | sort -u |
	while read -r m; do grep -q "^# TYPE ${m%_bucket} " <<<"$metrics" || echo "$m"; done)" ''
done_testing
