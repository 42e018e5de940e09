#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# tools.sh: how long tmemctl takes to ask many guests (that are not there, so it is
# tmemctl's own time), and what balance does with hundreds of them (simulated).
# Figures on the terminal, plots in build/bench.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../../scripts/lib.sh"

tools=$BUILD/tools
out=$BUILD/bench
dir=$(mktemp -d "${TMPDIR:-/tmp}/tmem-bench.XXXXXX")
mock=
finish()
{
	[ -z "$mock" ] || exec {in}>&-
	rm -rf "$dir"
}
trap finish EXIT

make -s -C "$TOP/tools" O="$tools" "$tools/tmemctl" "$tools/mock-qmp" "$tools/balance-sim"
mkdir -p "$out" "$dir/s"
mkfifo "$dir/in"
"$tools/mock-qmp" "$dir/s" 'vm*500' <"$dir/in" >"$dir/ready" &
mock=$!
exec {in}>"$dir/in"
for ((i = 0; i < 200; i++)); do
	! grep -q ready "$dir/ready" || break
	sleep 0.05
done

# best COMMAND...: the shortest of 7 runs, in ms
best()
{
	local i start

	for ((i = 0; i < 7; i++)); do
		start=${EPOCHREALTIME/[^0-9]/}
		"$@" >/dev/null
		echo $((${EPOCHREALTIME/[^0-9]/} - start))
	done | sort -n | awk 'NR == 1 { printf "%.1f", $1 / 1000 }'
}

echo "load of this machine: $(cut -d' ' -f1 /proc/loadavg) on $(nproc) processors"
# Sockets are vm0000 to vm0499
for pattern in vm0000 'vm000?' 'vm00??' 'vm0???'; do
	count=$("$tools/tmemctl" list -q "$dir/s/$pattern.sock" | tail -n +2 | wc -l)
	echo "tmemctl stat of $count guests: $(best "$tools/tmemctl" stat -t 60 -q "$dir/s/$pattern.sock") ms"
done

"$tools/balance-sim" >"$out/balance-sim.txt"
"$tools/balance-sim" --scale | tee "$out/balance-scale.txt"
"$TOP/scripts/balance-plot.sh" sim "$out/balance-sim.txt" "$out/balance-sim.svg"
echo "plot: $out/balance-sim.svg"
