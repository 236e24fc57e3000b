/* What a migration says on its connections: frames, and nothing between them.
 *
 *     offset  0  u8   type
 *             1  u8   0
 *             2  u16  0
 *             4  u32  bytes that follow
 *             8  u64  a number, whose meaning is the type's
 *
 * Numbers are little-endian. Each type has a limit for its body; whoever receives more, a type that is not known or
 * reserved bytes that are not 0 ends the migration. Integrity and secrecy are TLS's.
 *
 *     connection 0      source                               destination
 *                       HELLO {json} ------------------->
 *                       <----------------------------------- WELCOME {json}, or REFUSED {json}
 *     all connections   PAGES, PACKED, ZEROES ... MARK n >
 *     connection 0      <----------------------------------- SYNCED n        (all connections have had their MARK n)
 *                       ... more rounds; then the guest stands, its last pages leave ...
 *                       STATE ..., FINAL {json} --------->
 *                       <----------------------------------- READY           (disks are open, everything is in place)
 *                       GO ------------------------------>
 *                       <----------------------------------- STARTED {"runs-us": N}  (the guest does, since N us)
 *     either side, at any time: FAILED {json} with words, and the connection ends
 *
 * Post-copy (from version 3 on, where HELLO and WELCOME have "post-copy": true): the guest goes before its last pages.
 *
 *     connection 0      MISSING ..., STATE ..., FINAL {"post-copy": true, ...} >
 *     the others        LATE -------------------------->                       (what follows are pages that were
 * missing) all connections   <----------------------------------- NEED ...          (somebody waits for that page)
 *                       PAGES, PACKED, ZEROES ... ------>                      (needed ones first)
 *     connection 0      <----------------------------------- READY, later STARTED, as above
 *                       GO ------------------------------>
 *                       <----------------------------------- COMPLETE {json}
 *     after a break     RESUME n ------------------------>                     (n connections are open again)
 *                       <----------------------------------- MISSING ..., RESUMED n
 *
 * A page always goes over connection (gpa >> 21) mod n, so that no older content of it can arrive after a newer one;
 * missing ones, which nobody changes any more, over any.
 *
 * Threads: any; no state. */
#ifndef HV_MIGRATE_WIRE_H
#define HV_MIGRATE_WIRE_H

#include <stddef.h>
#include <stdint.h>

struct err;

enum {
    MIGRATE_VERSION = 3,        /* of the format, said in HELLO; WELCOME has the lower one of both sides' */
    MIGRATE_VERSION_OLDEST = 2, /* ... that is still understood: the one before */
    MIGRATE_VERSION_PACKED = 2, /* the first that knows PACKED, */
    MIGRATE_VERSION_LATE = 3,   /* and post-copy */
    MIGRATE_HEADER_BYTES = 16,
    MIGRATE_STREAMS_MAX = 8,
    MIGRATE_RUN_PAGES = 64, /* of one PAGES */
    MIGRATE_RUN_BYTES = MIGRATE_RUN_PAGES * 4096,
    MIGRATE_JSON_MAX = 256 << 10,
    MIGRATE_MISSING_BYTES = 64 << 10, /* of one MISSING: a bit per page */
    MIGRATE_COUNT_BYTES = 4,          /* of pages, in ZEROES and PACKED */
    MIGRATE_CHUNK_SHIFT = 21,         /* pages of one chunk stay together on one connection */
};

enum migrate_type {
    MIGRATE_HELLO = 1, /* number: version */
    MIGRATE_WELCOME,
    MIGRATE_REFUSED,
    MIGRATE_PAGES,  /* number: GPA; whole pages follow */
    MIGRATE_ZEROES, /* number: GPA; u32 count of pages */
    MIGRATE_MARK,   /* number: round */
    MIGRATE_SYNCED, /* number: round */
    MIGRATE_STATE,  /* number: place in the state; a part of it follows */
    MIGRATE_FINAL,  /* number: bytes of the state */
    MIGRATE_READY,
    MIGRATE_GO,
    MIGRATE_STARTED,
    MIGRATE_FAILED,
    MIGRATE_PACKED,  /* number: GPA; u32 count of pages, which follow in fewer bytes as one zstd frame */
    MIGRATE_MISSING, /* number: GPA of the first of 64 n pages; n u64 of bits, the lowest for the first page */
    MIGRATE_LATE,
    MIGRATE_NEED, /* number: GPA of a page */
    MIGRATE_COMPLETE,
    MIGRATE_RESUME,  /* number: connections */
    MIGRATE_RESUMED, /* number: pages that are missing */
    MIGRATE_TYPE_COUNT
};

struct migrate_frame {
    enum migrate_type type;
    uint32_t bytes;
    uint64_t number;
};

void migrate_frame_pack(const struct migrate_frame *frame, uint8_t header[MIGRATE_HEADER_BYTES]);
/* 0, or -EPROTO with a text; frame is untouched then. */
int migrate_frame_unpack(struct migrate_frame *frame, const uint8_t header[MIGRATE_HEADER_BYTES], struct err *err);
const char *migrate_type_name(enum migrate_type type);

/* Which of `streams` connections a page goes over. */
static inline unsigned migrate_stream_of(uint64_t gpa, unsigned streams)
{
    return (unsigned)((gpa >> MIGRATE_CHUNK_SHIFT) % streams);
}

#endif
