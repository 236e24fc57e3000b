/* Takes the place of node/base/http_client.c (a program that links this gets this one): requests go nowhere, and the
 * test says what comes of each. */
#ifndef TESTS_UNIT_FAKE_HTTP_H
#define TESTS_UNIT_FAKE_HTTP_H

#include "node/base/http_client.h"

enum { FAKE_REQUESTS_MAX = 128 };

/* The n-th of those that are under way, oldest first, whose url ends like this; NULL: none. "" is any. */
struct http_client_request *fake_http_find(const char *url_end, unsigned n);
unsigned fake_http_count(void);

void fake_http_answer(struct http_client_request *request, int status, const char *body, size_t len);
/* sent: part of it may have reached the server. */
void fake_http_fail(struct http_client_request *request, int code, bool sent);
/* A piece of a streamed answer with the status 200. false: the receiver has had enough, the request is done. */
bool fake_http_stream(struct http_client_request *request, const char *bytes, size_t len);

#endif
