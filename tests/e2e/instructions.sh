#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What a page costs in instructions of the driver, frontswap's part and the ring's
# included.  Not included: copying the page, which takes a few instructions that
# repeat, and waiting.  Counts, not times: they hold on any machine.
# (design.md, "Targets of the fast path")
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
# shellcheck source=tests/lib/insn.sh
. tests/lib/insn.sh
vm_setup
insn_setup

insn_guest 'phases=fill,seq,rverify'
vm_data_ok data
insn_result >"$VM_DIR/result.json"

# of OPERATION KEY: rounded up
of()
{
	jq --arg op "$1" --arg key "$2" '.[$op][$key] | ceil' "$VM_DIR/result.json"
}

# The driver's own counters say whether the plugin has seen everything.
is "each put is seen" "$(of put number)" "$(vm_sum 'end[.].*[.]puts_staged')"
is "each get is seen" "$(of get number)" "$(vm_sum 'end[.].*[.]gets')"
cmp_ok "pages were put" "$(of put number)" -ge 16384
cmp_ok "pages were got" "$(of get number)" -ge 20000
cmp_ok "pages were flushed" "$(of flush number)" -ge 16000

cmp_ok "instructions for a put, mean" "$(of put mean)" -le 2000
cmp_ok "instructions for a get, mean" "$(of get mean)" -le 2000
cmp_ok "instructions of waiting for a put or get, mean" \
	$(($(of put wait_mean) + $(of get wait_mean))) -le 200
# Under a spinlock with interrupts off. More than the mean only for a key that waits
# in one of the 96 slots here: that has to be found.
cmp_ok "instructions for a flush, mean" "$(of flush mean)" -le 200
cmp_ok "instructions for a flush, at most" "$(of flush max)" -le 900
diag "flush: $(of flush mean) instructions, at most $(of flush max), with what it calls $(of flush max_all)"
diag "$(jq -c '.flush.functions' "$VM_DIR/result.json")"
done_testing
