/*
 * The guest's side of the request fuzzer
 *
 * Also what virtio-tmem-request.c needs of QEMU and is not there: next to
 * nothing.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "tmem-request-guest.h"
#include "qemu/cutils.h"
#include "qemu/iov.h"
#include "block/aio-wait.h"
#include <sanitizer/asan_interface.h>

/* With room for a gap before each descriptor */
#define MEMORY_BYTES (GUEST_MAX_BYTES + (GUEST_MAX_DESC + 1) * 2 * GUEST_GAP)

GuestTamper guest_tamper;

static uint8_t *memories[16];
static unsigned num_memories;

uint8_t *guest_memory_new(void)
{
    uint8_t *mem = g_malloc(MEMORY_BYTES);

    g_assert_cmpuint(num_memories, <, G_N_ELEMENTS(memories));
    memset(mem, GUEST_JUNK, MEMORY_BYTES);
    ASAN_POISON_MEMORY_REGION(mem, MEMORY_BYTES);
    memories[num_memories++] = mem;
    return mem;
}

/* The length of the @n-th descriptor, with @left bytes to go. */
static size_t next_cut(unsigned how, unsigned n, size_t left)
{
    static const uint16_t sizes[] = {
        UINT16_MAX, 1, 3, 8, 15, 16, 17, 24, 25, 512, 4088, 4095, 4096, 4097,
        8192, 8200,
    };
    unsigned first = how % 16, others = how / 16 % 16;

    if (n + 1 == GUEST_MAX_DESC) {
        return left;
    }
    /* The first descriptor is of another size than those that follow */
    return MIN(left, n == 0 ? sizes[first] : sizes[others] +
                                             (others == 0) * left);
}

void guest_cut(GuestPart *part, size_t size, unsigned how)
{
    size_t at = GUEST_GAP, left = size;

    part->size = size;
    part->num = 0;
    while (left) {
        size_t len = next_cut(how, part->num, left);

        /* Not aligned, now and then */
        part->iov[part->num] = (struct iovec) {
            part->mem + at + (how >> 8) % 8, len
        };
        part->num++;
        at = QEMU_ALIGN_UP(at + len + 8, 8) + GUEST_GAP;
        left -= len;
    }
    g_assert_cmpuint(at, <=, MEMORY_BYTES);
    part->end = at;
}

/* What earlier requests had is all that is not poisoned yet. */
static void poison(GuestPart *part)
{
    size_t end = MAX(part->end, part->poison_end);

    ASAN_POISON_MEMORY_REGION(part->mem, end);
    part->poison_end = part->end;
}

void guest_poison(GuestPart *out, GuestPart *in)
{
    poison(out);
    poison(in);
    for (unsigned i = 0; i < out->num; i++) {
        ASAN_UNPOISON_MEMORY_REGION(out->iov[i].iov_base, out->iov[i].iov_len);
    }
    for (unsigned i = 0; i < in->num; i++) {
        ASAN_UNPOISON_MEMORY_REGION(in->iov[i].iov_base, in->iov[i].iov_len);
    }
}

int __real_memcmp(const void *a, const void *b, size_t n);
int __wrap_memcmp(const void *a, const void *b, size_t n);
size_t __real_iov_to_buf_full(const struct iovec *iov, unsigned iov_cnt,
                              size_t offset, void *buf, size_t bytes);
size_t __wrap_iov_to_buf_full(const struct iovec *iov, unsigned iov_cnt,
                              size_t offset, void *buf, size_t bytes);

void guest_write(const GuestPart *part, size_t offset, const void *buf,
                 size_t len)
{
    iov_from_buf_full(part->iov, part->num, offset, buf, len);
}

void guest_fill(const GuestPart *part)
{
    iov_memset(part->iov, part->num, 0, GUEST_JUNK, part->size);
}

bool guest_is_junk(const GuestPart *part, size_t offset)
{
    static uint8_t junk[GUEST_MAX_BYTES];

    if (!junk[0]) {
        memset(junk, GUEST_JUNK, sizeof(junk));
    }
    for (unsigned i = 0; i < part->num; i++) {
        size_t len = part->iov[i].iov_len, skip = MIN(offset, len);

        if (__real_memcmp((uint8_t *)part->iov[i].iov_base + skip, junk,
                          len - skip)) {
            return false;
        }
        offset -= skip;
    }
    return true;
}

bool guest_read(const GuestPart *part, size_t offset, void *buf, size_t len)
{
    return __real_iov_to_buf_full(part->iov, part->num, offset, buf,
                                  len) == len;
}

/* ---- The guest writes while the device reads ---- */

static void scribble(const struct iovec *iov, unsigned num, size_t bytes)
{
    for (unsigned i = 0; i < num && bytes; i++) {
        size_t len = MIN(bytes, iov[i].iov_len);

        for (size_t k = 0; k < len; k++) {
            ((uint8_t *)iov[i].iov_base)[k] ^= 0x5a;
        }
        bytes -= len;
    }
}

/* A list, or a page that is cut: only the latter are as long. */
size_t __wrap_iov_to_buf_full(const struct iovec *iov, unsigned iov_cnt,
                              size_t offset, void *buf, size_t bytes)
{
    GuestTamper now = bytes == TMEM_PAGE_SIZE ? GUEST_WRITES_PAGES :
                                                GUEST_WRITES_LISTS;
    size_t done = __real_iov_to_buf_full(iov, iov_cnt, offset, buf, bytes);

    if (guest_tamper & now) {
        scribble(iov, iov_cnt, offset + bytes);
    }
    return done;
}

static bool is_guest_memory(const void *p)
{
    for (unsigned i = 0; i < num_memories; i++) {
        if ((uint8_t *)p >= memories[i] &&
            (uint8_t *)p < memories[i] + MEMORY_BYTES) {
            return true;
        }
    }
    return false;
}

/* The store compares a page with itself before it copies it. */
int __wrap_memcmp(const void *a, const void *b, size_t n)
{
    int ret = __real_memcmp(a, b, n);

    if ((guest_tamper & GUEST_WRITES_PAGES) && is_guest_memory(a)) {
        struct iovec page = { (void *)a, n };

        scribble(&page, 1, n);
    }
    return ret;
}

/* ---- What there is of QEMU ---- */

AioWait global_aio_wait;

void aio_wait_kick(void)
{
}

void qemu_bh_schedule(QEMUBH *bh)
{
    bh->scheduled = true;
}

uint16_t virtio_get_queue_index(VirtQueue *vq)
{
    return 0;
}

Object *object_dynamic_cast_assert(Object *obj, const char *type_name,
                                   const char *file, int line, const char *func)
{
    return obj;
}

/* Of util/iov.c, in what is not called */

bool buffer_is_zero_ool(const void *buf, size_t len)
{
    g_assert_not_reached();
}

void qemu_hexdump(FILE *fp, const char *prefix, const void *buf, size_t size)
{
    g_assert_not_reached();
}
