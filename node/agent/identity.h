/* That a node is there once. A disk that was copied with /var/lib/drover on it makes a second machine with the same
 * name, key and guests; so each droverd tells in its node's state which one it is, and one that finds the state of
 * another, which is kept up, waits until that one has gone. It does nothing meanwhile: serves nothing, starts nobody,
 * answers nobody.
 *
 * Which one it is lies in the run folder, which no copy of a disk has: the agent's successor on this machine is the
 * same one, that after a reboot is another, and finds its own state gone by then. Thread: the loop's. */
#ifndef NODE_AGENT_IDENTITY_H
#define NODE_AGENT_IDENTITY_H

#include "node/agent/mirror.h"
#include "node/base/loop.h"
#include "node/base/uuid.h"

struct cluster;
struct err;

struct identity {
    char instance[UUID_TEXT_BYTES];
    struct loop *loop;
    struct cluster *cluster;
    const char *node_id;
    bool waiting;
    void (*is_ours)(void *context);
    void *context;
    struct mirror_listener listener;
    struct loop_job job;
};

/* Reads which one it is from `run`, or makes it up. -errno with a text. */
int identity_open(struct identity *identity, const char *run, struct err *err);
/* is_ours() is called once, from the loop, when no other droverd is node_id (kept by the caller). The cluster is
 * current. */
void identity_wait(struct identity *identity, struct loop *loop, struct cluster *cluster, const char *node_id,
                   void (*is_ours)(void *context), void *context);
/* Ends waiting. Zeroed is accepted. */
void identity_close(struct identity *identity);

#endif
