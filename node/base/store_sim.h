/* A simulated store: one store_model behind a simulated network, with several clients, on a virtual clock.
 *
 * The clock is the caller's: it asks when the next thing happens, sets its own clock to that, and lets the store run.
 * Everything a client is told, it is told from inside store_sim_run(). Delays, losses and the lateness of leases come
 * from the seed: the same calls at the same times bring the same results, byte by byte.
 *
 *     client -- request, delayed or lost --> store -- answer, delayed or lost --> client; no answer: -ETIMEDOUT
 *
 * Open a client with store_open("sim:") and options.sim, options.sim_client. Threads: one at a time. */
#ifndef NODE_BASE_STORE_SIM_H
#define NODE_BASE_STORE_SIM_H

#include <stdbool.h>
#include <stdint.h>

struct store_sim;

enum { STORE_SIM_CLIENTS_MAX = 1024 };

struct store_sim_options {
    uint64_t seed;
    uint32_t delay_min_us, delay_max_us; /* of a message, each way */
    uint32_t refused_ppm;                /* requests that do not reach the store, which the client knows */
    uint32_t lost_ppm;                   /* messages that vanish: requests before, answers after the store has acted */
    uint32_t broken_ppm;                 /* messages of a watch on which its connection breaks */
    uint32_t lease_late_ms;              /* leases end up to this late */
};

struct store_sim *store_sim_new(const struct store_sim_options *options, uint64_t now_ns);
/* After every client was closed. */
void store_sim_free(struct store_sim *sim);

/* When something happens next; UINT64_MAX: nothing will. */
uint64_t store_sim_next_ns(const struct store_sim *sim);
/* Lets happen what is due; the clock never goes back. */
void store_sim_run(struct store_sim *sim, uint64_t now_ns);

/* A client without a network: its requests and answers are lost, its watches stop. */
void store_sim_cut(struct store_sim *sim, uint32_t client, bool cut);
/* The store as a whole does not answer. */
void store_sim_stop(struct store_sim *sim, bool stopped);
/* Nothing is refused, lost or broken any more; delays stay. */
void store_sim_heal(struct store_sim *sim);
/* A new leader: every lease begins anew. */
void store_sim_elect(struct store_sim *sim);
void store_sim_compact(struct store_sim *sim, int64_t revision);

#endif
