/* What the elected balancer does next: looks at the cluster's objects, and says what is to be written. Pure but for
 * what it remembers of its own looking: no clock, no I/O.
 *
 * It makes plans and carries one at a time through its waves; the moves themselves are begun by the nodes that have the
 * guests (docs/balancer.md, "In the cluster"). Everything that must outlive it is in the objects: the next elected one
 * goes on from there, or finds that the plan does not fit any more and makes it void.
 *
 *     no plan --every PLAN_EVERY_S--> proposal (advise, quiet hours, nobody has seen what its first guests write yet)
 *                                     or active plan (automatic)
 *     proposal --value has "apply"--> active, if it still fits
 *     active: all of a wave done --> next wave, if the rest still fits --> done
 *             (a wave waits for other migrations at its nodes)
 *             it has waited too long, a move failed, does not fit, was not begun in time; the mode was changed -->
 * void, then anew
 *
 * Threads: one at a time. */
#ifndef BALANCER_CONDUCTOR_H
#define BALANCER_CONDUCTOR_H

#include <jansson.h>
#include <stdbool.h>

#include "balancer/hours.h"
#include "balancer/policy.h"
#include "balancer/snapshot.h"
#include "node/base/uuid.h"

struct cluster_json;
struct conductor_job;
struct err;

enum {
    CONDUCTOR_PLAN_EVERY_S = 10,
    CONDUCTOR_BEGIN_S = 60,      /* until a node must have begun a move of the wave */
    CONDUCTOR_TRAFFIC_S = 120,   /* so long a wave waits for other migrations */
    CONDUCTOR_KEEP_S = 60,       /* so long a proposal stays although another one would be a little better now */
    CONDUCTOR_CHECK_EVERY_S = 1, /* so often it is asked whether a wave that was begun still fits */
    CONDUCTOR_SEEN_S = 45,       /* so long a plan waits until its first wave's guests were looked at */
    CONDUCTOR_LOSE_S = 60,       /* so often it is counted how many nodes may be lost */
    CONDUCTOR_SHADOW_S = 600,    /* so often what the shadow policy would do is kept, if it has changed */
    CONDUCTOR_HISTORY = 50,      /* plans that have ended are kept */
    CONDUCTOR_PUTS_MAX = 4,
};

enum conductor_mode { CONDUCTOR_OFF, CONDUCTOR_ADVISE, CONDUCTOR_AUTOMATIC };

/* One change of the store. */
struct conductor_put {
    char key[96];     /* "/drover/plan/ID" */
    json_t *value;    /* NULL: it is deleted */
    int64_t expected; /* the revision it must have, 0: it must not be there, -1: whatever it has */
    bool stays;       /* a state that does not go with who wrote it */
};

/* All of them or none. */
struct conductor_step {
    struct conductor_put puts[CONDUCTOR_PUTS_MAX];
    int count;
};

struct conductor {
    const char *node;         /* this one's name; lent */
    bool (*stop)(void *data); /* ends a search that takes too long; NULL: the search's own limits alone */
    void *stop_data;
    /* Has conductor_job_run() called, somewhere and later, and then conductor_job_done(); NULL: a look runs it itself,
     * and takes as long. */
    void (*hand_over)(void *stop_data, struct conductor_job *job);
    /* its own */
    struct conductor_job *job; /* that was handed over */
    bool job_is_done, job_is_void;
    struct policy policy;
    enum conductor_mode mode;
    json_t *shadow;          /* what another policy would have done when the last plan was made; NULL: nobody asks */
    bool active;             /* balancing has begun, and goes on until the lower threshold */
    bool has_planned, waits; /* waits: plans since waits_s, for what their guests write */
    double planned_s, wave_s, proposed_s, counted_s, checked_s, waits_s, shadow_s, traffic_s;
    char traffic_of[UUID_TEXT_BYTES]; /* the plan that waits since traffic_s for other migrations, "": none */
    int traffic_wave;                 /* its wave that is to begin */
    struct hours hours;
    int nodes_to_lose;             /* counted at counted_s */
    char wave_of[UUID_TEXT_BYTES]; /* the plan whose wave began at wave_s */
    int wave;
    json_t *status; /* as it was written last */
    char trouble[256];
};

/* Looks once. objects: snapshot.h, with "revision" in each entry. The step's values are the caller's to free by
 * conductor_step_fini(). A step that was refused by the store is looked at again. */
void conductor_look(struct conductor *conductor, json_t *objects, const struct snapshot_time *now, const char *wall,
                    struct conductor_step *step);
void conductor_step_fini(struct conductor_step *step);
/* What was handed over was run; the next look takes it. */
void conductor_job_done(struct conductor *conductor);
/* It has just been elected: what it knew is of before. */
void conductor_begin_term(struct conductor *conductor);
/* The step's status was not written: it is written again. */
void conductor_forget(struct conductor *conductor);
/* Nothing that was handed over may still be run. */
void conductor_fini(struct conductor *conductor);

/* Reads mode and policy from the object; *trouble: what is wrong with it, "" if nothing. For others, too. */
enum conductor_mode conductor_policy(json_t *objects, struct policy *policy, char *trouble, size_t len);
/* The policy whose plans are only looked at. 1: there is one, 0: none, -EINVAL with a sentence. */
int conductor_shadow(json_t *objects, struct policy *policy, struct err *err);
/* A model of the objects, the caller's to free; -errno with a sentence. */
int conductor_model(json_t *objects, const struct policy *policy, const struct snapshot_time *now,
                    struct cluster_json *cluster, struct err *err);

#endif
