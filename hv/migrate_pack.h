/* Pages compressed for the wire (zstd, level 1), and what came over it as pages again.
 *
 * A page may change while it is compressed. Compressed, it may stand for parts of its neighbours, which would then
 * be wrong without being dirty: so pages are copied first.
 *
 * What comes is foreign: one frame of zstd's own format, of exactly the bytes that were announced; more is never
 * written.
 *
 * Threads: one at a time. */
#ifndef HV_MIGRATE_PACK_H
#define HV_MIGRATE_PACK_H

#include <stddef.h>
#include <stdint.h>

struct err;
struct migrate_pack; /* one direction of one connection */

struct migrate_pack *migrate_pack_new(struct err *err); /* its memory comes with the first use of each direction */
void migrate_pack_free(struct migrate_pack *pack);      /* NULL is accepted */

/* At most MIGRATE_RUN_BYTES of pages. Bytes that *out, which is pack's until the next call, holds; 0: they do not get
 * fewer, or there is no memory for it. spent_ns: of the processor, so that a thread that was not let on it says nothing
 * of the pages. */
size_t migrate_pack_pages(struct migrate_pack *pack, const uint8_t *pages, size_t bytes, const uint8_t **out,
                          uint64_t *spent_ns);

/* Where `bytes`, at most MIGRATE_RUN_BYTES, of packed pages are to be put. NULL with a text: no memory. */
uint8_t *migrate_pack_room(struct migrate_pack *pack, struct err *err);
/* Those: exactly page_bytes, at most MIGRATE_RUN_BYTES, of pages in *pages, which is pack's. -EPROTO with a text. */
int migrate_pack_unpack(struct migrate_pack *pack, size_t bytes, size_t page_bytes, const uint8_t **pages,
                        struct err *err);

#endif
