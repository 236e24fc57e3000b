#include "replication/volume_json.h"

#include <jansson.h>

#include "nbd/blk.h"
#include "replication/volume.h"

static uint64_t repaired_blocks(const struct volume_status *s)
{
    uint64_t repaired = 0;
    for (unsigned i = 0; i < s->geometry.members; i++)
        repaired += s->members[i].counts.repaired;
    return repaired;
}

void volume_scrubs_begin(struct volume_scrubs *scrubs, const struct volume_status *status)
{
    scrubs->running = true;
    scrubs->repaired_before = repaired_blocks(status);
    scrubs->unreadable_before = status->counts.unreadable;
}

void volume_scrubs_end(struct volume_scrubs *scrubs, const struct volume_status *status, int result)
{
    scrubs->running = false;
    scrubs->result = result;
    scrubs->runs++;
    scrubs->repaired = repaired_blocks(status) - scrubs->repaired_before;
    scrubs->unreadable = status->counts.unreadable - scrubs->unreadable_before;
}

/* What was asked of it since it is attached. */
static void add_work(json_t *member, const struct blk *stack)
{
    static const enum blk_op operations[] = {BLK_READ, BLK_WRITE};
    uint64_t ops = 0, bytes = 0;
    for (unsigned i = 0; stack && i < sizeof operations / sizeof *operations; i++) {
        const struct blk_op_stats *s = blk_stats(stack, operations[i]);
        ops += s->ops;
        bytes += s->bytes;
    }
    json_object_set_new(member, "ops", json_integer((json_int_t)ops));
    json_object_set_new(member, "bytes", json_integer((json_int_t)bytes));
}

static json_t *member_json(const struct member_status *m, const struct blk *stack)
{
    json_t *member = json_pack("{s:s, s:I, s:I, s:I, s:I, s:I}", "state", member_state_name(m->state), "missed_bytes",
                               (json_int_t)m->missed_bytes, "resynced_bytes", (json_int_t)m->counts.resynced_bytes,
                               "errors", (json_int_t)m->counts.errors, "repaired", (json_int_t)m->counts.repaired,
                               "lost", (json_int_t)m->counts.lost);
    if (member)
        add_work(member, stack);
    return member;
}

json_t *volume_json(const struct blk *volume, const struct blk *top, const struct volume_scrubs *scrubs,
                    uint64_t resync_bps)
{
    struct volume_status s;
    volume_status(volume, &s);
    json_t *members = json_array();
    for (unsigned i = 0; i < s.geometry.members; i++)
        json_array_append_new(members, member_json(&s.members[i], volume_member(volume, i)));
    json_t *scrub =
        json_pack("{s:b, s:I, s:I, s:I, s:i}", "running", scrubs->running, "runs", (json_int_t)scrubs->runs, "repaired",
                  (json_int_t)scrubs->repaired, "unreadable", (json_int_t)scrubs->unreadable, "result", scrubs->result);
    return json_pack("{s:I, s:I, s:b, s:i, s:b, s:b, s:I, s:I, s:I, s:I, s:o, s:o}", "epoch", (json_int_t)s.epoch,
                     "disk_bytes", (json_int_t)blk_size(top), "suspended", s.suspended, "dead", s.dead, "witness",
                     s.has_witness, "witness_lost", s.witness_lost, "left_bytes", (json_int_t)s.left_bytes, "left_ns",
                     (json_int_t)s.left_ns, "unreadable", (json_int_t)s.counts.unreadable, "resync_rate",
                     (json_int_t)resync_bps, "scrub", scrub, "members", members);
}
