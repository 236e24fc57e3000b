/* Nodes that have lost their power, found before their lease runs out: a node whose machine is not heard for a second
 * (probe.h) is asked for at whoever knows (power_file.h), and if the answer is "off", its state is taken out of the
 * store. Everything else follows from that as from a lease that has run out (failover.h), some seconds earlier.
 *
 *     well --not heard for 1 s--> silent --drover-power says off, still silent, its state unchanged--> state deleted
 *
 * It is asked, and never switched off: nothing that is healthy is hurt by a question, and nothing waits for the answer.
 * A wrong "off" costs a take-over while the old process may still run: members refuse it (owner.h). Who writes its
 * state again was called off wrongly, and that way is not believed for POWER_TRIAL_MS. Thread: the loop's. */
#ifndef NODE_AGENT_POWER_WATCH_H
#define NODE_AGENT_POWER_WATCH_H

#include <stdbool.h>

struct audit;
struct cluster;
struct json_t;
struct loop;
struct power_watch;

struct power_place {
    struct loop *loop;
    struct cluster *cluster;
    struct audit *audit; /* NULL: none */
    const char *program; /* drover-power */
    const char *file;    /* of power_file.h; if there is none nobody is asked */
};

/* A file with a mistake is told to the log, and nobody is asked. NULL: out of memory. place: lent. */
struct power_watch *power_watch_new(const struct power_place *place);
/* Some time has passed; from the loop. */
void power_watch_tick(struct power_watch *watch);
/* For people: [{"node", "by": "redfish" or "program", "answer": "on", "off" or "", "error"}, ...]; those that this node
 * asks for. A new reference. */
struct json_t *power_watch_status(const struct power_watch *watch);
bool power_watch_busy(const struct power_watch *watch);
/* Asks no more; what is under way ends by itself. */
void power_watch_stop(struct power_watch *watch);
void power_watch_free(struct power_watch *watch); /* not while it is busy */

#endif
