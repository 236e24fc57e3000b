/* What can be watched: choosing, one line for what comes again, and a limit for who says too much. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "hv/trace.h"
#include "node/base/err.h"
#include "node/base/log.h"

static int kept_stderr, file;

/* What is logged goes to a file for the time being. */
static int setup(void **state)
{
    (void)state;
    log_init("test", LOG_LEVEL_INFO);
    memset(trace_levels, 0, sizeof trace_levels);
    kept_stderr = dup(STDERR_FILENO);
    file = memfd_create("log", MFD_CLOEXEC);
    return dup2(file, STDERR_FILENO) < 0;
}

static int teardown(void **state)
{
    (void)state;
    dup2(kept_stderr, STDERR_FILENO);
    close(kept_stderr);
    close(file);
    return 0;
}

static unsigned lines_with(const char *text)
{
    static char all[4 << 20];
    ssize_t n = pread(file, all, sizeof all - 1, 0);
    all[n > 0 ? n : 0] = 0;
    unsigned count = 0;
    for (const char *p = all; (p = strstr(p, text)); p++)
        count++;
    return count;
}

static void test_choose(void **state)
{
    struct err err;
    (void)state;
    assert_int_equal(trace_choose("pci,irq=trace,boot=debug", &err), 0);
    assert_int_equal(trace_levels[TRACE_PCI], TRACE_DEBUG);
    assert_int_equal(trace_levels[TRACE_IRQ], TRACE_EVERYTHING);
    assert_int_equal(trace_levels[TRACE_BOOT], TRACE_DEBUG);
    assert_int_equal(trace_levels[TRACE_BUS], TRACE_NOTHING);
    assert_int_equal(trace_choose("all=trace", &err), 0);
    for (unsigned i = 0; i < TRACE_CATEGORIES; i++)
        assert_int_equal(trace_levels[i], TRACE_EVERYTHING);
    static const char *const wrong[] = {"", "floppy", "pci=loud", "pci,", "pci=", "pci=trace=debug"};
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(trace_choose(wrong[i], &err), -EINVAL);
        assert_non_null(strstr(err.text, "virtio"));
    }
}

static void test_levels(void **state)
{
    struct err err;
    (void)state;
    trace_debug(TRACE_PCI, "not wanted");
    assert_int_equal(trace_choose("pci", &err), 0);
    trace_debug(TRACE_PCI, "slot %u", 7u);
    trace_all(TRACE_PCI, "not wanted");
    trace_debug(TRACE_IRQ, "not wanted");
    assert_int_equal(lines_with("pci: slot 7\n"), 1);
    assert_int_equal(lines_with("not wanted"), 0);
}

static void test_once(void **state)
{
    struct err err;
    (void)state;
    assert_int_equal(trace_choose("bus", &err), 0);
    for (unsigned i = 0; i < 5000; i++)
        trace_once(TRACE_BUS, i % 1000, "port %u", i % 1000);
    assert_int_equal(lines_with("bus: port 17\n"), 1);
    assert_int_equal(lines_with("bus: port"), 512); /* who comes later is not remembered, and not said */
}

static void test_limit(void **state)
{
    struct err err;
    (void)state;
    assert_int_equal(trace_choose("irq=trace", &err), 0);
    for (unsigned i = 0; i < 100000; i++)
        trace_all(TRACE_IRQ, "line %u up", i % 24);
    assert_in_range(lines_with("irq: line"), 4000, 50000);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
    const struct CMUnitTest tests[] = {TEST(choose), TEST(levels), TEST(once), TEST(limit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
