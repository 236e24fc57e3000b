/* See judge.h for the rules.
 *
 * Positions are event indexes + 1, so that 0 is "before everything". For a sector, "no promised change d was issued
 * after w had ended" is w.end >= max(d.issue): one number per sector and rule, its bar. Bars only rise and survivors
 * only come with a PUT, so it is enough to judge a value when it arrives and a sector's values when its bar rises. */
#include "tests/power/judge.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "tests/power/history.h"
#include "tests/power/stamp.h"

#define NEVER UINT32_MAX

struct list {
    uint32_t *items;
    uint32_t count, room;
};

struct change { /* or a flush */
    const struct history_event *issue_event;
    uint32_t issue, end; /* positions; end is NEVER while it may still take effect */
    uint32_t generation;
    bool acked;
};

struct cell {
    uint32_t durable;         /* value */
    uint32_t promised, acked; /* bars */
    struct list pending;      /* PUT events not covered, oldest first */
    struct list zeroing;      /* ZERO and TRIM requests issued */
};

struct judge {
    const struct history *history;
    struct cell *cells;
    struct change *changes; /* by id */
    uint32_t *sync_begin;   /* positions, by id */
    uint32_t id_count, sync_count;
    struct list acked; /* WRITE and ZERO requests in the order of their ACK; the first `flushed` are promised */
    uint32_t flushed, generation, unsynced;
    struct judge_finding finding;
    struct judge_tally tally;
};

static int list_add(struct list *list, uint32_t item)
{
    if (list->count == list->room) {
        uint32_t room = list->room ? 2 * list->room : 8;
        uint32_t *items = realloc(list->items, room * sizeof *items);
        if (!items)
            return -ENOMEM;
        list->items = items;
        list->room = room;
    }
    list->items[list->count++] = item;
    return 0;
}

static void list_drop_first(struct list *list, uint32_t count)
{
    list->count -= count;
    for (uint32_t i = 0; i < list->count; i++)
        list->items[i] = list->items[i + count];
}

/* ---- judging one value ---- */

static void find(struct judge *j, enum judge_rule rule, uint32_t event, uint32_t sector, uint32_t value)
{
    if (j->finding.rule == JUDGE_HOLDS)
        j->finding = (struct judge_finding){rule, event, sector, value};
}

static bool allowed(const struct judge *j, uint32_t sector, uint32_t value, uint32_t bar)
{
    if (value)
        return j->changes[value].end >= bar;
    const struct list *zeroing = &j->cells[sector].zeroing;
    for (uint32_t i = zeroing->count; bar && i-- > 0;)
        if (j->changes[zeroing->items[i]].end >= bar)
            return true;
    return !bar;
}

static void judge_value(struct judge *j, enum judge_rule rule, uint32_t event, uint32_t sector, uint32_t value)
{
    const struct cell *cell = j->cells + sector;
    j->tally.values++;
    if (!allowed(j, sector, value, rule == JUDGE_POWER ? cell->promised : cell->acked))
        find(j, rule, event, sector, value);
}

static uint32_t pending_value(const struct judge *j, uint32_t sector, uint32_t i)
{
    return history_value(j->history, j->cells[sector].pending.items[i], sector);
}

static void raise_promised(struct judge *j, uint32_t event, const struct change *change)
{
    const struct history_event *e = change->issue_event;
    for (uint32_t s = e->first; s < e->first + e->count; s++) {
        struct cell *cell = j->cells + s;
        if (change->issue <= cell->promised)
            continue;
        cell->promised = change->issue;
        judge_value(j, JUDGE_POWER, event, s, cell->durable);
        for (uint32_t i = 0; i < cell->pending.count; i++)
            judge_value(j, JUDGE_POWER, event, s, pending_value(j, s, i));
    }
}

static void raise_acked(struct judge *j, uint32_t event, const struct change *change)
{
    const struct history_event *e = change->issue_event;
    for (uint32_t s = e->first; s < e->first + e->count; s++) {
        struct cell *cell = j->cells + s;
        if (change->issue <= cell->acked)
            continue;
        cell->acked = change->issue;
        uint32_t n = cell->pending.count;
        judge_value(j, JUDGE_KILL, event, s, n ? pending_value(j, s, n - 1) : cell->durable);
    }
}

/* ---- events ---- */

static int issue(struct judge *j, uint32_t event, const struct history_event *e)
{
    j->changes[e->id] =
        (struct change){.issue_event = e, .issue = event + 1, .end = NEVER, .generation = j->generation};
    int rc = 0;
    if (e->op == HISTORY_ZERO || e->op == HISTORY_TRIM)
        for (uint32_t s = e->first; s < e->first + e->count && !rc; s++)
            rc = list_add(&j->cells[s].zeroing, e->id);
    return rc;
}

static int ack(struct judge *j, uint32_t event, uint32_t id)
{
    struct change *change = j->changes + id;
    if (!change->issue_event || change->acked)
        return -EINVAL;
    change->acked = true;
    change->end = event + 1;
    int rc = 0;
    switch (change->issue_event->op) {
    case HISTORY_FLUSH:
        while (j->flushed < j->acked.count && j->changes[j->acked.items[j->flushed]].end < change->issue)
            raise_promised(j, event, j->changes + j->acked.items[j->flushed++]);
        break;
    case HISTORY_WRITE:
    case HISTORY_ZERO:
        rc = list_add(&j->acked, id);
        raise_acked(j, event, change);
        if (change->issue_event->fua)
            raise_promised(j, event, change);
        break;
    case HISTORY_TRIM:
        break;
    }
    return rc;
}

static enum judge_rule judge_origin(const struct judge *j, uint32_t sector, uint32_t value)
{
    if (!value)
        return JUDGE_HOLDS;
    if (value >= j->id_count || !j->changes[value].issue_event)
        return JUDGE_FOREIGN;
    const struct history_event *e = j->changes[value].issue_event;
    if (e->op != HISTORY_WRITE || sector - e->first >= e->count)
        return JUDGE_FOREIGN;
    return j->changes[value].generation == j->generation ? JUDGE_HOLDS : JUDGE_LATE;
}

static int put(struct judge *j, uint32_t event, const struct history_event *e)
{
    int rc = 0;
    for (uint32_t s = e->first; s < e->first + e->count && !rc; s++) {
        uint32_t value = history_value(j->history, event, s);
        enum judge_rule origin = judge_origin(j, s, value);
        if (origin != JUDGE_HOLDS)
            find(j, origin, event, s, value);
        if (origin == JUDGE_FOREIGN)
            return 0; /* nothing is known of it that could be judged */
        judge_value(j, JUDGE_KILL, event, s, value);
        judge_value(j, JUDGE_POWER, event, s, value);
        rc = list_add(&j->cells[s].pending, event);
    }
    j->unsynced += e->count;
    if (j->unsynced > j->tally.unsynced_max)
        j->tally.unsynced_max = j->unsynced;
    return rc;
}

static int sync_end(struct judge *j, uint32_t id)
{
    uint32_t begin = j->sync_begin[id];
    if (!begin)
        return -EINVAL;
    for (uint32_t s = 0; s < j->history->sector_count; s++) {
        struct cell *cell = j->cells + s;
        uint32_t n = 0;
        while (n < cell->pending.count && cell->pending.items[n] + 1 < begin)
            n++;
        if (!n)
            continue;
        cell->durable = pending_value(j, s, n - 1);
        list_drop_first(&cell->pending, n);
        j->unsynced -= n;
    }
    return 0;
}

static void start(struct judge *j, uint32_t event)
{
    for (uint32_t id = 0; id < j->id_count; id++)
        if (j->changes[id].issue_event && j->changes[id].end == NEVER)
            j->changes[id].end = event + 1;
    j->generation++;
}

static int step(struct judge *j, uint32_t event)
{
    const struct history_event *e = j->history->events + event;
    switch (e->kind) {
    case HISTORY_ISSUE:
        return issue(j, event, e);
    case HISTORY_ACK:
        return ack(j, event, e->id);
    case HISTORY_PUT:
        return put(j, event, e);
    case HISTORY_SYNC_BEGIN:
        j->sync_begin[e->id] = event + 1;
        return 0;
    case HISTORY_SYNC_END:
        return sync_end(j, e->id);
    case HISTORY_START:
        start(j, event);
        return 0;
    }
    return -EINVAL;
}

/* ---- the whole ---- */

static int judge_init(struct judge *j, const struct history *h)
{
    *j = (struct judge){.history = h};
    for (uint32_t i = 0; i < h->event_count; i++) {
        const struct history_event *e = h->events + i;
        bool sync = e->kind == HISTORY_SYNC_BEGIN || e->kind == HISTORY_SYNC_END;
        uint32_t *count = sync ? &j->sync_count : &j->id_count;
        if (e->first > h->sector_count || e->count > h->sector_count - e->first || e->id == UINT32_MAX)
            return -EINVAL;
        if (e->id >= *count)
            *count = e->id + 1;
    }
    j->cells = calloc(h->sector_count, sizeof *j->cells);
    j->changes = calloc(j->id_count + 1, sizeof *j->changes);
    j->sync_begin = calloc(j->sync_count + 1, sizeof *j->sync_begin);
    return j->cells && j->changes && j->sync_begin ? 0 : -ENOMEM;
}

static void judge_fini(struct judge *j)
{
    for (uint32_t s = 0; j->cells && s < j->history->sector_count; s++) {
        free(j->cells[s].pending.items);
        free(j->cells[s].zeroing.items);
    }
    free(j->cells);
    free(j->changes);
    free(j->sync_begin);
    free(j->acked.items);
}

int judge_history(const struct history *history, struct judge_finding *finding, struct judge_tally *tally)
{
    struct judge j;
    int rc = judge_init(&j, history);
    for (uint32_t event = 0; event < history->event_count && !rc && j.finding.rule == JUDGE_HOLDS; event++) {
        rc = step(&j, event);
        j.tally.instants++;
    }
    if (!rc) {
        *finding = j.finding;
        *tally = j.tally;
    }
    judge_fini(&j);
    return rc;
}

const char *judge_rule_name(enum judge_rule rule)
{
    static const char *const names[] = {"holds", "foreign", "late", "kill", "power"};
    return names[rule];
}
