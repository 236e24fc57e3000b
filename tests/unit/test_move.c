/* The driver "move": everything arrives while others write, the old place counts until it is settled, the new one from
 * then on, and whichever fails at which time, what was acknowledged is where it is said to be. */
#include "tests/unit/fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nbd/blk_driver.h"
#include "nbd/move.h"
#include "node/base/clock.h"
#include "node/base/err.h"

enum { MIB = 1 << 20, SIZE = 8 * MIB, BLOCK = 4096, FLIGHT = 16 };

static char old_file[256], new_file[256];
static uint8_t *model; /* what is acknowledged */

static void fill(const char *path)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    fixture_pattern(model, 0, SIZE, 1);
    memset(model + 3 * MIB, 0, 2 * MIB); /* a hole, where the new place has garbage */
    assert_int_equal(pwrite(fd, model, SIZE, 0), SIZE);
    close(fd);
}

static void spoil(const char *path)
{
    char *garbage = malloc(SIZE);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    memset(garbage, 0xee, SIZE);
    assert_int_equal(pwrite(fd, garbage, SIZE, 0), SIZE);
    close(fd);
    free(garbage);
}

static void assert_holds(const char *path)
{
    uint8_t *is = malloc(SIZE);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(pread(fd, is, SIZE, 0), SIZE);
    close(fd);
    for (size_t i = 0; i < SIZE; i += BLOCK)
        if (memcmp(is + i, model + i, BLOCK) != 0)
            fail_msg("%s differs at %zu", path, i);
    free(is);
}

/* ---- a layer that shows flushes, holds them and reads, or fails a few: a server that lost what it had not made
 * durable fails one, and no later one; and that shows what it is told ---- */

enum place { OLD, NEW, PLACES };

static struct probe {
    unsigned flushes; /* that came here */
    unsigned fails;   /* the next ones */
    bool holds, holds_reads;
    unsigned abandoned, patient; /* told so, times */
    struct blk_req_list held;
} probes[PLACES];

struct probe_config {
    uint64_t place;
};

static int probe_open(struct blk *blk, const void *config, struct err *err)
{
    (void)err;
    *(struct probe **)blk_state(blk) = &probes[((const struct probe_config *)config)->place];
    return 0;
}

static void probe_close(struct blk *blk)
{
    (void)blk;
}

static void probe_submit(struct blk *blk, struct blk_req *req)
{
    struct probe *p = *(struct probe **)blk_state(blk);
    p->flushes += req->op == BLK_FLUSH;
    if (req->op == BLK_FLUSH && p->fails) {
        p->fails--;
        blk_complete(req, -EIO);
    } else if ((req->op == BLK_FLUSH && p->holds) || (req->op == BLK_READ && p->holds_reads)) {
        STAILQ_INSERT_TAIL(&p->held, req, link);
    } else {
        blk_forward(blk, req);
    }
}

static void probe_release(struct probe *p)
{
    struct blk_req *req;
    p->holds = p->holds_reads = false;
    while ((req = STAILQ_FIRST(&p->held))) {
        STAILQ_REMOVE_HEAD(&p->held, link);
        blk_forward(req->blk, req);
    }
}

static void probe_abandon(struct blk *blk)
{
    struct probe *p = *(struct probe **)blk_state(blk);
    struct blk_req *req;
    p->abandoned++;
    while ((req = STAILQ_FIRST(&p->held))) {
        STAILQ_REMOVE_HEAD(&p->held, link);
        blk_complete(req, -EIO);
    }
}

static void probe_make_patient(struct blk *blk)
{
    (*(struct probe **)blk_state(blk))->patient++;
}

static const struct blk_option probe_options[] = {
    {.name = "place", .type = BLK_OPTION_UINT, .field = offsetof(struct probe_config, place), .max = PLACES - 1},
    {.name = NULL},
};

static const struct blk_driver probe_driver = {
    .name = "probe",
    .filter = true,
    .options = probe_options,
    .config_bytes = sizeof(struct probe_config),
    .state_bytes = sizeof(struct probe *),
    .open = probe_open,
    .close = probe_close,
    .submit = probe_submit,
    .abandon = probe_abandon,
    .make_patient = probe_make_patient,
};

static int setup(void **state)
{
    for (int i = 0; i < PLACES; i++) {
        probes[i] = (struct probe){0};
        STAILQ_INIT(&probes[i].held);
    }
    model = malloc(SIZE);
    return fixture_setup(state);
}

static int teardown(void **state)
{
    for (int i = 0; i < PLACES; i++)
        probe_release(&probes[i]);
    free(model);
    return fixture_teardown(state);
}

/* rules: of a fault layer in front of the new place; old_rules: of the old one. */
static struct blk *open_as(struct fixture *f, const char *options, const char *rules, const char *old_rules,
                           uint32_t flags)
{
    char stack[2048];
    snprintf(old_file, sizeof old_file, "%s", fixture_file(f, SIZE));
    snprintf(new_file, sizeof new_file, "%s", fixture_file(f, SIZE));
    fill(old_file);
    spoil(new_file);
    snprintf(stack, sizeof stack,
             "[{\"driver\":\"move\"%s,\"to\":[{\"driver\":\"probe\",\"place\":1},{\"driver\":\"fault\",\"seed\":1,"
             "\"rules\":%s},{\"driver\":\"raw\",\"file\":\"%s\"}]},"
             "{\"driver\":\"probe\",\"place\":0},{\"driver\":\"fault\",\"seed\":1,\"rules\":%s},{\"driver\":\"raw\","
             "\"file\":\"%s\"}]",
             options, rules, new_file, old_rules, old_file);
    fixture_open(f, stack, flags);
    return move_in(f->blk);
}

static struct blk *open_move(struct fixture *f, const char *options, const char *rules, const char *old_rules)
{
    return open_as(f, options, rules, old_rules, 0);
}

static enum move_phase phase(const struct blk *move)
{
    struct move_status s;
    move_status(move, &s);
    return s.phase;
}

static void wait_for(struct fixture *f, const struct blk *move, enum move_phase wanted)
{
    while (phase(move) != wanted)
        loop_step(f->env.loop);
}

static int put(struct fixture *f, uint64_t offset, uint64_t length_bytes, uint32_t seed)
{
    uint8_t *data = malloc(length_bytes);
    fixture_pattern(data, offset, length_bytes, seed);
    int rc = fixture_io(f, BLK_WRITE, 0, offset, data, length_bytes);
    if (!rc)
        memcpy(model + offset, data, length_bytes);
    free(data);
    return rc;
}

static void everything_arrives(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct blk *move = open_move(f, ",\"exact\":true", "[]", "[]");
    assert_int_equal(move_end(move, true, &err), -EINVAL);
    wait_for(f, move, MOVE_SYNCED);
    assert_holds(new_file);
    assert_int_equal(put(f, MIB + BLOCK, 5 * BLOCK, 2), 0);
    assert_int_equal(fixture_io(f, BLK_ZERO, 0, 7 * MIB, NULL, BLOCK), 0);
    memset(model + 7 * MIB, 0, BLOCK);
    assert_int_equal(fixture_io(f, BLK_FLUSH, 0, 0, NULL, 0), 0);
    assert_holds(new_file);
    assert_holds(old_file);
    assert_int_equal(move_settle(move, &err), 0);
    assert_int_equal(put(f, 0, 3 * MIB, 3), 0);
    assert_holds(new_file);
    assert_holds(old_file);
    assert_int_equal(move_end(move, true, &err), 0);
    assert_int_equal(put(f, 4 * MIB, BLOCK, 4), 0);
    assert_holds(new_file);
    uint8_t data[BLOCK];
    assert_int_equal(fixture_io(f, BLK_READ, 0, 4 * MIB, data, BLOCK), 0);
    assert_memory_equal(data, model + 4 * MIB, BLOCK);
    assert_int_equal(move_end(move, false, &err), -EINVAL);
}

/* The last flush is not to have all of a large disk to do, and each of them may take its time. */
static void is_flushed_on_the_way(void **state)
{
    struct fixture *f = *state;
    char stack[1024];
    snprintf(old_file, sizeof old_file, "%s", fixture_file(f, 160 * MIB));
    snprintf(new_file, sizeof new_file, "%s", fixture_file(f, 160 * MIB));
    snprintf(stack, sizeof stack,
             "[{\"driver\":\"move\",\"to\":[{\"driver\":\"probe\",\"place\":1},{\"driver\":\"raw\",\"file\":\"%s\"}]},"
             "{\"driver\":\"raw\",\"file\":\"%s\"}]",
             new_file, old_file);
    probes[NEW].holds = true;
    fixture_open(f, stack, 0);
    struct blk *move = move_in(f->blk);
    uint64_t end_ns = clock_ns() + 3 * UINT64_C(1000000000); /* longer than a change is waited for */
    while (clock_ns() < end_ns)
        loop_step(f->env.loop);
    assert_int_equal(phase(move), MOVE_COPYING);
    assert_int_equal(probes[NEW].flushes, 1);
    assert_int_equal(probes[NEW].abandoned, 0);
    probe_release(&probes[NEW]);
    wait_for(f, move, MOVE_SYNCED);
    assert_int_equal(probes[NEW].flushes, 10);
}

/* ---- while others write ---- */

struct writer {
    struct blk_req req;
    struct iovec iov;
    uint8_t data[16 * BLOCK];
    bool busy;
};

static uint32_t dice(uint32_t *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 8;
}

static void written(struct blk_req *req)
{
    struct writer *w = (struct writer *)(void *)req; /* its first member */
    assert_int_equal(req->result, 0);
    if (req->op == BLK_WRITE)
        memcpy(model + req->offset, w->data, req->length_bytes);
    else
        memset(model + req->offset, 0, req->length_bytes);
    memset(w->data, 0x11, sizeof w->data); /* nobody looks at it any more */
    w->busy = false;
}

static void was_read(struct blk_req *req)
{
    ((struct writer *)(void *)req)->busy = false; /* its first member */
}

static bool is_free(const struct writer *all, uint64_t offset, uint64_t length_bytes)
{
    for (int i = 0; i < FLIGHT; i++)
        if (all[i].busy && all[i].req.offset < offset + length_bytes &&
            offset < all[i].req.offset + all[i].req.length_bytes)
            return false;
    return true;
}

static void write_some(struct fixture *f, struct writer *all, uint32_t *seed)
{
    for (int i = 0; i < FLIGHT; i++) {
        struct writer *w = &all[i];
        uint64_t length_bytes = (1 + dice(seed) % 16) * BLOCK;
        uint64_t offset = dice(seed) % ((SIZE - sizeof w->data) / BLOCK) * BLOCK;
        if (w->busy || !is_free(all, offset, length_bytes))
            continue;
        fixture_pattern(w->data, offset, length_bytes, dice(seed));
        w->iov = (struct iovec){w->data, length_bytes};
        w->busy = true;
        w->req = (struct blk_req){.op = dice(seed) % 8 ? BLK_WRITE : BLK_ZERO,
                                  .offset = offset,
                                  .length_bytes = length_bytes,
                                  .iov = &w->iov,
                                  .iov_count = 1,
                                  .done = written};
        if (w->req.op == BLK_ZERO) {
            w->req.iov = NULL;
            w->req.iov_count = 0;
        }
        blk_submit(f->blk, &w->req);
    }
}

static void land(struct fixture *f, struct writer *all)
{
    for (int i = 0; i < FLIGHT; i++)
        while (all[i].busy)
            loop_step(f->env.loop);
}

static void arrives_while_written(void **state)
{
    struct fixture *f = *state;
    struct err err;
    uint32_t seed = 42;
    struct writer *all = calloc(FLIGHT, sizeof *all);
    struct blk *move = open_move(f, ",\"rate\":\"40M\"", "[]", "[]");
    unsigned turns = 0;
    while (phase(move) == MOVE_COPYING || turns++ < 200) {
        write_some(f, all, &seed);
        loop_step(f->env.loop);
    }
    assert_int_equal(move_settle(move, &err), 0);
    write_some(f, all, &seed);
    land(f, all);
    assert_holds(new_file);
    assert_holds(old_file);
    free(all);
}

/* ---- what fails ---- */

static void stays_when_the_new_place_fails(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct move_status s;
    struct blk *move = open_move(f, "", "[{\"op\":\"write\",\"after\":3,\"error\":\"EIO\"}]", "[]");
    wait_for(f, move, MOVE_HERE);
    move_status(move, &s);
    assert_non_null(strstr(s.reason, "new place"));
    assert_int_equal(put(f, 0, 4 * BLOCK, 9), 0);
    assert_int_equal(put(f, SIZE - BLOCK, BLOCK, 9), 0);
    assert_holds(old_file);
    assert_int_equal(move_settle(move, &err), -EIO);
}

static void a_change_that_only_the_old_place_has_counts_until_it_is_settled(void **state)
{
    struct fixture *f = *state;
    struct blk *move =
        open_move(f, "", "[{\"op\":\"write\",\"offset\":0,\"length\":4096,\"after\":1,\"error\":\"EIO\"}]", "[]");
    wait_for(f, move, MOVE_SYNCED);
    assert_int_equal(put(f, 0, BLOCK, 5), 0);
    assert_int_equal(phase(move), MOVE_HERE);
    assert_holds(old_file);
}

static void a_flush_that_the_new_place_fails_gives_it_up(void **state)
{
    struct fixture *f = *state;
    struct blk *move = open_move(f, "", "[{\"op\":\"flush\",\"error\":\"EIO\"}]", "[]");
    wait_for(f, move, MOVE_HERE);
    assert_int_equal(fixture_io(f, BLK_FLUSH, 0, 0, NULL, 0), 0);
    assert_holds(old_file);
}

static void begin_write(struct fixture *f, struct writer *w, uint64_t offset)
{
    fixture_pattern(w->data, offset, BLOCK, 77);
    w->iov = (struct iovec){w->data, BLOCK};
    w->busy = true;
    w->req = (struct blk_req){
        .op = BLK_WRITE, .offset = offset, .length_bytes = BLOCK, .iov = &w->iov, .iov_count = 1, .done = written};
    blk_submit(f->blk, &w->req);
}

static struct blk *settled_and_waiting(struct fixture *f, struct writer *w, const char *rules, const char *old_rules)
{
    struct err err;
    struct move_status s;
    struct blk *move = open_move(f, "", rules, old_rules);
    wait_for(f, move, MOVE_SYNCED);
    assert_int_equal(move_settle(move, &err), 0);
    begin_write(f, w, 0);
    do {
        loop_step(f->env.loop);
        move_status(move, &s);
    } while (!s.waits);
    assert_true(w->busy);
    return move;
}

static void settled_it_waits_for_the_decision_to_stay(void **state)
{
    struct writer *w = calloc(1, sizeof *w);
    struct err err;
    struct blk *move = settled_and_waiting(
        *state, w, "[{\"op\":\"write\",\"offset\":0,\"length\":4096,\"after\":1,\"error\":\"EIO\"}]", "[]");
    assert_int_equal(move_end(move, false, &err), 0);
    while (w->busy)
        loop_step(((struct fixture *)*state)->env.loop);
    assert_holds(old_file);
    free(w);
}

static void settled_it_is_tried_again(void **state)
{
    struct writer *w = calloc(1, sizeof *w);
    struct err err;
    struct fixture *f = *state;
    struct blk *move = settled_and_waiting(
        f, w, "[{\"op\":\"write\",\"offset\":0,\"length\":4096,\"after\":1,\"count\":2,\"error\":\"EIO\"}]", "[]");
    assert_int_equal(move_end(move, true, &err), 0);
    while (w->busy)
        loop_step(f->env.loop);
    assert_holds(new_file);
    free(w);
}

static void nothing_is_expected_of_the_old_place_once_it_is_left(void **state)
{
    struct writer *w = calloc(1, sizeof *w);
    struct err err;
    struct fixture *f = *state;
    struct blk *move = settled_and_waiting(f, w, "[]", "[{\"op\":\"write\",\"error\":\"EIO\"}]");
    assert_int_equal(move_end(move, true, &err), 0);
    while (w->busy)
        loop_step(f->env.loop);
    assert_int_equal(put(f, BLOCK, BLOCK, 6), 0);
    assert_holds(new_file);
    free(w);
}

static void begins_settled(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct blk *move = open_move(f, ",\"copied\":true", "[]", "[]");
    assert_int_equal(phase(move), MOVE_SETTLED);
    memset(model, 0xee, SIZE); /* reads are the new place's, and nothing is copied */
    assert_holds(new_file);
    assert_int_equal(put(f, BLOCK, BLOCK, 6), 0);
    assert_int_equal(move_end(move, true, &err), 0);
    assert_holds(new_file);
}

/* ---- flushes ---- */

struct asked {
    struct blk_req req;
    bool busy;
};

static void answered(struct blk_req *req)
{
    ((struct asked *)(void *)req)->busy = false; /* its first member */
}

static void begin_flush(struct fixture *f, struct asked *a)
{
    *a = (struct asked){.req = {.op = BLK_FLUSH, .done = answered}, .busy = true};
    blk_submit(f->blk, &a->req);
}

static int end_flush(struct fixture *f, const struct asked *a)
{
    while (a->busy)
        loop_step(f->env.loop);
    return a->req.result;
}

/* The one that ends the copying is under way already when the change comes. */
static void a_flush_after_the_last_change_reaches_both(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct asked flush;
    probes[NEW].holds = true;
    struct blk *move = open_move(f, "", "[]", "[]");
    while (!probes[NEW].flushes)
        loop_step(f->env.loop);
    assert_int_equal(phase(move), MOVE_COPYING);
    assert_int_equal(put(f, BLOCK, BLOCK, 6), 0);
    begin_flush(f, &flush);
    while (flush.busy && probes[NEW].flushes < 2)
        loop_step(f->env.loop);
    assert_int_equal(probes[NEW].flushes, 2);
    probe_release(&probes[NEW]);
    assert_int_equal(end_flush(f, &flush), 0);
    wait_for(f, move, MOVE_SYNCED);
    assert_int_equal(move_settle(move, &err), 0);
}

static struct blk *flush_fails(struct fixture *f, enum place place, struct asked *flush)
{
    struct err err;
    struct move_status s;
    struct blk *move = open_move(f, "", "[]", "[]");
    wait_for(f, move, MOVE_SYNCED);
    assert_int_equal(move_settle(move, &err), 0);
    assert_int_equal(put(f, BLOCK, BLOCK, 6), 0);
    probes[place].fails = 1;
    begin_flush(f, flush);
    do {
        loop_step(f->env.loop);
        move_status(move, &s);
    } while (flush->busy && !s.waits);
    unsigned flushes = probes[place].flushes;
    for (int i = 0; i < 4; i++)
        loop_step(f->env.loop); /* the clock's */
    move_status(move, &s);
    assert_true(flush->busy && s.waits);
    assert_int_equal(probes[place].flushes, flushes);
    return move;
}

static void a_flush_that_failed_fails_where_it_counts(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct asked flush;
    struct blk *move = flush_fails(f, NEW, &flush);
    assert_int_equal(move_end(move, true, &err), 0);
    assert_int_equal(end_flush(f, &flush), -EIO);
    begin_flush(f, &flush);
    assert_int_equal(end_flush(f, &flush), -EIO);
    assert_int_equal(fixture_io(f, BLK_ZERO, BLK_FUA, 0, NULL, BLOCK), -EIO);
    assert_int_equal(put(f, BLOCK, BLOCK, 7), 0);
}

static void a_flush_that_the_old_place_failed_fails_if_that_counts(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct asked flush;
    struct blk *move = flush_fails(f, OLD, &flush);
    assert_int_equal(move_end(move, false, &err), 0);
    assert_int_equal(end_flush(f, &flush), -EIO);
}

static void a_flush_that_failed_where_it_does_not_count_is_none(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct asked flush;
    struct blk *move = flush_fails(f, OLD, &flush);
    assert_int_equal(move_end(move, true, &err), 0);
    assert_int_equal(end_flush(f, &flush), 0);
    begin_flush(f, &flush);
    assert_int_equal(end_flush(f, &flush), 0);
}

static void a_flush_that_fails_after_the_decision_is_not_tried_again(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct asked flush;
    struct blk *move = open_move(f, ",\"copied\":true", "[]", "[]");
    assert_int_equal(move_end(move, true, &err), 0);
    probes[NEW].fails = 1;
    begin_flush(f, &flush);
    assert_int_equal(end_flush(f, &flush), -EIO);
}

/* ---- places that do not answer ---- */

static void begin_read(struct fixture *f, struct writer *w)
{
    w->iov = (struct iovec){w->data, BLOCK};
    w->busy = true;
    w->req = (struct blk_req){.op = BLK_READ, .length_bytes = BLOCK, .iov = &w->iov, .iov_count = 1, .done = was_read};
    blk_submit(f->blk, &w->req);
}

static void turn(struct fixture *f, const bool *while_true, int times)
{
    for (int i = 0; *while_true && i < times; i++)
        loop_step(f->env.loop); /* the clock's, if nothing else happens */
}

static void settled_a_read_that_is_not_answered_is_the_old_places(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct move_status s;
    struct writer *w = calloc(1, sizeof *w);
    struct blk *move = open_move(f, "", "[]", "[]");
    wait_for(f, move, MOVE_SYNCED);
    assert_int_equal(move_settle(move, &err), 0);
    move_status(move, &s);
    assert_false(s.waits);
    probes[NEW].holds_reads = true;
    begin_read(f, w);
    turn(f, &w->busy, 100);
    move_status(move, &s);
    assert_true(s.waits); /* nobody is to decide for that place */
    assert_false(w->busy);
    assert_int_equal(w->req.result, 0);
    assert_memory_equal(w->data, model, BLOCK);
    assert_int_equal(move_end(move, false, &err), 0);
    free(w);
}

static void a_read_of_the_old_place_outlives_it(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct writer *w = calloc(1, sizeof *w);
    struct blk *move = open_move(f, "", "[]", "[]");
    wait_for(f, move, MOVE_SYNCED);
    probes[OLD].holds_reads = true;
    begin_read(f, w);
    assert_int_equal(move_settle(move, &err), 0);
    assert_int_equal(move_end(move, true, &err), 0);
    while (w->busy)
        loop_step(f->env.loop);
    assert_int_equal(w->req.result, 0);
    assert_memory_equal(w->data, model, BLOCK);
    free(w);
}

static void a_guest_waits_for_the_new_place_once_it_is_there(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct move_status s;
    struct asked flush;
    struct writer *w = calloc(1, sizeof *w);
    struct blk *move = open_as(f, "", "[]", "[]", BLK_OPEN_PATIENT);
    wait_for(f, move, MOVE_SYNCED);
    assert_int_equal(move_settle(move, &err), 0);
    assert_int_equal(move_end(move, true, &err), 0);
    assert_int_equal(probes[NEW].patient, 1);
    assert_int_equal(probes[OLD].patient, 0);
    probes[NEW].holds = probes[NEW].holds_reads = true;
    begin_read(f, w);
    begin_flush(f, &flush);
    do {
        loop_step(f->env.loop);
        move_status(move, &s);
    } while (!s.waits); /* whoever flushes the disk is not kept */
    turn(f, &w->busy, 4);
    assert_int_equal(probes[NEW].abandoned, 0);
    assert_true(w->busy && flush.busy);
    probe_release(&probes[NEW]);
    assert_int_equal(end_flush(f, &flush), 0);
    while (w->busy)
        loop_step(f->env.loop);
    assert_int_equal(w->req.result, 0);
    free(w);
}

/* A bare guest's waits for the decision; whoever has it from elsewhere is told. */
static void a_read_that_neither_place_answers_waits(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct move_status s;
    struct writer *w = calloc(1, sizeof *w);
    const char *old_fails =
        "[{\"op\":\"read\",\"offset\":0,\"length\":4096,\"after\":1,\"count\":1,\"error\":\"EIO\"}]";
    struct blk *move = open_as(f, "", "[{\"op\":\"read\",\"error\":\"EIO\"}]", old_fails, BLK_OPEN_PATIENT);
    wait_for(f, move, MOVE_SYNCED);
    assert_int_equal(move_settle(move, &err), 0);
    begin_read(f, w);
    turn(f, &w->busy, 100);
    assert_int_equal(w->req.result, 0); /* at the second try */
    move_status(move, &s);
    assert_true(s.waits);
    free(w);
}

static void sizes_must_fit(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    struct blk *blk = NULL;
    assert_int_equal(blk_open(&f->env,
                              "[{\"driver\":\"move\",\"exact\":true,\"to\":\"mem:2M\"},{\"driver\":\"mem\",\"size\":"
                              "\"1M\"}]",
                              0, &blk, &err),
                     -EINVAL);
    assert_non_null(strstr(err.text, "the new place has 2097152 bytes"));
    fixture_open(f, "[{\"driver\":\"move\",\"to\":\"mem:2M\"},{\"driver\":\"mem\",\"size\":\"1M\"}]", 0);
    assert_int_equal(blk_size(f->blk), MIB);
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(everything_arrives),
        WITH_FIXTURE(is_flushed_on_the_way),
        WITH_FIXTURE(arrives_while_written),
        WITH_FIXTURE(stays_when_the_new_place_fails),
        WITH_FIXTURE(a_change_that_only_the_old_place_has_counts_until_it_is_settled),
        WITH_FIXTURE(a_flush_that_the_new_place_fails_gives_it_up),
        WITH_FIXTURE(settled_it_waits_for_the_decision_to_stay),
        WITH_FIXTURE(settled_it_is_tried_again),
        WITH_FIXTURE(nothing_is_expected_of_the_old_place_once_it_is_left),
        WITH_FIXTURE(begins_settled),
        WITH_FIXTURE(a_flush_after_the_last_change_reaches_both),
        WITH_FIXTURE(a_flush_that_failed_fails_where_it_counts),
        WITH_FIXTURE(a_flush_that_the_old_place_failed_fails_if_that_counts),
        WITH_FIXTURE(a_flush_that_failed_where_it_does_not_count_is_none),
        WITH_FIXTURE(a_flush_that_fails_after_the_decision_is_not_tried_again),
        WITH_FIXTURE(settled_a_read_that_is_not_answered_is_the_old_places),
        WITH_FIXTURE(a_read_of_the_old_place_outlives_it),
        WITH_FIXTURE(a_guest_waits_for_the_new_place_once_it_is_there),
        WITH_FIXTURE(a_read_that_neither_place_answers_waits),
        WITH_FIXTURE(sizes_must_fit),
    };
    blk_driver_register(&probe_driver);
    return cmocka_run_group_tests_name("move", tests, NULL, NULL);
}
