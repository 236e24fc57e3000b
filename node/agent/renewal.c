#include "node/agent/renewal.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "node/agent/certificate.h"
#include "node/agent/change.h"
#include "node/agent/cluster.h"
#include "node/agent/member.h"
#include "node/agent/membership.h"
#include "node/agent/peer_client.h"
#include "node/agent/presence.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/http_client.h"
#include "node/base/log.h"
#include "node/base/loop.h"
#include "node/base/tls.h"

enum { LOOK_MS = 3600000, AGAIN_MS = 60000, PATIENCE_MS = 20000, ANSWER_MAX = 64 << 10 };

struct renewal {
    struct renewal_place place;
    char *ca, *key;
    int64_t begin_s, end_s; /* of the certificate */
    char key_digest[CERTIFICATE_FINGERPRINT_HEX + 1];
    bool asking, settling; /* settling: the wish is being taken out of the node's object */
    bool missing;          /* the node with the authority's key; it was said */
    uint64_t again_ms;     /* not before that; 0: at once */
    struct mirror_listener listener;
    struct loop_job job;
    struct loop_timer timer;
    struct http_client *client;
    struct http_client_request request;
    char url[512], asked[128]; /* asked: who */
    char *body;
    void (*closed)(void *context);
    void *closed_context;
};

static const struct object *this_node(const struct renewal *r)
{
    return mirror_named(cluster_mirror(r->place.cluster), OBJECT_NODE, cluster_node(r->place.cluster));
}

static bool is_wanted(const struct object *node)
{
    return node && json_is_true(object_spec(node, "renew"));
}

static void look_in(struct renewal *r, uint64_t ms)
{
    loop_timer_set(r->place.loop, &r->timer, clock_ns() + ms * 1000000);
}

static void free_all(struct renewal *r)
{
    certificate_pem_free(r->ca);
    certificate_pem_free(r->key);
    free(r);
}

/* It is being closed. */
static void free_if_idle(struct renewal *r)
{
    void (*closed)(void *) = r->closed;
    void *context = r->closed_context;
    if (r->client || r->settling)
        return;
    free_all(r);
    closed(context);
}

/* ---- the new one ---- */

static void give_up(struct renewal *r, const char *why)
{
    log_warn("the node's certificate is not renewed yet, it is tried again in a minute: %s", why);
    r->again_ms = clock_ms() + AGAIN_MS;
    look_in(r, AGAIN_MS);
}

static int judge(const struct renewal *r, const char *certificate, struct certificate_info *info, struct err *err)
{
    int rc = certificate_verify(certificate, r->ca, time(NULL), err);
    if (!rc)
        rc = certificate_inspect(certificate, info, err);
    if (!rc && (!certificate_matches(certificate, r->key) || strcmp(info->common_name, cluster_node(r->place.cluster))))
        rc = err_set(err, EPROTO, "node %s sent somebody else's certificate", r->asked);
    return rc;
}

static void wish_settled(void *context, int rc, uint64_t revision, const struct err *err)
{
    struct renewal *r = context;
    (void)revision;
    r->settling = false;
    if (r->closed) {
        free_if_idle(r);
    } else if (rc) { /* as long as the wish is there, so is the work */
        log_info("the wish for a new certificate stays: %s", err->text);
        loop_defer(r->place.loop, &r->job);
    }
}

static void settle_wish(struct renewal *r)
{
    const struct object *node = this_node(r);
    struct change *change = is_wanted(node) ? change_new(r->place.cluster) : NULL;
    if (!change)
        return;
    json_t *value = json_deep_copy(node->value);
    json_object_del(json_object_get(value, "spec"), "renew");
    change_put(change, OBJECT_NODE, node->id, value, node->revision);
    r->settling = true;
    change_commit(change, wish_settled, r);
}

static void take(struct renewal *r, const char *certificate)
{
    struct certificate_info info;
    struct err err = {0};
    if (judge(r, certificate, &info, &err) || certificate_store_renewed(r->place.tls, certificate, &err)) {
        give_up(r, err.text);
        return;
    }
    r->begin_s = info.not_before_s;
    r->end_s = info.not_after_s;
    log_info("the node has a new certificate, good for %lld days", (long long)(info.not_after_s - time(NULL)) / 86400);
    r->place.renewed(r->place.context);
    settle_wish(r);
    look_in(r, LOOK_MS);
}

/* ---- asking ---- */

static void answered(struct http_client_request *request, int result)
{
    struct renewal *r = CONTAINER_OF(request, struct renewal, request);
    json_t *answer = result ? NULL : json_loadb(request->answer, request->answer_len, JSON_REJECT_DUPLICATES, NULL);
    char why[400];
    free(r->body);
    r->body = NULL;
    r->asking = false;
    if (r->closed) {
        json_decref(answer);
        return;
    }
    snprintf(why, sizeof why, "node %s: %.200s", r->asked, result ? request->err.text : member_text(answer, "detail"));
    if (result || request->status != 200)
        give_up(r, why);
    else
        take(r, member_text(answer, "certificate"));
    json_decref(answer);
}

static void ask(struct renewal *r, const struct object *node, const char *pem)
{
    static const char *const headers[] = {"Content-Type: application/json", NULL};
    json_t *body = json_pack("{s:s}", "request", pem);
    r->body = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    if (!r->body) {
        give_up(r, "out of memory");
        return;
    }
    snprintf(r->asked, sizeof r->asked, "%s", node->name);
    snprintf(r->url, sizeof r->url, "%s/v1/cluster/certificate", member_text(node->state, "api"));
    r->request = (struct http_client_request){.method = "POST",
                                              .url = r->url,
                                              .headers = headers,
                                              .body = r->body,
                                              .body_len = strlen(r->body),
                                              .answer_max = ANSWER_MAX,
                                              .timeout_ms = PATIENCE_MS,
                                              .done = answered};
    r->asking = true;
    http_client_send(r->client, &r->request);
}

static const struct object *find_authority(const struct renewal *r)
{
    const struct mirror *m = cluster_mirror(r->place.cluster);
    for (const struct object *n = mirror_next(m, OBJECT_NODE, NULL); n; n = mirror_next(m, OBJECT_NODE, n->name))
        if (presence_is_alive(n) && json_is_true(json_object_get(n->state, "authority")) &&
            *member_text(n->state, "api"))
            return n;
    return NULL;
}

/* False: nobody is there. When that changes, we are called again. */
static bool find_signer(struct renewal *r, const struct object **authority)
{
    bool found = membership_signs(r->place.membership) || (*authority = find_authority(r));
    if (!found && !r->missing)
        log_warn("the node's certificate is not renewed yet: the node with the authority's key is not there");
    r->missing = !found;
    return found;
}

static void begin(struct renewal *r)
{
    const char *name = cluster_node(r->place.cluster);
    const struct object *authority = NULL;
    char *pem = NULL, *certificate = NULL;
    struct err err = {0};
    r->again_ms = 0;
    if (!find_signer(r, &authority))
        return;
    if (certificate_request_for(name, r->key, &pem, &err)) {
        give_up(r, err.text);
    } else if (authority) {
        ask(r, authority, pem);
    } else {
        snprintf(r->asked, sizeof r->asked, "%s", name);
        if (membership_sign(r->place.membership, name, r->place.address, pem, &certificate, &err))
            give_up(r, err.text);
        else
            take(r, certificate);
    }
    certificate_pem_free(certificate);
    certificate_pem_free(pem);
}

/* ---- when ---- */

static void evaluate(struct loop_job *job)
{
    struct renewal *r = CONTAINER_OF(job, struct renewal, job);
    bool due = is_wanted(this_node(r)) || time(NULL) > r->begin_s + (r->end_s - r->begin_s) / 2;
    if (due && !r->closed && !r->asking && !r->settling && clock_ms() >= r->again_ms)
        begin(r);
}

static void object_changed(struct mirror_listener *listener, const struct object *object, enum object_part part)
{
    struct renewal *r = CONTAINER_OF(listener, struct renewal, listener);
    (void)part;
    if (object->kind == OBJECT_NODE)
        loop_defer(r->place.loop, &r->job);
}

static void timer_fired(struct loop_timer *timer)
{
    struct renewal *r = CONTAINER_OF(timer, struct renewal, timer);
    look_in(r, LOOK_MS);
    loop_defer(r->place.loop, &r->job);
}

/* ---- life ---- */

static int read_files(struct renewal *r, const struct tls_client_files *files, struct err *err)
{
    char *certificate = NULL;
    struct certificate_info info;
    int rc = certificate_load(files->ca, false, &r->ca, err);
    if (!rc)
        rc = certificate_load(files->key, true, &r->key, err);
    if (!rc)
        rc = certificate_load(files->certificate, false, &certificate, err);
    if (!rc)
        rc = certificate_inspect(certificate, &info, err);
    certificate_pem_free(certificate);
    if (rc)
        return rc;
    r->begin_s = info.not_before_s;
    r->end_s = info.not_after_s;
    memcpy(r->key_digest, info.key_digest, sizeof r->key_digest);
    return 0;
}

struct renewal *renewal_new(const struct renewal_place *place, struct err *err)
{
    struct tls_client_files files;
    struct renewal *r = calloc(1, sizeof *r);
    if (!r) {
        err_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    r->place = *place;
    tls_client_files(place->tls, &files);
    if (read_files(r, &files, err) || !(r->client = peer_client_new(place->loop, place->tls, err))) {
        free_all(r);
        return NULL;
    }
    r->listener.changed = object_changed;
    r->job.run = evaluate;
    r->timer.fire = timer_fired;
    mirror_listen(cluster_mirror(place->cluster), &r->listener);
    look_in(r, LOOK_MS);
    loop_defer(place->loop, &r->job);
    return r;
}

static void client_closed(void *context)
{
    struct renewal *r = context;
    r->client = NULL;
    free_if_idle(r);
}

void renewal_close(struct renewal *r, void (*closed)(void *context), void *context)
{
    r->closed = closed;
    r->closed_context = context;
    mirror_unlisten(&r->listener);
    loop_timer_clear(r->place.loop, &r->timer);
    http_client_close(r->client, client_closed, r);
}

int64_t renewal_end_s(const struct renewal *r)
{
    return r->end_s;
}

const char *renewal_key(const struct renewal *r)
{
    return r->key_digest;
}

bool renewal_is_authority(const struct renewal *r)
{
    return membership_signs(r->place.membership);
}
