# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# An empty Debian 12 in a folder, to install packages in. To be sourced after
# scripts/lib.sh and vm.sh. It is unpacked from what .ci/run has made, and needs root
# and the right to mount; nothing in it starts services or needs a network.

ROOT_BASE=$CACHE/root-bookworm.tar

# root_possible: or the suite is skipped
root_possible()
{
	[ "$(id -u)" = 0 ] || skip_all "it makes a root file system: only root can"
	unshare --mount --pid --fork true 2> /dev/null || skip_all "no right to mount here"
	[ -f "$ROOT_BASE" ] || skip_all "no $ROOT_BASE: .ci/run makes it"
}

# root_make DIR
root_make()
{
	mkdir -p "$1"
	tar -C "$1" -xf "$ROOT_BASE"
	printf '#!/bin/sh\nexit 101\n' > "$1/usr/sbin/policy-rc.d"
	chmod +x "$1/usr/sbin/policy-rc.d"
	# Nobody needs it after a power cut
	echo force-unsafe-io > "$1/etc/dpkg/dpkg.cfg.d/unsafe-io"
}

# root_run DIR COMMAND...
root_run()
{
	"${BASH_SOURCE[0]%/*}/in-root" "$@"
}

# root_debs DIR SOURCE: the packages of scripts/get-source.sh SOURCE, as DIR/SOURCE
root_debs()
{
	local from

	from=$(scripts/get-source.sh "$2") || return
	mkdir -p "$1/$2"
	cp "$from"/*.deb "$1/$2/"
}

# root_step NAME COMMAND...: it succeeds; what it says is shown if not
root_step()
{
	local name=$1 out

	shift
	if ! out=$("$@" 2>&1 < /dev/null); then
		bail "$name" "$(tail -n 30 <<< "$out")"
	fi
	ok "$name"
}
