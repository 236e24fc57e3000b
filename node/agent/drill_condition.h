/* When a drill ends before its time: "others-down > 0 or silent > 20s". Names, each with what it counts:
 *
 *     guests-down         guests that were declared to be hit and do not run now
 *     others-down         guests that were not, and do not run now though they did before
 *     nodes-away          nodes that are not there, beside the one that is drilled
 *     volumes-suspended   volumes with too few members left
 *     lost-writes         numbers that a canary had acknowledged and did not find again
 *     down                the longest outage of a guest so far, a duration
 *     silent              since a canary's last word, the longest of all, a duration
 *
 * Compared by > or >= with a number or a duration (500ms, 20s, 2m), joined by "or". Pure; any thread. */
#ifndef NODE_AGENT_DRILL_CONDITION_H
#define NODE_AGENT_DRILL_CONDITION_H

#include <stdbool.h>
#include <stdint.h>

enum drill_measure {
    DRILL_GUESTS_DOWN,
    DRILL_OTHERS_DOWN,
    DRILL_NODES_AWAY,
    DRILL_VOLUMES_SUSPENDED,
    DRILL_LOST_WRITES,
    DRILL_DOWN_MS,
    DRILL_SILENT_MS,
    DRILL_MEASURE_COUNT
};

enum { DRILL_TERMS_MAX = 8, DRILL_CONDITION_TEXT_MAX = 256 };

struct drill_term {
    enum drill_measure measure;
    uint64_t at_least; /* true from here on */
};

struct drill_condition {
    struct drill_term terms[DRILL_TERMS_MAX];
    unsigned count; /* 0: never true */
};

/* "" is never true. 0, or -EINVAL and in why what is wrong and what would be right. */
int drill_condition_parse(const char *text, struct drill_condition *condition, char *why, int room);
/* What has come true, as a sentence in text; false: nothing. */
bool drill_condition_holds(const struct drill_condition *condition, const uint64_t measures[DRILL_MEASURE_COUNT],
                           char *text, int room);

#endif
