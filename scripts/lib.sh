# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# What every script here shares: where things are, how to speak, how to fail.
# Source it; it sets no traps and starts nothing.
#
# On the terminal: one line for each step, one line for a failure.  Everything
# else goes to a log in build/logs/ whose name the failure line carries.

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=$TOP/build
# shellcheck disable=SC2034 # for those who source this
SRC=$BUILD/src
LOGS=$BUILD/logs
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/virtio-tmem
JOBS=${JOBS:-$(nproc)}
export CCACHE_DIR=$CACHE/ccache

# apt, gcc and patch speak the language that the patterns below look for.
export LC_ALL=C.UTF-8

msg()
{
	printf 'virtio-tmem: %s\n' "$*"
}

die()
{
	printf 'virtio-tmem: error: %s\n' "$*" >&2
	exit 1
}

# need_space DIR MIB WHAT: a disk that fills up in the middle costs more time
# than this question.
need_space()
{
	local free

	mkdir -p "$1" || die "cannot create $1"
	free=$(df -Pm "$1" | awk 'NR == 2 { print $4 }')
	[ "$free" -ge "$2" ] ||
		die "$3 needs $2 MiB free in $1, there are $free MiB"
}

# One step at a time on one tree or cache: a second make waits instead of
# writing into the same files.  The lock is released when the script ends.
lock()
{
	mkdir -p "$(dirname "$1")"
	exec 9> "$1.lock"
	flock -n 9 || { msg "waiting for another make ($1.lock)" >&2; flock 9; }
}

# The line of a log that says most about why a command failed.
log_reason()
{
	local pattern line

	if grep -q 'No space left on device' "$1"; then
		echo "the disk is full: free some space and run it again"
		return
	fi
	for pattern in '(^|[: ])(fatal )?error:' 'ERROR' '^E: ' 'FAILED|\*\*\*'; do
		line=$(grep -m1 -E "$pattern" "$1") && break
	done
	[ -n "${line:-}" ] || line=$(tail -n 1 "$1")
	echo "${line:-it said nothing}"
}

# logged NAME WHAT COMMAND...: run it, its words into build/logs/NAME.log (with
# V=1 to the terminal as well); stop with one line when it fails.
logged()
{
	local log=$LOGS/$1.log what=$2 status

	shift 2
	mkdir -p "$LOGS"
	# In a subshell, and not as a condition: there set -e would not hold.
	set +e
	if [ "${V:-0}" = 1 ]; then
		(set -e; "$@") 2>&1 9>&- | tee "$log"
	else
		(set -e; "$@") > "$log" 2>&1 9>&-
	fi
	status=$?
	set -e
	[ "$status" = 0 ] || die "$what: $(log_reason "$log") (log: $log)"
}

# get_meson: what qemu and libvirt want newer than Debian 12 has it, into $BUILD/meson
get_meson()
{
	local cached

	lock "$BUILD/meson"
	[ ! -d "$BUILD/meson" ] || return 0
	cached=$("$TOP/scripts/get-source.sh" meson)
	rm -rf "$BUILD/meson.new"
	logged unpack-meson "unpacking meson" dpkg-deb -x "$cached"/*.deb "$BUILD/meson.new"
	mv "$BUILD/meson.new" "$BUILD/meson"
}

# hash_tree DIR...: one hash over names, modes and contents.
hash_tree()
{
	local dir

	for dir; do
		[ -d "$dir" ] || continue
		(cd "$dir" && find . -type f -perm /111 -printf 'x %p\n' &&
			find . -type f -print0 | sort -z | xargs -0r sha256sum)
	done | sha256sum | cut -d' ' -f1
}

# put_file FROM TO: write TO whole or not at all, and only when the content
# differs: its time is what make and ninja rebuild by.
put_file()
{
	cmp -s "$1" "$2" && return
	mkdir -p "$(dirname "$2")"
	cp "$1" "$2.tmem-new"
	mv "$2.tmem-new" "$2"
}
