#include "node/agent/drill_schedule.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "node/agent/change.h"
#include "node/agent/cluster.h"
#include "node/agent/drill.h"
#include "node/agent/drill_ask.h"
#include "node/agent/drill_blast.h"
#include "node/agent/member.h"
#include "node/agent/report.h"
#include "node/agent/task.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/loop.h"
#include "node/base/timestamp.h"

enum { LOOK_MS = 5000, DAY_S = 86400, WEEK = 7, THURSDAY = 4 /* the first day of 1970 */, BY_MAX = 96 };

struct drill_schedules {
    struct loop *loop;
    struct cluster *cluster;
    struct report *report;
    const char *store;
    struct loop_timer timer;
    bool busy; /* one is on its way to the store */
};

/* ---- when ---- */

const char *drill_schedule_check_at(const json_t *value)
{
    const char *t = json_string_value(value);
    bool form = strlen(t) == 5 && strspn(t, "0123456789") == 2 && t[2] == ':' && strspn(t + 3, "0123456789") == 2;
    return form && atoi(t) < 24 && atoi(t + 3) < 60 ? NULL : "must be a time of day in UTC such as 03:30";
}

/* 0: Sunday; -1: every day. */
static int day_of(const char *name)
{
    static const char *const names[WEEK] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};
    for (int i = 0; i < WEEK; i++)
        if (!strcmp(names[i], name))
            return i;
    return -1;
}

bool drill_schedule_is_due(const json_t *spec, int64_t now_s, int64_t *since_s)
{
    const char *at = member_text(spec, "at");
    int64_t window_s = json_integer_value(json_object_get(spec, "window")) / 1000;
    int64_t in_day = strlen(at) == 5 ? (int64_t)atoi(at) * 3600 + (int64_t)atoi(at + 3) * 60 : 0;
    int day = day_of(member_text(spec, "day"));
    for (int64_t back = 0; back < 2; back++) { /* the window may have begun yesterday */
        int64_t days = now_s / DAY_S - back, since = days * DAY_S + in_day;
        if ((day < 0 || (days + THURSDAY) % WEEK == day) && now_s >= since && now_s < since + window_s) {
            *since_s = since;
            return true;
        }
    }
    return false;
}

/* ---- beginning ---- */

static void say(struct drill_schedules *s, const struct object *schedule, const char *drill, const char *reason)
{
    char at[TIMESTAMP_BYTES];
    if (!strcmp(member_text(schedule->state, "drill"), drill) &&
        !strcmp(member_text(schedule->state, "reason"), reason))
        return;
    log_warn("drill schedule %s: %s%s", schedule->name, *reason ? "does not begin: " : "begins drill ",
             *reason ? reason : drill);
    report_state(s->report, OBJECT_DRILL_SCHEDULE, schedule->id,
                 json_pack("{s:s, s:s, s:s}", "drill", drill, "at", timestamp(at), "reason", reason));
}

static void begun(void *context, int rc, uint64_t revision, const struct err *err)
{
    struct drill_schedules *s = context;
    (void)revision;
    s->busy = false;
    if (rc && rc != -ESTALE)
        log_warn("a drill is due and cannot be begun: %s", err->text);
}

static void begin(struct drill_schedules *s, const struct object *schedule, json_t *spec, int64_t since_s)
{
    struct change *change = change_new(s->cluster);
    json_t *drill = drill_make(spec), *marked = json_deep_copy(schedule->value);
    json_t *task = drill ? task_make(TASK_DRILL, drill, member_text(spec, "conductor"), member_text(spec, "by")) : NULL;
    if (!change || !task || !marked) {
        change_drop(change);
        json_decref(drill);
        json_decref(marked);
        json_decref(task);
        return;
    }
    json_object_set_new(marked, "ran", json_integer(since_s));
    say(s, schedule, member_text(drill, "name"), "");
    change_put(change, OBJECT_DRILL_SCHEDULE, schedule->id, marked, schedule->revision);
    change_put(change, OBJECT_TASK, member_text(task, "id"), task, 0);
    change_put(change, OBJECT_DRILL, member_text(drill, "id"), drill, 0);
    s->busy = true;
    change_commit(change, begun, s);
}

static void look_at(struct drill_schedules *s, const struct object *schedule, int64_t now_s)
{
    const struct mirror *m = cluster_mirror(s->cluster);
    const json_t *asked = json_object_get(schedule->value, "spec");
    struct complete_error wrong;
    struct drill_blast blast = {.json = NULL};
    char by[BY_MAX];
    int64_t since;
    if (!drill_schedule_is_due(asked, now_s, &since) ||
        json_integer_value(json_object_get(schedule->value, "ran")) == since ||
        strcmp(drill_conductor(m, asked), cluster_node(s->cluster)) != 0)
        return;
    if (drill_ask_check(m, asked, "", &wrong)) {
        say(s, schedule, member_text(schedule->state, "drill"), wrong.text);
        return;
    }
    snprintf(by, sizeof by, "schedule:%.63s", schedule->name);
    json_t *spec = drill_ask_spec(m, asked, by, cluster_node(s->cluster));
    bool made = drill_blast_make(&blast, m, spec, "", s->store);
    if (made && !blast.code)
        begin(s, schedule, json_incref(spec), since);
    else if (made)
        say(s, schedule, member_text(schedule->state, "drill"), blast.text);
    json_decref(spec);
    json_decref(blast.json);
}

static void timer_fired(struct loop_timer *timer)
{
    struct drill_schedules *s = CONTAINER_OF(timer, struct drill_schedules, timer);
    const struct mirror *m = cluster_mirror(s->cluster);
    for (const struct object *o = mirror_next(m, OBJECT_DRILL_SCHEDULE, NULL);
         o && cluster_is_current(s->cluster) && !s->busy; o = mirror_next(m, OBJECT_DRILL_SCHEDULE, o->name))
        look_at(s, o, time(NULL));
    loop_timer_set(s->loop, &s->timer, clock_ns() + LOOK_MS * UINT64_C(1000000));
}

/* ---- life ---- */

struct drill_schedules *drill_schedules_new(struct loop *loop, struct cluster *cluster, struct report *report,
                                            const char *store)
{
    struct drill_schedules *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    *s = (struct drill_schedules){.loop = loop, .cluster = cluster, .report = report, .store = store};
    s->timer.fire = timer_fired;
    loop_timer_set(loop, &s->timer, clock_ns() + LOOK_MS * UINT64_C(1000000));
    return s;
}

void drill_schedules_stop(struct drill_schedules *s)
{
    loop_timer_clear(s->loop, &s->timer);
}

bool drill_schedules_busy(const struct drill_schedules *s)
{
    return s->busy;
}

void drill_schedules_free(struct drill_schedules *s)
{
    free(s);
}
