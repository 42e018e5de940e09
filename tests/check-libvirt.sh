#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The series for libvirt, as its reviewers would look at it: it applies, builds
# without one warning, libvirt's own tests pass with it, and they run each case
# that it adds. What it makes QEMU's command line of is what our QEMU knows.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. scripts/lib.sh
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh

tree=$SRC/libvirt
out=$BUILD/libvirt
data=$tree/tests

# Those that the series has cases for, and those that look at what it touches
bins=(genericxml2xmltest qemucapabilitiestest qemucaps2xmltest qemuxmlconftest qemumemlocktest
	qemusecuritytest qemuhotplugtest virschematest domaincapstest)
scripts=(check-symsorting check-symfile 'qemu replies check')

mapfile -t patches < <(find "$PWD/libvirt/patches" -name '*.patch' | sort)

# added PATTERN: files of the series' own below tests/, without .xml
added()
{
	# shellcheck disable=SC2254 # a pattern
	sed -n 's,^+++ b/tests/\(.*\)\.xml$,\1,p' "${patches[@]}" | while read -r file; do
		case $file in
		$1) [ ! -e "$tree.state/orig/tests/$file.xml" ] && echo "$file" ;;
		esac
	done | sort -u
}

# cases TEST: "OK title" for each case that it has run, without the paths of schemas.
# libvirt's own words may stand between the title and the verdict.
cases()
{
	awk '
		/^ *[0-9]+\) / { title = $0; sub(/^ *[0-9]+\) /, "", title); sub(/ +\.\.\. .*/, "", title)
			sub(/ against .*\//, " against ", title) }
		/(^|[ .])(OK|FAILED|SKIP)$/ { print $NF, title }' "$LOGS/libvirt-$1.log"
}

# runs NAME TEST TITLE...: these cases were run, and passed
runs()
{
	local name=$1 test=$2

	shift 2
	is "$test: $name are run ($#)" "$(comm -23 <(printf 'OK %s\n' "$@" | sort) <(cases "$test" | sort))" ''
	cmp_ok "there are some" $# -gt 0
}

# passes TEST: one of libvirt's, all of it
passes()
{
	if VIR_TEST_VERBOSE=1 "$BUILD/meson/usr/bin/meson" test -C "$out" --no-rebuild -v --timeout-multiplier 10 "$1" \
		> "$LOGS/libvirt-$1.log" 2>&1; then
		ok "$1 passes"
	else
		not_ok "$1 passes" "$(grep -aE -A 12 'FAILED$|^Traceback|stderr' "$LOGS/libvirt-$1.log" | tail -n 60)"
	fi
}

# ---- applies and builds ----

for patch in "${patches[@]}"; do
	like "${patch##*/} says why" "$(sed '1,/^$/d; /^---$/,$d' "$patch")" '[[:alpha:]]'
done
if text=$(scripts/build-libvirt.sh "${bins[@]/#/tests/}" 2>&1); then
	ok 'the series applies and builds, with warnings as errors'
else
	bail 'the series applies and builds, with warnings as errors' "$text"
fi

# ---- libvirt's own tests ----

export PYTHONPATH=$BUILD/meson/usr/lib/python3/dist-packages
for test in "${bins[@]}" "${scripts[@]}"; do
	passes "$test"
done

mapfile -t titles < <(added 'genericxml2xmlindata/*' | sed 's,.*/,GENERIC XML-2-XML ,')
runs 'our definitions' genericxml2xmltest "${titles[@]}"

# A definition is tested by what is beside it: a command line and the definition
# that it becomes, or an error
mapfile -t inputs < <(added 'qemuxmlconfdata/*' | grep -v -E '\.(x86_64-|xml)')
titles=()
for input in "${inputs[@]}"; do
	input=${input##*/}
	for f in "$data/qemuxmlconfdata/$input".x86_64-*; do
		f=${f##*/}
		case $f in
		*.args) titles+=("QEMU XML def -> ARGV ${f%.args}") ;;
		*.xml) titles+=("QEMU XML def parse ${f%.xml}") ;;
		*.err) titles+=("QEMU XML def parse ${f%.err}") ;;
		esac
	done
done
runs 'our definitions, their command lines and errors' qemuxmlconftest "${titles[@]}"

mapfile -t titles < <(added '*' | sed "s,.*,Checking $data/&.xml against domain.rng," |
	grep -E '/(genericxml2xml(in|out)data|qemuxmlconfdata|qemumemlockdata|qemuhotplugtestdomains)/')
runs 'our definitions against the schema' virschematest "${titles[@]}"

mapfile -t titles < <(added 'qemumemlockdata/*' | sed 's,.*/qemumemlock-,QEMU MEMLOCK ,')
runs 'our limits of locked memory' qemumemlocktest "${titles[@]}"

# Others are named in the patches alone: DO_TEST_UPDATE("x86_64", "tmem", "tmem-grow", ...
mapfile -t titles < <(sed -n -E 's/^\+ +DO_TEST_(ATTACH|DETACH|UPDATE)\("x86_64", "([^"]*)", "([^"]*)".*/\2 \1 \3/p' "${patches[@]}")
runs 'our changes of a running domain' qemuhotplugtest "${titles[@]}"
mapfile -t titles < <(sed -n -E 's/^\+ +DO_TEST_DOMAIN\("([^"]*)"\);/\1/p' "${patches[@]}")
runs 'our labels' qemusecuritytest "${titles[@]}"
mapfile -t titles < <(sed -n -E 's,^\+\+\+ b/tests/qemucapabilitiesdata/caps_([0-9.]*)_([^.+]*)\.replies$,\1 (\2),p' "${patches[@]}")
runs 'the answers that have the device' qemucapabilitiestest "${titles[@]}"

# ---- our QEMU ----

# What libvirt says of the device, in all command lines of the tests
said()
{
	sed -n -E "s/^-device '(.*\"driver\":\"virtio-tmem-pci\".*)' .*/\\1/p" "$data"/qemuxmlconfdata/tmem*.args |
		jq -r 'keys[]' | grep -v -x -e driver -e id -e bus | sort -u
}

if [ ! -x "$QEMU" ]; then
	skip 'QEMU knows all that libvirt says of the device' 'QEMU is not built'
else
	is 'QEMU knows all that libvirt says of the device' \
		"$(comm -23 <(said) <("$QEMU" -device virtio-tmem-pci,help | sed -n 's/^  \([^=]*\)=.*/\1/p' | sort))" ''
	cmp_ok 'that are some properties' "$(said | wc -l)" -ge 10
fi
done_testing
