#include "node/agent/membership.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "node/agent/api.h"
#include "node/agent/certificate.h"
#include "node/agent/cluster.h"
#include "node/agent/member.h"
#include "node/agent/node_config.h"
#include "node/agent/token.h"
#include "node/agent/tokens.h"
#include "node/agent/volume_key.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/uuid.h"

enum { INVITATION_SECONDS = 3600 };

struct membership {
    struct cluster *cluster;
    struct tokens *tokens;
    const struct node_config *node;
    const char *state, *api_address;
    char *ca; /* its certificate */
};

/* ---- what the cluster is ---- */

static const struct schema_field cluster_fields[] = {
    {.name = "name", .type = SCHEMA_STRING, .flags = SCHEMA_REQUIRED, .description = "of the cluster"},
    {.name = "node", .type = SCHEMA_STRING, .flags = SCHEMA_REQUIRED, .description = "who answers"},
    {.name = "nodes", .type = SCHEMA_INT, .flags = SCHEMA_REQUIRED, .description = "how many there are"},
    {.name = "alive", .type = SCHEMA_INT, .flags = SCHEMA_REQUIRED, .description = "how many of them are there now"},
    {.name = "guests", .type = SCHEMA_INT, .flags = SCHEMA_REQUIRED, .description = "how many there are"},
    {.name = "running", .type = SCHEMA_INT, .flags = SCHEMA_REQUIRED, .description = "how many of them run"},
    {.name = "store", .type = SCHEMA_STRING, .flags = SCHEMA_REQUIRED, .description = "sqlite or etcd"},
    {.name = "trouble",
     .type = SCHEMA_STRING,
     .flags = SCHEMA_REQUIRED,
     .description = "why the store cannot be reached, else which guests stay down; empty: nothing"},
    {.name = NULL},
};
static const struct schema cluster_answer = {"Cluster", "The cluster as a whole.", cluster_fields};

static unsigned count_if(const struct mirror *m, enum object_kind kind, const char *key, const char *text)
{
    unsigned n = 0;
    for (const struct object *o = mirror_next(m, kind, NULL); o; o = mirror_next(m, kind, o->name)) {
        const json_t *value = json_object_get(o->state, key);
        n += text ? json_is_string(value) && !strcmp(json_string_value(value), text) : json_is_true(value);
    }
    return n;
}

/* The first guest that is not started again, with the reason, and how many more there are. */
static json_t *guest_trouble(const struct mirror *m)
{
    const struct object *first = NULL;
    int more = -1;
    for (const struct object *g = mirror_next(m, OBJECT_GUEST, NULL); g; g = mirror_next(m, OBJECT_GUEST, g->name)) {
        bool down = json_is_true(json_object_get(json_object_get(g->state, "restarts"), "down"));
        first = !first && down ? g : first;
        more += down;
    }
    if (!first)
        return json_string("");
    const char *reason = member_text(first->state, "reason");
    return more ? json_sprintf("guest %s %s; and %d more", first->name, reason, more)
                : json_sprintf("guest %s %s", first->name, reason);
}

static void show(void *context, struct api_call *call)
{
    struct membership *ms = context;
    const struct mirror *m = cluster_mirror(ms->cluster);
    const char *trouble = cluster_trouble(ms->cluster);
    api_reply(call, 200,
              json_pack("{s:s, s:s, s:i, s:i, s:i, s:i, s:s%, s:o}", "name", ms->node->cluster, "node", ms->node->node,
                        "nodes", (int)mirror_count(m, OBJECT_NODE), "alive",
                        (int)count_if(m, OBJECT_NODE, "alive", NULL), "guests", (int)mirror_count(m, OBJECT_GUEST),
                        "running", (int)count_if(m, OBJECT_GUEST, "phase", "running"), "store", ms->node->store,
                        strcspn(ms->node->store, ":"), "trouble", *trouble ? json_string(trouble) : guest_trouble(m)));
}

/* ---- invitations ---- */

static const struct schema_field invitation_fields[] = {
    {.name = "api", .type = SCHEMA_STRING, .flags = SCHEMA_REQUIRED, .description = "where the cluster is"},
    {.name = "ca", .type = SCHEMA_TEXT, .flags = SCHEMA_REQUIRED, .description = "certificate to know it by"},
    {.name = "token", .type = SCHEMA_STRING, .flags = SCHEMA_REQUIRED, .description = "the secret"},
    {.name = NULL},
};
static const struct schema invitation_answer = {"Invitation", "What a new node needs to join.", invitation_fields};

static json_t *invitation(void *context, const struct token *token, const char *text)
{
    struct membership *ms = context;
    (void)token;
    return json_pack("{s:s, s:s, s:s}", "api", ms->api_address, "ca", ms->ca, "token", text);
}

static void invite(void *context, struct api_call *call)
{
    struct membership *ms = context;
    char uuid[UUID_TEXT_BYTES];
    struct token want = {.kind = TOKEN_JOIN, .expires_s = time(NULL) + INVITATION_SECONDS};
    if (!*ms->api_address) {
        api_error(call, 409, "no-address", NULL,
                  "the API of this node is on its unix socket only: nobody could join there");
        return;
    }
    if (!strncmp(ms->node->store, "sqlite:", 7)) {
        api_error(
            call, 409, "one-node-store", NULL,
            "the store is a file of this node: a cluster of several needs etcd (`drover cluster store etcd:...`)");
        return;
    }
    uuid_make(uuid);
    snprintf(want.name, sizeof want.name, "join-%.8s", uuid);
    tokens_make(ms->tokens, call, &want, invitation, ms);
}

/* ---- joining ---- */

static const struct schema_field join_fields[] = {
    {.name = "node", .type = SCHEMA_NAME, .flags = SCHEMA_REQUIRED, .description = "its name"},
    {.name = "address", .type = SCHEMA_IP, .flags = SCHEMA_REQUIRED, .description = "where others reach it"},
    {.name = "request", .type = SCHEMA_TEXT, .flags = SCHEMA_REQUIRED, .max = 8192, .description = "PKCS #10, PEM"},
    {.name = NULL},
};
static const struct schema join_request = {"Join", "A node that wants to be let in.", join_fields};
static const struct schema_field member_fields[] = {
    {.name = "cluster", .type = SCHEMA_STRING, .flags = SCHEMA_REQUIRED, .description = "its name"},
    {.name = "store", .type = SCHEMA_STRING, .flags = SCHEMA_REQUIRED, .description = "where the store is"},
    {.name = "ca",
     .type = SCHEMA_TEXT,
     .flags = SCHEMA_REQUIRED,
     .max = 16384,
     .description = "the authority's certificate"},
    {.name = "certificate", .type = SCHEMA_TEXT, .flags = SCHEMA_REQUIRED, .max = 16384, .description = "the node's"},
    {.name = "volume_key", .type = SCHEMA_STRING, .description = "which opens the keys of encrypted volumes"},
    {.name = NULL},
};
static const struct schema member_answer = {"Member", "What a node is given that was let in.", member_fields};

bool membership_signs(const struct membership *ms)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/ca/ca-key.pem", ms->state);
    return !access(path, R_OK);
}

static int load_authority(const struct membership *ms, struct certificate_pair *ca, struct err *err)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/ca/ca-cert.pem", ms->state);
    int rc = certificate_load(path, false, &ca->certificate, err);
    snprintf(path, sizeof path, "%s/ca/ca-key.pem", ms->state);
    return rc ? rc : certificate_load(path, true, &ca->key, err);
}

/* What a new node is given, until its invitation is ended. */
struct joining {
    const struct membership *membership;
    json_t *answer;
};

static void let_in(void *context, struct api_call *call)
{
    struct joining *j = context;
    const struct membership *ms = j->membership;
    char key[VOLUME_KEY_TEXT];
    struct err err = {0};
    if (call) {
        if (volume_key_read_cluster(ms->state, key, &err))
            log_warn("a node joins that cannot open encrypted volumes: %s", err.text);
        else
            json_object_set_new(j->answer, "volume_key", json_string(key));
        explicit_bzero(key, sizeof key);
        api_reply(call, 200, json_incref(j->answer));
    }
    json_decref(j->answer);
    free(j);
}

static void end_invitation(struct membership *ms, struct api_call *call, const char *certificate)
{
    struct joining *j = calloc(1, sizeof *j);
    if (!j) {
        api_error(call, 500, "out-of-memory", NULL, "out of memory");
        return;
    }
    j->membership = ms;
    j->answer = json_pack("{s:s, s:s, s:s, s:s}", "cluster", ms->node->cluster, "store", ms->node->store, "ca", ms->ca,
                          "certificate", certificate);
    tokens_spend(ms->tokens, call, let_in, j);
}

int membership_sign(const struct membership *ms, const char *node, const char *address, const char *request,
                    char **certificate, struct err *err)
{
    struct certificate_subject subject = {.common_name = node, .names = {node, address, "localhost"}, .name_count = 3};
    struct certificate_pair ca = {0};
    int rc = load_authority(ms, &ca, err);
    if (!rc)
        rc = certificate_sign(&ca, request, &subject, CERTIFICATE_NODE_DAYS, certificate, err);
    certificate_pair_free(&ca);
    return rc;
}

/* NULL: answered. */
static char *sign_or_refuse(struct membership *ms, struct api_call *call, const char *node, const char *address)
{
    struct err err = {0};
    char *certificate = NULL;
    int rc = membership_sign(ms, node, address, json_string_value(json_object_get(call->body, "request")), &certificate,
                             &err);
    if (rc == -ENOENT)
        api_error(call, 409, "no-authority", NULL, "node %s does not have the cluster's key: ask the one that began it",
                  ms->node->node);
    else if (rc)
        api_error(call, 422, "not-signed", "request", "%s", err.text);
    return certificate;
}

static void join(void *context, struct api_call *call)
{
    struct membership *ms = context;
    const char *name = json_string_value(json_object_get(call->body, "node"));
    if (mirror_named(cluster_mirror(ms->cluster), OBJECT_NODE, name)) {
        api_error(call, 409, "name-taken", "node", "there is a node '%s' already", name);
        return;
    }
    char *certificate = sign_or_refuse(ms, call, name, json_string_value(json_object_get(call->body, "address")));
    if (certificate)
        end_invitation(ms, call, certificate);
    certificate_pem_free(certificate);
}

/* ---- the next certificate ---- */

static const struct schema_field renew_fields[] = {
    {.name = "request", .type = SCHEMA_TEXT, .flags = SCHEMA_REQUIRED, .max = 8192, .description = "PKCS #10, PEM"},
    {.name = NULL},
};
static const struct schema renew_request = {"Renew", "A node's request for its next certificate.", renew_fields};
static const struct schema_field renewed_fields[] = {
    {.name = "certificate", .type = SCHEMA_TEXT, .flags = SCHEMA_REQUIRED, .max = 16384, .description = "the node's"},
    {.name = NULL},
};
static const struct schema renewed_answer = {"Renewed", "A node's next certificate.", renewed_fields};

/* For nobody but the node that asks: its name is that of the certificate it shows. */
static void renew(void *context, struct api_call *call)
{
    struct membership *ms = context;
    const char *name = call->who.role == ROLE_NODE ? strchr(call->who.name, ':') : NULL;
    const struct object *node = name ? mirror_named(cluster_mirror(ms->cluster), OBJECT_NODE, name + 1) : NULL;
    if (!node) {
        api_error(call, 403, "not-a-node", NULL,
                  "a certificate is given to the node it is for: `drover node renew NODE` has that node ask");
        return;
    }
    char *certificate = sign_or_refuse(ms, call, node->name, object_spec_text(node, "address"));
    if (certificate)
        api_reply(call, 200, json_pack("{s:s}", "certificate", certificate));
    certificate_pem_free(certificate);
}

static const struct route routes[] = {
    {HTTP_GET, "/v1/cluster", ROLE_VIEWER, 0, "cluster_show", "cluster", "The cluster as a whole.", NULL,
     &cluster_answer, NULL, NULL, show},
    {HTTP_POST, "/v1/cluster/invitations", ROLE_ADMIN, ROUTE_CREATES | ROUTE_SECRET, "cluster_invite", "cluster",
     "An invitation, good for one hour.", NULL, &invitation_answer, NULL, NULL, invite},
    {HTTP_POST, "/v1/cluster/join", ROLE_ADMIN, ROUTE_JOIN | ROUTE_SECRET, "cluster_join", "cluster",
     "Lets in a node that has an invitation.", &join_request, &member_answer, NULL, NULL, join},
    {HTTP_POST, "/v1/cluster/certificate", ROLE_ADMIN, 0, "cluster_certificate", "cluster",
     "Gives the node that asks its next certificate.", &renew_request, &renewed_answer, NULL, NULL, renew},
};

struct membership *membership_new(struct cluster *cluster, struct tokens *tokens, const struct node_config *node,
                                  const char *state, const char *api_address, struct api *api, struct err *err)
{
    struct membership *ms = calloc(1, sizeof *ms);
    char path[PATH_MAX];
    if (!ms) {
        err_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    *ms = (struct membership){cluster, tokens, node, state, api_address, NULL};
    snprintf(path, sizeof path, "%s/tls/ca-cert.pem", state);
    if (certificate_load(path, false, &ms->ca, err) ||
        api_add_routes(api, routes, sizeof routes / sizeof *routes, ms, err)) {
        membership_free(ms);
        return NULL;
    }
    return ms;
}

void membership_free(struct membership *ms)
{
    if (!ms)
        return;
    certificate_pem_free(ms->ca);
    free(ms);
}
