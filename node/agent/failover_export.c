#include "node/agent/failover_export.h"

#include <jansson.h>

#include "node/agent/failover_view.h"

static json_t *name_of(const struct failover_view *v, int node)
{
    return node >= 0 ? json_string(v->nodes[node].name) : json_null();
}

static json_t *volume(const struct failover_view *v, const struct failover_disk *d)
{
    json_t *members = json_array();
    for (unsigned i = 0; i < d->members; i++)
        json_array_append_new(members, name_of(v, d->node[i]));
    json_t *to = json_pack("{s:o, s:i}", "members", members, "spare", d->spare);
    if (to && d->has_witness)
        json_object_set_new(to, "witness", name_of(v, d->witness));
    return to;
}

json_t *failover_export_volumes(const struct mirror *mirror)
{
    struct failover_scene s;
    json_t *all = json_object();
    if (!failover_scene_make(&s, mirror, NULL, ""))
        return all;
    for (unsigned i = 0; i < s.view.guest_count; i++) {
        const struct failover_guest *g = &s.view.guests[i];
        json_t *list = g->disk_count ? json_array() : NULL;
        for (unsigned k = 0; k < g->disk_count; k++)
            json_array_append_new(list, volume(&s.view, &g->disks[k]));
        if (list)
            json_object_set_new(all, s.objects[i]->id, list);
    }
    failover_scene_free(&s);
    return all;
}
