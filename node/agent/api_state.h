/* What the api_*.c files share. */
#ifndef NODE_AGENT_API_STATE_H
#define NODE_AGENT_API_STATE_H

#include "node/agent/api.h"
#include "node/agent/idempotency.h"
#include "node/base/log.h"

struct api {
    struct api_config config;
    struct route_table *routes;
    struct idempotency *idempotency;
    unsigned calls;
    int audit_failing; /* errno; 0: it takes lines */
    struct log_limit refusals;
    char *document; /* openapi.json, made when it is first asked for */
    char document_etag[API_ETAG_MAX];
};

int64_t api_now_s(const struct api *api);

/* Who asks? 0, or the status to refuse with (401, 403), and why. */
struct api_refusal {
    int status;
    const char *code, *detail;
};
bool api_identify(struct api *api, const struct http_request *request, const struct route *route, struct api_who *who,
                  struct api_refusal *refusal);

/* True if the Accept field (NULL: anything) allows `type`. */
bool api_accepts(const char *accept, const char *type);

/* The body and the query as JSON, checked. False: answered. */
bool api_take_query(struct api_call *call);
bool api_take_body(struct api_call *call);

/* Before a change: the audit log takes lines. */
bool api_audit_ready(struct api *api);

/* Ends the call with this answer; code: of an error, for the audit log. */
void api_finish(struct api_call *call, const struct http_reply *reply, const char *code);

#endif
