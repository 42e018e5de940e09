# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Live migration of the guest that tests/lib/vm.sh runs: a second QEMU takes it
# over, with the same logs and disks, and the first one ends. To be sourced after
# vm.sh.

# The last migration: how it ended, what query-migrate said in the end, and ms without a guest
VM_MIGRATED=
VM_MIGRATION=
# shellcheck disable=SC2034 # for tests
VM_DOWNTIME=
# Capabilities of both sides, and parameters of migrate-set-parameters
VM_MIGRATE_CAPABILITIES=return-path
VM_MIGRATE_PARAMETERS='{"max-bandwidth": 1073741824, "downtime-limit": 300}'

VM_MOVES=0

# vm_peer_qmp JSON: as vm_qmp, of the other QEMU
vm_peer_qmp()
{
	VM_SOCK=$VM_PEER_SOCK vm_qmp "$1"
}

# vm_migrate_capabilities: the command that turns them on
vm_migrate_capabilities()
{
	# shellcheck disable=SC2086 # words
	printf '%s\n' $VM_MIGRATE_CAPABILITIES | jq -R '{capability: ., state: true}' |
		jq -sc '{execute: "migrate-set-capabilities", arguments: {capabilities: .}}'
}

# vm_incoming: start the QEMU that the guest is to go to; it takes
# VM_TMEM and the other settings as they are now
vm_incoming()
{
	local pid=$VM_PID in=$VM_IN sock=$VM_SOCK

	VM_MOVES=$((VM_MOVES + 1))
	vm_launch ".$VM_MOVES" -incoming defer
	VM_PEER=$VM_PID
	VM_PEER_IN=$VM_IN
	VM_PEER_SOCK=$VM_SOCK
	VM_PID=$pid
	VM_IN=$in
	VM_SOCK=$sock
	vm_poll 20 test -S "$VM_PEER_SOCK" || bail "a second QEMU starts"
	vm_peer_qmp "$(vm_migrate_capabilities)" >/dev/null
	vm_peer_qmp "{\"execute\": \"migrate-incoming\", \"arguments\":
		{\"uri\": \"unix:$VM_DIR/migrate.sock\", \"exit-on-error\": false}}" >/dev/null
}

# vm_migrate_begin: the guest goes on while it moves
vm_migrate_begin()
{
	vm_qmp "$(vm_migrate_capabilities)" >/dev/null
	vm_qmp "{\"execute\": \"migrate-set-parameters\", \"arguments\": $VM_MIGRATE_PARAMETERS}" \
		>/dev/null
	vm_qmp "{\"execute\": \"migrate\", \"arguments\": {\"uri\": \"unix:$VM_DIR/migrate.sock\"}}" \
		>/dev/null
}

vm_migrate_over()
{
	VM_MIGRATION=$(vm_qmp '{"execute": "query-migrate"}') || return 1
	case $(jq -r .return.status <<<"$VM_MIGRATION") in
	completed | failed | cancelled) return 0 ;;
	*) return 1 ;;
	esac
}

# vm_migrate_end SECONDS: wait for the end; sets VM_MIGRATED to how it ended
vm_migrate_end()
{
	vm_poll "$1" vm_migrate_over || :
	VM_MIGRATED=$(jq -r .return.status <<<"$VM_MIGRATION")
	# shellcheck disable=SC2034 # for tests
	VM_DOWNTIME=$(jq -r '.return.downtime // 0' <<<"$VM_MIGRATION")
	rm -f "$VM_DIR/migrate.sock"
}

# vm_peer_drop: the other QEMU ends, the guest stays where it is
vm_peer_drop()
{
	kill -9 "$VM_PEER" 2>/dev/null || :
	wait "$VM_PEER" 2>/dev/null || :
	exec {VM_PEER_IN}>&-
	VM_PEER=
}

# vm_peer_take: the guest is in the other QEMU now, and this one ends
vm_peer_take()
{
	kill -9 "$VM_PID" 2>/dev/null || :
	wait "$VM_PID" 2>/dev/null || :
	exec {VM_IN}>&-
	VM_PID=$VM_PEER
	VM_IN=$VM_PEER_IN
	VM_SOCK=$VM_PEER_SOCK
	VM_PEER=
}

# vm_migrate SECONDS: move the guest, or the test ends here
vm_migrate()
{
	vm_incoming
	vm_migrate_begin
	vm_migrate_end "$1"
	[ "$VM_MIGRATED" = completed ] ||
		bail "the guest migrates" "$VM_MIGRATION" "$(tail -n 5 "$VM_DIR/qemu.log")"
	vm_peer_take
}
