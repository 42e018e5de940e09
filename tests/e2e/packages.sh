#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What make deb gives: lintian finds nothing, the same sources give the same packages,
# and those for hosts are installed by apt in an empty Debian 12, with what they
# depend on and no more, and used there: a guest swaps, tmemctl sees and steers it.
# (The others: check-dkms.sh, e2e/systemd.sh.)
set -euo pipefail
# shellcheck source=scripts/lib.sh
. scripts/lib.sh
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
# shellcheck source=tests/lib/root.sh
. tests/lib/root.sh
vm_setup
root=$VM_DIR/root

if ! debs=$(scripts/build-deb.sh 2> "$VM_DIR/log"); then
	bail 'the packages build' "$(cat "$VM_DIR/log")"
fi
mapfile -t debs <<< "$debs"
is 'there are four packages' "$(printf '%s\n' "${debs[@]##*/}" | sed 's/_.*//' | sort | tr '\n' ' ')" \
	'qemu-system-x86-tmem tmemctl virtio-tmem-dkms virtio-tmem-guest '
sums=$(sha256sum "${debs[@]}")
for deb in "${debs[@]}"; do
	package=${deb##*/}
	package=${package%%_*}
	is "$package: lintian finds nothing" "$(lintian --allow-root --fail-on none "$deb" 2>&1)" ''
done
scripts/build-deb.sh dkms guest tmemctl > /dev/null 2> "$VM_DIR/log" || bail 'the packages build again' "$(cat "$VM_DIR/log")"
is 'the same sources give the same packages' "$(sha256sum "${debs[@]}")" "$sums"

if [ "$(id -u)" != 0 ] || ! unshare --mount --pid --fork true 2> /dev/null || [ ! -f "$ROOT_BASE" ]; then
	skip 'the packages are installed and used' "only root can, where it may mount, with $ROOT_BASE of .ci/run"
	done_testing
fi

inside()
{
	root_run "$root" "$@"
}

# A mirror that has nothing but our packages and what they are to depend on
# shellcheck disable=SC2317 # called by root_step
repository()
{
	root_debs "$root" host &&
		cp "${debs[@]}" "$root/host/" &&
		(cd "$root" && dpkg-scanpackages -m host > host/Packages) &&
		echo 'deb [trusted=yes] file:/ host/' > "$root/etc/apt/sources.list" &&
		inside apt-get -q update
}

root_make "$root"
root_step 'there is a mirror' repository
root_step 'apt installs the packages for hosts, with what they depend on' \
	inside apt-get -q -y --no-install-recommends install qemu-system-x86-tmem tmemctl
# shellcheck disable=SC2016 # dpkg-query's own
is "Debian's own QEMU is not among that" "$(inside dpkg-query -W -f '${Package}\n' | grep -x -e qemu-system-x86 -e libvirt-daemon || :)" ''
like 'its QEMU says which it is' "$(inside qemu-system-x86_64-tmem --version)" '^QEMU emulator version 10\.'
like 'and has the device' "$(inside qemu-system-x86_64-tmem -device virtio-tmem-pci,help)" '^ *max-size=<size>'
like 'tmemctl says which it is' "$(inside tmemctl --version)" 'libvirt: yes'
is 'what apt knows fits what is there' "$(inside dpkg -V qemu-system-x86-tmem tmemctl)" ''

vm_job <<'JOB'
swap_on /dev/vda
cgroup box 24M
within box swaptest name=data mib=48 phases=fill,rverify
await end
JOB
cp "$KERNEL" "$root/kernel"
cp "$VM_JOB" "$root/initrd"
cat > "$root/use" <<'END'
#!/bin/sh
mkdir /vms
truncate -s 128M /disk
qemu-system-x86_64-tmem -accel tcg -cpu max -M q35 -m 160M -nodefaults -no-user-config -display none \
	-kernel /kernel -initrd /initrd -append 'console=ttyS0 panic=-1 no_timer_check rootfstype=ramfs' \
	-serial file:/console.log -serial file:/proto.log -qmp unix:/vms/web.sock,server=on,wait=off \
	-drive if=virtio,format=raw,file=/disk \
	-device virtio-tmem-pci,id=tmem0,max-size=64M,pressure=off > /qemu.log 2>&1 &
until grep -q -s '^@data.bad ' /proto.log; do
	kill -0 $! || exit
	sleep 0.5
done
tmemctl list --qmp-dir /vms -t 20 > /list 2>&1
tmemctl stat --json --qmp-dir /vms -t 20 > /stat 2>&1
tmemctl set web --max-size 96M --qmp-dir /vms -t 20 > /set 2>&1
kill $!
wait $!
END
chmod +x "$root/use"
root_step 'a guest swaps in there' timeout $((60 * VM_PATIENCE)) tests/lib/in-root "$root" /use
like 'no page is wrong' "$(cat "$root/proto.log")" '^@data.bad 0'
like 'tmemctl list shows it' "$(cat "$root/list")" '^web +tmem0 .* 64.0M .* ok '
cmp_ok 'tmemctl stat shows what it has put' "$(jq '.guests[0].devices[0].puts' "$root/stat")" -gt 4000
like 'tmemctl set sets it' "$(cat "$root/set")" '^web tmem0: max-size 64.0M -> 96.0M'

root_step 'apt takes them away' inside apt-get -q -y purge qemu-system-x86-tmem tmemctl
is 'and leaves nothing of them' "$(cd "$root" && find etc usr -name '*tmem*')" ''
done_testing
