/* What volume.h offers to the owner's program. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/err.h"
#include "replication/volume_core.h"

const char *member_state_name(enum member_state state)
{
    static const char *const names[] = {"absent", "lost", "foreign", "syncing", "in-sync", "down"};
    return (unsigned)state < sizeof names / sizeof *names ? names[state] : "unknown";
}

struct blk *volume_in(struct blk *stack)
{
    for (; stack; stack = blk_below(stack))
        if (strcmp(blk_driver_name(stack), volume_driver.name) == 0)
            return stack;
    return NULL;
}

static enum member_state state_of(const struct volume *v, const struct member *m)
{
    if (m->down)
        return MEMBER_DOWN;
    if (v->in_sync & member_bit(m->index))
        return MEMBER_IN_SYNC;
    if (v->receiving & member_bit(m->index))
        return MEMBER_SYNCING;
    if (!m->blk)
        return MEMBER_ABSENT;
    return m->shunned || m->role == ROLE_FOREIGN ? MEMBER_FOREIGN : MEMBER_LOST;
}

void volume_status(const struct blk *volume, struct volume_status *status)
{
    const struct volume *v = blk_state(volume);
    uint32_t granule = geometry_granule_bytes(&v->geometry);
    struct volume_status s = {
        .geometry = v->geometry,
        .stamp = v->sb.stamp,
        .epoch = v->sb.epoch,
        .suspended = v->suspended_ns,
        .has_witness = v->witness && v->witness_knows && !v->witness_lost,
        .witness_lost = v->witness && v->witness_lost,
        .dead = v->dead,
        .hot_regions = v->hot_count,
        .counts = v->counts,
    };
    for (unsigned i = 0; i < v->geometry.members; i++) {
        const struct member *m = &v->members[i];
        struct member_status *to = &s.members[i];
        to->state = state_of(v, m);
        to->counts = m->counts;
        to->read_ns = m->read_ns;
        to->missed_bytes = v->in_sync & member_bit(i) ? 0 : v->missed[i].set * granule;
        if (v->receiving & member_bit(i))
            s.left_bytes += to->missed_bytes;
    }
    uint64_t took_ns = loop_now_ns(v->loop) - v->resync.begin_ns;
    if (s.left_bytes && v->resync.done_bytes)
        s.left_ns = (uint64_t)((double)took_ns / (double)v->resync.done_bytes * (double)s.left_bytes);
    *status = s;
}

struct blk *volume_member(const struct blk *volume, unsigned index)
{
    const struct volume *v = blk_state(volume);
    return v->members[index].blk;
}

void volume_listen(struct blk *volume, const struct volume_events *events)
{
    struct volume *v = blk_state(volume);
    v->events = *events;
}

void volume_set_resync_rate(struct blk *volume, uint64_t bytes_per_second)
{
    struct volume *v = blk_state(volume);
    v->resync.bps = bytes_per_second;
}

int volume_attach(struct blk *volume, unsigned member, const char *stack, struct err *err)
{
    struct volume *v = blk_state(volume);
    struct blk *fresh;
    if (member >= v->geometry.members)
        return err_set(err, EINVAL, "there is no member %u", member);
    struct member *m = &v->members[member];
    if (volume_targets(v) & member_bit(member))
        return err_set(err, EBUSY, "member %u is in use", member);
    if (m->probing || (m->blk && blk_in_flight(m->blk)))
        return err_set(err, EBUSY, "member %u has requests under way: try again when they are over", member);
    char *wanted = volume_impatient(stack, v->eject_ns, err);
    int rc = wanted ? blk_open(blk_environment(volume), wanted, 0, &fresh, err) : -EINVAL;
    free(wanted);
    if (rc)
        return err_prefix(err, "member %u", member);
    bool too_small = blk_size(fresh) < v->places.end && !(v->geometry.room_bytes && blk_can(fresh) & BLK_CAN_RESIZE);
    if (too_small || blk_read_only(fresh) || blk_limits(fresh)->align_bytes > BLOCK_BYTES ||
        !(blk_can(fresh) & BLK_CAN_ZERO)) {
        blk_close(fresh);
        return err_set(err, EINVAL, "member %u: too small, read-only, or it cannot do what a member must", member);
    }
    blk_close(m->blk);
    m->blk = fresh;
    m->shunned = false;
    m->retry_ns = m->backoff_ns = m->read_ns = 0;
    return_probe(v);
    return 0;
}
