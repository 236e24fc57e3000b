/* See tls.h. Pre-shared keys work with TLS 1.3 (an external PSK is a session with AES-128-GCM-SHA256) and 1.2. */
#include "node/base/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "node/base/err.h"
#include "node/base/hex.h"
#include "node/base/tls_context.h"

enum { KEYS_MAX = 4096, KEY_MAX_BYTES = 64, IDENTITY_MAX_BYTES = 128, LINE_MAX_BYTES = 512 };

struct tls_key {
    char identity[IDENTITY_MAX_BYTES + 1];
    unsigned char key[KEY_MAX_BYTES];
    size_t key_bytes;
};

const char *tls_reason(void)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    ERR_clear_error();
    return reason ? reason : "the peer closed the connection";
}

static int private_file(const char *path, struct err *err)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return err_set(err, errno, "'%s': %s", path, strerror(errno));
    if (st.st_mode & S_IRWXO)
        return err_set(err, EACCES, "'%s' holds a secret that everybody may read: chmod o= it", path);
    return 0;
}

static struct tls_context *context_new(enum tls_side side, struct err *err)
{
    struct tls_context *c = calloc(1, sizeof *c);
    if (c)
        c->ssl = SSL_CTX_new(side == TLS_SERVER ? TLS_server_method() : TLS_client_method());
    if (!c || !c->ssl) {
        free(c);
        err_set(err, ENOMEM, "cannot set up TLS: %s", tls_reason());
        return NULL;
    }
    c->side = side;
    SSL_CTX_set_min_proto_version(c->ssl, TLS1_2_VERSION);
    SSL_CTX_set_options(c->ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(c->ssl,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(c->ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(c->ssl, 0);
    SSL_CTX_set_app_data(c->ssl, c);
    /* AES-128-GCM first: the fastest on processors with AES-NI, and strong enough */
    SSL_CTX_set_ciphersuites(c->ssl, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256");
    return c;
}

struct tls_context *tls_context_share(struct tls_context *c)
{
    atomic_fetch_add(&c->shares, 1);
    return c;
}

void tls_context_free(struct tls_context *c)
{
    if (!c || atomic_fetch_sub(&c->shares, 1))
        return;
    SSL_CTX_free(c->ssl);
    if (c->keys)
        OPENSSL_cleanse(c->keys, c->key_count * sizeof *c->keys);
    free(c->keys);
    tls_refused_free(c->refused);
    free(c);
}

/* ---- pre-shared keys ---- */

static const char *parse_key(char *line, struct tls_key *key)
{
    char *colon = strrchr(line, ':');
    if (!colon || colon == line)
        return "is not IDENTITY:HEXKEY";
    *colon = 0;
    if (strlen(line) > IDENTITY_MAX_BYTES)
        return "has an identity of over 128 bytes";
    strcpy(key->identity, line);
    const char *hex = colon + 1;
    size_t digits = strlen(hex);
    if (digits < 32 || digits > KEY_MAX_BYTES * 2 || digits % 2)
        return "needs a key of 16 to 64 bytes in hex";
    for (size_t i = 0; i < digits; i += 2) {
        int high = hex_digit(hex[i]), low = hex_digit(hex[i + 1]);
        if (high < 0 || low < 0)
            return "has a key that is not hex";
        key->key[i / 2] = (unsigned char)(high << 4 | low);
    }
    key->key_bytes = digits / 2;
    return NULL;
}

static int add_key(struct tls_context *c, const struct tls_key *key)
{
    if (c->key_count == KEYS_MAX)
        return -E2BIG;
    struct tls_key *keys =
        OPENSSL_clear_realloc(c->keys, c->key_count * sizeof *keys, (c->key_count + 1) * sizeof *keys);
    if (!keys)
        return -ENOMEM;
    c->keys = keys;
    keys[c->key_count++] = *key;
    return 0;
}

static int load_keys(struct tls_context *c, const char *file, const char *identity, struct err *err)
{
    int rc = private_file(file, err);
    if (rc)
        return rc;
    FILE *f = fopen(file, "re");
    if (!f)
        return err_set(err, errno, "'%s': %s", file, strerror(errno));
    char line[LINE_MAX_BYTES];
    for (unsigned number = 1; !rc && fgets(line, sizeof line, f); number++) {
        struct tls_key key = {0};
        line[strcspn(line, "\r\n")] = 0;
        if (!*line || *line == '#')
            continue;
        const char *wrong = parse_key(line, &key);
        if (wrong)
            rc = err_set(err, EINVAL, "'%s', line %u: %s", file, number, wrong);
        else if (!identity || strcmp(identity, key.identity) == 0)
            rc = add_key(c, &key) ? err_set(err, E2BIG, "'%s': over %d keys", file, KEYS_MAX) : 0;
        OPENSSL_cleanse(&key, sizeof key);
    }
    OPENSSL_cleanse(line, sizeof line);
    fclose(f);
    if (!rc && !c->key_count)
        rc = identity ? err_set(err, ENOENT, "'%s' has no key for '%s'", file, identity)
                      : err_set(err, ENOENT, "'%s' has no key", file);
    return rc;
}

static const struct tls_key *find_key(const struct tls_context *c, const char *identity, size_t len)
{
    for (unsigned i = 0; i < c->key_count; i++)
        if (strlen(c->keys[i].identity) == len && memcmp(c->keys[i].identity, identity, len) == 0)
            return &c->keys[i];
    return NULL;
}

static SSL_SESSION *key_session(SSL *ssl, const struct tls_key *key)
{
    static const unsigned char aes_128_gcm_sha256[] = {0x13, 0x01};
    const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, aes_128_gcm_sha256);
    SSL_SESSION *session = SSL_SESSION_new();
    if (session && cipher && SSL_SESSION_set1_master_key(session, key->key, key->key_bytes) &&
        SSL_SESSION_set_cipher(session, cipher) && SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION))
        return session;
    SSL_SESSION_free(session);
    return NULL;
}

static int server_find_session(SSL *ssl, const unsigned char *identity, size_t len, SSL_SESSION **session)
{
    struct tls_context *c = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    const struct tls_key *key = find_key(c, (const char *)identity, len);
    *session = NULL;
    if (!key)
        return 1; /* go on without: the handshake then fails for want of a certificate */
    *session = key_session(ssl, key);
    if (!*session)
        return 0;
    SSL_set_app_data(ssl, (void *)(uintptr_t)key->identity); /* who it is, for stream_peer_name() */
    return 1;
}

static unsigned server_find_psk(SSL *ssl, const char *identity, unsigned char *psk, unsigned max_bytes)
{
    struct tls_context *c = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    const struct tls_key *key = find_key(c, identity, strlen(identity));
    if (!key || key->key_bytes > max_bytes)
        return 0;
    memcpy(psk, key->key, key->key_bytes);
    SSL_set_app_data(ssl, (void *)(uintptr_t)key->identity);
    return (unsigned)key->key_bytes;
}

static int client_use_session(SSL *ssl, const EVP_MD *md, const unsigned char **identity, size_t *len,
                              SSL_SESSION **session)
{
    struct tls_context *c = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    const struct tls_key *key = &c->keys[0];
    *session = NULL;
    *identity = NULL;
    *len = 0;
    if (md && !EVP_MD_is_a(md, "SHA256"))
        return 1;
    *session = key_session(ssl, key);
    if (!*session)
        return 0;
    *identity = (const unsigned char *)key->identity;
    *len = strlen(key->identity);
    return 1;
}

static unsigned client_use_psk(SSL *ssl, const char *hint, char *identity, unsigned identity_bytes, unsigned char *psk,
                               unsigned max_bytes)
{
    struct tls_context *c = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    const struct tls_key *key = &c->keys[0];
    (void)hint;
    if (strlen(key->identity) >= identity_bytes || key->key_bytes > max_bytes)
        return 0;
    strcpy(identity, key->identity);
    memcpy(psk, key->key, key->key_bytes);
    return (unsigned)key->key_bytes;
}

static void use_keys(struct tls_context *c)
{
    if (c->side == TLS_SERVER) {
        SSL_CTX_set_psk_find_session_callback(c->ssl, server_find_session);
        SSL_CTX_set_psk_server_callback(c->ssl, server_find_psk);
    } else {
        SSL_CTX_set_psk_use_session_callback(c->ssl, client_use_session);
        SSL_CTX_set_psk_client_callback(c->ssl, client_use_psk);
    }
}

struct tls_context *tls_context_psk(enum tls_side side, const char *file, const char *identity, struct err *err)
{
    struct tls_context *c = context_new(side, err);
    if (!c)
        return NULL;
    if (load_keys(c, file, side == TLS_CLIENT ? identity : NULL, err)) {
        tls_context_free(c);
        return NULL;
    }
    use_keys(c);
    return c;
}

static int add_secret(struct tls_context *c, const struct tls_secret *secret, struct err *err)
{
    struct tls_key key = {.key_bytes = secret->key_bytes};
    if (strlen(secret->identity) > IDENTITY_MAX_BYTES || secret->key_bytes < 16 || secret->key_bytes > KEY_MAX_BYTES)
        return err_set(err, EINVAL, "a key must have 16 to 64 bytes and an identity of at most 128");
    strcpy(key.identity, secret->identity);
    memcpy(key.key, secret->key, secret->key_bytes);
    int rc = add_key(c, &key);
    OPENSSL_cleanse(&key, sizeof key);
    return rc ? err_set(err, -rc, "no room for a key") : 0;
}

struct tls_context *tls_context_secrets(enum tls_side side, const struct tls_secret *secrets, unsigned count,
                                        struct err *err)
{
    struct tls_context *c = context_new(side, err);
    if (!c)
        return NULL;
    SSL_CTX_set_min_proto_version(c->ssl, TLS1_3_VERSION);
    for (unsigned i = 0; i < count; i++)
        if (add_secret(c, &secrets[i], err)) {
            tls_context_free(c);
            return NULL;
        }
    use_keys(c);
    return c;
}

/* ---- X.509 ---- */

static int load_identity(struct tls_context *c, const char *directory, struct err *err)
{
    const char *who = c->side == TLS_SERVER ? "server" : "client";
    char cert[4096], key[4096];
    snprintf(cert, sizeof cert, "%s/%s-cert.pem", directory, who);
    snprintf(key, sizeof key, "%s/%s-key.pem", directory, who);
    struct stat st;
    if (c->side == TLS_CLIENT && stat(cert, &st) < 0 && errno == ENOENT)
        return 0; /* a client may come without */
    int rc = private_file(key, err);
    if (rc)
        return rc;
    if (SSL_CTX_use_certificate_chain_file(c->ssl, cert) != 1)
        return err_set(err, EINVAL, "'%s': %s", cert, tls_reason());
    if (SSL_CTX_use_PrivateKey_file(c->ssl, key, SSL_FILETYPE_PEM) != 1)
        return err_set(err, EINVAL, "'%s': %s", key, tls_reason());
    if (SSL_CTX_check_private_key(c->ssl) != 1)
        return err_set(err, EINVAL, "'%s' is not the key of '%s'", key, cert);
    return 0;
}

/* Of the peer's own certificate, once its chain is right. */
static int judge_key(int good, X509_STORE_CTX *store)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    const struct tls_context *c = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    if (!good || X509_STORE_CTX_get_error_depth(store) ||
        !tls_refused_has(c->refused, X509_STORE_CTX_get_current_cert(store)))
        return good;
    X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REVOKED);
    return 0;
}

static int load_authority(struct tls_context *c, const char *directory, struct err *err)
{
    char ca[4096], crl[4096], refused[4096];
    struct stat st;
    snprintf(ca, sizeof ca, "%s/ca-cert.pem", directory);
    snprintf(crl, sizeof crl, "%s/ca-crl.pem", directory);
    snprintf(refused, sizeof refused, "%s/refused-keys", directory);
    if (SSL_CTX_load_verify_file(c->ssl, ca) != 1)
        return err_set(err, EINVAL, "'%s': %s", ca, tls_reason());
    if (c->side == TLS_SERVER)
        SSL_CTX_set_client_CA_list(c->ssl, SSL_load_client_CA_file(ca));
    int rc = tls_refused_load(refused, &c->refused, err);
    if (rc || stat(crl, &st) < 0)
        return rc;
    X509_STORE *store = SSL_CTX_get_cert_store(c->ssl);
    X509_LOOKUP *lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());
    if (!lookup || X509_load_crl_file(lookup, crl, X509_FILETYPE_PEM) <= 0)
        return err_set(err, EINVAL, "'%s': %s", crl, tls_reason());
    X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK);
    return 0;
}

struct tls_context *tls_context_x509(enum tls_side side, const char *directory, bool verify_peer, struct err *err)
{
    struct tls_context *c = context_new(side, err);
    if (!c)
        return NULL;
    c->verify_peer = verify_peer;
    int rc = load_identity(c, directory, err);
    if (!rc && verify_peer) {
        rc = load_authority(c, directory, err);
        SSL_CTX_set_verify(c->ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, judge_key);
    }
    if (rc) {
        tls_context_free(c);
        return NULL;
    }
    return c;
}

void tls_client_files(const char *directory, struct tls_client_files *files)
{
    snprintf(files->ca, sizeof files->ca, "%s/ca-cert.pem", directory);
    snprintf(files->certificate, sizeof files->certificate, "%s/client-cert.pem", directory);
    snprintf(files->key, sizeof files->key, "%s/client-key.pem", directory);
}

void tls_context_peer_optional(struct tls_context *c)
{
    SSL_CTX_set_verify(c->ssl, SSL_VERIFY_PEER, judge_key);
}

struct tls_context *tls_context_system(struct err *err)
{
    struct tls_context *c = context_new(TLS_CLIENT, err);
    if (!c)
        return NULL;
    if (SSL_CTX_set_default_verify_paths(c->ssl) != 1) {
        err_set(err, EINVAL, "cannot load the system's certificate authorities: %s", tls_reason());
        tls_context_free(c);
        return NULL;
    }
    c->verify_peer = true;
    SSL_CTX_set_verify(c->ssl, SSL_VERIFY_PEER, NULL);
    return c;
}
