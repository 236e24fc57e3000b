/* Canaries of this node: guests that a drill under way names, and that say on their console what they have written and
 * what they found when they began. Each word is kept in the store, where the conductor of the drill sees it:
 *
 *     a line of the console      drover-canary ACKED HAD HOLES START
 *     /drover/state/canary/ID    {"drill", "guest", "node", "start", "acked", "had", "holes"}
 *
 * ACKED: the last number that is on its disk, flushed; HAD: the last one that it found there when it began; HOLES: how
 * many that should have been there were not; START: eight hexadecimal digits, drawn anew at each start. While the drill
 * lasts the console is this watcher's: whoever has it open loses it. Thread: the loop's. */
#ifndef NODE_AGENT_DRILL_CANARY_H
#define NODE_AGENT_DRILL_CANARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cluster;
struct drill_canaries;
struct guests;
struct loop;
struct report;

struct drill_word {
    int64_t acked, had, holes, start;
};

/* One line of a console, without its end. False: it is no canary's word. */
bool drill_word_parse(const char *line, size_t len, struct drill_word *word);

struct drill_canaries *drill_canaries_new(struct loop *loop, struct cluster *cluster, struct report *report,
                                          struct guests *guests);
/* Before the guests are freed; then turns of the loop. */
void drill_canaries_free(struct drill_canaries *canaries);
/* Something may have changed: drills, or which guests run here. Now and then while a drill is under way. */
void drill_canaries_look(struct drill_canaries *canaries);

#endif
