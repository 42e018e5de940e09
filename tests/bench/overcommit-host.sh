# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The host's side of overcommit.sh, which sources this: the cgroup's disk and swap
# file, the policies that move memory between guests, and that nothing of all this
# stays behind, even if the script is killed.
# shellcheck disable=SC2154,SC2034 # overcommit.sh's

host_dir=
host_direct=
host_disk=
host_swap=
page_cluster=/proc/sys/vm/page-cluster
qemu=

# host_setup: once; sets $host_disk to a sentence for the tables
host_setup()
{
	local name need

	host_dir=$(mktemp -d "${DISK_DIR:-/var/tmp}/tmem-overcommit.XXXXXX")
	host_watch
	trap host_cleanup EXIT
	[ "$(stat -f -c %T "$host_dir")" != tmpfs ] ||
		vm_die "$host_dir is on tmpfs: disks there take the memory they are to save; give DISK_DIR"
	need=$((3 * (whole + 64) + 3 * whole + 256))
	[ "$(df -Pm "$host_dir" | awk 'NR == 2 { print $4 }')" -ge "$need" ] ||
		vm_die "three disks and the host's swap file need $need MiB free in ${host_dir%/*}; give DISK_DIR"
	[ -x "$BUILD/tools/tmemctl" ] || vm_die "$BUILD/tools/tmemctl is missing: run \"make tools\" first"
	for name in "${names[@]}"; do
		# Written once, so that no way pays for finding blocks
		dd if=/dev/zero of="$host_dir/$name.raw" bs=1M count=$((whole + 64)) 2>/dev/null
	done
	sync "$host_dir"/*.raw
	host_disk="on $(df --output=fstype "$host_dir" | tail -n 1)"
	if dd if="$host_dir/a.raw" of=/dev/null bs=4096 count=1 iflag=direct 2>/dev/null; then
		host_direct=,file.cache.direct=on,cache.direct=on
	else
		host_disk+=", through the page cache"
	fi
	host_find_swap
	host_find_throttle
	cgroup_make $((LIMIT << 20))
	if cgroup_is_v2; then cgroup_kind=v2; else cgroup_kind=v1; fi
	cgroup_remove
	# QEMU enters the cgroup by itself, before it takes any memory
	qemu=$QEMU
	QEMU=$VM_DIR/qemu-in-cgroup
	export TMEM_QEMU=$qemu
	cat >"$QEMU" <<-'END'
		#!/bin/sh
		for dir in $TMEM_CGROUPS; do
			echo 0 >"$dir/cgroup.procs"
		done
		exec "$TMEM_QEMU" "$@"
	END
	chmod +x "$QEMU"
}

# Can the host have a swap file?
host_find_swap()
{
	local mib=$((3 * whole)) said

	if ! dd if=/dev/zero of="$host_dir/swap" bs=1M count="$mib" 2>/dev/null; then
		host_swap_missing "no room for $mib MiB in $host_dir"
		return
	fi
	chmod 600 "$host_dir/swap"
	if said=$(mkswap "$host_dir/swap" 2>&1 && swapon "$host_dir/swap" 2>&1); then
		swapoff "$host_dir/swap"
		host_swap=$host_dir/swap
	else
		host_swap_missing "$(tail -n 1 <<<"$said")"
	fi
}

host_swap_missing()
{
	echo "overcommit: the host gets no swap file, and ways that need one run without: $1" >&2
	rm -f "$host_dir/swap"
}

host_find_throttle()
{
	if [ "$DISK_IOPS" = 0 ]; then
		host_disk+=", as fast as it is"
		return
	fi
	cgroup_make $((LIMIT << 20))
	if cgroup_throttle "$host_dir" "$DISK_IOPS" $((DISK_MBS * 1000000)); then
		host_disk+=", at most $DISK_IOPS reads and $DISK_MBS MB a second for all of them"
	else
		DISK_IOPS=0
		host_disk+=", as fast as it is (no throttle can be had here)"
		echo "overcommit: the disk is not throttled: no such cgroup for ${host_dir%/*}" >&2
	fi
	cgroup_remove
}

# host_begin: before the guests of a way start
host_begin()
{
	export TMEM_CGROUPS="$CGROUP $CGROUP_IO"

	echo "$TMEM_CGROUPS" >"$host_dir/cgroups"
	[ "$DISK_IOPS" = 0 ] || cgroup_throttle "$host_dir" "$DISK_IOPS" $((DISK_MBS * 1000000)) ||
		vm_die "the disk cannot be throttled any more"
	[ -n "$HOST_SWAP" ] && [ -n "$host_swap" ] || return 0
	swapon "$host_swap"
	# Of a readahead, the throttle counts each page as a request, which no disk does
	cat $page_cluster >"$host_dir/page-cluster"
	{ echo "$HOST_PAGE_CLUSTER" >$page_cluster; } 2>/dev/null ||
		echo "overcommit: $page_cluster cannot be set: the host reads ahead as it does" >&2
}

# host_end: when they have ended
host_end()
{
	cgroup_remove
	host_swap_off
}

host_swap_off()
{
	! grep -qs "^$host_dir/swap " /proc/swaps || swapoff "$host_dir/swap"
	[ ! -s "$host_dir/page-cluster" ] || { cat "$host_dir/page-cluster" >$page_cluster; } 2>/dev/null || :
	rm -f "$host_dir/page-cluster"
}

# shellcheck disable=SC2317 # called by trap
host_cleanup()
{
	local rc=$?

	set +e
	host_clean_up
	(exit "$rc")
	guests_cleanup
}

# What is left: processes in the cgroup before swapoff, or that had to make room
host_clean_up()
{
	local dirs

	if read -r dirs 2>/dev/null <"$host_dir/cgroups"; then
		CGROUP=$dirs CGROUP_IO='' cgroup_remove
	fi
	host_swap_off
	rm -rf "$host_dir"
}

# A process that waits for this one to end, however it does
host_watch()
{
	# shellcheck disable=SC2016 # for the other shell
	setsid bash -c '. tests/lib/cgroup.sh
		. tests/bench/overcommit-host.sh
		host_dir=$2
		while kill -0 "$1"; do sleep 1; done
		[ ! -d "$host_dir" ] || host_clean_up' host-watch $$ "$host_dir" </dev/null >/dev/null 2>&1 &
	disown
}

# Limits of the page stores follow who swaps
tmem_policy()
{
	local conf=$GUESTS_DIR/balance.conf places=() name

	for name in "${names[@]}"; do
		places+=(-q "$name=$GUESTS_DIR/$name/policy.sock")
	done
	printf '[balance]\ntotal=%dM\ninterval=0.2\ntime-constant=0.2\n' "$TMEM" >"$conf"
	exec "$BUILD/tools/tmemctl" balance "${places[@]}" -t 10 -f "$conf" --json
}
