/* The host's end of a serial port: output for who comes late, back-pressure for who is slow, one client at a time. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
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

#include "hv/bus.h"
#include "hv/console.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/loop.h"

struct fixture {
    struct loop *loop;
    struct bus *bus;
    struct console *console;
    struct console_guest guest;
    char directory[32], path[48];
    char got[256];
    size_t got_bytes, room;
    unsigned writable;
};

static size_t room(struct console_guest *guest)
{
    return CONTAINER_OF(guest, struct fixture, guest)->room;
}

static void input(struct console_guest *guest, const uint8_t *data, size_t bytes)
{
    struct fixture *f = CONTAINER_OF(guest, struct fixture, guest);
    bus_assert_locked(f->bus);
    assert_true(bytes <= f->room && f->got_bytes + bytes < sizeof f->got);
    memcpy(f->got + f->got_bytes, data, bytes);
    f->got_bytes += bytes;
    f->room -= bytes;
}

static void writable(struct console_guest *guest)
{
    CONTAINER_OF(guest, struct fixture, guest)->writable++;
}

static void quit(void *context)
{
    (void)context;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct err err;
    strcpy(f->directory, "/tmp/drover-console-XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    snprintf(f->path, sizeof f->path, "%s/c", f->directory);
    f->room = 100;
    f->guest = (struct console_guest){room, input, writable};
    f->loop = loop_new(&err);
    f->bus = bus_new(&err);
    struct guest_endpoint endpoint = {GUEST_CONSOLE_UNIX, f->path};
    f->console = console_new(f->loop, f->bus, &endpoint, "console", quit, NULL, &err);
    *state = f;
    if (!f->console)
        return -1;
    console_attach(f->console, &f->guest);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    console_free(f->console);
    bus_free(f->bus);
    loop_free(f->loop);
    unlink(f->path);
    rmdir(f->directory);
    free(f);
    return 0;
}

static int join(struct fixture *f)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, f->path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static size_t print(struct fixture *f, const char *text, size_t bytes)
{
    bus_lock(f->bus);
    size_t n = console_write(f->console, (const uint8_t *)text, bytes);
    bus_unlock(f->bus);
    return n;
}

/* Turns the loop until that many bytes have come. */
static void hear(struct fixture *f, int fd, char *text, size_t bytes)
{
    for (size_t at = 0; at < bytes;) {
        ssize_t n = recv(fd, text + at, bytes - at, MSG_DONTWAIT);
        if (n > 0)
            at += (size_t)n;
        else
            loop_step(f->loop);
    }
}

static void test_late_client(void **state)
{
    struct fixture *f = *state;
    static char filler[CONSOLE_RING_BYTES], got[CONSOLE_RING_BYTES];
    memset(filler, '.', sizeof filler);
    assert_int_equal(print(f, "old", 3), 3);
    assert_int_equal(print(f, filler, sizeof filler - 3), sizeof filler - 3);
    assert_int_equal(print(f, "new", 3), 3); /* "old" made room */
    int fd = join(f);
    hear(f, fd, got, sizeof got);
    assert_int_equal(got[0], '.');
    assert_memory_equal(got + sizeof got - 3, "new", 3);
    assert_int_equal(f->writable, 0);
    close(fd);
}

static void test_slow_client(void **state)
{
    struct fixture *f = *state;
    static char many[CONSOLE_RING_BYTES], got[4096];
    int fd = join(f);
    print(f, "x", 1);
    hear(f, fd, got, 1);
    size_t taken = 0, n;
    memset(many, 'y', sizeof many);
    do { /* until neither socket nor ring take more */
        n = print(f, many, sizeof many);
        taken += n;
        for (unsigned i = 0; n && i < 50; i++) {
            bus_lock(f->bus);
            console_room_again(f->console);
            bus_unlock(f->bus);
            loop_step(f->loop);
        }
    } while (n);
    assert_int_equal(f->writable, 0);
    for (size_t left = taken; left;) {
        n = left < sizeof got ? left : sizeof got;
        hear(f, fd, got, n);
        left -= n;
    }
    assert_true(f->writable > 0);
    assert_int_equal(print(f, "z", 1), 1);
    close(fd);
}

static void test_input_waits_for_room(void **state)
{
    struct fixture *f = *state;
    int fd = join(f);
    f->room = 3;
    assert_int_equal(write(fd, "abcdef", 6), 6);
    while (f->got_bytes < 3)
        loop_step(f->loop);
    assert_int_equal(f->got_bytes, 3);
    f->room = 100;
    bus_lock(f->bus);
    console_room_again(f->console);
    bus_unlock(f->bus);
    while (f->got_bytes < 6)
        loop_step(f->loop);
    assert_memory_equal(f->got, "abcdef", 6);
    close(fd);
}

static void test_one_after_the_other(void **state)
{
    struct fixture *f = *state;
    struct err err;
    char got[8];
    int first = join(f), second = join(f), pair[2];
    print(f, "1", 1);
    hear(f, first, got, 1);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(console_adopt(f->console, pair[1], &err), -EBUSY);
    close(pair[0]);
    close(pair[1]);
    close(first);
    while (print(f, "2", 1), recv(second, got, 1, MSG_DONTWAIT) != 1)
        loop_step(f->loop);
    assert_int_equal(got[0], '2');
    close(second);
}

static void test_adopted(void **state)
{
    struct fixture *f = *state;
    struct err err;
    char got[4];
    int pair[2];
    print(f, "hi", 2);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(console_adopt(f->console, pair[1], &err), 0);
    hear(f, pair[0], got, 2);
    assert_memory_equal(got, "hi", 2);
    assert_int_equal(write(pair[0], "yo", 2), 2);
    while (f->got_bytes < 2)
        loop_step(f->loop);
    close(pair[0]);
}

struct alarm {
    struct loop_timer timer;
    bool over;
};

static void fired(struct loop_timer *timer)
{
    CONTAINER_OF(timer, struct alarm, timer)->over = true;
}

/* One turn of the loop that does not wait. */
static void glance(struct fixture *f)
{
    struct alarm now = {.timer.fire = fired};
    loop_timer_set(f->loop, &now.timer, 0);
    while (!now.over)
        loop_step(f->loop);
}

/* Nobody has opened the pseudo terminal: the guest does not wait for that. */
static void test_lonely_pty(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct guest_endpoint endpoint = {GUEST_CONSOLE_PTY, NULL};
    static char many[4096];
    memset(many, 'p', sizeof many);
    console_free(f->console);
    f->console = console_new(f->loop, f->bus, &endpoint, "console", quit, NULL, &err);
    assert_non_null(f->console);
    console_attach(f->console, &f->guest);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(print(f, many, sizeof many), sizeof many);
        glance(f);
    }
    assert_int_equal(f->writable, 0);
}

static void *read_all(void *context)
{
    static char got[4096];
    int fd = *(int *)context;
    size_t bytes = 0;
    sleep(1);
    for (ssize_t n; (n = read(fd, got, sizeof got)) > 0; usleep(20000))
        bytes += (size_t)n;
    return (void *)bytes;
}

/* The guest's last words: whoever reads gets all of them, however little the socket takes at a time, and if it takes
 * more than a second. */
static void test_last_words(void **state)
{
    struct fixture *f = *state;
    static char many[CONSOLE_RING_BYTES];
    struct err err;
    int pair[2], little = 1;
    pthread_t reader;
    void *got;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &little, sizeof little), 0);
    assert_int_equal(console_adopt(f->console, pair[0], &err), 0);
    assert_int_equal(print(f, many, sizeof many), sizeof many);
    assert_int_equal(pthread_create(&reader, NULL, read_all, &pair[1]), 0);
    console_free(f->console);
    f->console = NULL;
    assert_int_equal(pthread_join(reader, &got), 0);
    assert_int_equal((size_t)got, sizeof many);
    close(pair[1]);
}

/* Where no descriptor is left, the next client waits without the loop going round and round for it. */
static void test_no_descriptor(void **state)
{
    struct fixture *f = *state;
    struct rlimit limit, none;
    char got[2];
    int first = join(f), second = join(f);
    print(f, "1", 1);
    hear(f, first, got, 1);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = (struct rlimit){0, limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    close(first);
    for (unsigned i = 0; i < 1000 && loop_in_flight(f->loop); i++)
        loop_step(f->loop);
    unsigned in_flight = loop_in_flight(f->loop);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(in_flight, 0);
    print(f, "2", 1);
    hear(f, second, got, 1);
    assert_int_equal(got[0], '2');
    close(second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_late_client, setup, teardown),
        cmocka_unit_test_setup_teardown(test_slow_client, setup, teardown),
        cmocka_unit_test_setup_teardown(test_input_waits_for_room, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_after_the_other, setup, teardown),
        cmocka_unit_test_setup_teardown(test_adopted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lonely_pty, setup, teardown),
        cmocka_unit_test_setup_teardown(test_last_words, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_descriptor, setup, teardown),
    };
    signal(SIGPIPE, SIG_IGN); /* as in the program */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
