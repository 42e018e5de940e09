# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Test guests and TAP, for tests/e2e/*.sh and scripts/demo.sh. To be sourced.
#
# One guest at a time: vm_start, talk to it, vm_stop. The guest runs the job that
# vm_job was given (words in tests/guest/lib.sh) and answers with lines "@..." on
# its second serial port; the first is the kernel's log. Everything a guest needs
# lives in two temporary directories that go with the shell, and only processes
# that were started here are ever killed.
#
# Environment: BUILD, QEMU, KERNEL, INITRAMFS (paths; or KERNEL=<name>, of
# scripts/get-kernel.sh, whose drivers are modules: see vm_kernel), ACCEL (tcg or kvm; else
# KVM is used if a guest is seen to boot on it), KEEP=1 (keep the directories),
# VM_PATIENCE (factor on all time limits), VM_COVERAGE (a directory for what guests
# say of the lines that ran: tests/coverage/report.sh).

: "${BUILD:=build}"
: "${QEMU:=$BUILD/qemu/qemu-system-x86_64}"
# vm_kernel NAME: guests from here on boot this kernel; after scripts/build-guest.sh
vm_kernel()
{
	KERNEL=$BUILD/kernels/$1/vmlinuz
	INITRAMFS=$BUILD/guest/initramfs-$1.cpio.gz
}

case ${KERNEL:-/} in
*/*) ;;
*) vm_kernel "$KERNEL" ;;
esac
: "${KERNEL:=$BUILD/linux/arch/x86/boot/bzImage}"
: "${INITRAMFS:=$BUILD/guest/initramfs.cpio.gz}"
: "${VM_FIRMWARE:=-L /usr/share/qemu -L /usr/share/seabios}"
: "${VM_PATIENCE:=4}"

# What the next vm_start takes; tests set these.
VM_MEM=160M
VM_CPUS=1
VM_APPEND=
# More properties of -accel tcg
VM_TCG=
# Arguments of -device virtio-tmem-pci, "" for none; VM_TMEM2 for a second one
VM_TMEM=
VM_TMEM2=
# Sizes of swap disks, in order: /dev/vda, /dev/vdb
VM_DISKS=768M

VM_DIR=
VM_SHM=
VM_PID=
# The other QEMU while a guest migrates (tests/lib/migrate.sh)
VM_PEER=
VM_IN=
VM_SOCK=
VM_JOB=
VM_ACCEL=

# ---- TAP ----

TAP_N=0
TAP_FAILED=0
TAP_DONE=

diag()
{
	printf '%s\n' "$@" | sed 's/^/# /'
}

ok()
{
	TAP_N=$((TAP_N + 1))
	echo "ok $TAP_N - $1"
}

# not_ok NAME [LINE...]: what was seen, and what the guest said last
not_ok()
{
	TAP_N=$((TAP_N + 1))
	TAP_FAILED=$((TAP_FAILED + 1))
	echo "not ok $TAP_N - $1"
	shift
	[ $# -eq 0 ] || diag "$@"
	vm_diag
}

skip()
{
	TAP_N=$((TAP_N + 1))
	echo "ok $TAP_N - $1 # SKIP $2"
}

skip_all()
{
	echo "1..0 # SKIP $1"
	TAP_DONE=1
	exit 0
}

# is NAME GOT EXPECTED
is()
{
	if [ "$2" = "$3" ]; then
		ok "$1"
	else
		not_ok "$1" "expected: $3" "got: $2"
	fi
}

# cmp_ok NAME GOT OPERATOR(-eq -ne -lt -le -gt -ge) VALUE
cmp_ok()
{
	if [[ $2 =~ ^-?[0-9]+$ && $4 =~ ^-?[0-9]+$ ]] && test "$2" "$3" "$4"; then
		ok "$1"
	else
		not_ok "$1" "expected: $3 $4" "got: ${2:-nothing}"
	fi
}

# like NAME TEXT EXTENDED-REGEX
like()
{
	if grep -Eq -e "$3" <<<"$2"; then
		ok "$1"
	else
		not_ok "$1" "expected to match: $3" "got: $2"
	fi
}

done_testing()
{
	echo "1..$TAP_N"
	TAP_DONE=1
	[ "$TAP_FAILED" -eq 0 ]
	exit
}

# vm_no_tap NAME: for a program that is no test: only a failure is of interest, and
# ends it
# shellcheck disable=SC2317 # what vm.sh calls from here on
vm_no_tap()
{
	VM_NAME=$1
	ok()
	{
		:
	}
	not_ok()
	{
		echo "$VM_NAME: $1" >&2
		shift
		[ $# -eq 0 ] || printf '%s\n' "$@" >&2
		vm_diag >&2
		exit 1
	}
	vm_die()
	{
		echo "$VM_NAME: $1" >&2
		exit 1
	}
}

# Ends a test that cannot go on.
bail()
{
	not_ok "$@"
	done_testing
}

# ---- One guest ----

# vm_setup: once, before all else
vm_setup()
{
	local f

	VM_DIR=$(mktemp -d "${TMPDIR:-/tmp}/tmem-vm.XXXXXX")
	trap vm_cleanup EXIT
	trap 'exit 1' INT TERM HUP
	ulimit -c 0
	for f in "$QEMU" "$KERNEL" "$INITRAMFS"; do
		[ -e "$f" ] || vm_die "$f is missing: run \"make qemu linux guest\" first"
	done
	for f in socat jq cpio; do
		command -v "$f" >/dev/null || vm_die "$f is missing: apt-get install $f"
	done
	# Disks on tmpfs: the fastest that swap on virtio-blk can be.
	if [ "$(stat -f -c %T /dev/shm 2>/dev/null)" != tmpfs ]; then
		vm_die "/dev/shm is no tmpfs: swap disks belong there"
	fi
	VM_SHM=$(mktemp -d /dev/shm/tmem-vm.XXXXXX) ||
		vm_die "cannot write to /dev/shm"
	vm_accel
}

vm_die()
{
	echo "Bail out! $1"
	[ -t 1 ] || echo "${0##*/}: $1" >&2
	TAP_DONE=1
	exit 1
}

vm_cleanup()
{
	local rc=$?

	trap - EXIT
	if [ "$TAP_N" -gt 0 ] && [ -z "$TAP_DONE" ]; then
		vm_alive || diag "QEMU had ended"
		vm_diag
	fi
	vm_stop
	[ -z "$VM_SHM" ] || rm -rf "$VM_SHM"
	if [ -n "${KEEP:-}" ]; then
		echo "# kept: $VM_DIR"
	else
		rm -rf "$VM_DIR"
	fi
	if [ "$TAP_N" -gt 0 ] && [ -z "$TAP_DONE" ]; then
		echo "Bail out! ended early, status $rc"
		[ "$rc" -ne 0 ] || rc=1
	fi
	exit "$rc"
}

# KVM counts only if our own guest boots on it: a /dev/kvm that opens may still
# run nothing (nested virtualization). The answer is kept for this host boot.
vm_accel()
{
	local cache=$BUILD/.kvm-probe key

	case ${ACCEL:-} in
	tcg | kvm)
		VM_ACCEL=$ACCEL
		return
		;;
	'') ;;
	*) vm_die "ACCEL=$ACCEL: it is tcg or kvm" ;;
	esac

	VM_ACCEL=tcg
	{ : <>/dev/kvm; } 2>/dev/null || return 0
	key=$(cat /proc/sys/kernel/random/boot_id)
	if [ "$(sed -n 1p "$cache" 2>/dev/null)" = "$key" ]; then
		VM_ACCEL=$(sed -n 2p "$cache")
		return
	fi
	VM_ACCEL=kvm
	vm_job <<<'mark kvm'
	# Silent: what KVM cannot run may well make QEMU abort.
	{
		# shellcheck disable=SC2119
		vm_start
		VM_PATIENCE=1 vm_wait kvm 15 || VM_ACCEL=tcg
		vm_stop
	} 2>/dev/null
	printf '%s\n%s\n' "$key" "$VM_ACCEL" >"$cache.$$"
	mv "$cache.$$" "$cache"
}

# vm_job: the job of the next guest, a shell script on standard input
vm_job()
{
	rm -rf "$VM_DIR/job"
	mkdir "$VM_DIR/job"
	{
		echo '. /lib.sh'
		cat
	} >"$VM_DIR/job/job"
	VM_JOB=$VM_DIR/initramfs
	# The kernel unpacks one archive after the other, each 4-byte aligned.
	{
		cat "$INITRAMFS"
		head -c $(((4 - $(stat -L -c %s "$INITRAMFS") % 4) % 4)) /dev/zero
		(cd "$VM_DIR/job" && echo job | cpio --quiet -o -H newc)
	} >"$VM_JOB"
}

# vm_start [QEMU ARGUMENT...]
# shellcheck disable=SC2120 # most tests have none
vm_start()
{
	local try

	for try in 1 2 3; do
		vm_stop
		rm -f "$VM_DIR"/*.sock "$VM_DIR"/*.log "$VM_DIR"/*.in
		# Disks. What a test has in a folder is its own.
		find "$VM_SHM" -maxdepth 1 -type f -delete
		[ -z "$VM_IN" ] || exec {VM_IN}>&-
		vm_launch "" "$@"
		vm_died_of_tcg || return 0
		diag "QEMU's emulation has failed an assertion of its own, try $try"
	done
}

# While a guest moves the BARs of its devices, QEMU 10.0 may fail in its emulation of
# processors, on a busy machine: one has a stale idea of the memory map. That is
# before any of ours has run, and no reason for a test to fail.
vm_died_of_tcg()
{
	[ "$VM_ACCEL" = tcg ] || return 1
	vm_poll 15 vm_booted_or_dead || return 1
	! vm_alive && ! vm_has '@mark boot$' &&
		grep -q 'iotlb_to_section: Assertion' "$VM_DIR/qemu.log"
}

vm_booted_or_dead()
{
	vm_has '@mark boot$' || ! vm_alive
}

# vm_launch NAME [QEMU ARGUMENT...]: a QEMU with a pipe and a monitor of its own; the
# logs and disks are the guest's. Sets VM_PID, VM_IN, VM_SOCK.
vm_launch()
{
	local args n=0 size dev name=$1

	shift
	VM_SOCK=$VM_DIR/qmp$name.sock
	# Not a socket: what the guest says while a client hangs up would be lost.
	# The pipe stays open here, so QEMU's side of it never ends.
	mkfifo "$VM_DIR/proto$name.in"
	exec {VM_IN}<>"$VM_DIR/proto$name.in"
	case $VM_ACCEL in
	# Without multi-threaded TCG, vCPUs would take turns: no races.
	tcg) args=(-accel "tcg,thread=multi${VM_TCG:+,$VM_TCG}" -cpu max) ;;
	kvm) args=(-accel kvm -cpu host) ;;
	esac
	# shellcheck disable=SC2206 # two words each
	args+=($VM_FIRMWARE)
	args+=(
		-name "tmem-test" -M "q35" -m "$VM_MEM" -smp "$VM_CPUS"
		-nodefaults -no-user-config -display none
		-kernel "$KERNEL" -initrd "${VM_JOB:-$INITRAMFS}"
		# no_timer_check: on a busy host, the kernel finds its timer dead. And a
		# host that stops for 20 seconds is no stall or lockup of the guest's.
		# rootfs=ramfs: pages of a tmpfs root would be swapped too,
		# and a test that breaks swap would break its own shell.
		-append "console=ttyS0 panic=-1 oops=panic no_timer_check rcupdate.rcu_cpu_stall_timeout=60 watchdog_thresh=60 rootfstype=ramfs $VM_APPEND"
		-chardev "file,id=console,path=$VM_DIR/console.log,append=on"
		-serial "chardev:console"
		-chardev "file,id=proto,path=$VM_DIR/proto.log,append=on,input-path=$VM_DIR/proto$name.in"
		-serial "chardev:proto"
		-qmp "unix:$VM_SOCK,server=on,wait=off"
	)
	for size in $VM_DISKS; do
		truncate -s "$size" "$VM_SHM/disk$n"
		args+=(
			-object "iothread,id=io$n"
			-blockdev "driver=raw,node-name=disk$n,file.driver=file,file.filename=$VM_SHM/disk$n"
			-device "virtio-blk-pci,id=vd$n,drive=disk$n,iothread=io$n"
		)
		n=$((n + 1))
	done
	for dev in "$VM_TMEM" "$VM_TMEM2"; do
		# Tests that do not say so do not depend on what else the host does.
		case ,$dev in
		,) continue ;;
		*,pressure=*) ;;
		*) dev+=,pressure=off ;;
		esac
		args+=(-device "virtio-tmem-pci,$dev")
	done
	"$QEMU" "${args[@]}" "$@" >>"$VM_DIR/qemu.log" 2>&1 </dev/null &
	VM_PID=$!
}

vm_alive()
{
	[ -n "$VM_PID" ] && kill -0 "$VM_PID" 2>/dev/null
}

# vm_stop: ends the guest, whatever it is doing
vm_stop()
{
	local pid

	for pid in $VM_PID $VM_PEER; do
		kill -9 "$pid" 2>/dev/null || :
		wait "$pid" 2>/dev/null || :
	done
	VM_PID=
	VM_PEER=
}

# vm_poll SECONDS COMMAND...: until it succeeds. Tests count on an idle machine; with
# vCPUs that wait for each other, one that is busy may be ten times slower.
vm_poll()
{
	local end=$((SECONDS + $1 * VM_PATIENCE))

	shift
	until "$@"; do
		[ "$SECONDS" -lt "$end" ] || return 1
		sleep 0.1
	done
}

vm_has()
{
	grep -Eq -e "$1" "$VM_DIR/proto.log" 2>/dev/null
}

vm_has_or_dead()
{
	vm_has "$1" || vm_has '^@([^ ]*\.error|exit) ' || ! vm_alive
}

# vm_wait MARK SECONDS: until the job says "mark MARK". Fails as soon as the
# job has ended, a worker has died or QEMU is gone.
vm_wait()
{
	vm_poll "$2" vm_has_or_dead "^@mark $1\$" && vm_has "^@mark $1\$"
}

# vm_reach MARK SECONDS: the same, or the test ends here
vm_reach()
{
	local why

	vm_wait "$1" "$2" && return
	why=$(grep -Em 1 '^@([^ ]*\.error|exit) ' "$VM_DIR/proto.log") ||
		why=$(vm_alive && echo 'it goes on' || echo 'QEMU is gone')
	bail "guest reaches \"$1\" within $2 seconds ($why)"
}

# vm_finish SECONDS: until the job has ended and the guest is off
vm_finish()
{
	local pid=$VM_PID

	vm_poll "$1" vm_gone || bail "guest ends within $1 seconds"
	wait "$pid" 2>/dev/null || diag "QEMU: status $?"
	VM_PID=
	[ -z "${VM_COVERAGE:-}" ] || vm_save_coverage
	is "job succeeds" "$(vm_get exit)" 0
	vm_clean_console
}

vm_save_coverage()
{
	local dir name data

	dir=$(mktemp -d "$VM_COVERAGE/guest.XXXXXX")
	while read -r _ name data; do
		base64 -d <<<"$data" >"$dir/$name"
	done < <(grep -a '^@gcda ' "$VM_DIR/proto.log" | tr -d '\r')
}

vm_gone()
{
	! vm_alive
}

# vm_get KEY: the last value that the guest gave for it
vm_get()
{
	awk -v key="@$1" '$1 == key { v = $2 } END { print v }' "$VM_DIR/proto.log"
}

# vm_sum REGEX: sum of the last values of all keys that match
vm_sum()
{
	awk -v re="^@$1\$" '$1 ~ re { v[$1] = $2 } END { for (k in v) s += v[k]; print s + 0 }' \
		"$VM_DIR/proto.log"
}

# vm_send WORD: for a job that awaits it
vm_send()
{
	echo "$1" >&"$VM_IN"
	vm_poll 20 vm_has_or_dead "^@got $1\$" && vm_has "^@got $1\$"
}

# vm_qmp JSON: prints the answer ("return" or "error" object)
vm_qmp()
{
	local in out pid line

	coproc VM_QMP { exec socat - "UNIX-CONNECT:$VM_SOCK" 2>/dev/null; }
	# shellcheck disable=SC2153 # set by coproc
	pid=$VM_QMP_PID
	exec {in}<&"${VM_QMP[0]}" {out}>&"${VM_QMP[1]}"
	# By itself, as a QEMU that has just ended must not end the test by a signal
	(
		echo '{"execute":"qmp_capabilities"}'
		jq -c '. + {id: "vm"}' <<<"$1"
	) >&"$out" || :
	while read -r -t $((20 * VM_PATIENCE)) line <&"$in"; do
		jq -e '.id == "vm"' <<<"$line" >/dev/null && break
		line=
	done
	exec {in}<&- {out}>&-
	kill "$pid" 2>/dev/null || :
	wait "$pid" 2>/dev/null || :
	[ -n "$line" ] || return 1
	jq -c 'del(.id)' <<<"$line"
}

# vm_hmp COMMAND: what the human monitor prints
vm_hmp()
{
	vm_qmp "$(jq -nc --arg c "$1" \
		'{execute: "human-monitor-command", arguments: {"command-line": $c}}')" |
		jq -r '.return // .error.desc'
}

# vm_tmem FIELD [DEVICE]: a number from query-tmem; DEVICE counts from 0
vm_tmem()
{
	vm_qmp '{"execute":"query-tmem"}' |
		jq -r --arg f "$1" --argjson n "${2:-0}" '.return[$n][$f]'
}

# vm_set_size BYTES [ID]: a new max-size for the store of the device of this id (tmem)
vm_set_size()
{
	local answer

	answer=$(vm_qmp "$(jq -nc --argjson v "$1" --arg id "${2:-tmem}" '{execute: "qom-set", arguments:
		{path: "/machine/peripheral/\($id)", property: "max-size", value: $v}}')") || return
	[[ $answer != *'"error"'* ]] || diag "$answer"
}

# vm_tmem_pools: number of pools of the first device
vm_tmem_pools()
{
	vm_qmp '{"execute":"query-tmem"}' |
		jq -r '.return[0].pools | length'
}

vm_tmem_is()
{
	[ "$(vm_tmem "$1" "${3:-0}")" = "$2" ]
}

vm_tmem_below()
{
	[ "$(vm_tmem "$1")" -lt "$2" ]
}

vm_tmem_above()
{
	[ "$(vm_tmem "$1")" -gt "$2" ]
}

# vm_tmem_wait FIELD VALUE SECONDS [DEVICE]
vm_tmem_wait()
{
	vm_poll "$3" vm_tmem_is "$1" "$2" "${4:-0}"
}

# vm_rss_kib: resident memory of QEMU
vm_rss_kib()
{
	awk '/^VmRSS:/ { print $2 }' "/proc/$VM_PID/status" 2>/dev/null || echo 0
}

# vm_store_kib: resident memory of the page stores alone: of all that QEMU maps, only
# they have no huge pages (nh; coroutine stacks neither) and are left out of core
# dumps (dd). TCG's own memory grows and would hide theirs.
vm_store_kib()
{
	awk '/^Rss:/ { rss = $2 } /^VmFlags:/ && / dd( |$)/ && / nh( |$)/ { sum += rss } END { print sum + 0 }' \
		"/proc/$VM_PID/smaps"
}

# The kernel's own verdict: any of these in its log fails the test.
VM_SPLATS='BUG:|Oops|WARNING:|kernel BUG|Kernel panic|general protection fault|Call Trace:|blocked for more than|possible circular|possible recursive|inconsistent lock state|detected stalls|soft lockup|Out of memory:|Bad page state|swap_free: |Bad swap|Unable to handle'

# vm_console [FILE]: the kernel's log but for its word that an allocation which cannot
# wait has failed: virtio-blk makes such for its requests, and goes on without. Those
# of the driver say nothing (tests/check-linux.sh).
# shellcheck disable=SC2120 # other scripts name one
vm_console()
{
	local log=${1:-$VM_DIR/console.log}

	# Several processors may fail at once, and then their dumps come one after the other
	awk '/page allocation failure: / { open++; skip += 60 }
		open && skip-- > 0 { if (/Mem-Info:/ && !--open) skip = 0; next }
		{ open = skip = 0; print }' "$log"
}

vm_clean_console()
{
	local bad

	bad=$(vm_console | grep -aE -m 5 -B 3 -e "$VM_SPLATS" || :)
	if [ -z "$bad" ]; then
		ok "kernel log has no oops, warning, stall or OOM"
	else
		not_ok "kernel log has no oops, warning, stall or OOM" "$bad"
	fi
}

# vm_data_ok NAME...: swaptest runs of these names ended without a bad page
vm_data_ok()
{
	local n bad

	for n in "$@"; do
		bad=$(grep -a "^@bad $n " "$VM_DIR/proto.log" || :)
		if [ "$(vm_get "$n.bad")" = 0 ] && [ -z "$bad" ]; then
			ok "$n: $(vm_get "$n.verified") page verifications, 0 bad"
		else
			not_ok "$n: no bad page" "bad: $(vm_get "$n.bad")" "$bad"
		fi
	done
}

vm_diag()
{
	local f

	[ -n "$VM_DIR" ] || return 0
	for f in qemu console proto; do
		[ -s "$VM_DIR/$f.log" ] || continue
		echo "# last lines of $f:"
		tail -n 15 "$VM_DIR/$f.log" | tr -d '\r' | sed 's/^/#   /'
	done
}
