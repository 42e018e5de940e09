#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The package virtio-tmem-dkms, installed in an empty Debian 12 that has the headers
# of a stock kernel and never boots it: dkms builds the module, and removes it with
# the package. (tests/e2e/systemd.sh boots the package virtio-tmem-guest.)
set -euo pipefail
# shellcheck source=scripts/lib.sh
. scripts/lib.sh
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh
# shellcheck source=tests/lib/root.sh
. tests/lib/root.sh
root_possible

tmp=$(mktemp -d /var/tmp/tmem-dkms.XXXXXX)
trap 'rm -rf --one-file-system "$tmp"' EXIT
trap 'exit 1' INT TERM HUP
root=$tmp/root

inside()
{
	root_run "$root" "$@"
}

modules()
{
	[ ! -d "$root/lib/modules" ] || (cd "$root" && find lib/modules -name 'virtio_tmem.ko*')
}

if ! deb=$(scripts/build-deb.sh dkms 2> "$tmp/log"); then
	bail 'the package builds' "$(cat "$tmp/log")"
fi
root_make "$root"
root_step 'there are dkms and the headers of a kernel' root_debs "$root" dkms
cp "$deb" "$root/"
is 'the base has no module' "$(modules)" ''

# dkms must find installed what it needs to be installed
root_step 'a compiler and headers install' inside sh -c \
	'mv /dkms/dkms_*.deb / && dpkg --skip-same-version -i /dkms/*.deb'
root_step 'dkms installs' inside sh -c 'dpkg -i /dkms_*.deb'
root_step 'the package installs' inside dpkg -i "/${deb##*/}"
like 'dkms says that the module is installed' "$(inside dkms status)" \
	'^virtio-tmem/[0-9.]+, .*-cloud-amd64, x86_64: installed$'
like 'the module is there, where depmod finds it' "$(modules)" '^lib/modules/.*/updates/dkms/virtio_tmem\.ko'
like 'it serves the device' "$(inside sh -c 'modinfo -F alias /lib/modules/*/updates/dkms/virtio_tmem.ko*')" \
	'^virtio:d0000003Fv'
root_step 'the package goes' inside dpkg -r virtio-tmem-dkms
is 'and its module with it' "$(modules)" ''
done_testing
