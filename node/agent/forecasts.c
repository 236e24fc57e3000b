#include "node/agent/forecasts.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/api.h"
#include "node/agent/cluster.h"
#include "node/agent/guest_link.h"
#include "node/agent/guest_unit.h"
#include "node/agent/guests.h"
#include "node/agent/member.h"
#include "node/agent/migration.h"
#include "node/agent/migration_forecast.h"
#include "node/agent/migration_volumes.h"
#include "node/agent/peer_client.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/http_client.h"

enum { ANSWER_MAX = 64 << 10, TIMEOUT_MS = 5000, URL_MAX = 480, WHY_MAX = 300 };

struct forecasts {
    struct cluster *cluster;
    struct guests *guests;
    struct http_client *client;
    void (*closed)(void *context);
    void *closed_context;
};

struct question {
    struct api_call *call;
    json_t *migration;
    double volume_s; /* of what moves along */
    char from[MIGRATION_FORECAST_FROM_MAX];
    char left[MIGRATION_VOLUMES_TEXT_MAX]; /* what does not, in words */
    struct guest_call guest_call;
    struct http_client_request request;
    char url[URL_MAX], *body;
};

/* In words, for people. */
static void say(json_t *state)
{
    const char *why = member_text(state, "goals_reason"), *from = member_text(state, "predicted_from");
    bool holds = json_is_true(json_object_get(state, "goals_hold"));
    const json_t *late_s = json_object_get(state, "predicted_post_copy_s");
    bool needs = json_is_true(json_object_get(state, "needs_post_copy"));
    json_t *reason;
    if (holds && late_s)
        reason = json_sprintf("it can be as wished, by post-copy: the guest waits for pages for another %.1f s (%s)",
                              json_number_value(late_s), from);
    else if (holds)
        reason = json_sprintf("it can be as wished (%s)", from);
    else
        reason = json_sprintf("it cannot be as wished%s: %s (%s)", needs ? " without post-copy (--post-copy)" : "", why,
                              from);
    json_object_set_new(state, "reason", reason);
}

/* state: taken over; NULL: nothing is predicted, and why. */
static void answer(struct question *q, json_t *state, const char *why)
{
    bool predicted = state;
    if (!state)
        state = json_pack("{s:s}", "reason", why);
    migration_forecast_add(state, json_object_get(q->migration, "spec"), q->volume_s);
    if (predicted)
        say(state);
    if (json_object_get(state, "predicted_volume_bytes"))
        json_object_set_new(
            state, "reason",
            json_sprintf("%s; of that its volumes: %.1f GiB, %.0f s, before it sets out itself",
                         member_text(state, "reason"),
                         json_number_value(json_object_get(state, "predicted_volume_bytes")) / (1 << 30), q->volume_s));
    if (*q->left)
        json_object_set_new(state, "reason",
                            json_sprintf("%s; %s and reached from there: --with-volumes takes along what the guest has",
                                         member_text(state, "reason"), q->left));
    json_object_set_new(state, "phase", json_string("predicted"));
    json_object_set_new(q->migration, "state", state);
    api_reply(q->call, 200, q->migration);
    free(q->body);
    free(q);
}

/* ---- a guest of this node ---- */

static void told(struct guest_call *call, int rc, const json_t *said, const char *text)
{
    struct question *q = CONTAINER_OF(call, struct question, guest_call);
    char why[WHY_MAX];
    snprintf(why, sizeof why, "nothing can be predicted: %s", rc ? text : "");
    answer(q, rc ? NULL : migration_forecast_state(said, q->from), why);
}

static void ask_here(struct forecasts *f, struct question *q, const struct object *guest,
                     const struct migration_goals *goals)
{
    struct guest_unit *unit = f->guests ? guests_find(f->guests, guest->id) : NULL;
    json_t *spec = json_object_get(q->migration, "spec");
    q->guest_call = (struct guest_call){.done = told, .type = CONTROL_FORECAST};
    q->guest_call.body = migration_forecast_wish(cluster_mirror(f->cluster), cluster_node(f->cluster),
                                                 member_text(spec, "to"), goals, q->from);
    if (unit && !guest_unit_call(unit, &q->guest_call))
        return;
    json_decref(q->guest_call.body);
    answer(q, NULL, "nothing can be predicted: the guest's process is not there at this moment");
}

/* ---- of another one ---- */

static void answered(struct http_client_request *request, int result)
{
    struct question *q = CONTAINER_OF(request, struct question, request);
    json_t *body = !result && request->status == 200 ? json_loadb(request->answer, request->answer_len, 0, NULL) : NULL;
    json_t *state = json_object_get(body, "state");
    char why[WHY_MAX];
    snprintf(why, sizeof why, "nothing can be predicted: node %.64s does not answer: %.160s",
             member_text(json_object_get(q->migration, "spec"), "from"), result ? request->err.text : "it refuses to");
    answer(q, json_is_object(state) ? json_incref(state) : NULL, why);
    json_decref(body);
}

static void ask_there(struct forecasts *f, struct question *q, const struct object *guest,
                      const struct migration_goals *goals)
{
    static const char *const headers[] = {"Content-Type: application/json", NULL};
    const struct object *node = mirror_named(cluster_mirror(f->cluster), OBJECT_NODE, object_spec_text(guest, "node"));
    const char *api = node ? member_text(node->state, "api") : "";
    json_t *body =
        json_pack("{s:s, s:I, s:I}", "to", member_text(json_object_get(q->migration, "spec"), "to"), "max_downtime_ms",
                  (json_int_t)goals->max_downtime_ms, "within_s", (json_int_t)goals->within_s);
    if (json_object_get(q->call->body, "post_copy"))
        json_object_set(body, "post_copy", json_object_get(q->call->body, "post_copy"));
    q->body = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    snprintf(q->url, sizeof q->url, "%s/v1/guests/%s/migrate?dry_run=true", api, guest->name);
    if (!*api || !f->client || !q->body) {
        answer(q, NULL, "nothing can be predicted: the guest's node cannot be asked");
        return;
    }
    q->request = (struct http_client_request){.method = "POST",
                                              .url = q->url,
                                              .headers = headers,
                                              .body = q->body,
                                              .body_len = strlen(q->body),
                                              .answer_max = ANSWER_MAX,
                                              .connect_ms = TIMEOUT_MS,
                                              .timeout_ms = TIMEOUT_MS,
                                              .done = answered};
    http_client_send(f->client, &q->request);
}

/* Of all nodes any one knows enough of the volumes. */
static struct migration_goals look_at_volumes(const struct forecasts *f, struct question *q, const struct object *guest,
                                              const struct migration_goals *goals)
{
    const struct mirror *m = cluster_mirror(f->cluster);
    const json_t *spec = json_object_get(q->migration, "spec");
    json_t *wish = migration_forecast_wish(m, member_text(spec, "from"), member_text(spec, "to"), goals, q->from);
    q->volume_s = migration_forecast_volumes(m, wish, spec);
    json_decref(wish);
    if (q->call->who.role != ROLE_NODE && !goals->with_volumes)
        migration_volumes_left(m, guest, q->left, sizeof q->left);
    return migration_forecast_rest(goals, q->volume_s);
}

void forecasts_answer(struct forecasts *f, struct api_call *call, const struct object *guest, json_t *migration,
                      const struct migration_goals *goals)
{
    struct question *q = calloc(1, sizeof *q);
    bool here = !strcmp(object_spec_text(guest, "node"), cluster_node(f->cluster));
    if (!q) {
        json_decref(migration);
        api_error(call, 500, "out-of-memory", NULL, "out of memory");
        return;
    }
    q->call = call;
    q->migration = migration;
    struct migration_goals rest = look_at_volumes(f, q, guest, goals);
    if (here || call->who.role == ROLE_NODE)
        ask_here(f, q, guest, &rest);
    else
        ask_there(f, q, guest, &rest);
}

/* ---- life ---- */

struct forecasts *forecasts_new(struct loop *loop, struct cluster *cluster, const char *tls, struct err *err)
{
    struct forecasts *f = calloc(1, sizeof *f);
    if (!f) {
        err_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    f->cluster = cluster;
    if (tls && !(f->client = peer_client_new(loop, tls, err))) {
        free(f);
        return NULL;
    }
    return f;
}

void forecasts_attach(struct forecasts *f, struct guests *guests)
{
    f->guests = guests;
}

static void client_closed(void *context)
{
    struct forecasts *f = context;
    void (*closed)(void *) = f->closed;
    void *closed_context = f->closed_context;
    free(f);
    closed(closed_context);
}

void forecasts_close(struct forecasts *f, void (*closed)(void *context), void *context)
{
    f->closed = closed;
    f->closed_context = context;
    if (f->client)
        http_client_close(f->client, client_closed, f);
    else
        client_closed(f);
}
