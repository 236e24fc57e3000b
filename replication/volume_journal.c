/* Writes to parity layouts are recorded before they are done, on each member its own part:
 *
 *     waiting --slots free--> record on all that count --> in place (volume_stripe.c) --> DONE --any flush--> DURABLE
 *                                                                                                (the slot is free)
 *
 * A record is whole when every member that it names, and that is in sync, has it: then it is done again after a crash,
 * and all of it. Else nothing was written in place yet. So stripes are whole after a crash even if a member is lost
 * with it.
 *
 * Whole stripes that were zeroes need no copy in the journal: of a block of which neither the old nor the new state can
 * be had, zeroes are the old one. A record of SUMS tells which blocks are new. It stands alone: no other record that is
 * not durable may meet one. */
#include "replication/volume_journal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/container.h"
#include "node/base/err.h"
#include "replication/volume_core.h"

int journal_init(struct volume *v, struct err *err)
{
    struct journal *j = &v->journal;
    TAILQ_INIT(&j->waiting);
    if (!geometry_parity(&v->geometry))
        return 0;
    j->slots = journal_slots(v->sb.journal_bytes);
    if (j->slots < JOURNAL_SLOTS_MIN)
        return err_set(err, EINVAL, "the members have no journal, which %s needs: they must be made anew",
                       layout_name(v->geometry.layout));
    j->slot = calloc(j->slots, sizeof *j->slot);
    j->barrier = aligned_alloc(BLOCK_BYTES, (size_t)JOURNAL_HEAD_BYTES * v->geometry.members);
    return j->slot && j->barrier ? 0 : err_set(err, ENOMEM, "no memory for the journal");
}

void journal_fini(struct volume *v)
{
    free(v->journal.slot);
    free(v->journal.barrier);
}

/* ---- slots ---- */

static struct journal_slot *slot_of(struct volume *v, uint64_t number)
{
    return &v->journal.slot[number % v->journal.slots];
}

static bool room_for(const struct volume *v, unsigned records)
{
    return v->journal.next + records - v->journal.floor < v->journal.slots / 2;
}

static void raise_floor(struct volume *v)
{
    while (v->journal.floor < v->journal.next && slot_of(v, v->journal.floor)->state == SLOT_DURABLE)
        v->journal.floor++;
}

static bool stands_in_the_way(const struct piece *p)
{
    struct volume *v = p->volume;
    for (uint64_t n = v->journal.floor; n < v->journal.next; n++) {
        const struct journal_slot *s = slot_of(v, n);
        if (s->state != SLOT_DURABLE && (s->kind == JOURNAL_SUMS || p->record == JOURNAL_SUMS) &&
            s->offset < p->lock_to && p->lock_from < s->offset + s->length_bytes)
            return true;
    }
    return false;
}

bool journal_may_help(const struct piece *p)
{
    struct volume *v = p->volume;
    for (uint64_t n = v->journal.floor; n < v->journal.next; n++) {
        const struct journal_slot *s = slot_of(v, n);
        if (s->state != SLOT_DURABLE && s->offset < p->lock_to && p->lock_from < s->offset + s->length_bytes)
            return true;
    }
    return false;
}

/* How much of the piece a record speaks of. */
static uint32_t record_bytes(const struct piece *p)
{
    uint32_t length = (uint32_t)(p->lock_to - p->lock_from);
    return p->record == JOURNAL_DATA && length > JOURNAL_PAYLOAD_BYTES ? JOURNAL_PAYLOAD_BYTES : length;
}

static unsigned records_of(const struct piece *p)
{
    uint32_t each = record_bytes(p), length = (uint32_t)(p->lock_to - p->lock_from);
    return (length + each - 1) / each;
}

static size_t heads_bytes(const struct piece *p)
{
    return (size_t)records_of(p) * p->volume->geometry.members * JOURNAL_HEAD_BYTES;
}

/* ---- writing ---- */

static void write_records(struct piece *p);

static void recorded(struct piece *p)
{
    struct volume *v = p->volume;
    member_set have = p->fan.asked & ~p->fan.failed;
    if (p->recorded & v->in_sync & ~have) { /* one that was down */
        write_records(p);
        return;
    }
    volume_buffer_put(v, p->heads, heads_bytes(p));
    p->heads = NULL;
    p->then(p);
}

static void written(struct fan *fan)
{
    struct piece *p = CONTAINER_OF(fan, struct piece, fan);
    member_lose_all(p->volume, fan->failed, "a record in the journal", fan->error);
    piece_hold(p, recorded);
}

static void add_record(struct piece *p, unsigned i, unsigned member, uint8_t *head)
{
    struct volume *v = p->volume;
    uint32_t each = record_bytes(p), at = i * each, length = (uint32_t)(p->lock_to - p->lock_from);
    uint64_t place = v->places.journal + journal_slot_offset(p->number + i, v->journal.slots);
    struct journal_record r = {
        .kind = p->record,
        .term = v->sb.claimed,
        .number = p->number + i,
        .floor = v->journal.floor,
        .offset = p->lock_from + at,
        .length_bytes = length - at < each ? length - at : each,
        .index = member,
        .members = p->recorded,
    };
    const uint32_t *sums = region_sums(p->region, v, member) + r.offset % v->geometry.region_bytes / BLOCK_BYTES;
    journal_record_write(&r, v->sb.volume, sums, head);
    if (p->record == JOURNAL_DATA)
        fan_add_pair(&p->fan, member, BLK_FUA, place, head, JOURNAL_HEAD_BYTES, p->image + (size_t)member * length + at,
                     r.length_bytes);
    else
        fan_add(&p->fan, member, BLK_WRITE, BLK_FUA, place, head, JOURNAL_HEAD_BYTES);
}

static void write_records(struct piece *p)
{
    struct volume *v = p->volume;
    unsigned records = records_of(p);
    fan_begin(&p->fan, v, written);
    for (unsigned i = 0; i < records; i++)
        for (unsigned m = 0; m < v->geometry.members; m++)
            if (p->recorded & volume_targets(v) & member_bit(m))
                add_record(p, i, m, p->heads + ((size_t)i * v->geometry.members + m) * JOURNAL_HEAD_BYTES);
    fan_end(&p->fan);
}

static void take_slots(struct piece *p)
{
    struct volume *v = p->volume;
    unsigned records = records_of(p);
    p->number = v->journal.next;
    p->recorded = p->wrote & volume_targets(v);
    p->heads = volume_buffer(v, heads_bytes(p));
    v->journal.next += records;
    v->counts.records += records;
    for (unsigned i = 0; i < records; i++)
        *slot_of(v, p->number + i) = (struct journal_slot){.state = SLOT_BUSY,
                                                           .kind = p->record,
                                                           .offset = p->lock_from,
                                                           .length_bytes = (uint32_t)(p->lock_to - p->lock_from)};
    stripe_note(p);
}

void journal_kick(struct volume *v)
{
    struct piece *p;
    while ((p = TAILQ_FIRST(&v->journal.waiting))) {
        int error = v->dead ? v->dead : v->flush_error;
        if (!error && (!room_for(v, records_of(p)) || stands_in_the_way(p))) {
            journal_flush(v);
            return;
        }
        TAILQ_REMOVE(&v->journal.waiting, p, held);
        if (error) {
            piece_finish(p, error);
        } else {
            take_slots(p);
            write_records(p);
        }
    }
}

void journal_enter(struct piece *p, void (*then)(struct piece *p))
{
    p->then = then;
    TAILQ_INSERT_TAIL(&p->volume->journal.waiting, p, held);
    if (TAILQ_FIRST(&p->volume->journal.waiting) == p)
        journal_kick(p->volume);
}

void journal_leave(struct piece *p)
{
    struct volume *v = p->volume;
    for (unsigned i = 0; i < records_of(p); i++) {
        slot_of(v, p->number + i)->state = SLOT_DONE;
        slot_of(v, p->number + i)->done_at = v->journal.flushes;
    }
    if (!TAILQ_EMPTY(&v->journal.waiting))
        journal_flush(v);
}

/* ---- durable ---- */

uint64_t journal_flush_begin(struct volume *v)
{
    return ++v->journal.flushes;
}

void journal_flush_end(struct volume *v, uint64_t number)
{
    if (!change_settled(v)) /* one that is lost, and not yet recorded so, was not flushed */
        return;
    for (uint64_t n = v->journal.floor; n < v->journal.next; n++) {
        struct journal_slot *s = slot_of(v, n);
        if (s->state == SLOT_DONE && s->done_at < number)
            s->state = SLOT_DURABLE;
    }
    raise_floor(v);
    journal_kick(v);
}

static void flushed(struct fan *fan)
{
    struct volume *v = fan->volume;
    v->journal.flushing = false;
    if (!member_judge_flush(v, fan))
        journal_flush_end(v, v->journal.flush_number);
    else
        journal_kick(v);
    resync_kick(v);
}

/* With nothing that could become durable there is nothing to do: what is busy comes by here when it is done. */
static bool worth_it(struct volume *v)
{
    for (uint64_t n = v->journal.floor; n < v->journal.next; n++)
        if (slot_of(v, n)->state == SLOT_DONE)
            return true;
    return false;
}

void journal_flush(struct volume *v)
{
    if (v->journal.flushing || v->dead || v->flush_error || !change_settled(v) || !worth_it(v))
        return;
    v->journal.flushing = true;
    v->journal.flush_number = journal_flush_begin(v);
    fan_begin(&v->journal.fan, v, flushed);
    for (unsigned m = 0; m < v->geometry.members; m++)
        if (volume_targets(v) & member_bit(m))
            fan_add(&v->journal.fan, m, BLK_FLUSH, 0, 0, NULL, 0);
    fan_end(&v->journal.fan);
}

bool journal_add_barrier(struct volume *v, struct fan *fan)
{
    if (!room_for(v, 1))
        return false;
    uint64_t number = v->journal.next++;
    *slot_of(v, number) = (struct journal_slot){.state = SLOT_DURABLE, .kind = JOURNAL_NOTHING};
    raise_floor(v);
    for (unsigned m = 0; m < v->geometry.members; m++) {
        uint8_t *head = v->journal.barrier + (size_t)m * JOURNAL_HEAD_BYTES;
        struct journal_record r = {.kind = JOURNAL_NOTHING,
                                   .term = v->sb.claimed,
                                   .number = number,
                                   .floor = v->journal.floor < number ? v->journal.floor : number,
                                   .index = m,
                                   .members = volume_targets(v)};
        if (!(volume_targets(v) & member_bit(m)))
            continue;
        journal_record_write(&r, v->sb.volume, NULL, head);
        fan_add(fan, m, BLK_WRITE, BLK_FUA, v->places.journal + journal_slot_offset(number, v->journal.slots), head,
                JOURNAL_HEAD_BYTES);
    }
    return true;
}
