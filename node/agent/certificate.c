/* See certificate.h: making and signing. What looks at certificates is in certificate_check.c, files are in
 * certificate_file.c. */
#include "node/agent/certificate.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/certificate_pem.h"
#include "node/base/err.h"
#include "node/base/tls_context.h"

enum { SERIAL_BYTES = 16, CLOCKS_DIFFER_S = 3600, DAY_S = 86400, SAN_TEXT_MAX = 4096 };

void certificate_pem_free(char *pem)
{
    if (pem)
        OPENSSL_cleanse(pem, strlen(pem));
    free(pem);
}

void certificate_pair_free(struct certificate_pair *pair)
{
    certificate_pem_free(pair->certificate);
    certificate_pem_free(pair->key);
    *pair = (struct certificate_pair){0};
}

static int failed(struct err *err, const char *what)
{
    return err_set(err, EIO, "cannot %s: %s", what, tls_reason());
}

/* ---- text ---- */

/* What was written to the BIO, as text of our own; frees the BIO. */
static char *text_of(BIO *bio)
{
    char *data, *text = NULL;
    long len = bio ? BIO_get_mem_data(bio, &data) : 0;
    if (len > 0 && (text = malloc((size_t)len + 1))) {
        memcpy(text, data, (size_t)len);
        text[len] = 0;
        OPENSSL_cleanse(data, (size_t)len);
    }
    BIO_free(bio);
    return text;
}

static char *key_text(EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());
    if (bio && !PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL))
        BIO_reset(bio);
    return text_of(bio);
}

static char *certificate_text(X509 *certificate)
{
    BIO *bio = BIO_new(BIO_s_mem());
    if (bio && !PEM_write_bio_X509(bio, certificate))
        BIO_reset(bio);
    return text_of(bio);
}

static BIO *bio_of(const char *pem)
{
    size_t len = strnlen(pem, CERTIFICATE_PEM_MAX);
    return len == CERTIFICATE_PEM_MAX ? NULL : BIO_new_mem_buf(pem, (int)len);
}

X509 *certificate_parse(const char *pem)
{
    BIO *bio = bio_of(pem);
    X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    BIO_free(bio);
    ERR_clear_error();
    return certificate;
}

/* Keys are never locked with a passphrase: OpenSSL would ask the terminal for it. */
static int no_passphrase(char *buffer, int size, int writing, void *context)
{
    (void)buffer, (void)size, (void)writing, (void)context;
    return -1;
}

EVP_PKEY *certificate_parse_key(const char *pem)
{
    BIO *bio = bio_of(pem);
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;
    BIO_free(bio);
    ERR_clear_error();
    return key;
}

static X509_REQ *parse_request(const char *pem)
{
    BIO *bio = bio_of(pem);
    X509_REQ *request = bio ? PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL) : NULL;
    BIO_free(bio);
    ERR_clear_error();
    return request;
}

/* ---- parts of a certificate ---- */

static int judge_name(const char *name, struct err *err)
{
    size_t len = strlen(name);
    if (!len || len > CERTIFICATE_NAME_MAX)
        return err_set(err, EINVAL, "a certificate's name has 1 to %d bytes, not %zu", CERTIFICATE_NAME_MAX, len);
    for (const char *p = name; *p; p++)
        if ((unsigned char)*p < 0x20 || (unsigned char)*p > 0x7e)
            return err_set(err, EINVAL, "a certificate's name is printable ASCII");
    return 0;
}

static bool set_name(X509_NAME *name, const char *common_name)
{
    return X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)common_name, -1, -1, 0) == 1;
}

static bool set_serial(X509 *certificate)
{
    uint8_t bytes[SERIAL_BYTES];
    if (RAND_bytes(bytes, sizeof bytes) != 1)
        return false;
    bytes[0] &= 0x7f; /* positive */
    bytes[0] |= 0x40; /* and of one length */
    BIGNUM *number = BN_bin2bn(bytes, sizeof bytes, NULL);
    bool set = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate));
    BN_free(number);
    return set;
}

static bool add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    bool added = extension && X509_add_ext(certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return added;
}

/* Version 3, serial number, validity and names. */
static X509 *begin(X509_NAME *issuer, const char *common_name, EVP_PKEY *key, unsigned days)
{
    X509 *c = X509_new();
    if (c && X509_set_version(c, X509_VERSION_3) && set_serial(c) &&
        X509_gmtime_adj(X509_getm_notBefore(c), -CLOCKS_DIFFER_S) &&
        X509_gmtime_adj(X509_getm_notAfter(c), (long)days * DAY_S) && set_name(X509_get_subject_name(c), common_name) &&
        X509_set_issuer_name(c, issuer ? issuer : X509_get_subject_name(c)) && X509_set_pubkey(c, key))
        return c;
    X509_free(c);
    return NULL;
}

static EVP_PKEY *new_key(void)
{
    return EVP_EC_gen("P-256");
}

/* ---- the authority ---- */

int certificate_make_ca(const char *cluster, unsigned days, struct certificate_pair *ca, struct err *err)
{
    int rc = judge_name(cluster, err);
    if (rc)
        return rc;
    EVP_PKEY *key = new_key();
    X509 *c = key ? begin(NULL, cluster, key, days) : NULL;
    struct certificate_pair made = {0};
    if (c && add_extension(c, c, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
        add_extension(c, c, NID_key_usage, "critical,keyCertSign,cRLSign") &&
        add_extension(c, c, NID_subject_key_identifier, "hash") && X509_sign(c, key, EVP_sha256())) {
        made.certificate = certificate_text(c);
        made.key = key_text(key);
    }
    if (made.certificate && made.key) {
        *ca = made;
    } else {
        rc = failed(err, "make a certificate authority");
        certificate_pair_free(&made);
    }
    X509_free(c);
    EVP_PKEY_free(key);
    return rc;
}

/* ---- a request ---- */

static char *request_text(X509_REQ *request)
{
    BIO *bio = BIO_new(BIO_s_mem());
    if (bio && PEM_write_bio_X509_REQ(bio, request) == 1)
        return text_of(bio);
    BIO_free(bio);
    return NULL;
}

static int make_request(const char *common_name, EVP_PKEY *key, char **pem, struct err *err)
{
    X509_REQ *request = X509_REQ_new();
    char *made = NULL;
    if (key && request && set_name(X509_REQ_get_subject_name(request), common_name) &&
        X509_REQ_set_pubkey(request, key) && X509_REQ_sign(request, key, EVP_sha256()))
        made = request_text(request);
    X509_REQ_free(request);
    if (!made)
        return failed(err, "make a request for a certificate");
    *pem = made;
    return 0;
}

int certificate_make_request(const char *common_name, char **key_pem, char **request_pem, struct err *err)
{
    int rc = judge_name(common_name, err);
    if (rc)
        return rc;
    EVP_PKEY *key = new_key();
    char *made = key ? key_text(key) : NULL;
    rc = made ? make_request(common_name, key, request_pem, err) : failed(err, "make a key");
    EVP_PKEY_free(key);
    if (rc)
        certificate_pem_free(made);
    else
        *key_pem = made;
    return rc;
}

int certificate_request_for(const char *common_name, const char *key_pem, char **request_pem, struct err *err)
{
    int rc = judge_name(common_name, err);
    if (rc)
        return rc;
    EVP_PKEY *key = certificate_parse_key(key_pem);
    rc = key ? make_request(common_name, key, request_pem, err) : err_set(err, EINVAL, "this is no key (PEM)");
    EVP_PKEY_free(key);
    return rc;
}

/* ---- signing ---- */

/* "DNS:n1,IP:10.0.0.1": the characters of a name are judged, because ',' would begin another entry. */
static int san_text(const struct certificate_subject *subject, char text[SAN_TEXT_MAX], struct err *err)
{
    size_t at = 0;
    *text = 0;
    for (unsigned i = 0; i <= subject->name_count; i++) {
        const char *name = i ? subject->names[i - 1] : subject->common_name;
        uint8_t address[16];
        bool is_ip = inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;
        size_t len = strlen(name);
        if (!is_ip && (!len || len > 253 ||
                       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.") != len))
            return err_set(err, EINVAL, "'%.60s' is neither an IP address nor a host name", name);
        int n = snprintf(text + at, SAN_TEXT_MAX - at, "%s%s:%s", at ? "," : "", is_ip ? "IP" : "DNS", name);
        if (n < 0 || (size_t)n >= SAN_TEXT_MAX - at)
            return err_set(err, EINVAL, "too many names for one certificate");
        at += (size_t)n;
    }
    return 0;
}

static int sign_key(X509 *ca, EVP_PKEY *ca_key, EVP_PKEY *key, const struct certificate_subject *subject, unsigned days,
                    char **certificate, struct err *err)
{
    char san[SAN_TEXT_MAX];
    int rc = san_text(subject, san, err);
    if (rc)
        return rc;
    X509 *c = begin(X509_get_subject_name(ca), subject->common_name, key, days);
    char *made = NULL;
    if (c && add_extension(c, ca, NID_basic_constraints, "critical,CA:FALSE") &&
        add_extension(c, ca, NID_key_usage, "critical,digitalSignature") &&
        add_extension(c, ca, NID_ext_key_usage, "serverAuth,clientAuth") &&
        add_extension(c, ca, NID_subject_alt_name, san) && add_extension(c, ca, NID_subject_key_identifier, "hash") &&
        add_extension(c, ca, NID_authority_key_identifier, "keyid") && X509_sign(c, ca_key, EVP_sha256()))
        made = certificate_text(c);
    X509_free(c);
    if (!made)
        return failed(err, "sign a certificate");
    *certificate = made;
    return 0;
}

int certificate_sign(const struct certificate_pair *ca, const char *request, const struct certificate_subject *subject,
                     unsigned days, char **certificate, struct err *err)
{
    int rc = judge_name(subject->common_name, err);
    if (rc)
        return rc;
    X509 *authority = certificate_parse(ca->certificate);
    EVP_PKEY *authority_key = certificate_parse_key(ca->key);
    X509_REQ *asked = parse_request(request);
    EVP_PKEY *key = asked ? X509_REQ_get0_pubkey(asked) : NULL;
    if (!authority || !authority_key || X509_check_private_key(authority, authority_key) != 1)
        rc = err_set(err, EKEYREJECTED, "the authority's certificate and key are not a pair");
    else if (!key || X509_REQ_verify(asked, key) != 1)
        rc = err_set(err, EBADMSG, "this is no request for a certificate (PKCS #10, PEM) signed with its own key");
    else if (!EVP_PKEY_is_a(key, "EC") || EVP_PKEY_get_bits(key) != 256)
        rc = err_set(err, EBADMSG, "a node's key is EC P-256");
    else
        rc = sign_key(authority, authority_key, key, subject, days, certificate, err);
    ERR_clear_error();
    X509_free(authority);
    EVP_PKEY_free(authority_key);
    X509_REQ_free(asked);
    return rc;
}

int certificate_make_node(const struct certificate_pair *ca, const struct certificate_subject *subject, unsigned days,
                          struct certificate_pair *node, struct err *err)
{
    char *key = NULL, *request = NULL, *certificate = NULL;
    int rc = certificate_make_request(subject->common_name, &key, &request, err);
    if (!rc)
        rc = certificate_sign(ca, request, subject, days, &certificate, err);
    certificate_pem_free(request);
    if (rc)
        certificate_pem_free(key);
    else
        *node = (struct certificate_pair){certificate, key};
    return rc;
}
