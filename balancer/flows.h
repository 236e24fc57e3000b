/* Migrations under way, and the links that they share.
 *
 * A fluid model. What a move gets is the least of what one migration may have (cost_link()) and, at either end, the
 * node's link divided by the moves that send or receive there at that moment; what one cannot use is not given to
 * another. Rates hold until a move begins, ends or stops to send; then they are made anew. What is sent is pre-copy as
 * cost.h has it, at the rates that there are: who is alone on its links takes just what cost_migration() says.
 *
 * While it is under way a guest is where it was, and its place on the other node is taken too (model.held). Meanwhile
 * both ends pay FLOW_CORES of processors, and what is sent counts on both of their networks.
 *
 * Moves are kept in the order in which they began, so the same calls give the same numbers. Each guest at most once.
 * Threads: one at a time. */
#ifndef BALANCER_FLOWS_H
#define BALANCER_FLOWS_H

#include "balancer/cost.h"
#include "balancer/model.h"

static const double FLOW_CORES = 0.2;

enum flow_phase {
    FLOW_BEGINS,   /* nothing has been sent */
    FLOW_COPIES,   /* the guest runs and writes */
    FLOW_STOPPED,  /* it does not, and the rest is sent */
    FLOW_SWITCHES, /* all is there; it starts on the other node */
    FLOW_ENDED,
};

struct flow {
    int guest, from, to, mirror;
    enum flow_phase phase;
    struct cost_copy copy;
    double round_s;  /* this round has taken so far; of FLOW_SWITCHES what it still takes */
    double rate;     /* bytes/s at this moment */
    struct cost all; /* until now */
};

struct flows {
    struct model *model; /* lent; nobody else holds anything in it */
    const struct policy *policy;
    struct flow *list;
    int count, room;
    int *sending; /* [nodes] moves that use its link */
};

/* -ENOMEM */
int flows_init(struct flows *flows, struct model *model, const struct policy *policy);
void flows_fini(struct flows *flows);

/* From where the guest is; to and mirror are as model_place() wants them when it ends. -ENOMEM. */
int flows_begin(struct flows *flows, int guest, int to, int mirror);
bool flows_has(const struct flows *flows, int guest);
/* One of the list is given up: what it held is free, and the guest where it was. */
void flows_drop(struct flows *flows, int number);

/* Lets time pass until a move ends (*ended, which is then no longer in the list; nobody has been placed) or until
 * most_s are over (ended->guest is -1). The seconds that passed. Adds to load[nodes], in seconds times the resource's
 * unit; NULL: nobody asks. */
double flows_run(struct flows *flows, double most_s, double (*load)[RESOURCE_COUNT], struct flow *ended);

#endif
