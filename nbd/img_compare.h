/* Compares two stacks byte by byte: the engine behind `drover-img compare`.
 *
 * N slots read both sides at once and compare; what both sides report as zeroes is not read. Where
 * one side has ended, the other is compared with zeroes.
 *
 * Thread: the loop's. The two stacks belong to the caller and outlive the comparison. */
#ifndef NBD_IMG_COMPARE_H
#define NBD_IMG_COMPARE_H

#include <stdbool.h>
#include <stdint.h>

struct blk;
struct blk_env;
struct err;
struct img_compare;

struct img_compare_result {
    bool differ;
    uint64_t first_offset;               /* of the first byte that differs */
    uint64_t compared_bytes, zero_bytes; /* zero: known to be zeroes on both sides without reading */
};

/* done(context, 0 or -errno, text) is called once, from the loop, when nothing is in flight any
 * more. Errors: -EINVAL an image whose end its alignment makes unreachable; -ENOMEM. */
int img_compare_start(const struct blk_env *env, struct blk *a, struct blk *b,
                      void (*done)(void *context, int result, const struct err *err), void *context,
                      struct img_compare **compare, struct err *err);
/* After done(0): the result; before: how far it is. */
struct img_compare_result img_compare_result(const struct img_compare *compare);
/* After done(), not inside it. NULL is accepted. */
void img_compare_free(struct img_compare *compare);

#endif
