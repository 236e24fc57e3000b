/* Memory that is given back all at once: what belongs to one request or one answer, whose size shows only while it is
 * read. Not for what lives long or grows for ever. Threads: one at a time. */
#ifndef NODE_BASE_ARENA_H
#define NODE_BASE_ARENA_H

#include <stddef.h>

struct arena;

/* NULL: no memory. max_bytes: what arena_alloc() may give out in all. */
struct arena *arena_new(size_t max_bytes);
void arena_free(struct arena *arena); /* NULL is accepted */

/* Zeroed, aligned for anything. NULL: no memory, or more than the limit. */
void *arena_alloc(struct arena *arena, size_t bytes);
/* A copy of len bytes with a 0 byte behind them. */
char *arena_copy(struct arena *arena, const void *bytes, size_t len);
char *arena_string(struct arena *arena, const char *text);

#endif
