#include "hv/stack_move.h"

#include <errno.h>
#include <jansson.h>
#include <stdint.h>
#include <string.h>

#include "node/base/err.h"

static bool is_driver(const json_t *layer, const char *name)
{
    const char *driver = json_string_value(json_object_get(layer, "driver"));
    return driver && strcmp(driver, name) == 0;
}

static json_t *lowest(const json_t *layers)
{
    return json_array_get(layers, json_array_size(layers) - 1);
}

/* Of the chain alone; its size: there is none. */
static size_t place_in(const json_t *layers)
{
    size_t i = 0;
    while (i < json_array_size(layers) && !is_driver(json_array_get(layers, i), "move"))
        i++;
    return i;
}

/* The list that has the layer. */
static json_t *chain_with(const json_t *layers, int *member)
{
    json_t *members = json_object_get(lowest(layers), "members"), *one;
    size_t i;
    *member = -1;
    if (place_in(layers) < json_array_size(layers))
        return (json_t *)(uintptr_t)layers;
    json_array_foreach (members, i, one)
        if (json_is_array(one) && place_in(one) < json_array_size(one)) {
            *member = (int)i;
            return one;
        }
    return NULL;
}

int stack_move_insert(json_t *layers, int member, json_t *move, struct err *err)
{
    json_t *chain = layers, *bottom = lowest(layers);
    int which, rc = 0;
    if (chain_with(layers, &which))
        rc = err_set(err, EALREADY, "what the disk lies on is moving already");
    else if (is_driver(bottom, "volume") != (member >= 0))
        rc = err_set(err, EINVAL,
                     member < 0 ? "the disk is a volume over several members: say which moves"
                                : "the disk is no volume over several members");
    else if (member >= 0 && !(chain = json_array_get(json_object_get(bottom, "members"), (size_t)member)))
        rc = err_set(err, EINVAL, "member %d: there is none", member);
    else if (!json_is_array(chain) || !json_array_size(chain))
        rc = err_set(err, EINVAL, "member %d is missing, so there is nothing to be moved", member);
    if (rc) {
        json_decref(move);
        return rc;
    }
    return json_array_insert_new(chain, json_array_size(chain) - 1, move) ? err_set(err, ENOMEM, "no memory") : 0;
}

bool stack_move_remove(json_t *layers, bool there)
{
    int member;
    json_t *chain = chain_with(layers, &member);
    size_t place = chain ? place_in(chain) : 0;
    if (!chain)
        return false;
    json_t *to = json_incref(json_object_get(json_array_get(chain, place), "to"));
    json_array_remove(chain, place);
    if (there) {
        while (json_array_size(chain) > place)
            json_array_remove(chain, place);
        json_array_extend(chain, to);
    }
    json_decref(to);
    return true;
}

const json_t *stack_move_find(const json_t *layers, int *member)
{
    const json_t *chain = chain_with(layers, member);
    return chain ? json_array_get(chain, place_in(chain)) : NULL;
}
