# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A device that lies (qemu/tests/evil/tmem-evil.c), for tests/e2e/*.sh. To be
# sourced, after vm.sh and before vm_setup; the device's id is tmem.
#
# Environment: EVIL_QEMU

: "${EVIL_QEMU:=$BUILD/qemu/qemu-evil-x86_64}"
# shellcheck disable=SC2034 # read by vm.sh
QEMU=$EVIL_QEMU

# evil LIE: what the device says from here on; '': the truth
evil()
{
	vm_qmp "$(jq -nc --arg e "$1" '{execute: "qom-set", arguments: {
		path: "/machine/peripheral/tmem/virtio-backend", property: "x-evil", value: $e}}')" |
		jq -e 'has("return")' > /dev/null || bail "the device can be told to say \"$1\""
}
