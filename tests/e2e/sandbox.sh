#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# All of it works where management runs QEMU: as a user without privileges, in QEMU's
# sandbox with everything denied that can be; with IOThreads, a node to spill to, and
# a limit that follows the host's memory pressure as far as such a user may watch it.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
vm_setup

[ "$(id -u)" = 0 ] || skip_all "only root can become another user"

# QEMU writes its logs and sockets, and the disks
chmod 777 "$VM_DIR" "$VM_SHM"
umask 000
cat >"$VM_DIR/qemu" <<-END
	#!/bin/sh
	exec setpriv --reuid=nobody --regid=nogroup --clear-groups --inh-caps=-all --no-new-privs \\
		$(realpath "$QEMU") "\$@"
END
chmod 755 "$VM_DIR/qemu"
QEMU=$VM_DIR/qemu
truncate -s 512M "$VM_DIR/spill"

vm_job <<'JOB'
swap_on /dev/vda
swaptest name=data mib=192 procs=2 zero=4 same=3 part=60 random=60 \
	phases=fill,stop,rverify,rewrite,drop,rverify &
pid=$!
steps $pid 1
wait $pid
swapoff /dev/vda || fail swapoff
JOB
VM_CPUS=2
VM_TMEM=id=tmem,max-size=256M,num-queues=2,spill=spill,target=off,ioeventfd=on,iothread=io
vm_start -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny \
	-object iothread,id=io -blockdev "driver=file,node-name=spill,filename=$VM_DIR/spill,discard=unmap"
vm_reach step1 120

# status KEY: of QEMU's process
status()
{
	sed -n "s/^$1:[[:space:]]*//p" "/proc/$VM_PID/status"
}

is "QEMU is nobody" "$(status Uid | cut -f1)" "$(id -u nobody)"
is "and has no capability" "$(status CapEff)" 0000000000000000
is "its system calls are filtered" "$(status Seccomp)" 2
cmp_ok "the store holds much" "$(vm_tmem bytes-used)" -gt $((36 << 20))
# A store that spills takes 16 MiB at least
limit=$((18 << 20))
vm_set_size "$limit"
vm_poll 30 vm_tmem_below bytes-used $((limit + 1)) || :
cmp_ok "the store is below a limit that falls" "$(vm_tmem bytes-used)" -le "$limit"
cmp_ok "pages are spilled" "$(vm_qmp '{"execute":"query-tmem"}' | jq '.return[0].spill.pages')" -gt 1000
vm_set_size $((256 << 20))
vm_send go1
vm_finish 120
vm_data_ok data
is "the sandbox has killed nothing" "$(grep -ac 'Bad system call' "$VM_DIR/qemu.log")" 0
done_testing
