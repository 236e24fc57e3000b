/* One totally ordered log of what the clients asked and were told, and of what reached the disk.
 *
 * An event's place is its proof: an ISSUE is added before the request is sent, an ACK after its reply was received, a
 * PUT and a SYNC_END before the server is told that they are done, a SYNC_BEGIN once the server has asked for it. So
 * "ACK before SYNC_END" in the log means that the server spoke too early; a late entry can only hide a fault, never
 * invent one.
 *
 * Thread: the history_add_*() from any; everything else when nobody adds. */
#ifndef TESTS_POWER_HISTORY_H
#define TESTS_POWER_HISTORY_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum history_kind {
    HISTORY_ISSUE,      /* a client is about to send request `id` */
    HISTORY_ACK,        /* a client was told that request `id` succeeded */
    HISTORY_PUT,        /* the disk's sectors changed; may be lost in a power cut until synced */
    HISTORY_SYNC_BEGIN, /* sync `id` covers every PUT before this */
    HISTORY_SYNC_END,   /* from here on */
    HISTORY_START,      /* a server started; what the one before was asked and did not answer is over */
};

enum history_op { HISTORY_WRITE, HISTORY_ZERO, HISTORY_TRIM, HISTORY_FLUSH };

struct history_event {
    enum history_kind kind;
    enum history_op op;    /* ISSUE */
    bool fua;              /* ISSUE */
    uint32_t id;           /* ISSUE, ACK: the request, from 1; SYNC_*: the sync */
    uint32_t first, count; /* ISSUE, PUT: sectors */
    uint32_t values;       /* PUT: index of the first of `count` values (stamp.h) */
};

struct history {
    pthread_mutex_t lock;
    uint32_t sector_count;
    struct history_event *events;
    uint32_t event_count, event_room;
    uint32_t *values;
    uint32_t value_count, value_room;
    bool full; /* something was left out: the history proves nothing */
};

/* Errors: -ENOMEM. */
int history_init(struct history *history, uint32_t sector_count, uint32_t event_room, uint32_t value_room);
void history_fini(struct history *history);
/* The copy has as much room as `from`. Errors: -ENOMEM. */
int history_copy(struct history *to, const struct history *from);

void history_add_issue(struct history *history, uint32_t id, enum history_op op, bool fua, uint32_t first,
                       uint32_t count);
void history_add_ack(struct history *history, uint32_t id);
void history_add_put(struct history *history, uint32_t first, uint32_t count, const uint32_t *values);
void history_add_sync(struct history *history, enum history_kind kind, uint32_t id);
void history_add_start(struct history *history);

/* The value that PUT `event` gave to `sector`, one of its own. */
static inline uint32_t history_value(const struct history *history, uint32_t event, uint32_t sector)
{
    const struct history_event *e = history->events + event;
    return history->values[e->values + sector - e->first];
}

/* Writes to stderr what happened to `sector` up to `event`, and every flush and sync in between: the last 40 lines. */
void history_tell(const struct history *history, uint32_t event, uint32_t sector);

#endif
