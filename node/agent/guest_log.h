/* What a guest's process prints: a file beside its sockets, and its last words. Threads: the loop's. */
#ifndef NODE_AGENT_GUEST_LOG_H
#define NODE_AGENT_GUEST_LOG_H

struct err;

/* To be handed to the process; -1: there is none, which is no reason not to start it. One that is too long begins
 * anew. */
int guest_log_open(const char *path, const char *id);
/* What it died of: how it ended (a status of waitpid()), and the last line of its log. */
void guest_log_reason(const char *path, int status, struct err *reason);

#endif
