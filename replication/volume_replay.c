/* What an owner that starts does with the journal: every record from the newest floor on that is whole is done again,
 * in order. A record is whole when each member that it names, and that is in sync, has it undamaged.
 *
 * This comes after the set of this owner was recorded, so a member that is not here, and that could make a record less
 * than whole, does not come back as one in sync.
 *
 * Where a record of SUMS meets others, one of them was durable when the other was written (volume_journal.c): only the
 * later one counts there. In a stripe that a crash left half written, blocks are new or zeroes; if the new ones are
 * enough, all are made new; else the data stay as they are, what a lost member had is zero, and the parity follows. */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/err.h"
#include "replication/checksum.h"
#include "replication/volume_core.h"

struct replay {
    struct volume *v;
    struct journal_record *seen[MEMBERS_MAX]; /* by member and slot; kind 0: nothing */
    uint8_t *heads;                           /* of one member */
    struct journal_record *whole;             /* in order */
    unsigned count;
    bool clean;                 /* the last owner left nothing undone: only the numbers go on */
    uint8_t *data[MEMBERS_MAX]; /* a payload, or a row of blocks; then checksums */
};

enum { DATA_BYTES = JOURNAL_PAYLOAD_BYTES + JOURNAL_HEAD_BYTES };

static uint64_t head_place(const struct volume *v, uint64_t number)
{
    return v->places.journal + journal_slot_offset(number, v->journal.slots);
}

static int look(struct replay *r, unsigned member)
{
    struct volume *v = r->v;
    unsigned slots = v->journal.slots;
    int rc = 0;
    for (unsigned s = 0; s < slots && !rc; s++) {
        struct journal_record record;
        rc = member_now(v, member, BLK_READ, head_place(v, s), r->heads, JOURNAL_HEAD_BYTES);
        if (!rc && journal_record_read(r->heads, v->sb.volume, &v->geometry, member, s, slots, &record))
            r->seen[member][s] = record;
    }
    return rc;
}

/* ---- which records count ---- */

static void newest(const struct replay *r, uint64_t *term, uint64_t *last, uint64_t *floor)
{
    *term = *last = *floor = 0;
    for (unsigned pass = 0; pass < 2; pass++)
        for (unsigned m = 0; m < r->v->geometry.members; m++)
            for (unsigned s = 0; s < r->v->journal.slots && r->seen[m]; s++) {
                const struct journal_record *x = &r->seen[m][s];
                if (!x->kind)
                    continue;
                if (!pass)
                    *term = x->term > *term ? x->term : *term;
                if (!pass || x->term != *term)
                    continue;
                *last = x->number > *last ? x->number : *last;
                *floor = x->floor > *floor ? x->floor : *floor;
            }
}

static int read_payload(struct replay *r, const struct journal_record *x, member_set members, bool *right)
{
    struct volume *v = r->v;
    int rc = 0;
    for (unsigned m = 0; m < v->geometry.members && !rc; m++) {
        if (!(members & member_bit(m)))
            continue;
        rc = member_now(v, m, BLK_READ, head_place(v, x->number), r->data[m], JOURNAL_HEAD_BYTES + x->length_bytes);
        const uint32_t *sums = journal_record_sums(r->data[m]);
        for (uint32_t b = 0; b < x->length_bytes / BLOCK_BYTES && !rc; b++)
            *right &= sums[b] == htobe32(checksum_block(r->data[m] + JOURNAL_HEAD_BYTES + (size_t)b * BLOCK_BYTES));
    }
    return rc;
}

static int judge(struct replay *r, uint64_t term, uint64_t number)
{
    struct volume *v = r->v;
    const struct journal_record *x = NULL;
    unsigned s = (unsigned)(number % v->journal.slots);
    member_set have = 0;
    for (unsigned m = 0; m < v->geometry.members; m++)
        if (r->seen[m] && r->seen[m][s].kind && r->seen[m][s].number == number && r->seen[m][s].term == term) {
            x = &r->seen[m][s];
            have |= member_bit(m);
        }
    if (!x || x->kind == JOURNAL_NOTHING || x->members & v->in_sync & ~have)
        return 0;
    bool right = true;
    int rc = x->kind == JOURNAL_DATA ? read_payload(r, x, x->members & v->in_sync, &right) : 0;
    if (!rc && right)
        r->whole[r->count++] = *x;
    return rc;
}

static bool superseded(const struct replay *r, unsigned which, uint64_t at)
{
    for (unsigned i = which + 1; i < r->count; i++)
        if ((r->whole[which].kind == JOURNAL_SUMS || r->whole[i].kind == JOURNAL_SUMS) && r->whole[i].offset <= at &&
            at < r->whole[i].offset + r->whole[i].length_bytes)
            return true;
    return false;
}

/* ---- doing it again ---- */

static int redo(struct replay *r, unsigned which)
{
    struct volume *v = r->v;
    const struct journal_record *x = &r->whole[which];
    bool right = true;
    int rc = x->kind == JOURNAL_DATA ? read_payload(r, x, x->members & v->in_sync, &right) : 0;
    for (uint32_t at = 0, run; at < x->length_bytes && !rc; at += run) {
        bool skip = superseded(r, which, x->offset + at);
        for (run = BLOCK_BYTES; at + run < x->length_bytes && superseded(r, which, x->offset + at + run) == skip;)
            run += BLOCK_BYTES;
        for (unsigned m = 0; m < v->geometry.members && !skip && !rc; m++)
            if (x->members & v->in_sync & member_bit(m))
                rc = member_now(v, m, x->kind == JOURNAL_ZERO ? BLK_ZERO : BLK_WRITE, v->places.data + x->offset + at,
                                x->kind == JOURNAL_ZERO ? NULL : r->data[m] + JOURNAL_HEAD_BYTES + at, run);
    }
    return rc;
}

/* One row of blocks, one of each member. */
static int mend_row(struct replay *r, const struct journal_record *x, uint64_t at)
{
    struct volume *v = r->v;
    unsigned members = v->geometry.members, columns = geometry_columns(&v->geometry);
    uint8_t *vectors[MEMBERS_MAX];
    uint32_t new = 0, there = 0, change = 0;
    uint64_t stripe = at / v->geometry.chunk_bytes;
    int rc = 0;
    for (unsigned i = 0; i < members && !rc; i++) {
        unsigned m = geometry_vector_member(&v->geometry, stripe, i);
        vectors[i] = r->data[m] + JOURNAL_HEAD_BYTES;
        memset(vectors[i], 0, BLOCK_BYTES);
        if (!(x->members & v->in_sync & member_bit(m)))
            continue;
        rc = member_now(v, m, BLK_READ, v->places.data + at, vectors[i], BLOCK_BYTES);
        there |= UINT32_C(1) << i;
        if (journal_record_sums(r->data[m])[(at - x->offset) / BLOCK_BYTES] == htobe32(checksum_block(vectors[i])))
            new |= UINT32_C(1) << i;
    }
    if (rc || !new || new == there)
        return rc;
    if ((unsigned)__builtin_popcount(new) >= columns) {
        change = there & ~new;
        parity_solve(&v->parity, BLOCK_BYTES, new, change, vectors);
    } else {
        change = there >> columns << columns;
        parity_encode(&v->parity, BLOCK_BYTES, vectors);
    }
    for (unsigned i = 0; i < members && !rc; i++)
        if (change >> i & 1)
            rc = member_now(v, geometry_vector_member(&v->geometry, stripe, i), BLK_WRITE, v->places.data + at,
                            vectors[i], BLOCK_BYTES);
    return rc;
}

static int mend(struct replay *r, unsigned which)
{
    struct volume *v = r->v;
    const struct journal_record *x = &r->whole[which];
    int rc = 0;
    for (unsigned m = 0; m < v->geometry.members && !rc; m++)
        if (x->members & v->in_sync & member_bit(m))
            rc = member_now(v, m, BLK_READ, head_place(v, x->number), r->data[m], JOURNAL_HEAD_BYTES);
    for (uint32_t at = 0; at < x->length_bytes && !rc; at += BLOCK_BYTES)
        if (!superseded(r, which, x->offset + at))
            rc = mend_row(r, x, x->offset + at);
    return rc;
}

static int flush_all(struct volume *v)
{
    int rc = 0;
    for (unsigned m = 0; m < v->geometry.members && !rc; m++)
        if (v->in_sync & member_bit(m))
            rc = member_now(v, m, BLK_FLUSH, 0, NULL, 0);
    return rc;
}

/* ---- the whole ---- */

static int replay(struct replay *r)
{
    struct volume *v = r->v;
    uint64_t term, last, floor;
    int rc = 0;
    for (unsigned m = 0; m < v->geometry.members && !rc; m++)
        if (v->in_sync & member_bit(m))
            rc = look(r, m);
    newest(r, &term, &last, &floor);
    if (floor + v->journal.slots < last + 1)
        floor = last + 1 - v->journal.slots; /* older ones were overwritten */
    for (uint64_t n = floor; n <= last && !rc && !r->clean; n++)
        rc = judge(r, term, n);
    for (unsigned i = 0; i < r->count && !rc; i++)
        rc = r->whole[i].kind == JOURNAL_SUMS ? mend(r, i) : redo(r, i);
    if (!rc && r->count)
        rc = flush_all(v);
    v->journal.next = v->journal.floor = last + 1;
    v->counts.replayed = r->count;
    return rc;
}

int journal_replay(struct volume *v, bool clean, struct err *err)
{
    struct replay r = {.v = v, .clean = clean};
    if (!v->journal.slots)
        return 0;
    bool bad = !(r.heads = aligned_alloc(BLOCK_BYTES, JOURNAL_HEAD_BYTES)) ||
               !(r.whole = calloc(v->journal.slots, sizeof *r.whole));
    for (unsigned m = 0; m < v->geometry.members && !bad; m++)
        bad = !(r.data[m] = aligned_alloc(BLOCK_BYTES, DATA_BYTES)) ||
              !(r.seen[m] = calloc(v->journal.slots, sizeof *r.seen[m]));
    int rc = bad ? -ENOMEM : replay(&r);
    for (unsigned m = 0; m < v->geometry.members; m++) {
        free(r.data[m]);
        free(r.seen[m]);
    }
    free(r.heads);
    free(r.whole);
    return rc ? err_set(err, -rc, "the journal cannot be read, or not be done again: %s", strerror(-rc)) : 0;
}
