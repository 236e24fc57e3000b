#include "balancer/snapshot_failover.h"

void snapshot_failover_guest(json_t *to, const json_t *spec, const json_t *volumes)
{
    static const char *const keys[] = {"ha", "ha_priority", "ha_after", "ha_delay"};
    if (!json_is_true(json_object_get(spec, "ha")))
        return;
    for (unsigned i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *value = json_object_get(spec, keys[i]);
        if (value && !json_is_null(value))
            json_object_set_new(to, keys[i], json_deep_copy(value));
    }
    if (json_array_size(volumes))
        json_object_set_new(to, "volumes", json_deep_copy(volumes));
}
