#include "node/agent/load_writes.h"

#include <jansson.h>
#include <string.h>

#include "node/agent/member.h"

#define NS_PER_MS UINT64_C(1000000)

static const double RATE_MAX = 1e12; /* no memory is written faster */

static bool is_looked_at(const struct object *plan)
{
    const char *phase = object_spec_text(plan, "phase");
    return !strcmp(phase, "proposed") || !strcmp(phase, "active");
}

bool load_writes_leaving(const struct mirror *m, const char *node, bool (*wanted)(void *context, const char *id),
                         void *context)
{
    for (const struct object *p = mirror_next(m, OBJECT_PLAN, NULL); p; p = mirror_next(m, OBJECT_PLAN, p->name)) {
        const json_t *waves = is_looked_at(p) ? object_spec(p, "waves") : NULL;
        for (size_t w = 0; w < json_array_size(waves); w++) {
            const json_t *wave = json_array_get(waves, w);
            for (size_t i = 0; i < json_array_size(wave); i++) {
                const json_t *move = json_array_get(wave, i);
                if (!strcmp(member_text(move, "from"), node) && wanted(context, member_text(move, "guest_id")))
                    return true;
            }
        }
    }
    return false;
}

bool load_writes_due(const struct load_writes *w, uint64_t now_ns)
{
    bool fresh = w->looked_ns && now_ns - w->looked_ns < LOAD_WRITES_FRESH_MS * NS_PER_MS;
    return !fresh && (!w->asked_ns || now_ns - w->asked_ns >= LOAD_WRITES_AGAIN_MS * NS_PER_MS);
}

bool load_writes_learn(struct load_writes *w, const json_t *answer, uint64_t now_ns)
{
    const json_t *rate = json_object_get(answer, "dirty-rate");
    double bytes_per_s = json_number_value(rate);
    if (!json_is_number(rate) || !(bytes_per_s >= 0 && bytes_per_s <= RATE_MAX))
        return false;
    w->bytes_per_s = bytes_per_s;
    w->looked_ns = now_ns;
    return true;
}

void load_writes_put(const struct load_writes *w, json_t *guest, uint64_t now_ns)
{
    if (!w->looked_ns)
        return;
    json_object_set_new(guest, "dirty", json_integer((json_int_t)w->bytes_per_s));
    json_object_set_new(guest, "dirty_ago",
                        json_integer((json_int_t)((now_ns - w->looked_ns) / (UINT64_C(1000) * NS_PER_MS))));
}
