#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Invariant 2 with a device that stops answering in the middle of swapping: the
# guest says so in one line, goes on with its disk, and nobody gets wrong data:
# who touches a page that the device has gets SIGBUS.
#
# The device is silenced by the guest's own command register, while the other
# vCPU swaps: once it can still be notified but is no longer bus master (its
# queues are stopped while one may be served), once it cannot be reached at all.
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
vm_setup

# silence COMMAND-REGISTER NAME: the register as one octal digit
silence()
{
	vm_job <<-JOB
	cgroup box 32M
	swap_on /dev/vda
	within box swaptest name=held mib=80 bus=count phases=fill,stop,verify &
	held=\$!
	stopped \$held
	within box swaptest name=busy mib=80 bus=count phases=fill,rverify,rverify,rverify &
	busy=\$!
	sleep 1
	mark busy
	vm_vals before
	printf '\\00$1' | dd of=/sys/bus/pci/devices/\$(tmem_pci)/config bs=1 seek=4 conv=notrunc 2>/dev/null
	wait \$busy
	mark survived
	kill -CONT \$held
	wait \$held
	mark judged
	within box swaptest name=disk mib=80 phases=fill,verify
	vm_vals after
	mark stay
	await end
	JOB
	vm_start
	vm_reach busy 60
	vm_reach survived 120
	vm_reach judged 60
	cmp_ok "$2: pages that the device had are SIGBUS" "$(vm_get held.sigbus)" -gt 8000
	like "$2: the guest says why" "$(grep -a virtio_tmem "$VM_DIR/console.log")" \
		'no answer to a request in 2 seconds: giving up the device'
	vm_reach stay 120
	cmp_ok "$2: it swaps to its disk" \
		"$(($(vm_get after.pswpout) - $(vm_get before.pswpout)))" -gt 5000
	like "$2: the monitor answers" "$(vm_hmp 'info status')" running
	vm_send end
	vm_finish 60
	vm_data_ok held busy disk
}

VM_CPUS=2
VM_MEM=256M
VM_APPEND=virtio_tmem.timeout=2
VM_TMEM=max-size=512M,num-queues=2
silence 2 "not bus master"
VM_TMEM=max-size=512M,num-queues=2,ioeventfd=on
# BARs go away while another processor runs: see vm_died_of_tcg()
VM_TCG=thread=single
silence 0 "out of reach"
done_testing
