#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The driver as a module on the stock kernel 5.10 of Debian.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
# shellcheck source=tests/lib/kernels.sh
. tests/lib/kernels.sh

kernel_setup 5.10
kernel_loads frontswap
kernel_keeps_pages frontswap
kernel_waits_for_lost frontswap
kernel_keeps_pages swapdev
kernel_swapoff_waits
done_testing
