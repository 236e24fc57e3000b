/* The routes of the API as data: what is asked for, who may, what goes in and comes out. One table drives dispatch,
 * checks, the OpenAPI document and the contract test.
 *
 * Threads: tables are constant. */
#ifndef NODE_AGENT_ROUTE_H
#define NODE_AGENT_ROUTE_H

#include <stdbool.h>
#include <stdint.h>

#include "node/agent/http_server.h"
#include "node/agent/schema.h"
#include "node/agent/token.h"

struct api_call;

enum route_flag {
    ROUTE_PAGED = 1 << 0,      /* takes ?limit and ?after; answer with api_reply_page() */
    ROUTE_DRY_RUN = 1 << 1,    /* takes ?dry_run=true: check and say what would happen, change nothing */
    ROUTE_IF_MATCH = 1 << 2,   /* changes an object: If-Match must be there (428) and right (412) */
    ROUTE_WEBSOCKET = 1 << 3,  /* GET with an upgrade; without one 426 */
    ROUTE_OPEN = 1 << 4,       /* needs no credential */
    ROUTE_NO_CONTENT = 1 << 5, /* answers 204 */
    ROUTE_CREATES = 1 << 6,    /* answers 201 with Location */
    ROUTE_JOIN = 1 << 7,       /* a join token opens it, too */
    ROUTE_NO_AUDIT = 1 << 8,   /* changes nothing although it is no GET */
    ROUTE_SECRET = 1 << 9,     /* the answer holds a secret: it is not kept for an Idempotency-Key */
};

enum { ROUTE_PARAMETERS_MAX = 4, ROUTE_SEGMENTS_MAX = 10, ROUTES_MAX = 256 };

struct route {
    enum http_method method;
    const char *path; /* "/v1/guests/{name}" */
    enum role role;
    uint32_t flags;
    const char *id;                   /* operationId: "guest_create" */
    const char *tag;                  /* "guest" */
    const char *summary;              /* one sentence */
    const struct schema *request;     /* NULL: no body */
    const struct schema *response;    /* NULL: none, or `text` */
    const char *text;                 /* media type of an answer that is no JSON, "text/plain"; NULL: JSON */
    const struct schema_field *query; /* further query parameters; NULL: none */
    /* Answers the call, now or later, by one of the api_reply functions (api.h). */
    void (*handle)(void *context, struct api_call *call);
};

struct route_match {
    const struct route *route;              /* NULL: see `allowed` */
    const char *name[ROUTE_PARAMETERS_MAX]; /* as in the template, without braces, terminated by '}' there */
    char value[ROUTE_PARAMETERS_MAX][256];
    unsigned count;
    uint32_t allowed; /* methods that the path has, 1 << enum http_method; 0: there is no such path */
};

struct route_table;

struct route_table *route_table_new(void);
void route_table_free(struct route_table *table);
/* Adds routes (lent), whose handlers will get `context`. -EINVAL: a template or an id that is not well formed or there
 * already. */
int route_table_add(struct route_table *table, const struct route *routes, unsigned count, void *context,
                    struct err *err);
unsigned route_table_count(const struct route_table *table);
const struct route *route_table_at(const struct route_table *table, unsigned index);
void *route_table_context(const struct route_table *table, const struct route *route);

/* Fixed segments win over parameters. HEAD finds GET. */
void route_table_match(const struct route_table *table, enum http_method method, const char *path,
                       struct route_match *match);

#endif
