#include "node/agent/kind.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "node/agent/drill_kind.h"
#include "node/agent/member.h"
#include "node/agent/start_order.h"
#include "node/agent/placement.h"

#define REF(n, f, d)                                                                                                   \
    {                                                                                                                  \
        .name = n, .type = SCHEMA_REF, .flags = f, .description = d                                                    \
    }
#define END                                                                                                            \
    {                                                                                                                  \
        .name = NULL                                                                                                   \
    }

/* ---- checks beyond the type ---- */

static const char *check_path(const json_t *value)
{
    const char *text = json_string_value(value);
    if (text[0] != '/' || strstr(text, "/../") || strstr(text, "//"))
        return "must be an absolute path without '..', such as /var/lib/drover";
    return NULL;
}

static const char *check_sha256(const json_t *value)
{
    const char *text = json_string_value(value);
    if (strlen(text) != 64 || strspn(text, "0123456789abcdef") != 64)
        return "must be 64 hexadecimal digits in small letters, as sha256sum prints them";
    return NULL;
}

static const char *check_source(const json_t *value)
{
    const char *text = json_string_value(value);
    bool url = !strncmp(text, "http://", 7) || !strncmp(text, "https://", 8);
    if (url && strcspn(strstr(text, "//") + 2, "@") < strcspn(strstr(text, "//") + 2, "/"))
        return "must not hold a user and password: everybody who may look at images would read them";
    if (url)
        return NULL;
    return text[0] == '/' ? check_path(value)
                          : "must be an http:// or https:// URL, or an absolute path on the pool's node";
}

static const char *check_memory(const json_t *value)
{
    return json_integer_value(value) % (2 << 20) ? "must be a multiple of 2M, such as 512M" : NULL;
}

/* ---- nodes ---- */

static const struct schema_field label = {.type = SCHEMA_STRING, .max = 256};
#define NODE_LABELS                                                                                                    \
    {                                                                                                                  \
        .name = "labels", .type = SCHEMA_MAP, .item = &label, .max = 64, .description = "for people and for placement" \
    }
#define NODE_RENEW                                                                                                     \
    {                                                                                                                  \
        .name = "renew", .type = SCHEMA_BOOL, .description = "it is to get its next certificate now; goes when it has" \
    }
#define NODE_DRAIN_VOLUMES                                                                                             \
    {                                                                                                                  \
        .name = "drain_volumes", .type = SCHEMA_BOOL,                                                                  \
        .description = "while it is drained, what volumes have on it moves to other nodes, too"                        \
    }
static const struct schema_field node_spec[] = {
    {.name = "address", .type = SCHEMA_IP, .flags = SCHEMA_REQUIRED, .description = "where other nodes reach it"},
    NODE_LABELS,
    {.name = "drained", .type = SCHEMA_BOOL, .default_json = "false", .description = "takes no new guests"},
    NODE_DRAIN_VOLUMES,
    {.name = "key",
     .type = SCHEMA_STRING,
     .description = "SHA-256 of its public key, which is refused once it is removed"},
    NODE_RENEW,
    END};
static const struct schema_field node_change_spec[] = {
    NODE_LABELS,
    {.name = "drained", .type = SCHEMA_BOOL, .description = "takes no new guests"},
    NODE_DRAIN_VOLUMES,
    NODE_RENEW,
    END};

/* ---- pools ---- */

static const char *const pool_drivers[] = {"directory", "block", "lvm", NULL};
static const struct schema_field pool_spec[] = {
    REF("node", SCHEMA_REQUIRED, "whose storage it is"),
    {.name = "driver",
     .type = SCHEMA_ENUM,
     .values = pool_drivers,
     .default_json = "\"directory\"",
     .description = "directory: files; block: one volume on a whole device; lvm: logical volumes of a group"},
    {.name = "path",
     .type = SCHEMA_STRING,
     .flags = SCHEMA_REQUIRED,
     .min = 1,
     .max = 255,
     .check = check_path,
     .description = "the folder, the device, or /dev/GROUP",
     .example = "/var/lib/drover/pool"},
    END};

/* ---- images ---- */

static const struct schema_field image_spec[] = {
    REF("pool", SCHEMA_REQUIRED, "where it is kept; a directory"),
    {.name = "source",
     .type = SCHEMA_STRING,
     .flags = SCHEMA_REQUIRED,
     .min = 1,
     .max = 2048,
     .check = check_source,
     .description = "URL, or path on the pool's node; raw, also compressed by gzip, xz, zstd, bzip2 or lz4",
     .example = "https://images.example/debian-12.raw.xz"},
    {.name = "sha256",
     .type = SCHEMA_STRING,
     .flags = SCHEMA_NULLABLE,
     .max = 64,
     .check = check_sha256,
     .description = "of the source as it comes; what differs is refused"},
    END};

/* ---- volumes ---- */

static const char *const spreads[] = {"node", "rack", "site", NULL};
static const struct schema_field pool_name = {.type = SCHEMA_REF};
#define RESYNC_RATE                                                                                                    \
    {                                                                                                                  \
        .name = "resync_rate", .type = SCHEMA_SIZE, .flags = SCHEMA_NULLABLE, .min = 1 << 20, .max = 1LL << 40,        \
        .description = "bytes a second for members that are filled; without it as fast as the guest leaves room"       \
    }
#define REPLACE_AFTER                                                                                                  \
    {                                                                                                                  \
        .name = "replace_after_s", .type = SCHEMA_INT, .flags = SCHEMA_NULLABLE, .min = 0, .max = 30 * 86400,          \
        .description = "a member that is away for so long is replaced by a fresh one on another node; 0: never"        \
    }
static const struct schema_field volume_spec[] = {
    REF("pool", SCHEMA_NULLABLE, "where its bytes are, without a layout"),
    {.name = "layout",
     .type = SCHEMA_STRING,
     .flags = SCHEMA_NULLABLE,
     .max = 32,
     .description = "over several pools: raid0:N, raid1:N, raid5:N, raid6:N, raid10:N or replica:N, with N members",
     .example = "replica:3"},
    {.name = "pools",
     .type = SCHEMA_ARRAY,
     .flags = SCHEMA_NULLABLE | SCHEMA_UNIQUE,
     .item = &pool_name,
     .max = 16,
     .description = "of its members, in order; chosen if left out"},
    {.name = "spread",
     .type = SCHEMA_ENUM,
     .flags = SCHEMA_NULLABLE,
     .values = spreads,
     .description = "what no two members share: the node (if left out), "
                    "or what its label rack or site says"},
    REF("witness", SCHEMA_NULLABLE, "pool of the witness, on a further node; chosen if left out"),
    RESYNC_RATE,
    REPLACE_AFTER,
    {.name = "size",
     .type = SCHEMA_SIZE,
     .flags = SCHEMA_REQUIRED,
     .min = 1 << 20,
     .max = 1LL << 50,
     .description = "a multiple of 4096",
     .example = "20G"},
    {.name = "room",
     .type = SCHEMA_SIZE,
     .flags = SCHEMA_NULLABLE,
     .min = 1 << 20,
     .max = 1LL << 53,
     .description = "what a volume with a layout may grow to; 8 times its size if left out"},
    REF("image", SCHEMA_NULLABLE, "what it begins as; empty without one"),
    {.name = "encrypted",
     .type = SCHEMA_BOOL,
     .default_json = "false",
     .description = "LUKS2, with a key that only the cluster has"},
    END};
static const struct schema_field volume_change_spec[] = {RESYNC_RATE,
                                                         REPLACE_AFTER,
                                                         {.name = "size",
                                                          .type = SCHEMA_SIZE,
                                                          .min = 1 << 20,
                                                          .max = 1LL << 50,
                                                          .description = "only larger",
                                                          .example = "40G"},
                                                         END};

/* ---- networks ---- */

static const struct schema_field dns_server = {.type = SCHEMA_IP};
static const struct schema_field network_spec[] = {
    {.name = "subnet",
     .type = SCHEMA_CIDR,
     .flags = SCHEMA_REQUIRED,
     .description = "its addresses",
     .example = "10.7.0.0/24"},
    {.name = "gateway",
     .type = SCHEMA_IP,
     .flags = SCHEMA_NULLABLE,
     .description = "what guests are told; without one they stay among themselves"},
    {.name = "vni", .type = SCHEMA_INT, .min = 1, .max = 16777215, .description = "VXLAN number; chosen if left out"},
    {.name = "mtu",
     .type = SCHEMA_INT,
     .min = 1280,
     .max = 9000,
     .default_json = "1450",
     .description = "of its guests"},
    {.name = "nat",
     .type = SCHEMA_BOOL,
     .default_json = "false",
     .description = "every node is a gateway to the outside for its own guests"},
    {.name = "dns", .type = SCHEMA_ARRAY, .item = &dns_server, .max = 4, .description = "name servers guests are told"},
    END};

/* ---- guests ---- */

static const char *const engines[] = {"auto", "kvm", "dbt", "interp", NULL};
static const char *const restarts[] = {"always", "on-failure", "never", NULL};
static const char *const on_crash[] = {"restart", "stop", NULL};
static const char *const on_panic[] = {"restart", "stop", "keep", NULL};
static const char *const post_copy[] = {"never", "asked", "allowed", NULL}; /* migration.h */
static const struct schema_field guest_disk_fields[] = {
    REF("volume", SCHEMA_REQUIRED, "which"),
    {.name = "read_only", .type = SCHEMA_BOOL, .default_json = "false", .description = "the guest cannot write it"},
    END};
static const struct schema_field guest_disk = {.type = SCHEMA_OBJECT, .fields = guest_disk_fields};
static const struct schema_field guest_network_fields[] = {
    REF("network", SCHEMA_REQUIRED, "which"),
    {.name = "address", .type = SCHEMA_IP, .description = "in the network's subnet; chosen if left out"},
    {.name = "mac", .type = SCHEMA_MAC, .description = "chosen if left out"},
    {.name = "rate_mbit", .type = SCHEMA_INT, .min = 1, .max = 80000, .description = "limit, each way"},
    END};
static const struct schema_field guest_network = {.type = SCHEMA_OBJECT, .fields = guest_network_fields};
static const struct schema_field ssh_key = {.type = SCHEMA_STRING, .min = 16, .max = 16384};
static const struct schema_field guest_boot_fields[] = {
    {.name = "kernel",
     .type = SCHEMA_REF,
     .flags = SCHEMA_REQUIRED,
     .description = "an image that is a kernel; nodes that may run the guest copy it"},
    {.name = "initrd", .type = SCHEMA_REF, .description = "an image that is its RAM disk"},
    {.name = "cmdline", .type = SCHEMA_STRING, .max = 2000, .description = "its command line"},
    END};

/* The same when a guest is made and when it is changed. */
#define GUEST_CPU_PERCENT                                                                                              \
    {                                                                                                                  \
        .name = "cpu_percent", .type = SCHEMA_INT, .flags = SCHEMA_NULLABLE, .min = 1, .max = 6400,                    \
        .description = "limit of processor time; 100 is one processor"                                                 \
    }
#define GUEST_CPU_WEIGHT                                                                                               \
    {                                                                                                                  \
        .name = "cpu_weight", .type = SCHEMA_INT, .flags = SCHEMA_NULLABLE, .min = 1, .max = 10000,                    \
        .description = "share when processors are scarce; 100 is everybody's"                                          \
    }
#define GUEST_POST_COPY                                                                                                \
    {                                                                                                                  \
        .name = "post_copy", .type = SCHEMA_ENUM, .flags = SCHEMA_NULLABLE, .values = post_copy,                       \
        .description = "whether it may run at its new node before its last pages, where a migration would be given "   \
                       "up: never, if that is asked for, or always (allowed); asked if left out"                       \
    }

/* What is done when it ends, panics or hangs. */
#define GUEST_ON(what, choices, text)                                                                                  \
    {                                                                                                                  \
        .name = what, .type = SCHEMA_ENUM, .flags = SCHEMA_NULLABLE, .values = choices, .description = text            \
    }
#define GUEST_POLICY                                                                                                   \
    GUEST_ON("on_crash", on_crash, "when its process dies: restart, unless `restart` is never"),                       \
        GUEST_ON("on_panic", on_panic, "when its kernel says by pvpanic that it has panicked: restart"),               \
        GUEST_ON("on_hang", on_crash, "when it does not feed its watchdog: restart"),                                  \
        {.name = "restart_attempts",                                                                                   \
         .type = SCHEMA_INT,                                                                                           \
         .flags = SCHEMA_NULLABLE,                                                                                     \
         .min = 0,                                                                                                     \
         .max = 100,                                                                                                   \
         .description = "restarts within the window, then it stays down; 5, 0 is without an end"},                     \
        {.name = "restart_window",                                                                                     \
         .type = SCHEMA_DURATION,                                                                                      \
         .flags = SCHEMA_NULLABLE,                                                                                     \
         .min = 1000,                                                                                                  \
         .max = 30LL * 86400 * 1000,                                                                                   \
         .description = "in which attempts are counted; ten minutes",                                                  \
         .example = "10m"},                                                                                            \
    {                                                                                                                  \
        .name = "restart_delay", .type = SCHEMA_DURATION, .flags = SCHEMA_NULLABLE, .min = 0, .max = 3600000,          \
        .description = "before a restart, twice as long each time while it does not run for a minute; one second",     \
        .example = "5s"                                                                                                \
    }

#define GUEST_HA                                                                                                       \
    {                                                                                                                  \
        .name = "ha", .type = SCHEMA_BOOL,                                                                             \
        .description = "protected: when its node is lost, another one runs it within seconds"                          \
    }
#define GUEST_HA_PRIORITY                                                                                              \
    {                                                                                                                  \
        .name = "ha_priority", .type = SCHEMA_INT, .flags = SCHEMA_NULLABLE, .min = 0, .max = 100,                     \
        .description = "order in which protected guests are restarted, the largest first; 50 if left out"              \
    }

#define GUEST_ORDER                                                                                                    \
    {.name = "ha_after",                                                                                               \
     .type = SCHEMA_ARRAY,                                                                                             \
     .flags = SCHEMA_NULLABLE | SCHEMA_UNIQUE,                                                                         \
     .item = &needed_guest,                                                                                            \
     .max = START_NEEDS_MAX,                                                                                           \
     .description = "guests that it needs: it starts only after they run, or cannot be started anywhere"},             \
    {                                                                                                                  \
        .name = "ha_delay", .type = SCHEMA_DURATION, .flags = SCHEMA_NULLABLE, .min = 0, .max = 600000,                \
        .description = "so long after what it needs runs, or else after it was wanted", .example = "10s"               \
    }

static const struct schema_field needed_guest = {.type = SCHEMA_NAME};
/* placement.h has what they mean. */
static const struct schema_field placement_group = {.type = SCHEMA_STRING, .max = 80, .check = placement_check};
static const struct schema_field placement_node = {.type = SCHEMA_REF};
#define GUEST_RULE(rule, items, says)                                                                                  \
    {                                                                                                                  \
        .name = rule, .type = SCHEMA_ARRAY, .flags = SCHEMA_NULLABLE | SCHEMA_UNIQUE, .item = items,                   \
        .max = PLACEMENT_LIST_MAX, .description = says                                                                 \
    }
#define GUEST_PLACEMENT                                                                                                \
    GUEST_RULE("affinity", &placement_group, "groups it stays with: GROUP[:rack|:site][:soft]"),                       \
        GUEST_RULE("anti_affinity", &placement_group, "groups it keeps apart from, likewise"),                         \
        GUEST_RULE("pin", &placement_node, "nodes it may run on; any if left out"),                                    \
        GUEST_RULE("avoid", &placement_node, "nodes it never runs on")

static const struct schema_field guest_spec[] = {
    {.name = "node", .type = SCHEMA_REF, .description = "where it runs; chosen if left out"},
    {.name = "running", .type = SCHEMA_BOOL, .default_json = "false", .description = "whether it is to run"},
    {.name = "memory",
     .type = SCHEMA_SIZE,
     .min = 32 << 20,
     .max = 1LL << 40,
     .check = check_memory,
     .default_json = "536870912",
     .description = "of the guest",
     .example = "1G"},
    {.name = "vcpus",
     .type = SCHEMA_INT,
     .min = 1,
     .max = 64,
     .default_json = "1",
     .description = "virtual processors"},
    {.name = "engine",
     .type = SCHEMA_ENUM,
     .values = engines,
     .default_json = "\"auto\"",
     .description = "what executes it"},
    {.name = "cpu",
     .type = SCHEMA_STRING,
     .min = 1,
     .max = 32,
     .default_json = "\"host\"",
     .description = "the processor it sees: host, or a model that all nodes have"},
    {.name = "boot",
     .type = SCHEMA_OBJECT,
     .fields = guest_boot_fields,
     .description = "a kernel from images; without it the first disk's boot loader"},
    {.name = "disks", .type = SCHEMA_ARRAY, .item = &guest_disk, .max = 15, .description = "the first one boots"},
    {.name = "networks",
     .type = SCHEMA_ARRAY,
     .item = &guest_network,
     .max = 8,
     .description = "in the order of its cards"},
    {.name = "ssh_keys", .type = SCHEMA_ARRAY, .item = &ssh_key, .max = 32, .description = "who may log in"},
    {.name = "user_data", .type = SCHEMA_TEXT, .max = 65536, .description = "cloud-config for cloud-init"},
    {.name = "restart",
     .type = SCHEMA_ENUM,
     .values = restarts,
     .default_json = "\"on-failure\"",
     .description = "when its process ends by itself"},
    GUEST_POLICY,
    GUEST_HA,
    GUEST_HA_PRIORITY,
    GUEST_ORDER,
    GUEST_PLACEMENT,
    GUEST_CPU_PERCENT,
    GUEST_CPU_WEIGHT,
    GUEST_POST_COPY,
    {.name = "stop_seconds",
     .type = SCHEMA_INT,
     .min = 1,
     .max = 3600,
     .default_json = "60",
     .description = "after the power button, before the plug is pulled"},
    END};
static const struct schema_field guest_change_spec[] = {
    {.name = "node", .type = SCHEMA_REF, .description = "where it runs; if it is stopped, or its node is away"},
    {.name = "boot", .type = SCHEMA_OBJECT, .fields = guest_boot_fields, .description = "from its next start on"},
    {.name = "running", .type = SCHEMA_BOOL, .description = "whether it is to run"},
    {.name = "memory",
     .type = SCHEMA_SIZE,
     .min = 32 << 20,
     .max = 1LL << 40,
     .check = check_memory,
     .description = "from its next start on",
     .example = "1G"},
    {.name = "vcpus", .type = SCHEMA_INT, .min = 1, .max = 64, .description = "from its next start on"},
    {.name = "restart", .type = SCHEMA_ENUM, .values = restarts, .description = "when its process ends by itself"},
    GUEST_POLICY,
    GUEST_HA,
    GUEST_HA_PRIORITY,
    GUEST_ORDER,
    GUEST_PLACEMENT,
    GUEST_CPU_PERCENT,
    GUEST_CPU_WEIGHT,
    GUEST_POST_COPY,
    {.name = "stop_seconds",
     .type = SCHEMA_INT,
     .min = 1,
     .max = 3600,
     .description = "after the power button, before the plug is pulled"},
    END};

/* ---- tasks ---- */

static const char *const task_verbs[] = {"create", "resize",  "start", "stop",     "delete", "migrate",
                                         "move",   "replace", "scrub", "failover", "drill",  NULL};
static const struct schema_field task_spec[] = {
    {.name = "verb",
     .type = SCHEMA_ENUM,
     .flags = SCHEMA_REQUIRED,
     .values = task_verbs,
     .description = "what is done"},
    {.name = "object_kind", .type = SCHEMA_STRING, .flags = SCHEMA_REQUIRED, .description = "to what"},
    {.name = "object_id", .type = SCHEMA_UUID, .flags = SCHEMA_REQUIRED, .description = "its id"},
    {.name = "object", .type = SCHEMA_NAME, .flags = SCHEMA_REQUIRED, .description = "its name"},
    {.name = "node", .type = SCHEMA_NAME, .flags = SCHEMA_REQUIRED, .description = "which node does it"},
    {.name = "by", .type = SCHEMA_STRING, .flags = SCHEMA_REQUIRED, .description = "who asked for it"},
    {.name = "began", .type = SCHEMA_TIME, .flags = SCHEMA_REQUIRED, .description = "when"},
    {.name = NULL},
};
static const struct schema_field task_answer_fields[] = {
    {.name = "kind", .type = SCHEMA_STRING, .flags = SCHEMA_REQUIRED, .description = "of object"},
    {.name = "id", .type = SCHEMA_UUID, .flags = SCHEMA_REQUIRED, .description = "for ever"},
    {.name = "name", .type = SCHEMA_NAME, .flags = SCHEMA_REQUIRED, .description = "begins with the time"},
    {.name = "revision", .type = SCHEMA_INT, .flags = SCHEMA_REQUIRED, .description = "of the store"},
    {.name = "cancel", .type = SCHEMA_BOOL, .description = "somebody has cancelled it"},
    {.name = "spec", .type = SCHEMA_OBJECT, .flags = SCHEMA_REQUIRED, .fields = task_spec, .description = "what it is"},
    {.name = "state",
     .type = SCHEMA_OBJECT,
     .flags = SCHEMA_REQUIRED,
     .description = "phase, reason, progress in bytes, log"},
    {.name = NULL},
};
static const struct schema task_answer = {"Task", "A change that takes its time.", task_answer_fields};

/* ---- migrations ---- */

static const struct schema_field migration_volume_fields[] = {
    {.name = "move", .type = SCHEMA_UUID, .flags = SCHEMA_REQUIRED, .description = "its volume-move"},
    {.name = "volume", .type = SCHEMA_NAME, .flags = SCHEMA_REQUIRED, .description = "which"},
    {.name = "member", .type = SCHEMA_INT, .flags = SCHEMA_REQUIRED, .description = "of it; -1: it has no layout"},
    {.name = "from", .type = SCHEMA_NAME, .flags = SCHEMA_REQUIRED, .description = "pool"},
    {.name = "to", .type = SCHEMA_NAME, .flags = SCHEMA_REQUIRED, .description = "pool"},
    {.name = "bytes", .type = SCHEMA_INT, .flags = SCHEMA_REQUIRED, .description = "how many"},
    {.name = NULL},
};
static const struct schema_field migration_volume = {.type = SCHEMA_OBJECT, .fields = migration_volume_fields};
static const struct schema_field migration_spec[] = {
    {.name = "guest", .type = SCHEMA_NAME, .flags = SCHEMA_REQUIRED, .description = "which moves"},
    {.name = "guest_id", .type = SCHEMA_UUID, .flags = SCHEMA_REQUIRED, .description = "its id"},
    {.name = "from", .type = SCHEMA_NAME, .flags = SCHEMA_REQUIRED, .description = "node"},
    {.name = "to", .type = SCHEMA_NAME, .flags = SCHEMA_REQUIRED, .description = "node"},
    {.name = "max_downtime_ms", .type = SCHEMA_INT, .flags = SCHEMA_REQUIRED, .description = "goal"},
    {.name = "within_s", .type = SCHEMA_INT, .flags = SCHEMA_REQUIRED, .description = "goal"},
    {.name = "post_copy", .type = SCHEMA_BOOL, .description = "its last pages may follow it"},
    {.name = "by", .type = SCHEMA_STRING, .flags = SCHEMA_REQUIRED, .description = "who asked for it"},
    {.name = "began", .type = SCHEMA_TIME, .flags = SCHEMA_REQUIRED, .description = "when"},
    {.name = "plan", .type = SCHEMA_UUID, .description = "of the balancer, that it is a move of"},
    {.name = "move", .type = SCHEMA_INT, .description = "which of its moves"},
    {.name = "volumes", .type = SCHEMA_ARRAY, .item = &migration_volume, .description = "which move before it"},
    {.name = NULL},
};
static const struct schema_field migration_answer_fields[] = {
    {.name = "kind", .type = SCHEMA_STRING, .flags = SCHEMA_REQUIRED, .description = "of object"},
    {.name = "id", .type = SCHEMA_UUID, .flags = SCHEMA_REQUIRED, .description = "for ever"},
    {.name = "name", .type = SCHEMA_NAME, .flags = SCHEMA_REQUIRED, .description = "begins with the time"},
    {.name = "revision", .type = SCHEMA_INT, .flags = SCHEMA_REQUIRED, .description = "of the store"},
    {.name = "address", .type = SCHEMA_STRING, .description = "where the destination listens"},
    {.name = "refused", .type = SCHEMA_STRING, .description = "why the destination cannot take it"},
    {.name = "cancel", .type = SCHEMA_BOOL, .description = "somebody has cancelled it"},
    {.name = "recalled", .type = SCHEMA_STRING, .description = "why its volumes are not to go on"},
    {.name = "volumes_s", .type = SCHEMA_INT, .description = "its volumes are there, and took so long"},
    {.name = "switched", .type = SCHEMA_BOOL, .description = "the guest is the destination's"},
    {.name = "follows", .type = SCHEMA_BOOL, .description = "its last pages follow it, from the source (post-copy)"},
    {.name = "arrived", .type = SCHEMA_OBJECT, .description = "they are there: asked, longest_wait_ms"},
    {.name = "lost", .type = SCHEMA_STRING, .description = "why they never will be: the guest's memory was lost"},
    {.name = "task", .type = SCHEMA_NAME, .description = "which follows it; in the answer to the request"},
    {.name = "spec",
     .type = SCHEMA_OBJECT,
     .flags = SCHEMA_REQUIRED,
     .fields = migration_spec,
     .description = "what it is"},
    {.name = "state",
     .type = SCHEMA_OBJECT,
     .flags = SCHEMA_REQUIRED,
     .description = "phase, reason, progress in bytes, and how it went"},
    {.name = NULL},
};
static const struct schema migration_answer = {"Migration", "A guest on its way to another node.",
                                               migration_answer_fields};

/* ---- moves of volumes ---- */

static const struct schema_field volume_move_spec[] = {
    {.name = "volume", .type = SCHEMA_NAME, .flags = SCHEMA_REQUIRED, .description = "whose bytes move"},
    {.name = "volume_id", .type = SCHEMA_UUID, .flags = SCHEMA_REQUIRED, .description = "its id"},
    {.name = "index", .type = SCHEMA_INT, .flags = SCHEMA_REQUIRED, .description = "member; -1: it has no layout"},
    {.name = "from", .type = SCHEMA_NAME, .flags = SCHEMA_REQUIRED, .description = "pool"},
    {.name = "to", .type = SCHEMA_NAME, .flags = SCHEMA_REQUIRED, .description = "pool"},
    {.name = "node", .type = SCHEMA_NAME, .flags = SCHEMA_REQUIRED, .description = "whose pool that is"},
    {.name = "member", .type = SCHEMA_UUID, .flags = SCHEMA_REQUIRED, .description = "what the new bytes are called"},
    {.name = "bytes", .type = SCHEMA_INT, .flags = SCHEMA_REQUIRED, .description = "how many"},
    {.name = "migration", .type = SCHEMA_STRING, .flags = SCHEMA_REQUIRED, .description = "of its guest, with it"},
    {.name = "by", .type = SCHEMA_STRING, .flags = SCHEMA_REQUIRED, .description = "who asked for it"},
    {.name = "began", .type = SCHEMA_TIME, .flags = SCHEMA_REQUIRED, .description = "when"},
    {.name = NULL},
};
static const struct schema_field volume_move_answer_fields[] = {
    {.name = "kind", .type = SCHEMA_STRING, .flags = SCHEMA_REQUIRED, .description = "of object"},
    {.name = "id", .type = SCHEMA_UUID, .flags = SCHEMA_REQUIRED, .description = "for ever"},
    {.name = "name", .type = SCHEMA_NAME, .flags = SCHEMA_REQUIRED, .description = "begins with the time"},
    {.name = "revision", .type = SCHEMA_INT, .flags = SCHEMA_REQUIRED, .description = "of the store"},
    {.name = "cancel", .type = SCHEMA_BOOL, .description = "somebody has cancelled it"},
    {.name = "failed", .type = SCHEMA_STRING, .description = "why it will not be"},
    {.name = "offline", .type = SCHEMA_BOOL, .description = "no guest has the volume: its node copies"},
    {.name = "switched", .type = SCHEMA_BOOL, .description = "the new bytes are the volume"},
    {.name = "task", .type = SCHEMA_NAME, .description = "which follows it; in the answer to the request"},
    {.name = "spec",
     .type = SCHEMA_OBJECT,
     .flags = SCHEMA_REQUIRED,
     .fields = volume_move_spec,
     .description = "what it is"},
    {.name = "state",
     .type = SCHEMA_OBJECT,
     .flags = SCHEMA_REQUIRED,
     .description = "phase, reason, progress in bytes"},
    {.name = NULL},
};
static const struct schema volume_move_answer = {"VolumeMove", "The bytes of a volume on their way to another pool.",
                                                 volume_move_answer_fields};

/* ---- plans ---- */

static const char *const plan_phases[] = {"proposed", "active", "done", "void", "shadow", NULL};
static const struct schema_field plan_move_fields[] = {
    {.name = "move", .type = SCHEMA_INT, .flags = SCHEMA_REQUIRED, .description = "its number in the plan"},
    {.name = "guest", .type = SCHEMA_STRING, .flags = SCHEMA_REQUIRED, .description = "which moves"},
    {.name = "guest_id", .type = SCHEMA_UUID, .description = "its id"},
    {.name = "from", .type = SCHEMA_STRING, .flags = SCHEMA_REQUIRED, .description = "node"},
    {.name = "to", .type = SCHEMA_STRING, .flags = SCHEMA_REQUIRED, .description = "node"},
    {.name = "for", .type = SCHEMA_STRING, .description = "what most of the gain is of: cpu, memory, disk, ..."},
    {.name = "gain", .type = SCHEMA_ANY, .flags = SCHEMA_REQUIRED, .description = "what it takes from the score"},
    {.name = "score_after", .type = SCHEMA_ANY, .flags = SCHEMA_REQUIRED, .description = "the score then"},
    {.name = "seconds", .type = SCHEMA_ANY, .flags = SCHEMA_REQUIRED, .description = "predicted"},
    {.name = "bytes", .type = SCHEMA_ANY, .flags = SCHEMA_REQUIRED, .description = "predicted, over the wire"},
    {.name = "downtime", .type = SCHEMA_ANY, .flags = SCHEMA_REQUIRED, .description = "predicted, in seconds"},
    {.name = "parking", .type = SCHEMA_BOOL, .flags = SCHEMA_REQUIRED, .description = "a stop on the way"},
    {.name = NULL},
};
static const struct schema_field plan_move = {.type = SCHEMA_OBJECT, .fields = plan_move_fields};
static const struct schema_field sleeping_node = {.type = SCHEMA_NAME};
static const struct schema_field plan_wave = {.type = SCHEMA_ARRAY, .item = &plan_move};
static const struct schema_field plan_reason = {.type = SCHEMA_STRING};
static const struct schema_field plan_spec[] = {
    {.name = "phase",
     .type = SCHEMA_ENUM,
     .flags = SCHEMA_REQUIRED,
     .values = plan_phases,
     .description = "active: it is carried out"},
    {.name = "reason",
     .type = SCHEMA_STRING,
     .flags = SCHEMA_REQUIRED,
     .description = "why it is void, or what it waits for"},
    {.name = "by", .type = SCHEMA_STRING, .flags = SCHEMA_REQUIRED, .description = "who made it"},
    {.name = "made", .type = SCHEMA_TIME, .flags = SCHEMA_REQUIRED, .description = "when"},
    {.name = "began", .type = SCHEMA_TIME, .description = "when it became active"},
    {.name = "ended", .type = SCHEMA_TIME, .description = "when it was done or void"},
    {.name = "wave", .type = SCHEMA_INT, .flags = SCHEMA_REQUIRED, .description = "which is under way, from 0"},
    {.name = "waves",
     .type = SCHEMA_ARRAY,
     .flags = SCHEMA_REQUIRED,
     .item = &plan_wave,
     .description = "of moves that may run at the same time"},
    {.name = "moves", .type = SCHEMA_INT, .flags = SCHEMA_REQUIRED, .description = "in all waves"},
    {.name = "score_before", .type = SCHEMA_ANY, .flags = SCHEMA_REQUIRED, .description = "lower is better"},
    {.name = "score_after", .type = SCHEMA_ANY, .flags = SCHEMA_REQUIRED, .description = "when all is done"},
    {.name = "spread_before", .type = SCHEMA_ANY, .flags = SCHEMA_REQUIRED, .description = "of the loads"},
    {.name = "spread_after", .type = SCHEMA_ANY, .flags = SCHEMA_REQUIRED, .description = "of the loads"},
    {.name = "seconds", .type = SCHEMA_ANY, .flags = SCHEMA_REQUIRED, .description = "predicted, of all waves"},
    {.name = "bytes", .type = SCHEMA_ANY, .flags = SCHEMA_REQUIRED, .description = "predicted, over the wire"},
    {.name = "left_out", .type = SCHEMA_INT, .flags = SCHEMA_REQUIRED, .description = "moves without a way there"},
    {.name = "stranded", .type = SCHEMA_INT, .flags = SCHEMA_REQUIRED, .description = "guests without a place"},
    {.name = "at_rest", .type = SCHEMA_BOOL, .flags = SCHEMA_REQUIRED, .description = "false: time ran out"},
    {.name = "summary", .type = SCHEMA_STRING, .flags = SCHEMA_REQUIRED, .description = "a sentence"},
    {.name = "frontier",
     .type = SCHEMA_ANY,
     .flags = SCHEMA_REQUIRED,
     .description = "how much gain for how many moves"},
    {.name = "reasons",
     .type = SCHEMA_MAP,
     .flags = SCHEMA_REQUIRED,
     .item = &plan_reason,
     .description = "why each guest moves or stays"},
    {.name = "advice",
     .type = SCHEMA_OBJECT,
     .description = "what guests whose mode is advise could do once it is through: summary, moves"},
    {.name = "shadow", .type = SCHEMA_OBJECT, .description = "what the shadow policy would have done: summary, moves"},
    {.name = "part", .type = SCHEMA_INT, .description = "of the gain that was wanted, in percent"},
    {.name = "price", .type = SCHEMA_NUMBER, .description = "times the policy's: what moves cost when it was made"},
    {.name = "sleep",
     .type = SCHEMA_ARRAY,
     .item = &sleeping_node,
     .description = "nodes that it empties, and that are drained then"},
    {.name = "slept", .type = SCHEMA_ARRAY, .item = &sleeping_node, .description = "those that were"},
    {.name = "reasons_left_out", .type = SCHEMA_INT, .description = "guests whose reason is not kept"},
    {.name = NULL},
};
static const struct schema_field plan_answer_fields[] = {
    {.name = "kind", .type = SCHEMA_STRING, .flags = SCHEMA_REQUIRED, .description = "of object"},
    {.name = "id", .type = SCHEMA_UUID, .flags = SCHEMA_REQUIRED, .description = "for ever"},
    {.name = "name", .type = SCHEMA_NAME, .flags = SCHEMA_REQUIRED, .description = "begins with the time"},
    {.name = "revision", .type = SCHEMA_INT, .flags = SCHEMA_REQUIRED, .description = "of the store"},
    {.name = "apply", .type = SCHEMA_OBJECT, .description = "who wanted it carried out, and when"},
    {.name = "spec", .type = SCHEMA_OBJECT, .flags = SCHEMA_REQUIRED, .fields = plan_spec, .description = "what it is"},
    {.name = "state", .type = SCHEMA_OBJECT, .description = "nothing"},
    {.name = NULL},
};
static const struct schema plan_answer = {"Plan", "Who is to move where, wave by wave.", plan_answer_fields};

/* ---- whole objects ---- */

#define CREATE(kind, title)                                                                                            \
    static const struct schema_field kind##_create_fields[] = {                                                        \
        {.name = "name", .type = SCHEMA_NAME, .flags = SCHEMA_REQUIRED, .description = "unique among its kind"},       \
        {.name = "spec",                                                                                               \
         .type = SCHEMA_OBJECT,                                                                                        \
         .flags = SCHEMA_REQUIRED,                                                                                     \
         .fields = kind##_spec,                                                                                        \
         .description = "what is wanted"},                                                                             \
        END};                                                                                                          \
    static const struct schema kind##_create = {title "Create", "A new " #kind ".", kind##_create_fields}

#define CHANGE(kind, title)                                                                                            \
    static const struct schema_field kind##_change_fields[] = {{.name = "spec",                                        \
                                                                .type = SCHEMA_OBJECT,                                 \
                                                                .flags = SCHEMA_REQUIRED,                              \
                                                                .fields = kind##_change_spec,                          \
                                                                .description = "what changes"},                        \
                                                               END};                                                   \
    static const struct schema kind##_change = {title "Change", "What may change of a " #kind ".", kind##_change_fields}

#define ANSWER(kind, title)                                                                                            \
    static const struct schema_field kind##_answer_fields[] = {                                                        \
        {.name = "kind", .type = SCHEMA_STRING, .flags = SCHEMA_REQUIRED, .description = "of object"},                 \
        {.name = "id", .type = SCHEMA_UUID, .flags = SCHEMA_REQUIRED, .description = "for ever"},                      \
        {.name = "name", .type = SCHEMA_NAME, .flags = SCHEMA_REQUIRED, .description = "unique among its kind"},       \
        {.name = "revision", .type = SCHEMA_INT, .flags = SCHEMA_REQUIRED, .description = "its ETag"},                 \
        {.name = "deleting", .type = SCHEMA_BOOL, .description = "it is on its way out"},                              \
        {.name = "failover",                                                                                           \
         .type = SCHEMA_OBJECT,                                                                                        \
         .description = "of a guest that was taken over: count, at, from, to, reason"},                                \
        {.name = "migration", .type = SCHEMA_UUID, .description = "a guest's, while it goes on"},                      \
        {.name = "move", .type = SCHEMA_UUID, .description = "a volume's, while its bytes go to another pool"},        \
        {.name = "moved",                                                                                              \
         .type = SCHEMA_BOOL,                                                                                          \
         .description = "a guest's: it has left the node it was started on; its disks are reached over the network"},  \
        {.name = "task", .type = SCHEMA_NAME, .description = "which brings the change about; in answers to changes"},  \
        {.name = "spec",                                                                                               \
         .type = SCHEMA_OBJECT,                                                                                        \
         .flags = SCHEMA_REQUIRED,                                                                                     \
         .fields = kind##_spec,                                                                                        \
         .description = "what is wanted"},                                                                             \
        {.name = "state", .type = SCHEMA_OBJECT, .description = "what its node observes"},                             \
        END};                                                                                                          \
    static const struct schema kind##_answer = {title, "A " #kind ".", kind##_answer_fields}

CHANGE(node, "Node");
ANSWER(node, "Node");
CREATE(pool, "Pool");
ANSWER(pool, "Pool");
CREATE(image, "Image");
ANSWER(image, "Image");
CREATE(volume, "Volume");
CHANGE(volume, "Volume");
ANSWER(volume, "Volume");
CREATE(network, "Network");
ANSWER(network, "Network");
CREATE(guest, "Guest");
CHANGE(guest, "Guest");
ANSWER(guest, "Guest");

static const struct kind kinds[OBJECT_KIND_COUNT] = {
    [OBJECT_NODE] = {OBJECT_NODE, "nodes", NULL, &node_change, &node_answer},
    [OBJECT_POOL] = {OBJECT_POOL, "pools", &pool_create, NULL, &pool_answer},
    [OBJECT_IMAGE] = {OBJECT_IMAGE, "images", &image_create, NULL, &image_answer},
    [OBJECT_VOLUME] = {OBJECT_VOLUME, "volumes", &volume_create, &volume_change, &volume_answer},
    [OBJECT_NETWORK] = {OBJECT_NETWORK, "networks", &network_create, NULL, &network_answer},
    [OBJECT_GUEST] = {OBJECT_GUEST, "guests", &guest_create, &guest_change, &guest_answer},
    [OBJECT_TASK] = {OBJECT_TASK, "tasks", NULL, NULL, &task_answer},
    [OBJECT_MIGRATION] = {OBJECT_MIGRATION, "migrations", NULL, NULL, &migration_answer},
    [OBJECT_VOLUME_MOVE] = {OBJECT_VOLUME_MOVE, "volume-moves", NULL, NULL, &volume_move_answer},
    [OBJECT_DRILL] = {OBJECT_DRILL, "drills", NULL, NULL, &drill_answer},
    [OBJECT_DRILL_SCHEDULE] = {OBJECT_DRILL_SCHEDULE, "drill-schedules", &drill_schedule_create, NULL,
                               &drill_schedule_answer},
    [OBJECT_PLAN] = {OBJECT_PLAN, "plans", NULL, NULL, &plan_answer},
};

const struct kind *kind_of(enum object_kind kind)
{
    return kinds[kind].plural ? &kinds[kind] : NULL;
}

/* ---- references ---- */

/* Which fields name objects of which kind; a dot leads into an object or into each entry of a list. */
static const struct reference {
    enum object_kind from;
    const char *list, *field; /* spec[field], or spec[list][*][field], or spec[list][field], or spec[list][*] */
    enum object_kind to;
} references[] = {
    {OBJECT_POOL, NULL, "node", OBJECT_NODE},
    {OBJECT_IMAGE, NULL, "pool", OBJECT_POOL},
    {OBJECT_VOLUME, NULL, "pool", OBJECT_POOL},
    {OBJECT_VOLUME, "pools", NULL, OBJECT_POOL},
    {OBJECT_VOLUME, NULL, "witness", OBJECT_POOL},
    {OBJECT_MEMBER, NULL, "pool", OBJECT_POOL}, /* one that was replaced, and whose node is away */
    {OBJECT_VOLUME, NULL, "image", OBJECT_IMAGE},
    {OBJECT_GUEST, NULL, "node", OBJECT_NODE},
    {OBJECT_GUEST, "disks", "volume", OBJECT_VOLUME},
    {OBJECT_GUEST, "networks", "network", OBJECT_NETWORK},
    {OBJECT_GUEST, "boot", "kernel", OBJECT_IMAGE},
    {OBJECT_GUEST, "boot", "initrd", OBJECT_IMAGE},
    {OBJECT_GUEST, "ha_after", NULL, OBJECT_GUEST},
};

static bool names(const json_t *holder, const char *field, const char *name)
{
    return !strcmp(member_text(holder, field), name);
}

static bool is_name(const json_t *entry, const char *field, const char *name)
{
    return field ? names(entry, field, name) : !strcmp(json_string_value(entry), name);
}

static bool refers(const struct object *object, const struct reference *r, const char *name)
{
    const json_t *spec = json_object_get(object->value, "spec");
    if (!r->list)
        return names(spec, r->field, name);
    const json_t *list = json_object_get(spec, r->list);
    if (json_is_object(list))
        return names(list, r->field, name);
    for (size_t i = 0; i < json_array_size(list); i++)
        if (is_name(json_array_get(list, i), r->field, name))
            return true;
    return false;
}

bool kind_is_used(const struct mirror *mirror, const struct object *object, char *text, int len)
{
    for (size_t i = 0; i < sizeof references / sizeof *references; i++) {
        const struct reference *r = &references[i];
        if (r->to != object->kind)
            continue;
        for (const struct object *o = mirror_next(mirror, r->from, NULL); o; o = mirror_next(mirror, r->from, o->name))
            if (refers(o, r, object->name)) {
                snprintf(text, (size_t)len, "%s %s", object_kind_name(o->kind), o->name);
                return true;
            }
    }
    return false;
}
