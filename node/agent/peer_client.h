/* A client that asks other nodes for something: it knows them by the cluster's authority, and shows this node's
 * certificate. Thread: the loop's. */
#ifndef NODE_AGENT_PEER_CLIENT_H
#define NODE_AGENT_PEER_CLIENT_H

struct err;
struct http_client;
struct loop;

/* tls: the node's folder of them. The caller closes it. NULL with err. */
struct http_client *peer_client_new(struct loop *loop, const char *tls, struct err *err);

#endif
