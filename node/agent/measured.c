#include "node/agent/measured.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>

#include "node/agent/load_meter.h"
#include "node/agent/mirror.h"
#include "node/base/container.h"

struct measured {
    struct mirror *mirror;
    struct mirror_listener listener;
    uint64_t (*clock_ms)(void);
    json_t *nodes;  /* by id, of its record: [revision, seen, unit]. Never changed but replaced: guests share it */
    json_t *guests; /* by id: [its part of the record, what `nodes` had then] */
};

enum { REVISION, SEEN, UNIT };
enum { USE, RECORD };

static bool is_enough(const json_t *use)
{
    return json_array_size(json_object_get(use, "cpu")) >= LOAD_SAMPLES_NEEDED;
}

double measured_now(const struct measured *m)
{
    return (double)m->clock_ms() / 1000;
}

/* What is read anew after the store was away comes again, and is as old as it was. Lent; NULL: no memory, or it is no
 * text that it has for an id. */
static json_t *note_record(struct measured *m, const struct object *load)
{
    json_t *known = json_object_get(m->nodes, load->id);
    json_int_t revision = (json_int_t)load->state_revision;
    if (known && json_integer_value(json_array_get(known, REVISION)) == revision)
        return known;
    json_object_set_new(m->nodes, load->id,
                        json_pack("[I, f, O?]", revision, measured_now(m), json_object_get(load->state, "unit")));
    return json_object_get(m->nodes, load->id);
}

static void take_record(struct measured *m, const struct object *load)
{
    json_t *record = note_record(m, load), *use;
    const char *id;
    json_object_foreach (record ? json_object_get(load->state, "guests") : NULL, id, use) {
        const struct object *guest = is_enough(use) ? mirror_find(m->mirror, OBJECT_GUEST, id) : NULL;
        if (guest && guest->value)
            json_object_set_new(m->guests, id, json_pack("[O, O]", use, record));
    }
}

static void changed(struct mirror_listener *listener, const struct object *object, enum object_part part)
{
    struct measured *m = CONTAINER_OF(listener, struct measured, listener);
    if (object->kind == OBJECT_GUEST && part == OBJECT_VALUE && !object->value)
        json_object_del(m->guests, object->id);
    if (object->kind != OBJECT_LOAD || part != OBJECT_STATE)
        return;
    if (object->state)
        take_record(m, object);
    else
        json_object_del(m->nodes, object->id);
}

double measured_seen(const struct measured *m, const char *node_id)
{
    const json_t *known = json_object_get(m->nodes, node_id);
    return known ? json_real_value(json_array_get(known, SEEN)) : measured_now(m);
}

/* By the node that it is to be on, now? */
static bool is_measured(const struct mirror *m, const struct object *guest)
{
    const struct object *node = mirror_named(m, OBJECT_NODE, object_spec_text(guest, "node"));
    const struct object *load = node ? mirror_find(m, OBJECT_LOAD, node->id) : NULL;
    return load && is_enough(json_object_get(json_object_get(load->state, "guests"), guest->id));
}

json_t *measured_before(const struct measured *m)
{
    json_t *all = json_object(), *known;
    const char *id;
    json_object_foreach (m->guests, id, known) {
        const struct object *guest = mirror_find(m->mirror, OBJECT_GUEST, id);
        json_t *record = json_array_get(known, RECORD);
        if (guest && json_is_true(object_spec(guest, "running")) && !is_measured(m->mirror, guest))
            json_object_set_new(all, id,
                                json_pack("{s:{s:O, s:{s:O}}, s:O}", "state", "unit", json_array_get(record, UNIT),
                                          "guests", id, json_array_get(known, USE), "seen",
                                          json_array_get(record, SEEN)));
    }
    return all;
}

/* ---- life ---- */

struct measured *measured_new(struct mirror *mirror, uint64_t (*clock_ms)(void))
{
    struct measured *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    *m = (struct measured){.mirror = mirror,
                           .listener.changed = changed,
                           .clock_ms = clock_ms,
                           .nodes = json_object(),
                           .guests = json_object()};
    mirror_listen(mirror, &m->listener);
    return m;
}

void measured_free(struct measured *m)
{
    if (!m)
        return;
    mirror_unlisten(&m->listener);
    json_decref(m->nodes);
    json_decref(m->guests);
    free(m);
}
