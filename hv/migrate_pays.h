/* Whether compressing what a connection sends pays: link time that is saved against processor time that is spent, as
 * both are measured while it runs. Pure arithmetic, without a clock, so that tests can play any link.
 *
 *     link:   what a byte costs in waiting for the link, looked at each megabyte that has left, and 20 ms.
 *             A link that holds nobody up costs nothing, so that on it nothing is ever tried
 *     pages:  what compressing a byte takes and what is left of it
 *
 *     PLAIN --trial, now and then, where the link costs enough to matter--> PACKS, if it pays
 *     PACKS --it does not pay any more, or a look at the bare link is due--> PLAIN
 *
 * Compressed bytes may be too few to fill the link, which then cannot be measured: what it cost before is kept, until a
 * megabyte in so many is sent bare.
 *
 * Units: bytes, nanoseconds. Threads: its connection's. */
#ifndef HV_MIGRATE_PAYS_H
#define HV_MIGRATE_PAYS_H

#include <stdbool.h>
#include <stdint.h>

enum {
    MIGRATE_PAYS_LOOK_BYTES = 1 << 20,    /* on the wire, from look to look, */
    MIGRATE_PAYS_LOOK_NS = 20000000,      /* and so long at the least: in a millisecond anybody may stumble */
    MIGRATE_PAYS_TRIAL_BYTES = 256 << 10, /* of pages */
    MIGRATE_PAYS_TRIAL_LOOKS = 4,         /* from one trial in vain to the next: what compresses differs from place to
                                             place in a guest's memory, its kernel's code least */
    MIGRATE_PAYS_HOPELESS_LOOKS = 128,    /* ... on a link that is as fast as the processor compresses */
    MIGRATE_PAYS_BARE_LOOKS = 32,         /* compressed, from one look at the bare link to the next */
};

struct migrate_pays {
    bool packs, trial;    /* compress; compress to see what comes of it */
    double link_ns;       /* of a byte on the wire; 0: nobody waits for it */
    double pack_ns, left; /* of a byte of pages: time, and the part that is left; 0, 0: not known */
    unsigned looks;       /* since the last trial, or since the last look at the bare link */
    bool tried;
    uint64_t began_ns, held_ns; /* when this look's bytes began to leave; what the connection had waited by then */
    uint64_t all_bytes;         /* what all connections had put on the link by then */
    uint64_t wire_bytes;
    uint64_t before_bytes, after_bytes, spent_ns; /* compressed since the last judgement */
};

/* Whether it pays: pack_ns and left of a byte, on a link whose bytes cost link_ns. */
bool migrate_pays_for(double pack_ns, double left, double link_ns);

/* Bytes are about to leave after a time that says nothing of the link. held_ns: all that the connection has ever
 * waited; all_bytes: what all have ever put on the link that they share, in unequal parts where some compress. */
void migrate_pays_begin(struct migrate_pays *pays, uint64_t now_ns, uint64_t held_ns, uint64_t all_bytes);
static inline bool migrate_pays_wants(const struct migrate_pays *pays)
{
    return pays->packs || pays->trial;
}
/* Pages were compressed; after == before where it was in vain. */
void migrate_pays_packed(struct migrate_pays *pays, uint64_t before, uint64_t after, uint64_t spent_ns);
/* Bytes have left. True: migrate_pays_look() may be due. */
static inline bool migrate_pays_sent(struct migrate_pays *pays, uint64_t wire_bytes)
{
    pays->wire_bytes += wire_bytes;
    return pays->wire_bytes >= MIGRATE_PAYS_LOOK_BYTES;
}
void migrate_pays_look(struct migrate_pays *pays, uint64_t now_ns, uint64_t held_ns, uint64_t all_bytes);

#endif
