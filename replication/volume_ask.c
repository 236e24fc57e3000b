/* Members that have nothing to do. Who answers requests is there; who has answered none for `ask` is asked for a block
 * of its superblock, and so is the witness. So a volume that nobody uses misses a member as soon as one that is in use,
 * but for some seconds, and what follows from that (a record, a spare) does not wait for the next request. */
#include "node/base/container.h"
#include "replication/volume_core.h"

#define RECORD_AGAIN_NS UINT64_C(30000000000)

static void answered(struct fan *fan)
{
    struct member *m = CONTAINER_OF(fan, struct member, probe);
    m->probing = false;
    if (fan->failed && !fan->volume->dead && !fan->volume->closing)
        member_lose(fan->volume, m->index, "to say that it is there", fan->error);
}

static void ask_member(struct volume *v, struct member *m)
{
    bool idle = !m->heard && !m->probing && !m->down && TAILQ_EMPTY(&m->outstanding);
    m->heard = false;
    if (!idle || !m->blk || !(volume_targets(v) & member_bit(m->index)))
        return;
    m->probing = true;
    fan_begin(&m->probe, v, answered);
    fan_add(&m->probe, m->index, BLK_READ, 0, superblock_slot_offset(0), m->slots, SUPERBLOCK_BYTES);
    fan_end(&m->probe);
}

void ask_witness_is(struct volume *v, bool there)
{
    if (v->witness_lost == there) {
        v->witness_lost = !there;
        volume_log(v, there ? "the witness answers again" : "the witness does not answer");
        volume_changed(v);
    }
    if (there && !v->change.told_witness && change_settled(v))
        change_note(v);
}

static void witness_answered(void *context, int result)
{
    struct volume *v = context;
    v->witness_asked = false;
    if (v->dead || v->closing)
        return;
    if (result || v->change.told_witness || !v->tick_ns || loop_now_ns(v->loop) >= v->witness_again_ns)
        ask_witness_is(v, !result);
    if (!result && !v->change.told_witness)
        v->witness_again_ns = loop_now_ns(v->loop) + RECORD_AGAIN_NS; /* one that takes no record is not told all day */
}

static bool due(struct volume *v)
{
    uint64_t now_ns = loop_now_ns(v->loop);
    if (!v->ask_ns || (v->tick_ns && now_ns < v->ask_at_ns))
        return false;
    v->ask_at_ns = now_ns + v->ask_ns;
    return true;
}

void ask_idle(struct volume *v)
{
    if (v->witness && v->eject_ns)
        v->witness->hurry(v->witness, v->eject_ns);
    if (!due(v))
        return;
    for (unsigned i = 0; i < v->geometry.members; i++)
        ask_member(v, &v->members[i]);
    if (!v->witness || v->witness_asked)
        return;
    v->witness_asked = true;
    v->witness->ask(v->witness, witness_answered, v);
}
