/* Serial consoles of this node's guests: a WebSocket at /v1/guests/NAME/console, whose binary messages are what is
 * typed, and what the guest prints.
 *
 * The guest's process is handed one end of a socket pair; it knows one client of its console at a time, and the newest
 * takes the place of the one before. Thread: the loop's. */
#ifndef NODE_AGENT_CONSOLES_H
#define NODE_AGENT_CONSOLES_H

struct api;
struct cluster;
struct consoles;
struct err;
struct guests;
struct loop;

struct consoles *consoles_new(struct loop *loop, struct cluster *cluster, struct api *api, struct err *err);
/* The guests of this node, once they are there. */
void consoles_attach(struct consoles *consoles, struct guests *guests);
/* After the server was closed, and turns of the loop. */
void consoles_free(struct consoles *consoles);

#endif
