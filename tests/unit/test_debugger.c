/* A debugger's steps, breakpoints and watchpoints in our own engines: where a vCPU stops, and that the guest sees
 * nothing of it. */
#include "tests/unit/payload_world.h"

#include <string.h>

#include "hv/memory.h"
#include "node/base/err.h"

/* Addresses are written down, so that a test can name them. */
PAYLOAD(code, "mov rsi, 0x30000\n"           /* 0 */
              "mov eax, 1\n"                 /* 7 */
              "mov [rsi + 0x10], rax\n"      /* 12 */
              "1: add rax, [rsi + 0x10]\n"   /* 16 */
              "inc qword ptr [rsi + 0x18]\n" /* 20 */
              "cmp rax, 100\n"               /* 24 */
              "jb 1b\n"                      /* 28 */
              "push rax\n"                   /* 30 */
              "pop rbx\n"                    /* 31 */
              "lea r15, [rip + 2f]\n"        /* 32: where the handlers go on */
              "int3\n"                       /* 39 */
              "2: lea r15, [rip + 3f]\n"     /* 40 */
              "ud2\n"                        /* 47 */
              "3: " PAYLOAD_EXIT);           /* 49 */
enum { STORE = 12, LOOP = 16, COUNT = 20, JUMP = 28, PUSH = 30, INT3 = 39, UD2 = 47 };

struct planted {
    uint64_t gpa;
    unsigned asked;
};

static bool is_planted(void *context, uint64_t gpa)
{
    struct planted *p = context;
    p->asked++;
    return gpa == p->gpa;
}

static void debug(struct world *w, const struct vcpu_debug *what)
{
    struct err err = {0};
    assert_int_equal(w->vm->engine->debug(w->vcpu, what, &err), 0);
}

static void stops(struct world *w, enum vcpu_stop_kind kind, uint64_t at)
{
    assert_int_equal(world_go(w), VCPU_STOPPED);
    assert_int_equal(w->vcpu->stop.kind, kind);
    assert_int_equal(w->out.rip, WORLD_CODE + at);
}

static void load(struct world *w)
{
    world_load(w, code, (size_t)(code_end - code));
}

/* The exceptions that the guest itself has seen: #BP behind INT3, #UD at UD2. */
static void check_log(const struct world *w)
{
    assert_int_equal(world_word(w, WORLD_LOG), 2);
    assert_int_equal(world_word(w, WORLD_LOG + 32), 3);
    assert_int_equal(world_word(w, WORLD_LOG + 48), WORLD_CODE + INT3 + 1);
    assert_int_equal(world_word(w, WORLD_LOG + 64), 6);
}

static void step_all(struct world *w)
{
    struct vcpu_debug d = {.step = true};
    static const uint8_t first[] = {7, STORE, LOOP, COUNT, 24, JUMP, LOOP, COUNT};
    load(w);
    for (unsigned i = 0; i < sizeof first; i++) {
        debug(w, &d);
        stops(w, VCPU_STOP_STEP, first[i]);
    }
    assert_int_equal(w->out.rflags & 0x100, 0); /* no TF of ours */
    debug(w, NULL);
    assert_int_equal(world_go(w), VCPU_KICKED);
    assert_int_equal(w->out.gpr[CPU_RBX], 100);
    check_log(w);
}

/* A step over an instruction that faults ends at the handler. */
static void step_fault(struct world *w)
{
    struct vcpu_debug point = {.point_count = 1, .points = {{WORLD_CODE + UD2, 1, VCPU_POINT_CODE}}};
    struct vcpu_debug step = {.step = true};
    load(w);
    debug(w, &point);
    stops(w, VCPU_STOP_POINT, UD2);
    debug(w, &step);
    assert_int_equal(world_go(w), VCPU_STOPPED);
    assert_in_range(w->out.rip, 0x6000, 0x6fff);
    debug(w, NULL);
    assert_int_equal(world_go(w), VCPU_KICKED);
}

static void breakpoint(struct world *w)
{
    static const uint8_t int3 = 0xcc;
    struct planted p = {.gpa = WORLD_CODE + PUSH};
    struct vcpu_debug d = {.planted = is_planted, .context = &p};
    uint8_t before;
    load(w);
    debug(w, &d);
    assert_int_equal(memory_read(w->memory, p.gpa, &before, 1), 0);
    assert_int_equal(memory_write(w->memory, p.gpa, &int3, 1), 0);
    stops(w, VCPU_STOP_BREAKPOINT, PUSH);
    assert_int_equal(w->out.gpr[CPU_RAX], 100);
    stops(w, VCPU_STOP_BREAKPOINT, PUSH); /* it is still there */
    assert_int_equal(memory_write(w->memory, p.gpa, &before, 1), 0);
    assert_int_equal(world_go(w), VCPU_KICKED);
    assert_int_equal(p.asked, 3); /* the third is the guest's own */
    check_log(w);
}

/* In code that is translated already, and with the breakpoint in a loop. */
static void breakpoint_in_loop(struct world *w)
{
    static const uint8_t int3 = 0xcc;
    struct planted p = {.gpa = WORLD_CODE + COUNT};
    struct vcpu_debug d = {.planted = is_planted, .context = &p}, step = {.step = true};
    uint8_t before;
    load(w);
    debug(w, &d);
    memory_read(w->memory, p.gpa, &before, 1);
    for (unsigned i = 0; i < 5; i++) {
        memory_write(w->memory, p.gpa, &int3, 1);
        stops(w, VCPU_STOP_BREAKPOINT, COUNT);
        assert_int_equal(w->out.gpr[CPU_RAX], i + 2);
        memory_write(w->memory, p.gpa, &before, 1);
        debug(w, &step);
        stops(w, VCPU_STOP_STEP, 24);
        debug(w, &d);
    }
    assert_int_equal(world_go(w), VCPU_KICKED);
    check_log(w);
}

static void watch(struct world *w)
{
    struct vcpu_debug d = {
        .point_count = 2,
        .points = {{WORLD_DATA + 0x18, 8, VCPU_POINT_WRITE}, {WORLD_DATA + 0x10, 4, VCPU_POINT_WRITE}}};
    load(w);
    debug(w, &d);
    stops(w, VCPU_STOP_POINT, LOOP); /* behind the store */
    assert_int_equal(w->vcpu->stop.point, 1);
    for (unsigned i = 0; i < 3; i++) { /* what is only read does not count */
        stops(w, VCPU_STOP_POINT, 24);
        assert_int_equal(w->vcpu->stop.point, 0);
    }
    d = (struct vcpu_debug){.point_count = 1, .points = {{WORLD_DATA + 0x10, 1, VCPU_POINT_ACCESS}}};
    debug(w, &d);
    stops(w, VCPU_STOP_POINT, COUNT);
    debug(w, NULL);
    assert_int_equal(world_go(w), VCPU_KICKED);
    check_log(w);
}

static void code_point(struct world *w)
{
    struct vcpu_debug d = {.point_count = 1, .points = {{WORLD_CODE + INT3, 1, VCPU_POINT_CODE}}};
    load(w);
    debug(w, &d);
    stops(w, VCPU_STOP_POINT, INT3);
    assert_int_equal(w->out.gpr[CPU_RBX], 100);
    debug(w, NULL);
    assert_int_equal(world_go(w), VCPU_KICKED);
    check_log(w);
}

/* A kick that comes before the run does not take the step away. */
static void kick_and_step(struct world *w)
{
    struct vcpu_debug d = {.step = true};
    load(w);
    debug(w, &d);
    w->vm->engine->kick(w->vcpu);
    assert_int_equal(world_go(w), VCPU_KICKED);
    assert_int_equal(w->out.rip, WORLD_CODE);
    stops(w, VCPU_STOP_STEP, 7);
    debug(w, NULL);
    assert_int_equal(world_go(w), VCPU_KICKED);
    check_log(w);
}

static void on_each(void **state, void (*test)(struct world *w))
{
    static const struct engine *const engines[] = {&engine_interp, &engine_dbt, &engine_lockstep};
    for (unsigned i = 0; i < sizeof engines / sizeof *engines; i++) {
        struct world w;
        world_init(&w, *state, engines[i]);
        test(&w);
        world_fini(&w);
    }
}

#define ON_EACH(name)                                                                                                  \
    static void test_##name(void **state)                                                                              \
    {                                                                                                                  \
        on_each(state, name);                                                                                          \
    }
ON_EACH(step_all)
ON_EACH(step_fault)
ON_EACH(breakpoint)
ON_EACH(breakpoint_in_loop)
ON_EACH(watch)
ON_EACH(code_point)
ON_EACH(kick_and_step)

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, isa_setup, isa_teardown)
    const struct CMUnitTest tests[] = {TEST(step_all), TEST(step_fault), TEST(breakpoint),   TEST(breakpoint_in_loop),
                                       TEST(watch),    TEST(code_point), TEST(kick_and_step)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
