/* What drover-fault is to do, as the agent writes it: one JSON object on descriptor 3.
 *
 *     {"drill": NAME, "key": TEXT, "for_ms": N, "address": "10.0.0.2", "port": 7481,
 *      "cut": "none" | "store" | "peers" | "all", "peers": ["10.0.0.1", ...], "store": ["https://10.0.0.1:2379", ...],
 *      "kill": "none" | "agent" | "node" | "group", "agent": PID, "groups": ["/sys/fs/cgroup/drover-n2", ...],
 *      "group": NAME, "stall_ms": N, "hold": PATH or "", "restart": [ARGV...]}
 *
 * groups: the node's own, in each hierarchy; NAME is one below them. Threads: any. */
#ifndef NODE_AGENT_FAULT_CONFIG_H
#define NODE_AGENT_FAULT_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct err;
struct json_t;

enum fault_cut { FAULT_CUT_NONE, FAULT_CUT_STORE, FAULT_CUT_PEERS, FAULT_CUT_ALL, FAULT_CUT_COUNT };
enum fault_kill { FAULT_KILL_NONE, FAULT_KILL_AGENT, FAULT_KILL_NODE, FAULT_KILL_GROUP, FAULT_KILL_COUNT };
enum {
    FAULT_PORT = 7481,     /* UDP: where the end of a drill is heard, whatever else is cut */
    FAULT_MS_MAX = 600000, /* no fault lasts longer, whoever asks */
    FAULT_STALL_MS_MAX = 5000,
    FAULT_ADDRESSES_MAX = 128,
    FAULT_ARGV_MAX = 32,
};

/* The group that drover-fault itself is in. */
#define FAULT_GROUP "drill"
/* The table of the packet filter that cuts the node off. */
#define FAULT_TABLE "drover-drill"

struct fault_config {
    struct json_t *json; /* the texts below are its */
    const char *drill, *key, *address, *group, *hold;
    unsigned port;
    uint64_t for_ms, stall_ms;
    enum fault_cut cut;
    enum fault_kill kill;
    pid_t agent;
};

const char *fault_cut_name(enum fault_cut cut);
const char *fault_kill_name(enum fault_kill kill);

/* json is taken over, also on failure. -EINVAL: it is not as above. */
int fault_config_read(struct fault_config *config, struct json_t *json, struct err *err);
void fault_config_fini(struct fault_config *config);

#endif
