#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The page store by itself: GLib's tests in qemu/tests/unit.
set -euo pipefail
exec build/qemu/tests/unit/test-tmem-store --tap -k
