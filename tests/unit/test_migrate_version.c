/* A side of a migration with one of the version before: what is agreed on, and that pages are compressed only where
 * both know how. The other side is played by hand, in a thread. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "hv/memory.h"
#include "hv/migrate_crew.h"
#include "hv/migrate_key.h"
#include "hv/migrate_link.h"
#include "hv/migrate_source.h"
#include "hv/migrate_target.h"
#include "hv/migrate_words.h"
#include "node/base/err.h"
#include "node/base/loop.h"
#include "node/base/tls_context.h"

enum { SIZE = 8 << 20, PAGE = 4096, BANDWIDTH = 64 << 20 };
#define PATIENCE_NS UINT64_C(20000000000)

static const struct migrate_key key = {.bytes = {1, 2, 3}, .there = true};

/* ---- the side that is played ---- */

struct other {
    int fd, wake;
    struct tls_context *context;
    struct migrate_link link;
    uint64_t version;  /* that it speaks, */
    uint64_t welcomed; /* and what the other side says */
    unsigned pages, packed;
    int late;       /* WELCOME: 1: with post-copy, -1: without, and why; 0: nothing of it */
    char text[600]; /* of a FAILED or REFUSED */
    struct err err;
    pthread_t thread;
};

static void words_of(struct other *o, const struct migrate_frame *f)
{
    json_t *words = NULL;
    int rc = migrate_words_get(&o->link, f->bytes, &words, &o->err);
    const char *text = rc ? NULL : json_string_value(json_object_get(words, "text"));
    snprintf(o->text, sizeof o->text, "%s", text ? text : "");
    if (json_object_get(words, "post-copy"))
        o->late = json_is_true(json_object_get(words, "post-copy"))            ? 1
                  : json_is_string(json_object_get(words, "post-copy-reason")) ? -1
                                                                               : 2;
    json_decref(words);
}

static void end_of(struct other *o)
{
    migrate_link_close(&o->link);
    tls_context_free(o->context);
    close(o->wake);
}

/* HELLO, and what a source of version 2 may send; then what comes of it. */
static void *source(void *context)
{
    struct other *o = context;
    struct migrate_frame f;
    uint8_t packed[64] = {1};
    const struct migrate_frame pages = {MIGRATE_PACKED, sizeof packed, 0};
    json_t *hello = json_pack("{s:i, s:b, s:i}", "streams", 1, "post-copy", 1, "oldest", (int)MIGRATE_VERSION_OLDEST);
    int rc = migrate_link_open(&o->link, o->fd, o->wake, PATIENCE_NS, o->context, &o->err);
    rc = rc ? rc : migrate_words_put(&o->link, MIGRATE_HELLO, o->version, hello, &o->err);
    json_decref(hello);
    rc = rc ? rc : migrate_link_get_frame(&o->link, &f, &o->err);
    if (!rc && f.type == MIGRATE_WELCOME)
        o->welcomed = f.number;
    if (!rc)
        words_of(o, &f);
    rc = rc ? rc : migrate_link_put(&o->link, &pages, packed, &o->err);
    rc = rc ? rc : migrate_link_flush(&o->link, &o->err);
    rc = rc ? rc : migrate_link_get_frame(&o->link, &f, &o->err);
    if (!rc && f.type == MIGRATE_FAILED)
        words_of(o, &f);
    return NULL;
}

static int pass_over(struct other *o, uint32_t bytes)
{
    static uint8_t body[MIGRATE_JSON_MAX];
    return migrate_link_get(&o->link, body, bytes, &o->err);
}

/* WELCOME, and pages until the first MARK. */
static void *destination(void *context)
{
    struct other *o = context;
    struct migrate_frame f = {MIGRATE_HELLO, 0, 0};
    json_t *welcome = json_object();
    int rc = migrate_link_open(&o->link, o->fd, o->wake, PATIENCE_NS, o->context, &o->err);
    rc = rc ? rc : migrate_link_get_frame(&o->link, &f, &o->err);
    rc = rc ? rc : pass_over(o, f.bytes);
    rc = rc ? rc : migrate_words_put(&o->link, MIGRATE_WELCOME, o->version, welcome, &o->err);
    json_decref(welcome);
    while (!rc && f.type != MIGRATE_MARK && f.type != MIGRATE_FAILED) {
        rc = migrate_link_get_frame(&o->link, &f, &o->err);
        o->pages += !rc && f.type == MIGRATE_PAGES;
        o->packed += !rc && f.type == MIGRATE_PACKED;
        rc = rc ? rc : pass_over(o, f.bytes);
    }
    migrate_link_close(&o->link);
    return NULL;
}

/* ---- the guest's destination ---- */

static int fits(struct migrate_target_host *host, const json_t *facts, struct err *err)
{
    (void)host, (void)facts, (void)err;
    return 0;
}

static void comes_so_far(struct migrate_target_host *host, enum migrate_target_phase phase)
{
    (void)host, (void)phase;
}

static void does_not_come(struct migrate_target_host *host, enum migrate_target_phase phase, const struct err *why)
{
    (void)host, (void)why;
    assert_int_equal(phase, MIGRATE_TARGET_OVER);
}

static struct other to_destination(uint64_t version)
{
    struct err err;
    struct loop *loop = loop_new(&err);
    struct migrate_crew *crew = migrate_crew_new(loop, MIGRATE_STREAMS_MAX, &err);
    struct memory *memory = memory_new(SIZE, &err);
    struct migrate_target_host host = {.late_fd = -1, .judge = fits, .changed = comes_so_far, .ended = does_not_come};
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    socklen_t bytes = sizeof at;
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof at.sun_family), 0); /* a name of the kernel's */
    assert_int_equal(listen(listener, 4), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &bytes), 0);
    struct migrate_target *target = migrate_target_start(crew, memory, &host, listener, &key, &err);
    assert_non_null(target);
    struct other o = {.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), .version = version};
    assert_int_equal(connect(o.fd, (struct sockaddr *)&at, bytes), 0);
    o.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    o.context = migrate_key_client(&key, 0, &err);
    assert_int_equal(pthread_create(&o.thread, NULL, source, &o), 0);
    while (!migrate_target_is_over(target))
        loop_step(loop);
    pthread_join(o.thread, NULL);
    end_of(&o);
    migrate_target_free(target);
    memory_free(memory);
    migrate_crew_free(crew);
    loop_free(loop);
    return o;
}

static void test_destination(void **state)
{
    (void)state;
    struct other o = to_destination(2);
    assert_int_equal(o.welcomed, 2);
    assert_int_equal(o.late, 0); /* an older one is not even told of it */
    assert_non_null(strstr(o.text, "that are not the 4096 they should be"));
    o = to_destination(3);
    assert_int_equal(o.welcomed, 3);
    assert_int_equal(o.late, -1); /* this destination has no userfaultfd, and says so */
    o = to_destination(4);        /* which speaks 3, too */
    assert_int_equal(o.welcomed, 3);
    o = to_destination(1);
    assert_int_equal(o.welcomed, 0);
}

/* ---- the guest's source ---- */

static json_t *no_facts(struct migrate_source_host *host)
{
    (void)host;
    return json_object();
}

static int nothing_starts(struct migrate_source_host *host, struct err *err)
{
    (void)host, (void)err;
    return 0;
}

static void nothing_stops(struct migrate_source_host *host)
{
    (void)host;
}

static void nothing_is_held(struct migrate_source_host *host, unsigned percent)
{
    (void)host, (void)percent;
}

static void goes_so_far(struct migrate_source_host *host, enum migrate_phase phase)
{
    (void)host, (void)phase;
}

static char failure[600];

static void stays(struct migrate_source_host *host, enum migrate_phase phase, const struct err *why)
{
    (void)host;
    assert_int_equal(phase, MIGRATE_PHASE_BACK);
    strncpy(failure, why->text, sizeof failure - 1);
}

static struct other from_source(uint64_t version)
{
    struct err err;
    int fds[2];
    struct loop *loop = loop_new(&err);
    struct migrate_crew *crew = migrate_crew_new(loop, MIGRATE_STREAMS_MAX, &err);
    struct memory *memory = memory_new(SIZE, &err);
    struct migrate_source_host host = {.facts = no_facts,
                                       .log_start = nothing_starts,
                                       .log_stop = nothing_stops,
                                       .throttle = nothing_is_held,
                                       .changed = goes_so_far,
                                       .ended = stays};
    memset(memory_slot(memory, 0)->host, 7, SIZE);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    struct migrate_request request = {
        .bandwidth = BANDWIDTH, .patience_ns = PATIENCE_NS, .streams = 1, .fds = {fds[0]}, .key = key};
    struct other o = {.fd = fds[1], .version = version, .wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    o.context = migrate_key_server(&key, &err);
    assert_int_equal(pthread_create(&o.thread, NULL, destination, &o), 0);
    struct migrate_source *source = migrate_source_start(crew, memory, &host, &request, &err);
    assert_non_null(source);
    while (!migrate_source_is_over(source))
        loop_step(loop);
    pthread_join(o.thread, NULL);
    end_of(&o);
    migrate_source_free(source);
    memory_free(memory);
    migrate_crew_free(crew);
    loop_free(loop);
    return o;
}

static void test_source(void **state)
{
    (void)state;
    struct other o = {0};
    for (uint64_t version = 2; version <= 3; version++) {
        o = from_source(version); /* on such a link they are compressed soon */
        assert_true(o.packed > 0);
        assert_int_equal(o.pages + o.packed, SIZE / MIGRATE_RUN_BYTES);
    }
    for (uint64_t version = 1; version <= 4; version += 3) {
        o = from_source(version);
        assert_int_equal(o.pages + o.packed, 0);
        assert_non_null(strstr(failure, "which it was not offered"));
    }
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN); /* as a guest does */
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_destination), cmocka_unit_test(test_source)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
