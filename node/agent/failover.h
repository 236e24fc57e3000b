/* Which guests of lost nodes are taken over, by whom: a step function of what is seen, the same on every node. It reads
 * no clock, no store and no network; node/agent/failovers.c looks and acts, a simulation (node/drill) does so a
 * hundred thousand times.
 *
 * A guest is taken over if its node is lost (its state has gone from the store, so its guests stand: tenure.h), it is
 * protected and wanted running, fail-over is armed, and no earlier take-over of it is too fresh. Where it goes is what
 * all survivors find from the same view: guests in the order of their priority, each to the node with the most room
 * left that can serve it. If that one does not come, the next one may after FAILOVER_PATIENCE_MS, and so on. What makes
 * a take-over exclusive is not this choice but the store's transaction.
 *
 * Thread: any; the caller's memory alone. */
#ifndef NODE_AGENT_FAILOVER_H
#define NODE_AGENT_FAILOVER_H

#include <stdbool.h>
#include <stdint.h>

enum {
    FAILOVER_NODES_MAX = 64,
    FAILOVER_DISKS_MAX = 16,
    FAILOVER_MEMBERS_MAX = 16,
    FAILOVER_NOBODY = -1,
    FAILOVER_PATIENCE_MS = 3000,
    FAILOVER_COOL_MS = 10000, /* after the first take-over; twice as long after each further one */
    FAILOVER_COOL_MAX_MS = 300000,
    FAILOVER_FORGET_MS = 60000, /* a guest that has run so long after it begins with the shortest one again */
    FAILOVER_GRACE_MS = 30000,  /* for nodes that were never seen: the cluster may be starting as a whole */
    FAILOVER_ATTEMPTS_MAX = 4,  /* on their way at a time: what is more urgent is also there first */
};

enum { FAILOVER_PLACES = 3 /* node, rack, site */, FAILOVER_GROUPS_MAX = 64 };

struct failover_node {
    const char *name;
    int place[FAILOVER_PLACES]; /* equal numbers: the same place */
    bool alive;                 /* its state is in the store */
    bool drained;               /* takes no guests */
    bool lost; /* not alive, and this is no beginning: it was seen alive before, or had time enough to come */
    uint64_t gone_ms, memory_bytes, promised_bytes; /* promised: to guests that are wanted running there */
};

/* A volume with a layout. Nodes are indices, FAILOVER_NOBODY: unknown. */
struct failover_disk {
    uint8_t members, spare; /* so many of the members may be lost */
    bool has_witness;       /* which must be there if a member is lost */
    int8_t node[FAILOVER_MEMBERS_MAX], witness;
    uint16_t reached;     /* members that answer although their node is away: 1 << index */
    bool witness_reached; /* the same */
};

struct failover_guest {
    const char *name;
    int node;
    bool is_protected;              /* and wanted running */
    unsigned priority;              /* larger ones first */
    uint64_t memory_bytes, cool_ms; /* cool_ms: what is left of it */
    uint64_t able;                  /* nodes that hold what it boots from and that its rules allow: 1 << index */
    uint64_t bare;                  /* nodes that its rules allow, and that do not hold it */
    /* Hard groups (placement.h) by how wide they are, 1 << number: whoever of them is taken over first decides where
     * the others of the same view may go. */
    uint64_t apart[FAILOVER_PLACES], together[FAILOVER_PLACES];
    uint8_t disk_count;
    struct failover_disk disks[FAILOVER_DISKS_MAX];
};

struct failover_view {
    struct failover_node nodes[FAILOVER_NODES_MAX];
    uint64_t closed[FAILOVER_NODES_MAX]; /* groups that may not go there after what was decided; begins as 0 */
    int node_count, self;                /* self: FAILOVER_NOBODY: whoever asks takes nothing over */
    struct failover_guest *guests;
    unsigned guest_count;
    bool armed;
    const char *forbidden; /* why this node may take nothing over (tenure.h); NULL: it may */
};

enum failover_verdict {
    FAILOVER_STAYS, /* nothing is to be done for it */
    FAILOVER_WAITS, /* it is to be taken over, but not now, or not by this node; see reason */
    FAILOVER_TAKES, /* by this node, now */
};

struct failover_decision {
    enum failover_verdict verdict;
    int target;         /* who should; FAILOVER_NOBODY: nobody can */
    const char *reason; /* a constant sentence, or the view's; "" */
};

/* decisions: as many as guests. promised_bytes and closed are changed: they count what is taken over. False: out of
 * memory. */
bool failover_decide(struct failover_view *view, struct failover_decision *decisions);

/* How long it is left alone after its nth take-over. */
uint64_t failover_cool_ms(unsigned failovers);

/* Why the guest's volumes cannot be opened, or go on, wherever it is; NULL: they can. */
const char *failover_obstacle(const struct failover_view *view, const struct failover_guest *guest);
/* Where a guest could go if its node were lost now: FAILOVER_NOBODY, with the reason. */
int failover_place(const struct failover_view *view, const struct failover_guest *guest, const char **reason);
/* The guest goes there: it takes room, and closes nodes to others of its groups. */
void failover_promise(struct failover_view *view, int target, const struct failover_guest *guest);
/* So many nodes that are alive may be lost at once, whichever they are, and all protected guests run elsewhere. Looks
 * at losses of up to FAILOVER_LOSSES_MAX nodes; the store has to survive them, too. */
enum { FAILOVER_LOSSES_MAX = 3 };
unsigned failover_tolerates(const struct failover_view *view);

#endif
