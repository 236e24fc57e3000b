/* Finding zeroes in data, fast: what a copy may leave out. Thread: any. */
#ifndef NBD_IMG_ZEROES_H
#define NBD_IMG_ZEROES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How many bytes from the start of data, at least 1 of len_bytes, are alike: all in blocks of
 * zeroes (*zero true), or all in blocks that hold something else. Blocks are of grain_bytes (a
 * power of two) and lie at multiples of it counted from `position`, which is where data begins; the
 * first and last may be cut short. */
size_t img_zeroes_run(const void *data, size_t len_bytes, uint64_t position, size_t grain_bytes, bool *zero);

#endif
