/* The rules of a fault driver: read from JSON, and asked about one request after another. Meaning:
 * fault.h. Thread: a set of rules belongs to its layer's loop thread. */
#ifndef NBD_FAULT_RULE_H
#define NBD_FAULT_RULE_H

#include <stdbool.h>
#include <stdint.h>

#include "nbd/blk.h"

struct err;
struct json_t;

enum { FAULT_RULES_MAX = 64 };

struct fault_rule {
    bool any_op, ranged, tears;
    enum blk_op op;
    uint64_t offset, length_bytes;
    uint64_t after, count;
    uint64_t threshold; /* fires when a 32-bit dice is below it; 2^32 = always */
    int error;          /* -errno, 0 = none */
    uint64_t delay_ns;
    uint64_t torn_bytes;

    uint64_t dice; /* the generator's state */
};

struct fault_rules {
    struct fault_rule rule[FAULT_RULES_MAX];
    unsigned count;
};

/* json: an array of objects. Errors: -EINVAL, naming the rule (from 1) and the field; rules
 * untouched then. */
int fault_rules_parse(const struct json_t *json, uint64_t seed, struct fault_rules *rules, struct err *err);

/* The rule that fires for req, or NULL. Counts. */
struct fault_rule *fault_rules_ask(struct fault_rules *rules, const struct blk_req *req);

#endif
