#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The guide for hosts, followed line by line in an empty Debian 12: packages, libvirt, a
# domain, a guest that has more than its memory, and how tmemctl top and the metrics
# show it. The lines are those of docs/libvirt.md and docs/operations.md, below
# "<!-- guide: NAME -->": one that does not work fails here.
#
# What is not as on a real host: nothing but Debian's packages themselves answers apt;
# no systemd runs, so what it would start is started from the units' own lines; the
# guest is ours, and emulated; and what Debian's QEMU would be before is a link.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. scripts/lib.sh
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
# shellcheck source=tests/lib/root.sh
. tests/lib/root.sh
root_possible
ACCEL=tcg
vm_setup
root=$VM_DIR/root
guide=$root/guide
pages=(docs/libvirt.md docs/operations.md)

# block NAME: the lines of the guide that are called so
block()
{
	awk -v marker="<!-- guide: $1 -->" '
		{ match($0, /^ */); indent = RLENGTH }
		index($0, marker) { on = 1; first = 0; next }
		!on { next }
		/^$/ { if (first) held = held "\n"; next }
		!first { first = indent }
		indent < first { on = 0; next }
		{ printf "%s%s\n", held, substr($0, first + 1); held = "" }' "${pages[@]}"
}

# A mirror that has what libvirt and our packages are to depend on, and tools of this test
# shellcheck disable=SC2317 # called by root_step
mirror()
{
	local set

	for set in host host-libvirt; do
		root_debs "$root" "$set" &&
			(cd "$root" && dpkg-scanpackages -m "$set" > "$set"/Packages) &&
			echo "deb [trusted=yes] file:/ $set/" >> "$VM_DIR/sources" || return
	done
	cp "$VM_DIR/sources" "$root/etc/apt/sources.list"
	# The answer to its question; and the mirror has not all that is recommended.
	printf 'APT::Get::Assume-Yes "true";\nAPT::Install-Recommends "false";\n' > "$root/etc/apt/apt.conf.d/90guide"
	root_run "$root" sh -c 'apt-get -q update && apt-get -q install iproute2 curl tmux'
}

# said STEP
said()
{
	cat "$guide/$1.out" 2> /dev/null || :
}

# worked NAME STEP
worked()
{
	is "$1" "$(cat "$guide/$2.status" 2> /dev/null || echo 'not reached')" 0
	[ "$TAP_FAILED" = 0 ] || bail 'the guide goes on' "$(said "$2" | tail -n 20)" "$(tail -n 20 "$VM_DIR/followed")"
}

debs=$(scripts/build-deb.sh qemu tmemctl 2> "$VM_DIR/log") || bail 'the packages build' "$(cat "$VM_DIR/log")"
root_make "$root"
root_step 'there is a mirror' mirror

# ---- the lines ----

mkdir -p "$guide" "$root/checkout/build/deb"
mapfile -t debs <<< "$debs"
cp "${debs[@]}" "$root/checkout/build/deb/"
names=$(sed -n 's/.*<!-- guide: \([a-z]*\) -->.*/\1/p' "${pages[@]}")
for name in $names; do
	block "$name" > "$guide/$name"
	[ -s "$guide/$name" ] || bail "the guide has lines called $name"
done
cp -r tests/e2e/guide/. "$guide/"
vm_job <<'JOB'
swap_on /dev/vda
cgroup box 24M
within box swaptest name=data mib=48 repeat=0 phases=fill,rverify
JOB
cp "$KERNEL" "$guide/kernel"
cp "$VM_JOB" "$guide/initrd"

# Networks of libvirt's are no business of this machine's.
timeout $((200 * VM_PATIENCE)) unshare --net tests/lib/in-root "$root" /guide/follow > "$VM_DIR/followed" 2>&1 || :

# ---- what they did ----

worked 'apt installs libvirt and the packages' install
is 'each as it is in them' "$(root_run "$root" dpkg -V qemu-system-x86-tmem tmemctl)" ''
worked 'the lines for AppArmor are there, and taken' apparmor
like 'where libvirt looks for them' "$(cat "$root/etc/apparmor.d/local/abstractions/libvirt-qemu")" '/usr/bin/qemu-system-x86_64-tmem rmix,'
worked 'virsh edit takes emulator and device' edit
worked 'the guest starts' start
like 'tmemctl list shows it' "$(said start)" '^web +tmem0 .* 512.0M .* ok .*libvirt'
is 'it runs in the QEMU of the package' "$(cat "$guide/emulator.seen")" /usr/bin/qemu-system-x86_64-tmem
like 'it has more than its memory, and has verified all pages' "$(cat "$guide/proto.log")" '^@data.rverify.us '
is 'none is wrong' "$(grep -E '^@(bad|data\.error|job\.error)' "$guide/proto.log" || :)" ''
worked 'list, stat and top in a terminal' look
diag "$(grep . "$guide/top.screen")"
# held SCREEN: whole MiB that top says the guest has on its host
held=$(awk '$1 == "web" && $2 == "tmem0" { print int($3) }' "$guide/top.screen")
cmp_ok 'tmemctl top: MiB that it holds for the guest' "$held" -ge 16
like 'tmemctl top: in all' "$(cat "$guide/top.screen")" '^tmemctl top .* guests: 1, 0 silent  held: [0-9.]+M in '
cmp_ok 'tmemctl stat, before it: lines about the guest' "$(said look | grep -c '^web  *tmem0 ')" -ge 2
worked 'the service has metrics' service
cmp_ok 'pages of the guest by HTTP' "$(said service | sed -n 's/^virtio_tmem_pages{guest="web",device="tmem0"} //p')" -ge 4096
worked 'a text file has them' textfile
cmp_ok 'pages of the guest in the file' \
	"$(sed -n 's/^virtio_tmem_pages{guest="web",device="tmem0"} //p' "$guide/tmem.prom")" -ge 4096
worked 'limits are set' set
is 'as asked for' "$(said set)" 'web tmem0: max-size 512.0M -> 2.0G, min-size 0 -> 128.0M'
is 'no line of the guide was left out' "$(sort <<< "$names" | tr '\n' ' ')" \
	"$({ find "$guide" -name '*.status' -printf '%f\n' | sed 's/\.status//'; echo device; echo emulator; } | sort | tr '\n' ' ')"
done_testing
