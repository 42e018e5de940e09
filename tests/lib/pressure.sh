# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Memory pressure and the limit that follows it, for tests/e2e. To be sourced
# after vm.sh.
#
# A scripted source is a file as the kernel writes it, in which tasks stall for
# the share of the time that a test asks for. The curve is recorded through a
# monitor of its own, so that the test can use the other one meanwhile. Both run
# in the background, and end when the test or the guest does.

VM_CURVE=
VM_CURVE_PID=

# pressure_begin: a calm host; give the device pressure=$VM_DIR/pressure
pressure_begin()
{
	pressure_set 0
	pressure_write 0
	pressure_loop $$ </dev/null >/dev/null 2>&1 &
}

# pressure_set PERCENT: of the time, from now on
pressure_set()
{
	echo "$1" >"$VM_DIR/percent.new"
	mv "$VM_DIR/percent.new" "$VM_DIR/percent"
}

# By rename(): a reader sees the old file or the new one.
pressure_write()
{
	echo "some avg10=0.00 avg60=0.00 avg300=0.00 total=$1" >"$VM_DIR/pressure.new"
	mv "$VM_DIR/pressure.new" "$VM_DIR/pressure"
}

pressure_loop()
{
	local total=0 last=${EPOCHREALTIME/[^0-9]/} now

	while [ -d "$VM_DIR" ] && kill -0 "$1"; do
		now=${EPOCHREALTIME/[^0-9]/}
		total=$((total + (now - last) * $(<"$VM_DIR/percent") / 100))
		last=$now
		pressure_write "$total"
		sleep 0.05
	done
}

# vm_start_curve FILE: vm_start, and record each half second, until the guest is
# off: seconds, limit, bytes used, pressure in permille
vm_start_curve()
{
	VM_CURVE=$1
	mkdir -p "${1%/*}"
	vm_start -qmp "unix:$VM_DIR/curve.sock,server=on,wait=off"
	vm_poll 10 test -S "$VM_DIR/curve.sock" || bail "QEMU starts"
	curve_ask </dev/null 2>/dev/null |
		socat - "UNIX-CONNECT:$VM_DIR/curve.sock" >"$VM_DIR/curve.json" 2>/dev/null &
	VM_CURVE_PID=$!
}

curve_ask()
{
	local start=${EPOCHREALTIME/[^0-9]/} now

	echo '{"execute":"qmp_capabilities"}'
	while vm_alive; do
		now=$(((${EPOCHREALTIME/[^0-9]/} - start) / 1000))
		printf '{"execute":"query-tmem","id":"%d.%03d"}\n' \
			$((now / 1000)) $((now % 1000))
		sleep 0.5
	done
}

# vm_end_curve: once the guest is off, write the file
vm_end_curve()
{
	wait "$VM_CURVE_PID" || :
	{
		echo "# seconds, limit in bytes, used bytes, pressure in permille"
		jq -r 'select(.id) | .id as $t | .return[0] |
			"\($t) \(.limit) \(."bytes-used") \(.pressure.permille // 0)"' \
			"$VM_DIR/curve.json"
	} >"$VM_CURVE"
	diag "the curve is in $VM_CURVE, for scripts/limit-curve.sh"
}

# curve_events: what the monitor was told of the limit: limit and reason, a line
# for each event
curve_events()
{
	jq -r 'select(.event == "TMEM_LIMIT_CHANGED") | "\(.data.limit) \(.data.reason)"' \
		"$VM_DIR/curve.json"
}

# curve_seconds: time from the first point to the last one
curve_seconds()
{
	awk '!/^#/ { if (!n++) first = $1; last = $1 } END { printf "%d\n", last - first }' "$VM_CURVE"
}

# vm_limit_reason_is REASON...: one of these
vm_limit_reason_is()
{
	local reason
	reason=$(vm_tmem limit-reason)

	[[ " $* " == *" $reason "* ]]
}

vm_tmem_above()
{
	[ "$(vm_tmem "$1")" -gt "$2" ]
}
