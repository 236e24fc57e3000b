/* Two ends of a migration's connection: keys, pages from one memory to another, and what a link does when it breaks. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <endian.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zstd.h>

#include "hv/memory.h"
#include "hv/migrate_key.h"
#include "hv/migrate_link.h"
#include "hv/migrate_pack.h"
#include "hv/migrate_pages.h"
#include "hv/migrate_sums.h"
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
    struct migrate_receiver receiver;
    unsigned marks;
    int rc;
    struct err err;
};

static void *receive(void *context)
{
    struct receiving *r = context;
    struct migrate_link *l = r->receiver.link;
    for (;;) {
        struct migrate_frame f;
        r->rc = migrate_link_get_frame(l, &f, &r->err);
        if (r->rc || f.type == MIGRATE_GO)
            return NULL;
        if (f.type == MIGRATE_MARK)
            r->marks++;
        else
            r->rc = migrate_pages_receive(&r->receiver, &f, &r->err);
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
    struct receiving r = {.receiver = {.memory = to, .link = &p.server.link, .streams = 1}};
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
    struct migrate_receiver r = {.memory = m, .link = &p->server.link, .stream = stream, .streams = streams};
    return migrate_pages_receive(&r, &got, err);
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

/* That was all: what the other side has is what is there. */
static void arrives(struct pair *p, pthread_t thread, const struct receiving *r, const uint8_t *host)
{
    struct migrate_frame go = {MIGRATE_GO, 0, 0};
    struct err err;
    assert_int_equal(migrate_link_put(&p->client.link, &go, NULL, &err), 0);
    assert_int_equal(migrate_link_flush(&p->client.link, &err), 0);
    pthread_join(thread, NULL);
    assert_int_equal(r->rc, 0);
    assert_memory_equal(host, memory_slot(r->receiver.memory, 0)->host, SIZE);
}

/* Text-like pages and pages of noise, all of which are tried: what arrives is the same, in fewer bytes. */
static void test_packed(void **state)
{
    (void)state;
    struct pair p = same_key();
    struct err err;
    struct memory *from = memory_new(SIZE, &err), *to = memory_new(SIZE, &err);
    struct receiving r = {.receiver = {.memory = to, .link = &p.server.link, .streams = 1}};
    pthread_t thread;
    open_pair(&p, 0);
    assert_int_equal(p.client.rc, 0);
    uint8_t *host = memory_slot(from, 0)->host;
    uint32_t x = 1;
    for (size_t i = 0; i < SIZE; i++) {
        x = x * 1664525 + 1013904223;
        host[i] = i < SIZE / 2 ? (uint8_t)("the guest's own words "[i % 22] + (x >> 28 == 0)) : (uint8_t)(x >> 24);
    }
    struct migrate_sender s = {.memory = from, .link = &p.client.link, .streams = 1};
    _Atomic uint64_t wire_bytes = 0;
    s.pack = migrate_pack_new(&err);
    s.wire_bytes = &wire_bytes;
    s.pays.packs = true;
    s.pays.link_ns = 1e9; /* a link on which everything pays */
    r.receiver.pack = migrate_pack_new(&err);
    assert_int_equal(pthread_create(&thread, NULL, receive, &r), 0);
    assert_int_equal(migrate_pages_send(&s, NULL, &err), 0);
    arrives(&p, thread, &r, host);
    assert_int_equal(s.pages, SIZE / PAGE);
    assert_true(s.saved_bytes > SIZE / 4);
    assert_true(p.client.link.sent_bytes + s.saved_bytes >= SIZE);
    assert_true(p.client.link.sent_bytes + s.saved_bytes < SIZE + PAGE * 8);
    migrate_pack_free(s.pack);
    migrate_pack_free(r.receiver.pack);
    close_pair(&p);
    memory_free(from);
    memory_free(to);
}

/* What is marked but the same as when it was sent stays; what has changed goes, also back to what it was before. */
static void test_unchanged(void **state)
{
    (void)state;
    struct pair p = same_key();
    struct err err;
    struct memory *from = memory_new(SIZE, &err), *to = memory_new(SIZE, &err);
    struct receiving r = {.receiver = {.memory = to, .link = &p.server.link, .streams = 1}};
    uint64_t *bitmaps[MEMORY_SLOT_MAX];
    uint8_t *host = memory_slot(from, 0)->host;
    pthread_t thread;
    open_pair(&p, 0);
    assert_int_equal(p.client.rc, 0);
    for (size_t page = 0; page < 40; page++)
        memset(host + page * PAGE, page % 2 ? (int)page + 1 : 0, PAGE); /* each second one is zero */
    for (unsigned i = 0; i < memory_slot_count(from); i++) {
        size_t words = (memory_slot(from, i)->bytes / PAGE + 63) / 64;
        bitmaps[i] = calloc(words, sizeof **bitmaps);
    }
    struct migrate_sender s = {.memory = from, .link = &p.client.link, .streams = 1};
    s.sums = migrate_sums_new(from, &err);
    s.copy = malloc(MIGRATE_RUN_BYTES);
    assert_int_equal(pthread_create(&thread, NULL, receive, &r), 0);
    assert_int_equal(migrate_pages_send(&s, NULL, &err), 0);
    assert_int_equal(s.pages, 20);
    assert_int_equal(s.same_pages, 0);
    bitmaps[0][0] = (1ull << 40) - 1;
    memset(host + 3 * PAGE, 9, PAGE);
    memset(host + 5 * PAGE, 0, PAGE);
    memset(host + 6 * PAGE, 1, PAGE);
    assert_int_equal(migrate_pages_send(&s, bitmaps, &err), 0); /* all are marked, three have changed */
    assert_int_equal(s.pages, 22);
    assert_int_equal(s.same_pages, 37);
    memset(host + 3 * PAGE, 4, PAGE);
    memset(host + 5 * PAGE, 6, PAGE);
    memset(host + 6 * PAGE, 0, PAGE);
    assert_int_equal(migrate_pages_send(&s, bitmaps, &err), 0);
    assert_int_equal(s.pages, 24);
    assert_int_equal(s.same_pages, 37 + 37);
    assert_int_equal(migrate_pages_send_some(&s, 0, 0, 2 * PAGE, &err), 0); /* whatever was sent before */
    assert_int_equal(s.pages, 25);
    arrives(&p, thread, &r, host);
    for (unsigned i = 0; i < memory_slot_count(from); i++)
        free(bitmaps[i]);
    migrate_sums_free(s.sums);
    free(s.copy);
    close_pair(&p);
    memory_free(from);
    memory_free(to);
}

struct foreign {
    uint32_t count;
    uint8_t packed[2 * PAGE];
    size_t bytes;
};

static struct foreign packed_of(uint32_t pages, uint32_t announced)
{
    static uint8_t plain[MIGRATE_RUN_BYTES + PAGE];
    struct foreign f = {.count = htole32(announced)};
    memset(plain, 7, sizeof plain);
    f.bytes = ZSTD_compress(f.packed, sizeof f.packed, plain, (size_t)pages * PAGE, 1);
    assert_false(ZSTD_isError(f.bytes));
    return f;
}

/* By a pair of its own each: who sends such a thing has ended the migration. */
static int take(const struct foreign *f, uint64_t gpa, bool knows, struct memory *m, struct err *err)
{
    struct pair p = same_key();
    struct migrate_frame frame = {MIGRATE_PACKED, (uint32_t)(sizeof f->count + f->bytes), gpa}, got;
    open_pair(&p, 0);
    assert_int_equal(migrate_link_put_parts(&p.client.link, &frame, &f->count, sizeof f->count, f->packed, err), 0);
    assert_int_equal(migrate_link_flush(&p.client.link, err), 0);
    assert_int_equal(migrate_link_get_frame(&p.server.link, &got, err), 0);
    struct migrate_receiver r = {.memory = m, .link = &p.server.link, .streams = 1};
    r.pack = knows ? migrate_pack_new(err) : NULL;
    int rc = migrate_pages_receive(&r, &got, err);
    migrate_pack_free(r.pack);
    close_pair(&p);
    return rc;
}

static void test_packed_lies(void **state)
{
    (void)state;
    struct err err;
    struct memory *m = memory_new(SIZE, &err);
    const uint8_t *host = memory_slot(m, 0)->host;
    struct foreign good = packed_of(4, 4), bad[10];
    unsigned n = 0;
    bad[n++] = packed_of(5, 4); /* more than announced */
    bad[n++] = packed_of(3, 4); /* less */
    bad[n++] = packed_of(4, 0); /* nothing announced */
    bad[n++] = packed_of(MIGRATE_RUN_PAGES + 1, MIGRATE_RUN_PAGES + 1);
    bad[n++] = packed_of(4, UINT32_MAX);
    bad[n] = good; /* two frames */
    memcpy(bad[n].packed + good.bytes, good.packed, good.bytes);
    bad[n++].bytes *= 2;
    bad[n] = good; /* a byte behind it */
    bad[n++].bytes++;
    bad[n] = good; /* cut off */
    bad[n++].bytes--;
    bad[n] = good; /* a frame to be skipped */
    bad[n++].packed[0] = 0x50;
    bad[n] = good; /* not fewer bytes than the page that they are */
    bad[n].count = htole32(1);
    bad[n++].bytes = PAGE;
    for (unsigned i = 0; i < n; i++) {
        err.text[0] = 0;
        assert_int_equal(take(&bad[i], 4 * PAGE, true, m, &err), -EPROTO);
        assert_non_null(strstr(err.text, "the other side sent"));
    }
    assert_int_equal(take(&good, 4 * PAGE, false, m, &err), -EPROTO);
    assert_non_null(strstr(err.text, "version"));
    assert_int_equal(take(&good, SIZE - 3 * PAGE, true, m, &err), -EPROTO);
    for (unsigned i = 0; i < SIZE; i++)
        assert_int_equal(host[i], 0);
    assert_int_equal(take(&good, 4 * PAGE, true, m, &err), 0);
    assert_int_equal(host[4 * PAGE - 1], 0);
    assert_int_equal(host[4 * PAGE], 7);
    assert_int_equal(host[8 * PAGE - 1], 7);
    assert_int_equal(host[8 * PAGE], 0);
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

struct reading {
    struct migrate_link *link;
    uint8_t *to;
    size_t bytes;
    int rc;
    struct err err;
};

static void *read_all(void *context)
{
    struct reading *r = context;
    r->rc = migrate_link_get(r->link, r->to, r->bytes, &r->err);
    return NULL;
}

/* Cancelled in the middle of what it sends: the rest of it, and why, may follow, and nothing comes twice. */
static void test_goes_on_behind_a_cancel(void **state)
{
    (void)state;
    enum { BODY = 200 << 10, QUEUE = 32 << 10, ALL = BODY + 2 * MIGRATE_HEADER_BYTES };
    struct migrate_frame body = {MIGRATE_STATE, BODY, 0}, go = {MIGRATE_GO, 0, 1};
    uint8_t *from = malloc(BODY), *to = malloc(ALL), header[MIGRATE_HEADER_BYTES];
    struct err err;
    int queue = QUEUE;
    pthread_t thread;
    struct pair p = same_key();
    open_pair(&p, 0);
    struct migrate_link *l = &p.client.link;
    for (unsigned i = 0; i < BODY; i++)
        from[i] = (uint8_t)(i * 2654435761u >> 24);
    assert_int_equal(setsockopt(p.client.fd, SOL_SOCKET, SO_SNDBUF, &queue, sizeof queue), 0);
    assert_int_equal(migrate_link_put(l, &body, from, &err), 0);
    assert_int_equal(eventfd_write(p.client.wake, 1), 0);
    assert_int_equal(migrate_link_flush(l, &err), -ECANCELED);
    assert_in_range(l->out_bytes, 1, BODY);
    assert_int_equal(l->sent_bytes + l->out_bytes, ALL - MIGRATE_HEADER_BYTES);
    l->failed = 0;
    l->wake = -1;
    struct reading r = {.link = &p.server.link, .to = to, .bytes = ALL};
    assert_int_equal(pthread_create(&thread, NULL, read_all, &r), 0);
    assert_int_equal(migrate_link_put(l, &go, NULL, &err), 0);
    assert_int_equal(migrate_link_flush(l, &err), 0);
    assert_int_equal(l->sent_bytes, ALL);
    pthread_join(thread, NULL);
    assert_int_equal(r.rc, 0);
    migrate_frame_pack(&body, header);
    assert_memory_equal(to, header, sizeof header);
    assert_memory_equal(to + sizeof header, from, BODY);
    migrate_frame_pack(&go, header);
    assert_memory_equal(to + sizeof header + BODY, header, sizeof header);
    close_pair(&p);
    free(from);
    free(to);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN); /* as a guest does */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_key_files),
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_packed),
        cmocka_unit_test(test_unchanged),
        cmocka_unit_test(test_packed_lies),
        cmocka_unit_test(test_breaks),
        cmocka_unit_test(test_goes_on_behind_a_cancel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
