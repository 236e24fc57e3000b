#include "node/agent/peer_client.h"

#include "node/base/http_client.h"
#include "node/base/tls.h"

struct http_client *peer_client_new(struct loop *loop, const char *tls, struct err *err)
{
    struct tls_client_files files;
    tls_client_files(tls, &files);
    struct http_client_options options = {.ca_file = files.ca, .cert_file = files.certificate, .key_file = files.key};
    return http_client_new(loop, &options, err);
}
