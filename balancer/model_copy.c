#include "balancer/model_copy.h"

#include <stdlib.h>
#include <string.h>

static const char new_guest[] = "one more guest";

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

static int copy_nodes(struct model *to, const struct model *from)
{
    size_t nodes = (size_t)from->node_count;
    to->nodes = malloc((nodes + 1) * sizeof *to->nodes);
    if (!to->nodes)
        return -1;
    if (nodes)
        memcpy(to->nodes, from->nodes, nodes * sizeof *to->nodes);
    to->node_count = to->node_room = from->node_count;
    return 0;
}

static int copy_guests(struct model *to, const struct model *from, const struct model_guest *shape, int more)
{
    to->guests = calloc((size_t)from->guest_count + (size_t)more + 1, sizeof *to->guests);
    if (!to->guests)
        return -1;
    to->guest_room = from->guest_count + more;
    for (int g = 0; g < from->guest_count; g++) {
        to->guest_count++;
        if (copy_guest(&to->guests[g], &from->guests[g]) < 0)
            return -1;
    }
    int name = more ? names_intern(&to->guest_names, new_guest, sizeof new_guest - 1) : 0;
    for (int i = 0; i < more; i++) {
        to->guests[to->guest_count] = *shape;
        to->guests[to->guest_count++].name = name;
    }
    return name < 0 ? -1 : 0;
}

/* Where everybody is, and the further ones nowhere. */
static int take_places(struct model *to, const struct model *from, int more)
{
    size_t guests = (size_t)from->guest_count + (size_t)more + 1;
    int *at = malloc(guests * sizeof *at), *mirror = malloc(guests * sizeof *mirror), rc = -1;
    if (at && mirror) {
        for (int g = 0; g < from->guest_count + more; g++) {
            at[g] = g < from->guest_count ? from->at[g] : -1;
            mirror[g] = g < from->guest_count ? from->mirror[g] : -1;
        }
        rc = model_ready(to, at, mirror, NULL);
    }
    free(at);
    free(mirror);
    return rc;
}

struct model *model_copy_and(const struct model *from, const struct model_guest *shape, int more)
{
    struct model *to = model_new(from->family);
    if (!to)
        return NULL;
    if (copy_nodes(to, from) == 0 && copy_tables(to, from) == 0 && copy_guests(to, from, shape, more) == 0 &&
        copy_groups(to, from) == 0 && take_places(to, from, more) == 0) {
        for (int n = 0; n < from->node_count; n++) /* what was free when the original was loaded stays the anchor */
            to->nodes[n] = from->nodes[n];
        return to;
    }
    model_free(to);
    return NULL;
}

struct model *model_copy(const struct model *from)
{
    return model_copy_and(from, NULL, 0);
}
