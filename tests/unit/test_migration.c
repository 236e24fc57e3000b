/* Who owns a guest that moves: the rules of migration.h played over random schedules, with a store whose answers are
 * lost or late, agents that are killed and see the store late, processes that die, connections that break while a
 * guest's last pages follow it, and people who change their minds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "node/agent/migration.h"

#define ID "7b0c4f4e-3c55-4f0e-9f3a-2d4c8a1b5e60"
enum { SCHEDULES = 4000, STEPS = 300, HISTORY = 512, LATE_MAX = 8 };

/* What the store holds of one guest and its migration. */
struct facts {
    bool there; /* at "to" */
    bool marked, moved, deleting, wanted;
    bool cancel, refused, address, switched, follows, arrived, lost;
    unsigned guest, migration; /* revisions */
};

struct commit {
    unsigned guest, migration; /* as expected */
    bool follows;
};

enum source { SOURCE_RUNS, SOURCE_MOVES, SOURCE_STANDS, SOURCE_SERVES, SOURCE_BACK /* and runs */, SOURCE_DEAD };
enum target { TARGET_NONE, TARGET_WAITS, TARGET_HAS_ALL, TARGET_RUNS, TARGET_DEAD };

struct play {
    uint64_t seed;
    struct facts store[HISTORY];
    unsigned now, seen_here, seen_there; /* places in the history: both agents see it late */
    struct commit late[LATE_MAX];        /* switch-overs that are on their way, with nobody waiting for an answer */
    unsigned late_count;
    enum source source;
    enum target target;
    bool asked, committing, closed, faults, unknown, away;
    bool follows; /* it goes before its last pages */
    bool missing, broken, said_gone;
    unsigned cuts;
    struct commit pending;
};

static unsigned draw(struct play *p, unsigned n)
{
    p->seed = p->seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(p->seed >> 33) % n;
}

static struct facts *now(struct play *p)
{
    return &p->store[p->now];
}

/* A new moment of the store's; false: the play has become too long. */
static struct facts *change(struct play *p, bool guest)
{
    assert_true(p->now + 1 < HISTORY);
    p->store[p->now + 1] = p->store[p->now];
    p->now++;
    if (guest)
        now(p)->guest++;
    else
        now(p)->migration++;
    return now(p);
}

static bool apply(struct play *p, const struct commit *c)
{
    if (c->guest != now(p)->guest || c->migration != now(p)->migration)
        return false;
    struct facts *f = change(p, true);
    f->migration++;
    f->there = f->moved = f->switched = true;
    f->marked = f->follows = c->follows;
    return true;
}

/* ---- as the rules see it ---- */

static struct migration_decision decide(struct play *p)
{
    const struct facts *f = &p->store[p->seen_here];
    static const enum migration_process says[] = {
        [SOURCE_RUNS] = MIGRATION_PROCESS_IDLE,    [SOURCE_MOVES] = MIGRATION_PROCESS_MOVING,
        [SOURCE_STANDS] = MIGRATION_PROCESS_READY, [SOURCE_SERVES] = MIGRATION_PROCESS_SERVES,
        [SOURCE_BACK] = MIGRATION_PROCESS_FAILED,  [SOURCE_DEAD] = MIGRATION_PROCESS_NONE};
    struct object migration = {
        .kind = OBJECT_MIGRATION, .id = (char *)(uintptr_t)ID, .value = json_pack("{s:{s:s}}", "spec", "to", "n2")};
    struct object guest = {.kind = OBJECT_GUEST,
                           .value = json_pack("{s:{s:s, s:b}, s:b}", "spec", "node", f->there ? "n2" : "n1", "running",
                                              f->wanted, "deleting", f->deleting)};
    json_object_set_new(migration.value, "cancel", json_boolean(f->cancel));
    json_object_set_new(migration.value, "switched", json_boolean(f->switched));
    json_object_set_new(migration.value, "refused", json_string(f->refused ? "no memory" : ""));
    json_object_set_new(migration.value, "address", json_string(f->address ? "tcp:10.0.0.2:4000" : ""));
    json_object_set_new(migration.value, "follows", json_boolean(f->follows));
    if (f->arrived)
        json_object_set_new(migration.value, "arrived", json_object());
    if (f->lost)
        json_object_set_new(migration.value, "lost", json_string("its process ended"));
    if (f->marked)
        json_object_set_new(guest.value, "migration", json_string(ID));
    struct migration_view view = {.migration = &migration,
                                  .guest = &guest,
                                  .process = says[p->source],
                                  .asked = p->asked,
                                  .committing = p->committing,
                                  .broken = p->broken && (p->source == SOURCE_STANDS || p->source == SOURCE_SERVES),
                                  .late = p->faults && draw(p, 16) == 0,
                                  .store_away = p->away};
    if (p->source == SOURCE_BACK && !p->asked)
        view.process = MIGRATION_PROCESS_IDLE;
    struct migration_decision d = migration_decide(&view);
    assert_true(d.step != MIGRATION_STEP_CLOSE || d.phase >= MIGRATION_DONE);
    json_decref(migration.value);
    json_decref(guest.value);
    return d;
}

/* ---- what happens ---- */

static void source_agent(struct play *p)
{
    const struct facts *f = &p->store[p->seen_here];
    if (p->source == SOURCE_DEAD && !f->marked && !f->there && f->wanted && !f->deleting)
        p->source = SOURCE_RUNS; /* started anew: not while it may change hands */
    if (p->closed)
        return;
    struct migration_decision d = decide(p);
    switch (d.step) {
    case MIGRATION_STEP_WAIT:
        break;
    case MIGRATION_STEP_ASK:
        p->asked = true;
        if (p->target == TARGET_WAITS)
            p->source = SOURCE_MOVES;
        else
            p->source = SOURCE_BACK;
        break;
    case MIGRATION_STEP_COMMIT:
        p->committing = true;
        p->pending = (struct commit){f->guest, f->migration, p->follows};
        break;
    case MIGRATION_STEP_REFUSE:
        assert_true(p->follows);
        if (f->migration == now(p)->migration)
            change(p, false)->refused = true;
        break;
    case MIGRATION_STEP_GO:
        assert_true(now(p)->switched);
        p->source = SOURCE_SERVES;
        break;
    case MIGRATION_STEP_RESUME:
        p->broken = p->target != TARGET_RUNS && p->target != TARGET_HAS_ALL;
        break;
    case MIGRATION_STEP_LEAVE:
        if (p->missing && p->target == TARGET_RUNS && now(p)->marked)
            fail_msg("the pages that it waits for are thrown away");
        p->source = SOURCE_DEAD;
        break;
    case MIGRATION_STEP_TAKE_BACK:
        p->source = SOURCE_BACK;
        p->asked = true;
        break;
    case MIGRATION_STEP_RECALL:
    case MIGRATION_STEP_VOLUMES:
        fail_msg("it takes none along");
        break;
    case MIGRATION_STEP_CLOSE:
        assert_true(d.phase != MIGRATION_DONE || now(p)->switched);
        if (!f->marked || f->guest == now(p)->guest) { /* the mark goes by compare-and-swap */
            if (now(p)->marked)
                change(p, true)->marked = false;
            p->closed = true;
        }
        break;
    }
}

static void source_says(struct play *p)
{
    if (p->store[p->seen_here].follows && p->source == SOURCE_DEAD)
        p->said_gone = true;
}

static void answer_commit(struct play *p)
{
    if (!p->committing)
        return;
    unsigned how = p->faults ? draw(p, 5) : 0;
    p->committing = false;
    p->unknown |= how == 1 || how == 2;
    if (how == 1 && p->late_count < LATE_MAX) { /* no answer, and it takes effect some time or never */
        p->late[p->late_count++] = p->pending;
    } else if (how == 2) { /* no answer, and it has taken effect */
        apply(p, &p->pending);
    } else if (how == 0) {
        if (apply(p, &p->pending))
            p->seen_here = p->now; /* who is told so sees it */
    } else if (how == 4 && p->asked && !p->unknown) {
        p->away = true; /* the store cannot be reached */
    }                   /* else: refused */
}

/* What the destination's agent concludes is written by compare-and-swap of guest and migration. */
static void conclude(struct play *p, const struct facts *f, bool arrived)
{
    if (f->guest != now(p)->guest || f->migration != now(p)->migration)
        return;
    struct facts *n = change(p, true);
    n->migration++;
    n->marked = false;
    n->arrived = arrived;
    n->lost = !arrived;
}

static void look_at_pages(struct play *p, const struct facts *f)
{
    enum migration_there there = MIGRATION_THERE_NONE;
    const char *reason;
    if (p->target == TARGET_RUNS)
        there = !p->missing ? MIGRATION_THERE_WHOLE : p->broken ? MIGRATION_THERE_MUTE : MIGRATION_THERE_FED;
    struct object migration = {.kind = OBJECT_MIGRATION, .state = json_pack("{s:b}", "source_gone", p->said_gone)};
    struct object guest = {.kind = OBJECT_GUEST,
                           .value = json_pack("{s:{s:b}, s:b}", "spec", "running", f->wanted, "deleting", f->deleting)};
    struct migration_arrival view = {.migration = &migration, .guest = &guest, .process = there};
    enum migration_arrival_step step = migration_arrive(&view, &reason);
    if (step == MIGRATION_ARRIVAL_END)
        p->target = TARGET_DEAD;
    else if (step != MIGRATION_ARRIVAL_WAIT)
        conclude(p, f, step == MIGRATION_ARRIVAL_WHOLE);
    json_decref(migration.state);
    json_decref(guest.value);
}

/* Its process is gone: as after a crash. */
static void begin_anew(struct play *p)
{
    p->target = TARGET_RUNS;
    p->missing = false;
}

static void target_agent(struct play *p)
{
    const struct facts *f = &p->store[p->seen_there];
    bool comes = f->marked && !f->there && !f->refused;
    if (f->there && p->target == TARGET_HAS_ALL)
        p->target = TARGET_RUNS;
    else if (f->there && f->follows && f->marked)
        look_at_pages(p, f);
    else if (f->there && p->target != TARGET_RUNS)
        begin_anew(p);
    else if (!f->there && !comes)
        p->target = TARGET_NONE;
    else if (comes && p->target == TARGET_NONE)
        p->target = TARGET_WAITS;
    else if (comes && p->target == TARGET_WAITS && f->migration == now(p)->migration && !now(p)->address)
        change(p, false)->address = true;
    else if (comes && p->target == TARGET_DEAD && f->migration == now(p)->migration && !now(p)->switched)
        change(p, false)->refused = true;
}

static void stream(struct play *p)
{
    if (p->source == SOURCE_MOVES && p->target != TARGET_WAITS) {
        p->source = SOURCE_BACK; /* the connection is cut */
    } else if (p->source == SOURCE_MOVES) {
        p->source = SOURCE_STANDS;
        p->target = TARGET_HAS_ALL;
        p->missing = p->follows;
    } else if (p->broken) {
        return;
    } else if (p->missing && (p->source == SOURCE_STANDS || p->source == SOURCE_SERVES)) {
        p->missing = draw(p, 3) != 0;
    } else if (p->source == SOURCE_SERVES) {
        p->source = SOURCE_DEAD; /* all is there, and it ends */
    }
}

static void people(struct play *p)
{
    unsigned what = draw(p, 12);
    if (what == 0 && !now(p)->switched)
        change(p, false)->cancel = true;
    else if (what == 1)
        change(p, true)->deleting = true;
    else if (what == 2)
        change(p, true)->wanted = false;
}

static void accident(struct play *p)
{
    unsigned what = draw(p, 16);
    if (what == 0) { /* the source's agent is killed: what it waited for may still happen */
        if (p->committing && p->late_count < LATE_MAX)
            p->late[p->late_count++] = p->pending;
        p->asked = p->committing = p->unknown = p->away = false;
    } else if (what == 1 && (p->target != TARGET_RUNS || p->missing) && p->target != TARGET_NONE) {
        p->target = TARGET_DEAD;
    } else if (what == 2 && draw(p, 4) == 0) {
        p->source = SOURCE_DEAD;
        p->broken |= p->missing;
    } else if (what == 3 && p->missing) {
        p->broken = true;
        p->cuts++;
    }
}

static void see(unsigned *seen, unsigned now_is, unsigned step)
{
    *seen = *seen + step > now_is ? now_is : *seen + step;
}

static bool runs_here(const struct play *p)
{
    return p->source == SOURCE_RUNS || p->source == SOURCE_MOVES || p->source == SOURCE_BACK;
}

static void once(struct play *p)
{
    switch (draw(p, p->faults ? 10 : 7)) {
    case 0:
    case 1:
        source_agent(p);
        source_says(p);
        break;
    case 2:
        target_agent(p);
        break;
    case 3:
        stream(p);
        break;
    case 4:
        answer_commit(p);
        break;
    case 5:
        see(&p->seen_here, p->now, 1 + draw(p, 3));
        break;
    case 6:
        see(&p->seen_there, p->now, 1 + draw(p, 3));
        break;
    case 7:
        if (p->late_count && draw(p, 2))
            apply(p, &p->late[--p->late_count]);
        break;
    case 8:
        if (draw(p, 4) == 0)
            people(p);
        break;
    case 9:
        accident(p);
        break;
    }
    if (runs_here(p) && p->target == TARGET_RUNS)
        fail_msg("the guest runs twice");
    if (p->source == SOURCE_BACK && now(p)->there)
        fail_msg("it was taken back after it had changed hands");
}

enum { MOVED = 1, WHOLE = 2, LOST = 4, REFUSED = 8, WAS_CUT = 16 };

static unsigned play(uint64_t seed, bool faults, bool follows)
{
    struct play p = {.seed = seed * 977 + 1, .faults = faults, .follows = follows};
    p.store[0] = (struct facts){.marked = true, .wanted = true, .guest = 1, .migration = 1};
    for (unsigned i = 0; i < STEPS; i++)
        once(&p);
    p.faults = false; /* and then peace: everything comes to its end */
    p.late_count = 0;
    for (unsigned i = 0; i < 4 * STEPS; i++)
        once(&p);
    if (!p.closed)
        fail_msg("seed %llu: it does not end", (unsigned long long)seed);
    bool moved = now(&p)->there;
    if (moved)
        assert_true(p.target == TARGET_RUNS && p.source == SOURCE_DEAD && !p.missing);
    else
        assert_true(p.target != TARGET_RUNS && (runs_here(&p) || p.source == SOURCE_DEAD));
    assert_true(!moved || !follows || now(&p)->arrived != now(&p)->lost);
    return (moved ? MOVED : 0) | (now(&p)->arrived ? WHOLE : 0) | (now(&p)->lost ? LOST : 0) |
           (now(&p)->refused ? REFUSED : 0) | (p.cuts ? WAS_CUT : 0);
}

static void without_accidents(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < SCHEDULES / 4; seed++)
        assert_true(play(seed, false, false) == MOVED && play(seed, false, true) == (MOVED | WHOLE));
}

static void with_accidents(void **state)
{
    unsigned moved = 0;
    (void)state;
    for (uint64_t seed = 0; seed < SCHEDULES; seed++)
        moved += play(seed, true, false) & MOVED;
    assert_in_range(moved, SCHEDULES / 20, SCHEDULES - SCHEDULES / 20); /* both ends are reached often */
}

static void pages_follow(void **state)
{
    unsigned whole = 0, cut = 0, lost = 0, refused = 0;
    (void)state;
    for (uint64_t seed = 0; seed < SCHEDULES; seed++) {
        unsigned end = play(seed, true, true);
        whole += (end & WHOLE) != 0;
        cut += (end & WHOLE) && (end & WAS_CUT);
        lost += (end & LOST) != 0;
        refused += (end & REFUSED) && (end & WAS_CUT);
    }
    assert_in_range(whole, SCHEDULES / 20, SCHEDULES - SCHEDULES / 20);
    assert_in_range(cut, SCHEDULES / 200, SCHEDULES);
    assert_in_range(lost, SCHEDULES / 200, SCHEDULES);
    assert_in_range(refused, SCHEDULES / 200, SCHEDULES);
}

/* What the destination says of it, and why it ends a guest. */
static void arrivals(void **state)
{
    (void)state;
    struct object migration = {.kind = OBJECT_MIGRATION, .state = json_object()};
    struct object guest = {.kind = OBJECT_GUEST, .value = json_pack("{s:{s:b}}", "spec", "running", 1)};
    struct migration_arrival v = {.migration = &migration, .guest = &guest, .process = MIGRATION_THERE_MUTE};
    const char *reason;
    assert_int_equal(migration_arrive(&v, &reason), MIGRATION_ARRIVAL_WAIT);
    v.away = true;
    assert_int_equal(migration_arrive(&v, &reason), MIGRATION_ARRIVAL_END);
    assert_non_null(strstr(reason, "node"));
    v.process = MIGRATION_THERE_FED; /* only the store does not reach the source */
    assert_int_equal(migration_arrive(&v, &reason), MIGRATION_ARRIVAL_WAIT);
    v.process = MIGRATION_THERE_MUTE;
    v.away = false;
    json_object_set_new(migration.state, "source_gone", json_true());
    assert_int_equal(migration_arrive(&v, &reason), MIGRATION_ARRIVAL_END);
    assert_non_null(strstr(reason, "process"));
    json_object_clear(migration.state);
    json_object_set_new(guest.value, "hurry", json_true());
    assert_int_equal(migration_arrive(&v, &reason), MIGRATION_ARRIVAL_END);
    assert_non_null(strstr(reason, "stopped"));
    json_decref(migration.state);
    json_decref(guest.value);
}

static void policy(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        enum migration_post_copy policy;
    } cases[] = {{"{\"spec\": {}}", MIGRATION_POST_COPY_ASKED},
                 {"{\"spec\": {\"post_copy\": null}}", MIGRATION_POST_COPY_ASKED},
                 {"{\"spec\": {\"post_copy\": \"asked\"}}", MIGRATION_POST_COPY_ASKED},
                 {"{\"spec\": {\"post_copy\": \"never\"}}", MIGRATION_POST_COPY_NEVER},
                 {"{\"spec\": {\"post_copy\": \"allowed\"}}", MIGRATION_POST_COPY_ALLOWED}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct object guest = {.kind = OBJECT_GUEST, .value = json_loads(cases[i].json, 0, NULL)};
        assert_int_equal(migration_post_copy(&guest), cases[i].policy);
        json_decref(guest.value);
    }
}

static void record(void **state)
{
    (void)state;
    struct object guest = {.kind = OBJECT_GUEST,
                           .id = (char *)(uintptr_t) "g-id",
                           .name = (char *)(uintptr_t) "web",
                           .value = json_pack("{s:{s:s}}", "spec", "node", "n1")};
    struct migration_goals goals = {.max_downtime_ms = 30, .within_s = 60, .post_copy = true};
    struct object m = {.kind = OBJECT_MIGRATION,
                       .value = migration_make(&guest, "7b0c4f4e-3c55-4f0e-9f3a-2d4c8a1b5e60", "n2", "wrapped", &goals,
                                               "token:alice")};
    assert_non_null(m.value);
    assert_string_equal(object_spec_text(&m, "from"), "n1");
    assert_string_equal(object_spec_text(&m, "to"), "n2");
    assert_string_equal(object_spec_text(&m, "guest"), "web");
    assert_int_equal(migration_goals(&m).max_downtime_ms, 30);
    assert_int_equal(migration_goals(&m).within_s, 60);
    assert_true(migration_goals(&m).post_copy);
    assert_int_equal(migration_phase_of(&m), MIGRATION_WAITING);
    assert_false(migration_has_ended(&m));
    for (int p = 0; p < MIGRATION_PHASE_COUNT; p++) {
        m.state = json_pack("{s:s}", "phase", migration_phase_name((enum migration_phase)p));
        assert_int_equal(migration_phase_of(&m), p);
        assert_int_equal(migration_has_ended(&m), p >= MIGRATION_DONE);
        json_decref(m.state);
    }
    json_decref(m.value);
    json_decref(guest.value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(record),       cmocka_unit_test(without_accidents), cmocka_unit_test(with_accidents),
        cmocka_unit_test(pages_follow), cmocka_unit_test(arrivals),          cmocka_unit_test(policy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
