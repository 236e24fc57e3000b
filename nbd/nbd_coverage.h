/* Which bytes of a read the server has sent: chunks may come in any order, but must neither overlap
 * nor leave a gap. Threads: belongs to its owner. */
#ifndef NBD_NBD_COVERAGE_H
#define NBD_NBD_COVERAGE_H

#include <stdbool.h>
#include <stdint.h>

enum { NBD_COVERAGE_RANGES = 8 };

/* All zeroes: nothing is covered. Ranges are sorted, disjoint and not adjacent. */
struct nbd_coverage {
    bool scattered; /* more ranges than can be remembered: what came cannot be judged any more */
    unsigned count;
    struct nbd_coverage_range {
        uint64_t begin, end;
    } range[NBD_COVERAGE_RANGES];
};

/* False if a byte of [begin, end) was covered already; nothing is changed then. */
bool nbd_coverage_add(struct nbd_coverage *coverage, uint64_t begin, uint64_t end);
/* True if exactly [0, length_bytes) is covered. */
bool nbd_coverage_complete(const struct nbd_coverage *coverage, uint64_t length_bytes);

#endif
