#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# No data race in the driver: KCSAN stops at memory accesses, now and then, and
# looks for others to the same place meanwhile. (make check-debug)
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
# shellcheck source=tests/lib/debug.sh
. tests/lib/debug.sh
debug_setup kcsan
# With delays, as a guest that is emulated is little else than serial.
VM_APPEND="virtio_tmem.delay_one_in=50 virtio_tmem.delay_us=1000"
# An access is watched for so long (in us) that the host can run another vCPU.
VM_APPEND+=" kcsan.udelay_task=1000 kcsan.udelay_interrupt=200 kcsan.skip_watch=10000"
debug_ways
debug_planted 'KCSAN: data-race in virtio_tmem_'
done_testing
