/* Pages on their way: what one connection sends of a round, and what one receives.
 *
 * The first round takes what the memory's file holds; what it does not hold are zeroes, as in new memory. Later rounds
 * take what is set in the bitmaps. A page may change while it is read: then it is dirty again and follows once more;
 * one that is dirty again before it was its turn is left out, as it follows anyway, and so is one that is what it was
 * when it was sent (migrate_sums.h). Pages are compressed where it pays (migrate_pays.h).
 *
 * Threads: one per connection; the memory is shared. */
#ifndef HV_MIGRATE_PAGES_H
#define HV_MIGRATE_PAGES_H

#include <stdint.h>

#include "hv/memory.h"
#include "hv/migrate_pays.h"
#include "hv/migrate_wire.h"

struct err;
struct migrate_frame;
struct migrate_link;
struct migrate_pack;
struct migrate_sums;

struct migrate_sender {
    const struct memory *memory;
    struct migrate_link *link;
    unsigned stream, streams;
    /* Holds the thread up where a bandwidth is kept to; NULL: no limit. 0 or -ECANCELED. */
    int (*pace)(void *context, uint64_t bytes, struct err *err);
    void *context;
    struct migrate_pack *pack; /* NULL: the other side knows no compressed pages */
    struct migrate_pays pays;
    _Atomic uint64_t *wire_bytes; /* with pack: what all senders of the migration have put on the link */
    struct migrate_sums *sums;    /* all senders' of a migration; NULL: what is marked goes in any case */
    uint8_t *copy;                /* MIGRATE_RUN_BYTES, if there are sums: pages as they are judged and sent */
    uint64_t paced_ns;
    /* Counted up; any thread may read them. saved: what compressing has kept off the wire; pack_ns: what it took. */
    _Atomic uint64_t pages, zero_pages, same_pages, saved_bytes, pack_ns;
};

/* bitmaps: one per slot, a bit per page; NULL: the first round. Errors: the link's. */
int migrate_pages_send(struct migrate_sender *sender, uint64_t *const *bitmaps, struct err *err);

/* Pages [at, at + bytes) of a slot, within one chunk, without regard to whose they are and to what was sent before.
 * Errors: the link's. */
int migrate_pages_send_some(struct migrate_sender *sender, unsigned slot, uint64_t at, uint64_t bytes, struct err *err);

struct migrate_receiver {
    const struct memory *memory;
    struct migrate_link *link;
    unsigned stream, streams;
    struct migrate_pack *pack; /* NULL: compressed pages are not expected */
    /* Puts pages into a guest that runs; from NULL: zeroes. NULL: nobody uses the memory yet. */
    int (*put)(void *context, const struct memory_slot *slot, uint64_t at, const uint8_t *from, uint64_t bytes,
               struct err *err);
    void *context;
};

/* The body of a PAGES, PACKED or ZEROES frame into memory. -EPROTO with a text: not memory of this guest, not of this
 * stream, or not those pages. */
int migrate_pages_receive(const struct migrate_receiver *receiver, const struct migrate_frame *frame, struct err *err);

#endif
