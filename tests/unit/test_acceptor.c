/* Clients come one by one, as they are asked for, also after a time without descriptors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "hv/acceptor.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum { TURNS = 1000 };

struct fixture {
    struct loop *loop;
    struct acceptor acceptor;
    struct sockaddr_un address;
    char directory[32];
    unsigned count;
};

static void came(struct acceptor *acceptor, int fd)
{
    CONTAINER_OF(acceptor, struct fixture, acceptor)->count++;
    close(fd);
}

static int setup(void **state)
{
    static struct fixture f;
    struct err err;
    f = (struct fixture){.directory = "/tmp/drover-acceptor-XXXXXX", .address.sun_family = AF_UNIX};
    f.loop = loop_new(&err);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (!f.loop || !mkdtemp(f.directory) || listener < 0)
        return -1;
    snprintf(f.address.sun_path, sizeof f.address.sun_path, "%s/socket", f.directory);
    acceptor_init(&f.acceptor, f.loop, listener, "test", came);
    *state = &f;
    return bind(listener, (struct sockaddr *)&f.address, sizeof f.address) || listen(listener, 8);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    acceptor_end(&f->acceptor);
    while (acceptor_busy(&f->acceptor))
        loop_step(f->loop);
    close(f->acceptor.listener);
    unlink(f->address.sun_path);
    rmdir(f->directory);
    loop_free(f->loop);
    return 0;
}

/* A client that has connected; it waits in the queue. */
static int join(const struct fixture *f)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&f->address, sizeof f->address), 0);
    return fd;
}

static void turn_until(struct fixture *f, unsigned count)
{
    while (f->count < count)
        loop_step(f->loop);
    assert_int_equal(f->count, count);
}

/* Until nothing is under way. */
static void settle(struct fixture *f)
{
    for (unsigned i = 0; i < TURNS && loop_in_flight(f->loop); i++)
        loop_step(f->loop);
    assert_int_equal(loop_in_flight(f->loop), 0);
}

static void test_one_by_one(void **state)
{
    struct fixture *f = *state;
    int fds[] = {join(f), join(f)};
    acceptor_ask(&f->acceptor);
    acceptor_ask(&f->acceptor);
    turn_until(f, 1);
    assert_false(acceptor_busy(&f->acceptor));
    settle(f);
    assert_int_equal(f->count, 1);
    acceptor_ask(&f->acceptor);
    turn_until(f, 2);
    close(fds[0]);
    close(fds[1]);
}

static void test_withdrawn(void **state)
{
    struct fixture *f = *state;
    acceptor_ask(&f->acceptor);
    acceptor_withdraw(&f->acceptor);
    settle(f);
    int fd = join(f);
    assert_int_equal(f->count, 0);
    acceptor_ask(&f->acceptor);
    turn_until(f, 1);
    acceptor_ask(&f->acceptor); /* asked for again before the withdrawal is over */
    acceptor_withdraw(&f->acceptor);
    acceptor_ask(&f->acceptor);
    int other = join(f);
    turn_until(f, 2);
    close(fd);
    close(other);
}

static void test_no_descriptor(void **state)
{
    struct fixture *f = *state;
    struct rlimit limit, none;
    int fd = join(f);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = (struct rlimit){0, limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    acceptor_ask(&f->acceptor);
    for (unsigned i = 0; i < TURNS && loop_in_flight(f->loop); i++)
        loop_step(f->loop);
    unsigned in_flight = loop_in_flight(f->loop);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(in_flight, 0); /* it does not go round and round */
    turn_until(f, 1);
    close(fd);
}

static void test_ended(void **state)
{
    struct fixture *f = *state;
    acceptor_ask(&f->acceptor);
    acceptor_end(&f->acceptor);
    int fd = join(f);
    settle(f);
    acceptor_ask(&f->acceptor);
    assert_false(acceptor_busy(&f->acceptor));
    close(fd);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
    const struct CMUnitTest tests[] = {TEST(one_by_one), TEST(withdrawn), TEST(no_descriptor), TEST(ended)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
