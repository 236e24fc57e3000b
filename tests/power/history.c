#include "tests/power/history.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TELL_LINES = 40 };

int history_init(struct history *history, uint32_t sector_count, uint32_t event_room, uint32_t value_room)
{
    *history = (struct history){
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .sector_count = sector_count,
        .events = calloc(event_room, sizeof *history->events),
        .event_room = event_room,
        .values = calloc(value_room, sizeof *history->values),
        .value_room = value_room,
    };
    if (history->events && history->values)
        return 0;
    history_fini(history);
    return -ENOMEM;
}

void history_fini(struct history *history)
{
    free(history->events);
    free(history->values);
    history->events = NULL;
    history->values = NULL;
}

int history_copy(struct history *to, const struct history *from)
{
    int rc = history_init(to, from->sector_count, from->event_room, from->value_room);
    if (rc)
        return rc;
    to->event_count = from->event_count;
    to->value_count = from->value_count;
    to->full = from->full;
    memcpy(to->events, from->events, from->event_count * sizeof *from->events);
    memcpy(to->values, from->values, from->value_count * sizeof *from->values);
    return 0;
}

static void add(struct history *history, struct history_event event, const uint32_t *values)
{
    uint32_t n = values ? event.count : 0;
    pthread_mutex_lock(&history->lock);
    if (history->event_count == history->event_room || history->value_room - history->value_count < n) {
        history->full = true;
    } else {
        event.values = history->value_count;
        for (uint32_t i = 0; i < n; i++)
            history->values[history->value_count++] = values[i];
        history->events[history->event_count++] = event;
    }
    pthread_mutex_unlock(&history->lock);
}

void history_add_issue(struct history *history, uint32_t id, enum history_op op, bool fua, uint32_t first,
                       uint32_t count)
{
    add(history,
        (struct history_event){.kind = HISTORY_ISSUE, .op = op, .fua = fua, .id = id, .first = first, .count = count},
        NULL);
}

void history_add_ack(struct history *history, uint32_t id)
{
    add(history, (struct history_event){.kind = HISTORY_ACK, .id = id}, NULL);
}

void history_add_put(struct history *history, uint32_t first, uint32_t count, const uint32_t *values)
{
    add(history, (struct history_event){.kind = HISTORY_PUT, .first = first, .count = count}, values);
}

void history_add_sync(struct history *history, enum history_kind kind, uint32_t id)
{
    add(history, (struct history_event){.kind = kind, .id = id}, NULL);
}

void history_add_start(struct history *history)
{
    add(history, (struct history_event){.kind = HISTORY_START}, NULL);
}

/* ---- telling ---- */

static bool covers(const struct history_event *e, uint32_t sector)
{
    return sector - e->first < e->count;
}

/* A request's ISSUE; NULL if there is none. Only a finding is told, so a search is fast enough. */
static const struct history_event *issue_of(const struct history *history, uint32_t id)
{
    for (uint32_t i = 0; i < history->event_count; i++)
        if (history->events[i].kind == HISTORY_ISSUE && history->events[i].id == id)
            return history->events + i;
    return NULL;
}

static bool concerns(const struct history *history, const struct history_event *e, uint32_t sector)
{
    const struct history_event *issue = e;
    switch (e->kind) {
    case HISTORY_ACK:
        issue = issue_of(history, e->id);
        return issue && (issue->op == HISTORY_FLUSH || covers(issue, sector));
    case HISTORY_ISSUE:
        return e->op == HISTORY_FLUSH || covers(e, sector);
    case HISTORY_PUT:
        return covers(e, sector);
    default:
        return true;
    }
}

static void tell_event(const struct history *history, uint32_t at, uint32_t sector)
{
    static const char *const kinds[] = {"issue", "ack", "put", "sync begin", "sync end", "start"};
    static const char *const ops[] = {"write", "zero", "trim", "flush"};
    const struct history_event *e = history->events + at;
    fprintf(stderr, "  %6u %s", at, kinds[e->kind]);
    if (e->kind == HISTORY_PUT)
        fprintf(stderr, " sectors %u+%u: this one says %u", e->first, e->count, history_value(history, at, sector));
    else if (e->kind != HISTORY_START)
        fprintf(stderr, " %u", e->id);
    if (e->kind == HISTORY_ISSUE)
        fprintf(stderr, " %s%s sectors %u+%u", ops[e->op], e->fua ? " fua" : "", e->first, e->count);
    fputc('\n', stderr);
}

void history_tell(const struct history *history, uint32_t event, uint32_t sector)
{
    uint32_t lines[TELL_LINES], n = 0;
    for (uint32_t i = event + 1; i-- > 0 && n < TELL_LINES;)
        if (concerns(history, history->events + i, sector))
            lines[n++] = i;
    fprintf(stderr, "sector %u, up to event %u:\n", sector, event);
    while (n-- > 0)
        tell_event(history, lines[n], sector);
}
