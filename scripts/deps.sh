#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# deps.sh PURPOSE...: see to it that the packages for these purposes are there
# (scripts/packages; spec/packages and tests/packages add their own).  With
# root or sudo they are installed; without, the command to type is printed.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

wanted()
{
	local purpose

	for purpose; do
		awk -v p="$purpose" '$1 == p { $1 = ""; print }' "$TOP/scripts/packages"
		case $purpose in
		spec) list=$TOP/spec/packages ;;
		check) list=$TOP/tests/packages ;;
		*) continue ;;
		esac
		[ ! -f "$list" ] || sed 's/#.*//' "$list"
	done | tr -s ' \t' '\n' | sed '/^$/d' | sort -u
}

missing()
{
	local -A there=()
	local pkg

	while read -r pkg; do
		there[$pkg]=1
	done < <(dpkg-query -W -f '${db:Status-Status} ${Package}\n' 2> /dev/null |
		sed -n 's/^installed //p')
	for pkg; do
		[ -n "${there[$pkg]:-}" ] || echo "$pkg"
	done
}

# No lists yet, as in a fresh root: nothing could be found without this.
update_lists()
{
	"${root[@]}" apt-get -q update
}

have_lists()
{
	compgen -G '/var/lib/apt/lists/*_Packages*' > /dev/null
}

install()
{
	"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
		--no-install-recommends install "$@"
}

# Old lists name versions that the mirror no longer has: look again once.
install_packages()
{
	have_lists || update_lists
	install "$@" || { update_lists && install "$@"; }
}

command -v dpkg-query > /dev/null ||
	die "this needs a Debian system (no dpkg-query here)"

mapfile -t packages < <(wanted "$@")
mapfile -t absent < <(missing "${packages[@]}")
[ "${#absent[@]}" -gt 0 ] || exit 0

lock "$BUILD/deps"
line="apt-get install --no-install-recommends ${absent[*]}"
if [ "$(id -u)" = 0 ]; then
	root=()
elif command -v sudo > /dev/null && { sudo -n true 2> /dev/null ||
	{ [ -t 0 ] && [ -t 2 ] && sudo -v; }; }; then
	root=(sudo)
else
	die "missing packages; as root: $line"
fi

msg "installing ${absent[*]}"
logged deps "installing packages (by hand: $line)" install_packages "${absent[@]}"
