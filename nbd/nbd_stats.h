/* What the exports have been doing, for the log. Thread: the loop's. */
#ifndef NBD_NBD_STATS_H
#define NBD_NBD_STATS_H

#include "nbd/nbd_export.h"

/* One line per export, layer and operation that was used: count, errors, bytes, median and 99th percentile. */
void nbd_stats_log(const struct nbd_export_list *exports);

#endif
