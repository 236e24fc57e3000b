/* The tokens of people and programs, and of nodes that are to join: kept in the store by their hash, looked up in the
 * table that api.h asks, made and revoked by three routes.
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_TOKENS_H
#define NODE_AGENT_TOKENS_H

struct api;
struct api_call;
struct cluster;
struct err;
struct json_t;
struct token_table;
struct token;
struct tokens;

/* Adds its routes to the API. table: lent, filled and kept up to date. */
struct tokens *tokens_new(struct cluster *cluster, struct token_table *table, struct api *api, struct err *err);
void tokens_free(struct tokens *tokens);

/* Makes one and answers the call: with what `answer` makes of it (201), or with the reason why not. want: name, kind,
 * role and expires_s. */
void tokens_make(struct tokens *tokens, struct api_call *call, const struct token *want,
                 struct json_t *(*answer)(void *context, const struct token *token, const char *text), void *context);
/* Ends the join token that let the call in, so that it lets in nobody else, and then calls done(): with the call, which
 * is done's to answer; or with NULL, if somebody was quicker and the call has its answer. A call that came with another
 * credential goes on at once. */
void tokens_spend(struct tokens *tokens, struct api_call *call, void (*done)(void *context, struct api_call *call),
                  void *context);

#endif
