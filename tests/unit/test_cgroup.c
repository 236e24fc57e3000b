/* Control groups of both versions, in the kernel's own hierarchies where this process may write them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "node/agent/cgroup.h"
#include "node/base/err.h"

static char node[64];

static void exercise(const char *mount)
{
    struct cgroups groups;
    struct err err = {0};
    int rc = cgroups_open(&groups, mount, node, &err);
    if (rc) {
        print_message("%s\n", err.text);
        assert_int_equal(groups.count, 0);
        skip();
    }
    struct cgroup_limits limits = {.cpu_percent = 50, .cpu_weight = 200, .memory_bytes = 64 << 20, .tasks = 100};
    rc = cgroup_set(&groups, "guest", &limits, &err);
    if (rc)
        fail_msg("%s", err.text);
    assert_int_equal(cgroup_set(&groups, "guest", &(struct cgroup_limits){0}, &err), 0); /* and without limits */
    pid_t pid = fork();
    if (!pid)
        for (volatile unsigned i = 0;;)
            i++;
    rc = cgroup_add(&groups, "guest", pid, &err);
    struct cgroup_usage usage = {0};
    while (!rc && !usage.cpu_us) {
        usleep(1000);
        rc = cgroup_usage(&groups, "guest", &usage, &err);
    }
    int busy = cgroup_remove(&groups, "guest", NULL);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_int_equal(rc, 0);
    assert_int_equal(busy, -EBUSY);
    assert_int_equal(cgroup_remove(&groups, "guest", &err), 0);
    assert_int_equal(cgroup_remove(&groups, "guest", &err), 0);
    assert_int_equal(cgroup_usage(&groups, "guest", &usage, &err), -ENOENT);
    assert_non_null(strstr(err.text, "guest"));
    assert_int_equal(cgroup_add(&groups, "guest", 1, &err), -ENOENT);
    assert_int_equal(cgroups_remove(&groups, &err), 0);
}

static void test_v1(void **state)
{
    (void)state;
    exercise("/sys/fs/cgroup");
}

/* Where v1 holds the controllers, v2 is mounted beside it and only counts. */
static void test_v2(void **state)
{
    (void)state;
    exercise(access("/sys/fs/cgroup/unified/cgroup.procs", F_OK) ? "/sys/fs/cgroup" : "/sys/fs/cgroup/unified");
}

static void test_no_groups(void **state)
{
    (void)state;
    struct cgroups groups;
    struct err err = {0};
    assert_int_equal(cgroups_open(&groups, "/proc", node, &err), -ENOTSUP);
    assert_non_null(strstr(err.text, "without limits"));
    struct cgroup_usage usage;
    assert_int_equal(cgroup_set(&groups, "guest", &(struct cgroup_limits){.tasks = 1}, &err), 0);
    assert_int_equal(cgroup_add(&groups, "guest", getpid(), &err), 0);
    assert_int_equal(cgroup_usage(&groups, "guest", &usage, &err), 0);
    assert_int_equal(usage.cpu.some, -1);
    assert_int_equal(cgroup_remove(&groups, "guest", &err), 0);
}

static void test_pressure(void **state)
{
    (void)state;
    struct cgroup_pressure p = cgroup_pressure_parse("some avg10=64.14 avg60=51.58 avg300=28.64 total=5269805838\n"
                                                     "full avg10=0.07 avg60=0.00 avg300=0.00 total=17\n");
    assert_int_equal(p.some, 6414);
    assert_int_equal(p.full, 7);
    assert_true(p.some_us == 5269805838 && p.full_us == 17);
    p = cgroup_pressure_parse("some avg10=");
    assert_int_equal(p.some, -1);
    assert_int_equal(p.full, -1);
    assert_true(p.some_us == 0 && p.full_us == 0);
}

int main(void)
{
    snprintf(node, sizeof node, "test-%d", getpid());
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_v1),
        cmocka_unit_test(test_v2),
        cmocka_unit_test(test_no_groups),
        cmocka_unit_test(test_pressure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
