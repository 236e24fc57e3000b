#include "node/agent/volume_work.h"

#include <jansson.h>
#include <string.h>

#include "node/agent/member.h"
#include "node/agent/volume_member.h"

/* A guest that is to run, or does, is its owner; one that was never started has no state. */
bool volume_work_is_guests(const struct mirror *m, const struct object *volume)
{
    const struct object *guest = volume_guest(m, volume);
    const char *phase = guest ? member_text(guest->state, "phase") : "";
    return guest && (json_is_true(object_spec(guest, "running")) || (*phase && strcmp(phase, "stopped") != 0));
}

static bool can_be_filled(const struct mirror *m, const struct object *volume, int index)
{
    const json_t *lines = json_object_get(volume->state, "members");
    const json_t *line =
        index == WITNESS ? json_object_get(volume->state, "witness") : json_array_get(lines, (size_t)index);
    const struct object *member = volume_member_at(m, volume->id, index);
    /* a witness that an agent of before spoke for has none */
    if (index == WITNESS && !*member_text(line, "condition"))
        return false;
    return member && volume_member_is_up(m, member) && *member_text(member->state, "uri") &&
           strcmp(member_text(line, "condition"), "in-sync") != 0;
}

bool volume_work_of(const struct mirror *m, const struct object *volume, struct volume_work *work)
{
    struct volume_work w = {.fill = false};
    json_int_t size = json_integer_value(object_spec(volume, "size"));
    json_int_t scrub = json_integer_value(json_object_get(volume->value, "scrub"));
    bool ready = json_is_true(json_object_get(volume->state, "made")) &&
                 !json_is_true(json_object_get(volume->value, "deleting")) && !*member_text(volume->value, "move") &&
                 !volume_work_is_guests(m, volume);
    int small; /* one that is too small is made larger first */
    if (ready && json_integer_value(json_object_get(volume->state, "bytes")) < size &&
        volume_member_all_large(m, volume, &small))
        w.grow_bytes = size;
    if (ready && json_integer_value(json_object_get(json_object_get(volume->state, "scrub"), "done")) < scrub)
        w.scrub = scrub;
    for (int i = WITNESS; i < (int)json_array_size(object_spec(volume, "pools")) && ready; i++)
        w.fill |= can_be_filled(m, volume, i);
    *work = w;
    return w.grow_bytes || w.scrub || w.fill;
}
