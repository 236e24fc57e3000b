#include "node/agent/node_setup.h"

#include <curl/curl.h>
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/agent/certificate.h"
#include "node/agent/member.h"
#include "node/agent/node_config.h"
#include "node/agent/volume_key.h"
#include "node/base/err.h"
#include "node/base/uuid.h"

enum { DEFAULT_PORT = 7480, ANSWER_MAX = 256 << 10, ANSWER_SECONDS = 60 };

/* ---- both ---- */

static int fill(const struct node_setup *s, struct node_config *c, struct err *err)
{
    char host[64] = "";
    gethostname(host, sizeof host - 1);
    host[strcspn(host, ".")] = 0;
    *c = (struct node_config){0};
    uuid_make(c->id);
    snprintf(c->node, sizeof c->node, "%s", s->node ? s->node : host);
    snprintf(c->address, sizeof c->address, "%s", s->address ? s->address : "");
    snprintf(c->cluster, sizeof c->cluster, "%s", s->cluster ? s->cluster : "cluster");
    if (!s->address)
        return err_set(err, EINVAL, "--address is missing: where do other nodes reach this one?");
    if (s->listen)
        snprintf(c->listen, sizeof c->listen, "%s", strcmp(s->listen, "none") ? s->listen : "");
    else
        snprintf(c->listen, sizeof c->listen, strchr(c->address, ':') ? "tcp:[%s]:%d" : "tcp:%s:%d", c->address,
                 DEFAULT_PORT);
    return node_config_check(c, err);
}

static struct certificate_subject subject_of(const struct node_config *c)
{
    return (struct certificate_subject){
        .common_name = c->node, .names = {c->node, c->address, "localhost"}, .name_count = 3};
}

/* ---- the first node ---- */

static int make_authority(const char *state, const struct node_config *c, struct certificate_pair *ca, struct err *err)
{
    char folder[PATH_MAX], path[PATH_MAX + 32];
    int rc = certificate_make_ca(c->cluster, CERTIFICATE_CA_DAYS, ca, err);
    snprintf(folder, sizeof folder, "%s/ca", state);
    if (!rc && mkdir(folder, 0700) && errno != EEXIST)
        rc = err_set(err, errno, "the folder %s cannot be made: %s", folder, strerror(errno));
    snprintf(path, sizeof path, "%s/ca-key.pem", folder);
    if (!rc)
        rc = certificate_save(path, ca->key, true, err);
    snprintf(path, sizeof path, "%s/ca-cert.pem", folder);
    return rc ? rc : certificate_save(path, ca->certificate, false, err);
}

int node_setup_init(const struct node_setup *s, struct err *err)
{
    struct node_config c;
    struct certificate_pair ca = {0}, node = {0};
    char tls[PATH_MAX];
    int rc = fill(s, &c, err);
    if (!rc)
        rc = node_config_prepare(s->state, err);
    if (rc)
        return rc;
    if (s->store)
        snprintf(c.store, sizeof c.store, "%s", s->store);
    else
        snprintf(c.store, sizeof c.store, "sqlite:%s/store.db", s->state);
    struct certificate_subject subject = subject_of(&c);
    rc = volume_key_make_cluster(s->state, err);
    if (!rc)
        rc = make_authority(s->state, &c, &ca, err);
    if (!rc)
        rc = certificate_make_node(&ca, &subject, CERTIFICATE_NODE_DAYS, &node, err);
    snprintf(tls, sizeof tls, "%s/tls", s->state);
    if (!rc)
        rc = certificate_store(tls, ca.certificate, &node, err);
    if (!rc)
        rc = node_config_write(s->state, &c, err);
    certificate_pair_free(&ca);
    certificate_pair_free(&node);
    return rc;
}

/* ---- another node ---- */

struct answer {
    char *text;
    size_t bytes;
};

static size_t receive(char *data, size_t size, size_t count, void *context)
{
    struct answer *a = context;
    size_t bytes = size * count;
    char *text = a->bytes + bytes > ANSWER_MAX ? NULL : realloc(a->text, a->bytes + bytes + 1);
    if (!text)
        return 0;
    a->text = text;
    memcpy(text + a->bytes, data, bytes);
    a->bytes += bytes;
    text[a->bytes] = 0;
    return bytes;
}

static CURLcode post(CURL *easy, const json_t *invitation, const char *body, struct answer *answer, long *status)
{
    char url[1024];
    const char *ca = member_text(invitation, "ca");
    struct curl_blob blob = {.data = (void *)(uintptr_t)ca, .len = strlen(ca), .flags = CURL_BLOB_COPY};
    struct curl_slist *fields = curl_slist_append(NULL, "Content-Type: application/json");
    snprintf(url, sizeof url, "%s/v1/cluster/join", member_text(invitation, "api"));
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "https");
    curl_easy_setopt(easy, CURLOPT_CAINFO_BLOB, &blob);
    curl_easy_setopt(easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER);
    curl_easy_setopt(easy, CURLOPT_XOAUTH2_BEARER, member_text(invitation, "token"));
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, fields);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT, (long)ANSWER_SECONDS);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, receive);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, answer);
    CURLcode code = curl_easy_perform(easy);
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, status);
    curl_slist_free_all(fields);
    return code;
}

/* NULL: err says why. */
static json_t *ask(const json_t *invitation, const struct node_config *c, const char *request, struct err *err)
{
    struct answer answer = {0};
    long status = 0;
    json_t *body = json_pack("{s:s, s:s, s:s}", "node", c->node, "address", c->address, "request", request);
    char *text = json_dumps(body, JSON_COMPACT);
    CURL *easy = curl_easy_init();
    CURLcode code = easy && text ? post(easy, invitation, text, &answer, &status) : CURLE_OUT_OF_MEMORY;
    json_t *json = answer.bytes ? json_loadb(answer.text, answer.bytes, JSON_REJECT_DUPLICATES, NULL) : NULL;
    if (code != CURLE_OK)
        err_set(err, EHOSTUNREACH, "%s: %s", member_text(invitation, "api"), curl_easy_strerror(code));
    else if (status != 200 && status != 201)
        err_set(err, EACCES, "the cluster does not take this node: %s",
                json_object_get(json, "detail") ? member_text(json, "detail") : "no reason given");
    else if (!*member_text(json, "certificate"))
        err_set(err, EPROTO, "%s does not answer like a droverd", member_text(invitation, "api"));
    else
        err->code = 0;
    curl_easy_cleanup(easy);
    free(text);
    free(answer.text);
    json_decref(body);
    if (err->code) {
        json_decref(json);
        return NULL;
    }
    return json;
}

static int take(const struct node_setup *s, struct node_config *c, const json_t *answer, char *key, struct err *err)
{
    char tls[PATH_MAX];
    struct certificate_pair node = {.certificate = (char *)(uintptr_t)member_text(answer, "certificate"), .key = key};
    snprintf(c->cluster, sizeof c->cluster, "%s", member_text(answer, "cluster"));
    snprintf(c->store, sizeof c->store, "%s", s->store ? s->store : member_text(answer, "store"));
    if (!certificate_matches(node.certificate, key))
        return err_set(err, EPROTO, "the cluster sent somebody else's certificate");
    snprintf(tls, sizeof tls, "%s/tls", s->state);
    int rc = certificate_store(tls, member_text(answer, "ca"), &node, err);
    if (!rc && *member_text(answer, "volume_key"))
        rc = volume_key_write_cluster(s->state, member_text(answer, "volume_key"), err);
    return rc ? rc : node_config_write(s->state, c, err);
}

int node_setup_join(const struct node_setup *s, const char *path, struct err *err)
{
    struct node_config c;
    json_error_t e;
    char *key = NULL, *request = NULL;
    int rc = fill(s, &c, err);
    if (!rc)
        rc = node_config_prepare(s->state, err);
    if (rc)
        return rc;
    json_t *invitation = json_load_file(path, JSON_REJECT_DUPLICATES, &e);
    if (!*member_text(invitation, "api") || !*member_text(invitation, "ca") || !*member_text(invitation, "token")) {
        json_decref(invitation);
        return err_set(err, EINVAL, "%s is no invitation: `drover cluster invite` on a node of the cluster prints one",
                       path);
    }
    rc = certificate_make_request(c.node, &key, &request, err);
    *err = rc ? *err : (struct err){0};
    json_t *answer = rc ? NULL : ask(invitation, &c, request, err);
    if (!rc)
        rc = answer ? take(s, &c, answer, key, err) : -err->code;
    json_decref(answer);
    json_decref(invitation);
    certificate_pem_free(key);
    certificate_pem_free(request);
    return rc;
}
