/* Pages that come after the guest, as one connection of the destination takes them: behind the last one, and while
 * another connection puts what is asked for. The kernel's side, userfaultfd, is the test's. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hv/memory.h"
#include "hv/migrate_key.h"
#include "hv/migrate_target_inside.h"

enum { MIB = 1 << 20, PAGE = 4096, AT = 5 };
#define PATIENCE_NS UINT64_C(20000000000)

static struct {
    struct migrate_target target;
    struct migrate_target_host host;
    struct migrate_key key;
    struct migrate_link source;
    unsigned stream;
    struct memory *memory;
    int put_rc;
    uint8_t *wanted;   /* somebody waits for it */
    bool others_bring; /* another connection puts it as soon as it can */
    bool breaks;       /* ... when this connection has broken */
    sem_t broken;
} here;

int __wrap_late_pages_put(int fd, uint8_t *host, const void *from, uint64_t bytes);
int __wrap_late_pages_wanted(int fd, uint8_t **host);
bool __wrap_migrate_missing_has(const struct migrate_missing *m, unsigned slot, uint64_t page);
bool __real_migrate_missing_has(const struct migrate_missing *m, unsigned slot, uint64_t page);

int __wrap_late_pages_put(int fd, uint8_t *host, const void *from, uint64_t bytes)
{
    (void)fd;
    if (!here.put_rc && from)
        memcpy(host, from, bytes);
    return here.put_rc;
}

static void bring(unsigned slot, uint64_t page)
{
    struct migrate_receiver *r = &here.target.receivers[here.stream];
    const uint8_t bytes[PAGE] = {7};
    struct err err;
    assert_int_equal(r->put(r->context, memory_slot(here.memory, slot), page * PAGE, bytes, PAGE, &err), 0);
}

int __wrap_late_pages_wanted(int fd, uint8_t **host)
{
    (void)fd;
    if (here.breaks) {
        here.breaks = false;
        sem_wait(&here.broken);
        bring(0, AT);
    }
    *host = here.wanted;
    here.wanted = NULL;
    return *host ? 1 : 0;
}

bool __wrap_migrate_missing_has(const struct migrate_missing *m, unsigned slot, uint64_t page)
{
    bool has = __real_migrate_missing_has(m, slot, page);
    if (!here.others_bring || pthread_mutex_trylock(&here.target.lock))
        return has;
    pthread_mutex_unlock(&here.target.lock);
    here.others_bring = false;
    bring(slot, page);
    return has;
}

static void *follow(void *context)
{
    migrate_target_follow_late(&here.target, here.stream);
    return context;
}

static int greet(struct migrate_link *link, int fd, struct tls_context *tls)
{
    struct err err;
    int rc = migrate_link_open(link, fd, -1, PATIENCE_NS, tls, &err);
    tls_context_free(tls);
    return rc;
}

static void *greet_source(void *context)
{
    struct err err;
    int *fd = context;
    assert_int_equal(greet(&here.target.links[here.stream], *fd, migrate_key_server(&here.key, &err)), 0);
    return NULL;
}

static int begin_with(unsigned stream)
{
    int fds[2];
    pthread_t thread;
    struct err err;
    struct migrate_target *t = &here.target;
    memset(&here, 0, sizeof here);
    here.stream = stream;
    sem_init(&here.broken, 0, 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(pthread_create(&thread, NULL, greet_source, &fds[1]), 0);
    assert_int_equal(greet(&here.source, fds[0], migrate_key_client(&here.key, here.stream, &err)), 0);
    pthread_join(thread, NULL);
    here.memory = memory_new(4 * MIB, &err);
    here.host.late_fd = -1;
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->turn, NULL);
    t->memory = here.memory;
    t->host = &here.host;
    t->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    t->nudge = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    t->streams = 2;
    t->begun = t->late_on = true;
    t->receivers[here.stream] = (struct migrate_receiver){
        .memory = here.memory, .link = &t->links[here.stream], .stream = here.stream, .streams = 2};
    return migrate_missing_init(&t->missing, here.memory, &err);
}

static int begin(void **state)
{
    (void)state;
    return begin_with(1);
}

static int begin_leader(void **state)
{
    (void)state;
    return begin_with(0);
}

static int end(void **state)
{
    (void)state;
    struct migrate_target *t = &here.target;
    migrate_link_close(&here.source);
    migrate_link_close(&t->links[here.stream]);
    migrate_missing_fini(&t->missing);
    pthread_mutex_destroy(&t->lock);
    pthread_cond_destroy(&t->turn);
    close(t->wake);
    close(t->nudge);
    memory_free(here.memory);
    sem_destroy(&here.broken);
    return 0;
}

static void miss(uint64_t page)
{
    uint64_t bitmap[4 * MIB / PAGE / 64] = {0};
    bitmap[page / 64] = UINT64_C(1) << page % 64;
    migrate_missing_set(&here.target.missing, 0, bitmap);
}

static void send_page(uint64_t page)
{
    const uint8_t bytes[PAGE] = {9};
    struct migrate_frame f = {MIGRATE_PAGES, PAGE, page * PAGE};
    struct err err;
    assert_int_equal(migrate_link_put(&here.source, &f, bytes, &err), 0);
    assert_int_equal(migrate_link_flush(&here.source, &err), 0);
}

/* A source that sends more than all of it has its connection closed; the guest is whole, and stays. */
static void test_behind_the_last_page(void **state)
{
    (void)state;
    pthread_t thread;
    here.target.complete = true;
    here.put_rc = -ENOENT; /* nothing is watched any more */
    assert_int_equal(pthread_create(&thread, NULL, follow, NULL), 0);
    send_page(AT);
    pthread_join(thread, NULL);
    assert_int_equal(memory_slot(here.memory, 0)->host[AT * PAGE], 0);
}

/* Somebody touched a page that nobody ever wrote to, in the moment in which the last one came. */
static void test_zeroes_behind_the_last_page(void **state)
{
    (void)state;
    pthread_t thread;
    here.target.complete = true;
    here.put_rc = -ENOENT;
    here.wanted = memory_slot(here.memory, 0)->host + AT * PAGE;
    shutdown(here.source.fd, SHUT_WR);
    assert_int_equal(pthread_create(&thread, NULL, follow, NULL), 0);
    pthread_join(thread, NULL);
    assert_null(here.wanted);
}

/* What is waited for is asked for, and written down until it comes. */
static void test_asked_for(void **state)
{
    (void)state;
    pthread_t thread;
    struct migrate_frame f;
    struct err err;
    miss(AT);
    here.wanted = memory_slot(here.memory, 0)->host + AT * PAGE;
    assert_int_equal(pthread_create(&thread, NULL, follow, NULL), 0);
    assert_int_equal(migrate_link_get_frame(&here.source, &f, &err), 0);
    assert_int_equal(f.type, MIGRATE_NEED);
    assert_int_equal(f.number, memory_slot(here.memory, 0)->gpa + AT * PAGE);
    assert_int_equal(here.target.wait_count, 1);
    send_page(AT);
    shutdown(here.source.fd, SHUT_WR);
    pthread_join(thread, NULL);
    assert_int_equal(here.target.wait_count, 0);
    assert_int_equal(here.target.missing.pages, 0);
    assert_int_equal(here.target.faults, 1);
    assert_int_equal(memory_slot(here.memory, 0)->host[AT * PAGE], 9);
}

/* It is waited for, and comes over another connection before that is written down: nobody waits for it any more. */
static void test_comes_while_it_is_noted(void **state)
{
    (void)state;
    pthread_t thread;
    miss(AT);
    here.others_bring = true;
    here.wanted = memory_slot(here.memory, 0)->host + AT * PAGE;
    shutdown(here.source.fd, SHUT_WR);
    assert_int_equal(pthread_create(&thread, NULL, follow, NULL), 0);
    pthread_join(thread, NULL);
    if (here.others_bring) /* it had to wait: it comes now */
        bring(0, AT);
    assert_int_equal(here.target.missing.pages, 0);
    assert_int_equal(here.target.wait_count, 0);
}

/* The last page comes over another connection when the leader's has broken: all is there, and nobody has to connect. */
static void test_last_page_at_a_break(void **state)
{
    (void)state;
    struct migrate_frame f = {MIGRATE_RESUME, 0, 2};
    struct err err;
    pthread_t thread;
    miss(AT);
    here.breaks = true;
    assert_int_equal(pthread_create(&thread, NULL, follow, NULL), 0);
    assert_int_equal(migrate_link_put(&here.source, &f, NULL, &err), 0);
    assert_int_equal(migrate_link_flush(&here.source, &err), 0);
    while (f.type != MIGRATE_RESUMED) {
        uint8_t list[MIGRATE_MISSING_BYTES];
        assert_int_equal(migrate_link_get_frame(&here.source, &f, &err), 0);
        assert_int_equal(migrate_link_get(&here.source, list, f.bytes, &err), 0);
    }
    assert_int_equal(f.number, 1);
    shutdown(here.source.fd, SHUT_RDWR);
    sem_post(&here.broken);
    pthread_join(thread, NULL);
    assert_int_equal(here.target.missing.pages, 0);
    assert_true(here.target.complete);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN); /* as a guest does */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_behind_the_last_page, begin, end),
        cmocka_unit_test_setup_teardown(test_zeroes_behind_the_last_page, begin, end),
        cmocka_unit_test_setup_teardown(test_asked_for, begin, end),
        cmocka_unit_test_setup_teardown(test_comes_while_it_is_noted, begin, end),
        cmocka_unit_test_setup_teardown(test_last_page_at_a_break, begin_leader, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
