#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# evil-device.sh, with the swap device front end.
set -eu
export EVIL_FRONT=swapdev
exec tests/e2e/evil-device.sh
