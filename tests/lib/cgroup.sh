# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A cgroup with a memory limit, v2 where its memory controller is to be had, else
# v1; and, if there is one to be had too, the same disk speed for all in it. To be
# sourced.
#
# cgroup_find sets CGROUP_PARENT; then one cgroup at a time: cgroup_make,
# cgroup_usage ..., cgroup_remove, which kills whatever is left in it.

CGROUP_PARENT=
CGROUP=
# The same with v1's controller of disks, "" for none
CGROUP_IO=

# cgroup_at FSTYPE OPTION PATH: folders of the cgroup PATH, wherever it is mounted
cgroup_at()
{
	awk -v type="$1" -v option="$2" -v path="$3" '
		{
			for (i = 7; $i != "-"; i++)
				;
			if ($(i + 1) != type || ("," $(i + 3) ",") !~ option)
				next
			root = $4 == "/" ? "" : $4
			if (index(path "/", root "/") == 1)
				print $5 substr(path, length(root) + 1)
		}' /proc/self/mountinfo
}

# cgroup_v1 CONTROLLER: our own cgroup there
cgroup_v1()
{
	local path

	path=$(sed -n "s/^[0-9]*:\([^:]*,\)*$1\(,[^:]*\)*:\//\//p" /proc/self/cgroup)
	[ -z "$path" ] || cgroup_at cgroup ",$1," "${path%/}"
}

# Where a cgroup of ours may be: in v2 beside our own, as one with processes in
# it has no memory controller for those below; in v1 below our own.
cgroup_candidates()
{
	local v2

	v2=$(sed -n 's/^0::\//\//p' /proc/self/cgroup)
	[ -z "$v2" ] || cgroup_at cgroup2 . "${v2%/}" | sed 'p; s|/[^/]*$||'
	cgroup_v1 memory
}

# cgroup_usable DIR: a cgroup can be made in it, with a limit
cgroup_usable()
{
	local probe=$1/tmem-probe.$$ rc=1

	mkdir "$probe" 2>/dev/null || return 1
	[ ! -e "$probe/memory.limit_in_bytes" ] && [ ! -e "$probe/memory.max" ] || rc=0
	rmdir "$probe"
	return $rc
}

# cgroup_find: fails if no cgroup with a memory limit can be made here
cgroup_find()
{
	local dir

	while read -r dir; do
		if cgroup_usable "$dir"; then
			CGROUP_PARENT=$dir
			return 0
		fi
	done < <(cgroup_candidates)
	return 1
}

# cgroup_find_or_mount SCRIPT [ARGUMENT...]: the same; a container or a chroot has no
# folder of cgroups, or a read-only one. If it has the right to mount, SCRIPT starts
# again in a name space where they are mounted, which goes when it ends.
cgroup_find_or_mount()
{
	! cgroup_find || return 0
	[ -z "${CGROUP_MOUNTED:-}" ] || return 1
	local dir=/sys/fs/cgroup in_mounts
	# shellcheck disable=SC2016 # for the other shell
	in_mounts='mount --make-rprivate / && mount -t tmpfs tmpfs "$0" && mkdir "$0/m" "$0/b" &&
		{ mount -t cgroup -o memory cgroup "$0/m" || mount -t cgroup2 cgroup2 "$0/m"; } &&
		{ mount -t cgroup -o blkio cgroup "$0/b" || :; } && exec "$@"'
	unshare --mount sh -c "$in_mounts" $dir mkdir "$dir/m/tmem-probe.$$" 2>/dev/null || return 1
	unshare --mount sh -c "$in_mounts" $dir rmdir "$dir/m/tmem-probe.$$" 2>/dev/null || return 1
	CGROUP_MOUNTED=1 exec unshare --mount sh -c "$in_mounts" $dir "$@"
}

# cgroup_make BYTES: with this limit
cgroup_make()
{
	local io

	CGROUP=$CGROUP_PARENT/tmem-$$
	CGROUP_IO=
	mkdir "$CGROUP"
	if cgroup_is_v2; then
		echo "$1" >"$CGROUP/memory.max"
		return
	fi
	echo "$1" >"$CGROUP/memory.limit_in_bytes"
	while read -r io; do
		if mkdir "$io/tmem-$$" 2>/dev/null; then
			CGROUP_IO=$io/tmem-$$
			break
		fi
	done < <(cgroup_v1 blkio)
}

cgroup_is_v2()
{
	[ -e "$CGROUP/memory.max" ]
}

# cgroup_enter: the calling process, and those it starts from now on
cgroup_enter()
{
	echo 0 >"$CGROUP/cgroup.procs"
	[ -z "$CGROUP_IO" ] || echo 0 >"$CGROUP_IO/cgroup.procs"
}

# cgroup_throttle FILE IOPS BYTES_PER_SECOND: bytes for reads and for writes each, of
# the disk that FILE is on. Fails if that cannot be had. Requests are counted before
# neighbours are merged, and swap is written page by page: so of reads only.
cgroup_throttle()
{
	local disk key
	disk=$(cgroup_disk "$1") || return 1

	if cgroup_is_v2; then
		echo "$disk riops=$2 rbps=$3 wbps=$3" >"$CGROUP/io.max" || return 1
	elif [ -n "$CGROUP_IO" ]; then
		echo "$disk $2" >"$CGROUP_IO/blkio.throttle.read_iops_device" || return 1
		for key in read write; do
			echo "$disk $3" >"$CGROUP_IO/blkio.throttle.${key}_bps_device" || return 1
		done
	else
		return 1
	fi 2>/dev/null
}

# cgroup_disk FILE: MAJOR:MINOR of the whole disk that it is on
cgroup_disk()
{
	local dev dir

	dev=$(stat -c %d "$1")
	dir=/sys/dev/block/$((dev >> 8 & 0xfff)):$(((dev & 0xff) | (dev >> 12 & 0xfff00)))
	[ -e "$dir" ] || return 1
	[ ! -e "$dir/partition" ] || dir=$dir/..
	cat "$dir/dev"
}

# Memory that it takes, in bytes
cgroup_usage()
{
	cat "$CGROUP/memory.current" 2>/dev/null || cat "$CGROUP/memory.usage_in_bytes"
}

# Most that it has taken, as far as the kernel knows that
cgroup_peak()
{
	cat "$CGROUP/memory.peak" 2>/dev/null || cat "$CGROUP/memory.max_usage_in_bytes" 2>/dev/null || echo 0
}

# What of it the host has swapped out, in bytes
cgroup_swap()
{
	if cgroup_is_v2; then
		cat "$CGROUP/memory.swap.current" 2>/dev/null || echo 0
	else
		awk '$1 == "swap" { n = $2 } END { print n + 0 }' "$CGROUP/memory.stat"
	fi
}

# How many of its processes were killed for want of memory
cgroup_oom_kills()
{
	cat "$CGROUP/memory.events" "$CGROUP/memory.oom_control" 2>/dev/null |
		awk '$1 == "oom_kill" { n = $2 } END { print n + 0 }'
}

# cgroup_remove: and whatever runs in it
cgroup_remove()
{
	local dir pid i

	for dir in $CGROUP $CGROUP_IO; do
		[ -d "$dir" ] || continue
		for ((i = 0; i < 100; i++)); do
			while read -r pid; do
				kill -KILL "$pid" 2>/dev/null || :
			done <"$dir/cgroup.procs"
			! rmdir "$dir" 2>/dev/null || break
			sleep 0.1
		done
	done 2>/dev/null
	CGROUP=
	CGROUP_IO=
}
