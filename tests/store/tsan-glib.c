/*
 * GLib's locks, as ThreadSanitizer has to see them
 *
 * A GMutex is a futex, taken and released by code that was compiled without
 * ThreadSanitizer: without this, all that it protects would look like a race.
 * The linker (--wrap) leads each call here; the lock itself is still GLib's.
 * Threads need nothing of this kind: GLib makes them with pthread_create().
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <glib.h>
#include <sanitizer/tsan_interface.h>

void __real_g_mutex_init(GMutex *mutex);
void __real_g_mutex_clear(GMutex *mutex);
void __real_g_mutex_lock(GMutex *mutex);
gboolean __real_g_mutex_trylock(GMutex *mutex);
void __real_g_mutex_unlock(GMutex *mutex);

void __wrap_g_mutex_init(GMutex *mutex);
void __wrap_g_mutex_clear(GMutex *mutex);
void __wrap_g_mutex_lock(GMutex *mutex);
gboolean __wrap_g_mutex_trylock(GMutex *mutex);
void __wrap_g_mutex_unlock(GMutex *mutex);

void __wrap_g_mutex_init(GMutex *mutex)
{
    __real_g_mutex_init(mutex);
    __tsan_mutex_create(mutex, 0);
}

void __wrap_g_mutex_clear(GMutex *mutex)
{
    __tsan_mutex_destroy(mutex, 0);
    __real_g_mutex_clear(mutex);
}

void __wrap_g_mutex_lock(GMutex *mutex)
{
    __tsan_mutex_pre_lock(mutex, 0);
    __real_g_mutex_lock(mutex);
    __tsan_mutex_post_lock(mutex, 0, 0);
}

gboolean __wrap_g_mutex_trylock(GMutex *mutex)
{
    gboolean locked;

    __tsan_mutex_pre_lock(mutex, __tsan_mutex_try_lock);
    locked = __real_g_mutex_trylock(mutex);
    __tsan_mutex_post_lock(mutex, locked ? __tsan_mutex_try_lock :
                           __tsan_mutex_try_lock |
                           __tsan_mutex_try_lock_failed, 0);
    return locked;
}

void __wrap_g_mutex_unlock(GMutex *mutex)
{
    __tsan_mutex_pre_unlock(mutex, 0);
    __real_g_mutex_unlock(mutex);
    __tsan_mutex_post_unlock(mutex, 0);
}
