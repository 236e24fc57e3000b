#include "node/agent/drill_metrics.h"

#include <jansson.h>
#include <string.h>

#include "node/agent/drill.h"
#include "node/agent/member.h"

static double number(const struct object *drill, const char *list, const char *key)
{
    const json_t *holder = *list ? json_object_get(drill->state, list) : drill->state;
    return (double)json_integer_value(json_object_get(holder, key));
}

/* The newest of that kind that has ended and was conducted here; NULL: none. Their names are in the order of time. */
static const struct object *last_of(const struct mirror *m, const char *node, enum drill_kind kind)
{
    const struct object *last = NULL;
    for (const struct object *d = mirror_next(m, OBJECT_DRILL, NULL); d; d = mirror_next(m, OBJECT_DRILL, d->name))
        if (drill_kind(d) == kind && drill_has_ended(d) && !strcmp(member_text(d->state, "conductor"), node))
            last = d;
    return last;
}

static void family(FILE *f, const char *name, const char *help)
{
    fprintf(f, "# HELP drover_drill_%s %s\n# TYPE drover_drill_%s gauge\n", name, help, name);
}

void drill_metrics_put(FILE *f, const struct mirror *m, const char *node, uint64_t now_ms)
{
    static const struct {
        const char *name, *help;
    } families[] = {
        {"last_success",
         "1: the last drill of the kind that this node conducted was done; 0: it was aborted or failed."},
        {"last_age_seconds", "Since that drill ended."},
        {"last_rto_seconds", "The longest outage of a guest in it."},
        {"last_lost_writes", "Writes of canaries that were acknowledged and are missing since it."},
    };
    for (unsigned i = 0; i < sizeof families / sizeof *families; i++) {
        family(f, families[i].name, families[i].help);
        for (int kind = 0; kind < DRILL_KIND_COUNT; kind++) {
            const struct object *d = last_of(m, node, (enum drill_kind)kind);
            if (!d)
                continue;
            const double values[] = {drill_phase_of(d) == DRILL_DONE,
                                     ((double)now_ms - number(d, "", "ended_ms")) / 1e3,
                                     number(d, "result", "rto_ms") / 1e3, number(d, "result", "lost_writes")};
            fprintf(f, "drover_drill_%s{kind=\"%s\",node=\"%s\"} %.17g\n", families[i].name,
                    drill_traits((enum drill_kind)kind)->name, object_spec_text(d, "node"), values[i]);
        }
    }
    family(f, "under_way", "1 while this node conducts a drill.");
    const struct object *d = drill_under_way(m);
    fprintf(f, "drover_drill_under_way %d\n",
            d && !strcmp(drill_conductor(m, json_object_get(d->value, "spec")), node));
}
