/* See record.h. */
#include "hv/dbt/record.h"

#include <string.h>

#include "hv/cpu_state.h"
#include "hv/dbt/emit.h"

enum { PATCH_PARKED = 1, OFFSET_BITS = 12, OFFSET_MASK = (1 << OFFSET_BITS) - 1, NIBBLE = 4, NO_SCRATCH = CPU_RSP };

/* Of both kinds: the first word says how far back the entry is. */
struct packed_exit {
    uint16_t back, patch; /* patch: how far back it is, or PATCH_PARKED, or 0 */
    int32_t target;       /* from the block's linear address */
};

struct packed_site {
    uint16_t back, resume; /* resume: from the entry on */
    uint16_t place;        /* offset and length of the instruction */
    uint8_t scratch;       /* a nibble each: NO_SCRATCH is the one register that never is one */
    uint8_t parked;        /* and the rest of the bits: more */
};

_Static_assert(sizeof(struct packed_exit) == 8 && sizeof(struct packed_site) == 8, "records are small");

bool record_reaches(uint64_t linear, uint64_t target)
{
    int64_t distance = (int64_t)(target - linear);
    return distance == (int32_t)distance;
}

void record_write_exit(struct emit *e, uint32_t entry, uint64_t linear, const struct exit_record *r)
{
    struct packed_exit p = {
        .back = (uint16_t)(e->at - entry),
        .patch = (uint16_t)(r->patch    ? e->at - r->patch
                            : r->parked ? PATCH_PARKED
                                        : 0),
        .target = (int32_t)(r->target - linear),
    };
    emit_bytes(e, &p, sizeof p);
}

static uint8_t pack_scratch(uint8_t reg)
{
    return reg == EMIT_NO_REGISTER ? NO_SCRATCH : reg;
}

static uint8_t unpack_scratch(unsigned nibble)
{
    return nibble == NO_SCRATCH ? EMIT_NO_REGISTER : (uint8_t)nibble;
}

void record_write_site(struct emit *e, uint32_t entry, const struct site *s)
{
    struct packed_site p = {
        .back = (uint16_t)(e->at - entry),
        .resume = (uint16_t)(s->resume ? s->resume - entry : 0),
        .place = (uint16_t)(s->offset | s->length << OFFSET_BITS),
        .scratch = (uint8_t)(pack_scratch(s->scratch[0]) | pack_scratch(s->scratch[1]) << NIBBLE),
        .parked = (uint8_t)(s->parked | s->more << 1),
    };
    emit_bytes(e, &p, sizeof p);
}

static uint32_t index_at(const uint8_t *code, uint32_t entry)
{
    uint32_t index;
    memcpy(&index, code + entry - RECORD_HEAD_BYTES, sizeof index);
    return index;
}

uint32_t record_block(const uint8_t *code, uint32_t at)
{
    uint16_t back;
    memcpy(&back, code + at, sizeof back);
    return index_at(code, at - back);
}

void record_read_exit(const uint8_t *code, uint32_t at, uint64_t linear, struct exit_record *r)
{
    struct packed_exit p;
    memcpy(&p, code + at, sizeof p);
    *r = (struct exit_record){
        .target = linear + (uint64_t)(int64_t)p.target,
        .block = index_at(code, at - p.back),
        .patch = p.patch > PATCH_PARKED ? at - p.patch : 0,
        .parked = p.patch == PATCH_PARKED,
    };
}

void record_read_site(const uint8_t *code, uint32_t at, struct site *s)
{
    struct packed_site p;
    memcpy(&p, code + at, sizeof p);
    *s = (struct site){
        .block = index_at(code, at - p.back),
        .resume = p.resume ? at - p.back + p.resume : 0,
        .offset = p.place & OFFSET_MASK,
        .length = (uint8_t)(p.place >> OFFSET_BITS),
        .scratch = {unpack_scratch(p.scratch & ((1 << NIBBLE) - 1)), unpack_scratch(p.scratch >> NIBBLE)},
        .parked = p.parked & 1,
        .more = p.parked >> 1,
    };
}
