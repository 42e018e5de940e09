#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Invariant 7, the driver's side: a device that lies in each field of what it
# answers, in the used ring and in its configuration. Whatever it says, the guest
# does not crash, does not wait for ever, says what was wrong, and gives no program
# a wrong byte: who needs a page that is lost gets SIGBUS. Once the device is reset
# and tells the truth, all is well again.
#
# (A device that gives other bytes than it was given last, and says that it is them,
# is another matter: only a checksum in the guest can tell, see verify.sh. One that
# says that it stored a page and did not is such a device: it may have an older one
# of that slot.)
#
# The device is that of qemu-evil-x86_64: qemu/tests/evil/tmem-evil.c.
#
# Environment: EVIL_FRONT (frontswap, or swapdev), EVIL_ONLY (regular expression:
# only those lies)
set -eu
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
# shellcheck source=tests/lib/evil.sh
. tests/lib/evil.sh
: "${EVIL_FRONT:=frontswap}"
vm_setup

# When the device begins to lie: when it is found (probe), when its pages are to be
# read again (full); what it says; what the log has to have of it, or "-": nothing,
# or what it has is as another lie just before, and left out by its rate limit.
lies()
{
	cat <<-LIES
	probe | config page_shift=13                | the device.s page shift is 13, this kernel needs 12
	probe | config page_shift=255               | the device.s page shift is 255
	probe | config num_queues=0                 | the device has 0 queues, expected 1 to 64
	probe | config num_queues=4294967295        | the device has 4294967295 queues
	probe | config num_queues=64                | failed with error
	probe | config max_pages=0                  | $few
	probe | config max_pages=18446744073709551615 | $many
	probe | create status=1                     | no pool for
	probe | create status=3                     | unexpected status 3 to a pool request
	probe | create status=255                   | unexpected status 255 to a pool request
	probe | create value=0x100000000            | 4294967296 is not a valid id of a new pool
	probe | create value=0                      | -
	probe | create idle=1                       | unexpected status 255 to a pool request|no pool for
	probe | create used=0                       | response of 0 bytes is too short
	probe | any id=77                           | id 77 is not a head
	probe | reserve idle=1 status=0 reservations=64 | broke its promise
	full  | config target_pages=0               | -
	full  | any storm=1                         | -
	full  | any status=0                        | -
	full  | any status=1                        | -
	full  | any status=2                        | broke its promise
	full  | any status=3                        | unexpected status 3|broke its promise
	full  | any status=4                        | broke its promise
	full  | any status=255                      | unexpected status 255|broke its promise
	full  | any done=0                          | -
	full  | any done=0xffffffff                 | -
	full  | any failed=0xffffffff               | is lost
	full  | any done=0xffffffff failed=0xffffffff status=4 | is lost|broke its promise
	full  | any reservations=0xffffffff         | -
	full  | any reservations=0                  | -
	full  | any value=0xffffffffffffffff        | -
	full  | any used=0                          | response of 0 bytes is too short
	full  | any used=23                         | -
	full  | get used=24                         | unexpected status 0 to a get
	full  | any used=4294967295                 | -
	full  | any idle=1                          | unexpected status 255|broke its promise|is lost
	full  | get status=2 done=0                 | -
	full  | any id=70000                        | id 70000 out of range
	full  | any id=100 every=7                  | id 100 is not a head
	full  | any ahead=1                         | is not a head
	full  | any ahead=30000                     | is not a head
	full  | any idle=1 every=3                  | unexpected status 255
	LIES
}

# The job: for each lie, find the device, swap, read all of it again, swapoff
job()
{
	cat <<-'JOB'
	cgroup box 12M
	pci=$(tmem_pci)
	driver=/sys/bus/pci/drivers/virtio-pci
	n=0
	echo "$pci" >$driver/unbind || fail unbind
	mark ready
	JOB
	cat <<-JOB
	on() { $1; }
	off() { $2; }
	JOB
	cat <<-'JOB'
	while ask && [ "$answer" != end ]; do
		n=$((n + 1))
		echo "lie $n" >/dev/kmsg
		echo "$pci" >$driver/bind
		on
		within box swaptest name=lie$n mib=20 bus=count phases=fill,stop,rverify,rewrite,rverify,verify &
		pid=$!
		stopped $pid
		mark full$n
		await "go$n"
		kill -CONT $pid
		wait $pid
		off
		echo "$pci" >$driver/unbind || fail unbind
		mark done$n
	done
	JOB
}

# log_of N: what the guest's kernel said during the N-th lie
log_of()
{
	tr -d '\r' < "$VM_DIR/console.log" |
		awk -v n="$1" '/\] lie [0-9]+$/ { mine = $NF == n } mine'
}

# one WHEN LIE LOG
one()
{
	local name="\"$2\""

	n=$((n + 1))
	evil ''
	[ "$1" != probe ] || evil "$2"
	vm_send "next$n" || bail "$name: the guest goes on"
	vm_reach "full$n" 120
	[ "$1" != full ] || evil "$2"
	vm_send "go$n" || bail "$name: the guest goes on"
	vm_reach "done$n" 120
	evil ''
	vm_data_ok "lie$n"
	case $1,$3 in
	*,-) ;;
	probe,*) like "$name: the log says what is wrong" "$(log_of "$n")" "$3" ;;
	# What is said of each request is rate-limited: once is enough.
	*) said+=("$3") ;;
	esac
}

few=- many=- said=()
case $EVIL_FRONT in
frontswap) vm_job < <(job 'swap_on /dev/vda' 'swapoff /dev/vda') ;;
swapdev)
	few='no swap device: the host offers 0 pages only'
	many='too many for a guest of this size'
	VM_DISKS='768M 4G'
	# Without a swap device of ours, there is still the disk
	vm_job < <(job 'swap_on /dev/vda
		[ ! -b /dev/vtmem0 ] || {
			echo /dev/vdb >/sys/block/vtmem0/backing_dev
			mkswap /dev/vtmem0 >/dev/null && swapon-prio /dev/vtmem0 100
		}' '[ ! -b /dev/vtmem0 ] || swapoff /dev/vtmem0; swapoff /dev/vda')
	;;
*) vm_die "EVIL_FRONT=$EVIL_FRONT: it is frontswap or swapdev" ;;
esac
n=0
VM_CPUS=2
VM_MEM=192M
VM_APPEND=virtio_tmem.timeout=2
[ "$EVIL_FRONT" = frontswap ] || VM_APPEND+=" virtio_tmem.frontswap=0"
VM_TMEM=id=tmem,max-size=96M,num-queues=1
vm_start
vm_reach ready 60
while IFS='|' read -r when lie log; do
	read -r when <<< "$when"
	read -r lie <<< "$lie"
	read -r log <<< "$log"
	one "$when" "$lie" "$log"
done < <(lies | grep -E -e "${EVIL_ONLY:-}")
evil ''
vm_send next
vm_reach "full$((n + 1))" 120
cmp_ok "an honest device is used again" "$(vm_tmem pages)" -gt 1000
vm_send "go$((n + 1))"
vm_reach "done$((n + 1))" 120
vm_data_ok "lie$((n + 1))"
is "and has lost no page" "$(vm_get "lie$((n + 1)).sigbus")" 0
[ ${#said[@]} -eq 0 ] || while read -r log; do
	cmp_ok "the log has it: $log" "$(grep -a -c -E -e "$log" "$VM_DIR/console.log" || :)" -ge 1
done < <(printf '%s\n' "${said[@]}" | sort -u)
vm_send end
vm_finish 60
done_testing
