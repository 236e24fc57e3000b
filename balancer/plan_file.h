/* A plan for people and for programs. Threads: any. */
#ifndef BALANCER_PLAN_FILE_H
#define BALANCER_PLAN_FILE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "balancer/frontier.h"
#include "balancer/plan.h"

/* Lines for a person; frontier: NULL: that of the plan alone, made at this price; explain: a sentence for every guest.
 */
void plan_print(FILE *out, const struct plan *plan, const struct model *model, const struct policy *policy,
                const struct frontier *frontier, double price, bool explain);

/* Its moves alone, wave by wave; the sentence for every guest alone. */
void plan_print_moves(FILE *out, const struct plan *plan, const struct model *model);
void plan_print_reasons(FILE *out, const struct plan *plan, const struct model *model, const struct policy *policy);
/* The same in JSON: a list of waves, each a list of moves; an object of at most so many guests, or of one. */
json_t *plan_waves_json(const struct plan *plan, const struct model *model);
json_t *plan_reasons_json(const struct plan *plan, const struct model *model, const struct policy *policy, size_t most);
json_t *plan_reason_json(const struct plan *plan, const struct model *model, const struct policy *policy, int guest);

/* One JSON object: score, waves of moves with their costs, the frontier (NULL: that of the plan alone, made at this
 * price), and the reasons of so many guests (0: none). A new reference, NULL: no memory. */
json_t *plan_json(const struct plan *plan, const struct model *model, const struct policy *policy,
                  const struct frontier *frontier, double price, size_t reasons);

#endif
