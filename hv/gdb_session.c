/* See gdb_session.h: bytes in and out, who is stopped, the end. */
#include "hv/gdb_session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hv/gdb_session_inside.h"
#include "hv/trace.h"

/* ---- what is said ---- */

static void out(struct gdb_session *s, const char *data, size_t bytes)
{
    if (bytes <= GDB_OUT_MAX - s->out_bytes) {
        memcpy(s->out + s->out_bytes, data, bytes);
        s->out_bytes += bytes;
    }
}

/* The answer as a packet. It stays, so that it can be said again. */
static void say(struct gdb_session *s)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t sum = 0;
    for (size_t i = 0; i < s->answer.bytes; i++)
        sum = (uint8_t)(sum + (uint8_t)s->answer.text[i]);
    const char end[] = {'#', digits[sum >> 4], digits[sum & 15]};
    trace_debug(TRACE_GDB, "we: %.*s", (int)s->answer.bytes, s->answer.text);
    out(s, "$", 1);
    out(s, s->answer.text, s->answer.bytes);
    out(s, end, sizeof end);
}

size_t gdb_session_out(const struct gdb_session *s, const char **data)
{
    *data = s->out + s->out_at;
    return s->out_bytes - s->out_at;
}

void gdb_session_said(struct gdb_session *s, size_t bytes)
{
    s->out_at += bytes;
    if (s->out_at == s->out_bytes)
        s->out_at = s->out_bytes = 0;
}

void gdb_session_error(struct gdb_session *s, int error)
{
    uint8_t number = (uint8_t)(error < 0 ? -error : error);
    s->answer = (struct gdb_answer){0};
    gdb_answer_text(&s->answer, "E");
    gdb_answer_hex(&s->answer, &number, 1);
}

/* ---- the vCPU that is looked at ---- */

struct cpu_state *gdb_session_cpu(struct gdb_session *s)
{
    s->cached = s->cached || s->target->get(s->target, s->vcpu, &s->cpu) == 0;
    return s->cached ? &s->cpu : NULL;
}

void gdb_session_select(struct gdb_session *s, unsigned vcpu)
{
    s->cached = s->cached && vcpu == s->vcpu;
    s->vcpu = vcpu;
}

/* ---- going and standing ---- */

void gdb_session_going(struct gdb_session *s)
{
    s->cached = false;
    gdb_points_plant(&s->points);
}

void gdb_session_standing(struct gdb_session *s)
{
    gdb_points_lift(&s->points);
}

static void say_point(struct gdb_session *s, unsigned point)
{
    static const char *const names[] = {
        [GDB_WATCH_WRITE] = "watch:", [GDB_WATCH_READ] = "rwatch:", [GDB_WATCH_ACCESS] = "awatch:"};
    enum gdb_point_type type = point < s->points.point_count ? s->points.types[point] : GDB_HARDWARE_BREAKPOINT;
    if (type != GDB_HARDWARE_BREAKPOINT) {
        gdb_answer_text(&s->answer, names[type]);
        gdb_answer_number(&s->answer, s->points.points[point].linear);
        gdb_answer_text(&s->answer, ";");
    } else if (s->says_why) {
        gdb_answer_text(&s->answer, "hwbreak:;");
    }
}

void gdb_session_say_stop(struct gdb_session *s)
{
    uint8_t signal = (uint8_t)s->signal;
    gdb_answer_text(&s->answer, "T");
    gdb_answer_hex(&s->answer, &signal, 1);
    if (s->stopped_by_vcpu && s->stop.kind == VCPU_STOP_POINT)
        say_point(s, s->stop.point);
    if (s->stopped_by_vcpu && s->stop.kind == VCPU_STOP_BREAKPOINT && s->says_why)
        gdb_answer_text(&s->answer, "swbreak:;");
    gdb_answer_text(&s->answer, "thread:");
    gdb_answer_number(&s->answer, s->vcpu + 1);
    gdb_answer_text(&s->answer, ";");
}

static void stops(struct gdb_session *s, enum gdb_signal signal, bool by_vcpu)
{
    s->target->stand(s->target);
    s->signal = signal;
    s->stopped_by_vcpu = by_vcpu;
    gdb_resume_arm(s);
    if (!s->waits)
        return;
    s->waits = false;
    s->answer = (struct gdb_answer){0};
    gdb_session_say_stop(s);
    say(s);
}

/* A step is what was waited for; then the first in order. What is left is kept only if it will not happen again. */
void gdb_session_stopped(struct gdb_session *s, uint32_t vcpus, const struct vcpu_stop *all)
{
    s->target->stand(s->target);
    for (unsigned i = 0; i < s->target->vcpus; i++)
        if (vcpus >> i & 1 && all[i].kind == VCPU_STOP_POINT) {
            s->pending |= 1u << i;
            s->pending_stops[i] = all[i];
        }
    uint32_t first = vcpus & s->stepping ? vcpus & s->stepping : vcpus;
    if (!first || !s->waits)
        return;
    unsigned vcpu = (unsigned)__builtin_ctz(first);
    s->stop = all[vcpu];
    s->pending &= ~(1u << vcpu);
    gdb_session_select(s, vcpu);
    stops(s, GDB_SIGTRAP, true);
}

void gdb_session_failed(struct gdb_session *s)
{
    if (s->waits)
        stops(s, GDB_SIGABRT, false);
}

/* ---- packets ---- */

static void handle(struct gdb_session *s)
{
    const char *packet = s->reader.packet;
    trace_debug(TRACE_GDB, "debugger: %s", packet);
    s->answer = (struct gdb_answer){0};
    if (s->waits) {
        gdb_session_error(s, EBUSY); /* only an interrupt is expected now */
        say(s);
        return;
    }
    s->target->stand(s->target); /* somebody else may have let it go */
    if (gdb_resume(s, packet)) {
        if (s->answer.bytes)
            say(s);
        return;
    }
    gdb_request(s, packet);
    if (s->answer.full)
        gdb_session_error(s, E2BIG);
    say(s);
}

static void byte(struct gdb_session *s, uint8_t b)
{
    switch (gdb_reader_byte(&s->reader, b)) {
    case GDB_PACKET:
        if (!s->no_acks)
            out(s, "+", 1);
        handle(s);
        break;
    case GDB_BROKEN:
        if (!s->no_acks)
            out(s, "-", 1);
        break;
    case GDB_AGAIN:
        if (!s->no_acks && s->answer.bytes && !s->waits)
            say(s);
        break;
    case GDB_INTERRUPT:
        if (s->waits)
            stops(s, GDB_SIGINT, false);
        break;
    case GDB_NOTHING:
        break;
    }
}

size_t gdb_session_in(struct gdb_session *s, const void *data, size_t bytes)
{
    const uint8_t *p = data;
    size_t taken = 0;
    while (taken < bytes && !s->out_bytes && !s->over)
        byte(s, p[taken++]);
    return s->over ? bytes : taken;
}

bool gdb_session_over(const struct gdb_session *s)
{
    return s->over;
}

/* ---- beginning and end ---- */

struct gdb_session *gdb_session_new(struct gdb_target *target)
{
    struct gdb_session *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->target = target;
    s->points.memory = target->memory;
    s->goes_on = target->running(target);
    s->signal = GDB_SIGTRAP;
    target->stand(target);
    return s;
}

void gdb_session_drop(struct gdb_session *s)
{
    free(s);
}

void gdb_session_free(struct gdb_session *s)
{
    if (!s)
        return;
    s->target->stand(s->target);
    gdb_points_clear(&s->points);
    for (unsigned i = 0; i < s->target->vcpus; i++)
        s->target->debug(s->target, i, NULL);
    if (s->goes_on)
        s->target->go(s->target, ~0u);
    free(s);
}
