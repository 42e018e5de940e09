/*
 * Background worker of the virtio-tmem page store
 *
 * Rules: the thread takes no lock of QEMU, so it may not log, raise events or
 * touch anything but the store: notify() hands over to whoever can. It sleeps
 * most of the time, and takes no more than a part of one CPU: of each turn, the
 * shares below.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include "tmem-store-policy.h"
#include "tmem-store-pressure.h"
#include "hw/virtio/tmem-store-spill.h"
#include "hw/virtio/tmem-store-worker.h"

/*
 * Work and sleep of a turn while there is maintenance to do: a fifth of a CPU
 * when it is not urgent, most of one while the store is over its limit, since
 * the host waits for that memory.
 */
#define WORK_USEC 5000
#define SLEEP_MSEC 20
#define URGENT_WORK_USEC 50000
#define URGENT_SLEEP_MSEC 5

/* How often the store is looked at when nothing is the matter. */
#define IDLE_MSEC 1000

struct TmemWorker {
    TmemStore *store;
    TmemWorkerNotify *notify;
    void *opaque;
    GThread *thread;
    int wake_fd;

    /* Used by the thread alone, but for what the lock protects. */
    TmemPolicy policy;
    TmemPressure *pressure;   /* NULL: off */

    GMutex lock;              /* protects these */
    bool stop;
    bool look;                /* at the pressure, too */
    TmemPressureInfo info;
};

static int64_t now_ns(void)
{
    return g_get_monotonic_time() * 1000;
}

static void worker_publish_pressure(TmemWorker *worker, int permille)
{
    const char *error = tmem_pressure_error(worker->pressure);

    g_mutex_lock(&worker->lock);
    g_free(worker->info.path);
    g_free(worker->info.error);
    worker->info = (TmemPressureInfo) {
        .path = g_strdup(tmem_pressure_path(worker->pressure)),
        .trigger = tmem_pressure_has_trigger(worker->pressure),
        .permille = permille,
        .error = g_strdup(error),
    };
    g_mutex_unlock(&worker->lock);
}

/* Move the limit. Returns the time in ms after which to look again. */
static int worker_update_limit(TmemWorker *worker)
{
    int64_t now = now_ns();
    TmemStoreStats stats;
    TmemPolicyInput input;
    uint64_t limit;

    if (!worker->pressure) {
        return IDLE_MSEC;
    }
    tmem_store_get_stats(worker->store, &stats);
    input = (TmemPolicyInput) {
        .now_ns = now,
        .pressure_permille = tmem_pressure_read(worker->pressure, now),
        .used = stats.bytes_used,
        .min_size = stats.min_size,
        .max_size = stats.max_size,
    };
    worker_publish_pressure(worker, input.pressure_permille);
    limit = tmem_policy_update(&worker->policy, &input);
    if (limit != stats.limit ||
        tmem_policy_cause(&worker->policy) != stats.cause) {
        tmem_store_set_limit(worker->store, limit,
                             tmem_policy_cause(&worker->policy));
        if (worker->notify) {
            worker->notify(worker->opaque);
        }
    }
    return tmem_policy_interval_ms(&worker->policy);
}

/* Returns the time in ms after which there is more to do. */
static int worker_maintain(TmemWorker *worker)
{
    bool urgent = tmem_store_over_limit(worker->store);

    if (!tmem_store_maintain(worker->store,
                             urgent ? URGENT_WORK_USEC : WORK_USEC)) {
        return IDLE_MSEC;
    }
    return urgent ? URGENT_SLEEP_MSEC : SLEEP_MSEC;
}

/* Whether tmem_worker_kick() was called since the last time. */
static bool worker_must_look(TmemWorker *worker)
{
    bool look;

    g_mutex_lock(&worker->lock);
    look = worker->look;
    worker->look = false;
    g_mutex_unlock(&worker->lock);
    return look;
}

static bool worker_must_stop(TmemWorker *worker)
{
    bool stop;

    g_mutex_lock(&worker->lock);
    stop = worker->stop;
    g_mutex_unlock(&worker->lock);
    return stop;
}

static int ms_until(int64_t usec)
{
    return MAX(usec - g_get_monotonic_time() + 999, 0) / 1000;
}

static void *worker_run(void *opaque)
{
    TmemWorker *worker = opaque;
    struct pollfd fds[] = {
        { .fd = worker->wake_fd, .events = POLLIN },
        { .fd = -1, .events = POLLPRI | POLLERR },
    };
    int64_t next_update = 0;

    if (worker->pressure) {
        fds[1].fd = tmem_pressure_fd(worker->pressure);
    }
    while (!worker_must_stop(worker)) {
        uint64_t kicks;
        int wait;

        if (g_get_monotonic_time() >= next_update || fds[1].revents ||
            worker_must_look(worker)) {
            next_update = g_get_monotonic_time() +
                          worker_update_limit(worker) * INT64_C(1000);
        }
        wait = worker_maintain(worker);
        wait = MIN(wait, ms_until(next_update));

        fds[0].revents = 0;
        fds[1].revents = 0;
        if (poll(fds, G_N_ELEMENTS(fds), wait) < 0) {
            g_assert(errno == EINTR || errno == EAGAIN);
        }
        if (fds[0].revents) {
            ssize_t len = read(worker->wake_fd, &kicks, sizeof(kicks));

            g_assert(len == sizeof(kicks));
        }
    }
    return NULL;
}

static void worker_destroy(TmemWorker *worker)
{
    tmem_store_set_wake(worker->store, NULL, NULL);
    tmem_pressure_free(worker->pressure);
    close(worker->wake_fd);
    g_mutex_clear(&worker->lock);
    g_free(worker->info.path);
    g_free(worker->info.error);
    g_free(worker);
}

/* Maintenance has waited for the device that the store spills to. */
static void worker_wake(void *opaque)
{
    TmemWorker *worker = opaque;
    uint64_t one = 1;
    ssize_t len = write(worker->wake_fd, &one, sizeof(one));

    g_assert(len == sizeof(one));
}

TmemWorker *tmem_worker_new(TmemStore *store, const char *pressure,
                            TmemWorkerNotify *notify, void *opaque,
                            GError **errp)
{
    TmemWorker *worker = g_new0(TmemWorker, 1);
    TmemStoreStats stats;
    sigset_t all, old;

    worker->store = store;
    worker->notify = notify;
    worker->opaque = opaque;
    worker->info.permille = -1;
    worker->wake_fd = eventfd(0, EFD_CLOEXEC);
    g_assert(worker->wake_fd >= 0);
    g_mutex_init(&worker->lock);

    if (strcmp(pressure, "off") != 0) {
        worker->pressure = tmem_pressure_open(pressure, errp);
        if (!worker->pressure) {
            worker_destroy(worker);
            return NULL;
        }
    }
    tmem_store_get_stats(store, &stats);
    tmem_policy_init(&worker->policy, stats.max_size, now_ns());

    tmem_store_set_wake(store, worker_wake, worker);

    /* Signals are for other threads. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    worker->thread = g_thread_try_new("tmem-worker", worker_run, worker, errp);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!worker->thread) {
        worker_destroy(worker);
        return NULL;
    }
    return worker;
}

void tmem_worker_kick(TmemWorker *worker)
{
    g_mutex_lock(&worker->lock);
    worker->look = true;
    g_mutex_unlock(&worker->lock);
    worker_wake(worker);
}

void tmem_worker_free(TmemWorker *worker)
{
    if (!worker) {
        return;
    }
    g_mutex_lock(&worker->lock);
    worker->stop = true;
    g_mutex_unlock(&worker->lock);
    tmem_worker_kick(worker);
    g_thread_join(worker->thread);
    worker_destroy(worker);
}

void tmem_worker_get_pressure(TmemWorker *worker, TmemPressureInfo *info)
{
    g_mutex_lock(&worker->lock);
    *info = worker->info;
    info->path = g_strdup(worker->info.path);
    info->error = g_strdup(worker->info.error);
    g_mutex_unlock(&worker->lock);
}
