/* What a node shows to the store, and by whom it knows it: the folder STATE/store-tls if there is one, else STATE/tls,
 * as to other nodes. A store with an authority of its own can refuse a node that has been removed, and may serve others
 * than Drover, too.
 *
 * Thread: any. */
#ifndef NODE_BASE_STORE_TLS_H
#define NODE_BASE_STORE_TLS_H

struct tls_client_files;

/* state: droverd's folder. ca-cert.pem, client-cert.pem and client-key.pem of the one folder or of the other. */
void store_tls_files(const char *state, struct tls_client_files *files);

#endif
