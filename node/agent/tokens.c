#include "node/agent/tokens.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "node/agent/api.h"
#include "node/agent/change.h"
#include "node/agent/cluster.h"
#include "node/agent/object_answer.h"
#include "node/agent/token.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"

static const char JOIN_PREFIX[] = "join:"; /* of who shows a join token (api_credential.c) */

struct tokens {
    struct cluster *cluster;
    struct token_table *table;
    struct mirror_listener listener;
};

/* A token that is on its way to the store. */
struct birth {
    struct api_call *call;
    struct token token;
    char text[TOKEN_TEXT_MAX];
    json_t *(*answer)(void *context, const struct token *token, const char *text);
    void *context;
};

/* A join token that lets its one node in. */
struct spending {
    struct api_call *call;
    void (*done)(void *context, struct api_call *call);
    void *context;
};

/* ---- the table follows the mirror ---- */

static void object_changed(struct mirror_listener *listener, const struct object *object, enum object_part part)
{
    struct tokens *t = CONTAINER_OF(listener, struct tokens, listener);
    struct token token;
    struct err err = {0};
    if (object->kind != OBJECT_TOKEN || part != OBJECT_VALUE)
        return;
    if (!object->value)
        token_table_remove(t->table, object->id);
    else if (token_from_json(json_object_get(object->value, "spec"), &token, &err) || token_table_put(t->table, &token))
        log_warn("the token %s cannot be used: %s", object->name, err.text);
}

/* ---- routes ---- */

static const char *const roles[] = {"viewer", "operator", "admin", NULL};
static const char *const uses[] = {"access", "join", NULL};

static const struct schema_field create_fields[] = {
    {.name = "name", .type = SCHEMA_NAME, .flags = SCHEMA_REQUIRED, .description = "whose it is"},
    {.name = "role",
     .type = SCHEMA_ENUM,
     .values = roles,
     .default_json = "\"viewer\"",
     .description = "what it lets do"},
    {.name = "use",
     .type = SCHEMA_ENUM,
     .values = uses,
     .default_json = "\"access\"",
     .description = "join: lets a new node into the cluster, and nothing else"},
    {.name = "seconds",
     .type = SCHEMA_INT,
     .min = 60,
     .max = 315360000,
     .description = "until it expires; never without it"},
    {.name = NULL},
};
static const struct schema token_create = {"TokenCreate", "A new token.", create_fields};

static const struct schema_field view_fields[] = {
    {.name = "id", .type = SCHEMA_UUID, .flags = SCHEMA_REQUIRED, .description = "for ever"},
    {.name = "name", .type = SCHEMA_NAME, .flags = SCHEMA_REQUIRED, .description = "whose it is"},
    {.name = "role", .type = SCHEMA_STRING, .flags = SCHEMA_REQUIRED, .description = "what it lets do"},
    {.name = "use", .type = SCHEMA_ENUM, .values = uses, .flags = SCHEMA_REQUIRED, .description = "what it is for"},
    {.name = "created_s", .type = SCHEMA_INT, .flags = SCHEMA_REQUIRED, .description = "seconds since 1970"},
    {.name = "expires_s", .type = SCHEMA_INT, .flags = SCHEMA_REQUIRED, .description = "seconds since 1970; 0: never"},
    {.name = "token", .type = SCHEMA_STRING, .description = "the secret, shown this once"},
    {.name = NULL},
};
static const struct schema token_answer = {"Token", "A token, without its secret.", view_fields};

static json_t *view(const struct token *t)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I}", "id", t->id, "name", t->name, "role", role_name(t->role), "use",
                     uses[t->kind == TOKEN_JOIN], "created_s", (json_int_t)t->created_s, "expires_s",
                     (json_int_t)t->expires_s);
}

static void list(void *context, struct api_call *call)
{
    struct tokens *t = context;
    const struct mirror *m = cluster_mirror(t->cluster);
    json_t *items = json_array();
    const char *last = NULL;
    const struct object *o = mirror_next(m, OBJECT_TOKEN, call->after);
    for (unsigned i = 0; o && i < call->limit; i++, o = mirror_next(m, OBJECT_TOKEN, o->name)) {
        struct token token;
        last = o->name;
        if (!token_from_json(json_object_get(o->value, "spec"), &token, NULL))
            json_array_append_new(items, view(&token));
    }
    api_reply_page(call, items, o ? last : NULL);
}

static void born(void *context, int rc, uint64_t revision, const struct err *err)
{
    struct birth *b = context;
    (void)revision;
    if (rc == -ESTALE) {
        api_error(b->call, 409, "name-taken", "name", "there is a token '%s' already", b->token.name);
    } else if (rc) {
        object_refuse(b->call, rc, err);
    } else {
        api_reply_created(b->call, b->answer(b->context, &b->token, b->text), NULL, "/v1/tokens");
    }
    token_wipe(b->text);
    free(b);
}

void tokens_make(struct tokens *t, struct api_call *call, const struct token *want,
                 json_t *(*answer)(void *context, const struct token *token, const char *text), void *context)
{
    struct err err = {0};
    struct birth *b = calloc(1, sizeof *b);
    struct change *change = b ? change_new(t->cluster) : NULL;
    if (!change) {
        free(b);
        api_error(call, 500, "out-of-memory", NULL, "out of memory");
        return;
    }
    *b = (struct birth){.call = call, .token = *want, .answer = answer, .context = context};
    if (token_make(&b->token, time(NULL), b->text, &err)) {
        change_drop(change);
        free(b);
        api_error_err(call, "no-random-numbers", &err);
        return;
    }
    change_put(change, OBJECT_TOKEN, b->token.id,
               json_pack("{s:s, s:s, s:s, s:o}", "kind", "token", "id", b->token.id, "name", b->token.name, "spec",
                         token_to_json(&b->token)),
               0);
    change_take_name(change, OBJECT_TOKEN, b->token.name, b->token.id);
    change_commit(change, born, b);
}

static json_t *with_secret(void *context, const struct token *token, const char *text)
{
    (void)context;
    json_t *answer = view(token);
    json_object_set_new(answer, "token", json_string(text));
    return answer;
}

static void create(void *context, struct api_call *call)
{
    json_int_t seconds = json_integer_value(json_object_get(call->body, "seconds"));
    const char *use = json_string_value(json_object_get(call->body, "use"));
    struct token want = {.kind = strcmp(use, "join") ? TOKEN_ACCESS : TOKEN_JOIN,
                         .expires_s = seconds ? time(NULL) + seconds : 0};
    snprintf(want.name, sizeof want.name, "%s", json_string_value(json_object_get(call->body, "name")));
    role_parse(json_string_value(json_object_get(call->body, "role")), &want.role);
    tokens_make(context, call, &want, with_secret, NULL);
}

static void gone(void *context, int rc, uint64_t revision, const struct err *err)
{
    struct api_call *call = context;
    (void)revision;
    if (rc)
        object_refuse(call, rc, err);
    else
        api_reply_empty(call);
}

/* The change that ends a token; NULL: there is none of that name, or no memory. */
static struct change *end_token(const struct tokens *t, const char *name)
{
    const struct object *o = mirror_named(cluster_mirror(t->cluster), OBJECT_TOKEN, name);
    struct change *change = o ? change_new(t->cluster) : NULL;
    if (change) {
        change_delete(change, OBJECT_TOKEN, o->id, o->revision);
        change_free_name(change, OBJECT_TOKEN, o->name);
    }
    return change;
}

static void revoke(void *context, struct api_call *call)
{
    const char *name = api_parameter(call, "name");
    struct change *change = end_token(context, name);
    if (change)
        change_commit(change, gone, call);
    else
        api_error(call, 404, "token-not-found", NULL, "there is no token '%s'", name);
}

static void refuse_spent(struct api_call *call)
{
    api_error(call, 401, "token-unknown", NULL, "the invitation has let in a node already: make another one");
}

static void spent(void *context, int rc, uint64_t revision, const struct err *err)
{
    struct spending *s = context;
    (void)revision;
    if (rc == -ESTALE)
        refuse_spent(s->call);
    else if (rc)
        object_refuse(s->call, rc, err);
    s->done(s->context, rc ? NULL : s->call);
    free(s);
}

void tokens_spend(struct tokens *t, struct api_call *call, void (*done)(void *context, struct api_call *call),
                  void *context)
{
    if (strncmp(call->who.name, JOIN_PREFIX, strlen(JOIN_PREFIX)) != 0) {
        done(context, call);
        return;
    }
    struct change *change = end_token(t, call->who.name + strlen(JOIN_PREFIX));
    struct spending *s = change ? calloc(1, sizeof *s) : NULL;
    if (!s) {
        if (change)
            change_drop(change);
        refuse_spent(call);
        done(context, NULL);
        return;
    }
    *s = (struct spending){call, done, context};
    change_commit(change, spent, s);
}

static const struct route routes[] = {
    {HTTP_GET, "/v1/tokens", ROLE_ADMIN, ROUTE_PAGED, "token_list", "token", "All tokens, without their secrets.", NULL,
     &token_answer, NULL, NULL, list},
    {HTTP_POST, "/v1/tokens", ROLE_ADMIN, ROUTE_CREATES | ROUTE_SECRET, "token_create", "token",
     "Makes a token; its secret is in the answer and nowhere else.", &token_create, &token_answer, NULL, NULL, create},
    {HTTP_DELETE, "/v1/tokens/{name}", ROLE_ADMIN, ROUTE_NO_CONTENT, "token_revoke", "token", "Revokes a token.", NULL,
     NULL, NULL, NULL, revoke},
};

/* ---- life ---- */

struct tokens *tokens_new(struct cluster *cluster, struct token_table *table, struct api *api, struct err *err)
{
    struct tokens *t = calloc(1, sizeof *t);
    if (!t) {
        err_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    t->cluster = cluster;
    t->table = table;
    t->listener.changed = object_changed;
    if (api_add_routes(api, routes, sizeof routes / sizeof *routes, t, err)) {
        free(t);
        return NULL;
    }
    const struct mirror *m = cluster_mirror(cluster);
    for (const struct object *o = mirror_next(m, OBJECT_TOKEN, NULL); o; o = mirror_next(m, OBJECT_TOKEN, o->name))
        object_changed(&t->listener, o, OBJECT_VALUE);
    mirror_listen(cluster_mirror(cluster), &t->listener);
    return t;
}

void tokens_free(struct tokens *t)
{
    if (!t)
        return;
    mirror_unlisten(&t->listener);
    free(t);
}
