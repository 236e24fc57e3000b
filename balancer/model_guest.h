/* A guest as the balancer sees it: what it has, needs and uses, and where its data lie. Plain data, the model's
 * (model.h). Units: memory and disk MiB, loads in the node's own unit (cores, bytes/s). Threads: one at a time. */
#ifndef BALANCER_MODEL_GUEST_H
#define BALANCER_MODEL_GUEST_H

#include <stdbool.h>

#include "balancer/bits.h"

enum {
    MODEL_STORAGE_MAX = 256, /* nodes with data of one guest */
    MODEL_LEFT_MAX = 4,      /* nodes that one has left, the newest */
};

/* What the balancer may do of its own accord; the strictest last. */
enum model_mode { MODE_UNSAID, MODE_AUTOMATIC, MODE_ADVISE, MODE_OFF };

enum model_resource { RESOURCE_CPU, RESOURCE_MEMORY, RESOURCE_DISK, RESOURCE_NETWORK, RESOURCE_COUNT };

/* What a guest's disks do on a node where its volumes have members: work of that node's disks, and bytes on the links
 * of both while the guest is elsewhere. */
struct model_storage {
    int node;
    double bytes_per_s;
};

/* A node that a plan has sent a guest away from. */
struct model_left {
    int node;
    float ago_s;
};

enum guest_state { GUEST_RUNNING, GUEST_DOWN, GUEST_OFFLINE };

struct model_guest {
    int name; /* in model.guest_names */
    enum guest_state state;
    bool movable; /* false: pinned, or its disk cannot follow */
    int fixed;    /* 1 + why it is not, in model.reasons; 0: nobody says */
    bool held;    /* by its mode, or its node's: model_hold() */
    enum model_mode mode;
    bool planned;  /* not there yet, its room is taken already */
    bool balanced; /* Ganeti's auto_balance */
    bool mirrored; /* needs a second node */
    bool local;    /* its disk takes room on its node */
    bool measured; /* false: no or old measurements; it stays where it is */
    double memory, disk, vcpus, spindles;
    double load[RESOURCE_COUNT];     /* p95 of the window, in the node's unit */
    double load_std[RESOURCE_COUNT]; /* the forecast's error, same unit */
    double dirty_bytes_per_s;
    bool writes_seen;                       /* somebody has looked; false: dirty_bytes_per_s is 0 */
    double moved_ago_s;                     /* since its last migration; negative: never */
    int came_from;                          /* the node it left then, -1 */
    struct model_left left[MODEL_LEFT_MAX]; /* and nodes it left before, each once */
    int left_count;
    struct bits networks, pools, cpu_models, desired; /* needs: all networks and pools, any of cpu_models */
    int *pins;                                        /* nodes it may run on, NULL: any; owned by the model */
    int pin_count;
    bool avoids;                   /* pins are the nodes it may not run on */
    struct model_storage *storage; /* its members' nodes, each once, NULL: none; owned by the model */
    int storage_count;
};

/* How much of its load of networks there is less if the guest runs on this node: what it exchanges with members there
 * goes over no link, at either end. */
double model_near(const struct model_guest *guest, int node);

/* How long ago a plan sent the guest away from this node, in seconds; negative: none has, as far as is known. */
double model_left_ago(const struct model_guest *guest, int node);
/* It does so now, or so long ago; the oldest is forgotten. */
void model_note_left(struct model_guest *guest, int node, double ago_s);

/* Is this node none of those it may run on? */
bool model_is_pinned_away(const struct model_guest *guest, int node);

#endif
