/* Requests to the API of a droverd: over its unix socket on the same node, or over HTTPS with a token.
 *
 * Thread: one. */
#ifndef NODE_CLI_CLIENT_H
#define NODE_CLI_CLIENT_H

#include <stdbool.h>

struct client;
struct err;
struct json_t;

/* api: "unix:PATH" or "https://HOST:PORT". ca: a file, for https; NULL: the system's. token: NULL: none. */
struct client *client_new(const char *api, const char *ca, const char *token, struct err *err);
void client_free(struct client *client);

/* What an answer says beside its body. */
struct client_answer {
    long status;
    struct json_t *body; /* NULL: none; the caller's */
    char etag[80], location[256];
};

/* body and if_match may be NULL. 0: there is an answer, of whatever status; -errno: there is none, with a text that
 * says what to do. A change has an idempotency key of its own and is repeated if the connection broke before the
 * answer. */
int client_request(struct client *client, const char *method, const char *path, const struct json_t *body,
                   const char *if_match, const char *reason, struct client_answer *answer, struct err *err);
void client_answer_free(struct client_answer *answer);

/* Appends "&key=value" (or "?...") with the value encoded. */
void client_add_query(char *path, int room, const char *key, const char *value);
/* A value as one segment of a path. */
void client_escape(const char *value, char *escaped, int room);

/* A connection of its own for what is no request: after its TLS handshake, the client's. */
void *client_connect(struct client *client, struct err *err);
/* "HOST:PORT", and the header field that says who asks ("Authorization: ...\r\n", or ""). */
const char *client_host(const struct client *client);
void client_authorization(const struct client *client, char *field, int room);

#endif
