#include "node/agent/power_watch.h"

#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "node/agent/audit.h"
#include "node/agent/change.h"
#include "node/agent/cluster.h"
#include "node/agent/member.h"
#include "node/agent/mirror.h"
#include "node/agent/power_file.h"
#include "node/agent/power_turn.h"
#include "node/agent/presence.h"
#include "node/agent/probe.h"
#include "node/agent/process.h"
#include "node/agent/process_file.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/uuid.h"

enum { PATIENCE_MS = 6000, NODES_MAX = 64 };

struct asked {
    struct power_watch *watch;
    const char *name, *by; /* the file's */
    struct process process;
    int output;        /* -1: none is under way */
    uint64_t asked_ms; /* 0: never */
    bool ours, silent; /* it is this node's turn; it was silent when it was asked for */
    uint64_t revision; /* of its state then */
    enum power_answer answer;
    char error[ERR_TEXT_MAX];
    bool ending;                    /* its state is being taken out */
    char instance[UUID_TEXT_BYTES]; /* whose state was: if that writes it again, it was not off */
    uint64_t refuted_ms;            /* 0: never */
};

struct power_watch {
    const struct power_place *place;
    json_t *ways;
    struct probe *probe;
    bool stopped;
    char wrong[ERR_TEXT_MAX]; /* with the file; "" */
    unsigned count;
    struct asked asked[NODES_MAX];
};

static const struct object *node_of(const struct asked *a)
{
    return mirror_named(cluster_mirror(a->watch->place->cluster), OBJECT_NODE, a->name);
}

/* HOST:PORT of "https://HOST:PORT" */
static const char *server_of(const struct object *node)
{
    const char *api = node ? member_text(node->state, "api") : "", *at = strstr(api, "://");
    return at ? at + 3 : "";
}

static uint64_t silent_ms(const struct asked *a)
{
    return probe_silent_ms(a->watch->probe, server_of(node_of(a)));
}

/* ---- what follows ---- */

static void ended_lease(void *context, int rc, uint64_t revision, const struct err *err)
{
    struct asked *a = context;
    (void)revision;
    a->ending = false;
    if (!rc)
        log_warn("node %s has no power, says its %s: it counts as lost", a->name, a->by);
    else if (rc != -ESTALE)
        log_warn("node %s has no power, and is not known to count as lost: %s", a->name, err->text);
}

static void end_lease(struct asked *a, const struct object *node)
{
    const struct power_place *place = a->watch->place;
    struct change *change = change_new(place->cluster);
    if (!change)
        return;
    audit_write_own(place->audit, cluster_node(place->cluster), "DELETE", "/v1/nodes", a->name, "it has no power");
    change_check(change, OBJECT_NODE, node->id, node->revision);
    change_delete_state_seen(change, OBJECT_NODE, node->id, a->revision);
    snprintf(a->instance, sizeof a->instance, "%s", member_text(node->state, "instance"));
    a->ending = true;
    change_commit(change, ended_lease, a);
}

/* ---- asking ---- */

/* What a program prints may be anything; it goes into logs and JSON. */
static void clean(char *text)
{
    for (; *text; text++)
        if (*text < ' ' || *text > '~')
            *text = '?';
}

static void note(struct asked *a, int status)
{
    char text[ERR_TEXT_MAX], how[64];
    enum power_answer before = a->answer;
    bool knew = !*a->error;
    process_file_last_line(a->output, text, sizeof text);
    clean(text);
    a->answer = WIFEXITED(status) && !WEXITSTATUS(status) ? power_read(text) : POWER_UNKNOWN;
    *a->error = 0;
    if (a->answer == POWER_UNKNOWN)
        snprintf(a->error, sizeof a->error, "%s", *text ? text : process_describe(status, how, sizeof how));
    else if (a->answer == POWER_OFF && !a->silent)
        snprintf(a->error, sizeof a->error, "it is said to be off, and is heard: another machine's controller?");
    if (*a->error && knew)
        log_warn("whether node %s has power cannot be learnt: %s", a->name, a->error);
    else if (!*a->error && (!knew || a->answer != before))
        log_info("node %s has %spower, says its %s", a->name, a->answer == POWER_OFF ? "no " : "", a->by);
}

static void ended(struct process *process, int status)
{
    struct asked *a = CONTAINER_OF(process, struct asked, process);
    note(a, status);
    close(a->output);
    a->output = -1;
    a->asked_ms = clock_ms();
    const struct object *node = node_of(a);
    if (a->answer == POWER_OFF && a->silent && !a->watch->stopped && !a->ending && !a->refuted_ms &&
        presence_is_alive(node) && node->state_revision == a->revision && silent_ms(a) >= POWER_SILENT_MS &&
        cluster_is_current(a->watch->place->cluster))
        end_lease(a, node);
}

static void ask(struct asked *a, const struct object *node)
{
    const struct power_place *place = a->watch->place;
    const char *argv[] = {"drover-power", "--file", place->file, a->name, NULL};
    struct err err = {0};
    a->asked_ms = clock_ms();
    a->silent = silent_ms(a) >= POWER_SILENT_MS;
    a->revision = node->state_revision;
    a->output = process_file_output(&err);
    if (a->output < 0) {
        snprintf(a->error, sizeof a->error, "%s", err.text);
        return;
    }
    process_init(&a->process, place->loop, ended);
    const struct process_start start = {
        .program = place->program, .argv = (char *const *)(uintptr_t)argv, .output = a->output};
    if (process_start(&a->process, &start, &err)) {
        snprintf(a->error, sizeof a->error, "%s", err.text);
        close(a->output);
        a->output = -1;
    }
}

/* ---- looking ---- */

/* All nodes, in the order of their names, which is that of their turns. */
struct circle {
    const char *name[NODES_MAX];
    bool alive[NODES_MAX];
    int count;
};

static void look_around(const struct power_watch *w, struct circle *c)
{
    const struct mirror *m = cluster_mirror(w->place->cluster);
    c->count = 0;
    for (const struct object *n = mirror_next(m, OBJECT_NODE, NULL); n && c->count < NODES_MAX;
         n = mirror_next(m, OBJECT_NODE, n->name)) {
        c->name[c->count] = n->name;
        c->alive[c->count++] = presence_is_alive(n);
    }
}

static int place_of(const struct circle *c, const char *name)
{
    int i = c->count - 1;
    while (i >= 0 && strcmp(c->name[i], name))
        i--;
    return i;
}

static bool is_ours(const struct circle *c, const char *name, int self)
{
    int node = place_of(c, name);
    return node >= 0 && self >= 0 && node != self && c->alive[node] && power_turn(c->alive, c->count, node, self);
}

/* With what it has started: it is the first of its session. */
static void kill_question(struct asked *a)
{
    if (a->process.pid > 0)
        kill(-a->process.pid, SIGKILL);
}

/* Who is there again as the one that it was, was wrongly called off, and that way is not believed for a while. */
static void look_back(struct asked *a)
{
    const struct object *node = node_of(a);
    if (a->refuted_ms && clock_ms() - a->refuted_ms >= POWER_TRIAL_MS)
        a->refuted_ms = 0;
    if (!*a->instance || a->ending || !presence_is_alive(node))
        return;
    if (!strcmp(a->instance, member_text(node->state, "instance"))) {
        a->refuted_ms = clock_ms();
        log_error("node %s was said to be off by its %s, and runs: that is not believed for ten minutes", a->name,
                  a->by);
    }
    *a->instance = 0;
}

static void look(struct asked *a)
{
    look_back(a);
    if (a->output >= 0) {
        if (clock_ms() - a->asked_ms >= PATIENCE_MS)
            kill_question(a);
        return;
    }
    const struct power_look now = {.silent_ms = silent_ms(a),
                                   .asked_ms = a->asked_ms ? clock_ms() - a->asked_ms : UINT64_MAX};
    if (a->ours && !a->ending && power_is_due(&now))
        ask(a, node_of(a));
}

void power_watch_tick(struct power_watch *w)
{
    if (w->stopped || !w->count || !cluster_is_current(w->place->cluster))
        return;
    struct circle circle;
    look_around(w, &circle);
    int self = place_of(&circle, cluster_node(w->place->cluster));
    probe_begin(w->probe);
    for (unsigned i = 0; i < w->count; i++) {
        w->asked[i].ours = is_ours(&circle, w->asked[i].name, self);
        if (w->asked[i].ours)
            probe_want(w->probe, server_of(node_of(&w->asked[i])), false);
    }
    probe_end(w->probe);
    for (unsigned i = 0; i < w->count; i++)
        look(&w->asked[i]);
}

json_t *power_watch_status(const struct power_watch *w)
{
    static const char *const words[] = {[POWER_UNKNOWN] = "", [POWER_ON] = "on", [POWER_OFF] = "off"};
    json_t *list = json_array();
    if (*w->wrong)
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:s, s:s}", "node", "", "by", "", "answer", "", "error", w->wrong));
    for (unsigned i = 0; i < w->count; i++) {
        const struct asked *a = &w->asked[i];
        if (a->ours)
            json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s}", "node", a->name, "by", a->by, "answer",
                                                  words[a->answer], "error", a->error));
    }
    return list;
}

/* ---- life ---- */

struct power_watch *power_watch_new(const struct power_place *place)
{
    struct power_watch *w = calloc(1, sizeof *w);
    struct err err = {0};
    const char *name;
    json_t *way;
    if (!w || !(w->probe = probe_new())) {
        free(w);
        return NULL;
    }
    w->place = place;
    w->ways = power_file_load(place->file, &err);
    if (!w->ways && err.code != ENOENT) {
        log_error("%s; nobody is asked whether nodes have power", err.text);
        snprintf(w->wrong, sizeof w->wrong, "%s", err.text);
        clean(w->wrong);
    }
    json_object_foreach (w->ways, name, way) {
        if (w->count == NODES_MAX)
            break;
        w->asked[w->count++] = (struct asked){.watch = w, .name = name, .by = power_file_kind(way), .output = -1};
    }
    return w;
}

bool power_watch_busy(const struct power_watch *w)
{
    bool busy = false;
    for (unsigned i = 0; i < w->count; i++)
        busy |= w->asked[i].output >= 0 || w->asked[i].ending;
    return busy;
}

void power_watch_stop(struct power_watch *w)
{
    w->stopped = true;
    for (unsigned i = 0; i < w->count; i++)
        if (w->asked[i].output >= 0)
            kill_question(&w->asked[i]);
}

void power_watch_free(struct power_watch *w)
{
    if (!w)
        return;
    probe_free(w->probe);
    json_decref(w->ways);
    free(w);
}
