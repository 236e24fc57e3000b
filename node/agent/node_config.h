/* What a node is, as `droverd init` and `droverd join` wrote it down: STATE/node.json, and the certificates beside it.
 *
 *     {"id": UUID, "node": "n1", "address": "10.0.0.1", "listen": "tcp:10.0.0.1:7480", "store": "sqlite:...",
 *      "cluster": "lab"}
 *
 *     STATE/tls   what this node shows to others     STATE/ca   the authority, on the node that began the cluster
 *
 * Thread: any. */
#ifndef NODE_AGENT_NODE_CONFIG_H
#define NODE_AGENT_NODE_CONFIG_H

#include <limits.h>
#include <stdbool.h>

struct err;

enum { NODE_CONFIG_TEXT_MAX = 512 };

struct node_config {
    char id[64], node[64], address[64], cluster[64];
    char listen[NODE_CONFIG_TEXT_MAX]; /* "": the unix socket only */
    char store[NODE_CONFIG_TEXT_MAX];
};

int node_config_read(const char *state, struct node_config *config, struct err *err);
/* By rename, on stable storage when it returns. */
int node_config_write(const char *state, const struct node_config *config, struct err *err);
/* -EEXIST: the node belongs to a cluster already. Makes the folder. */
int node_config_prepare(const char *state, struct err *err);
/* Names and addresses as they must be; -EINVAL with what is wrong. */
int node_config_check(const struct node_config *config, struct err *err);

#endif
