/* Requests that let the guest go on: c, s and their like, vCont. */
#include <errno.h>
#include <string.h>

#include "hv/gdb_registers.h"
#include "hv/gdb_session_inside.h"

enum action { STAY, CONTINUE, STEP };

static int debug(struct gdb_session *s, unsigned vcpu, bool step)
{
    struct vcpu_debug d = {
        .step = step,
        .point_count = s->points.point_count,
        .planted = gdb_points_planted,
        .context = &s->points,
    };
    memcpy(d.points, s->points.points, sizeof d.points);
    return s->target->debug(s->target, vcpu, &d);
}

void gdb_resume_arm(struct gdb_session *s)
{
    s->stepping = 0;
    for (unsigned i = 0; i < s->target->vcpus; i++)
        debug(s, i, false);
}

/* A watchpoint that another vCPU met at the last stop, if it is still wanted. */
static bool take_pending(struct gdb_session *s)
{
    while (s->pending) {
        unsigned vcpu = (unsigned)__builtin_ctz(s->pending);
        s->pending &= s->pending - 1;
        if (s->pending_stops[vcpu].point >= s->points.point_count ||
            s->points.types[s->pending_stops[vcpu].point] == GDB_HARDWARE_BREAKPOINT)
            continue;
        s->stop = s->pending_stops[vcpu];
        s->stopped_by_vcpu = true;
        s->signal = GDB_SIGTRAP;
        gdb_session_select(s, vcpu);
        return true;
    }
    return false;
}

static void resume(struct gdb_session *s, uint32_t step, uint32_t go)
{
    uint32_t all = s->target->vcpus == 32 ? ~0u : (1u << s->target->vcpus) - 1;
    step &= all;
    go = (go & all) | step;
    if (!step && take_pending(s)) {
        gdb_session_say_stop(s);
        return;
    }
    for (unsigned i = 0; i < s->target->vcpus; i++) {
        int rc = go >> i & 1 ? debug(s, i, step >> i & 1) : 0;
        if (rc) {
            gdb_resume_arm(s);
            gdb_session_error(s, rc);
            return;
        }
    }
    s->stepping = step;
    s->waits = s->goes_on = true;
    if (s->target->go(s->target, go))
        return;
    s->waits = s->goes_on = false;
    gdb_resume_arm(s);
    s->signal = GDB_SIGABRT;
    s->stopped_by_vcpu = false;
    gdb_session_say_stop(s);
}

/* ---- c, s, C, S: [signal;][address]; signals mean nothing to a machine ---- */

static void go_on(struct gdb_session *s, const char *text, bool step, bool has_signal)
{
    uint64_t signal, address;
    if (has_signal && !gdb_take_number(&text, &signal)) {
        gdb_session_error(s, EINVAL);
        return;
    }
    gdb_take(&text, ";");
    if (*text) {
        struct cpu_state *cpu = gdb_session_cpu(s);
        if (!cpu || !gdb_take_number(&text, &address)) {
            gdb_session_error(s, EINVAL);
            return;
        }
        uint8_t rip[8];
        memcpy(rip, &address, sizeof rip);
        int rc = gdb_register_set(cpu, GDB_REGISTER_RIP, rip) ? s->target->set(s->target, s->vcpu, cpu) : -EINVAL;
        if (rc) {
            gdb_session_error(s, rc);
            return;
        }
    }
    resume(s, step ? 1u << s->vcpu : 0, ~0u);
}

/* ---- vCont[;action[:thread]]... : for each vCPU the first action that means it ---- */

static bool take_action(const char **text, enum action *action)
{
    uint64_t signal;
    char letter = **text;
    if (!letter || !strchr("cCsS", letter))
        return false;
    ++*text;
    if ((letter == 'C' || letter == 'S') && !gdb_take_number(text, &signal))
        return false;
    *action = letter == 'c' || letter == 'C' ? CONTINUE : STEP;
    return true;
}

static void go_on_each(struct gdb_session *s, const char *text)
{
    uint32_t step = 0, go = 0;
    while (gdb_take(&text, ";")) {
        enum action action;
        unsigned vcpu = 0;
        bool all = true;
        if (!take_action(&text, &action) || (gdb_take(&text, ":") && !gdb_take_thread(s, &text, &vcpu, &all))) {
            gdb_session_error(s, EINVAL);
            return;
        }
        uint32_t who = (all ? ~0u : 1u << vcpu) & ~(step | go);
        *(action == STEP ? &step : &go) |= who;
    }
    if (*text || !(step | go))
        gdb_session_error(s, EINVAL);
    else
        resume(s, step, go);
}

bool gdb_resume(struct gdb_session *s, const char *packet)
{
    if (gdb_take(&packet, "vCont;")) {
        go_on_each(s, packet - 1);
        return true;
    }
    if (!*packet || !strchr("cCsS", *packet))
        return false;
    go_on(s, packet + 1, *packet == 's' || *packet == 'S', *packet == 'C' || *packet == 'S');
    return true;
}
