/* A second model with the same cluster in it: names, rules and positions, nothing shared. */
#include <stdlib.h>
#include <string.h>

#include "balancer/model.h"

static int copy_names(struct names *to, const struct names *from)
{
    names_init(to, from->limit);
    for (int i = 0; i < from->count; i++)
        if (names_intern(to, from->text[i], strlen(from->text[i])) != i)
            return -1;
    return 0;
}

static int copy_tables(struct model *to, const struct model *from)
{
    if (copy_names(&to->node_names, &from->node_names) < 0 || copy_names(&to->guest_names, &from->guest_names) < 0 ||
        copy_names(&to->places, &from->places) < 0 || copy_names(&to->group_names, &from->group_names) < 0 ||
        copy_names(&to->networks, &from->networks) < 0 || copy_names(&to->pools, &from->pools) < 0 ||
        copy_names(&to->cpu_models, &from->cpu_models) < 0 || copy_names(&to->tags, &from->tags) < 0 ||
        copy_names(&to->reasons, &from->reasons) < 0)
        return -1;
    return 0;
}

static int copy_groups(struct model *to, const struct model *from)
{
    for (int i = 0; i < from->group_count; i++) {
        const struct model_group *g = &from->groups[i];
        int number = model_add_group(to, from->group_names.text[g->name], g, NULL);
        for (int j = 0; number >= 0 && j < g->count; j++)
            if (model_add_member(to, number, g->members[j], NULL) < 0)
                return -1;
        if (number < 0)
            return -1;
    }
    return 0;
}

/* *copy: NULL, where there is nothing to be copied. */
static int copy_list(void **copy, const void *list, size_t bytes)
{
    *copy = list ? malloc(bytes + 1) : NULL;
    if (*copy)
        memcpy(*copy, list, bytes);
    return list && !*copy ? -1 : 0;
}

static int copy_guest(struct model_guest *to, const struct model_guest *from)
{
    void *pins = NULL, *storage = NULL;
    int rc = copy_list(&pins, from->pins, (size_t)from->pin_count * sizeof *from->pins);
    rc |= copy_list(&storage, from->storage, (size_t)from->storage_count * sizeof *from->storage);
    *to = *from;
    to->pins = pins;
    to->storage = storage;
    return rc;
}

struct model *model_copy(const struct model *from)
{
    struct model *to = model_new(from->family);
    if (!to)
        return NULL;
    size_t nodes = (size_t)from->node_count, guests = (size_t)from->guest_count;
    to->nodes = malloc((nodes + 1) * sizeof *to->nodes);
    to->guests = calloc(guests + 1, sizeof *to->guests);
    if (!to->nodes || !to->guests || copy_tables(to, from) < 0)
        goto out;
    if (nodes)
        memcpy(to->nodes, from->nodes, nodes * sizeof *to->nodes);
    to->node_count = to->node_room = from->node_count;
    to->guest_room = from->guest_count;
    for (int g = 0; g < from->guest_count; g++) {
        to->guest_count++;
        if (copy_guest(&to->guests[g], &from->guests[g]) < 0)
            goto out;
    }
    if (copy_groups(to, from) < 0 || model_ready(to, from->at, from->mirror, NULL) < 0)
        goto out;
    for (int n = 0; n < from->node_count; n++) /* what was free when the original was loaded stays the anchor */
        to->nodes[n] = from->nodes[n];
    return to;
out:
    model_free(to);
    return NULL;
}
