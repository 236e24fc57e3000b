/* See drill_canary.h.
 *
 *     SHUT --it runs here, and a drill names it--> ASKING --the guest took its end--> OPEN --either side ends--> SHUT
 */
#include "node/agent/drill_canary.h"

#include <inttypes.h>
#include <jansson.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "node/agent/cluster.h"
#include "node/agent/drill.h"
#include "node/agent/guest_link.h"
#include "node/agent/guest_unit.h"
#include "node/agent/guests.h"
#include "node/agent/report.h"
#include "node/base/container.h"
#include "node/base/loop.h"

enum { READ_BYTES = 4096, LINE_BYTES = 256, ID_MAX = 64, WATCHES_MAX = 64 };

struct watch {
    struct drill_canaries *canaries; /* NULL: they are gone, and this goes with its last call */
    char id[ID_MAX], guest[ID_MAX], drill[ID_MAX];
    int fd, guest_fd;
    bool asking, receiving, wanted, fresh; /* fresh: a word is not told yet */
    struct guest_call call;
    struct loop *loop;
    struct loop_op op;
    struct drill_word word;
    char data[READ_BYTES], line[LINE_BYTES];
    size_t line_bytes;
    LIST_ENTRY(watch) link;
};

struct drill_canaries {
    struct loop *loop;
    struct cluster *cluster;
    struct report *report;
    struct guests *guests;
    unsigned count;
    LIST_HEAD(, watch) all;
};

/* ---- words ---- */

bool drill_word_parse(const char *line, size_t len, struct drill_word *word)
{
    static const char prefix[] = "drover-canary ";
    char text[LINE_BYTES];
    struct drill_word w;
    uint32_t start;
    char end;
    while (len && (line[len - 1] == '\r' || line[len - 1] == ' '))
        len--;
    if (len >= sizeof text || len < sizeof prefix || memcmp(line, prefix, sizeof prefix - 1) != 0)
        return false;
    memcpy(text, line + sizeof prefix - 1, len - (sizeof prefix - 1));
    text[len - (sizeof prefix - 1)] = 0;
    if (strspn(text, "0123456789abcdef ") != strlen(text) ||
        sscanf(text, "%15" SCNd64 " %15" SCNd64 " %15" SCNd64 " %8" SCNx32 "%c", &w.acked, &w.had, &w.holes, &start,
               &end) != 4)
        return false;
    w.start = start;
    *word = w;
    return true;
}

static void take_bytes(struct watch *w, const char *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        if (data[i] != '\n') {
            if (w->line_bytes < sizeof w->line)
                w->line[w->line_bytes++] = data[i];
            continue;
        }
        if (w->line_bytes < sizeof w->line)
            w->fresh |= drill_word_parse(w->line, w->line_bytes, &w->word);
        w->line_bytes = 0;
    }
}

static void tell(struct watch *w)
{
    struct drill_canaries *c = w->canaries;
    w->fresh = false;
    report_state(c->report, OBJECT_CANARY, w->id,
                 json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I}", "drill", w->drill, "guest", w->guest, "node",
                           cluster_node(c->cluster), "start", (json_int_t)w->word.start, "acked",
                           (json_int_t)w->word.acked, "had", (json_int_t)w->word.had, "holes",
                           (json_int_t)w->word.holes));
}

/* ---- the console ---- */

static void receive(struct watch *w);

static void shut(struct watch *w)
{
    if (w->receiving)
        loop_cancel(w->loop, &w->op);
    else if (w->fd >= 0 && !w->asking) {
        close(w->fd);
        w->fd = -1;
    }
}

static void free_if_idle(struct watch *w)
{
    if (w->asking || w->receiving || w->canaries)
        return;
    if (w->fd >= 0)
        close(w->fd);
    free(w);
}

static void received(struct loop_op *op, int result, uint32_t flags)
{
    struct watch *w = CONTAINER_OF(op, struct watch, op);
    (void)flags;
    w->receiving = false;
    if (result > 0)
        take_bytes(w, w->data, (size_t)result);
    if (result > 0 && w->wanted && w->canaries) {
        receive(w);
        return;
    }
    shut(w);
    free_if_idle(w);
}

static void receive(struct watch *w)
{
    w->receiving = true;
    w->op.done = received;
    io_uring_prep_recv(loop_sqe(w->loop, &w->op), w->fd, w->data, sizeof w->data, 0);
}

static void answered(struct guest_call *call, int rc, const json_t *answer, const char *text)
{
    struct watch *w = CONTAINER_OF(call, struct watch, call);
    (void)answer;
    (void)text; /* it is asked again as long as it is wanted */
    w->asking = false;
    close(w->guest_fd);
    if (!rc && w->wanted && w->canaries)
        receive(w);
    else
        shut(w);
    free_if_idle(w);
}

static void open_console(struct watch *w, struct guest_unit *unit)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
        return;
    w->fd = pair[0];
    w->guest_fd = pair[1];
    w->line_bytes = 0;
    w->asking = true;
    w->call = (struct guest_call){.done = answered, .type = CONTROL_CONSOLE, .fds = {w->guest_fd}, .fd_count = 1};
    if (guest_unit_call(unit, &w->call))
        answered(&w->call, -1, NULL, "");
}

/* ---- who is watched ---- */

static struct watch *find(struct drill_canaries *c, const char *id)
{
    struct watch *w;
    LIST_FOREACH (w, &c->all, link)
        if (!strcmp(w->id, id))
            return w;
    return NULL;
}

static struct watch *add(struct drill_canaries *c, const struct object *guest)
{
    struct watch *w = c->count < WATCHES_MAX ? calloc(1, sizeof *w) : NULL;
    if (!w)
        return NULL;
    w->canaries = c;
    w->loop = c->loop;
    w->fd = -1;
    snprintf(w->id, sizeof w->id, "%s", guest->id);
    snprintf(w->guest, sizeof w->guest, "%s", guest->name);
    LIST_INSERT_HEAD(&c->all, w, link);
    c->count++;
    return w;
}

static void drop(struct watch *w)
{
    LIST_REMOVE(w, link);
    w->canaries->count--;
    w->canaries = NULL;
    w->wanted = false;
    shut(w);
    free_if_idle(w);
}

static void want(struct drill_canaries *c, const struct object *drill, const char *name)
{
    const struct object *guest = mirror_named(cluster_mirror(c->cluster), OBJECT_GUEST, name);
    struct guest_unit *unit = guest ? guests_find(c->guests, guest->id) : NULL;
    if (!unit || guest_unit_phase(unit) != GUEST_PHASE_RUNNING)
        return;
    struct watch *w = find(c, guest->id);
    w = w ? w : add(c, guest);
    if (!w)
        return;
    w->wanted = true;
    snprintf(w->drill, sizeof w->drill, "%s", drill->name);
    if (w->fd < 0)
        open_console(w, unit);
    if (w->fresh)
        tell(w);
}

void drill_canaries_look(struct drill_canaries *c)
{
    const struct mirror *m = cluster_mirror(c->cluster);
    struct watch *w, *next;
    LIST_FOREACH (w, &c->all, link)
        w->wanted = false;
    for (const struct object *d = mirror_next(m, OBJECT_DRILL, NULL); d; d = mirror_next(m, OBJECT_DRILL, d->name)) {
        const json_t *names = object_spec(d, "guests");
        for (size_t i = 0; !drill_has_ended(d) && i < json_array_size(names); i++)
            want(c, d, json_string_value(json_array_get(names, i)));
    }
    for (w = LIST_FIRST(&c->all); w; w = next) {
        next = LIST_NEXT(w, link);
        if (!w->wanted)
            drop(w);
    }
}

struct drill_canaries *drill_canaries_new(struct loop *loop, struct cluster *cluster, struct report *report,
                                          struct guests *guests)
{
    struct drill_canaries *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->loop = loop;
    c->cluster = cluster;
    c->report = report;
    c->guests = guests;
    LIST_INIT(&c->all);
    return c;
}

void drill_canaries_free(struct drill_canaries *c)
{
    if (!c)
        return;
    while (!LIST_EMPTY(&c->all))
        drop(LIST_FIRST(&c->all));
    free(c);
}
