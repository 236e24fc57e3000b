/* What a vCPU's thread may still ask of the kernel about its own registers: where the translator keeps its tables
 * (GS.base), by a call where the processor or the kernel has no FSGSBASE, and nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <asm/prctl.h>
#include <errno.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hv/dbt/engine_dbt.h"
#include "hv/guest_jail.h"
#include "node/base/err.h"

enum { REFUSED = 1, NOT_THERE, MORE, NO_JAIL };

static int in_jail(const struct sandbox_calls *engine)
{
    uint64_t word = 42, seen = 0, fs = 0;
    struct err err;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || guest_jail_vcpu(engine, &err))
        return NO_JAIL;
    if (syscall(SYS_arch_prctl, ARCH_SET_GS, &word))
        return REFUSED;
    __asm__ volatile("movq %%gs:0, %0" : "=r"(seen));
    if (seen != word)
        return NOT_THERE;
    return syscall(SYS_arch_prctl, ARCH_GET_FS, &fs) != -1 || errno != EPERM ? MORE : 0;
}

static int answer_of(const struct sandbox_calls *engine)
{
    int status = 0;
    pid_t child = fork();
    if (!child)
        _exit(in_jail(engine));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_gs_base(void **state)
{
    (void)state;
    assert_int_equal(answer_of(&engine_dbt_calls), 0);
    assert_int_equal(answer_of(NULL), REFUSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_gs_base)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
