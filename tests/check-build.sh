#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The build scripts on small trees: what goes in comes out, nothing is rewritten
# without need, a person's tree stays as it was, and every bad input ends in one
# line that says what is wrong.
set -euo pipefail
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# The scripts find everything from where they are, so copies have a build/,
# overlays and a cache of their own.
top=$tmp/top
mkdir "$top"
cp -r scripts "$top"
export XDG_CACHE_HOME=$tmp/cache
unset QEMU_SRC LINUX_SRC V
tree=$top/build/src/qemu

# make_qemu DIR VERSION: what passes for a QEMU tree
make_qemu()
{
	mkdir -p "$1/hw/virtio" "$1/.git"
	echo "$2" > "$1/VERSION"
	: > "$1/configure"
	printf '%s\n' one two three four five > "$1/hw/virtio/Kconfig"
	echo original > "$1/hw/virtio/device.c"
	echo object > "$1/hw/virtio/device.o"
}

make_patch()
{
	mkdir -p "$top/qemu/patches"
	printf '%s\n' '--- a/hw/virtio/Kconfig' '+++ b/hw/virtio/Kconfig' '@@ -1,3 +1,4 @@' \
		' one' "+$1" ' two' ' three' > "$top/qemu/patches/0001-add.patch"
}

prepare()
{
	QEMU_SRC=$tmp/own "$top/scripts/prepare-source.sh" qemu
}

apply()
{
	"$top/scripts/apply-overlay.sh" qemu "$top/qemu"
}

# build_once: its words, its status
build_once()
{
	{ prepare && apply; } 2>&1 || echo "status $?"
}

# refuses CLAIM REGEX COMMAND...: it fails with one line of error that matches
refuses()
{
	local claim=$1 regex=$2 out status=0

	shift 2
	out=$("$@" 2>&1) || status=$?
	out=$(grep -v '^virtio-tmem: [a-z]*ing ' <<< "$out" || :)
	if [ "$status" != 0 ] && [ "$(wc -l <<< "$out")" = 1 ] &&
		grep -q -E "^virtio-tmem: error: .*$regex" <<< "$out"; then
		ok "$claim"
	else
		not_ok "$claim" "status $status" "$out"
	fi
}

# state DIR...: all names, times and contents
state()
{
	(cd "$1" && find . -type f -printf '%p %T@\n' -exec md5sum {} + | sort)
}

# ---- the overlay ----

make_qemu "$tmp/own" 10.0.3
before=$(state "$tmp/own")
mkdir -p "$top/qemu/hw/virtio"
echo new > "$top/qemu/hw/virtio/tmem.c"
echo replaced > "$top/qemu/hw/virtio/device.c"
make_patch patched
build_once > /dev/null
is 'new files are added' "$(cat "$tree/hw/virtio/tmem.c")" new
is 'files of the source are replaced' "$(cat "$tree/hw/virtio/device.c")" replaced
is 'patches are applied' "$(sed -n 2p "$tree/hw/virtio/Kconfig")" patched
is 'objects and repositories are not copied' "$(cd "$tree" && find . -name '*.o' -o -name .git)" ''

first=$(state "$tree")
is 'a second run says nothing' "$(build_once)" ''
is 'a second run writes nothing' "$(state "$tree")" "$first"

echo newer > "$top/qemu/hw/virtio/tmem.c"
build_once > /dev/null
is 'a changed file is written, and no other' \
	"$(diff <(echo "$first") <(state "$tree") | grep '^> \./' | cut -d' ' -f2)" ./hw/virtio/tmem.c

make_patch repatched
build_once > /dev/null
is 'a changed patch takes the place of the old one' \
	"$(paste -sd' ' "$tree/hw/virtio/Kconfig")" 'one repatched two three four five'

echo six >> "$tmp/own/hw/virtio/Kconfig"
echo added > "$tmp/own/hw/virtio/more.c"
before=$(state "$tmp/own")
build_once > /dev/null
is "changes in a person's tree come through, patched or not" \
	"$(paste -sd' ' "$tree/hw/virtio/Kconfig" "$tree/hw/virtio/more.c")" \
	"$(printf 'one repatched two three four five six\nadded')"

sed -i 's/^ / not /' "$top/qemu/patches/0001-add.patch"
whole=$(state "$tree")
refuses 'a patch that does not apply is named' 'qemu/patches/0001-add.patch does not apply to qemu' apply
is 'and leaves the tree as it was' "$(state "$tree")" "$whole"
make_patch mended
build_once > /dev/null
is 'the next run mends it' "$(sed -n 2p "$tree/hw/virtio/Kconfig")" mended

# As if the power had gone in the middle of writing
rm "$tree.state/applied"
echo half > "$tree/hw/virtio/Kconfig"
rm "$tree/hw/virtio/tmem.c"
build_once > /dev/null
is 'an interrupted run is mended by the next' \
	"$(sed -n 2p "$tree/hw/virtio/Kconfig") $(cat "$tree/hw/virtio/tmem.c")" 'mended newer'

rm -r "$top/qemu/hw" "$top/qemu/patches"
mkdir -p "$top/qemu"
build_once > /dev/null
is 'what leaves the overlay leaves the tree' \
	"$(diff -r -x .git -x '*.o' "$tmp/own" "$tree" 2>&1 || :)" ''
is "a person's tree stays as it was" "$(state "$tmp/own")" "$before"

# ---- bad input ----

# shellcheck disable=SC2317 # called by refuses
with_qemu()
{
	QEMU_SRC=$1 "$top/scripts/prepare-source.sh" qemu
}

# shellcheck disable=SC2317 # called by refuses
with_linux()
{
	LINUX_SRC=$1 "$top/scripts/prepare-source.sh" linux
}

make_qemu "$tmp/old" 7.2.0
refuses 'an unsupported QEMU is refused' 'qemu 7.2.0 is not supported, 10.0.x is' with_qemu "$tmp/old"
refuses 'a QEMU_SRC that is no QEMU is refused' 'no qemu source tree' with_qemu "$tmp"
refuses 'a QEMU_SRC that is not there is refused' 'no such directory' with_qemu "$tmp/nowhere"
refuses 'a LINUX_SRC that is no Linux is refused' 'no linux source tree' with_linux "$tmp"
mkdir -p "$tmp/linux/drivers/virtio"
printf 'VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 1\n' > "$tmp/linux/Makefile"
: > "$tmp/linux/Kbuild"
refuses 'an unsupported Linux is refused' 'linux 6.12.1 is not supported, 6.1.x is' with_linux "$tmp/linux"
is 'a refused tree leaves the good one alone' "$([ -f "$tree/VERSION" ] && build_once)" ''

# Port 9 of this machine: nobody there
DEBIAN_MIRROR=http://127.0.0.1:9/debian \
	refuses 'no network is one clear line' 'no network: .*127.0.0.1:9' "$top/scripts/get-source.sh" meson
is 'and leaves nothing that looks like a download' "$(find "$XDG_CACHE_HOME" -name SHA256SUMS)" ''

mkdir "$tmp/bin"
cat > "$tmp/bin/df" <<'END'
#!/bin/sh
printf 'Filesystem 1M-blocks Used Available\nfull 1 1 12\n'
END
chmod +x "$tmp/bin/df"
PATH=$tmp/bin:$PATH refuses 'no disk space is one clear line' 'needs [0-9]* MiB .* there are 12 MiB' \
	"$top/scripts/get-source.sh" meson

sed -i '/^qemu /d' "$top/scripts/packages"
echo 'qemu no-such-package-tmem' >> "$top/scripts/packages"
cat > "$tmp/bin/id" <<'END'
#!/bin/sh
echo 1000
END
printf '#!/bin/sh\nexit 1\n' > "$tmp/bin/sudo"
chmod +x "$tmp/bin/id" "$tmp/bin/sudo"
PATH=$tmp/bin:$PATH refuses 'without root, the packages to install are named' \
	'apt-get install --no-install-recommends no-such-package-tmem' "$top/scripts/deps.sh" qemu
done_testing
