#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What operators look at works and agrees: query-tmem, info tmem, and QEMU's own
# info virtio-status (which aborts QEMU on a device that it has no name for).
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
vm_setup

vm_job <<'JOB'
cgroup box 32M
swap_on /dev/vda
within box swaptest name=data mib=64 zero=2 phases=fill,rverify,stop &
pid=$!
steps $pid 1
wait $pid
JOB
VM_MEM=192M
VM_TMEM=id=tmem0,max-size=64M
VM_TMEM2=id=tmem1,max-size=32M,num-queues=3
vm_start
vm_reach step1 60
# Staged pages are sent after a second, and reservations given back after another
vm_tmem_wait reserved-puts 0 20 0 || :
vm_tmem_wait reserved-puts 0 20 1 || :
info=$(vm_qmp '{"execute":"query-tmem"}')
is "query-tmem lists both devices" "$(jq -c '[.return[].path] | sort' <<<"$info")" \
	'["/machine/peripheral/tmem0","/machine/peripheral/tmem1"]'
is "with their limits" "$(jq -c '[.return[].limit] | sort' <<<"$info")" '[33554432,67108864]'
one=$(jq -c '[.return[] | select(.puts > 0)]' <<<"$info")
is "one of them has the pages" "$(jq length <<<"$one")" 1
cmp_ok "held = put - removed, but for a few put twice" \
	"$(jq '.[0] | .puts - .flushes - .pages' <<<"$one")" -le 100
cmp_ok "pages compress" "$(jq '.[0] | 4096 * .pages' <<<"$one")" -gt \
	"$(jq '.[0] | 2 * ."bytes-stored"' <<<"$one")"
is "used = stored + overhead" "$(jq '.[0] | ."bytes-used" >= ."bytes-stored"' <<<"$one")" true
hmp=$(vm_hmp "info tmem")
like "info tmem shows both" "$(tr '\n' ' ' <<<"$hmp")" 'tmem0.*tmem1|tmem1.*tmem0'
like "info tmem shows the puts" "$hmp" "puts: $(jq '.[0].puts' <<<"$one"), rejected: 0"
status=$(vm_hmp "info virtio-status /machine/peripheral/tmem0/virtio-backend")
like "info virtio-status works" "$status" 'device_name: +virtio-tmem'
like "and names the features" "$status" 'VIRTIO_F_VERSION_1'
like "info virtio lists the device" "$(vm_hmp "info virtio")" 'virtio-tmem'
vm_hmp "info virtio-queue-status /machine/peripheral/tmem0/virtio-backend 0" >/dev/null
is "QEMU is still there" "$(vm_qmp '{"execute":"query-status"}' | jq -r .return.status)" running
vm_send go1
vm_finish 30
vm_data_ok data
done_testing
