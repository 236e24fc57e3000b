/* What the destination's memory holds, as a sum of each page: a page that was written with what it held before need not
 * be sent again. It begins as the destination does, with zeroes.
 *
 * The sums are XXH3 of 64 bits with a secret of each migration, so that a guest cannot make pages that are taken for
 * each other; that two are by chance is one in 2^64 comparisons. 8 bytes for each page of memory.
 *
 * Threads: one per page at a time. */
#ifndef HV_MIGRATE_SUMS_H
#define HV_MIGRATE_SUMS_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct memory;
struct migrate_sums;

/* memory: lent. NULL: out of memory. */
struct migrate_sums *migrate_sums_new(const struct memory *memory, struct err *err);
void migrate_sums_free(struct migrate_sums *sums); /* NULL: nothing */

/* The destination has just that already; if not, it is noted that it will. bytes: exactly what is sent then, a page
 * that nobody writes to meanwhile. */
bool migrate_sums_has(struct migrate_sums *sums, unsigned slot, uint64_t page, const uint8_t *bytes);
/* The same of zeroes. */
bool migrate_sums_has_zeroes(struct migrate_sums *sums, unsigned slot, uint64_t page);

#endif
