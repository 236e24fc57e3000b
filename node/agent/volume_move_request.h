/* The request that the bytes of a volume move. Thread: the loop's. */
#ifndef NODE_AGENT_VOLUME_MOVE_REQUEST_H
#define NODE_AGENT_VOLUME_MOVE_REQUEST_H

struct api;
struct cluster;
struct err;

int volume_move_request_add(struct cluster *cluster, struct api *api, struct err *err);

#endif
