/* How nodes become members, on the side of those that are: invitations, and requests to be let in; and what the cluster
 * is.
 *
 *     GET  /v1/cluster              name, nodes, store
 *     POST /v1/cluster/invitations  an invitation for one node
 *     POST /v1/cluster/join         a node with an invitation is given its certificate
 *     POST /v1/cluster/certificate  a node is given its next one
 *
 * Only the node that has the authority's key can sign. Thread: the loop's. */
#ifndef NODE_AGENT_MEMBERSHIP_H
#define NODE_AGENT_MEMBERSHIP_H

#include <stdbool.h>

struct api;
struct cluster;
struct err;
struct membership;
struct node_config;
struct tokens;

/* node and state are lent. api_address: "https://10.0.0.1:7480", or "". */
struct membership *membership_new(struct cluster *cluster, struct tokens *tokens, const struct node_config *node,
                                  const char *state, const char *api_address, struct api *api, struct err *err);
void membership_free(struct membership *membership);

/* This node has the authority's key. */
bool membership_signs(const struct membership *membership);
/* Signs what a node asks for. -ENOENT: this node has no key to do it with. The caller frees. */
int membership_sign(const struct membership *membership, const char *node, const char *address, const char *request,
                    char **certificate, struct err *err);

#endif
