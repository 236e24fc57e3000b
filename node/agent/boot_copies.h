/* This node's copies of images that guests boot from (boot_image.h): of each guest that may run here by its pins, also
 * while another node has it, so that they are there when that node is not. They are in STATE/boot, go when no such
 * guest is left, and what this node has of them is told in its state.
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_BOOT_COPIES_H
#define NODE_AGENT_BOOT_COPIES_H

#include "node/agent/boot_copy.h"

struct boot_copies;
struct cluster;
struct err;

/* state: the node's folder. changed(): boot_copies_state() says something new; from the loop. */
struct boot_copies *boot_copies_new(struct cluster *cluster, const struct boot_copy_place *place, const char *state,
                                    void (*changed)(void *context), void *context, struct err *err);
/* Copies that are being made are given up. */
void boot_copies_free(struct boot_copies *copies);

/* By the sum of what is wanted. NULL: it is not there, or not whole yet. copies may be NULL: there are none. */
const char *boot_copies_path(const struct boot_copies *copies, const char *sum);
/* Why not, or "". */
const char *boot_copies_reason(const struct boot_copies *copies, const char *sum);
/* {SHA-256: ...} as boot_image.h has it; new reference. */
struct json_t *boot_copies_state(const struct boot_copies *copies);

#endif
