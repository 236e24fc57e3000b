/* Listening where a server was killed a moment ago, or where one is. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "node/base/err.h"
#include "node/base/listen.h"

/* A free port of loopback's, listened at. */
static int hold(char *address, size_t len)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &size), 0);
    snprintf(address, len, "tcp:127.0.0.1:%d", ntohs(a.sin_port));
    return fd;
}

static void *close_later(void *fd)
{
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    close((int)(intptr_t)fd);
    return NULL;
}

static void test_waits_for_who_goes(void **state)
{
    (void)state;
    char address[64];
    int old = hold(address, sizeof address), fds[4];
    pthread_t thread;
    struct err err = {0};
    assert_int_equal(pthread_create(&thread, NULL, close_later, (void *)(intptr_t)old), 0);
    assert_int_equal(listen_open(address, fds, 4, &err), 1);
    assert_true(listen_is_listening(fds[0]));
    pthread_join(thread, NULL);
    close(fds[0]);
}

static void test_refuses_where_somebody_stays(void **state)
{
    (void)state;
    char address[64];
    int old = hold(address, sizeof address), fds[4];
    struct err err = {0};
    assert_int_equal(listen_open(address, fds, 4, &err), -EADDRINUSE);
    assert_non_null(strstr(err.text, address));
    close(old);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_waits_for_who_goes),
        cmocka_unit_test(test_refuses_where_somebody_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
