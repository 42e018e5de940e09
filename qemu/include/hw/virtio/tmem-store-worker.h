/*
 * Background worker of the virtio-tmem page store
 *
 * One thread for each store: it moves the limit with the host's memory
 * pressure, and does the maintenance that the store asks for.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_VIRTIO_TMEM_STORE_WORKER_H
#define HW_VIRTIO_TMEM_STORE_WORKER_H

#include "hw/virtio/tmem-store.h"

typedef struct TmemWorker TmemWorker;

/* What tmem_worker_get_pressure() tells. */
typedef struct TmemPressureInfo {
    char *path;        /* what is read, NULL: nothing; free with g_free() */
    bool trigger;      /* the kernel tells when pressure begins */
    int permille;      /* at the last look; -1: not known */
    char *error;       /* why not, or NULL; free with g_free() */
} TmemPressureInfo;

/* The limit has changed. Called from the worker's thread, with no lock. */
typedef void TmemWorkerNotify(void *opaque);

/**
 * tmem_worker_new: start the worker of a store
 * @pressure: "off", "auto", or the path of a file, as tmem_pressure_open()
 * @notify: may be NULL
 * @errp: set when NULL is returned, in one sentence
 *
 * The store must outlive the worker.
 */
TmemWorker *tmem_worker_new(TmemStore *store, const char *pressure,
                            TmemWorkerNotify *notify, void *opaque,
                            GError **errp);

/**
 * tmem_worker_free: stop the worker and wait for its end (NULL is allowed)
 */
void tmem_worker_free(TmemWorker *worker);

/**
 * tmem_worker_kick: look at the store now: its sizes were changed
 */
void tmem_worker_kick(TmemWorker *worker);

/**
 * tmem_worker_get_pressure: where the pressure comes from, and what it was
 */
void tmem_worker_get_pressure(TmemWorker *worker, TmemPressureInfo *info);

#endif
