/* Ganeti's rules for a step of an instance: failover, replacing a disk, and the three ways to do both.
 * Source: hbal(1), "ALGORITHM". Threads: any. */
#ifndef BALANCER_GANETI_RULES_H
#define BALANCER_GANETI_RULES_H

#include "balancer/rules.h"

enum rule ganeti_rules_check(const struct model *model, int guest, int at, int mirror, int other, int other_at);

#endif
