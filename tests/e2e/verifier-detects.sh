#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards the guards: all data tests rest on swaptest finding a wrong page and on
# vm.sh finding a wrong kernel. Both are shown one here. No virtio-tmem.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
vm_setup

vm_job <<'JOB'
# Each of 3 pages has one bit flipped after it was written.
swaptest name=spoiled mib=8 corrupt=3 phases=fill,verify
val status $?
swaptest name=good mib=8 phases=fill,verify
val good_status $?
echo "WARNING: this is not one" >/dev/kmsg
JOB
vm_start
vm_reach boot 60
vm_poll 60 vm_gone || bail "guest ends"
is "3 spoiled pages are found" "$(vm_get spoiled.bad)" 3
is "swaptest fails then" "$(vm_get status)" 1
is "each is described" "$(grep -c '^@bad spoiled page=' "$VM_DIR/proto.log")" 3
is "good pages are good" "$(vm_get good.bad)" 0
is "swaptest succeeds then" "$(vm_get good_status)" 0
is "all were looked at" "$(vm_get good.verified)" 2048

# In a subshell: the outcome is the claim, not a failure of this test.
out=$(vm_clean_console)
like "a warning in the kernel log fails a test" "$out" '^not ok'
out=$(vm_data_ok spoiled)
like "a bad page fails a test" "$out" '^not ok'
done_testing
