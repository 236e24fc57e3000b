#include "hv/migrate_words.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "hv/migrate_link.h"
#include "node/base/err.h"

int migrate_words_put(struct migrate_link *l, enum migrate_type type, uint64_t number, const json_t *json,
                      struct err *err)
{
    char *text = json_dumps(json, JSON_COMPACT);
    size_t bytes = text ? strlen(text) : 0;
    int rc = !text || bytes > MIGRATE_JSON_MAX ? err_set(err, ENOMEM, "no memory for a message") : 0;
    struct migrate_frame f = {type, (uint32_t)bytes, number};
    rc = rc ? rc : migrate_link_put(l, &f, text, err);
    rc = rc ? rc : migrate_link_flush(l, err);
    free(text);
    return rc;
}

int migrate_words_get(struct migrate_link *l, uint32_t bytes, json_t **json, struct err *err)
{
    char *text = malloc(bytes + 1u);
    if (!text)
        return err_set(err, ENOMEM, "no memory for a message");
    int rc = migrate_link_get(l, text, bytes, err);
    *json = rc ? NULL : json_loadb(text, bytes, JSON_REJECT_DUPLICATES, NULL);
    if (!rc && !json_is_object(*json)) {
        json_decref(*json);
        *json = NULL;
        rc = err_set(err, EPROTO, "the other side sent a message that is no JSON object");
    }
    free(text);
    return rc;
}
