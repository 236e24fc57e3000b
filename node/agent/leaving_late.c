/* A guest that has left before its last pages (post-copy): its process here serves them to the one at the destination,
 * over connections that are made anew when they break, for as long as both processes live. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "node/agent/cluster.h"
#include "node/agent/guest_unit.h"
#include "node/agent/leaving.h"
#include "node/agent/member.h"
#include "node/agent/migrations.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/log.h"

enum { AGAIN_MS = 1000, PATIENCE_MS = 1000 };

void leaving_late_note(struct leaving *l)
{
    bool broken = !strcmp(member_text(l->progress, "link"), "broken");
    bool goes = l->process == MIGRATION_PROCESS_MOVING || l->process == MIGRATION_PROCESS_READY ||
                l->process == MIGRATION_PROCESS_SERVES; /* else that was another one, before this */
    l->late = goes && json_is_true(json_object_get(l->progress, "post-copy"));
    if (l->late && broken && !l->broken)
        log_warn("migration %s: the guest's last pages cannot follow it: %s", l->id,
                 member_text(l->progress, "link-reason"));
    l->broken = l->late && broken;
}

/* ---- go ---- */

static void gone(struct guest_call *call, int rc, const json_t *answer, const char *text)
{
    struct leaving *l = CONTAINER_OF(call, struct leaving, ask_call);
    (void)answer;
    l->asking = l->fresh = false;
    l->resume_after_ms = rc ? clock_ms() + AGAIN_MS : 0;
    if (rc && rc != -EPIPE)
        log_warn("migration %s: its process does not hear that the guest has gone: %s", l->id, text);
    leaving_go_on(l);
}

void leaving_late_go(struct leaving *l, struct guest_unit *unit)
{
    if (clock_ms() < l->resume_after_ms)
        return;
    l->ask_call = (struct guest_call){.done = gone, .type = CONTROL_MIGRATE_GO};
    l->asking = unit && !guest_unit_call(unit, &l->ask_call);
}

/* ---- new connections ---- */

static void resumed(struct guest_call *call, int rc, const json_t *answer, const char *text)
{
    struct leaving *l = CONTAINER_OF(call, struct leaving, ask_call);
    (void)answer;
    l->asking = l->fresh = false;
    dial_close(&l->dial);
    if (rc && rc != -EPIPE)
        log_debug("migration %s: it is not resumed: %s", l->id, text);
    leaving_go_on(l);
}

static void dialled(struct dial *dial, int rc)
{
    struct leaving *l = CONTAINER_OF(dial, struct leaving, dial);
    l->dialling = false;
    if (l->gone) {
        dial_close(dial);
        leaving_go_on(l);
        return;
    }
    const struct object *m = mirror_find(cluster_mirror(l->all->cluster), OBJECT_MIGRATION, l->id);
    struct guest_unit *u = m && m->value ? leaving_unit(l, m) : NULL;
    l->resume_after_ms = clock_ms() + AGAIN_MS;
    if (rc)
        log_debug("migration %s: %s", l->id, dial->err.text);
    if (!rc && u) {
        l->ask_call = (struct guest_call){.done = resumed, .type = CONTROL_MIGRATE_RESUME, .fd_count = dial->count};
        memcpy(l->ask_call.fds, dial->fds, dial->count * sizeof *dial->fds);
        l->asking = !guest_unit_call(u, &l->ask_call);
    }
    if (!l->asking)
        dial_close(dial);
    leaving_go_on(l);
}

void leaving_late_resume(struct leaving *l, const struct object *migration)
{
    if (clock_ms() < l->resume_after_ms)
        return;
    l->dialling = true;
    l->dial = (struct dial){.done = dialled, .count = LEAVING_STREAMS, .patience_ms = PATIENCE_MS};
    snprintf(l->dial.address, sizeof l->dial.address, "%s", member_text(migration->value, "address"));
    dial_begin(&l->dial, l->all->place->worker);
}

/* ---- what is told ---- */

void leaving_late_tell(const struct leaving *l, const json_t *migration, json_t *state)
{
    static const char *const figures[][2] = {{"post-copy-bytes", "post_copy_bytes"},
                                             {"post-copy-seconds", "post_copy_s"},
                                             {"faults", "pages_asked"},
                                             {"link", "link"},
                                             {"breaks", "breaks"},
                                             {"broken-seconds", "broken_s"},
                                             {"longest-wait-ms", "longest_wait_ms"},
                                             {"downtime-ms", "downtime_ms"}};
    const json_t *arrived = json_object_get(migration, "arrived");
    json_object_set_new(state, "post_copy", json_true());
    for (unsigned i = 0; i < sizeof figures / sizeof *figures; i++)
        if (json_object_get(l->progress, figures[i][0]))
            json_object_set(state, figures[i][1], json_object_get(l->progress, figures[i][0]));
    if (arrived) {
        json_object_set(state, "pages_asked", json_object_get(arrived, "asked"));
        json_object_set(state, "longest_wait_ms", json_object_get(arrived, "longest_wait_ms"));
    }
    if (l->process == MIGRATION_PROCESS_NONE && !arrived && !*member_text(migration, "lost"))
        json_object_set_new(state, "source_gone", json_true());
    if (l->broken && !*member_text(state, "reason"))
        json_object_set_new(state, "reason",
                            json_sprintf("the guest waits for pages: the connections broke (%s) and are made anew",
                                         member_text(l->progress, "link-reason")));
}
