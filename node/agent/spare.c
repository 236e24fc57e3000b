#include "node/agent/spare.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/audit.h"
#include "node/agent/change.h"
#include "node/agent/cluster.h"
#include "node/agent/complete_volume.h"
#include "node/agent/member.h"
#include "node/agent/task.h"
#include "node/agent/volume_member.h"
#include "node/base/clock.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/uuid.h"

enum { ID_MAX = 64, AGAIN_MS = 10000, SEEN_MS = 30000 /* by this agent, or for as long as is asked for */ };

struct spare {
    struct cluster *cluster;
    struct audit *audit;
    char away[ID_MAX]; /* the member that is away; "": none */
    int index;
    uint64_t seen_ms, again_ms;
    int64_t since_s;
    bool busy, freed; /* busy: a change is on its way */
    struct log_limit limit;
};

/* ---- who ---- */

static const char *condition_of(const struct object *volume, int index)
{
    const json_t *lines = json_object_get(volume->state, "members");
    return member_text(index == WITNESS ? json_object_get(volume->state, "witness")
                                        : json_array_get(lines, (size_t)index),
                       "condition");
}

/* Its node is, or what serves it. */
static bool is_away(const struct mirror *m, const struct object *volume, int index)
{
    const struct object *member = volume_member_at(m, volume->id, index);
    const char *condition = condition_of(volume, index);
    return member &&
           (!volume_member_is_up(m, member) || !strcmp(condition, "missing") || !strcmp(condition, "foreign"));
}

static json_int_t patience_s(const struct object *volume)
{
    return json_integer_value(object_spec(volume, "replace_after_s"));
}

int spare_index(const struct mirror *m, const struct object *volume)
{
    struct layout l;
    int away = SPARE_NONE;
    if (*member_text(volume->value, "move") || !patience_s(volume) || !volume_layout(volume, &l) || !l.spare ||
        !json_is_true(json_object_get(volume->state, "made")) ||
        json_is_true(json_object_get(volume->value, "deleting")))
        return SPARE_NONE;
    for (int i = 0; i < (int)l.members; i++) {
        if (is_away(m, volume, i) && away == SPARE_NONE)
            away = i;
        else if (is_away(m, volume, i) || strcmp(condition_of(volume, i), "in-sync") != 0)
            return SPARE_NONE; /* nobody gives a copy away while another one is missing */
    }
    bool witness = away == SPARE_NONE && *object_spec_text(volume, "witness") && is_away(m, volume, WITNESS);
    return witness ? WITNESS : away;
}

int64_t spare_since(const struct object *volume, const char *member, int64_t now_s)
{
    const json_t *away = json_object_get(volume->state, "away");
    json_int_t since_s = json_integer_value(json_object_get(away, "since"));
    bool known = !strcmp(member_text(away, "id"), member) && since_s > 0 && since_s <= now_s;
    return known ? since_s : now_s;
}

/* ---- doing it ---- */

static void committed(void *context, int rc, uint64_t revision, const struct err *err)
{
    struct spare *s = context;
    (void)revision;
    s->busy = false;
    if (s->freed) {
        free(s);
        return;
    }
    if (rc)
        log_limited(&s->limit, LOG_LEVEL_WARN, "a member that is away could not be replaced: %s", err->text);
    s->again_ms = clock_ms() + AGAIN_MS;
}

/* "member 2", "the witness". */
static const char *name_of(int index, char text[32])
{
    if (index == WITNESS)
        snprintf(text, 32, "the witness");
    else
        snprintf(text, 32, "member %d", index);
    return text;
}

static void note(struct spare *s, const struct object *volume, int index, const char *why)
{
    char path[256], place[16] = "witness";
    if (index != WITNESS)
        snprintf(place, sizeof place, "%d", index);
    snprintf(path, sizeof path, "/v1/volumes/%s/members/%s/replace", volume->name, place);
    audit_write_own(s->audit, cluster_node(s->cluster), "POST", path, volume->name, why);
}

static void replace(struct spare *s, const struct object *volume, int index, int64_t away_s)
{
    const struct mirror *m = cluster_mirror(s->cluster);
    struct complete_error wrong;
    char id[UUID_TEXT_BYTES], who[32], why[160];
    json_t *value = json_deep_copy(volume->value), *spec = json_object_get(value, "spec");
    s->again_ms = clock_ms() + AGAIN_MS;
    if (complete_replacement(m, volume, index, "", spec, &wrong)) {
        log_limited(&s->limit, LOG_LEVEL_WARN, "volume %s: %s is away, and cannot be replaced: %s", volume->name,
                    name_of(index, who), wrong.text);
        json_decref(value);
        return;
    }
    struct change *change = change_new(s->cluster);
    if (!change) {
        json_decref(value);
        return;
    }
    uuid_make(id);
    json_object_set_new(value, "replaced", json_pack("{s:i, s:s}", "index", index, "id", id));
    json_t *task = task_make(TASK_REPLACE, value, cluster_node(s->cluster), "drover");
    change_put(change, OBJECT_VOLUME, volume->id, json_incref(value), volume->revision);
    volume_member_replace(m, change, value);
    if (task)
        change_put(change, OBJECT_TASK, member_text(task, "id"), task, 0);
    snprintf(why, sizeof why, "%s was away for %lld s", name_of(index, who), (long long)away_s);
    log_warn("volume %s: %s, and is replaced by a fresh one in pool %s", volume->name, why,
             index == WITNESS ? member_text(spec, "witness")
                              : json_string_value(json_array_get(json_object_get(spec, "pools"), (size_t)index)));
    note(s, volume, index, why);
    json_decref(value);
    s->busy = true;
    change_commit(change, committed, s);
}

void spare_look(struct spare *s, const struct object *volume)
{
    const struct mirror *m = cluster_mirror(s->cluster);
    int index = spare_index(m, volume);
    const struct object *member = index == SPARE_NONE ? NULL : volume_member_at(m, volume->id, index);
    uint64_t now_ms = clock_ms(), patience_ms = (uint64_t)patience_s(volume) * 1000;
    int64_t now_s = (int64_t)(clock_wall_ms() / 1000);
    if (!member || strcmp(member->id, s->away) != 0) {
        snprintf(s->away, sizeof s->away, "%s", member ? member->id : "");
        s->index = index;
        s->seen_ms = now_ms;
        s->since_s = member ? spare_since(volume, member->id, now_s) : 0;
    }
    /* right after a power failure others may only be slower to start than this node was */
    uint64_t least_ms = patience_ms < SEEN_MS ? patience_ms : SEEN_MS;
    if (member && !s->busy && now_ms >= s->again_ms && now_ms - s->seen_ms >= least_ms &&
        now_s - s->since_s >= patience_s(volume))
        replace(s, volume, index, now_s - s->since_s);
}

bool spare_waits(const struct spare *s)
{
    return *s->away;
}

const char *spare_away(const struct spare *s, int *index, int64_t *since_s)
{
    *index = s->index;
    *since_s = s->since_s;
    return s->away;
}

/* ---- life ---- */

struct spare *spare_new(struct cluster *cluster, struct audit *audit)
{
    struct spare *s = calloc(1, sizeof *s);
    if (s)
        *s = (struct spare){.cluster = cluster, .audit = audit, .limit = {.burst = 1, .interval_ms = 600000}};
    return s;
}

void spare_free(struct spare *s)
{
    if (s && s->busy)
        s->freed = true;
    else
        free(s);
}
