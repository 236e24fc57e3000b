/* The OpenAPI 3.1 document of a table of routes. Threads: any; pure. */
#ifndef NODE_AGENT_OPENAPI_H
#define NODE_AGENT_OPENAPI_H

#include <jansson.h>

struct route_table;

/* New reference; NULL if memory is out. */
json_t *openapi_document(const struct route_table *table, const char *version);

#endif
