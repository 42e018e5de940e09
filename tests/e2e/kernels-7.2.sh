#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The driver as a module on Linux 7.2.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
# shellcheck source=tests/lib/kernels.sh
. tests/lib/kernels.sh

kernel_setup 7.2
kernel_loads swapdev
kernel_keeps_pages swapdev
done_testing
