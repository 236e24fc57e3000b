/* What a guest's process is handed at its start beside its configuration: descriptors with the keys of its disks and
 * what else it must not open itself, and the epochs that its volumes were claimed with.
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_GUEST_HANDED_H
#define NODE_AGENT_GUEST_HANDED_H

#include "node/agent/process.h"

struct err;
struct guest_place;
struct json_t;

/* In the order of their numbers in the process, from PROCESS_FIRST_FD on. */
struct guest_handed {
    int fds[PROCESS_FDS_MAX];
    unsigned count;
};

void guest_handed_close(struct guest_handed *handed);
/* fd is taken over, also on failure. Its number in the process; or -errno: fd itself, -EMFILE. */
int guest_handed_add(struct guest_handed *handed, int fd);
/* Each wrapped key of the configuration's disks becomes the number of a descriptor that has it. state: the node's
 * folder. */
int guest_handed_keys(struct guest_handed *handed, struct json_t *config, const char *state, struct err *err);
/* In the place of its id each volume gets the epoch that was claimed, and each of its members is asked for with it.
 * -EAGAIN: one was not claimed. */
int guest_handed_epochs(struct json_t *config, const struct json_t *epochs, struct err *err);

enum { GUEST_HANDED_ADDRESS_BYTES = 128 };
/* The socket that a guest comes in by, and the key of the stream. in: the plan's "incoming". told: where the source
 * finds it, GUEST_HANDED_ADDRESS_BYTES. */
int guest_handed_incoming(struct guest_handed *handed, struct json_t *config, const struct guest_place *place,
                          const struct json_t *in, char *told, struct err *err);

#endif
