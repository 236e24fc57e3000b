/* A debugger's requests, byte by byte, on a target without an engine: two vCPUs that are plain data. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/cpu_state.h"
#include "hv/gdb_packet.h"
#include "hv/gdb_registers.h"
#include "hv/gdb_session.h"
#include "hv/memory.h"
#include "hv/vcpu.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum { VCPUS = 2, SAID_MAX = 1 << 16 };

struct fake {
    struct gdb_target target;
    struct gdb_session *session;
    struct cpu_state cpus[VCPUS];
    struct vcpu_debug debugs[VCPUS];
    bool running, failed;
    uint32_t went; /* the last mask of go() */
    char said[SAID_MAX];
};

static struct fake *of(struct gdb_target *target)
{
    return CONTAINER_OF(target, struct fake, target);
}

static int get(struct gdb_target *target, unsigned vcpu, struct cpu_state *cpu)
{
    assert_false(of(target)->running);
    *cpu = of(target)->cpus[vcpu];
    return 0;
}

static int set(struct gdb_target *target, unsigned vcpu, const struct cpu_state *cpu)
{
    assert_false(of(target)->running);
    of(target)->cpus[vcpu] = *cpu;
    return 0;
}

static int debug(struct gdb_target *target, unsigned vcpu, const struct vcpu_debug *what)
{
    assert_false(of(target)->running);
    of(target)->debugs[vcpu] = what ? *what : (struct vcpu_debug){0};
    return 0;
}

static bool running(struct gdb_target *target)
{
    return of(target)->running;
}

static void stand(struct gdb_target *target)
{
    struct fake *f = of(target);
    if (f->running && f->session)
        gdb_session_standing(f->session);
    f->running = false;
}

static bool go(struct gdb_target *target, uint32_t vcpus)
{
    struct fake *f = of(target);
    if (f->failed)
        return false;
    f->went = vcpus;
    if (f->session)
        gdb_session_going(f->session);
    f->running = true;
    return true;
}

static int setup(void **state)
{
    static struct fake f;
    struct err err;
    f = (struct fake){.running = true, .target = {VCPUS, NULL, get, set, debug, running, stand, go}};
    f.target.memory = memory_new(2 << 20, &err);
    for (unsigned i = 0; i < VCPUS; i++)
        cpu_state_reset(&f.cpus[i], i);
    f.session = f.target.memory ? gdb_session_new(&f.target) : NULL;
    *state = &f;
    return !f.session;
}

static void leave(struct fake *f)
{
    struct gdb_session *s = f->session;
    gdb_session_free(s);
    f->session = NULL;
}

static int teardown(void **state)
{
    struct fake *f = *state;
    leave(f);
    memory_free(f->target.memory);
    return 0;
}

/* What the session says to these bytes, in one string. */
static const char *send_raw(struct fake *f, const char *bytes, size_t count)
{
    size_t at = 0, said = 0;
    const char *data;
    for (;;) {
        size_t n = gdb_session_out(f->session, &data);
        assert_true(said + n < SAID_MAX);
        memcpy(f->said + said, data, n);
        said += n;
        if (n)
            gdb_session_said(f->session, n);
        if (!n && at == count)
            break;
        at += gdb_session_in(f->session, bytes + at, count - at);
    }
    f->said[said] = 0;
    return f->said;
}

static const char *packet(const char *text)
{
    static char bytes[1 << 15];
    uint8_t sum = 0;
    for (const char *p = text; *p; p++)
        sum = (uint8_t)(sum + (uint8_t)*p);
    snprintf(bytes, sizeof bytes, "$%s#%02x", text, sum);
    return bytes;
}

/* The answer's text, which comes behind a '+' and in a packet with the right sum. */
static const char *ask(struct fake *f, const char *text)
{
    static char answer[GDB_PACKET_MAX + 1];
    const char *bytes = packet(text);
    const char *said = send_raw(f, bytes, strlen(bytes));
    assert_true(said[0] == '+' && said[1] == '$');
    const char *end = strrchr(said, '#');
    snprintf(answer, sizeof answer, "%.*s", (int)(end - said - 2), said + 2);
    assert_string_equal(said + 1, packet(answer));
    return answer;
}

/* The request lets the guest go: nothing but the acknowledgement. */
static void goes(struct fake *f, const char *text, uint32_t vcpus)
{
    const char *bytes = packet(text);
    assert_string_equal(send_raw(f, bytes, strlen(bytes)), "+");
    assert_true(f->running);
    assert_int_equal(f->went & 3, vcpus);
}

static void is_said(struct fake *f, const char *text)
{
    const char *data;
    size_t n = gdb_session_out(f->session, &data);
    snprintf(f->said, sizeof f->said, "%.*s", (int)n, data);
    assert_string_equal(f->said, packet(text));
    gdb_session_said(f->session, n);
}

/* ---- packets ---- */

static void test_packets(void **state)
{
    struct fake *f = *state;
    assert_string_equal(ask(f, "?"), "T05thread:1;");
    assert_string_equal(send_raw(f, "-", 1), packet("T05thread:1;")); /* once more */
    assert_string_equal(send_raw(f, "$?#00", 5), "-");
    assert_string_equal(send_raw(f, "$?#zz", 5), "-");
    assert_string_equal(send_raw(f, "noise+$x$?#3f", 13) + 1, packet("T05thread:1;"));
    assert_string_equal(ask(f, "vMustReplyEmpty"), "");
    assert_string_equal(ask(f, ""), "");
    assert_string_equal(ask(f, "qC"), "QC1");
    assert_string_equal(ask(f, "QStartNoAckMode"), "OK");
    const char *bytes = packet("qC");
    assert_string_equal(send_raw(f, bytes, strlen(bytes)), "$QC1#c5");
    assert_string_equal(send_raw(f, "$qC#00", 6), ""); /* without acknowledgements it is dropped */
}

static void test_too_long(void **state)
{
    struct fake *f = *state;
    static char text[GDB_PACKET_MAX + 2];
    memset(text, 'm', GDB_PACKET_MAX + 1);
    const char *bytes = packet(text);
    assert_string_equal(send_raw(f, bytes, strlen(bytes)), "-");
    text[GDB_PACKET_MAX] = 0;
    assert_string_equal(ask(f, text), "E16"); /* EINVAL: read, and nonsense */
}

static void test_supported(void **state)
{
    struct fake *f = *state;
    assert_non_null(strstr(ask(f, "qSupported:swbreak+;hwbreak+;multiprocess+"), "PacketSize=2000;"));
    assert_string_equal(ask(f, "vCont?"), "vCont;c;C;s;S");
    assert_string_equal(ask(f, "qAttached"), "1");
}

/* ---- registers ---- */

static void test_description(void **state)
{
    struct fake *f = *state;
    const char *xml = gdb_registers_description();
    char whole[1 << 14] = "", question[64];
    unsigned count = 0;
    for (size_t at = 0;;) {
        snprintf(question, sizeof question, "qXfer:features:read:target.xml:%zx,400", at);
        const char *part = ask(f, question);
        strcat(whole, part + 1);
        at += strlen(part + 1);
        if (*part == 'l')
            break;
        assert_int_equal(*part, 'm');
    }
    assert_string_equal(whole, xml);
    for (const char *p = xml; (p = strstr(p, "<reg ")); p++)
        count++;
    assert_int_equal(count, GDB_REGISTER_COUNT);
    assert_string_equal(ask(f, "qXfer:features:read:target.xml:ffffff,400"), "E16");
    assert_string_equal(ask(f, "qXfer:features:read:other.xml:0,400"), "E16");
}

static void test_registers(void **state)
{
    struct fake *f = *state;
    struct cpu_state *cpu = &f->cpus[0];
    cpu->efer = 0x500;
    cpu->seg[CPU_CS].attributes |= CPU_SEG_L;
    cpu->gpr[CPU_RBX] = 0x1122334455667788;
    cpu->gpr[CPU_R15] = 15;
    cpu->cr3 = 0x1234000;
    cpu->msr[CPU_MSR_KERNEL_GS_BASE] = 0xffff888000000000;
    for (unsigned i = 0; i < 16; i++)
        cpu->xsave[160 + 16 + i] = (uint8_t)i;
    gdb_session_going(f->session); /* it has been looked at before */
    gdb_session_standing(f->session);
    assert_string_equal(ask(f, "p1"), "8877665544332211");
    assert_string_equal(ask(f, "pf"), "0f00000000000000");
    assert_string_equal(ask(f, "p29"), "000102030405060708090a0b0c0d0e0f");
    assert_string_equal(ask(f, "p3b"), "000000008088ffff");
    assert_string_equal(ask(f, "p3e"), "0040230100000000");
    assert_string_equal(ask(f, "p42"), "E16");
    assert_string_equal(ask(f, "P1=0100000000000080"), "OK");
    assert_int_equal(cpu->gpr[CPU_RBX], 0x8000000000000001);
    assert_string_equal(ask(f, "P10=00000000000000ff"), "E16"); /* rip: not canonical */
    assert_string_equal(ask(f, "P10=000000000000f0ff"), "E16");
    assert_string_equal(ask(f, "P10=0000000080ffffff"), "OK");
    assert_int_equal(cpu->rip, 0xffffff8000000000);
    assert_string_equal(ask(f, "P11=d70a0000"), "OK");
    assert_int_equal(cpu->rflags, 0xad7);
    assert_string_equal(ask(f, "P11=02000200"), "E16");         /* VM */
    assert_string_equal(ask(f, "P3c=0000000000000000"), "E16"); /* cr0 */
    assert_string_equal(ask(f, "P12=08000000"), "E16");         /* cs */
    assert_string_equal(ask(f, "P38=00000100"), "E16");         /* mxcsr: a reserved bit */
    assert_string_equal(ask(f, "P1=01"), "E16");
    assert_string_equal(ask(f, "P"), "E16");
}

/* All of them, there and back: nothing changes but what may. */
static void test_all_registers(void **state)
{
    struct fake *f = *state;
    char request[2048];
    struct cpu_state before = f->cpus[0];
    const char *all = ask(f, "g");
    snprintf(request, sizeof request, "G%s", all);
    assert_string_equal(ask(f, request), "OK");
    before.xsave[CPU_XSAVE_HEADER] |= 3;
    assert_memory_equal(&f->cpus[0], &before, sizeof before);
    memcpy(request + 1, "efbeadde", 8);
    assert_string_equal(ask(f, request), "OK");
    assert_int_equal(f->cpus[0].gpr[CPU_RAX], 0xdeadbeef);
    assert_string_equal(ask(f, "G00"), "E16");
}

static void test_threads(void **state)
{
    struct fake *f = *state;
    f->cpus[1].gpr[CPU_RAX] = 2;
    assert_string_equal(ask(f, "qfThreadInfo"), "m1,2");
    assert_string_equal(ask(f, "qsThreadInfo"), "l");
    assert_string_equal(ask(f, "Hg2"), "OK");
    assert_string_equal(ask(f, "p0"), "0200000000000000");
    assert_string_equal(ask(f, "T2"), "OK");
    assert_string_equal(ask(f, "T3"), "E16");
    assert_string_equal(ask(f, "Hg3"), "E16");
    assert_string_equal(ask(f, "Hg"), "E16");
    assert_string_equal(ask(f, "H"), "E16");
    assert_string_equal(ask(f, "qThreadExtraInfo,1"), "7643505520302c2072756e6e696e67"); /* vCPU 0, running */
}

/* ---- memory ---- */

static void test_memory(void **state)
{
    struct fake *f = *state;
    uint8_t back[8];
    assert_string_equal(ask(f, "M1000,4:deadbeef"), "OK");
    assert_string_equal(ask(f, "m1000,4"), "deadbeef");
    assert_string_equal(ask(f, "m1fffff,2"), "00"); /* as far as there is something */
    assert_string_equal(ask(f, "m200000,1"), "E0e");
    assert_string_equal(ask(f, "mffffffffffffffff,2"), "E0e");
    assert_string_equal(ask(f, "M1fffff,2:0000"), "E0e");
    assert_string_equal(ask(f, "M1000,4:dead"), "E16");
    assert_string_equal(ask(f, "M1000,ffffffffffffffff:00"), "E16");
    assert_string_equal(ask(f, "m1000"), "E16");
    assert_string_equal(ask(f, "m10000000000000000,1"), "E16");
    assert_int_equal(strlen(ask(f, "m0,ffffffff")), GDB_PACKET_MAX); /* cut to a packet */
    assert_string_equal(ask(f, "X1000,0:"), "OK");
    assert_string_equal(ask(f, "X2000,3:a}\x04z"), "OK"); /* 04h XOR 20h */
    assert_int_equal(memory_read(f->target.memory, 0x2000, back, 3), 0);
    assert_memory_equal(back, "a$z", 3);
    assert_string_equal(ask(f, "X2000,4:abc"), "E16");
}

/* ---- going and stopping ---- */

static void stopped(struct fake *f, uint32_t vcpus, struct vcpu_stop first, struct vcpu_stop second)
{
    const struct vcpu_stop stops[VCPUS] = {first, second};
    gdb_session_stopped(f->session, vcpus, stops);
    assert_false(f->running);
}

static uint8_t byte_at(struct fake *f, uint64_t gpa)
{
    return *memory_at(f->target.memory, gpa, 1);
}

static void test_breakpoints(void **state)
{
    struct fake *f = *state;
    ask(f, "qSupported:swbreak+;hwbreak+");
    assert_string_equal(ask(f, "M1000,2:9090"), "OK");
    assert_string_equal(ask(f, "Z0,1000,1"), "OK");
    assert_string_equal(ask(f, "Z0,1000,1"), "OK");
    assert_string_equal(ask(f, "Z0,200000,1"), "E16");
    assert_int_equal(byte_at(f, 0x1000), 0x90);
    goes(f, "c", 3);
    assert_int_equal(byte_at(f, 0x1000), 0xcc);
    assert_true(f->debugs[1].planted(f->debugs[1].context, 0x1000));
    assert_false(f->debugs[1].planted(f->debugs[1].context, 0x1001));
    stopped(f, 2, (struct vcpu_stop){0}, (struct vcpu_stop){VCPU_STOP_BREAKPOINT, 0});
    is_said(f, "T05swbreak:;thread:2;");
    assert_int_equal(byte_at(f, 0x1000), 0x90);
    assert_string_equal(ask(f, "qC"), "QC2");
    goes(f, "vCont;c", 3);
    assert_int_equal(memory_write(f->target.memory, 0x1000, "\x55", 1), 0); /* the guest changes its code */
    assert_string_equal(send_raw(f, "\3", 1), packet("T02thread:2;"));
    assert_int_equal(byte_at(f, 0x1000), 0x55);
    assert_string_equal(ask(f, "z0,1000,1"), "OK");
    assert_string_equal(ask(f, "z0,1000,1"), "OK");
    goes(f, "c", 3);
    assert_int_equal(byte_at(f, 0x1000), 0x55);
}

static void test_many_breakpoints(void **state)
{
    struct fake *f = *state;
    char text[32];
    for (unsigned i = 0; i < 256; i++) {
        snprintf(text, sizeof text, "Z0,%x,1", 0x1000 + i);
        assert_string_equal(ask(f, text), "OK");
    }
    assert_string_equal(ask(f, "Z0,3000,1"), "E1c"); /* ENOSPC */
    goes(f, "c", 3);
    assert_int_equal(byte_at(f, 0x10ff), 0xcc);
    stand(&f->target);
    for (unsigned i = 0; i < 256; i++)
        assert_int_equal(byte_at(f, 0x1000 + i), 0);
}

static void test_points(void **state)
{
    struct fake *f = *state;
    assert_string_equal(ask(f, "Z2,3000,4"), "OK");
    assert_string_equal(ask(f, "Z3,3008,8"), "OK");
    assert_string_equal(ask(f, "Z1,1000,1"), "OK");
    assert_string_equal(ask(f, "Z2,3001,4"), "E16"); /* not aligned */
    assert_string_equal(ask(f, "Z2,3000,3"), "E16");
    assert_string_equal(ask(f, "Z4,3010,1"), "OK");
    assert_string_equal(ask(f, "Z4,3011,1"), "E1c");
    assert_string_equal(ask(f, "Z5,3011,1"), "");
    assert_string_equal(ask(f, "Z2"), "E16");
    goes(f, "c", 3);
    assert_int_equal(f->debugs[0].point_count, 4);
    assert_int_equal(f->debugs[0].points[1].kind, VCPU_POINT_ACCESS);
    assert_int_equal(f->debugs[0].points[2].kind, VCPU_POINT_CODE);
    /* both at once: the second is said when the guest is to go on */
    stopped(f, 3, (struct vcpu_stop){VCPU_STOP_POINT, 0}, (struct vcpu_stop){VCPU_STOP_POINT, 1});
    is_said(f, "T05watch:3000;thread:1;");
    assert_string_equal(ask(f, "c"), "T05rwatch:3008;thread:2;");
    goes(f, "c", 3);
    stopped(f, 1, (struct vcpu_stop){VCPU_STOP_POINT, 2}, (struct vcpu_stop){0});
    is_said(f, "T05thread:1;");
    assert_string_equal(ask(f, "z2,3000,4"), "OK");
    goes(f, "c", 3);
    assert_int_equal(f->debugs[1].point_count, 3);
}

static void test_steps(void **state)
{
    struct fake *f = *state;
    goes(f, "vCont;s:2", 2); /* the other stands still */
    assert_true(f->debugs[1].step);
    stopped(f, 2, (struct vcpu_stop){0}, (struct vcpu_stop){VCPU_STOP_STEP, 0});
    is_said(f, "T05thread:2;");
    assert_false(f->debugs[1].step);
    goes(f, "vCont;s:1;c", 3);
    assert_true(f->debugs[0].step && !f->debugs[1].step);
    stopped(f, 3, (struct vcpu_stop){VCPU_STOP_STEP, 0}, (struct vcpu_stop){VCPU_STOP_BREAKPOINT, 0});
    is_said(f, "T05thread:1;");
    goes(f, "vCont;c:1", 1);
    assert_string_equal(send_raw(f, "\3", 1), packet("T02thread:1;"));
    goes(f, "s", 3);
    send_raw(f, "\3", 1);
    assert_string_equal(ask(f, "vCont"), "");
    assert_string_equal(ask(f, "vCont;"), "E16");
    assert_string_equal(ask(f, "vCont;x"), "E16");
    assert_string_equal(ask(f, "vCont;c:9"), "E16");
    assert_string_equal(ask(f, "C"), "E16");
    goes(f, "C05", 3);
    send_raw(f, "\3", 1);
    goes(f, "c2345", 3);
    assert_int_equal(f->cpus[0].rip, 0x2345);
}

static void test_while_running(void **state)
{
    struct fake *f = *state;
    assert_string_equal(send_raw(f, "\3", 1), ""); /* it stands */
    goes(f, "c", 3);
    assert_string_equal(ask(f, "g"), "E10"); /* EBUSY */
    assert_true(f->running);
    gdb_session_failed(f->session);
    is_said(f, "T06thread:1;");
    f->running = false;
    f->failed = true;
    assert_string_equal(ask(f, "c"), "T06thread:1;");
}

/* Somebody else lets the guest go: a request makes it stand again. */
static void test_others(void **state)
{
    struct fake *f = *state;
    go(&f->target, ~0u);
    assert_int_equal(strlen(ask(f, "p0")), 16);
    assert_false(f->running);
}

/* ---- the end ---- */

static void test_leaves(void **state)
{
    struct fake *f = *state;
    ask(f, "Z0,1000,1");
    ask(f, "Z2,3000,4");
    assert_string_equal(ask(f, "D"), "OK");
    assert_true(gdb_session_over(f->session));
    leave(f);
    assert_true(f->running); /* as before */
    assert_int_equal(byte_at(f, 0x1000), 0);
    assert_int_equal(f->debugs[0].point_count, 0);
    assert_null(f->debugs[0].planted);

    stand(&f->target);
    f->session = gdb_session_new(&f->target);
    leave(f);
    assert_false(f->running); /* as before */
    f->session = gdb_session_new(&f->target);
    goes(f, "c", 3);
    leave(f);
    assert_true(f->running); /* it was let go */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(packets),       TEST(too_long), TEST(supported),     TEST(description), TEST(registers),
        TEST(all_registers), TEST(threads),  TEST(memory),        TEST(breakpoints), TEST(many_breakpoints),
        TEST(points),        TEST(steps),    TEST(while_running), TEST(others),      TEST(leaves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
