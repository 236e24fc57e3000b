/* Requests to a guest that stands: registers, memory, points, threads, and what the stub can do. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "hv/gdb_registers.h"
#include "hv/gdb_session_inside.h"
#include "hv/linear.h"
#include "hv/memory.h"

enum { CHUNK = 1024 };

static void ok(struct gdb_session *s)
{
    gdb_answer_text(&s->answer, "OK");
}

/* ---- threads ---- */

bool gdb_take_thread(const struct gdb_session *s, const char **text, unsigned *vcpu, bool *all)
{
    uint64_t number;
    *vcpu = s->vcpu;
    *all = gdb_take(text, "-1");
    if (*all)
        return true;
    if (!gdb_take_number(text, &number) || number > s->target->vcpus)
        return false;
    if (number) /* 0: any will do */
        *vcpu = (unsigned)number - 1;
    return true;
}

static void choose_thread(struct gdb_session *s, const char *text)
{
    unsigned vcpu;
    bool all, general = *text == 'g';
    if (*text)
        text++;
    if (!gdb_take_thread(s, &text, &vcpu, &all)) {
        gdb_session_error(s, EINVAL);
        return;
    }
    if (general && !all) /* Hc is for c and s, and GDB says vCont */
        gdb_session_select(s, vcpu);
    ok(s);
}

static void thread_is_there(struct gdb_session *s, const char *text)
{
    unsigned vcpu;
    bool all;
    if (gdb_take_thread(s, &text, &vcpu, &all))
        ok(s);
    else
        gdb_session_error(s, EINVAL);
}

static void list_threads(struct gdb_session *s)
{
    for (unsigned i = 1; i <= s->target->vcpus; i++) {
        gdb_answer_text(&s->answer, i == 1 ? "m" : ",");
        gdb_answer_number(&s->answer, i);
    }
}

static void describe_thread(struct gdb_session *s, const char *text)
{
    static const char *const activities[] = {[CPU_RUNNING] = "running",
                                             [CPU_HALTED] = "halted",
                                             [CPU_WAITING_FOR_SIPI] = "not started",
                                             [CPU_UNINITIALIZED] = "not started"};
    unsigned vcpu, before = s->vcpu;
    bool all;
    char name[48];
    if (!gdb_take_thread(s, &text, &vcpu, &all)) {
        gdb_session_error(s, EINVAL);
        return;
    }
    gdb_session_select(s, vcpu);
    const struct cpu_state *cpu = gdb_session_cpu(s);
    snprintf(name, sizeof name, "vCPU %u, %s", vcpu,
             cpu && cpu->activity < sizeof activities / sizeof *activities ? activities[cpu->activity] : "?");
    gdb_session_select(s, before);
    gdb_answer_hex(&s->answer, name, strlen(name));
}

/* ---- registers ---- */

static void read_registers(struct gdb_session *s)
{
    const struct cpu_state *cpu = gdb_session_cpu(s);
    uint8_t value[GDB_REGISTER_BYTES_MAX];
    for (unsigned n = 0; cpu && n < GDB_REGISTER_COUNT; n++) {
        gdb_register_get(cpu, n, value);
        gdb_answer_hex(&s->answer, value, gdb_register_bytes(n));
    }
    if (!cpu)
        gdb_session_error(s, EIO);
}

static void store(struct gdb_session *s, const struct cpu_state *cpu)
{
    int rc = s->target->set(s->target, s->vcpu, cpu);
    s->cached = false;
    if (rc)
        gdb_session_error(s, rc);
    else
        ok(s);
}

/* All of them; those that cannot be written are left as they are. */
static void write_registers(struct gdb_session *s, const char *text)
{
    const struct cpu_state *before = gdb_session_cpu(s);
    uint8_t value[GDB_REGISTER_BYTES_MAX];
    if (!before) {
        gdb_session_error(s, EIO);
        return;
    }
    struct cpu_state cpu = *before;
    for (unsigned n = 0; n < GDB_REGISTER_COUNT && *text; n++) {
        if (!gdb_take_bytes(&text, value, gdb_register_bytes(n)) ||
            (!gdb_register_is_read_only(n) && !gdb_register_set(&cpu, n, value))) {
            gdb_session_error(s, EINVAL);
            return;
        }
    }
    store(s, &cpu);
}

static void read_register(struct gdb_session *s, const char *text)
{
    const struct cpu_state *cpu = gdb_session_cpu(s);
    uint8_t value[GDB_REGISTER_BYTES_MAX];
    uint64_t n;
    if (!cpu || !gdb_take_number(&text, &n) || n >= GDB_REGISTER_COUNT) {
        gdb_session_error(s, EINVAL);
        return;
    }
    gdb_register_get(cpu, (unsigned)n, value);
    gdb_answer_hex(&s->answer, value, gdb_register_bytes((unsigned)n));
}

static void write_register(struct gdb_session *s, const char *text)
{
    const struct cpu_state *before = gdb_session_cpu(s);
    uint8_t value[GDB_REGISTER_BYTES_MAX];
    uint64_t n;
    struct cpu_state cpu;
    if (before)
        cpu = *before;
    if (!before || !gdb_take_number(&text, &n) || n >= GDB_REGISTER_COUNT || !gdb_take(&text, "=") ||
        !gdb_take_bytes(&text, value, gdb_register_bytes((unsigned)n)) || !gdb_register_set(&cpu, (unsigned)n, value))
        gdb_session_error(s, EINVAL);
    else
        store(s, &cpu);
}

/* ---- memory: address,length ---- */

static bool take_range(const char **text, uint64_t *at, uint64_t *bytes)
{
    return gdb_take_number(text, at) && gdb_take(text, ",") && gdb_take_number(text, bytes);
}

static void read_memory(struct gdb_session *s, const char *text)
{
    const struct cpu_state *cpu = gdb_session_cpu(s);
    uint64_t at, bytes, done = 0;
    uint8_t data[CHUNK];
    if (!cpu || !take_range(&text, &at, &bytes)) {
        gdb_session_error(s, EINVAL);
        return;
    }
    if (bytes > GDB_PACKET_MAX / 2)
        bytes = GDB_PACKET_MAX / 2;
    while (done < bytes) {
        size_t wanted = bytes - done < CHUNK ? (size_t)(bytes - done) : CHUNK;
        size_t n = linear_read(s->target->memory, cpu, at + done, data, wanted);
        gdb_answer_hex(&s->answer, data, n);
        done += n;
        if (n < wanted)
            break;
    }
    if (bytes && !done)
        gdb_session_error(s, EFAULT);
}

/* binary: the bytes themselves, to the packet's end (X); else hex (M). */
static void write_memory(struct gdb_session *s, const char *text, bool binary)
{
    const struct cpu_state *cpu = gdb_session_cpu(s);
    uint64_t at, bytes, done = 0;
    uint8_t data[CHUNK];
    if (!cpu || !take_range(&text, &at, &bytes) || !gdb_take(&text, ":")) {
        gdb_session_error(s, EINVAL);
        return;
    }
    size_t left = (size_t)(s->reader.packet + s->reader.packet_bytes - text);
    if (bytes > (binary ? left : left / 2)) {
        gdb_session_error(s, EINVAL);
        return;
    }
    while (done < bytes) {
        size_t n = bytes - done < CHUNK ? (size_t)(bytes - done) : CHUNK;
        if (binary)
            memcpy(data, text + done, n);
        else if (!gdb_take_bytes(&text, data, n))
            break;
        size_t written = linear_write(s->target->memory, cpu, at + done, data, n);
        done += written;
        if (written < n)
            break;
    }
    if (done < bytes)
        gdb_session_error(s, EFAULT);
    else
        ok(s);
}

/* ---- points: type,address,length ---- */

static void change_point(struct gdb_session *s, const char *text, bool add)
{
    uint64_t type, at, bytes, gpa = 0;
    if (!gdb_take_number(&text, &type) || !gdb_take(&text, ",") || !take_range(&text, &at, &bytes)) {
        gdb_session_error(s, EINVAL);
        return;
    }
    if (type >= GDB_POINT_TYPES)
        return; /* an empty answer: not known here */
    int rc = 0;
    if (add && type == GDB_BREAKPOINT) {
        const struct cpu_state *cpu = gdb_session_cpu(s);
        rc = cpu ? linear_gpa(s->target->memory, cpu, at, &gpa) : -EIO;
    }
    if (!rc && add)
        rc = gdb_points_add(&s->points, (enum gdb_point_type)type, at, bytes, gpa);
    else if (!add)
        gdb_points_remove(&s->points, (enum gdb_point_type)type, at, bytes);
    gdb_resume_arm(s);
    if (rc)
        gdb_session_error(s, rc);
    else
        ok(s);
}

/* ---- queries ---- */

static void supported(struct gdb_session *s, const char *text)
{
    char line[200];
    s->says_why = strstr(text, "swbreak+") && strstr(text, "hwbreak+");
    snprintf(line, sizeof line, "PacketSize=%x;qXfer:features:read+;QStartNoAckMode+;vContSupported+;swbreak+;hwbreak+",
             GDB_PACKET_MAX);
    gdb_answer_text(&s->answer, line);
}

/* offset,length: "m" and a part, or "l" and the last one */
static void describe(struct gdb_session *s, const char *text)
{
    const char *xml = gdb_registers_description();
    uint64_t at, bytes, all = strlen(xml);
    if (!gdb_take(&text, "target.xml:") || !take_range(&text, &at, &bytes) || at > all) {
        gdb_session_error(s, EINVAL);
        return;
    }
    uint64_t part = GDB_PACKET_MAX / 2 - 1; /* each may be escaped */
    part = part < bytes ? part : bytes;
    part = part < all - at ? part : all - at;
    gdb_answer_text(&s->answer, at + part == all ? "l" : "m");
    gdb_answer_escaped(&s->answer, xml + at, (size_t)part);
}

static void query(struct gdb_session *s, const char *text)
{
    if (gdb_take(&text, "Supported"))
        supported(s, text);
    else if (gdb_take(&text, "Xfer:features:read:"))
        describe(s, text);
    else if (gdb_take(&text, "fThreadInfo"))
        list_threads(s);
    else if (gdb_take(&text, "sThreadInfo"))
        gdb_answer_text(&s->answer, "l");
    else if (gdb_take(&text, "ThreadExtraInfo,"))
        describe_thread(s, text);
    else if (gdb_take(&text, "Attached"))
        gdb_answer_text(&s->answer, "1"); /* a debugger that leaves lets go, it does not kill */
    else if (gdb_take(&text, "Symbol::"))
        ok(s);
    else if (strcmp(text, "C") == 0) {
        gdb_answer_text(&s->answer, "QC");
        gdb_answer_number(&s->answer, s->vcpu + 1);
    }
}

/* ---- the list ---- */

static void other(struct gdb_session *s, const char *packet)
{
    if (strcmp(packet, "vCont?") == 0) {
        gdb_answer_text(&s->answer, "vCont;c;C;s;S");
    } else if (strcmp(packet, "QStartNoAckMode") == 0) {
        s->no_acks = true; /* this packet's has been said */
        ok(s);
    } else if (*packet == 'D' || *packet == 'k' || strncmp(packet, "vKill", 5) == 0) {
        s->over = true;
        ok(s);
    }
}

void gdb_request(struct gdb_session *s, const char *packet)
{
    switch (*packet) {
    case '?':
        gdb_session_say_stop(s);
        break;
    case 'g':
        read_registers(s);
        break;
    case 'G':
        write_registers(s, packet + 1);
        break;
    case 'p':
        read_register(s, packet + 1);
        break;
    case 'P':
        write_register(s, packet + 1);
        break;
    case 'm':
        read_memory(s, packet + 1);
        break;
    case 'M':
    case 'X':
        write_memory(s, packet + 1, *packet == 'X');
        break;
    case 'Z':
    case 'z':
        change_point(s, packet + 1, *packet == 'Z');
        break;
    case 'H':
        choose_thread(s, packet + 1);
        break;
    case 'T':
        thread_is_there(s, packet + 1);
        break;
    case 'q':
        query(s, packet + 1);
        break;
    default:
        other(s, packet);
    }
}
