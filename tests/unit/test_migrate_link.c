/* Two ends of a migration's connection: keys, pages from one memory to another, and what a link does when it breaks. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hv/memory.h"
#include "hv/migrate_key.h"
#include "hv/migrate_link.h"
#include "hv/migrate_pages.h"
#include "node/base/err.h"

enum { MIB = 1 << 20, PAGE = 4096, SIZE = 8 * MIB };
#define PATIENCE_NS UINT64_C(20000000000)

struct end {
    int fd, wake;
    struct tls_context *context;
    struct migrate_link link;
    struct err err;
    int rc;
};

struct pair {
    struct migrate_key keys[2];
    struct end client, server;
};

static void *shake(void *context)
{
    struct end *e = context;
    e->rc = migrate_link_open(&e->link, e->fd, e->wake, PATIENCE_NS, e->context, &e->err);
    return NULL;
}

static void open_pair(struct pair *p, unsigned stream)
{
    int fds[2];
    pthread_t thread;
    struct err err;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    p->client = (struct end){.fd = fds[0], .wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    p->server = (struct end){.fd = fds[1], .wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    p->client.context = migrate_key_client(&p->keys[0], stream, &err);
    p->server.context = migrate_key_server(&p->keys[1], &err);
    assert_int_equal(pthread_create(&thread, NULL, shake, &p->server), 0);
    shake(&p->client);
    pthread_join(thread, NULL);
}

static void close_pair(struct pair *p)
{
    struct end *ends[] = {&p->client, &p->server};
    for (unsigned i = 0; i < 2; i++) {
        migrate_link_close(&ends[i]->link);
        tls_context_free(ends[i]->context);
        close(ends[i]->wake);
    }
}

static struct pair same_key(void)
{
    struct pair p = {0};
    for (unsigned i = 0; i < MIGRATE_KEY_BYTES; i++)
        p.keys[0].bytes[i] = p.keys[1].bytes[i] = (uint8_t)(i * 7 + 1);
    return p;
}

static void test_keys(void **state)
{
    (void)state;
    for (unsigned stream = 0; stream < MIGRATE_STREAMS_MAX; stream++) {
        struct pair p = same_key();
        open_pair(&p, stream);
        assert_int_equal(p.client.rc, 0);
        assert_int_equal(p.server.rc, 0);
        assert_int_equal(migrate_key_stream(&p.keys[1], migrate_link_peer(&p.server.link)), (int)stream);
        close_pair(&p);
    }
    struct pair p = same_key();
    p.keys[1].bytes[31] ^= 1;
    open_pair(&p, 0);
    assert_int_equal(p.client.rc, -EACCES);
    assert_int_equal(p.server.rc, -EACCES);
    assert_non_null(strstr(p.client.err.text, "key"));
    assert_int_equal(migrate_key_stream(&p.keys[0], "drover-migration/00/0"), -1);
    assert_int_equal(migrate_key_stream(&p.keys[0], NULL), -1);
    close_pair(&p);
}

static int key_from(const void *bytes, size_t count, struct migrate_key *key, struct err *err)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(write(fds[1], bytes, count), (ssize_t)count);
    close(fds[1]);
    return migrate_key_read(key, fds[0], err);
}

static void test_key_files(void **state)
{
    (void)state;
    const char bytes[40] = "0123456789abcdef0123456789abcdef";
    struct migrate_key key = {.there = false};
    struct err err;
    assert_int_equal(key_from(bytes, 31, &key, &err), -EINVAL);
    assert_int_equal(key_from(bytes, 33, &key, &err), -EINVAL);
    assert_false(key.there);
    assert_int_equal(key_from(bytes, 32, &key, &err), 0);
    assert_true(key.there);
    assert_memory_equal(key.bytes, bytes, 32);
    migrate_key_wipe(&key);
    assert_false(key.there);
}

struct receiving {
    struct pair *pair;
    struct memory *memory;
    unsigned marks;
    int rc;
    struct err err;
};

static void *receive(void *context)
{
    struct receiving *r = context;
    struct migrate_link *l = &r->pair->server.link;
    for (;;) {
        struct migrate_frame f;
        r->rc = migrate_link_get_frame(l, &f, &r->err);
        if (r->rc || f.type == MIGRATE_GO)
            return NULL;
        if (f.type == MIGRATE_MARK)
            r->marks++;
        else
            r->rc = migrate_pages_receive(r->memory, l, &f, 0, 1, &r->err);
        if (r->rc)
            return NULL;
    }
}

static void fill(struct memory *m)
{
    uint8_t *host = memory_slot(m, 0)->host;
    for (unsigned page = 0; page < SIZE / PAGE; page += 1 + page % 5)
        memset(host + (size_t)page * PAGE, (int)(page % 251 + 1), PAGE);
    host[SIZE - 1] = 9;
}

static void test_pages(void **state)
{
    (void)state;
    struct pair p = same_key();
    struct err err;
    struct memory *from = memory_new(SIZE, &err), *to = memory_new(SIZE, &err);
    struct receiving r = {.pair = &p, .memory = to};
    struct migrate_frame mark = {MIGRATE_MARK, 0, 1}, go = {MIGRATE_GO, 0, 0};
    uint64_t *bitmap = calloc(SIZE / PAGE / 64, sizeof *bitmap);
    pthread_t thread;
    open_pair(&p, 0);
    assert_int_equal(p.client.rc, 0);
    fill(from);
    struct migrate_sender s = {.memory = from, .link = &p.client.link, .streams = 1};
    assert_int_equal(pthread_create(&thread, NULL, receive, &r), 0);
    assert_int_equal(migrate_pages_send(&s, NULL, &err), 0);
    assert_int_equal(migrate_link_put(&p.client.link, &mark, NULL, &err), 0);
    uint64_t first = s.pages;
    uint8_t *host = memory_slot(from, 0)->host;
    memset(host, 0, PAGE); /* becomes zero: must be told */
    memset(host + 700 * PAGE, 77, PAGE);
    bitmap[0] |= 1;
    bitmap[700 / 64] |= UINT64_C(1) << 700 % 64;
    assert_int_equal(migrate_pages_send(&s, &bitmap, &err), 0);
    assert_int_equal(s.pages, first + 1);
    assert_int_equal(migrate_link_put(&p.client.link, &go, NULL, &err), 0);
    assert_int_equal(migrate_link_flush(&p.client.link, &err), 0);
    pthread_join(thread, NULL);
    assert_int_equal(r.rc, 0);
    assert_int_equal(r.marks, 1);
    assert_memory_equal(host, memory_slot(to, 0)->host, SIZE);
    close_pair(&p);
    free(bitmap);
    memory_free(from);
    memory_free(to);
}

static int after(struct pair *p, struct memory *m, const struct migrate_frame *f, const void *body, unsigned stream,
                 unsigned streams, struct err *err)
{
    struct migrate_frame got;
    assert_int_equal(migrate_link_put(&p->client.link, f, body, err), 0);
    assert_int_equal(migrate_link_flush(&p->client.link, err), 0);
    assert_int_equal(migrate_link_get_frame(&p->server.link, &got, err), 0);
    return migrate_pages_receive(m, &p->server.link, &got, stream, streams, err);
}

/* Places that are no memory, not whole pages, or another connection's. */
static void test_places(void **state)
{
    (void)state;
    struct pair p = same_key();
    struct err err;
    struct memory *m = memory_new(SIZE, &err);
    uint32_t many = UINT32_MAX, none = 0, one = 1;
    open_pair(&p, 0);
    assert_int_equal(p.client.rc, 0);
    const struct {
        uint64_t gpa;
        const uint32_t *count;
        unsigned stream, streams;
    } bad[] = {
        {SIZE, &one, 0, 1},    {1, &one, 0, 1}, {0, &many, 0, 1}, {0, &none, 0, 1}, {UINT64_MAX - PAGE + 1, &one, 0, 1},
        {2 * MIB, &one, 0, 2}, {0, &one, 1, 2}};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct migrate_frame f = {MIGRATE_ZEROES, 4, bad[i].gpa};
        assert_int_equal(after(&p, m, &f, bad[i].count, bad[i].stream, bad[i].streams, &err), -EPROTO);
    }
    struct migrate_frame good = {MIGRATE_ZEROES, 4, SIZE - PAGE};
    assert_int_equal(after(&p, m, &good, &one, 0, 1, &err), 0);
    close_pair(&p);
    memory_free(m);
}

static void test_breaks(void **state)
{
    (void)state;
    struct err err;
    char byte;
    struct pair p = same_key();
    open_pair(&p, 0);
    assert_int_equal(eventfd_write(p.client.wake, 1), 0);
    assert_int_equal(migrate_link_get(&p.client.link, &byte, 1, &err), -ECANCELED);
    close_pair(&p);
    p = same_key();
    open_pair(&p, 0);
    p.client.link.patience_ns = 1000000;
    assert_int_equal(migrate_link_get(&p.client.link, &byte, 1, &err), -ETIMEDOUT);
    assert_int_not_equal(migrate_link_get(&p.client.link, &byte, 1, &err), 0); /* it sticks */
    shutdown(p.server.fd, SHUT_RDWR);
    assert_int_equal(migrate_link_get(&p.server.link, &byte, 1, &err), -EPIPE);
    close_pair(&p);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN); /* as a guest does */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),   cmocka_unit_test(test_key_files), cmocka_unit_test(test_pages),
        cmocka_unit_test(test_places), cmocka_unit_test(test_breaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
