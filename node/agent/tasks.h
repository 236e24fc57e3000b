/* The tasks whose work is this node's, or was that of one that was removed (heir.h): each is looked at whenever its
 * object changes, and what became of it is reported, with a line of its log for every step. Of those that have ended
 * the newest stay. And the API's verbs on tasks of all nodes: list, show, cancel.
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_TASKS_H
#define NODE_AGENT_TASKS_H

struct api;
struct change;
struct cluster;
struct err;
struct loop;
struct report;
struct tasks;

struct tasks *tasks_new(struct loop *loop, struct cluster *cluster, struct report *report, struct err *err);
void tasks_free(struct tasks *tasks);

int tasks_add_routes(struct api *api, struct cluster *cluster, struct err *err);

#endif
