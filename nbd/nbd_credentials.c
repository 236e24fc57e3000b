#include "nbd/nbd_credentials.h"

#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "node/base/err.h"
#include "node/base/tls.h"

/* Made from these files, for ever. */
struct kept {
    struct nbd_uri uri;
    struct tls_context *tls;
    LIST_ENTRY(kept) link;
};

static LIST_HEAD(, kept) all = LIST_HEAD_INITIALIZER(all);
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- where ---- */

static int override(const char *value, const char *option, char *field, size_t size, struct err *err)
{
    if (!value)
        return 0;
    if (strlen(value) >= size)
        return err_set(err, EINVAL, "%s is too long: at most %zu bytes", option, size - 1);
    snprintf(field, size, "%s", value);
    return 0;
}

int nbd_place_uri(const struct nbd_place *c, struct nbd_uri *uri, struct err *err)
{
    int rc = nbd_uri_parse(c->uri, uri, err);
    if (rc)
        return err_prefix(err, "uri");
    const struct {
        const char *value, *option;
        char *field;
        size_t size;
    } given[] = {
        {c->export, "export", uri->export, sizeof uri->export},
        {c->tls_certificates, "tls-certificates", uri->tls_certificates, sizeof uri->tls_certificates},
        {c->tls_psk_file, "tls-psk-file", uri->tls_psk_file, sizeof uri->tls_psk_file},
        {c->tls_hostname, "tls-hostname", uri->tls_hostname, sizeof uri->tls_hostname},
    };
    for (size_t i = 0; !rc && i < sizeof given / sizeof *given; i++)
        rc = override(given[i].value, given[i].option, given[i].field, given[i].size, err);
    if (rc)
        return rc;
    if (!uri->tls && (*uri->tls_certificates || *uri->tls_psk_file || *uri->tls_hostname))
        return err_set(err, EINVAL,
                       "tls-certificates, tls-psk-file and tls-hostname go with nbds:// and nbds+unix:// "
                       "only");
    return 0;
}

/* ---- credentials ---- */

static int make(const struct nbd_uri *uri, struct tls_context **tls, struct err *err)
{
    bool psk = *uri->tls_psk_file;
    if (psk && *uri->tls_certificates)
        return err_set(err, EINVAL, "tls-psk-file and tls-certificates exclude each other");
    if (*uri->identity && !psk)
        return err_set(err, EINVAL, "identity '%s' needs the file of its key: tls-psk-file", uri->identity);
    if (!*uri->tls_certificates && !psk && !uri->tls_verify_peer)
        return err_set(err, EINVAL, "tls-verify-peer=0 goes with tls-certificates only");
    if (!*uri->tls_certificates && !psk && uri->local && !*uri->tls_hostname)
        return err_set(err, EINVAL, "TLS on a Unix socket needs tls-certificates, tls-psk-file or tls-hostname");
    if (psk)
        *tls = tls_context_psk(TLS_CLIENT, uri->tls_psk_file, *uri->identity ? uri->identity : NULL, err);
    else if (*uri->tls_certificates)
        *tls = tls_context_x509(TLS_CLIENT, uri->tls_certificates, uri->tls_verify_peer, err);
    else
        *tls = tls_context_system(err);
    return *tls ? 0 : -err->code;
}

/* The lock is held. */
static const struct kept *find(const struct nbd_uri *uri)
{
    const struct kept *k;
    LIST_FOREACH (k, &all, link)
        if (!strcmp(k->uri.tls_certificates, uri->tls_certificates) &&
            !strcmp(k->uri.tls_psk_file, uri->tls_psk_file) && !strcmp(k->uri.identity, uri->identity) &&
            k->uri.tls_verify_peer == uri->tls_verify_peer)
            return k;
    return NULL;
}

int nbd_credentials_open(const struct nbd_uri *uri, struct tls_context **tls, struct err *err)
{
    *tls = NULL;
    if (!uri->tls)
        return 0;
    pthread_mutex_lock(&lock);
    const struct kept *k = find(uri);
    if (k)
        *tls = tls_context_share(k->tls);
    pthread_mutex_unlock(&lock);
    return *tls ? 0 : make(uri, tls, err);
}

static int keep(const struct nbd_uri *uri, struct err *err)
{
    int rc = 0;
    pthread_mutex_lock(&lock);
    struct kept *k = uri->tls && !find(uri) ? calloc(1, sizeof *k) : NULL;
    if (k) {
        k->uri = *uri;
        rc = make(uri, &k->tls, err);
        if (rc)
            free(k);
        else
            LIST_INSERT_HEAD(&all, k, link);
    }
    pthread_mutex_unlock(&lock);
    return rc;
}

static int keep_layer(const json_t *layer, struct err *err)
{
    struct nbd_uri uri;
    struct nbd_place place = {
        .uri = json_string_value(json_object_get(layer, "uri")),
        .export = json_string_value(json_object_get(layer, "export")),
        .tls_certificates = json_string_value(json_object_get(layer, "tls-certificates")),
        .tls_psk_file = json_string_value(json_object_get(layer, "tls-psk-file")),
        .tls_hostname = json_string_value(json_object_get(layer, "tls-hostname")),
    };
    const char *driver = json_string_value(json_object_get(layer, "driver"));
    if (!driver || strcmp(driver, "nbd") || !place.uri)
        return 0;
    int rc = nbd_place_uri(&place, &uri, err);
    return rc ? rc : keep(&uri, err);
}

int nbd_credentials_keep(const json_t *layers, struct err *err)
{
    const char *key;
    json_t *value;
    size_t i;
    int rc = 0;
    if (json_is_object(layers)) {
        rc = keep_layer(layers, err);
        json_object_foreach ((json_t *)(uintptr_t)layers, key, value)
            rc = rc ? rc : nbd_credentials_keep(value, err);
    } else if (json_is_array(layers)) {
        json_array_foreach (layers, i, value)
            rc = rc ? rc : nbd_credentials_keep(value, err);
    }
    return rc;
}
