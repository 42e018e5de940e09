#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# build-docs.sh: build the pages that are in the formats of QEMU and the kernel, each
# warning an error: build/docs/index.html.  Theirs are built with hundreds of others;
# here they are by themselves, with what these trees set for all pages.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

out=$BUILD/docs
pages=("$TOP/qemu/docs/system/devices/virtio-tmem.rst"
	"$TOP/linux/Documentation/admin-guide/mm/virtio_tmem.rst")
# QEMU: docs/defs.rst.inc
epilog='.. |qemu_system_x86| replace:: qemu-system-x86_64'

command -v sphinx-build > /dev/null || die "sphinx-build is missing: run scripts/deps.sh docs"
rm -rf "$out" "$out.source"
mkdir -p "$out.source"
cp "${pages[@]}" "$out.source"
cat > "$out.source/index.rst" << 'END'
virtio-tmem
===========

.. toctree::
   :titlesonly:

   virtio-tmem
   virtio_tmem
END
logged docs "building the pages" sphinx-build -C -n -W --keep-going -b html \
	-d "$out.source/doctrees" -D project=virtio-tmem -D highlight_language=none \
	-D "rst_epilog=$epilog" "$out.source" "$out"
msg "the pages are in $out"
