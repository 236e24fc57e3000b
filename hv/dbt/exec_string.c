/* String instructions. With REP they work in runs: as far as both sides stay in their page and in plain memory, many
 * elements at once; otherwise one element. After every run the registers say what is done, so that a fault or an
 * interrupt may come between and the instruction starts again where it was. */
#include "hv/dbt/device.h"
#include "hv/dbt/debug.h"
#include "hv/dbt/exec.h"
#include "hv/dbt/exec_parts.h"
#include "hv/dbt/flags.h"
#include "hv/dbt/io.h"
#include "hv/memory.h"

enum { PAGE = MEMORY_PAGE_BYTES };

/* One of RSI, RDI, RCX, as wide as addresses are. */
static uint64_t counter(const struct dbt_cpu *cpu, const struct insn *insn, unsigned reg)
{
    return cpu->gpr[reg] & exec_address_mask(insn);
}

static void set_counter(struct dbt_cpu *cpu, const struct insn *insn, unsigned reg, uint64_t value)
{
    exec_put(cpu, insn, reg, insn->address_bytes, value);
}

static void advance(struct dbt_cpu *cpu, const struct insn *insn, unsigned reg, uint64_t elements)
{
    uint64_t bytes = elements * insn->bytes;
    set_counter(cpu, insn, reg, cpu->rflags & CPU_DF ? cpu->gpr[reg] - bytes : cpu->gpr[reg] + bytes);
}

static uint64_t source(struct dbt_cpu *cpu, const struct insn *insn)
{
    return segment_linear(cpu, insn->segment, counter(cpu, insn, CPU_RSI), insn->bytes, false);
}

static uint64_t destination(struct dbt_cpu *cpu, const struct insn *insn, bool write)
{
    return segment_linear(cpu, CPU_ES, counter(cpu, insn, CPU_RDI), insn->bytes, write);
}

static bool repeated(const struct insn *insn)
{
    return insn->prefixes & (INSN_REP | INSN_REPNE);
}

/* Is the next element to be done? If not, the instruction is over. */
static bool begins(struct dbt_cpu *cpu, const struct insn *insn)
{
    if (!repeated(insn) || counter(cpu, insn, CPU_RCX))
        return true;
    exec_done(cpu, insn);
    return false;
}

/* `elements` are done: goes on (rip stays) or is over. */
static void ends(struct dbt_cpu *cpu, const struct insn *insn, uint64_t elements)
{
    if (!repeated(insn)) {
        exec_done(cpu, insn);
        return;
    }
    uint64_t left = counter(cpu, insn, CPU_RCX) - elements;
    set_counter(cpu, insn, CPU_RCX, left);
    if (!left)
        exec_done(cpu, insn);
}

/* How many elements can be done in one go from this address on, upwards, without leaving page, segment or wrapping. */
static uint64_t run_at(struct dbt_cpu *cpu, const struct insn *insn, enum cpu_seg seg, uint64_t offset, uint64_t linear)
{
    uint64_t room = (PAGE - (linear & (PAGE - 1))) / insn->bytes;
    if (insn->address_bytes == 2) {
        uint64_t to_wrap = (0x10000 - offset) / insn->bytes;
        room = room < to_wrap ? room : to_wrap;
    }
    if (cpu->code_bytes != 8 && !(cpu->seg_flat[seg] & CPU_FLAT_READ)) {
        const struct cpu_segment *s = &cpu->seg[seg];
        if (segment_is_data(s) && s->attributes & SEGMENT_EXPAND_DOWN)
            return 0;
        uint64_t to_limit = ((uint64_t)s->limit + 1 - offset) / insn->bytes;
        room = room < to_limit ? room : to_limit;
    }
    uint64_t wanted = repeated(insn) ? counter(cpu, insn, CPU_RCX) : 1;
    return room < wanted ? room : wanted;
}

static bool may_run(const struct dbt_cpu *cpu, const struct insn *insn)
{
    return repeated(insn) && !(cpu->rflags & (CPU_DF | CPU_TF)) && !cpu->debug_data;
}

/* ---- MOVS ---- */

static void copy_forward(uint8_t *to, const uint8_t *from, uint64_t elements, unsigned bytes)
{
    uint64_t ahead = (uintptr_t)to - (uintptr_t)from;
    if (ahead >= elements * bytes) { /* no element is read after it was written */
        memmove(to, from, elements * bytes);
        return;
    }
    for (uint64_t i = 0; i < elements; i++) { /* a pattern repeats itself */
        uint64_t value;
        memcpy(&value, from + i * bytes, bytes);
        memcpy(to + i * bytes, &value, bytes);
    }
}

static uint64_t movs_run(struct dbt_cpu *cpu, const struct insn *insn, uint64_t from, uint64_t to)
{
    uint64_t n = run_at(cpu, insn, insn->segment, counter(cpu, insn, CPU_RSI), from);
    uint64_t m = run_at(cpu, insn, CPU_ES, counter(cpu, insn, CPU_RDI), to);
    n = n < m ? n : m;
    if (n < 2)
        return 0;
    const uint8_t *in = mmu_host(cpu, from, (unsigned)(n * insn->bytes), MMU_READ);
    uint8_t *out = in ? mmu_host(cpu, to, (unsigned)(n * insn->bytes), MMU_WRITE) : NULL;
    if (!out)
        return 0;
    copy_forward(out, in, n, insn->bytes);
    return n;
}

static void movs(struct dbt_cpu *cpu, const struct insn *insn)
{
    if (!begins(cpu, insn))
        return;
    uint64_t from = source(cpu, insn), to = destination(cpu, insn, true);
    uint64_t done = may_run(cpu, insn) ? movs_run(cpu, insn, from, to) : 0;
    if (!done) {
        exec_store(cpu, to, insn->bytes, exec_load(cpu, from, insn->bytes));
        done = 1;
    }
    advance(cpu, insn, CPU_RSI, done);
    advance(cpu, insn, CPU_RDI, done);
    ends(cpu, insn, done);
}

/* ---- STOS ---- */

static void fill(uint8_t *to, uint64_t elements, unsigned bytes, uint64_t value)
{
    if (bytes == 1 || !value) {
        memset(to, (int)(value & 0xff), elements * bytes);
        return;
    }
    for (uint64_t i = 0; i < elements; i++)
        memcpy(to + i * bytes, &value, bytes);
}

static void stos(struct dbt_cpu *cpu, const struct insn *insn)
{
    if (!begins(cpu, insn))
        return;
    uint64_t to = destination(cpu, insn, true), done = 1;
    uint64_t value = cpu->gpr[CPU_RAX];
    if (insn->bytes < 8)
        value &= (1ull << 8 * insn->bytes) - 1;
    uint64_t n = may_run(cpu, insn) ? run_at(cpu, insn, CPU_ES, counter(cpu, insn, CPU_RDI), to) : 0;
    uint8_t *out = n > 1 ? mmu_host(cpu, to, (unsigned)(n * insn->bytes), MMU_WRITE) : NULL;
    if (out) {
        fill(out, n, insn->bytes, value);
        done = n;
    } else {
        exec_store(cpu, to, insn->bytes, value);
    }
    advance(cpu, insn, CPU_RDI, done);
    ends(cpu, insn, done);
}

static void lods(struct dbt_cpu *cpu, const struct insn *insn)
{
    if (!begins(cpu, insn))
        return;
    uint64_t value = exec_load(cpu, source(cpu, insn), insn->bytes);
    exec_put(cpu, insn, CPU_RAX, insn->bytes, value);
    advance(cpu, insn, CPU_RSI, 1);
    ends(cpu, insn, 1);
}

/* ---- CMPS, SCAS ---- */

static void compare(struct dbt_cpu *cpu, unsigned bytes, uint64_t a, uint64_t b)
{
    switch (bytes) {
    case 1:
        flags_sub8(&cpu->rflags, (uint8_t)a, (uint8_t)b);
        break;
    case 2:
        flags_sub16(&cpu->rflags, (uint16_t)a, (uint16_t)b);
        break;
    case 4:
        flags_sub32(&cpu->rflags, (uint32_t)a, (uint32_t)b);
        break;
    default:
        flags_sub64(&cpu->rflags, a, b);
    }
}

/* Like ends(), and over if ZF is not what the prefix wants. */
static void ends_compare(struct dbt_cpu *cpu, const struct insn *insn, uint64_t elements)
{
    bool equal = cpu->rflags & CPU_ZF, goes_on = equal == !!(insn->prefixes & INSN_REP);
    if (repeated(insn) && !goes_on) {
        set_counter(cpu, insn, CPU_RCX, counter(cpu, insn, CPU_RCX) - elements);
        exec_done(cpu, insn);
        return;
    }
    ends(cpu, insn, elements);
}

/* How many of n elements are done until the comparison ends: at least 1. */
static uint64_t cmps_count(const uint8_t *a, const uint8_t *b, uint64_t n, unsigned bytes, bool while_equal)
{
    for (uint64_t i = 0; i < n; i++)
        if (!memcmp(a + i * bytes, b + i * bytes, bytes) != while_equal)
            return i + 1;
    return n;
}

static void cmps(struct dbt_cpu *cpu, const struct insn *insn)
{
    if (!begins(cpu, insn))
        return;
    uint64_t left = source(cpu, insn), right = destination(cpu, insn, false), done = 1;
    uint64_t a = exec_load(cpu, left, insn->bytes), b = exec_load(cpu, right, insn->bytes);
    if (may_run(cpu, insn)) {
        uint64_t n = run_at(cpu, insn, insn->segment, counter(cpu, insn, CPU_RSI), left);
        uint64_t m = run_at(cpu, insn, CPU_ES, counter(cpu, insn, CPU_RDI), right);
        n = n < m ? n : m;
        const uint8_t *x = n > 1 ? mmu_host(cpu, left, (unsigned)(n * insn->bytes), MMU_READ) : NULL;
        const uint8_t *y = x ? mmu_host(cpu, right, (unsigned)(n * insn->bytes), MMU_READ) : NULL;
        if (y) {
            done = cmps_count(x, y, n, insn->bytes, insn->prefixes & INSN_REP);
            a = b = 0;
            memcpy(&a, x + (done - 1) * insn->bytes, insn->bytes);
            memcpy(&b, y + (done - 1) * insn->bytes, insn->bytes);
        }
    }
    compare(cpu, insn->bytes, a, b);
    advance(cpu, insn, CPU_RSI, done);
    advance(cpu, insn, CPU_RDI, done);
    ends_compare(cpu, insn, done);
}

static void scas(struct dbt_cpu *cpu, const struct insn *insn)
{
    if (!begins(cpu, insn))
        return;
    uint64_t at = destination(cpu, insn, false), done = 1, a = cpu->gpr[CPU_RAX];
    uint64_t b = exec_load(cpu, at, insn->bytes);
    uint64_t n = may_run(cpu, insn) ? run_at(cpu, insn, CPU_ES, counter(cpu, insn, CPU_RDI), at) : 0;
    const uint8_t *x = n > 1 ? mmu_host(cpu, at, (unsigned)(n * insn->bytes), MMU_READ) : NULL;
    bool while_equal = insn->prefixes & INSN_REP;
    for (done = 1; x && done <= n; done++) {
        b = 0;
        memcpy(&b, x + (done - 1) * insn->bytes, insn->bytes);
        if (!memcmp(&a, &b, insn->bytes) != while_equal || done == n)
            break;
    }
    compare(cpu, insn->bytes, a, b);
    advance(cpu, insn, CPU_RDI, done);
    ends_compare(cpu, insn, done);
}

/* ---- INS, OUTS ---- */

static void ins(struct dbt_cpu *cpu, const struct insn *insn)
{
    uint16_t port = (uint16_t)cpu->gpr[CPU_RDX];
    unsigned bytes = insn->bytes == 8 ? 4 : insn->bytes;
    io_check(cpu, port, bytes);
    if (!begins(cpu, insn))
        return;
    uint64_t to = destination(cpu, insn, true);
    mmu_check_store(cpu, to, bytes); /* before the device gives the value away */
    debug_check_io(cpu, port, bytes);
    exec_store(cpu, to, bytes, device_in(cpu, port, bytes));
    struct insn element = *insn;
    element.bytes = (uint8_t)bytes;
    advance(cpu, &element, CPU_RDI, 1);
    ends(cpu, insn, 1);
}

static void outs(struct dbt_cpu *cpu, const struct insn *insn)
{
    uint16_t port = (uint16_t)cpu->gpr[CPU_RDX];
    unsigned bytes = insn->bytes == 8 ? 4 : insn->bytes;
    io_check(cpu, port, bytes);
    if (!begins(cpu, insn))
        return;
    uint32_t value = (uint32_t)exec_load(cpu, source(cpu, insn), bytes);
    debug_check_io(cpu, port, bytes);
    device_out(cpu, port, bytes, value);
    struct insn element = *insn;
    element.bytes = (uint8_t)bytes;
    advance(cpu, &element, CPU_RSI, 1);
    ends(cpu, insn, 1);
}

exec_fn *exec_string_bind(const struct insn *insn)
{
    static exec_fn *const list[] = {movs, cmps, stos, lods, scas, ins, outs};
    if (insn->kind < INSN_MOVS || insn->kind > INSN_OUTS)
        return NULL;
    return list[insn->kind - INSN_MOVS];
}
