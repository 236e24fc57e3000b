/* A region: what the owner remembers of a range of the members' data, and what makes it hot and cold. For the files of
 * volume_core.h only. */
#ifndef REPLICATION_VOLUME_REGION_H
#define REPLICATION_VOLUME_REGION_H

#include "replication/fan.h"

struct equalizer;

enum region_state { REGION_LOADING, REGION_COLD, REGION_HEATING, REGION_HOT, REGION_COOLING };

struct piece;
TAILQ_HEAD(piece_list, piece); /* through link, or held */

struct region {
    uint64_t number;
    enum region_state state;
    unsigned pins;                 /* work that is no piece */
    bool all_touched;              /* it was looked at after a crash: all of it counts as written */
    member_set lacks;              /* parity: whose checksums are not known here (not in sync when it was loaded) */
    member_set filled;             /* parity: whose checksums are newer here than on the member, as it was filled */
    int error;                     /* loading failed */
    uint64_t touched[MEMBERS_MAX]; /* by strand: granules written since it became hot */
    uint64_t used_ns, written_ns;
    struct piece_list active, waiting;
    uint8_t *sums;           /* by strand: sum_stride bytes, big-endian */
    TAILQ_ENTRY(region) lru; /* all of them */
    TAILQ_ENTRY(region) hash;
    STAILQ_ENTRY(region) heat; /* waiting for its bit */
    struct fan fan;
    uint8_t *loaded; /* while LOADING: the members' own sums, by member */
    struct equalizer *equalizer;
};

TAILQ_HEAD(region_list, region);
STAILQ_HEAD(region_queue, region);

/* ---- volume_region.c ---- */
unsigned region_strand(const struct volume *v, unsigned member);
unsigned region_strands(const struct volume *v);
uint32_t *region_sums(const struct region *r, const struct volume *v, unsigned strand);
struct region *region_get(struct volume *v, uint64_t number);  /* NULL: no memory */
struct region *region_peek(struct volume *v, uint64_t number); /* NULL: not in memory */
void region_heat(struct volume *v, struct region *r);
void region_forget_ahead(struct volume *v);
void region_loaded(struct volume *v, struct region *r, int error);
/* Starts a round if there is something to write. */
void region_round(struct volume *v);
uint64_t region_granules(const struct volume *v, uint64_t offset, uint64_t length_bytes);
/* Loads again what could not be loaded. */
void region_retry(struct volume *v);
void region_free_all(struct volume *v);
/* Sums agree among the members of each column: takes them over and says so. */
bool region_adopt_sums(struct volume *v, struct region *r);

/* ---- volume_cool.c ---- */
/* Cools what is idle, or everything. */
void cool_some(struct volume *v, bool all);
/* Writes the dirty blocks of the maps of missed granules; *maps holds them until the fan is done. */
void cool_add_missed(struct volume *v, struct fan *fan, uint8_t **maps, size_t *maps_bytes);
void cool_soil_missed(struct volume *v);

/* ---- volume_equal.c ---- */
void equalize(struct volume *v, struct region *r);

/* ---- volume_recount.c ---- */
void recount(struct volume *v, struct region *r);

#endif
