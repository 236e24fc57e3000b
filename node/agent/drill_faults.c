#include "node/agent/drill_faults.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "node/agent/cgroup.h"
#include "node/agent/change.h"
#include "node/agent/cluster.h"
#include "node/agent/drill.h"
#include "node/agent/drill_run.h"
#include "node/agent/fault_hold.h"
#include "node/agent/fault_cut.h"
#include "node/agent/member.h"
#include "node/agent/migration.h"
#include "node/agent/process.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/timestamp.h"

enum { ID_MAX = 64, CMDLINE_MAX = 4096 };

struct drill_faults {
    struct cluster *cluster;
    const struct drill_faults_place *place;
    struct process process;
    char id[ID_MAX], name[ID_MAX]; /* of the drill whose fault it is, or is to be */
    bool saying, freed;
};

/* ---- what drover-fault is told ---- */

/* How this agent was started, for who starts it again; none if a service manager does. */
static json_t *restart_argv(void)
{
    char text[CMDLINE_MAX], exe[PATH_MAX];
    json_t *argv = json_array();
    if (getenv("INVOCATION_ID"))
        return argv;
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    for (const char *at = text; n > 0 && at < text + n; at += strlen(at) + 1) {
        text[n] = 0;
        json_array_append_new(argv, json_string(at));
    }
    ssize_t len = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (len > 0 && json_array_size(argv)) {
        exe[len] = 0;
        json_array_set_new(argv, 0, json_string(exe));
    }
    return json_array_size(argv) > FAULT_ARGV_MAX ? json_array() : argv;
}

static json_t *peers(const struct drill_faults *f)
{
    const struct mirror *m = cluster_mirror(f->cluster);
    json_t *list = json_array();
    for (const struct object *n = mirror_next(m, OBJECT_NODE, NULL); n && json_array_size(list) < FAULT_ADDRESSES_MAX;
         n = mirror_next(m, OBJECT_NODE, n->name))
        if (strcmp(n->name, cluster_node(f->cluster)) != 0)
            json_array_append_new(list, json_string(object_spec_text(n, "address")));
    return list;
}

static json_t *store_uris(const struct drill_faults *f)
{
    json_t *list = json_array();
    const char *at = strchr(f->place->store, ':');
    for (at = at ? at + 1 : ""; *at && json_array_size(list) < FAULT_ADDRESSES_MAX; at += *at == ',') {
        size_t n = strcspn(at, ",");
        json_array_append_new(list, json_stringn(at, n));
        at += n;
    }
    return list;
}

static json_t *groups(const struct drill_faults *f)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < f->place->cgroups->count; i++)
        json_array_append_new(list, json_string(f->place->cgroups->path[i]));
    return list;
}

static json_t *config_of(const struct drill_faults *f, const struct object *drill)
{
    const struct drill_traits *t = drill_traits(drill_kind(drill));
    const struct object *member = drill_member(cluster_mirror(f->cluster), json_object_get(drill->value, "spec"));
    char hold[FAULT_HOLD_PATH_MAX] = "";
    if (t->kill == FAULT_KILL_AGENT || t->kill == FAULT_KILL_NODE)
        fault_hold_path(f->place->run, hold);
    return json_pack("{s:s, s:s, s:I, s:s, s:i, s:s, s:s, s:i, s:s, s:I, s:s, s:o, s:o, s:o, s:o}", "drill",
                     drill->name, "key", member_text(drill->value, "key"), "for_ms",
                     (json_int_t)drill_number(drill, "for_ms"), "address", f->place->address, "port", FAULT_PORT, "cut",
                     fault_cut_name(t->cut), "kill", fault_kill_name(t->kill), "agent", (int)getpid(), "group",
                     member ? member->id : "", "stall_ms",
                     (json_int_t)(t->stalls ? drill_number(drill, "delay_ms") : 0), "hold", hold, "peers", peers(f),
                     "store", store_uris(f), "groups", groups(f), "restart", *hold ? restart_argv() : json_array());
}

/* ---- saying it ---- */

static void started_or_not(struct drill_faults *f, const struct object *drill);

static void said(void *context, int rc, uint64_t revision, const struct err *err)
{
    struct drill_faults *f = context;
    (void)revision;
    f->saying = false;
    const struct object *drill = mirror_find(cluster_mirror(f->cluster), OBJECT_DRILL, f->id);
    if (rc)
        log_warn("drill %s: that its fault is put in cannot be said: %s", f->name, err->text);
    else if (!f->freed && drill && drill->value && !*member_text(json_object_get(drill->value, "fault"), "error"))
        started_or_not(f, drill);
}

/* error "": it is put in now. */
static void say(struct drill_faults *f, const struct object *drill, const char *error)
{
    char at[TIMESTAMP_BYTES];
    struct change *change = change_new(f->cluster);
    if (!change)
        return;
    snprintf(f->id, sizeof f->id, "%s", drill->id);
    snprintf(f->name, sizeof f->name, "%s", drill->name);
    json_t *value = json_deep_copy(drill->value);
    json_object_set_new(value, "fault", json_pack("{s:s, s:s}", "at", timestamp(at), "error", error));
    change_put(change, OBJECT_DRILL, drill->id, value, drill->revision);
    f->saying = true;
    change_commit(change, said, f);
}

static void complain(struct drill_faults *f, const char *error)
{
    const struct object *drill = mirror_find(cluster_mirror(f->cluster), OBJECT_DRILL, f->id);
    log_error("drill %s: %s", f->name, error);
    if (drill && drill->value && !f->saying)
        say(f, drill, error);
}

/* ---- drover-fault ---- */

static void ended(struct process *process, int status)
{
    struct drill_faults *f = CONTAINER_OF(process, struct drill_faults, process);
    char how[64], text[128];
    cgroup_remove(f->place->cgroups, FAULT_GROUP, NULL);
    if (!status || status == PROCESS_STATUS_UNKNOWN)
        return;
    fault_cut_end(NULL); /* who would have ended it is dead, and the kernel takes its time */
    snprintf(text, sizeof text, "drover-fault %s: see the log of its node", process_describe(status, how, sizeof how));
    complain(f, text);
}

/* Told only once it is in its group, so that it kills nobody before it is safe from itself. */
static int tell(const struct drill_faults *f, const struct object *drill, int fd, struct err *err)
{
    int rc = cgroup_set(f->place->cgroups, FAULT_GROUP, &(struct cgroup_limits){.tasks = 0}, err);
    if (!rc)
        rc = cgroup_add(f->place->cgroups, FAULT_GROUP, f->process.pid, err);
    json_t *config = config_of(f, drill);
    char *text = rc ? NULL : json_dumps(config, JSON_COMPACT);
    json_decref(config);
    if (!rc && (!text || write(fd, text, strlen(text)) != (ssize_t)strlen(text)))
        rc = err_set(err, EIO, "drover-fault does not listen");
    free(text);
    return rc;
}

static int start(struct drill_faults *f, const struct object *drill, struct err *err)
{
    char *argv[] = {(char *)(uintptr_t) "drover-fault", NULL};
    int ends[2];
    if (pipe2(ends, O_CLOEXEC))
        return err_set(err, errno, "no pipe can be had: %s", strerror(errno));
    struct process_start s = {
        .program = f->place->program, .argv = argv, .fds = &ends[0], .fd_count = 1, .output = STDERR_FILENO};
    int rc = process_start(&f->process, &s, err);
    close(ends[0]);
    if (!rc)
        rc = tell(f, drill, ends[1], err);
    close(ends[1]); /* one that was told nothing ends by itself */
    return rc;
}

static void started_or_not(struct drill_faults *f, const struct object *drill)
{
    struct err err = {0};
    log_warn("drill %s: %s is put into this node", drill->name, object_spec_text(drill, "kind"));
    if (start(f, drill, &err))
        complain(f, err.text);
}

/* ---- looking ---- */

static const char *obstacle(const struct drill_faults *f, const struct object *drill)
{
    const struct drill_traits *t = drill_traits(drill_kind(drill));
    if ((t->kill == FAULT_KILL_NODE || t->kill == FAULT_KILL_GROUP || t->stalls) && !f->place->cgroups->count)
        return "this node has no control groups, so what is to be killed cannot be told from the rest";
    if (t->takes_member && !drill_member(cluster_mirror(f->cluster), json_object_get(drill->value, "spec")))
        return "the volume has no member here any more";
    return "";
}

/* It runs since a moment ago, and not since yesterday. */
static bool is_fresh(const struct object *drill)
{
    int64_t ms = (int64_t)clock_wall_ms() - json_integer_value(json_object_get(drill->state, "phase_ms"));
    return ms < DRILL_FAULT_WAIT_MS * 4 && ms > -DRILL_FAULT_WAIT_MS * 4;
}

/* Where the fault is to come while a guest moves, it waits for that. */
static bool is_time(const struct drill_faults *f, const struct object *drill)
{
    const struct object *m = drill_migration(cluster_mirror(f->cluster), drill);
    return !drill_traits(drill_kind(drill))->moves ||
           (m && !migration_has_ended(m) && migration_phase_of(m) >= MIGRATION_COPYING);
}

static bool is_ours(const struct drill_faults *f, const struct object *drill)
{
    return !strcmp(object_spec_text(drill, "node"), cluster_node(f->cluster));
}

void drill_faults_look(struct drill_faults *f)
{
    const struct mirror *m = cluster_mirror(f->cluster);
    const struct object *mine = f->process.pid ? mirror_find(m, OBJECT_DRILL, f->id) : NULL;
    if (mine && mine->value && (drill_phase_of(mine) >= DRILL_HEALING || json_object_get(mine->value, "abort")))
        process_signal(&f->process, SIGTERM);
    if (f->process.pid || f->saying || !cluster_is_current(f->cluster))
        return;
    for (const struct object *d = mirror_next(m, OBJECT_DRILL, NULL); d; d = mirror_next(m, OBJECT_DRILL, d->name))
        if (is_ours(f, d) && drill_phase_of(d) == DRILL_RUNNING && !json_object_get(d->value, "fault") &&
            !json_object_get(d->value, "abort") && is_fresh(d) && drill_kind(d) < DRILL_KIND_COUNT && is_time(f, d)) {
            say(f, d, obstacle(f, d));
            return;
        }
}

/* ---- life ---- */

struct drill_faults *drill_faults_new(struct cluster *cluster, const struct drill_faults_place *place)
{
    struct drill_faults *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->cluster = cluster;
    f->place = place;
    process_init(&f->process, place->loop, ended);
    return f;
}

bool drill_faults_busy(const struct drill_faults *f)
{
    return f->saying || !process_idle(&f->process);
}

void drill_faults_stop(struct drill_faults *f)
{
    f->freed = true;
    process_forget(&f->process);
}

void drill_faults_free(struct drill_faults *f)
{
    free(f);
}
