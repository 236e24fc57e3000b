/* Do servers answer? Each that is wanted is asked by a TCP connection, twice a second, from this node: what is found is
 * good for this node. Thread: the loop's. */
#ifndef NODE_AGENT_PROBE_H
#define NODE_AGENT_PROBE_H

#include <stdbool.h>
#include <stdint.h>

struct probe;

enum { PROBES_MAX = 64 /* servers at a time; more are taken for away */, PROBE_SERVER_MAX = 96 };

struct probe *probe_new(void); /* NULL: out of memory */
void probe_free(struct probe *probe);

/* A round: probe_begin(), probe_want() for each, probe_end(). server: HOST:PORT, an IPv6 address in brackets. Who is
 * not wanted again is forgotten. mark: the caller's, kept until the next round. */
void probe_begin(struct probe *probe);
void probe_want(struct probe *probe, const char *server, bool mark);
void probe_end(struct probe *probe);

/* Its last answer came a moment ago. */
bool probe_answers(const struct probe *probe, const char *server);
/* For how long its machine has not been heard although it was asked: a connection that it refuses is a word of it, too.
 * 0: it was never wanted, or the last round is too long ago to tell. */
uint64_t probe_silent_ms(const struct probe *probe, const char *server);
/* The servers with a mark that answer: the one after *at, which begins as 0. NULL: no more. */
const char *probe_next_marked(const struct probe *probe, unsigned *at);

#endif
