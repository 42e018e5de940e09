#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# make demo-overcommit in little: three guests under one memory limit. The limit is
# kept, nobody is killed for want of memory, no page is bad, tables and plots are
# made; and of cgroup, swap file and disks nothing stays, not even when the script is
# killed. How fast each way is, is not judged here. Skipped where no cgroup with a
# memory limit can be made.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
# shellcheck source=tests/lib/cgroup.sh
. tests/lib/cgroup.sh

[ "$(id -u)" = 0 ] || skip_all "only root can make the cgroup and swap on a file"
cgroup_find_or_mount "$0" || skip_all "no cgroup with a memory limit can be made here"
vm_setup
make -s -C tools O="$PWD/$BUILD/tools" "$PWD/$BUILD/tools/tmemctl" >"$VM_DIR/make.log" 2>&1 ||
	bail "tmemctl builds" "$(tail -n 5 "$VM_DIR/make.log")"
export DISK_DIR=${DISK_DIR:-/var/tmp}
[ "$(stat -f -c %T "$DISK_DIR")" != tmpfs ] || skip_all "$DISK_DIR is on tmpfs: give a DISK_DIR on a disk"

export OUT=$VM_DIR/out PHASE=8 LIMIT=450 SERVICE=24 SERVICE_PACE=50 JOB=160 LITTLE=48 TMEM_RAM=56 ACCEL=$VM_ACCEL

# What could stay: folders, swap files, cgroups
left()
{
	find "$DISK_DIR" -maxdepth 1 -name 'tmem-overcommit.*' -newer "$VM_DIR/began" 2>/dev/null
	grep -s tmem-overcommit /proc/swaps || :
	find "$CGROUP_PARENT" -maxdepth 1 -name "tmem-$1" 2>/dev/null
}

# shellcheck disable=SC2317 # called by vm_poll
nothing_left()
{
	[ -z "$(left "$1")" ]
}

# demo WAYS: in the background; sets $demo
demo()
{
	WAYS=$1 tests/bench/overcommit.sh >"$VM_DIR/demo.log" 2>&1 </dev/null &
	demo=$!
}

# of WAY JQ: of the JSON
of()
{
	jq -r --arg way "$1" ".ways[] | select(.name == \$way) | $2" "$OUT/overcommit.json"
}

touch "$VM_DIR/began"
ways=('host swap' 'virtio-tmem')
demo '^(host swap|virtio-tmem)$'
status=0
wait "$demo" || status=$?
is "it ends well" "$status" 0
[ "$status" = 0 ] || bail "it ends well" "$(tail -n 30 "$VM_DIR/demo.log")"
diag "$(grep -v '^virtio-tmem:' "$VM_DIR/demo.log" || :)" "$(grep '^|' "$OUT/overcommit.md")"
nothing_left "$demo" || not_ok "nothing stays" "$(left "$demo")"

for way in "${ways[@]}"; do
	is "$way: the limit was kept, in each second" "$(of "$way" .limit_kept)" true
	is "$way: nobody was killed for want of memory" "$(of "$way" '.oom_kills | add')" 0
	is "$way: all guests end well" "$(of "$way" '[.guests[].ended] | all')" true
	is "$way: no page was bad" "$(of "$way" .bad)" 0
	cmp_ok "$way: $(of "$way" .verified) pages were verified" "$(of "$way" .verified)" -ge $((3 * SERVICE * 256))
	cmp_ok "$way: memory was looked at each second" "$(of "$way" '.samples | length')" -ge 10
done
is "virtio-tmem: in its phase, each guest does most" \
	"$(of virtio-tmem '[.phases[:3][] | .work | to_entries | max_by(.value) | .key] | join(" ")')" 'a b c'
# Their services alone would do 400
is "virtio-tmem: all work in the last phase" "$(of virtio-tmem '.phases[3].work | map(. > 500) | all')" true
is "virtio-tmem: the host had nothing to swap" "$(of virtio-tmem .host_swap_most)" 0
for plot in work memory; do
	f=$OUT/overcommit-$plot.svg
	cmp_ok "overcommit-$plot.svg has a curve for each guest and way" "$(grep -c '<polyline' "$f")" -ge 4
	is "overcommit-$plot.svg is whole" "$(head -c 4 "$f") $(tail -n 1 "$f")" '<svg </svg>'
	is "overcommit-$plot.svg has only numbers" "$(grep -ciE '"[^"]*(nan|inf)[^"]*"' "$f")" 0
done

# Killed while the host swaps: it cannot clean up, but somebody does.
demo '^host swap$'
# shellcheck disable=SC2317 # called by vm_poll
host_swaps()
{
	# By then it has said what is to be cleaned up
	compgen -G "${DISK_DIR:-/var/tmp}/tmem-overcommit.*/cgroups" >/dev/null || return
	grep -qs tmem-overcommit /proc/swaps || no_host_swap
}
no_host_swap()
{
	grep -q 'gets no swap file' "$VM_DIR/demo.log"
}
vm_poll 60 host_swaps || not_ok "the host swaps" "$(tail -n 5 "$VM_DIR/demo.log")"
kill -KILL "$demo"
{ wait "$demo"; } 2>/dev/null || :
vm_poll 10 nothing_left "$demo" || :
is "killed: swap file, disks and cgroup go" "$(left "$demo")" ''
! no_host_swap || diag "there was no swap file: $(grep 'gets no swap file' "$VM_DIR/demo.log")"
done_testing
