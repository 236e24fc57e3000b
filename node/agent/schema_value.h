/* Single values of the schema's types: how each is judged, named and shown. Shared by schema.c and schema_emit.c.
 * Threads: pure. */
#ifndef NODE_AGENT_SCHEMA_VALUE_H
#define NODE_AGENT_SCHEMA_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/agent/schema.h"

enum { SCHEMA_CANONICAL_MAX = 64 };

/* For the types that are strings: NULL, right; "": it is none (the caller says so, with an example); else why it is
 * none, to stand behind the value. canonical: its one spelling, where it has one and it may differ. */
const char *schema_value_judge(enum schema_type type, const char *text, char canonical[SCHEMA_CANONICAL_MAX]);

/* SCHEMA_SIZE to bytes, SCHEMA_DURATION to milliseconds (under one is refused, 0 is not). */
bool schema_value_quantity(enum schema_type type, const char *text, uint64_t *quantity);
void schema_value_format(enum schema_type type, uint64_t quantity, char *text, size_t len);

/* "size", "IP address"; an example of the type, or NULL. */
const char *schema_value_word(enum schema_type type);
const char *schema_value_example(enum schema_type type);
/* A key of a SCHEMA_MAP. */
bool schema_value_is_key(const char *text);

#endif
