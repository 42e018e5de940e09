# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Several guests at a time. To be sourced after vm.sh and vm_setup: guests_setup
# NAME..., then guest_new NAME before vm_job and vm_start, guest_keep after them;
# from then on "guest_use NAME" says which one the words of vm.sh are about.

GUESTS=()
declare -A GUEST_PID GUEST_IN
GUESTS_DIR=
GUESTS_SHM=

# guests_setup NAME...
guests_setup()
{
	GUESTS=("$@")
	GUESTS_DIR=$VM_DIR
	GUESTS_SHM=$VM_SHM
	trap guests_cleanup EXIT
}

# guest_use NAME
# shellcheck disable=SC2034 # vm.sh's
guest_use()
{
	VM_DIR=$GUESTS_DIR/$1
	VM_SHM=$GUESTS_SHM/$1
	VM_PID=${GUEST_PID[$1]:-}
	VM_IN=${GUEST_IN[$1]:-}
	VM_JOB=$VM_DIR/initramfs
	VM_SOCK=$VM_DIR/qmp.sock
}

# guest_new NAME: one that is not there yet
guest_new()
{
	guest_use "$1"
	VM_PID=
	mkdir -p "$VM_DIR" "$VM_SHM"
}

# guest_keep NAME: what vm_start made
guest_keep()
{
	GUEST_PID[$1]=$VM_PID
	GUEST_IN[$1]=$VM_IN
}

# guests_stop: all of them, whatever they are doing
guests_stop()
{
	local guest

	for guest in "${GUESTS[@]}"; do
		guest_use "$guest"
		vm_stop
		unset "GUEST_PID[$guest]"
	done
}

# At the end of the test; vm_cleanup knows one guest, and the folders of all.
# shellcheck disable=SC2317 # called by trap
guests_cleanup()
{
	local rc=$?

	set +e
	guests_stop
	VM_PID=
	VM_DIR=$GUESTS_DIR
	VM_SHM=$GUESTS_SHM
	(exit "$rc")
	vm_cleanup
}
