#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# verify.sh, with the swap device front end.
set -eu
export VERIFY_FRONT=swapdev
exec tests/e2e/verify.sh
