/* Objects that are made by the API. Of guests one after the other (room_turn.h): where one may be, and has room,
 * depends on those before it. Thread: the loop's. */
#ifndef NODE_AGENT_OBJECT_CREATE_H
#define NODE_AGENT_OBJECT_CREATE_H

struct api_call;
struct cluster;
struct room_turns;

/* state: the node's folder, where the cluster's volume key is. All are lent. */
struct object_place {
    struct cluster *cluster;
    const char *state;
    struct room_turns *turns;
};

/* Makes the one that the call describes, of the kind its route is tagged with, and answers. place: lent until then. */
void object_create(const struct object_place *place, struct api_call *call);

#endif
