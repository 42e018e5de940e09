# SPDX-License-Identifier: GPL-2.0-or-later
#
# What the fuzzers of virtio-tmem need: less to build than all devices
CONFIG_I440FX=y
CONFIG_Q35=y
CONFIG_VIRTIO_PCI=y
CONFIG_VIRTIO_TMEM=y
