#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# No page goes wrong where the driver is held up between two states, wherever a
# race would show: see linux/drivers/virtio/virtio_tmem_delay.c. (make check-debug)
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
# shellcheck source=tests/lib/debug.sh
. tests/lib/debug.sh
debug_setup delay
# All short, then a few that are long.
VM_APPEND="virtio_tmem.delay_one_in=4 virtio_tmem.delay_us=200"
debug_ways
debug_delays_hit
VM_APPEND="virtio_tmem.delay_one_in=50 virtio_tmem.delay_us=5000"
debug_ways
debug_delays_hit
done_testing
