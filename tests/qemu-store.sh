#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The page store by itself: GLib's tests in qemu/tests/unit, as QEMU builds them.
set -euo pipefail
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
# shellcheck source=tests/lib/gtest.sh
. tests/lib/gtest.sh

mapfile -t programs < <(sed -n 's,^tests/unit/,,p' tests/qemu-targets)
for program in "${programs[@]}"; do
	gtest_each "build/qemu/tests/unit/$program"
done
done_testing
