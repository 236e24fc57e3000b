/* A saved guest whose memory is loaded while it is used: everybody who touches a page finds what was saved, also the
 * kernel; what was written meanwhile is not overwritten; and a file that is cut ends the process rather than giving
 * something else. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "hv/late_pages.h"
#include "hv/memory.h"
#include "hv/saved_pages.h"
#include "node/base/err.h"

enum { MIB = 1 << 20, PAGE = 4096, GUEST_MIB = 32, TOUCHERS = 3, SKIPPED = 77 };

struct rig {
    struct memory *memory;
    struct saved_guest saved;
    struct saved_pages pages;
    pthread_t thread;
    int file, late;
};

/* What page n holds: every third one nothing. */
static uint64_t content(uint64_t page)
{
    return page % 3 == 2 ? 0 : page * 0x9e3779b97f4a7c15 + 1;
}

static void set_up(struct rig *r)
{
    struct err err;
    struct memory *m = memory_new(GUEST_MIB * MIB, &err);
    for (uint64_t page = 0; page < GUEST_MIB * MIB / PAGE; page++) {
        uint64_t word = content(page);
        if (word)
            memory_write(m, page * PAGE, &word, sizeof word);
    }
    r->file = memfd_create("saved", MFD_CLOEXEC);
    assert_int_equal(saved_guest_write(r->file, m, "state", 6, &err), 0);
    memory_free(m);
    r->memory = memory_new(GUEST_MIB * MIB, &err);
    r->late = late_pages_open(&err);
    assert_true(r->late >= 0);
    assert_int_equal(saved_guest_open(&r->saved, r->file, &err), 0);
    assert_int_equal(saved_pages_begin(&r->pages, &r->saved, r->memory, r->late, &err), 0);
}

static void *work(void *arg)
{
    struct rig *r = arg;
    saved_pages_work(&r->pages);
    return NULL;
}

static void go(struct rig *r)
{
    assert_int_equal(pthread_create(&r->thread, NULL, work, r), 0);
}

static void tear_down(struct rig *r)
{
    pthread_join(r->thread, NULL);
    saved_pages_fini(&r->pages);
    saved_guest_fini(&r->saved);
    close(r->late);
    close(r->file);
    memory_free(r->memory);
}

static uint64_t read_word(const struct rig *r, uint64_t page)
{
    uint64_t word;
    assert_int_equal(memory_read(r->memory, page * PAGE, &word, sizeof word), 0);
    return word;
}

static void *touch(void *arg)
{
    struct rig *r = arg;
    uint64_t wrong = 0;
    for (uint64_t n = GUEST_MIB * MIB / PAGE; n-- > 0;) /* from the other end than it is read in the background */
        wrong += read_word(r, n) != content(n);
    return (void *)(uintptr_t)wrong;
}

static void test_everybody_finds_it(void **state)
{
    (void)state;
    struct rig r = {0};
    pthread_t touchers[TOUCHERS];
    set_up(&r);
    for (unsigned i = 0; i < TOUCHERS; i++)
        assert_int_equal(pthread_create(&touchers[i], NULL, touch, &r), 0);
    go(&r); /* after them: some wait already */
    for (unsigned i = 0; i < TOUCHERS; i++) {
        void *wrong;
        pthread_join(touchers[i], &wrong);
        assert_null(wrong);
    }
    tear_down(&r);
}

/* Disks read into pages that are not there, and are written from such. */
static void test_kernel_waits(void **state)
{
    (void)state;
    struct rig r = {0};
    int pipe_fds[2];
    char bytes[PAGE], back[PAGE];
    set_up(&r);
    go(&r);
    assert_int_equal(pipe(pipe_fds), 0);
    memset(bytes, 5, sizeof bytes);
    uint64_t last = GUEST_MIB * MIB / PAGE - 1;
    uint8_t *host = memory_at_writable(r.memory, (last - 1) * PAGE, 2 * PAGE);
    assert_int_equal(write(pipe_fds[1], host + PAGE, PAGE), PAGE);
    assert_int_equal(read(pipe_fds[0], back, PAGE), PAGE);
    uint64_t word;
    memcpy(&word, back, sizeof word);
    assert_int_equal(word, content(last));
    assert_int_equal(write(pipe_fds[1], bytes, 100), 100);
    assert_int_equal(read(pipe_fds[0], host + 8, 100), 100); /* part of a page: the rest is what was saved */
    pthread_join(r.thread, NULL);
    assert_int_equal(read_word(&r, last - 1), content(last - 1));
    assert_memory_equal(host + 8, bytes, 100);
    r.thread = 0;
    assert_int_equal(pthread_create(&r.thread, NULL, touch, &r), 0); /* all is there, nobody waits */
    tear_down(&r);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

/* What is written while it is loaded stays. */
static void test_written_meanwhile(void **state)
{
    (void)state;
    struct rig r = {0};
    uint64_t mine = 0x1234567890;
    set_up(&r);
    go(&r);
    for (uint64_t page = 0; page < GUEST_MIB * MIB / PAGE; page += 5)
        memory_write(r.memory, page * PAGE, &mine, sizeof mine);
    pthread_join(r.thread, NULL);
    for (uint64_t page = 0; page < GUEST_MIB * MIB / PAGE; page++)
        assert_int_equal(read_word(&r, page), page % 5 ? content(page) : mine);
    assert_int_equal(pthread_create(&r.thread, NULL, touch, &r), 0);
    tear_down(&r);
}

static void test_stopped(void **state)
{
    (void)state;
    struct rig r = {0};
    set_up(&r);
    saved_pages_stop(&r.pages);
    go(&r);
    tear_down(&r);
}

/* In a process of its own, which must end: with its exit code, and before anybody has seen something else. */
static void test_cut_file(void **state)
{
    (void)state;
    int status;
    fflush(NULL);
    pid_t child = fork();
    if (!child) {
        struct rig r = {0};
        set_up(&r);
        if (ftruncate(r.file, 8 * MIB))
            _exit(3);
        go(&r);
        read_word(&r, GUEST_MIB * MIB / PAGE - 2);
        _exit(4); /* it went on */
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), EXIT_FAILURE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everybody_finds_it), cmocka_unit_test(test_kernel_waits),
        cmocka_unit_test(test_written_meanwhile),  cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_cut_file),
    };
    struct err err;
    int fd = late_pages_open(&err);
    if (fd < 0) {
        printf("skipped: %s\n", err.text);
        return SKIPPED;
    }
    close(fd);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
