#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# apt-private.sh [--suite SUITE] COMMAND...: run an apt command on suites that the
# system does not use, with lists, cache and configuration of its own; with
# --suite on that suite of Debian alone.  The system's apt is
# read (mirror, proxy) and never written.  Signatures are checked against
# Debian's archive keyring, so whatever the mirror is, the content is Debian's.
#
# apt-private.sh --mirror, --suites, --network print what was read from the system.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
APT=$CACHE/apt
suite=

# "URI SUITE" of everything that apt would update.  Asking apt reads every format
# of sources that apt knows.
system_suites()
{
	apt-get update --print-uris 2> /dev/null |
		sed -n "s|^'\(.*\)/dists/\([^/]*\)/InRelease'.*|\1 \2|p"
}

# The archive that serves most suites of this release: another vendor's
# repository may well have a suite called bookworm, but not its updates.
system_mirror()
{
	local codename

	# shellcheck disable=SC1091 # not ours
	codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-sid}")
	system_suites | awk -v re="^($codename|stable|testing|sid|unstable)(-updates|-backports)?\$" '
		$2 ~ re && ++n[$1] > most { most = n[$1]; best = $1 }
		END { print best }'
}

# What apt needs to get through to the mirror from here: proxies, time-outs.
system_network()
{
	apt-config dump | grep -E \
		'^Acquire::(https?::|Check-Valid-Until|Check-Date|Retries|ForceIPv|Proxy)' || :
}

sources()
{
	if [ -n "$suite" ]; then
		echo "deb [signed-by=$KEYRING] $1 $suite main"
		return
	fi
	cat <<-END
		deb-src [signed-by=$KEYRING] $1 trixie main
		deb [signed-by=$KEYRING] $1 bookworm main
		deb [signed-by=$KEYRING] $1 bookworm-backports main
	END
}

configure()
{
	local mirror=${DEBIAN_MIRROR:-$(system_mirror)}

	[ -n "$mirror" ] ||
		die "no Debian mirror in the system's apt sources; name one with DEBIAN_MIRROR=<url>"
	[ -f "$KEYRING" ] || die "no $KEYRING; install debian-archive-keyring"

	mkdir -p "$APT"/{lists/partial,cache/archives/partial,empty}
	: > "$APT/status"
	sources "$mirror" > "$APT/sources.list.new"
	put_file "$APT/sources.list.new" "$APT/sources.list"
	# apt as root would become _apt, which may not read a home directory.
	cat > "$APT/apt.conf" <<-END
		Dir::State "$APT";
		Dir::State::lists "$APT/lists";
		Dir::State::status "$APT/status";
		Dir::Cache "$APT/cache";
		Dir::Etc::main "/dev/null";
		Dir::Etc::parts "$APT/empty";
		Dir::Etc::sourcelist "$APT/sources.list";
		Dir::Etc::sourceparts "$APT/empty";
		Dir::Etc::preferences "/dev/null";
		Dir::Etc::preferencesparts "$APT/empty";
		Dir::Etc::netrc "/etc/apt/auth.conf";
		Dir::Etc::netrcparts "/etc/apt/auth.conf.d";
		APT::Architecture "amd64";
		APT::Architectures { "amd64"; };
		APT::Sandbox::User "root";
		APT::Get::AllowUnauthenticated "false";
		Acquire::Languages "none";
		Acquire::PDiffs "false";
	END
	system_network >> "$APT/apt.conf"
}

if [ "$1" = --suite ]; then
	suite=$2
	APT=$CACHE/apt/$suite
	shift 2
fi
case $1 in
--mirror) echo "${DEBIAN_MIRROR:-$(system_mirror)}" ;;
--suites) system_suites ;;
--network) system_network ;;
*)
	configure
	export APT_CONFIG=$APT/apt.conf
	exec "$@"
	;;
esac
