/* A piece: a part of a request, or of the volume's own work, in one region; and how the layouts carry it out. For the
 * files of volume_core.h only. */
#ifndef REPLICATION_VOLUME_PIECE_H
#define REPLICATION_VOLUME_PIECE_H

#include "nbd/blk.h"
#include "replication/fan.h"
#include "replication/journal_record.h"
#include "replication/volume_region.h"

enum piece_kind { PIECE_READ, PIECE_WRITE, PIECE_ZERO, PIECE_FLUSH, PIECE_RESYNC };

enum { PIECE_SLICES = 256 };

/* A part of a request, or of the volume's own work, that lies in one region. */
struct piece {
    struct volume *volume;
    enum piece_kind kind;
    struct blk_req *req; /* NULL: the volume's own */
    uint32_t flags;
    uint64_t req_at; /* bytes of the request before this piece */
    uint64_t offset; /* in the volume; the volume's own: in the members' data */
    uint32_t length_bytes;
    uint64_t lock_from, lock_to; /* in the members' data */
    struct region *region;
    bool active;
    bool waits;              /* in `held` */
    TAILQ_ENTRY(piece) link; /* region's, or idle */
    TAILQ_ENTRY(piece) held;
    struct fan fan;
    int error;
    struct iovec *slice; /* the request's own memory, where it is read into at once */
    unsigned slices;
    bool indirect;           /* that was not right, and is not tried again */
    uint8_t *buffer, *spare; /* part after part; a part that is being healed */
    struct geometry_part parts[MEMBERS_MAX];
    uint32_t part_at[MEMBERS_MAX]; /* in buffer */
    unsigned part_count;
    unsigned source[MEMBERS_MAX]; /* by part: who was read */
    member_set tried, bad;        /* of the part that is being healed: who was read, who was not right */
    unsigned heal_part;
    bool unknown;              /* ... nothing of it is there yet */
    member_set unread, silent; /* failed the first read; failed one while the part was healed */
    bool retried;
    bool differs; /* scrub: the parity is not that of the data */
    bool forced;  /* scrub: read forced_source where it holds a part */
    unsigned forced_source;
    member_set target; /* RESYNC: who is filled */
    /* parity layouts: of the stripe's data chunks [chunk, chunk + chunks); or whole stripes, all of them */
    unsigned chunk, chunks;
    bool whole;
    uint8_t *image;             /* every member's bytes of the range, then a struct image_row for each row of blocks */
    member_set wrote, recorded; /* whose blocks change; who is named in the journal */
    enum journal_kind record;
    uint64_t number; /* of the first record; FLUSH: of the journal's flush */
    uint8_t *heads;
    void (*then)(struct piece *piece);     /* when the image is there; when the journal has it */
    void (*resume)(struct piece *piece);   /* when it is held */
    void (*finished)(struct piece *piece); /* the volume's own: instead of completing a request */
};

/* ---- volume_piece.c ---- */
void volume_submit(struct blk *blk, struct blk_req *req);
struct piece *piece_get(struct volume *v, enum piece_kind kind);
/* Of its own, in the members' data: looks for its region and waits for its turn. */
void piece_enter(struct piece *p, uint64_t region);
/* Begins whatever may begin now. */
void piece_kick(struct region *r);
void piece_finish(struct piece *p, int result);
/* Waits until the set is settled and the volume may serve; then resume(), or the end with an error. */
void piece_hold(struct piece *p, void (*resume)(struct piece *p));
void piece_release_held(struct volume *v);

/* The request's memory from byte `at` of it on, as vectors of whole blocks. 0: it is not whole blocks, or more than
 * max. */
unsigned piece_slice(const struct piece *p, uint64_t at, uint64_t length_bytes, struct iovec *iov, unsigned max);
/* All blocks of the vectors have these checksums. */
bool piece_right(const struct iovec *iov, unsigned count, const uint32_t *sums);
/* Copies between the request's vector, from byte `at` of the request on, and `bytes`. */
void piece_copy(const struct piece *p, uint64_t at, uint8_t *bytes, uint64_t length_bytes);

/* ---- volume_mirror.c ---- */
void mirror_read(struct piece *p);
void mirror_write(struct piece *p);
void mirror_resync(struct piece *p);

/* ---- volume_image.c: the parity layouts' rows of blocks ---- */
/* Whose blocks of the row are what they should be (by member), and whose were so when they were read. */
struct image_row {
    uint16_t known, right;
};

/* len_bytes of each member's data, from the piece's lock_from on. */
void image_get(struct piece *p);
void image_put(struct piece *p);
uint32_t image_bytes(const struct piece *p); /* of one member */
unsigned image_rows(const struct piece *p);
struct image_row *image_row(const struct piece *p, unsigned row);
uint8_t *image_block(const struct piece *p, unsigned member, unsigned row);
/* Of rows from `row` on: of how many the same members are known, and they are of one stripe. vectors: where they begin,
 * data and then parity. */
unsigned image_run(const struct piece *p, unsigned row, unsigned end, uint8_t **vectors);
/* A set of members as a set of the row's vectors. */
uint32_t image_vectors(const struct piece *p, unsigned row, member_set members);
/* The mark in the place of a block that cannot be had. It has its checksum, as any block has. */
void image_lose(const struct volume *v, uint8_t *block);
bool image_is_lost(const struct volume *v, const uint8_t *block);
/* What was read from the members of `have` is held against its checksums: known and right. False: something is not. */
bool image_verify(struct piece *p, member_set have);
/* Reads all members in sync, makes what is missing or wrong from the rest, and writes anew what was wrong. Then then();
 * rows for which that was too little are not known. */
void image_gather(struct piece *p, void (*then)(struct piece *p));

/* ---- volume_stripe.c: the same for parity ---- */
/* Cuts a piece that begins at byte `at` of the volume and is at most left_bytes long: whole stripes, or a rectangle of
 * chunks of one. */
void stripe_cut(struct piece *p, uint64_t at, uint64_t left_bytes);
void stripe_read(struct piece *p);
void stripe_write(struct piece *p);
/* Its checksums are those of the region from now on, and who is not here misses it. Not before the journal takes it: a
 * write that fails there changes nothing, and what the members have has to stay readable. */
void stripe_note(struct piece *p);
void stripe_resync(struct piece *p);

#endif
