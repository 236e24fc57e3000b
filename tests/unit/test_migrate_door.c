/* Who is let in at a migration's destination while others stand in front of the door. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "hv/migrate_door.h"
#include "hv/migrate_key.h"
#include "hv/migrate_link.h"
#include "node/base/err.h"

#define PATIENCE_NS UINT64_C(20000000000)
enum { STREAMS = 2, MANY = MIGRATE_DOOR_MAX + 8 };

static struct {
    struct migrate_door door;
    struct migrate_key key;
    int ends[2];
    struct sockaddr_un place;
    socklen_t place_bytes;
} here;

static int begin(void **state)
{
    (void)state;
    struct err err;
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    here.place = (struct sockaddr_un){.sun_family = AF_UNIX};
    here.place_bytes = sizeof here.place;
    assert_int_equal(bind(listener, (struct sockaddr *)&here.place, sizeof here.place.sun_family), 0); /* any name */
    assert_int_equal(getsockname(listener, (struct sockaddr *)&here.place, &here.place_bytes), 0);
    assert_int_equal(listen(listener, 2 * MANY), 0);
    here.ends[0] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    here.ends[1] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return migrate_door_init(&here.door, listener, &err);
}

static int end(void **state)
{
    (void)state;
    migrate_door_fini(&here.door);
    close(here.ends[0]);
    close(here.ends[1]);
    return 0;
}

static int knock(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&here.place, here.place_bytes), 0);
    return fd;
}

/* What a source says first. */
static size_t hello_of(uint8_t *bytes, size_t room)
{
    int fds[2], wake = eventfd(1, EFD_CLOEXEC);
    struct err err;
    struct migrate_link l;
    struct tls_context *tls = migrate_key_client(&here.key, 0, &err);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(migrate_link_open(&l, fds[0], wake, PATIENCE_NS, tls, &err), -ECANCELED);
    ssize_t n = read(fds[1], bytes, room);
    assert_true(n > 0);
    tls_context_free(tls);
    close(fds[1]);
    close(wake);
    return (size_t)n;
}

struct source {
    unsigned stream;
    struct migrate_link link;
    int rc;
};

static void *come(void *context)
{
    struct source *s = context;
    struct err err;
    struct tls_context *tls = migrate_key_client(&here.key, s->stream, &err);
    s->rc = migrate_link_open(&s->link, knock(), -1, PATIENCE_NS, tls, &err);
    tls_context_free(tls);
    return NULL;
}

struct worker {
    int stream;
    struct migrate_link link;
};

static void *answer(void *context)
{
    struct worker *w = context;
    struct err err;
    struct tls_context *tls = migrate_key_server(&here.key, &err);
    int fd = migrate_door_answer(&here.door, here.ends);
    w->stream = -1;
    if (fd >= 0 && !migrate_link_open(&w->link, fd, -1, PATIENCE_NS, tls, &err))
        w->stream = migrate_key_stream(&here.key, migrate_link_peer(&w->link));
    tls_context_free(tls);
    return NULL;
}

/* As many workers as connections, and far more strangers than either: none of the workers is taken by one. */
static void test_strangers(void **state)
{
    (void)state;
    int strangers[MANY];
    pthread_t threads[2 * STREAMS];
    struct worker workers[STREAMS] = {0};
    struct source sources[STREAMS] = {0};
    unsigned seen = 0;
    for (unsigned i = 0; i < MANY; i++)
        strangers[i] = knock();
    assert_int_equal(write(strangers[MANY - 1], "\x16\x03\x01", 3), 3); /* and no more */
    for (unsigned i = 0; i < STREAMS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, answer, &workers[i]), 0);
    for (unsigned i = 0; i < STREAMS; i++) {
        sources[i].stream = i;
        assert_int_equal(pthread_create(&threads[STREAMS + i], NULL, come, &sources[i]), 0);
    }
    for (unsigned i = 0; i < 2 * STREAMS; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < STREAMS; i++) {
        assert_int_equal(sources[i].rc, 0);
        assert_in_range(workers[i].stream, 0, STREAMS - 1);
        seen |= 1u << workers[i].stream;
        migrate_link_close(&workers[i].link);
        migrate_link_close(&sources[i].link);
    }
    assert_int_equal(seen, (1u << STREAMS) - 1);
    for (unsigned i = 0; i < MANY; i++)
        close(strangers[i]);
}

struct slowly {
    int fd;
    uint8_t bytes[8192];
    size_t count;
};

/* Headers are heard in parts. */
static void *say_slowly(void *context)
{
    struct slowly *s = context;
    for (size_t i = 0, n; i < s->count; i += n) {
        n = i < 16 ? 1 : (s->count - i + 1) / 2;
        assert_int_equal(write(s->fd, s->bytes + i, n), n);
        usleep(1000);
    }
    return NULL;
}

static void test_in_parts(void **state)
{
    (void)state;
    struct slowly s = {.fd = knock()};
    uint8_t got[8192];
    pthread_t thread;
    s.count = hello_of(s.bytes, sizeof s.bytes);
    assert_int_equal(pthread_create(&thread, NULL, say_slowly, &s), 0);
    int fd = migrate_door_answer(&here.door, here.ends);
    assert_true(fd >= 0);
    assert_int_equal(recv(fd, got, sizeof got, MSG_DONTWAIT), (ssize_t)s.count); /* all of it, and it is there still */
    assert_memory_equal(got, s.bytes, s.count);
    pthread_join(thread, NULL);
    close(fd);
    close(s.fd);
}

/* Who says something else is turned away at once. */
static void test_nonsense(void **state)
{
    (void)state;
    static const uint8_t said[][10] = {
        "GET / HTTP",
        {22, 3, 1, 0, 5, 2, 0, 0, 1, 0},          /* no ClientHello */
        {22, 3, 1, 0, 5, 1, 0, 0, 2, 0},          /* one that goes on in another record */
        {22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc, 0}, /* one that is far too long */
        {23, 3, 3, 0, 5, 0, 0, 0, 1, 0},
    };
    enum { COUNT = sizeof said / sizeof *said };
    int fds[COUNT], end = knock();
    uint8_t hello[8192], byte;
    for (unsigned i = 0; i < COUNT; i++) {
        fds[i] = knock();
        assert_int_equal(write(fds[i], said[i], sizeof said[i]), sizeof said[i]);
    }
    size_t bytes = hello_of(hello, sizeof hello);
    int last = knock();
    assert_int_equal(write(last, hello, bytes), (ssize_t)bytes);
    int fd = migrate_door_answer(&here.door, here.ends);
    assert_true(fd >= 0);
    for (unsigned i = 0; i < COUNT; i++) {
        assert_true(recv(fds[i], &byte, 1, MSG_DONTWAIT) <= 0 && errno != EAGAIN);
        close(fds[i]);
    }
    assert_int_equal(recv(end, &byte, 1, MSG_DONTWAIT), -1); /* it may say something yet */
    assert_int_equal(errno, EAGAIN);
    close(fd);
    close(end);
    close(last);
}

static void test_ends(void **state)
{
    (void)state;
    uint64_t n;
    for (unsigned i = 0; i < 2; i++) {
        int stranger = knock();
        assert_int_equal(eventfd_write(here.ends[i], 1), 0);
        assert_int_equal(migrate_door_answer(&here.door, here.ends), -1);
        assert_int_equal(read(here.ends[i], &n, sizeof n), sizeof n);
        close(stranger);
    }
    migrate_door_shut(&here.door);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&here.place, here.place_bytes), -1);
    close(fd);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN); /* as a guest does */
    for (unsigned i = 0; i < MIGRATE_KEY_BYTES; i++)
        here.key.bytes[i] = (uint8_t)(i * 5 + 3);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_strangers, begin, end),
        cmocka_unit_test_setup_teardown(test_in_parts, begin, end),
        cmocka_unit_test_setup_teardown(test_nonsense, begin, end),
        cmocka_unit_test_setup_teardown(test_ends, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
