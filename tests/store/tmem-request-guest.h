/*
 * The guest's side of the request fuzzer: memory, descriptors, and a guest that
 * writes to them while the device reads
 *
 * Every byte that no descriptor has is poisoned: AddressSanitizer catches a
 * device that reads or writes beyond.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TMEM_REQUEST_GUEST_H
#define TMEM_REQUEST_GUEST_H

#include "qemu/osdep.h"
#include "hw/virtio/virtio-tmem.h"

/* As many descriptors as a ring can have */
#define GUEST_MAX_DESC 1024

/* A header, the longest list and payload, and something beyond */
#define GUEST_MAX_BYTES (34 * TMEM_PAGE_SIZE)

/* Bytes from one descriptor to the next */
#define GUEST_GAP 16

/* What guest memory has that the device did not write */
#define GUEST_JUNK 0xa5

/* One direction of a request */
typedef struct GuestPart {
    struct iovec iov[GUEST_MAX_DESC];
    unsigned num;
    size_t size;
    size_t end;             /* of the memory that they lie in */
    size_t poison_end;      /* and where it ended in the request before */
    uint8_t *mem;
} GuestPart;

/* When the guest writes to what it has given to the device */
typedef enum GuestTamper {
    GUEST_IS_HONEST,
    GUEST_WRITES_LISTS,     /* whenever a list or header was read */
    GUEST_WRITES_PAGES,     /* whenever a page was looked at */
    GUEST_WRITES_ALL,
} GuestTamper;

extern GuestTamper guest_tamper;

/* Set by qemu_bh_schedule(): the request that waited can go on */
struct QEMUBH {
    bool scheduled;
};

uint8_t *guest_memory_new(void);

/**
 * guest_cut: make descriptors of @size bytes of the part's memory
 * @how: one of a few ways, any number is one
 */
void guest_cut(GuestPart *part, size_t size, unsigned how);

/**
 * guest_poison: all of the memory, but for what descriptors have
 */
void guest_poison(GuestPart *out, GuestPart *in);

/**
 * guest_write: to the bytes of the descriptors, from @offset on
 * guest_fill: all of them, with junk
 */
void guest_write(const GuestPart *part, size_t offset, const void *buf,
                 size_t len);
void guest_fill(const GuestPart *part);

/**
 * guest_read: whether there were @len bytes
 */
bool guest_read(const GuestPart *part, size_t offset, void *buf, size_t len);

/**
 * guest_is_junk: whether all from @offset on is as guest_fill() left it
 */
bool guest_is_junk(const GuestPart *part, size_t offset);

#endif
