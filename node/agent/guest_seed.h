/* The seed of a guest (its name, addresses, keys and user data) as its plan has it, written as a cloud-init NoCloud
 * disk.
 *
 * Threads: one at a time, which may block. */
#ifndef NODE_AGENT_GUEST_SEED_H
#define NODE_AGENT_GUEST_SEED_H

struct err;
struct json_t;

/* seed: {"path":..., "instance_id":..., "hostname":..., "ssh_keys": [...], "user_data":..., "cards": [...]}. By rename.
 */
int guest_seed_write(const struct json_t *seed, struct err *err);

#endif
