/* A call of the balancer's API that waits: for an answer of drover-balancer (balance_question.h), or for the store. And
 * what all of them look at first. Thread: the loop's. */
#ifndef NODE_AGENT_BALANCE_CALL_H
#define NODE_AGENT_BALANCE_CALL_H

#include <stdint.h>

#include "node/agent/api.h"
#include "node/base/uuid.h"

enum { BALANCE_POLICY_MAX = 16384 };

#define BALANCE_POLICY_ID "balance"

struct balance_place;
struct cluster;
struct json_t;
struct mirror;
struct object;

struct balance_routes {
    struct cluster *cluster;
    struct balance_place *place;
};

struct balance_call {
    struct balance_routes *routes;
    struct api_call *call;
    struct json_t *value;       /* of the policy, as it is to be */
    uint64_t revision;          /* that it must still have */
    char plan[UUID_TEXT_BYTES]; /* that is to be carried out */
};

/* NULL: there is no memory, and the call is answered. */
struct balance_call *balance_call_new(struct balance_routes *routes, struct api_call *call);
void balance_call_free(struct balance_call *call);

/* balance_question(), of this node's mirror and what it knows to have been measured; a new reference. */
struct json_t *balance_call_question(const struct balance_routes *routes, const char *verb);
/* The call's answer is what the question's is. question is taken over. */
void balance_call_ask(struct balance_routes *routes, struct api_call *call, struct json_t *question);

/* NULL: nobody has set one. */
const struct object *balance_policy(const struct mirror *mirror);
const char *balance_mode(const struct mirror *mirror);
/* The one that is active, or else proposed; NULL: none. */
const struct object *balance_plan(const struct mirror *mirror);

#endif
