/* Frames of a migration whose body is a JSON object. Threads: the link's. */
#ifndef HV_MIGRATE_WORDS_H
#define HV_MIGRATE_WORDS_H

#include <stdint.h>

#include "hv/migrate_wire.h"

struct err;
struct json_t;
struct migrate_link;

/* Sends it at once. */
int migrate_words_put(struct migrate_link *link, enum migrate_type type, uint64_t number, const struct json_t *json,
                      struct err *err);
/* The body of a frame that has come: a new object. -EPROTO with a text: it is none. */
int migrate_words_get(struct migrate_link *link, uint32_t bytes, struct json_t **json, struct err *err);

#endif
