#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The device through libqos (qemu/tests/qtest/virtio-tmem-test.c), what QEMU asks
# of every virtio-pci device, and QEMU's own tests of all monitor commands and of
# all devices with ours among them.  Each test is a process of its own: in QEMU's
# programs the first failure ends them all.
set -euo pipefail
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh

export QTEST_QEMU_BINARY=$PWD/build/qemu/qemu-system-x86_64
programs=build/qemu/tests/qtest

# passes CLAIM PROGRAM PATH: QEMU's test of this path runs, and succeeds
passes()
{
	local out status=0

	out=$("$programs/$2" --tap -k -p "$3" 2>&1) || status=$?
	if [ "$status" = 0 ] && grep -q -F "ok 1 $3" <<< "$out"; then
		ok "$1"
	else
		not_ok "$1" "$2 -p $3: status $status" "$(grep -v '^# \(Start\|End\) ' <<< "$out" | tail -n 20)"
	fi
}

mapfile -t paths < <("$programs/qos-test" -l | grep '^/.*/virtio-tmem')
cmp_ok 'there are tests of the device' "${#paths[@]}" -gt 0
for path in "${paths[@]}"; do
	passes "${path#*/virtio-tmem-pci/}" qos-test "$path"
done
passes 'query-tmem works without a device' qmp-cmd-test /x86_64/qmp/query-tmem
passes 'info tmem works without a machine' test-hmp /x86_64/hmp/none+2MB
passes 'info tmem works in a pc' test-hmp /x86_64/hmp/pc-q35-10.0
passes 'every device can be looked at' device-introspect-test \
	/x86_64/device/introspect/concrete/defaults/none
done_testing
