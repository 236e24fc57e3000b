#include "balancer/ganeti_tags.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "balancer/model.h"

enum { TAGS_MAX = 256, NAME_MAX_BYTES = 256 };

/* A cluster tag "htools:WHAT:PREFIX" gives meaning to tags that begin with "PREFIX:". */
static bool has_meaning(struct text_field cluster, const char *what, struct text_field tag, bool colon)
{
    struct text_field line;
    while (text_line_next(&cluster, &line)) {
        size_t skip = strlen(what);
        if (!text_field_starts(line, what) || line.len == skip)
            continue;
        const char *prefix = line.at + skip;
        size_t len = line.len - skip;
        if (tag.len < len + colon || memcmp(tag.at, prefix, len) != 0)
            continue;
        if (!colon || tag.at[len] == ':')
            return true;
    }
    return false;
}

static int add_tag(struct model *m, struct bits *set, struct text_field tag)
{
    int bit = names_intern(&m->tags, tag.at, tag.len);
    if (bit < 0)
        return -ENOSPC;
    bits_add(set, bit);
    return 0;
}

/* "htools:allowmigration:A::B": what comes from nodes with A may go to nodes with B. */
static int add_allowed(struct model *m, struct text_field cluster, struct text_field tag, struct bits *set)
{
    static const char what[] = "htools:allowmigration:";
    struct text_field line;
    while (text_line_next(&cluster, &line)) {
        if (!text_field_starts(line, what))
            continue;
        struct text_field pair = {line.at + sizeof what - 1, line.len - (sizeof what - 1)};
        const char *colons = pair.len ? memmem(pair.at, pair.len, "::", 2) : NULL;
        if (!colons)
            continue;
        struct text_field from = {pair.at, (size_t)(colons - pair.at)};
        struct text_field to = {colons + 2, pair.len - from.len - 2};
        if (to.len == tag.len && !memcmp(to.at, tag.at, tag.len) && from.len && add_tag(m, set, from) < 0)
            return -ENOSPC;
    }
    return 0;
}

int ganeti_tags_node(struct model *m, struct text_field cluster, struct text_field tags, struct model_node *node)
{
    struct text_field tag[TAGS_MAX];
    int count = text_line_cut(tags, ',', tag, TAGS_MAX), rc = 0;
    for (int i = 0; i < count && i < TAGS_MAX && rc == 0; i++) {
        if (!tag[i].len)
            continue;
        if (has_meaning(cluster, "htools:nlocation:", tag[i], true))
            rc = add_tag(m, &node->locations, tag[i]);
        if (rc == 0 && has_meaning(cluster, "htools:migration:", tag[i], true)) {
            rc = add_tag(m, &node->migration_from, tag[i]);
            if (rc == 0)
                rc = add_tag(m, &node->migration_to, tag[i]);
            if (rc == 0)
                rc = add_allowed(m, cluster, tag[i], &node->migration_to);
        }
    }
    return rc;
}

/* Guests with the same exclusion tag: one group that keeps them on different nodes, one for different locations. */
static int join(struct model *m, struct text_field tag, enum model_scope scope, int guest)
{
    char name[NAME_MAX_BYTES + 16];
    snprintf(name, sizeof name, "%.*s%s", (int)(tag.len < NAME_MAX_BYTES ? tag.len : NAME_MAX_BYTES), tag.at,
             scope == SCOPE_NODE ? "" : " (location)");
    int known = names_find(&m->group_names, name, strlen(name));
    if (known < 0) {
        struct model_group group = {.scope = scope, .hard = scope == SCOPE_NODE, .weight = scope == SCOPE_NODE ? 2 : 1};
        known = model_add_group(m, name, &group, NULL);
    }
    return known < 0 ? known : model_add_member(m, known, guest, NULL);
}

int ganeti_tags_guest(struct model *m, struct text_field cluster, struct text_field tags, int guest)
{
    struct text_field tag[TAGS_MAX];
    int count = text_line_cut(tags, ',', tag, TAGS_MAX), rc = 0;
    for (int i = 0; i < count && i < TAGS_MAX && rc == 0; i++) {
        if (!tag[i].len || memchr(tag[i].at, 0, tag[i].len))
            continue;
        if (has_meaning(cluster, "htools:desiredlocation:", tag[i], true))
            rc = add_tag(m, &m->guests[guest].desired, tag[i]);
        if (rc < 0 || !has_meaning(cluster, "htools:iextags:", tag[i], false))
            continue;
        rc = join(m, tag[i], SCOPE_NODE, guest);
        if (rc == 0 && !m->guests[guest].planned)
            rc = join(m, tag[i], SCOPE_LOCATION, guest);
    }
    return rc;
}
