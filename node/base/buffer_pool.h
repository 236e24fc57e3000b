/* Page-aligned data buffers, kept by size class (powers of two), newest first so that a hot one is reused while the
 * cache still holds it. Fit for O_DIRECT.
 *
 * Threads: a pool belongs to one loop's thread. A buffer belongs to whoever got it until it is put back. Contents
 * are whatever the last user left: a buffer whose bytes leave the process must be filled first. */
#ifndef NODE_BASE_BUFFER_POOL_H
#define NODE_BASE_BUFFER_POOL_H

#include <stddef.h>

enum { BUFFER_ALIGN_BYTES = 4096 };

struct buffer_pool;

/* keep_bytes: how much may lie idle in the pool before buffers go back to the system. NULL: no memory. */
struct buffer_pool *buffer_pool_new(size_t keep_bytes);
void buffer_pool_free(struct buffer_pool *pool); /* every buffer must be back */

/* At least len_bytes (1 to 2^31); NULL: no memory. */
void *buffer_get(struct buffer_pool *pool, size_t len_bytes);
/* len_bytes as given to buffer_get(); NULL is accepted. */
void buffer_put(struct buffer_pool *pool, void *buffer, size_t len_bytes);

/* What a buffer of that length takes. */
size_t buffer_class_bytes(size_t len_bytes);

#endif
