# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A libvirtd of the test's own, or several, for a user without rights (root's would
# be that of the whole host). To be sourced after vm.sh, and after vm_setup.
#
#   lv_setup               or the suite is skipped
#   lv_daemon NAME         starts one; its files are in $LV/NAME
#   lv NAME COMMAND...     as the user, with that libvirt: lv one virsh list
#   v, step                virsh of "one"; what must succeed
#
# Daemons and their guests end with the shell.
#
# Environment: LV_BUILD=<folder> (the libvirt that was built there, not the system's)

LV=
LV_USER=()
LV_PATH=$PATH:/usr/sbin
LV_LIBVIRTD=libvirtd
LV_DAEMONS=()

# What is in $LV may be read by nobody, as whom all of this runs: lv_own after each
# file that is put there.
lv_setup()
{
	local f caps=()

	if [ -n "${LV_BUILD:-}" ]; then
		# A path tells it that it is not installed
		LV_LIBVIRTD=$LV_BUILD/src/libvirtd
		LV_PATH=$LV_BUILD/tools:$LV_PATH
		# The folder may be somebody's own
		caps=(--inh-caps +dac_read_search --ambient-caps +dac_read_search)
	fi
	for f in "$LV_LIBVIRTD" virsh setpriv; do
		PATH=$LV_PATH command -v "$f" >/dev/null || skip_all "no $f"
	done
	LV=$VM_DIR/lv
	mkdir "$LV"
	cp "$QEMU" "$LV/qemu"
	chmod 711 "$VM_DIR"
	trap lv_cleanup EXIT
	[ "$(id -u)" != 0 ] || LV_USER=(setpriv --reuid=nobody --regid=nogroup --clear-groups "${caps[@]}")
	lv_own
}

lv_own()
{
	[ "${#LV_USER[@]}" = 0 ] || chown -R nobody:nogroup "$LV"
}

lv_cleanup()
{
	local rc=$? f

	set +e
	for f in "${LV_DAEMONS[@]}"; do
		kill -TERM "$f" 2>/dev/null
		wait "$f" 2>/dev/null
	done
	while read -r f; do
		kill -KILL "$(<"$f")" 2>/dev/null
	done < <(find "$LV" -path '*/qemu/run/*.pid' ! -name driver.pid)
	(exit "$rc")
	vm_cleanup
}

# lv NAME COMMAND...
lv()
{
	local dir=$LV/$1

	shift
	(cd "$LV" && exec "${LV_USER[@]}" env HOME="$dir" XDG_RUNTIME_DIR="$dir/run" XDG_CONFIG_HOME="$dir/config" \
		XDG_CACHE_HOME="$dir/cache" LIBVIRT_DEFAULT_URI=qemu:///session PATH="$LV_PATH" timeout $((60 * VM_PATIENCE)) "$@")
}

# v ARGUMENT...: virsh, of the libvirt "one"; what it says is kept
v()
{
	lv one virsh -q "$@" >"$VM_DIR/virsh.log" 2>&1
}

# step NAME COMMAND...: it succeeds, or the test ends
step()
{
	local name=$1

	shift
	"$@" || bail "$name" "$(<"$VM_DIR/virsh.log")" \
		"$(find "$LV" -path '*/log/*.log' -exec tail -n 3 {} + 2>/dev/null)"
	ok "$name"
}

# lv_daemon NAME: as on a host of this name, if that can be had: guests do not migrate
# to where they are
lv_daemon()
{
	local dir=$LV/$1 other=()

	mkdir -p "$dir"/{run,cache} "$dir/config/libvirt"
	# No other daemon for the logs; no core files, which vm_setup forbids
	printf '%s\n' 'stdio_handler = "file"' 'max_core = 0' >"$dir/config/libvirt/qemu.conf"
	echo "host_uuid = \"$(cat /proc/sys/kernel/random/uuid)\"" >"$dir/config/libvirt/libvirtd.conf"
	lv_own
	chmod 700 "$dir/run"
	# shellcheck disable=SC2016 # for that shell
	if unshare --uts true 2>/dev/null; then
		other=(unshare --uts sh -c 'hostname "$0" && exec "$@"' "$1")
	fi
	(cd "$LV" && exec "${other[@]}" "${LV_USER[@]}" env HOME="$dir" XDG_RUNTIME_DIR="$dir/run" \
		XDG_CONFIG_HOME="$dir/config" XDG_CACHE_HOME="$dir/cache" PATH="$LV_PATH" \
		"$LV_LIBVIRTD" -t 600) >"$VM_DIR/libvirtd-$1.log" 2>&1 </dev/null &
	LV_DAEMONS+=($!)
	vm_poll 10 test -S "$dir/run/libvirt/libvirt-sock" && return
	[ "$TAP_N" = 0 ] || bail "libvirtd starts again" "$(tail -n 3 "$VM_DIR/libvirtd-$1.log")"
	skip_all "libvirtd does not start: $(tail -n 1 "$VM_DIR/libvirtd-$1.log")"
}
