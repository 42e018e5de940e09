/*
 * Trace events of hw/virtio for the fuzzer of requests: none
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#define trace_virtio_tmem_pool_create(...)
#define trace_virtio_tmem_pool_destroy(...)
#define trace_virtio_tmem_put(...)
#define trace_virtio_tmem_get(...)
#define trace_virtio_tmem_flush(...)
#define trace_virtio_tmem_reserve(...)
#define trace_virtio_tmem_invalid(...)
#define trace_virtio_tmem_park(...)
