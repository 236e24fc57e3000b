/* Faults of drills in this node: when a drill that is meant for it runs, this agent says so in the store, once, and
 * starts a drover-fault. From then on the fault is drover-fault's, which outlives the agent and ends by itself.
 *
 * It is put in only if the store has taken that it is ("fault" of the drill's value): an agent that comes back in the
 * middle of a drill, or after it, finds that and does nothing. Thread: the loop's. */
#ifndef NODE_AGENT_DRILL_FAULTS_H
#define NODE_AGENT_DRILL_FAULTS_H

#include <stdbool.h>

struct cgroups;
struct cluster;
struct drill_faults;
struct loop;

struct drill_faults_place {
    struct loop *loop;
    const struct cgroups *cgroups;
    const char *program; /* drover-fault, an absolute path */
    const char *run;     /* the folder of sockets */
    const char *address; /* of this node */
    const char *state;   /* the node's folder, where the cluster's volume key is */
    const char *store;   /* where the cluster's is: "etcd:https://10.0.0.1:2379,..." */
};

/* place is lent. NULL: out of memory. */
struct drill_faults *drill_faults_new(struct cluster *cluster, const struct drill_faults_place *place);
/* Nothing is begun any more, and a drover-fault goes on; then turns of the loop while it is busy. */
void drill_faults_stop(struct drill_faults *faults);
bool drill_faults_busy(const struct drill_faults *faults);
/* Not while it is busy. */
void drill_faults_free(struct drill_faults *faults);
/* Drills have changed, or some time has passed. */
void drill_faults_look(struct drill_faults *faults);

#endif
