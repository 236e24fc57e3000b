/* The cluster's own certificate authority: made by `cluster init`, it signs a certificate for each node; nodes show
 * them to each other (mutual TLS) and to people. EC P-256, SHA-256, X.509 v3.
 *
 * Pure functions on PEM text, and two that read and write files. A node's key is made on the node and never leaves it:
 * a joining node sends a request (PKCS #10); what is signed is the name and the addresses that the caller gives, not
 * what the request asks for.
 *
 * Threads: any. */
#ifndef NODE_AGENT_CERTIFICATE_H
#define NODE_AGENT_CERTIFICATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

enum {
    CERTIFICATE_PEM_MAX = 16 << 10,
    CERTIFICATE_NAME_MAX = 64, /* X.509's limit for a common name */
    CERTIFICATE_SANS_MAX = 16,
    CERTIFICATE_CA_DAYS = 3650,
    CERTIFICATE_NODE_DAYS = 825,
    CERTIFICATE_FINGERPRINT_HEX = 64,
};

/* PEM text; certificate_pem_free() wipes and frees. */
struct certificate_pair {
    char *certificate, *key;
};
void certificate_pem_free(char *pem);
void certificate_pair_free(struct certificate_pair *pair);

/* Who a certificate is for. names: DNS names or IP addresses, as text; the common name is always among them. */
struct certificate_subject {
    const char *common_name;
    const char *names[CERTIFICATE_SANS_MAX];
    unsigned name_count;
};

/* A new authority; cluster: its common name. Not before: an hour ago, for clocks that are behind. */
int certificate_make_ca(const char *cluster, unsigned days, struct certificate_pair *ca, struct err *err);
/* A new key and a request for a certificate. */
int certificate_make_request(const char *common_name, char **key, char **request, struct err *err);
/* The same with a key that there is. */
int certificate_request_for(const char *common_name, const char *key, char **request, struct err *err);
/* -EBADMSG: no request, or not signed with its own key; -EINVAL: the subject; -EKEYREJECTED: key is not ca's. */
int certificate_sign(const struct certificate_pair *ca, const char *request, const struct certificate_subject *subject,
                     unsigned days, char **certificate, struct err *err);
/* Request and signature in one, where the authority is at hand. */
int certificate_make_node(const struct certificate_pair *ca, const struct certificate_subject *subject, unsigned days,
                          struct certificate_pair *node, struct err *err);

struct certificate_info {
    char common_name[CERTIFICATE_NAME_MAX + 1];
    char fingerprint[CERTIFICATE_FINGERPRINT_HEX + 1]; /* SHA-256 of the DER form, in hex */
    char key_digest[CERTIFICATE_FINGERPRINT_HEX + 1];  /* of its public key alone: node/base/tls_refused.h */
    int64_t not_before_s, not_after_s;                 /* since 1970 */
    bool is_ca;
    char names[CERTIFICATE_SANS_MAX][256];
    unsigned name_count;
};
int certificate_inspect(const char *certificate, struct certificate_info *info, struct err *err);
/* 0: signed by ca and valid at now_s; -EKEYREJECTED with the reason. */
int certificate_verify(const char *certificate, const char *ca, int64_t now_s, struct err *err);
/* The key belongs to the certificate. */
bool certificate_matches(const char *certificate, const char *key);

/* Writes the directory that tls_context_x509() reads: ca-cert.pem, and server- and client- cert.pem (0644) and key.pem
 * (0600), each by rename, the keys first: a crash leaves the old pair or a new key that the next start notices.
 * The directory is made, mode 0700, if it is not there. */
int certificate_store(const char *directory, const char *ca, const struct certificate_pair *node, struct err *err);
/* The same with the key and authority that are there: a crash leaves nothing that does not fit together. */
int certificate_store_renewed(const char *directory, const char *certificate, struct err *err);
/* One file of at most CERTIFICATE_PEM_MAX bytes; secret: refused if others than its owner may read it. */
int certificate_load(const char *path, bool secret, char **pem, struct err *err);
int certificate_save(const char *path, const char *pem, bool secret, struct err *err);

#endif
