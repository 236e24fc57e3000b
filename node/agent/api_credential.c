/* Who asks: a token, a certificate of the cluster, or a process of this machine; see api.h. A token that is shown
 * decides, whatever else there is. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "node/agent/api_state.h"

int64_t api_now_s(const struct api *api)
{
    return api->config.now_s ? api->config.now_s() : (int64_t)time(NULL);
}

static bool refuse(struct api_refusal *refusal, int status, const char *code, const char *detail)
{
    *refusal = (struct api_refusal){status, code, detail};
    return false;
}

static bool by_token(struct api *api, const char *field, const struct route *route, struct api_who *who,
                     struct api_refusal *refusal)
{
    const struct token *token;
    if (strncasecmp(field, "Bearer ", 7) != 0)
        return refuse(refusal, 401, "credential-unknown", "show a token: Authorization: Bearer drover_...");
    const char *text = field + 7 + strspn(field + 7, " ");
    int rc = token_table_find(api->config.tokens, TOKEN_ACCESS, text, api_now_s(api), &token);
    if (rc == -ENOENT)
        rc = token_table_find(api->config.tokens, TOKEN_JOIN, text, api_now_s(api), &token);
    if (rc == -EKEYEXPIRED)
        return refuse(refusal, 401, "token-expired", "the token has expired; ask an administrator for a new one");
    if (rc == -EKEYREVOKED)
        return refuse(refusal, 401, "token-revoked", "the token was revoked");
    if (rc)
        return refuse(refusal, 401, "token-unknown", "there is no such token");
    bool joins = token->kind == TOKEN_JOIN;
    if (joins && !(route && route->flags & ROUTE_JOIN))
        return refuse(refusal, 403, "role-insufficient", "a join token is good for joining only");
    snprintf(who->name, sizeof who->name, "%s:%s", joins ? "join" : "token", token->name);
    who->role = joins ? route->role : token->role;
    return true;
}

static bool by_certificate(struct api *api, const char *name, struct api_who *who, struct api_refusal *refusal)
{
    if (api->config.node_is_member && !api->config.node_is_member(api->config.context, name))
        return refuse(refusal, 403, "node-unknown", "the certificate's node is not a member of the cluster");
    snprintf(who->name, sizeof who->name, "node:%.60s", name);
    who->role = ROLE_NODE;
    return true;
}

bool api_identify(struct api *api, const struct http_request *request, const struct route *route, struct api_who *who,
                  struct api_refusal *refusal)
{
    const char *field = request->field[HTTP_AUTHORIZATION];
    *who = (struct api_who){.role = ROLE_NONE};
    if (field)
        return by_token(api, field, route, who, refusal);
    if (*request->peer)
        return by_certificate(api, request->peer, who, refusal);
    if (request->local && (request->uid == 0 || request->uid == geteuid() || api->config.local_group)) {
        snprintf(who->name, sizeof who->name, request->uid ? "local:uid-%u" : "local:root", (unsigned)request->uid);
        who->role = ROLE_ADMIN;
        return true;
    }
    return refuse(refusal, 401, "credential-missing", "show a token: Authorization: Bearer drover_...");
}
