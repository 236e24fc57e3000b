/* What migrations.c keeps of guests that leave this node, and leaving_late.c of those whose last pages follow them.
 * Thread: the loop's. */
#ifndef NODE_AGENT_LEAVING_H
#define NODE_AGENT_LEAVING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "node/agent/dial.h"
#include "node/agent/guest_link.h"
#include "node/agent/migration.h"
#include "node/agent/migration_forecast.h"
#include "node/base/err.h"
#include "node/base/loop.h"

struct arrivals;
struct cluster;
struct guest_unit;
struct migrations_place;
struct owner_claim;

enum { LEAVING_STREAMS = 2 };

/* A guest that leaves this node. */
struct leaving {
    struct migrations *all;
    char *id;
    bool seen, gone; /* gone: freed as soon as nothing is under way */
    enum migration_process process;
    bool fresh;                         /* the process has said where it is since something called for it */
    bool asked, dialling, asking;       /* to move */
    bool querying, committing, closing; /* under way */
    bool restored;                      /* a guest that stays has been told how to open its volumes */
    bool told;                          /* how it ended; what is left to do is to see it in the mirror */
    bool store_away, unknown;           /* unknown: a switch-over was asked for that may be made yet */
    uint64_t since_ms, ready_ms, switched_ms, commit_after_ms; /* ready: its volumes are there */
    struct json_t *progress;                                   /* what the process said last */
    struct json_t *forecast; /* for the state: what was predicted before it began; NULL: nothing */
    bool foretold;           /* the process was asked */
    double volume_s;         /* predicted of what it takes along */
    char forecast_from[MIGRATION_FORECAST_FROM_MAX];
    bool late, broken; /* its last pages follow it; and their connections are broken */
    uint64_t resume_after_ms;
    struct err why;
    struct guest_call ask_call, query_call, back_call, forecast_call;
    struct owner_claim *claim; /* on its way, before the guest is taken back */
    struct dial dial;
    struct loop_timer timer;
    LIST_ENTRY(leaving) link;
};

struct migrations {
    struct cluster *cluster;
    const struct migrations_place *place;
    struct mirror_listener listener;
    struct loop_job job;
    struct arrivals *arrivals;
    LIST_HEAD(, leaving) all;
};

/* Something of it has changed. */
void leaving_go_on(struct leaving *l);
/* Its process, which runs or serves pages; NULL: there is none. */
struct guest_unit *leaving_unit(const struct leaving *l, const struct object *migration);

/* ---- leaving_late.c ---- */

/* From what the process says: whether pages follow, and whether they can. */
void leaving_late_note(struct leaving *l);
/* The guest is the destination's: its process is told. */
void leaving_late_go(struct leaving *l, struct guest_unit *unit);
/* New connections for those that broke. */
void leaving_late_resume(struct leaving *l, const struct object *migration);
/* How that goes, or went, in the migration's state. migration: its value. */
void leaving_late_tell(const struct leaving *l, const struct json_t *migration, struct json_t *state);

#endif
