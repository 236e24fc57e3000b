/* A node that is cut off for a while: a table of the packet filter that drops what goes to other nodes and to the
 * store, or comes from there. The kernel itself forgets the cut when its time is over (the rules ask a set whose
 * elements expire), so it ends even if everybody who knows of it is dead.
 *
 * What the node says to itself passes, and so does FAULT_PORT: there the end of the drill is heard. Threads: one, which
 * may block. Source: nft(8), "flags timeout". */
#ifndef NODE_AGENT_FAULT_CUT_H
#define NODE_AGENT_FAULT_CUT_H

struct err;
struct fault_config;
struct ruleset;

/* The table as text, for fault_cut_begin() and its test. Names of the store are looked up: -ENOENT: one is not known.
 */
int fault_cut_rules(const struct fault_config *config, struct ruleset *rules, struct err *err);
/* Also well if there is nothing to cut. */
int fault_cut_begin(const struct fault_config *config, struct err *err);
/* Also well if there is no cut. */
int fault_cut_end(struct err *err);

#endif
