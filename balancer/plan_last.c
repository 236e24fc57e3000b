#include "balancer/plan_last.h"

#include <errno.h>
#include <stdlib.h>

#include "balancer/model.h"
#include "node/base/err.h"

void plan_last_fini(struct plan_last *last)
{
    free(last->at);
    free(last->mirror);
    *last = (struct plan_last){0};
}

/* A guest that waits somewhere is moved twice: the later move counts. */
static void take_move(struct plan_last *last, const json_t *move, const struct model *m)
{
    int guest = names_find_member(&m->guest_names, move, "guest"), to = names_find_member(&m->node_names, move, "to");
    int mirror = names_find_member(&m->node_names, move, "mirror_to");
    if (guest < 0 || to < 0 || to == mirror || (mirror >= 0) != (m->mirror[guest] >= 0))
        return;
    last->count += last->at[guest] < 0;
    last->at[guest] = to;
    last->mirror[guest] = mirror;
}

int plan_last_take(struct plan_last *last, const json_t *waves, const struct model *m)
{
    size_t guests = (size_t)m->guest_count + 1, i, k;
    const json_t *wave, *move;
    *last =
        (struct plan_last){.at = malloc(guests * sizeof *last->at), .mirror = malloc(guests * sizeof *last->mirror)};
    if (!last->at || !last->mirror) {
        plan_last_fini(last);
        return -ENOMEM;
    }
    for (size_t g = 0; g < guests; g++)
        last->at[g] = last->mirror[g] = -1;
    json_array_foreach (waves, i, wave)
        json_array_foreach (wave, k, move)
            take_move(last, move, m);
    return 0;
}

int plan_last_read(struct plan_last *last, const char *name, const char *text, size_t len, const struct model *m,
                   struct err *err)
{
    json_error_t where;
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &where), *waves = json_object_get(root, "waves");
    *last = (struct plan_last){0};
    int rc = 0;
    if (!root)
        rc = err_set(err, EINVAL, "%s:%d: %s", name, where.line, where.text);
    else if (!json_is_array(waves))
        rc = err_set(err, EINVAL, "%s: it has no list 'waves': a plan is wanted, as --write-plan writes it", name);
    else if (plan_last_take(last, waves, m) < 0)
        rc = err_set(err, ENOMEM, "no memory for the last plan");
    json_decref(root);
    return rc;
}
