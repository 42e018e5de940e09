#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# faults.sh, with the swap device front end.
set -eu
export FAULTS_FRONT=swapdev
exec tests/e2e/faults.sh
