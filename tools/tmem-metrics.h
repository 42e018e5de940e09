/*
 * tmemctl: guests in Prometheus' text format
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TMEM_METRICS_H
#define TMEM_METRICS_H

#include "tmem-guest.h"

/*
 * The text that a scrape gets. Guests that share a name (libvirt allows none,
 * QEMU does not mind) would be one series with two values, which Prometheus
 * refuses as a whole: the second and later ones are named by their source.
 */
char *tmem_metrics_text(GPtrArray *guests, double seconds);

#endif
