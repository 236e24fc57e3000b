/* Where a volume's bytes lie on its members: arithmetic only.
 *
 *     raid1, replica    one column, every member a copy of it
 *     raid0             a column for each member, chunks dealt out in turn
 *     raid10            a column for each pair of members (2j and 2j+1)
 *     raid5, raid6      stripes of members - 1 or - 2 data chunks; parity moves back by one member from stripe to
 *                       stripe and data begins behind it (left-symmetric)
 *
 * "Column" is what holds data that nobody else holds: for the first four a set of equal members, for the parity layouts
 * a member. "Region" is the same range of every member's data, the unit of what the owner remembers of writes; it
 * is cut into 64 granules. Units: bytes, unless a name says otherwise. Pure; any thread. */
#ifndef REPLICATION_GEOMETRY_H
#define REPLICATION_GEOMETRY_H

#include <stdbool.h>
#include <stdint.h>

struct err;

enum {
    MEMBERS_MAX = 16,
    BLOCK_BYTES = 4096, /* what has one checksum; every request is a multiple */
    GRANULES = 64,      /* of a region */
    REGION_MIN_BYTES = GRANULES * BLOCK_BYTES,
    REGION_MAX_BYTES = 64 << 20,
};

/* In the member format: never renumber. */
enum layout { LAYOUT_RAID0, LAYOUT_RAID1, LAYOUT_RAID10, LAYOUT_RAID5, LAYOUT_RAID6, LAYOUT_REPLICA, LAYOUT_COUNT };

struct geometry {
    enum layout layout;
    unsigned members;
    uint32_t chunk_bytes, region_bytes;
    uint64_t member_bytes; /* data on each member: a multiple of region_bytes */
    uint64_t room_bytes;   /* what member_bytes may grow to: maps and checksums have room for it; 0: it may not grow */
};

/* Members i with bit i set. */
typedef uint32_t member_set;

/* The part of a range that lies on one column: one run of the column's bytes. */
struct geometry_part {
    unsigned column;
    uint64_t offset; /* in the members' data */
    uint32_t length_bytes;
};

const char *layout_name(enum layout layout);
/* -1: there is none of that name. */
int layout_of_name(const char *name);

/* Errors: -EINVAL and what is wrong. */
int geometry_check(const struct geometry *g, struct err *err);

unsigned geometry_parity(const struct geometry *g);  /* members of a stripe that hold parity: 0, 1, 2 */
unsigned geometry_columns(const struct geometry *g); /* members' worth of data */
unsigned geometry_copies(const struct geometry *g);  /* of each column; 1 for the parity layouts */
uint64_t geometry_volume_bytes(const struct geometry *g);
uint64_t geometry_span_bytes(const struct geometry *g); /* of the volume, in one region */
uint32_t geometry_granule_bytes(const struct geometry *g);
uint64_t geometry_regions(const struct geometry *g);
uint64_t geometry_room_regions(const struct geometry *g); /* as many as there may ever be */
/* What each member has to hold for a volume of that size at the least: whole regions. */
uint64_t geometry_member_bytes(const struct geometry *g, uint64_t volume_bytes);
member_set geometry_all(const struct geometry *g);
/* Members that hold column `column` (not the parity layouts). */
member_set geometry_holders(const struct geometry *g, unsigned column);
/* Every byte can be had from the members of `set`. */
bool geometry_can_serve(const struct geometry *g, member_set set);

/* Not the parity layouts: cuts [offset, offset + length) of the volume, which must lie in one region, into one part per
 * column that it touches. Returns how many, at most geometry_columns(). */
unsigned geometry_parts(const struct geometry *g, uint64_t offset, uint32_t length_bytes, struct geometry_part *parts);
/* Where the byte `at` of the volume is. run_bytes: how far from there the volume and the member go on together. */
void geometry_locate(const struct geometry *g, uint64_t at, unsigned *column, uint64_t *offset, uint32_t *run_bytes);

/* The parity layouts: of stripe `stripe`. */
unsigned geometry_data_member(const struct geometry *g, uint64_t stripe, unsigned chunk);
unsigned geometry_parity_member(const struct geometry *g, uint64_t stripe, unsigned which);
/* Both in one row: data chunks, then parity. */
unsigned geometry_vector_member(const struct geometry *g, uint64_t stripe, unsigned vector);

#endif
