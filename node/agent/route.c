/* See route.h. A template is cut into segments once; a few hundred routes are looked through one by one, which costs
 * less than the system calls around a request. */
#include "node/agent/route.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/err.h"

struct segment {
    const char *text; /* in the template */
    size_t len;
    bool is_parameter;
};

struct entry {
    const struct route *route;
    void *context;
    struct segment segments[ROUTE_SEGMENTS_MAX];
    unsigned count;
};

struct route_table {
    unsigned count;
    struct entry entries[ROUTES_MAX];
};

struct route_table *route_table_new(void)
{
    return calloc(1, sizeof(struct route_table));
}

void route_table_free(struct route_table *table)
{
    free(table);
}

unsigned route_table_count(const struct route_table *table)
{
    return table->count;
}

const struct route *route_table_at(const struct route_table *table, unsigned index)
{
    return table->entries[index].route;
}

void *route_table_context(const struct route_table *table, const struct route *route)
{
    for (unsigned i = 0; i < table->count; i++)
        if (table->entries[i].route == route)
            return table->entries[i].context;
    return NULL;
}

/* Cuts path at its slashes. False: not a path, an empty segment, or too many. */
static bool cut(const char *path, struct segment *segments, unsigned *count)
{
    *count = 0;
    while (*path) {
        if (*path++ != '/' || *count == ROUTE_SEGMENTS_MAX)
            return false;
        size_t len = strcspn(path, "/");
        if (!len)
            return false;
        segments[(*count)++] = (struct segment){.text = path, .len = len};
        path += len;
    }
    return *count > 0;
}

static bool same(const struct segment *a, const struct segment *b)
{
    return a->is_parameter == b->is_parameter &&
           (a->is_parameter || (a->len == b->len && memcmp(a->text, b->text, a->len) == 0));
}

static bool same_path(const struct entry *a, const struct entry *b)
{
    if (a->count != b->count)
        return false;
    for (unsigned i = 0; i < a->count; i++)
        if (!same(&a->segments[i], &b->segments[i]))
            return false;
    return true;
}

static int judge(const struct route_table *table, struct entry *e, struct err *err)
{
    unsigned parameters = 0;
    if (!cut(e->route->path, e->segments, &e->count))
        return err_set(err, EINVAL, "route '%s': no path template", e->route->path);
    for (unsigned i = 0; i < e->count; i++) {
        struct segment *s = &e->segments[i];
        s->is_parameter = s->text[0] == '{';
        parameters += s->is_parameter;
        if (s->is_parameter && (s->len < 3 || s->text[s->len - 1] != '}'))
            return err_set(err, EINVAL, "route '%s': a parameter is a whole segment, as in {name}", e->route->path);
    }
    if (parameters > ROUTE_PARAMETERS_MAX)
        return err_set(err, EINVAL, "route '%s': over %d parameters", e->route->path, ROUTE_PARAMETERS_MAX);
    for (unsigned i = 0; i < table->count; i++) {
        const struct entry *other = &table->entries[i];
        if (strcmp(other->route->id, e->route->id) == 0 ||
            (other->route->method == e->route->method && same_path(other, e)))
            return err_set(err, EINVAL, "route '%s' (%s) is there already", e->route->path, e->route->id);
    }
    return 0;
}

int route_table_add(struct route_table *table, const struct route *routes, unsigned count, void *context,
                    struct err *err)
{
    for (unsigned i = 0; i < count; i++) {
        if (table->count == ROUTES_MAX)
            return err_set(err, ENOSPC, "over %d routes", ROUTES_MAX);
        struct entry *e = &table->entries[table->count];
        *e = (struct entry){.route = &routes[i], .context = context};
        int rc = judge(table, e, err);
        if (rc)
            return rc;
        table->count++;
    }
    return 0;
}

/* How well it fits: -1 not at all; else a bit for each fixed segment, the first one counting most. */
static int fit(const struct entry *e, const struct segment *segments, unsigned count)
{
    int score = 0;
    if (e->count != count)
        return -1;
    for (unsigned i = 0; i < count; i++) {
        const struct segment *s = &e->segments[i];
        score <<= 1;
        if (s->is_parameter)
            continue;
        if (s->len != segments[i].len || memcmp(s->text, segments[i].text, s->len) != 0)
            return -1;
        score |= 1;
    }
    return score;
}

static void take_parameters(struct route_match *match, const struct entry *e, const struct segment *segments)
{
    match->count = 0;
    for (unsigned i = 0; i < e->count; i++) {
        if (!e->segments[i].is_parameter)
            continue;
        match->name[match->count] = e->segments[i].text + 1;
        memcpy(match->value[match->count], segments[i].text, segments[i].len);
        match->value[match->count++][segments[i].len] = 0;
    }
}

void route_table_match(const struct route_table *table, enum http_method method, const char *path,
                       struct route_match *match)
{
    struct segment segments[ROUTE_SEGMENTS_MAX];
    unsigned count;
    int best = -1;
    *match = (struct route_match){0};
    if (!cut(path, segments, &count))
        return;
    for (unsigned i = 0; i < count; i++)
        if (segments[i].len >= sizeof match->value[0])
            return;
    for (unsigned i = 0; i < table->count; i++) {
        const struct entry *e = &table->entries[i];
        int score = fit(e, segments, count);
        if (score < 0)
            continue;
        match->allowed |= 1u << e->route->method;
        if (score <= best || (e->route->method != method && !(method == HTTP_HEAD && e->route->method == HTTP_GET)))
            continue;
        best = score;
        match->route = e->route;
        take_parameters(match, e, segments);
    }
    if (match->allowed & 1u << HTTP_GET)
        match->allowed |= 1u << HTTP_HEAD;
}
