/* Certificates and keys from PEM text; shared by the certificate_*.c files. Threads: any. */
#ifndef NODE_AGENT_CERTIFICATE_PEM_H
#define NODE_AGENT_CERTIFICATE_PEM_H

#include <openssl/evp.h>
#include <openssl/x509.h>

/* NULL: it is none, or longer than CERTIFICATE_PEM_MAX. The caller frees. */
X509 *certificate_parse(const char *pem);
EVP_PKEY *certificate_parse_key(const char *pem);

#endif
