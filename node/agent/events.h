/* What happens in the cluster, as it happens: a WebSocket at /v1/events with a JSON text for each change.
 *
 *     {"kind":"guest","id":...,"name":"web1","change":"put"|"deleted","object":{...}}
 *
 * A follower that does not keep up is closed with 1013 and may come again. Thread: the loop's. */
#ifndef NODE_AGENT_EVENTS_H
#define NODE_AGENT_EVENTS_H

struct api;
struct cluster;
struct err;
struct events;

struct events *events_new(struct cluster *cluster, struct api *api, struct err *err);
void events_free(struct events *events); /* after the server was closed: nobody follows any more */

#endif
