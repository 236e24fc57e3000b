/* Programs that outlive the agent: what they are handed, how their end is told, and how they are found again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "node/agent/process.h"
#include "node/base/container.h"
#include "node/base/err.h"

struct fixture {
    struct process process;
    struct loop *loop;
    int status, ends;
};

static void ended(struct process *process, int status)
{
    struct fixture *f = CONTAINER_OF(process, struct fixture, process);
    f->status = status;
    f->ends++;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->loop = loop_new(NULL);
    assert_non_null(f->loop);
    process_init(&f->process, f->loop, ended);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    loop_free(f->loop);
    free(f);
    return 0;
}

static int output_file(void)
{
    int fd = memfd_create("output", MFD_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static const char *text_of(int fd)
{
    static char text[4096];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = 0;
    close(fd);
    return text;
}

static void shell(struct fixture *f, const char *script, const int *fds, unsigned count, int output)
{
    char *argv[] = {(char *)(uintptr_t) "sh", (char *)(uintptr_t) "-c", (char *)(uintptr_t)script, NULL};
    struct process_start start = {.program = "/bin/sh", .argv = argv, .fds = fds, .fd_count = count, .output = output};
    struct err err = {0};
    if (process_start(&f->process, &start, &err))
        fail_msg("%s", err.text);
}

static void run_to_end(struct fixture *f)
{
    while (!f->ends)
        loop_step(f->loop);
    assert_int_equal(f->ends, 1);
    assert_true(process_idle(&f->process));
}

static void test_end(void **state)
{
    struct fixture *f = *state;
    char text[64];
    shell(f, "exit 3", NULL, 0, -1);
    run_to_end(f);
    assert_string_equal(process_describe(f->status, text, sizeof text), "exited with code 3");
    f->ends = 0;
    shell(f, "kill -KILL $$", NULL, 0, -1);
    run_to_end(f);
    assert_string_equal(process_describe(f->status, text, sizeof text), "killed by SIGKILL");
    assert_string_equal(process_describe(PROCESS_STATUS_UNKNOWN, text, sizeof text), "ended while nobody watched");
}

/* Files arrive in order, whatever numbers they have here, and nothing else does. */
static void test_files(void **state)
{
    struct fixture *f = *state;
    int out = output_file(), a = output_file(), b = output_file();
    assert_int_equal(write(a, "first\n", 6), 6);
    assert_int_equal(write(b, "second\n", 7), 7);
    lseek(a, 0, SEEK_SET);
    lseek(b, 0, SEEK_SET);
    assert_int_equal(fcntl(out, F_SETFD, 0), 0); /* even what would be inherited */
    int fds[] = {b, a};
    shell(f, "cat <&3; cat <&4; for n in 5 6 7 8 9; do [ ! -e /proc/self/fd/$n ] || echo has $n; done; env | sort", fds,
          2, out);
    run_to_end(f);
    const char *text = text_of(out);
    assert_non_null(strstr(text, "second\nfirst\n"));
    assert_null(strstr(text, "has"));
    assert_null(strstr(text, "HOME"));
    assert_non_null(strstr(text, "PATH=/usr/sbin:/usr/bin:/sbin:/bin"));
    close(a);
    close(b);
}

static void test_errors(void **state)
{
    struct fixture *f = *state;
    char *argv[] = {(char *)(uintptr_t) "none", NULL};
    struct process_start start = {.program = "/does/not/exist", .argv = argv, .output = -1};
    struct err err = {0};
    assert_int_equal(process_start(&f->process, &start, &err), -ENOENT);
    assert_non_null(strstr(err.text, "/does/not/exist"));
    int closed = 1000;
    start = (struct process_start){.program = "/bin/true", .argv = argv, .fds = &closed, .fd_count = 1, .output = -1};
    assert_int_equal(process_start(&f->process, &start, &err), -EBADF);
    start.fd_count = PROCESS_FDS_MAX + 1;
    assert_int_equal(process_start(&f->process, &start, &err), -E2BIG);
    assert_true(process_idle(&f->process));
    assert_int_equal(process_signal(&f->process, SIGTERM), -ESRCH);
}

/* What another agent started is watched, too, but nobody else's program. */
static void test_adopt(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    shell(f, "sleep 1000", NULL, 0, -1);
    pid_t pid = f->process.pid;
    uint64_t ticks = f->process.start_ticks;
    assert_true(ticks > 0);
    process_forget(&f->process);
    while (!process_idle(&f->process))
        loop_step(f->loop);
    assert_int_equal(kill(pid, 0), 0);

    assert_int_equal(process_adopt(&f->process, pid, ticks + 1, &err), -ESRCH);
    while (!process_idle(&f->process))
        loop_step(f->loop);
    assert_int_equal(process_adopt(&f->process, pid, ticks, &err), 0);
    assert_int_equal(process_signal(&f->process, SIGTERM), 0);
    run_to_end(f);
    char text[64];
    assert_string_equal(process_describe(f->status, text, sizeof text), "killed by SIGTERM");
    assert_int_equal(process_start_ticks(pid), 0);
    assert_int_equal(process_adopt(&f->process, pid, ticks, &err), -ESRCH);
}

/* Somebody else's child has no status for us. */
static void test_not_our_child(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    int out = output_file();
    shell(f, "sleep 1000 & echo $!", NULL, 0, out);
    run_to_end(f);
    f->ends = 0;
    pid_t pid = (pid_t)strtol(text_of(out), NULL, 10);
    assert_true(pid > 1);
    assert_int_equal(process_adopt(&f->process, pid, process_start_ticks(pid), &err), 0);
    assert_int_equal(process_signal(&f->process, SIGKILL), 0);
    run_to_end(f);
    assert_int_equal(f->status, PROCESS_STATUS_UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_files, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_adopt, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_our_child, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
