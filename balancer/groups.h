/* Who may be with whom: what a guest's groups say when it leaves a place and enters another.
 *
 * The violations of a group: apart, the members beyond the first in each place; together, the places beyond the first.
 * Both change by what the guest's old and new place hold of the group, which is counted (group_counts.h), so one move
 * costs the same whether few or many are in the group.
 * `other` stands for a guest that is thought to be on other_at already (a swap); -1: nobody. Threads: any. */
#ifndef BALANCER_GROUPS_H
#define BALANCER_GROUPS_H

#include <stdbool.h>

struct model;

/* Weighted violations that go when the guest leaves node `from`, and that come when it enters node `to`. */
double groups_leave(const struct model *model, int guest, int from, int other, int other_at);
double groups_enter(const struct model *model, int guest, int to, int other, int other_at);

/* What all groups of the model cost now. */
double groups_total(const struct model *model);

/* The hard group that forbids the guest on this node, -1: none does. */
int groups_forbid(const struct model *model, int guest, int to, int other, int other_at);

/* Violations of hard groups in the whole model. */
int groups_broken(const struct model *model);

#endif
