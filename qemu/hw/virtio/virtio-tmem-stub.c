/*
 * query-tmem of a QEMU without the device: there is none to list
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/qapi-commands-tmem.h"

TmemInfoList *qmp_query_tmem(Error **errp)
{
    return NULL;
}
