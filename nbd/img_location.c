#include "nbd/img_location.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nbd/blk_driver.h"
#include "node/base/err.h"

enum { NBD_CONNECTIONS = 4 };

static bool is_uri(const char *text)
{
    static const char *const schemes[] = {"nbd://", "nbds://", "nbd+unix://", "nbds+unix://"};
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
        if (strncmp(text, schemes[i], strlen(schemes[i])) == 0)
            return true;
    return false;
}

/* The driver that text names in front of its first colon, or NULL. */
static const struct blk_driver *driver_of(const char *text, const char *colon)
{
    const struct blk_driver *d;
    for (unsigned i = 0; (d = blk_driver_at(i)); i++)
        if (strlen(d->name) == (size_t)(colon - text) && strncmp(d->name, text, (size_t)(colon - text)) == 0)
            return d;
    return NULL;
}

static int join(struct img_location *location, const char *driver, const char *value, struct err *err)
{
    if (asprintf(&location->stack, "%s%s", driver, value) < 0) {
        location->stack = NULL;
        return err_set(err, ENOMEM, "no memory for a location");
    }
    return 0;
}

/* Over several connections, where the server allows it: two ends that each use one core take turns over a single one.
 */
static int join_uri(struct img_location *location, const char *uri, struct err *err)
{
    json_t *json = json_pack("{s:s, s:s, s:i}", "driver", "nbd", "uri", uri, "connections", NBD_CONNECTIONS);
    location->stack = json ? json_dumps(json, 0) : NULL;
    json_decref(json);
    return location->stack ? 0 : err_set(err, EINVAL, "'%.80s' is not UTF-8", uri);
}

static int unknown(const char *text, const char *colon, struct err *err)
{
    char known[256] = "";
    const struct blk_driver *d;
    for (unsigned i = 0; (d = blk_driver_at(i)); i++) {
        size_t n = strlen(known);
        if (d->short_option)
            snprintf(known + n, sizeof known - n, "%s%s", n ? ", " : "", d->name);
    }
    return err_set(err, EINVAL,
                   "'%.80s': there is no driver '%.*s' (there are: %s) and no file of this name "
                   "(for a new one, "
                   "write ./%.80s)",
                   text, (int)(colon - text < 40 ? colon - text : 40), text, known, text);
}

int img_location_parse(const char *text, struct img_location *location, struct err *err)
{
    const char *colon = strchr(text, ':'), *slash = strchr(text, '/');
    const struct blk_driver *d = colon ? driver_of(text, colon) : NULL;
    *location = (struct img_location){.text = text};
    if (!*text)
        return err_set(err, EINVAL, "an empty location: give a path, a URI or a stack");
    if (strchr("[{@", *text))
        return join(location, "", text, err);
    if (is_uri(text))
        return join_uri(location, text, err);
    if (strncmp(text, "nbd+vsock:", 10) == 0 || strncmp(text, "nbds+vsock:", 11) == 0)
        return err_set(err, EINVAL, "'%.80s': vsock is not supported: use nbd://, nbds://, nbd+unix:// or nbds+unix://",
                       text);
    if (d) {
        location->path = strcmp(d->name, "raw") == 0 && colon[1] ? colon + 1 : NULL;
        return join(location, "", text, err);
    }
    if (colon && (!slash || slash > colon) && access(text, F_OK) != 0)
        return unknown(text, colon, err);
    location->path = text;
    return join(location, "raw:", text, err);
}

void img_location_fini(struct img_location *location)
{
    free(location->stack);
    location->stack = NULL;
}
