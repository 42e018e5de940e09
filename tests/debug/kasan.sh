#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# No access to memory that is not ours, no lock taken in an order or a context
# that could deadlock, no sleeping where it is not allowed, no memory lost, no
# wrong DMA: KASAN, lockdep and others look for these. (make check-debug)
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
# shellcheck source=tests/lib/debug.sh
. tests/lib/debug.sh
debug_setup kasan
VM_APPEND=kasan_multi_shot
debug_ways
debug_planted 'KASAN: .*out-of-bounds in virtio_tmem_' leak
done_testing
