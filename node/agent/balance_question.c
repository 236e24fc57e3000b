#include "node/agent/balance_question.h"

#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "node/agent/measured.h"
#include "node/agent/member.h"
#include "node/agent/mirror.h"
#include "node/agent/process.h"
#include "node/agent/process_file.h"
#include "node/agent/volume_member.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/loop.h"

struct asking {
    struct balance_place *place;
    struct process process;
    struct loop_timer timer;
    int output;
    bool late;
    void (*done)(void *context, const json_t *answer, const struct err *err);
    void *context;
};

/* ---- the question ---- */

static void add_objects(json_t *objects, const struct mirror *m, enum object_kind kind)
{
    json_t *all = json_object();
    for (const struct object *o = mirror_next(m, kind, NULL); o; o = mirror_next(m, kind, o->name)) {
        json_t *entry = json_pack("{s:O}", "value", o->value);
        if (o->state)
            json_object_set(entry, "state", o->state);
        json_object_set_new(all, o->id, entry);
    }
    json_object_set_new(objects, object_kind_name(kind), all);
}

/* What the mirror has had of them before does not hold any more, and what does nobody knows. */
static void add_unreadable(json_t *objects, const struct mirror *m, enum object_kind kind)
{
    json_t *all = json_object_get(objects, object_kind_name(kind));
    for (const struct object *o = mirror_unreadable(m, kind, NULL); o; o = mirror_unreadable(m, kind, o->id)) {
        const struct object *before = mirror_find(m, kind, o->id);
        json_t *entry = json_pack("{s:b}", "unreadable", 1);
        if (before && before->state)
            json_object_set(entry, "state", before->state);
        json_object_set_new(all, o->id, entry);
    }
}

/* They have no value: they are found by their nodes. */
static void add_loads(json_t *objects, const struct mirror *m, const struct measured *measured)
{
    json_t *all = json_object();
    for (const struct object *o = mirror_next(m, OBJECT_NODE, NULL); o; o = mirror_next(m, OBJECT_NODE, o->name)) {
        const struct object *load = mirror_find(m, OBJECT_LOAD, o->id);
        if (load && load->state)
            json_object_set_new(all, o->id,
                                json_pack("{s:O, s:f}", "state", load->state, "seen", measured_seen(measured, o->id)));
    }
    json_object_set_new(objects, object_kind_name(OBJECT_LOAD), all);
}

/* Likewise: by how the ids of guests begin (balancer/hours.h). */
static void add_hours(json_t *objects, const struct mirror *m)
{
    json_t *all = json_object();
    for (const struct object *o = mirror_next(m, OBJECT_GUEST, NULL); o; o = mirror_next(m, OBJECT_GUEST, o->name)) {
        const char table[] = {o->id[0], o->id[0] ? o->id[1] : 0, 0};
        const struct object *hours = json_object_get(all, table) ? NULL : mirror_find(m, OBJECT_HOURS, table);
        if (hours && hours->state)
            json_object_set_new(all, table, json_pack("{s:O}", "state", hours->state));
    }
    json_object_set_new(objects, object_kind_name(OBJECT_HOURS), all);
}

static void count_at(json_t *members, const char *node)
{
    if (*node)
        json_object_set_new(members, node, json_integer(json_integer_value(json_object_get(members, node)) + 1));
}

/* By the node's name, what of volumes lies there: members, witnesses, and volumes without a layout. */
static void add_members(json_t *objects, const struct mirror *m)
{
    json_t *members = json_object();
    for (const struct object *o = mirror_next(m, OBJECT_MEMBER, NULL); o; o = mirror_next(m, OBJECT_MEMBER, o->name))
        count_at(members, volume_member_node(m, o));
    for (const struct object *o = mirror_next(m, OBJECT_VOLUME, NULL); o; o = mirror_next(m, OBJECT_VOLUME, o->name))
        if (!volume_has_layout(o))
            count_at(members, volume_member_node(m, o));
    json_object_set_new(objects, "members", members);
}

json_t *balance_question(const struct mirror *m, const struct measured *measured, const char *verb)
{
    static const enum object_kind kinds[] = {OBJECT_NODE,  OBJECT_POOL,      OBJECT_IMAGE,
                                             OBJECT_GUEST, OBJECT_MIGRATION, OBJECT_POLICY};
    json_t *objects = json_object();
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        add_objects(objects, m, kinds[i]);
        add_unreadable(objects, m, kinds[i]);
    }
    add_loads(objects, m, measured);
    json_object_set_new(objects, "measured", measured_before(measured));
    add_hours(objects, m);
    add_members(objects, m);
    return json_pack("{s:s, s:o, s:f, s:I}", "verb", verb, "objects", objects, "clock", measured_now(measured), "wall",
                     (json_int_t)time(NULL));
}

/* ---- the answer ---- */

static json_t *read_answer(int fd)
{
    struct stat st;
    json_t *answer = NULL;
    if (fstat(fd, &st) || st.st_size <= 0 || st.st_size > BALANCE_ANSWER_MAX)
        return NULL;
    char *text = malloc((size_t)st.st_size);
    if (text && pread(fd, text, (size_t)st.st_size, 0) == st.st_size)
        answer = json_loadb(text, (size_t)st.st_size, JSON_REJECT_DUPLICATES, NULL);
    free(text);
    return answer;
}

static void ended(struct process *process, int status)
{
    struct asking *a = CONTAINER_OF(process, struct asking, process);
    char how[64], words[256];
    struct err err = {0};
    json_t *answer = status ? NULL : read_answer(a->output);
    loop_timer_clear(process->loop, &a->timer);
    if (!answer && a->late)
        err_set(&err, ETIMEDOUT, "there was no answer within %d s: ask for less, with a smaller budget or no reasons",
                BALANCE_ANSWER_S);
    else if (!answer)
        err_set(&err, EIO, "drover-balancer %s without an answer: %s", process_describe(status, how, sizeof how),
                process_file_last_words(a->output, words, sizeof words));
    a->done(a->context, answer, &err);
    json_decref(answer);
    a->place->under_way--;
    close(a->output);
    free(a);
}

static void too_late(struct loop_timer *timer)
{
    struct asking *a = CONTAINER_OF(timer, struct asking, timer);
    a->late = true;
    process_signal(&a->process, SIGKILL);
}

int balance_ask(struct balance_place *place, json_t *question,
                void (*done)(void *context, const json_t *answer, const struct err *err), void *context,
                struct err *err)
{
    static const char *const argv[] = {"drover-balancer", "answer", "--question", "3", NULL};
    /* a policy can be set whoever asks what else */
    bool policy = !strcmp(member_text(question, "verb"), "policy");
    bool many = place->under_way >= BALANCE_QUESTIONS_MAX + (policy ? 1u : 0u);
    struct asking *a = many ? NULL : calloc(1, sizeof *a);
    int fd = a      ? process_file_json(question, err)
             : many ? err_set(err, EAGAIN, "%u such questions are being answered already", place->under_way)
                    : err_set(err, ENOMEM, "out of memory");
    int output = fd < 0 ? fd : process_file_output(err);
    json_decref(question);
    int rc = output < 0 ? output : 0;
    if (!rc) {
        struct process_start s = {.program = place->program,
                                  .argv = (char *const *)(uintptr_t)argv,
                                  .fds = &fd,
                                  .fd_count = 1,
                                  .output = output};
        *a =
            (struct asking){.place = place, .output = output, .done = done, .context = context, .timer.fire = too_late};
        process_init(&a->process, place->loop, ended);
        rc = process_start(&a->process, &s, err);
    }
    if (fd >= 0)
        close(fd);
    if (!rc) {
        place->under_way++;
        loop_timer_set(place->loop, &a->timer, clock_ns() + BALANCE_ANSWER_S * UINT64_C(1000000000));
        return 0;
    }
    if (output >= 0)
        close(output);
    free(a);
    return rc;
}
