/*
 * A race, for ThreadSanitizer to find; with an argument, none
 *
 * So that its silence about the store means something: it must see through
 * GLib's threads and locks.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"

static GMutex lock;
static unsigned counter;
static bool locked;

static void *count(void *opaque)
{
    for (unsigned i = 0; i < 1000; i++) {
        if (locked) {
            g_mutex_lock(&lock);
        }
        counter++;
        if (locked) {
            g_mutex_unlock(&lock);
        }
    }
    return NULL;
}

int main(int argc, char **argv)
{
    GThread *thread;

    locked = argc > 1;
    g_mutex_init(&lock);
    thread = g_thread_new("count", count, NULL);
    count(NULL);
    g_thread_join(thread);
    g_mutex_clear(&lock);
    return 0;
}
