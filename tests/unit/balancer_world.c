#include "tests/unit/balancer_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/follow.h"
#include "balancer/plan_record.h"

const char wall[] = "2026-11-26T12:00:00.000Z";

void put(struct world *w, const char *key, const char *format, ...)
{
    char text[4096];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    for (char *c = text; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    assert_true(follow_take(w->objects, key, text, strlen(text), ++w->revision, w->now.clock_s));
}

void drop(struct world *w, const char *key)
{
    assert_true(follow_take(w->objects, key, NULL, 0, ++w->revision, w->now.clock_s));
}

void put_node(struct world *w, int n, const char *more)
{
    char key[64];
    snprintf(key, sizeof key, "/drover/node/N%d", n);
    put(w, key, "{'kind':'node','id':'N%d','name':'n%d','spec':{'drained':false%s}}", n, n, more);
    snprintf(key, sizeof key, "/drover/state/node/N%d", n);
    put(w, key, "{'alive':true,'cpus':4,'memory_bytes':17179869184}");
}

void put_guest(struct world *w, int g, int node, const char *more)
{
    char key[64];
    snprintf(key, sizeof key, "/drover/guest/G%d", g);
    put(w, key,
        "{'kind':'guest','id':'G%d','name':'g%d'%s,'spec':{'node':'n%d','running':true,'memory':1073741824,'vcpus':2}}",
        g, g, more, node);
    snprintf(key, sizeof key, "/drover/state/guest/G%d", g);
    put(w, key, "{'phase':'running','node':'n%d'}", node);
}

/* Guests 1 to count of that node use so many hundredths. */
void put_load(struct world *w, int node, const char *guests)
{
    char key[64];
    snprintf(key, sizeof key, "/drover/state/load/N%d", node);
    put(w, key, "{'node':'n%d','pressure':{'cpu':0,'memory':0,'io':0},'guests':{%s}}", node, guests);
}

void put_policy(struct world *w, const char *mode, const char *text)
{
    json_t *spec = json_pack("{s:s, s:s}", "mode", mode, "text", text);
    json_t *value =
        json_pack("{s:s, s:s, s:s, s:o}", "kind", "policy", "id", "balance", "name", "balance", "spec", spec);
    char *dumped = json_dumps(value, 0);
    assert_true(follow_take(w->objects, "/drover/policy/balance", dumped, strlen(dumped), ++w->revision, 0));
    free(dumped);
    json_decref(value);
}

const char eager[] = "{\"cost\": {\"move\": 1}, \"moves\": {\"parallel\": 1, \"per_node\": 1},"
                     " \"patience\": {\"cool_down\": 0}}";

/* Four busy guests on one node of three. */
int world_setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    w->objects = json_object();
    w->now = (struct snapshot_time){.clock_s = 100, .wall_s = WALL_S};
    w->conductor.node = "n1";
    for (int n = 1; n <= 3; n++)
        put_node(w, n, "");
    for (int g = 1; g <= 4; g++)
        put_guest(w, g, 1, "");
    put_load(w, 1,
             "'G1':{'cpu':[90,90,90],'dirty':0},'G2':{'cpu':[90,90,90],'dirty':0},'G3':{'cpu':[90,90,90],'dirty':0},"
             "'G4':{'cpu':[90,90,90],'dirty':0}");
    put_load(w, 2, "");
    put_load(w, 3, "");
    put_policy(w, "automatic", eager);
    *state = w;
    return 0;
}

int world_teardown(void **state)
{
    struct world *w = *state;
    conductor_fini(&w->conductor);
    json_decref(w->objects);
    free(w);
    return 0;
}

/* One look, and the store takes what it says. Returns how many changes there were. */
int look(struct world *w)
{
    struct conductor_step step;
    conductor_look(&w->conductor, w->objects, &w->now, wall, &step);
    int count = step.count;
    for (int i = 0; i < count; i++) {
        char *text = step.puts[i].value ? json_dumps(step.puts[i].value, 0) : NULL;
        assert_true(follow_take(w->objects, step.puts[i].key, text, text ? strlen(text) : 0, ++w->revision, 0));
        free(text);
    }
    conductor_step_fini(&step);
    return count;
}

json_t *plan_in(struct world *w, const char *phase)
{
    json_t *entry;
    const char *id;
    json_object_foreach (json_object_get(w->objects, "plan"), id, entry)
        if (!strcmp(plan_record_phase(json_object_get(entry, "value")), phase))
            return json_object_get(entry, "value");
    return NULL;
}

const char *status_text(struct world *w, const char *key)
{
    return snapshot_text(json_object_get(json_object_get(json_object_get(w->objects, "balancer"), "status"), "state"),
                         key);
}

json_t *named(json_t *list, const char *name)
{
    size_t i;
    json_t *entry;
    json_array_foreach (list, i, entry)
        if (!strcmp(snapshot_text(entry, "name"), name))
            return entry;
    return NULL;
}

void put_rules(struct world *w, int g, int node, const char *rules)
{
    char key[64];
    snprintf(key, sizeof key, "/drover/guest/G%d", g);
    put(w, key,
        "{'kind':'guest','id':'G%d','name':'g%d','spec':{'node':'n%d','running':true,'memory':1073741824,'vcpus':2%s}}",
        g, g, node, rules);
}

void apply(struct world *w)
{
    json_object_set_new(plan_in(w, "proposed"), "apply", json_pack("{s:s}", "by", "token:alice"));
}

void keep(void *data, struct conductor_job *job)
{
    *(struct conductor_job **)data = job;
}

double number_in(const json_t *object, const char *outer, const char *inner)
{
    return json_number_value(json_object_get(json_object_get(object, outer), inner));
}
