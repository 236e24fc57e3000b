/* Every command of `drover`: the table. Options name where they go in a request's body. */
#include "node/cli/balance.h"
#include "node/cli/command.h"
#include "node/cli/console.h"
#include "node/cli/drill_report.h"
#include "node/cli/drill_simulate.h"
#include "node/cli/progress.h"
#include "node/cli/special.h"
#include "node/cli/top.h"

#include <stddef.h>

#define END                                                                                                            \
    {                                                                                                                  \
        .name = NULL                                                                                                   \
    }
#define COLUMNS_END                                                                                                    \
    {                                                                                                                  \
        .title = NULL                                                                                                  \
    }

/* ---- columns ---- */

static const struct command_column node_columns[] = {{"NODE", "name", COLUMN_TEXT, NULL},
                                                     {"ADDRESS", "spec.address", COLUMN_TEXT, NULL},
                                                     {"ALIVE", "state.alive", COLUMN_TRUTH, NULL},
                                                     {"DRAINED", "spec.drained", COLUMN_TRUTH, NULL},
                                                     {"CPUS", "state.cpus", COLUMN_TEXT, NULL},
                                                     {"MEMORY", "state.memory_bytes", COLUMN_SIZE, NULL},
                                                     {"FREE", "state.free_bytes", COLUMN_SIZE, NULL},
                                                     {"LOAD", "state.load", COLUMN_TEXT, NULL},
                                                     {"VERSION", "state.version", COLUMN_TEXT, NULL},
                                                     COLUMNS_END};
static const struct command_column pool_columns[] = {{"POOL", "name", COLUMN_TEXT, NULL},
                                                     {"NODE", "spec.node", COLUMN_TEXT, NULL},
                                                     {"DRIVER", "spec.driver", COLUMN_TEXT, NULL},
                                                     {"PATH", "spec.path", COLUMN_TEXT, NULL},
                                                     COLUMNS_END};
static const struct command_column image_columns[] = {
    {"IMAGE", "name", COLUMN_TEXT, NULL},          {"POOL", "spec.pool", COLUMN_TEXT, NULL},
    {"PHASE", "state.phase", COLUMN_TEXT, NULL},   {"SIZE", "state.bytes", COLUMN_SIZE, NULL},
    {"COPIES", "state.copies", COLUMN_LIST, NULL}, {"LACKING", "state.lacking", COLUMN_LIST, "node"},
    {"REASON", "state.reason", COLUMN_TEXT, NULL}, COLUMNS_END};
/* One of them, with why nodes that may run its guests lack it. */
static const struct command_column image_show_columns[] = {{"IMAGE", "name", COLUMN_TEXT, NULL},
                                                           {"POOL", "spec.pool", COLUMN_TEXT, NULL},
                                                           {"NODE", "state.node", COLUMN_TEXT, NULL},
                                                           {"PHASE", "state.phase", COLUMN_TEXT, NULL},
                                                           {"SIZE", "state.bytes", COLUMN_SIZE, NULL},
                                                           {"SHA-256", "state.content_sha256", COLUMN_TEXT, NULL},
                                                           {"COPIES", "state.copies", COLUMN_LIST, NULL},
                                                           {"LACKING", "state.lacking", COLUMN_LIST, "node"},
                                                           {"BECAUSE", "state.lacking", COLUMN_LIST, "reason"},
                                                           {"REASON", "state.reason", COLUMN_TEXT, NULL},
                                                           COLUMNS_END};
static const struct command_column volume_columns[] = {
    {"VOLUME", "name", COLUMN_TEXT, NULL},         {"POOL", "spec.pool", COLUMN_TEXT, NULL},
    {"LAYOUT", "spec.layout", COLUMN_TEXT, NULL},  {"HEALTH", "state.health", COLUMN_TEXT, NULL},
    {"NODE", "state.node", COLUMN_TEXT, NULL},     {"SIZE", "spec.size", COLUMN_SIZE, NULL},
    {"IMAGE", "spec.image", COLUMN_TEXT, NULL},    {"PHASE", "state.phase", COLUMN_TEXT, NULL},
    {"REASON", "state.reason", COLUMN_TEXT, NULL}, COLUMNS_END};
/* One of them, with the members of its layout. */
static const struct command_column volume_show_columns[] = {{"VOLUME", "name", COLUMN_TEXT, NULL},
                                                            {"POOL", "spec.pool", COLUMN_TEXT, NULL},
                                                            {"SIZE", "spec.size", COLUMN_SIZE, NULL},
                                                            {"IMAGE", "spec.image", COLUMN_TEXT, NULL},
                                                            {"ENCRYPTED", "spec.encrypted", COLUMN_TRUTH, NULL},
                                                            {"PHASE", "state.phase", COLUMN_TEXT, NULL},
                                                            {"REASON", "state.reason", COLUMN_TEXT, NULL},
                                                            {"NODE", "state.node", COLUMN_TEXT, NULL},
                                                            {"LAYOUT", "spec.layout", COLUMN_TEXT, NULL},
                                                            {"HEALTH", "state.health", COLUMN_TEXT, NULL},
                                                            {"MEMBERS", "state.members", COLUMN_LIST, "condition"},
                                                            {"IN POOLS", "state.members", COLUMN_LIST, "pool"},
                                                            {"ON NODES", "state.members", COLUMN_LIST, "node"},
                                                            {"WITNESS", "state.witness.node", COLUMN_TEXT, NULL},
                                                            {"TO COPY", "state.left_bytes", COLUMN_SIZE, NULL},
                                                            {"EPOCH", "state.epoch", COLUMN_TEXT, NULL},
                                                            {"SCRUBBED", "state.scrub.done", COLUMN_TEXT, NULL},
                                                            {"REPAIRED", "state.scrub.repaired", COLUMN_TEXT, NULL},
                                                            {"UNREADABLE", "state.scrub.unreadable", COLUMN_TEXT, NULL},
                                                            COLUMNS_END};
static const struct command_column network_columns[] = {
    {"NETWORK", "name", COLUMN_TEXT, NULL},         {"SUBNET", "spec.subnet", COLUMN_TEXT, NULL},
    {"GATEWAY", "spec.gateway", COLUMN_TEXT, NULL}, {"NAT", "spec.nat", COLUMN_TRUTH, NULL},
    {"VNI", "spec.vni", COLUMN_TEXT, NULL},         COLUMNS_END};
static const struct command_column guest_columns[] = {{"GUEST", "name", COLUMN_TEXT, NULL},
                                                      {"NODE", "spec.node", COLUMN_TEXT, NULL},
                                                      {"PHASE", "state.phase", COLUMN_TEXT, NULL},
                                                      {"VCPUS", "spec.vcpus", COLUMN_TEXT, NULL},
                                                      {"MEMORY", "spec.memory", COLUMN_SIZE, NULL},
                                                      {"ADDRESS", "spec.networks", COLUMN_LIST, "address"},
                                                      {"DISKS", "spec.disks", COLUMN_LIST, "volume"},
                                                      {"REASON", "state.reason", COLUMN_TEXT, NULL},
                                                      COLUMNS_END};
static const struct command_column task_columns[] = {{"TASK", "name", COLUMN_TEXT, NULL},
                                                     {"VERB", "spec.verb", COLUMN_TEXT, NULL},
                                                     {"KIND", "spec.object_kind", COLUMN_TEXT, NULL},
                                                     {"OBJECT", "spec.object", COLUMN_TEXT, NULL},
                                                     {"NODE", "spec.node", COLUMN_TEXT, NULL},
                                                     {"BY", "spec.by", COLUMN_TEXT, NULL},
                                                     {"PHASE", "state.phase", COLUMN_TEXT, NULL},
                                                     {"REASON", "state.reason", COLUMN_TEXT, NULL},
                                                     COLUMNS_END};
static const struct command_column migration_columns[] = {
    {"MIGRATION", "name", COLUMN_TEXT, NULL},
    {"GUEST", "spec.guest", COLUMN_TEXT, NULL},
    {"FROM", "spec.from", COLUMN_TEXT, NULL},
    {"TO", "spec.to", COLUMN_TEXT, NULL},
    {"PHASE", "state.phase", COLUMN_TEXT, NULL},
    {"BYTES", "state.done_bytes", COLUMN_SIZE, NULL},
    {"MS", "state.total_ms", COLUMN_TEXT, NULL},
    {"DOWN-MS", "state.downtime_ms", COLUMN_TEXT, NULL},
    {"SAID-S", "state.predicted_s", COLUMN_TEXT, NULL},
    {"SAID-DOWN-MS", "state.predicted_downtime_ms", COLUMN_TEXT, NULL},
    {"REASON", "state.reason", COLUMN_TEXT, NULL},
    COLUMNS_END};
static const struct command_column one_migration_columns[] = {{"MIGRATION", "name", COLUMN_TEXT, NULL},
                                                              {"GUEST", "spec.guest", COLUMN_TEXT, NULL},
                                                              {"FROM", "spec.from", COLUMN_TEXT, NULL},
                                                              {"TO", "spec.to", COLUMN_TEXT, NULL},
                                                              {"PHASE", "state.phase", COLUMN_TEXT, NULL},
                                                              {"BYTES", "state.done_bytes", COLUMN_SIZE, NULL},
                                                              {"MS", "state.total_ms", COLUMN_TEXT, NULL},
                                                              {"DOWN-MS", "state.downtime_ms", COLUMN_TEXT, NULL},
                                                              {"FOLLOWED", "state.post_copy_bytes", COLUMN_SIZE, NULL},
                                                              {"PAGES-ASKED", "state.pages_asked", COLUMN_TEXT, NULL},
                                                              {"WAIT-MS", "state.longest_wait_ms", COLUMN_TEXT, NULL},
                                                              {"LINK", "state.link", COLUMN_TEXT, NULL},
                                                              {"REASON", "state.reason", COLUMN_TEXT, NULL},
                                                              COLUMNS_END};
static const struct command_column volume_move_columns[] = {{"MOVE", "name", COLUMN_TEXT, NULL},
                                                            {"VOLUME", "spec.volume", COLUMN_TEXT, NULL},
                                                            {"MEMBER", "spec.index", COLUMN_TEXT, NULL},
                                                            {"FROM", "spec.from", COLUMN_TEXT, NULL},
                                                            {"TO", "spec.to", COLUMN_TEXT, NULL},
                                                            {"PHASE", "state.phase", COLUMN_TEXT, NULL},
                                                            {"DONE", "state.done_bytes", COLUMN_SIZE, NULL},
                                                            {"OF", "state.total_bytes", COLUMN_SIZE, NULL},
                                                            {"REASON", "state.reason", COLUMN_TEXT, NULL},
                                                            COLUMNS_END};
static const struct command_column token_columns[] = {{"TOKEN", "name", COLUMN_TEXT, NULL},
                                                      {"ROLE", "role", COLUMN_TEXT, NULL},
                                                      {"USE", "use", COLUMN_TEXT, NULL},
                                                      COLUMNS_END};
static const struct command_column new_token_columns[] = {{"TOKEN", "name", COLUMN_TEXT, NULL},
                                                          {"ROLE", "role", COLUMN_TEXT, NULL},
                                                          {"SECRET", "token", COLUMN_TEXT, NULL},
                                                          COLUMNS_END};
static const struct command_column cluster_columns[] = {
    {"CLUSTER", "name", COLUMN_TEXT, NULL},    {"NODES", "nodes", COLUMN_TEXT, NULL},
    {"ALIVE", "alive", COLUMN_TEXT, NULL},     {"GUESTS", "guests", COLUMN_TEXT, NULL},
    {"RUNNING", "running", COLUMN_TEXT, NULL}, {"STORE", "store", COLUMN_TEXT, NULL},
    {"TROUBLE", "trouble", COLUMN_TEXT, NULL}, COLUMNS_END};

static const struct command_column ha_columns[] = {{"ARMED", "armed", COLUMN_TRUTH, NULL},
                                                   {"NODES-TO-LOSE", "nodes_to_lose", COLUMN_TEXT, NULL},
                                                   {"PROTECTED", "protected", COLUMN_TEXT, NULL},
                                                   {"GUESTS", "guests", COLUMN_LIST, "guest"},
                                                   {"WOULD-GO-TO", "guests", COLUMN_LIST, "next"},
                                                   {"NOWHERE-BECAUSE", "guests", COLUMN_LIST, "reason"},
                                                   COLUMNS_END};

static const struct command_column drill_columns[] = {{"DRILL", "name", COLUMN_TEXT, NULL},
                                                      {"KIND", "spec.kind", COLUMN_TEXT, NULL},
                                                      {"NODE", "spec.node", COLUMN_TEXT, NULL},
                                                      {"PHASE", "state.phase", COLUMN_TEXT, NULL},
                                                      {"RTO-MS", "state.result.rto_ms", COLUMN_TEXT, NULL},
                                                      {"LOST", "state.result.lost_writes", COLUMN_TEXT, NULL},
                                                      {"SILENT-MS", "state.result.silent_ms", COLUMN_TEXT, NULL},
                                                      {"REASON", "state.reason", COLUMN_TEXT, NULL},
                                                      COLUMNS_END};
static const struct command_column drill_schedule_columns[] = {
    {"SCHEDULE", "name", COLUMN_TEXT, NULL},       {"KIND", "spec.kind", COLUMN_TEXT, NULL},
    {"NODE", "spec.node", COLUMN_TEXT, NULL},      {"DAY", "spec.day", COLUMN_TEXT, NULL},
    {"AT", "spec.at", COLUMN_TEXT, NULL},          {"LAST", "state.drill", COLUMN_TEXT, NULL},
    {"REASON", "state.reason", COLUMN_TEXT, NULL}, COLUMNS_END};
static const struct command_column drill_show_columns[] = {{"DRILL", "name", COLUMN_TEXT, NULL},
                                                           {"KIND", "spec.kind", COLUMN_TEXT, NULL},
                                                           {"NODE", "spec.node", COLUMN_TEXT, NULL},
                                                           {"PHASE", "state.phase", COLUMN_TEXT, NULL},
                                                           {"REASON", "state.reason", COLUMN_TEXT, NULL},
                                                           {"HITS", "state.blast.guests", COLUMN_LIST, "guest"},
                                                           {"EFFECT", "state.blast.guests", COLUMN_LIST, "effect"},
                                                           {"WOULD-GO-TO", "state.blast.guests", COLUMN_LIST, "next"},
                                                           {"VOLUMES", "state.blast.volumes", COLUMN_LIST, "volume"},
                                                           {"CONDUCTOR", "state.conductor", COLUMN_TEXT, NULL},
                                                           {"RTO-MS", "state.result.rto_ms", COLUMN_TEXT, NULL},
                                                           {"LOST", "state.result.lost_writes", COLUMN_TEXT, NULL},
                                                           {"SILENT-MS", "state.result.silent_ms", COLUMN_TEXT, NULL},
                                                           COLUMNS_END};
static const struct command_column balance_columns[] = {{"MODE", "mode", COLUMN_TEXT, NULL},
                                                        {"ELECTED", "elected", COLUMN_TEXT, NULL},
                                                        {"SINCE", "since", COLUMN_TEXT, NULL},
                                                        {"PLAN", "plan", COLUMN_TEXT, NULL},
                                                        {"PHASE", "plan_phase", COLUMN_TEXT, NULL},
                                                        {"SUMMARY", "summary", COLUMN_TEXT, NULL},
                                                        {"SCORE", "score", COLUMN_TEXT, NULL},
                                                        {"SPREAD", "spread", COLUMN_TEXT, NULL},
                                                        {"OF-CPU", "spreads.cpu", COLUMN_TEXT, NULL},
                                                        {"OF-MEMORY", "spreads.memory", COLUMN_TEXT, NULL},
                                                        {"OF-DISK", "spreads.disk", COLUMN_TEXT, NULL},
                                                        {"OF-NETWORK", "spreads.network", COLUMN_TEXT, NULL},
                                                        {"NODES-TO-LOSE", "nodes_to_lose", COLUMN_TEXT, NULL},
                                                        {"MOVES-LAST-HOUR", "moves_last_hour", COLUMN_TEXT, NULL},
                                                        {"GROUPS", "groups", COLUMN_LIST, "shown"},
                                                        {"SHADOW", "shadow.summary", COLUMN_TEXT, NULL},
                                                        {"LEFT-OUT", "left_out", COLUMN_LIST, NULL},
                                                        {"TROUBLE", "trouble", COLUMN_TEXT, NULL},
                                                        {"AT", "at", COLUMN_TEXT, NULL},
                                                        COLUMNS_END};
static const struct command_column plan_columns[] = {{"PLAN", "name", COLUMN_TEXT, NULL},
                                                     {"PHASE", "spec.phase", COLUMN_TEXT, NULL},
                                                     {"MOVES", "spec.moves", COLUMN_TEXT, NULL},
                                                     {"APPLIED-BY", "apply.by", COLUMN_TEXT, NULL},
                                                     {"BEGAN", "spec.began", COLUMN_TEXT, NULL},
                                                     {"ENDED", "spec.ended", COLUMN_TEXT, NULL},
                                                     {"SUMMARY", "spec.summary", COLUMN_TEXT, NULL},
                                                     {"REASON", "spec.reason", COLUMN_TEXT, NULL},
                                                     COLUMNS_END};
static const struct command_column capacity_columns[] = {{"NODES-TO-LOSE", "nodes_to_lose", COLUMN_TEXT, NULL},
                                                         {"ASKED", "asked", COLUMN_TEXT, NULL},
                                                         {"EXACT", "exact", COLUMN_TRUTH, NULL},
                                                         {"LIKELY", "likely", COLUMN_TEXT, NULL},
                                                         {"NOT-TOGETHER", "worst", COLUMN_LIST, NULL},
                                                         {"NO-PLACE-FOR", "guest", COLUMN_TEXT, NULL},
                                                         {"SHAPE", "shape", COLUMN_TEXT, NULL},
                                                         {"FIT", "fit", COLUMN_TEXT, NULL},
                                                         {"FIT-AND-LOSE", "fit_and_lose", COLUMN_TEXT, NULL},
                                                         {"LIMITED-BY", "limited_by", COLUMN_TEXT, NULL},
                                                         {"WARNINGS", "warnings", COLUMN_LIST, NULL},
                                                         COLUMNS_END};

/* ---- options ---- */

static const struct command_option pool_create[] = {
    {"node", "NODE", COMMAND_TEXT, "spec.node", NULL, "whose storage it is"},
    {"driver", "directory|block|lvm", COMMAND_TEXT, "spec.driver", NULL, "what it is made of (directory)"},
    {"path", "PATH", COMMAND_TEXT, "spec.path", NULL, "folder, device, or /dev/GROUP"},
    END};
static const struct command_option image_import[] = {
    {"pool", "POOL", COMMAND_TEXT, "spec.pool", NULL, "where it is kept"},
    {"source", "URL|PATH", COMMAND_TEXT, "spec.source", NULL,
     "raw, also compressed by gzip, xz, zstd, bzip2, lz4; a path is one of the pool's node"},
    {"sha256", "SUM", COMMAND_TEXT, "spec.sha256", NULL, "what the source must have"},
    END};
static const struct command_option volume_create[] = {
    {"size", "SIZE", COMMAND_TEXT, "spec.size", NULL, "such as 20G"},
    {"pool", "POOL", COMMAND_TEXT, "spec.pool", NULL, "where its bytes are"},
    {"layout", "LAYOUT", COMMAND_TEXT, "spec.layout", NULL,
     "over several pools instead: raid0:N, raid1:N, raid5:N, raid6:N, raid10:N, replica:N"},
    {"pools", "POOL", COMMAND_TEXTS, "spec.pools", NULL, "of a member, in order; repeated (chosen)"},
    {"spread", "node|rack|site", COMMAND_TEXT, "spec.spread", NULL, "what no two members share (node)"},
    {"witness", "POOL", COMMAND_TEXT, "spec.witness", NULL, "of the witness, on a further node (chosen)"},
    {"room", "SIZE", COMMAND_TEXT, "spec.room", NULL, "what a layout may grow to (8 times its size)"},
    {"resync-rate", "SIZE", COMMAND_TEXT, "spec.resync_rate", NULL, "bytes a second for members that are filled"},
    {"replace-after-s", "N", COMMAND_INT, "spec.replace_after_s", NULL,
     "a member that is away for so long is replaced by itself (0: never)"},
    {"image", "IMAGE", COMMAND_TEXT, "spec.image", NULL, "what it begins as"},
    {"encrypt", NULL, COMMAND_FLAG, "spec.encrypted", NULL, "LUKS2, with a key that only the cluster has"},
    END};
static const struct command_option volume_resize[] = {{"size", "SIZE", COMMAND_TEXT, "spec.size", NULL, "only larger"},
                                                      END};
static const struct command_option volume_set[] = {
    {"replace-after-s", "N", COMMAND_INT, "spec.replace_after_s", NULL,
     "a member that is away for so long is replaced by itself; 0: never"},
    {"resync-rate", "SIZE", COMMAND_TEXT, "spec.resync_rate", NULL, "bytes a second for members that are filled"},
    END};
static const struct command_option node_label[] = {
    {"label", "KEY=VALUE", COMMAND_PAIR, "spec.labels", NULL, "such as rack=r7 or site=north; repeated; replaces all"},
    END};
static const struct command_option volume_replace[] = {
    {"pool", "POOL", COMMAND_TEXT, "pool", NULL, "where the new member is put (chosen)"}, END};
static const struct command_option volume_move[] = {
    {"to", "NODE[:POOL]", COMMAND_TEXT, "to", NULL, "where to (a pool of the node is chosen)"},
    {"member", "N", COMMAND_INT, "member", NULL, "which member of a volume with a layout"},
    END};
static const struct command_option volume_resync[] = {
    {"rate", "SIZE", COMMAND_TEXT, "spec.resync_rate", NULL, "bytes a second, such as 50M"}, END};
static const struct command_option network_create[] = {
    {"subnet", "CIDR", COMMAND_TEXT, "spec.subnet", NULL, "such as 10.7.0.0/24"},
    {"gateway", "IP", COMMAND_TEXT, "spec.gateway", NULL, "what guests are told"},
    {"nat", NULL, COMMAND_FLAG, "spec.nat", NULL, "nodes are gateways to the outside"},
    {"dns", "IP", COMMAND_TEXTS, "spec.dns", NULL, "name server; may be repeated"},
    {"mtu", "BYTES", COMMAND_INT, "spec.mtu", NULL, "of its guests (1450)"},
    {"vni", "N", COMMAND_INT, "spec.vni", NULL, "VXLAN number (chosen)"},
    END};
#define GUEST_PLACEMENT                                                                                                \
    {"affinity", "GROUP[:rack|:site][:soft]", COMMAND_WORDS, "spec.affinity", NULL, "with others of that group"},      \
        {"anti-affinity",                                                                                              \
         "GROUP[:rack|:site][:soft]",                                                                                  \
         COMMAND_WORDS,                                                                                                \
         "spec.anti_affinity",                                                                                         \
         NULL,                                                                                                         \
         "apart from others of that group"},                                                                           \
        {"pin", "NODE[,NODE]", COMMAND_WORDS, "spec.pin", NULL, "it runs there only"},                                 \
    {                                                                                                                  \
        "avoid", "NODE[,NODE]", COMMAND_WORDS, "spec.avoid", NULL, "it never runs there"                               \
    }

static const struct command_option guest_create[] = {
    {"memory", "SIZE", COMMAND_TEXT, "spec.memory", NULL, "such as 1G (512M)"},
    {"vcpus", "N", COMMAND_INT, "spec.vcpus", NULL, "virtual processors (1)"},
    {"disk", "VOLUME[,read-only]", COMMAND_OBJECTS, "spec.disks", "volume", "may be repeated; the first one boots"},
    {"network", "NETWORK[,address=IP][,mac=MAC][,rate-mbit=N]", COMMAND_OBJECTS, "spec.networks", "network",
     "may be repeated"},
    {"node", "NODE", COMMAND_TEXT, "spec.node", NULL, "where it runs (chosen)"},
    {"engine", "auto|kvm|dbt|interp", COMMAND_TEXT, "spec.engine", NULL, "what executes it (auto)"},
    {"cpu", "MODEL", COMMAND_TEXT, "spec.cpu", NULL, "the processor it sees (host)"},
    {"kernel", "IMAGE", COMMAND_TEXT, "spec.boot.kernel", NULL,
     "boot this kernel instead of the first disk; nodes that may run it copy the image"},
    {"initrd", "IMAGE", COMMAND_TEXT, "spec.boot.initrd", NULL, "its RAM disk"},
    {"cmdline", "TEXT", COMMAND_TEXT, "spec.boot.cmdline", NULL, "its command line"},
    {"ssh-key", "FILE", COMMAND_FILES, "spec.ssh_keys", NULL, "who may log in; may be repeated"},
    {"user-data", "FILE", COMMAND_FILE, "spec.user_data", NULL, "cloud-config for cloud-init"},
    {"restart", "always|on-failure|never", COMMAND_TEXT, "spec.restart", NULL, "when it ends by itself (on-failure)"},
    {"on-crash", "restart|stop", COMMAND_TEXT, "spec.on_crash", NULL, "when its process dies (restart)"},
    {"on-panic", "restart|stop|keep", COMMAND_TEXT, "spec.on_panic", NULL, "when its kernel panics (restart)"},
    {"on-hang", "restart|stop", COMMAND_TEXT, "spec.on_hang", NULL, "when it does not feed its watchdog (restart)"},
    {"restart-attempts", "N", COMMAND_INT, "spec.restart_attempts", NULL, "then it stays down; 0: no end (5)"},
    {"restart-window", "TIME", COMMAND_TEXT, "spec.restart_window", NULL, "in which attempts are counted (10m)"},
    {"restart-delay", "TIME", COMMAND_TEXT, "spec.restart_delay", NULL, "before a restart (1s)"},
    {"ha", NULL, COMMAND_FLAG, "spec.ha", NULL, "protected: if its node is lost, another one runs it"},
    {"ha-priority", "N", COMMAND_INT, "spec.ha_priority", NULL, "0 to 100; larger ones are restarted first (50)"},
    {"ha-after", "GUEST[,GUEST]", COMMAND_WORDS, "spec.ha_after", NULL, "it needs these; \"none\": nobody any more"},
    {"ha-delay", "TIME", COMMAND_TEXT, "spec.ha_delay", NULL, "it starts so long after what it needs runs"},
    GUEST_PLACEMENT,
    {"post-copy", "never|asked|allowed", COMMAND_TEXT, "spec.post_copy", NULL,
     "whether it may move before its last pages (asked)"},
    {"cpu-percent", "N", COMMAND_INT, "spec.cpu_percent", NULL, "limit; 100 is one processor"},
    {"cpu-weight", "N", COMMAND_INT, "spec.cpu_weight", NULL, "share when processors are scarce (100)"},
    {"stop-seconds", "N", COMMAND_INT, "spec.stop_seconds", NULL, "patience after the power button (60)"},
    {"start", NULL, COMMAND_FLAG, "spec.running", NULL, "at once"},
    END};
static const struct command_option guest_set[] = {
    {"node", "NODE", COMMAND_TEXT, "spec.node", NULL, "of a guest that is stopped, or whose node is away"},
    {"kernel", "IMAGE", COMMAND_TEXT, "spec.boot.kernel", NULL, "from its next start on"},
    {"initrd", "IMAGE", COMMAND_TEXT, "spec.boot.initrd", NULL, "its RAM disk"},
    {"cmdline", "TEXT", COMMAND_TEXT, "spec.boot.cmdline", NULL, "its command line"},
    {"memory", "SIZE", COMMAND_TEXT, "spec.memory", NULL, "from its next start on"},
    {"vcpus", "N", COMMAND_INT, "spec.vcpus", NULL, "from its next start on"},
    {"restart", "always|on-failure|never", COMMAND_TEXT, "spec.restart", NULL, "when it ends by itself"},
    {"on-crash", "restart|stop", COMMAND_TEXT, "spec.on_crash", NULL, "when its process dies (restart)"},
    {"on-panic", "restart|stop|keep", COMMAND_TEXT, "spec.on_panic", NULL, "when its kernel panics (restart)"},
    {"on-hang", "restart|stop", COMMAND_TEXT, "spec.on_hang", NULL, "when it does not feed its watchdog (restart)"},
    {"restart-attempts", "N", COMMAND_INT, "spec.restart_attempts", NULL, "then it stays down; 0: no end (5)"},
    {"restart-window", "TIME", COMMAND_TEXT, "spec.restart_window", NULL, "in which attempts are counted (10m)"},
    {"restart-delay", "TIME", COMMAND_TEXT, "spec.restart_delay", NULL, "before a restart (1s)"},
    {"ha", NULL, COMMAND_FLAG, "spec.ha", NULL, "protected: if its node is lost, another one runs it"},
    {"ha-priority", "N", COMMAND_INT, "spec.ha_priority", NULL, "0 to 100; larger ones are restarted first"},
    {"ha-after", "GUEST[,GUEST]", COMMAND_WORDS, "spec.ha_after", NULL, "it needs these; \"none\": nobody any more"},
    {"ha-delay", "TIME", COMMAND_TEXT, "spec.ha_delay", NULL, "it starts so long after what it needs runs"},
    GUEST_PLACEMENT, /* "none" takes a rule away */
    {"post-copy", "never|asked|allowed", COMMAND_TEXT, "spec.post_copy", NULL,
     "whether it may move before its last pages (asked)"},
    {"cpu-percent", "N", COMMAND_INT, "spec.cpu_percent", NULL, "limit; 100 is one processor"},
    {"cpu-weight", "N", COMMAND_INT, "spec.cpu_weight", NULL, "share when processors are scarce"},
    {"stop-seconds", "N", COMMAND_INT, "spec.stop_seconds", NULL, "patience after the power button"},
    END};
static const struct command_option guest_stop[] = {{"force", NULL, COMMAND_FLAG, "?force", NULL, "pull the plug"}, END};
static const struct command_option guest_migrate[] = {
    {"to", "NODE", COMMAND_TEXT, "to", NULL, "where to (chosen)"},
    {"force", NULL, COMMAND_FLAG, "force", NULL, "although a placement rule forbids that node, or it has no room"},
    {"max-downtime-ms", "N", COMMAND_INT, "max_downtime_ms", NULL, "how long the guest may stand still (300)"},
    {"within-s", "N", COMMAND_INT, "within_s", NULL, "it is given up if it takes longer (600)"},
    {"post-copy", NULL, COMMAND_FLAG, "post_copy", NULL, "rather than give it up, before its last pages"},
    {"no-post-copy", NULL, COMMAND_NOT, "post_copy", NULL, "not so, although the guest's policy allows it"},
    {"with-volumes", NULL, COMMAND_FLAG, "with_volumes", NULL, "what of its volumes is on its node moves before it"},
    END};
static const struct command_option node_drain[] = {
    {"with-volumes", NULL, COMMAND_FLAG, "spec.drain_volumes", NULL, "what volumes have on it moves away, too"}, END};
static const struct command_option drill_run[] = {
    {"node", "NODE", COMMAND_TEXT, "node", NULL, "which has the fault"},
    {"volume", "VOLUME", COMMAND_TEXT, "volume", NULL, "whose member on the node, for member-loss and slow-disk"},
    {"guest", "GUEST", COMMAND_TEXTS, "guests", NULL, "a canary (see `drill canary`); may be repeated"},
    {"for", "DURATION", COMMAND_TEXT, "for", NULL, "how long the fault lasts, such as 30s (as the kind needs it)"},
    {"delay", "DURATION", COMMAND_TEXT, "delay", NULL, "of slow-disk (200ms)"},
    {"heal", "DURATION", COMMAND_TEXT, "heal", NULL, "how long it may take until all is well again (3m)"},
    {"abort-if", "CONDITION", COMMAND_TEXT, "abort_if", NULL, "when it ends before its time ('others-down > 0')"},
    {"also-unprotected", NULL, COMMAND_FLAG, "also_unprotected", NULL, "guests may be hit that are not protected"},
    {"yes", NULL, COMMAND_FLAG, "confirm", NULL, "this cluster is meant"},
    END};
static const struct command_option drill_schedule[] = {
    {"kind", "KIND", COMMAND_TEXT, "spec.kind", NULL, "of `drill run`"},
    {"day", "daily|mon|tue|wed|thu|fri|sat|sun", COMMAND_TEXT, "spec.day", NULL, "in UTC"},
    {"at", "HH:MM", COMMAND_TEXT, "spec.at", NULL, "when its window begins, in UTC"},
    {"window", "DURATION", COMMAND_TEXT, "spec.window", NULL,
     "how long it may wait until nothing speaks against it (1h)"},
    {"node", "NODE", COMMAND_TEXT, "spec.node", NULL, "as of `drill run`, like those that follow"},
    {"volume", "VOLUME", COMMAND_TEXT, "spec.volume", NULL, "whose member on the node"},
    {"guest", "GUEST", COMMAND_TEXTS, "spec.guests", NULL, "a canary; may be repeated"},
    {"for", "DURATION", COMMAND_TEXT, "spec.for", NULL, "how long the fault lasts"},
    {"delay", "DURATION", COMMAND_TEXT, "spec.delay", NULL, "of slow-disk"},
    {"heal", "DURATION", COMMAND_TEXT, "spec.heal", NULL, "how long healing may take"},
    {"abort-if", "CONDITION", COMMAND_TEXT, "spec.abort_if", NULL, "when it ends before its time"},
    {"also-unprotected", NULL, COMMAND_FLAG, "spec.also_unprotected", NULL, "guests may be hit that are not protected"},
    END};
static const struct command_option drill_report[] = {
    {"html", "FILE", COMMAND_TEXT, "html", NULL, "as a page with a timeline; '-': to standard output"}, END};
static const struct command_option capacity[] = {
    {"lose", "K", COMMAND_TEXT, "?lose", NULL, "nodes that may be lost at once (1)"},
    {"shape", "VCPUS:MEMORY[:DISK]", COMMAND_TEXT, "?shape", NULL, "of further guests, such as 4:16G"},
    END};
static const struct command_option token_create[] = {
    {"role", "viewer|operator|admin", COMMAND_TEXT, "role", NULL, "what it lets do (viewer)"},
    {"seconds", "N", COMMAND_INT, "seconds", NULL, "until it expires (never)"},
    END};

/* ---- commands ---- */

#define COMMAND(noun, verb, names, help, method, path, body_name, options, columns)                                    \
    {                                                                                                                  \
        noun, verb, names, help, method, path, body_name, options, columns, NULL, false, NULL, NULL                    \
    }
#define CREATE(noun, verb, names, help, path, options, columns)                                                        \
    {                                                                                                                  \
        noun, verb, names, help, "POST", path, "name", options, columns, NULL, true, NULL, NULL                        \
    }
#define SPECIAL(noun, verb, names, help, run)                                                                          \
    {                                                                                                                  \
        noun, verb, names, help, NULL, NULL, NULL, NULL, NULL, run, false, NULL, NULL                                  \
    }
#define SETTING(noun, verb, names, help, path, columns, member, value)                                                 \
    {                                                                                                                  \
        noun, verb, names, help, "PATCH", path, NULL, NULL, columns, NULL, false, member, value                        \
    }

const struct command commands[] = {
    SPECIAL("cluster", "init", "NAME", "Begin a cluster with this node.", special_init),
    SPECIAL("cluster", "join", "FILE", "Take this node into the cluster that made the invitation.", special_join),
    SPECIAL("cluster", "store", "URI",
            "Move this node's store, such as to etcd:https://10.0.0.1:2379; droverd must not run.", special_store),
    COMMAND("cluster", "status", "", "How the cluster is.", "GET", "/v1/cluster", NULL, NULL, cluster_columns),
    COMMAND("cluster", "invite", "",
            "An invitation for one node, good for an hour: keep it in a file and bring it there.", "POST",
            "/v1/cluster/invitations", NULL, NULL, NULL),

    COMMAND("ha", "status", "", "Who is protected, and how many nodes may be lost now.", "GET", "/v1/ha", NULL, NULL,
            ha_columns),
    COMMAND("ha", "arm", "", "Guests of lost nodes are taken over.", "POST", "/v1/ha/arm", NULL, NULL, ha_columns),
    COMMAND("ha", "disarm", "", "They are not, for work on the network; guests without a lease stand all the same.",
            "POST", "/v1/ha/disarm", NULL, NULL, ha_columns),

    COMMAND("cluster", "export", "", "The cluster in the format that drover-balancer and `drover drill simulate` read.",
            "GET", "/v1/cluster/export", NULL, NULL, NULL),

    COMMAND("balance", "status", "", "Who balances, what it sees and what it plans.", "GET", "/v1/balance", NULL, NULL,
            balance_columns),
    {"balance", "plan", "", "The plan that is proposed or carried out; or another one, made now.", NULL, NULL, NULL,
     balance_plan_options, NULL, balance_plan, false, NULL, NULL},
    COMMAND("balance", "apply", "PLAN", "Have a proposed plan carried out.", "POST", "/v1/plans/%s/apply", NULL,
            balance_apply_options, plan_columns),
    COMMAND("balance", "history", "", "All plans that are kept, the oldest first.", "GET", "/v1/plans", NULL, NULL,
            plan_columns),
    {"balance", "consolidate", "", "Which nodes could be switched off now, and which must be woken.", NULL, NULL, NULL,
     balance_consolidate_options, NULL, balance_consolidate, false, NULL, NULL},
    SPECIAL("balance", "policy", "get|set", "Print the policy, or set the one in a FILE: weights, limits, patience.",
            balance_policy),
    {"balance", "mode", "off|advise|automatic",
     "Do nothing, make plans, or carry them out as well: all of the cluster, or one group.", NULL, NULL, NULL,
     balance_mode_options, NULL, balance_mode, false, NULL, NULL},
    COMMAND("capacity", "", "", "How many nodes may be lost now, which not, and how many guests of a shape fit.", "GET",
            "/v1/balance/capacity", NULL, capacity, capacity_columns),

    COMMAND("node", "list", "", "All nodes.", "GET", "/v1/nodes", NULL, NULL, node_columns),
    COMMAND("node", "show", "NODE", "One node.", "GET", "/v1/nodes/%s", NULL, NULL, node_columns),
    {"node", "drain", "NODE", "It takes no new guests, and those that run on it move to other nodes.", "PATCH",
     "/v1/nodes/%s", NULL, node_drain, node_columns, NULL, false, "spec.drained", "true"},
    SETTING("node", "undrain", "NODE", "It takes guests again.", "/v1/nodes/%s", node_columns, "spec.drained", "false"),
    SETTING("node", "renew", "NODE", "It gets its next certificate now, before half of the time of this one is over.",
            "/v1/nodes/%s", node_columns, "spec.renew", "true"),
    COMMAND("node", "remove", "NODE",
            "Take a node out of the cluster for good: one that is drained, has no guests and pools, and whose agent is "
            "stopped.",
            "DELETE", "/v1/nodes/%s", NULL, NULL, NULL),
    COMMAND("node", "label", "NODE", "What people and placement know of a node: volumes are spread over rack and site.",
            "PATCH", "/v1/nodes/%s", NULL, node_label, node_columns),

    CREATE("pool", "create", "POOL", "Storage of a node that volumes and images are put in.", "/v1/pools", pool_create,
           pool_columns),
    COMMAND("pool", "list", "", "All pools.", "GET", "/v1/pools", NULL, NULL, pool_columns),
    COMMAND("pool", "show", "POOL", "One pool.", "GET", "/v1/pools/%s", NULL, NULL, pool_columns),
    COMMAND("pool", "delete", "POOL", "Forget a pool that nothing is in.", "DELETE", "/v1/pools/%s", NULL, NULL, NULL),

    CREATE("image", "import", "IMAGE", "Fetch and unpack a disk image.", "/v1/images", image_import, image_columns),
    COMMAND("image", "list", "", "All images, and which nodes have copied what guests boot from.", "GET", "/v1/images",
            NULL, NULL, image_columns),
    COMMAND("image", "show", "IMAGE", "One image, and why nodes lack it that may run its guests.", "GET",
            "/v1/images/%s", NULL, NULL, image_show_columns),
    COMMAND("image", "delete", "IMAGE", "Delete an image; volumes made from it stay.", "DELETE", "/v1/images/%s", NULL,
            NULL, image_columns),

    CREATE("volume", "create", "VOLUME", "A disk for guests.", "/v1/volumes", volume_create, volume_columns),
    COMMAND("volume", "list", "", "All volumes.", "GET", "/v1/volumes", NULL, NULL, volume_columns),
    COMMAND("volume", "show", "VOLUME", "One volume.", "GET", "/v1/volumes/%s", NULL, NULL, volume_show_columns),
    COMMAND("volume", "resize", "VOLUME", "Make a volume larger.", "PATCH", "/v1/volumes/%s", NULL, volume_resize,
            volume_columns),
    COMMAND("volume", "set", "VOLUME", "Change how the members of a volume are looked after.", "PATCH",
            "/v1/volumes/%s", NULL, volume_set, volume_columns),
    COMMAND("volume", "replace", "VOLUME INDEX",
            "Put a fresh member in the place of one, such as of a node that will not come back; INDEX `witness`: a "
            "witness.",
            "POST", "/v1/volumes/%s/members/%s/replace", NULL, volume_replace, volume_columns),
    COMMAND("volume", "move", "VOLUME", "Move its bytes, or one of its members, to another pool, while it is used.",
            "POST", "/v1/volumes/%s/move", NULL, volume_move, volume_move_columns),
    COMMAND("volume", "scrub", "VOLUME", "Compare all copies and checksums of a volume, and repair.", "POST",
            "/v1/volumes/%s/scrub", NULL, NULL, volume_columns),
    COMMAND("volume", "resync", "VOLUME", "How fast members that come back are filled.", "PATCH", "/v1/volumes/%s",
            NULL, volume_resync, volume_columns),
    COMMAND("volume", "key", "VOLUME",
            "The passphrase of an encrypted volume; that it was asked for is in the audit log.", "POST",
            "/v1/volumes/%s/key", NULL, NULL, NULL),
    COMMAND("volume", "delete", "VOLUME", "Delete a volume and what is on it.", "DELETE", "/v1/volumes/%s", NULL, NULL,
            volume_columns),

    CREATE("network", "create", "NETWORK", "A network of guests, across all nodes.", "/v1/networks", network_create,
           network_columns),
    COMMAND("network", "list", "", "All networks.", "GET", "/v1/networks", NULL, NULL, network_columns),
    COMMAND("network", "show", "NETWORK", "One network.", "GET", "/v1/networks/%s", NULL, NULL, network_columns),
    COMMAND("network", "delete", "NETWORK", "Delete a network that no guest is in.", "DELETE", "/v1/networks/%s", NULL,
            NULL, NULL),

    CREATE("guest", "create", "GUEST", "A new guest.", "/v1/guests", guest_create, guest_columns),
    COMMAND("guest", "list", "", "All guests.", "GET", "/v1/guests", NULL, NULL, guest_columns),
    COMMAND("guest", "show", "GUEST", "One guest.", "GET", "/v1/guests/%s", NULL, NULL, guest_columns),
    COMMAND("guest", "set", "GUEST", "Change a guest.", "PATCH", "/v1/guests/%s", NULL, guest_set, guest_columns),
    COMMAND("guest", "start", "GUEST", "It is to run.", "POST", "/v1/guests/%s/start", NULL, NULL, guest_columns),
    SETTING("guest", "unprotect", "GUEST", "It stays down if its node is lost.", "/v1/guests/%s", guest_columns,
            "spec.ha", "false"),
    COMMAND("guest", "stop", "GUEST", "Press its power button.", "POST", "/v1/guests/%s/stop", NULL, guest_stop,
            guest_columns),
    COMMAND("guest", "migrate", "GUEST", "Move it to another node while it runs.", "POST", "/v1/guests/%s/migrate",
            NULL, guest_migrate, migration_columns),
    SPECIAL("guest", "console", "GUEST", "Its serial console; Ctrl-A x leaves.", console_run),
    COMMAND("guest", "delete", "GUEST", "Stop it and forget it; its volumes stay.", "DELETE", "/v1/guests/%s", NULL,
            NULL, guest_columns),

    COMMAND("task", "list", "", "All tasks, the oldest first.", "GET", "/v1/tasks", NULL, NULL, task_columns),
    COMMAND("task", "show", "TASK", "One task with its log.", "GET", "/v1/tasks/%s", NULL, NULL, NULL),
    SPECIAL("task", "wait", "TASK", "Wait until it has ended.", progress_run),
    COMMAND("task", "cancel", "TASK", "Delete what it has made so far, or take back a start, a stop or a migration.",
            "POST", "/v1/tasks/%s/cancel", NULL, NULL, task_columns),

    COMMAND("migration", "list", "", "All migrations, the oldest first.", "GET", "/v1/migrations", NULL, NULL,
            migration_columns),
    COMMAND("migration", "show", "MIGRATION", "One migration, and how it went.", "GET", "/v1/migrations/%s", NULL, NULL,
            one_migration_columns),

    COMMAND("volume-move", "list", "", "All moves of volumes, the oldest first.", "GET", "/v1/volume-moves", NULL, NULL,
            volume_move_columns),
    COMMAND("volume-move", "show", "MOVE", "One move of a volume, and how it went.", "GET", "/v1/volume-moves/%s", NULL,
            NULL, volume_move_columns),

    COMMAND(
        "drill", "run", "KIND",
        "Put a fault in on purpose: node-power-loss, partition, coordinator-loss, agent-crash, member-loss, slow-disk, "
        "migration-fault.",
        "POST", "/v1/drills", "kind", drill_run, drill_show_columns),
    {"drill", "simulate", "", "Drills in virtual time: thousands of faults on the cluster as it is, or as a file says.",
     NULL, NULL, NULL, drill_simulate_options, NULL, drill_simulate_run, false, NULL, NULL},
    COMMAND("drill", "list", "", "All drills, the oldest first.", "GET", "/v1/drills", NULL, NULL, drill_columns),
    COMMAND("drill", "show", "DRILL", "One drill, with whom it hits.", "GET", "/v1/drills/%s", NULL, NULL,
            drill_show_columns),
    {"drill", "report", "DRILL", "What came of it, moment by moment.", NULL, NULL, NULL, drill_report, NULL,
     drill_report_run, false, NULL, NULL},
    COMMAND("drill", "abort", "DRILL", "End its fault before its time, and let it heal.", "POST", "/v1/drills/%s/abort",
            NULL, NULL, drill_show_columns),
    CREATE("drill", "schedule", "NAME", "Let one come by itself, if nothing speaks against it then.",
           "/v1/drill-schedules", drill_schedule, drill_schedule_columns),
    COMMAND("drill", "schedules", "", "All that come by themselves.", "GET", "/v1/drill-schedules", NULL, NULL,
            drill_schedule_columns),
    COMMAND("drill", "unschedule", "NAME", "It does not come any more.", "DELETE", "/v1/drill-schedules/%s", NULL, NULL,
            NULL),
    SPECIAL("drill", "canary", "", "The script that a canary guest runs.", drill_canary_run),

    COMMAND("token", "create", "NAME", "A token for a person or a program; its secret is shown this once.", "POST",
            "/v1/tokens", "name", token_create, new_token_columns),
    COMMAND("token", "list", "", "All tokens.", "GET", "/v1/tokens", NULL, NULL, token_columns),
    SPECIAL("audit", "verify", "FILE",
            "Check that no line of an audit log, and of the older files beside it, was changed, put in or taken out.",
            special_verify_audit),
    SPECIAL("top", "", "", "What nodes use, and the guests of the node that is asked; until Ctrl-C.", top_run),
    SPECIAL("event", "follow", "", "What happens, as it happens, a JSON line each.", console_follow),
    COMMAND("token", "revoke", "NAME", "It lets nobody in any more.", "DELETE", "/v1/tokens/%s", NULL, NULL, NULL),
    SPECIAL(NULL, NULL, NULL, NULL, NULL)};
