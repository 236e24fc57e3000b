/* Looking at certificates; see certificate.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "node/agent/certificate.h"
#include "node/agent/certificate_pem.h"
#include "node/base/err.h"
#include "node/base/hex.h"
#include "node/base/tls_refused.h"

static int64_t seconds_of(const ASN1_TIME *time)
{
    struct tm tm;
    return ASN1_TIME_to_tm(time, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

static void take_name(const GENERAL_NAME *entry, char text[256])
{
    if (entry->type == GEN_DNS) {
        snprintf(text, 256, "%.*s", ASN1_STRING_length(entry->d.dNSName),
                 (const char *)ASN1_STRING_get0_data(entry->d.dNSName));
    } else if (entry->type == GEN_IPADD) {
        int len = ASN1_STRING_length(entry->d.iPAddress);
        if (len == 4 || len == 16)
            inet_ntop(len == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(entry->d.iPAddress), text, 256);
    }
}

static void take_names(X509 *c, struct certificate_info *info)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(c, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; names && i < sk_GENERAL_NAME_num(names) && info->name_count < CERTIFICATE_SANS_MAX; i++) {
        take_name(sk_GENERAL_NAME_value(names, i), info->names[info->name_count]);
        info->name_count += *info->names[info->name_count] != 0;
    }
    GENERAL_NAMES_free(names);
}

int certificate_inspect(const char *pem, struct certificate_info *info, struct err *err)
{
    uint8_t hash[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    X509 *c = certificate_parse(pem);
    if (!c)
        return err_set(err, EBADMSG, "this is no certificate (X.509, PEM)");
    *info = (struct certificate_info){0};
    X509_NAME_get_text_by_NID(X509_get_subject_name(c), NID_commonName, info->common_name, sizeof info->common_name);
    X509_digest(c, EVP_sha256(), hash, &len);
    hex_text(hash, len, info->fingerprint);
    if (tls_key_digest(c, info->key_digest)) {
        X509_free(c);
        return err_set(err, ENOMEM, "out of memory");
    }
    info->not_before_s = seconds_of(X509_get0_notBefore(c));
    info->not_after_s = seconds_of(X509_get0_notAfter(c));
    info->is_ca = X509_check_ca(c) == 1;
    take_names(c, info);
    X509_free(c);
    ERR_clear_error();
    return 0;
}

static int verify(X509 *c, X509 *ca, int64_t now_s, struct err *err)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    int rc = 0;
    if (!store || !context || !X509_STORE_add_cert(store, ca) || !X509_STORE_CTX_init(context, store, c, NULL)) {
        rc = err_set(err, ENOMEM, "no memory to check a certificate");
    } else {
        X509_VERIFY_PARAM_set_time(X509_STORE_CTX_get0_param(context), (time_t)now_s);
        if (X509_verify_cert(context) != 1)
            rc = err_set(err, EKEYREJECTED, "the certificate is refused: %s",
                         X509_verify_cert_error_string(X509_STORE_CTX_get_error(context)));
    }
    X509_STORE_CTX_free(context);
    X509_STORE_free(store);
    return rc;
}

int certificate_verify(const char *pem, const char *ca_pem, int64_t now_s, struct err *err)
{
    X509 *c = certificate_parse(pem), *ca = certificate_parse(ca_pem);
    int rc = c && ca ? verify(c, ca, now_s, err) : err_set(err, EBADMSG, "this is no certificate (X.509, PEM)");
    X509_free(c);
    X509_free(ca);
    ERR_clear_error();
    return rc;
}

bool certificate_matches(const char *pem, const char *key_pem)
{
    X509 *c = certificate_parse(pem);
    EVP_PKEY *key = certificate_parse_key(key_pem);
    bool matches = c && key && X509_check_private_key(c, key) == 1;
    ERR_clear_error();
    X509_free(c);
    EVP_PKEY_free(key);
    return matches;
}
