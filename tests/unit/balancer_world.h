/* A cluster as the store has it, with its own clock, in front of a conductor; every step is taken into it as the store
 * would. For tests of what the balancer decides. Failures end the test. */
#ifndef TESTS_UNIT_BALANCER_WORLD_H
#define TESTS_UNIT_BALANCER_WORLD_H

#include <jansson.h>
#include <stdint.h>

#include "balancer/conductor.h"

struct conductor_job;

enum { WALL_S = 1795694400 };
extern const char wall[], eager[]; /* the hour; a policy */

struct world {
    json_t *objects;
    struct conductor conductor;
    struct snapshot_time now;
    int64_t revision;
};

/* Four busy guests, G1 to G4, on the first of three nodes; automatic. */
int world_setup(void **state);
int world_teardown(void **state);

/* Objects; in texts ' stands for ". */
__attribute__((format(printf, 3, 4))) void put(struct world *w, const char *key, const char *format, ...);
void drop(struct world *w, const char *key);
void put_node(struct world *w, int n, const char *more);
void put_guest(struct world *w, int g, int node, const char *more);
void put_rules(struct world *w, int g, int node, const char *rules);
/* Guests of that node use so many hundredths. */
void put_load(struct world *w, int node, const char *guests);
void put_policy(struct world *w, const char *mode, const char *text);

/* One look, and the store takes what it says. Returns how many changes there were. */
int look(struct world *w);
/* hand_over of a conductor whose stop_data is where the job is put. */
void keep(void *data, struct conductor_job *job);
json_t *plan_in(struct world *w, const char *phase);
const char *status_text(struct world *w, const char *key);
/* The proposal is wanted by a person. */
void apply(struct world *w);
/* Of a list; NULL: none. */
json_t *named(json_t *list, const char *name);
/* object[outer][inner]; 0: it is none. */
double number_in(const json_t *object, const char *outer, const char *inner);

#endif
