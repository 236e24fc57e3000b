#include "node/agent/restart.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "node/agent/member.h"
#include "node/base/err.h"

static const char *const causes[] = {"crashed", "panicked", "hung", NULL};

const char *restart_cause_name(enum restart_cause cause)
{
    return causes[cause];
}

enum restart_cause restart_cause_of(const char *trouble)
{
    unsigned i = 0;
    while (causes[i] && strcmp(causes[i], trouble) != 0)
        i++;
    return (enum restart_cause)i;
}

/* ---- the policy ---- */

static uint64_t number(const json_t *plan, const char *key, uint64_t otherwise)
{
    const json_t *v = json_object_get(plan, key);
    return json_is_integer(v) && json_integer_value(v) >= 0 ? (uint64_t)json_integer_value(v) : otherwise;
}

struct restart_policy restart_policy_of(const json_t *plan)
{
    static const char *const keys[] = {"on_crash", "on_panic", "on_hang"};
    struct restart_policy p = {.window_ms = number(plan, "restart_window", RESTART_WINDOW_MS),
                               .delay_ms = number(plan, "restart_delay", RESTART_DELAY_MS)};
    uint64_t attempts = number(plan, "restart_attempts", RESTART_ATTEMPTS);
    p.attempts = attempts < RESTART_ATTEMPTS_MAX ? (unsigned)attempts : RESTART_ATTEMPTS_MAX;
    bool never = !strcmp(member_text(plan, "restart"), "never");
    for (unsigned i = 0; i < RESTART_CAUSES; i++) {
        const char *on = member_text(plan, keys[i]);
        bool stops = !strcmp(on, "stop") || (!*on && never);
        p.on[i] = stops ? RESTART_STOP : !strcmp(on, "keep") ? RESTART_KEEP : RESTART_AGAIN;
    }
    return p;
}

/* ---- what has happened ---- */

static unsigned within(const struct restart_record *r, uint64_t window_ms, uint64_t now_ms)
{
    unsigned n = 0;
    for (unsigned i = 0; i < r->recent; i++)
        n += now_ms - r->at_ms[i] < window_ms;
    return n;
}

/* The oldest one gives way. */
static void note(struct restart_record *r, uint64_t now_ms)
{
    unsigned at = 0;
    for (unsigned i = 1; i < r->recent; i++)
        if (r->at_ms[i] < r->at_ms[at])
            at = i;
    if (r->recent < RESTART_ATTEMPTS_MAX)
        at = r->recent++;
    r->at_ms[at] = now_ms;
    r->count++;
    timestamp(r->at);
}

enum restart_answer restart_judge(struct restart_record *r, const struct restart_policy *p, enum restart_cause cause,
                                  const char *asked, uint64_t now_ms)
{
    enum restart_answer answer = p->on[cause];
    if (answer == RESTART_AGAIN && p->attempts && within(r, p->window_ms, now_ms) >= p->attempts)
        answer = RESTART_GIVE_UP;
    if (answer == RESTART_KEEP)
        return answer;
    r->cause = cause;
    snprintf(r->asked, sizeof r->asked, "%s", asked);
    r->down = answer != RESTART_AGAIN;
    if (!r->down)
        note(r, now_ms);
    return answer;
}

bool restart_forgive(struct restart_record *r, const char *asked)
{
    bool was = r->down;
    if (!strcmp(r->asked, asked))
        return false;
    r->down = false;
    r->recent = 0;
    snprintf(r->asked, sizeof r->asked, "%s", asked);
    return was;
}

void restart_explain(const struct restart_record *r, const struct restart_policy *p, struct err *err)
{
    const char *what = restart_cause_name(r->cause);
    if (p->on[r->cause] == RESTART_STOP)
        err_set(err, EIO, "stays down: it %s; `drover guest start` starts it again", what);
    else
        err_set(err, EIO,
                "stays down: it %s again after %u restarts within %llu s; `drover guest start` starts it again", what,
                p->attempts, (unsigned long long)(p->window_ms / 1000));
}

/* ---- as JSON ---- */

json_t *restart_record_json(const struct restart_record *r)
{
    return json_pack("{s:i, s:s, s:s, s:i, s:b, s:s}", "count", (int)r->count, "at", r->at, "reason",
                     r->count || r->down ? restart_cause_name(r->cause) : "", "recent", (int)r->recent, "down", r->down,
                     "asked", r->asked);
}

/* So long ago, by the clock on the wall; one that is not right lets it be now. */
static uint64_t age_ms(const char *at)
{
    struct tm tm = {0};
    time_t now = time(NULL);
    const char *end = strptime(at, "%Y-%m-%dT%H:%M:%S", &tm);
    time_t then = end ? timegm(&tm) : now;
    return then < now ? (uint64_t)(now - then) * 1000 : 0;
}

void restart_record_read(struct restart_record *r, const json_t *json, uint64_t now_ms)
{
    enum restart_cause cause = restart_cause_of(member_text(json, "reason"));
    *r = (struct restart_record){.count = (unsigned)number(json, "count", 0),
                                 .cause = cause < RESTART_CAUSES ? cause : RESTART_CRASHED,
                                 .down = json_is_true(json_object_get(json, "down"))};
    snprintf(r->at, sizeof r->at, "%s", member_text(json, "at"));
    snprintf(r->asked, sizeof r->asked, "%s", member_text(json, "asked"));
    uint64_t recent = number(json, "recent", 0), age = age_ms(r->at);
    r->recent = recent < RESTART_ATTEMPTS_MAX ? (unsigned)recent : RESTART_ATTEMPTS_MAX;
    for (unsigned i = 0; i < r->recent; i++)
        r->at_ms[i] = age < now_ms ? now_ms - age : 0;
}
