#include "tests/power/mutation.h"

#include <string.h>

#include "tests/power/dice.h"
#include "tests/power/history.h"
#include "tests/power/stamp.h"

enum { NOWHERE = UINT32_MAX };

/* ---- places and moves ---- */

static uint32_t issue_of(const struct history *h, uint32_t id)
{
    for (uint32_t i = 0; i < h->event_count; i++)
        if (h->events[i].kind == HISTORY_ISSUE && h->events[i].id == id)
            return i;
    return NOWHERE;
}

/* The first that fits from a random place on, around the end. */
static uint32_t pick(const struct history *h, struct dice *dice,
                     bool (*fits)(const struct history *h, const struct history_event *e))
{
    uint32_t start = dice_roll(dice, h->event_count);
    for (uint32_t i = 0; i < h->event_count; i++) {
        uint32_t at = (start + i) % h->event_count;
        if (fits(h, h->events + at))
            return at;
    }
    return NOWHERE;
}

static void drop(struct history *h, uint32_t at)
{
    memmove(h->events + at, h->events + at + 1, (h->event_count - at - 1) * sizeof *h->events);
    h->event_count--;
}

/* To an earlier place. */
static void advance(struct history *h, uint32_t from, uint32_t to)
{
    struct history_event e = h->events[from];
    memmove(h->events + to + 1, h->events + to, (from - to) * sizeof *h->events);
    h->events[to] = e;
}

static bool is_sync_begin(const struct history *h, const struct history_event *e)
{
    (void)h;
    return e->kind == HISTORY_SYNC_BEGIN;
}

static bool is_flush_ack(const struct history *h, const struct history_event *e)
{
    return e->kind == HISTORY_ACK && h->events[issue_of(h, e->id)].op == HISTORY_FLUSH;
}

static bool is_fua_ack(const struct history *h, const struct history_event *e)
{
    if (e->kind != HISTORY_ACK)
        return false;
    const struct history_event *issue = h->events + issue_of(h, e->id);
    return issue->fua && issue->op == HISTORY_WRITE;
}

static bool is_written(const struct history *h, const struct history_event *e)
{
    return e->kind == HISTORY_PUT && e->count && h->values[e->values];
}

/* ---- the faults ---- */

static bool never_sync(struct history *h, struct dice *dice)
{
    (void)dice;
    uint32_t n = 0;
    for (uint32_t i = 0; i < h->event_count; i++)
        if (h->events[i].kind != HISTORY_SYNC_BEGIN && h->events[i].kind != HISTORY_SYNC_END)
            h->events[n++] = h->events[i];
    bool changed = n < h->event_count;
    h->event_count = n;
    return changed;
}

static bool skip_a_sync(struct history *h, struct dice *dice)
{
    uint32_t at = pick(h, dice, is_sync_begin);
    if (at == NOWHERE)
        return false;
    uint32_t id = h->events[at].id;
    drop(h, at);
    for (uint32_t i = at; i < h->event_count; i++)
        if (h->events[i].kind == HISTORY_SYNC_END && h->events[i].id == id) {
            drop(h, i);
            break;
        }
    return true;
}

/* `ack` comes before the end of the first sync that began after `since`: the one it had to wait for. */
static bool answer_before_sync_end(struct history *h, uint32_t ack, uint32_t since)
{
    uint32_t begin = since, end;
    while (begin < ack && h->events[begin].kind != HISTORY_SYNC_BEGIN)
        begin++;
    for (end = begin; end < ack; end++)
        if (h->events[end].kind == HISTORY_SYNC_END && h->events[end].id == h->events[begin].id) {
            advance(h, ack, end);
            return true;
        }
    return false;
}

static bool answer_fua_early(struct history *h, struct dice *dice)
{
    uint32_t ack = pick(h, dice, is_fua_ack);
    for (uint32_t i = 0; ack != NOWHERE && i < ack; i++)
        if (is_written(h, h->events + i) && h->values[h->events[i].values] == h->events[ack].id)
            return answer_before_sync_end(h, ack, i);
    return false;
}

static bool answer_flush_early(struct history *h, struct dice *dice)
{
    uint32_t ack = pick(h, dice, is_flush_ack);
    return ack != NOWHERE && answer_before_sync_end(h, ack, issue_of(h, h->events[ack].id));
}

/* As if who waits for this sync had joined the one before, which was running. */
static bool begin_sync_early(struct history *h, struct dice *dice)
{
    uint32_t at = pick(h, dice, is_sync_begin);
    for (uint32_t i = at == NOWHERE ? 0 : at; i-- > 0;)
        if (h->events[i].kind == HISTORY_SYNC_BEGIN) {
            advance(h, at, i + 1);
            return true;
        }
    return false;
}

static bool lose_a_write(struct history *h, struct dice *dice)
{
    uint32_t at = pick(h, dice, is_written);
    if (at == NOWHERE)
        return false;
    drop(h, at);
    return true;
}

static bool repeat_a_write(struct history *h, struct dice *dice)
{
    uint32_t at = pick(h, dice, is_written);
    if (at == NOWHERE || h->event_count == h->event_room)
        return false;
    h->events[h->event_count] = h->events[at];
    uint32_t to = at + 1 + dice_roll(dice, h->event_count - at);
    advance(h, h->event_count++, to);
    return true;
}

/* Right after the START, before the new server did anything. */
static bool write_by_a_dead_server(struct history *h, struct dice *dice)
{
    uint32_t at = pick(h, dice, is_written), start = at;
    while (start < h->event_count && h->events[start].kind != HISTORY_START)
        start++;
    if (start >= h->event_count || h->event_count == h->event_room)
        return false;
    h->events[h->event_count] = h->events[at];
    advance(h, h->event_count++, start + 1);
    return true;
}

static bool write_beside(struct history *h, struct dice *dice)
{
    uint32_t at = pick(h, dice, is_written);
    if (at == NOWHERE)
        return false;
    struct history_event *e = h->events + at;
    e->first = e->first ? e->first - 1 : 1;
    if (e->first + e->count > h->sector_count)
        e->count--;
    return true;
}

static bool tear_a_sector(struct history *h, struct dice *dice)
{
    uint32_t at = pick(h, dice, is_written);
    if (at == NOWHERE)
        return false;
    h->values[h->events[at].values] = STAMP_FOREIGN;
    return true;
}

const struct mutation mutations[MUTATION_COUNT] = {
    {"nothing is ever synced", JUDGE_POWER, never_sync},
    {"one sync is left out", JUDGE_POWER, skip_a_sync},
    {"FUA is answered before its sync ends", JUDGE_POWER, answer_fua_early},
    {"a flush is answered before its sync ends", JUDGE_POWER, answer_flush_early},
    {"a request joins a sync that began before it", JUDGE_POWER, begin_sync_early},
    {"an acknowledged write is not done", JUDGE_KILL, lose_a_write},
    {"an old write is done once more", JUDGE_KILL, repeat_a_write},
    {"a dead server's write arrives", JUDGE_LATE, write_by_a_dead_server},
    {"a write lands one sector beside", JUDGE_FOREIGN, write_beside},
    {"a sector is torn inside", JUDGE_FOREIGN, tear_a_sector},
};
