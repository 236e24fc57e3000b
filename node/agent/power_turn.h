/* Who asks whether a silent node has power, and what follows from the answer. Pure. Thread: any. */
#ifndef NODE_AGENT_POWER_TURN_H
#define NODE_AGENT_POWER_TURN_H

#include <stdbool.h>
#include <stdint.h>

enum {
    POWER_ASKERS = 3,        /* the ones that come after it by name: one of them may be lost, too */
    POWER_SILENT_MS = 1000,  /* before it is asked for */
    POWER_AGAIN_MS = 1000,   /* between two questions about a silent node */
    POWER_TRIAL_MS = 600000, /* about one that is well: whether the way still works */
};

enum power_answer { POWER_UNKNOWN, POWER_ON, POWER_OFF };

/* names: of all nodes, in ascending order; alive[i]: in the store. True: self (an index) is one of the first
 * POWER_ASKERS that are alive after node, around the circle. */
bool power_turn(const bool *alive, int count, int node, int self);

struct power_look {
    uint64_t silent_ms; /* how long its machine has not been heard; 0: it is */
    uint64_t asked_ms;  /* how long ago it was asked for last; UINT64_MAX: never */
};
bool power_is_due(const struct power_look *look);

/* The last word that a program printed: "off", "on", in any case. */
enum power_answer power_read(const char *text);

#endif
