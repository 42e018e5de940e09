/*
 * What the page store must do, as a table of pages
 *
 * Each function calls one function of the store, once or in a run, and aborts
 * unless the answers, and all of the store's numbers afterwards, are what follows
 * from the calls before: which pages there are, what is in them, which ephemeral
 * ones had to go, how many bytes are taken at most. Nothing is left to "may or
 * may not" but the refusal of a put, which must have a reason.
 *
 * Threads: one. The store's clock is model_clock.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TMEM_STORE_MODEL_H
#define TMEM_STORE_MODEL_H

#include "qemu/osdep.h"
#include "tmem-store-spill-internal.h"

/* Pools that the model uses at one time; more are made to be refused. */
#define MODEL_POOLS 4

/* Ways to fill a page. */
#define MODEL_KINDS 8

/* Time in us, and how much of it passes each time that the store looks. */
extern int64_t model_clock;
extern int64_t model_clock_tick;

typedef struct Model Model;

/* Pages of an object at equal distances. */
typedef struct ModelRun {
    unsigned pool;           /* one of MODEL_POOLS */
    uint64_t object;
    uint64_t index;
    uint64_t stride;
    unsigned num;
} ModelRun;

/* @device: bytes of the device to spill to, or 0: there is none */
Model *model_new(const TmemStoreConfig *config, uint64_t device);

/* Checks every page a last time. */
void model_free(Model *model);

/* The @nth allocation from now, within the next call, fails. */
void model_inject(Model *model, unsigned nth);

void model_put(Model *model, const ModelRun *run, unsigned kind);
/* Under a promise for each, as long as there are any. */
void model_put_reserved(Model *model, const ModelRun *run, unsigned kind);
void model_reserve(Model *model, unsigned puts);
void model_unreserve(Model *model, unsigned puts);
void model_get(Model *model, const ModelRun *run);
void model_flush_run(Model *model, const ModelRun *run);
void model_flush(Model *model, unsigned pool, uint64_t object, uint64_t first,
                 uint64_t last);
void model_pool_create(Model *model, unsigned pool, unsigned flags);
void model_pool_destroy(Model *model, unsigned pool);
void model_pools_exhaust(Model *model);
void model_set_limit(Model *model, uint64_t limit, TmemLimitCause cause);
void model_set_size(Model *model, uint64_t min_size, uint64_t max_size);
void model_maintain(Model *model, int64_t usec);
void model_maintain_all(Model *model);
/* Requests to the device wait from now on, or not any more. */
void model_device_defer(Model *model, bool defer);
/* So many of those that wait come to their end. */
void model_device_run(Model *model, unsigned requests);
/* So many of the writes that come next fail. */
void model_device_fail(Model *model, unsigned writes);
void model_walk(Model *model, unsigned steps);
/* Pages on their way to another store; in the end, both are the same. */
void model_export(Model *model, unsigned steps);
void model_export_end(Model *model, bool complete);
void model_reset(Model *model);
void model_check_pages(Model *model);

#endif
