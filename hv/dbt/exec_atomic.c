/* Read-modify-write of memory that is locked or may be: XCHG, XADD, CMPXCHG, CMPXCHG8B and 16B; and MOVNTI. They are
 * always done atomically, since it costs no more to write. */
#include "hv/dbt/exec.h"
#include "hv/dbt/exec_parts.h"
#include "hv/dbt/flags.h"

static uint64_t load_modify(struct dbt_cpu *cpu, uint64_t at, unsigned bytes)
{
    switch (bytes) {
    case 1:
        return mmu_modify8(cpu, at);
    case 2:
        return mmu_modify16(cpu, at);
    case 4:
        return mmu_modify32(cpu, at);
    default:
        return mmu_modify64(cpu, at);
    }
}

static uint64_t add(uint64_t *flags, unsigned bytes, uint64_t a, uint64_t b)
{
    switch (bytes) {
    case 1:
        return flags_add8(flags, (uint8_t)a, (uint8_t)b);
    case 2:
        return flags_add16(flags, (uint16_t)a, (uint16_t)b);
    case 4:
        return flags_add32(flags, (uint32_t)a, (uint32_t)b);
    default:
        return flags_add64(flags, a, b);
    }
}

static void compare(uint64_t *flags, unsigned bytes, uint64_t a, uint64_t b)
{
    switch (bytes) {
    case 1:
        flags_sub8(flags, (uint8_t)a, (uint8_t)b);
        break;
    case 2:
        flags_sub16(flags, (uint16_t)a, (uint16_t)b);
        break;
    case 4:
        flags_sub32(flags, (uint32_t)a, (uint32_t)b);
        break;
    default:
        flags_sub64(flags, a, b);
    }
}

static void xchg_memory(struct dbt_cpu *cpu, const struct insn *insn)
{
    uint64_t at = exec_linear(cpu, insn, insn->bytes, true), old = load_modify(cpu, at, insn->bytes);
    uint64_t value = exec_get(cpu, insn, insn->reg, insn->bytes);
    while (!mmu_update_locked(cpu, at, insn->bytes, &old, value)) {}
    exec_put(cpu, insn, insn->reg, insn->bytes, old);
}

static void xadd(struct dbt_cpu *cpu, const struct insn *insn)
{
    uint64_t by = exec_get(cpu, insn, insn->reg, insn->bytes), old, flags;
    if (!insn->memory) {
        old = exec_get(cpu, insn, insn->rm, insn->bytes);
        uint64_t sum = add(&cpu->rflags, insn->bytes, old, by);
        exec_put(cpu, insn, insn->reg, insn->bytes, old);
        exec_put(cpu, insn, insn->rm, insn->bytes, sum);
        return;
    }
    uint64_t at = exec_linear(cpu, insn, insn->bytes, true), sum;
    old = load_modify(cpu, at, insn->bytes);
    do {
        flags = cpu->rflags;
        sum = add(&flags, insn->bytes, old, by);
    } while (!mmu_update_locked(cpu, at, insn->bytes, &old, sum));
    cpu->rflags = flags;
    exec_put(cpu, insn, insn->reg, insn->bytes, old);
}

/* Whether a comparison that fails clears the destination's upper half differs between makers; the host says. */
static void exchange32(const uint64_t *value, uint64_t *rax, uint64_t *destination)
{
    __asm__("cmpxchg %k[value], %k[destination]"
            : [destination] "+&r"(*destination), "+a"(*rax)
            : [value] "r"(*value)
            : "cc");
}

static const struct insn accumulator; /* AL, whatever prefixes there are */

static void cmpxchg(struct dbt_cpu *cpu, const struct insn *insn)
{
    uint64_t value = exec_get(cpu, insn, insn->reg, insn->bytes);
    uint64_t wanted = exec_get(cpu, &accumulator, CPU_RAX, insn->bytes), old;
    if (insn->memory) {
        uint64_t at = exec_linear(cpu, insn, insn->bytes, true);
        load_modify(cpu, at, insn->bytes);
        old = wanted;
        mmu_swap_locked(cpu, at, insn->bytes, &old, value);
    } else if (insn->bytes == 4) {
        uint64_t rax = wanted, destination = cpu->gpr[insn->rm];
        old = (uint32_t)destination;
        exchange32(&value, &rax, &destination);
        cpu->gpr[insn->rm] = destination;
    } else {
        old = exec_get(cpu, insn, insn->rm, insn->bytes);
        if (old == wanted)
            exec_put(cpu, insn, insn->rm, insn->bytes, value);
    }
    compare(&cpu->rflags, insn->bytes, wanted, old);
    if (old != wanted)
        exec_put(cpu, &accumulator, CPU_RAX, insn->bytes, old);
}

static void set_zf(struct dbt_cpu *cpu, bool set)
{
    cpu->rflags = set ? cpu->rflags | CPU_ZF : cpu->rflags & ~(uint64_t)CPU_ZF;
}

static void cmpxchg8b(struct dbt_cpu *cpu, const struct insn *insn)
{
    uint64_t *gpr = cpu->gpr;
    uint64_t at = exec_linear(cpu, insn, 8, true), old = gpr[CPU_RDX] << 32 | (uint32_t)gpr[CPU_RAX];
    load_modify(cpu, at, 8);
    bool done = mmu_swap_locked(cpu, at, 8, &old, gpr[CPU_RCX] << 32 | (uint32_t)gpr[CPU_RBX]);
    set_zf(cpu, done);
    if (!done) {
        gpr[CPU_RAX] = (uint32_t)old;
        gpr[CPU_RDX] = old >> 32;
    }
}

static void cmpxchg16b(struct dbt_cpu *cpu, const struct insn *insn)
{
    uint64_t *gpr = cpu->gpr;
    uint64_t at = segment_linear_aligned(cpu, insn->segment, exec_offset(cpu, insn), 16, 16, true);
    uint64_t expected[2] = {gpr[CPU_RAX], gpr[CPU_RDX]}, desired[2] = {gpr[CPU_RBX], gpr[CPU_RCX]};
    bool done = mmu_swap16_locked(cpu, at, expected, desired);
    set_zf(cpu, done);
    if (!done) {
        gpr[CPU_RAX] = expected[0];
        gpr[CPU_RDX] = expected[1];
    }
}

static void movnti(struct dbt_cpu *cpu, const struct insn *insn)
{
    exec_store(cpu, exec_linear(cpu, insn, insn->bytes, true), insn->bytes, cpu->gpr[insn->reg]);
}

exec_fn *exec_atomic_bind(const struct insn *insn)
{
    switch (insn->kind) {
    case INSN_XCHG:
        return insn->memory ? xchg_memory : NULL;
    case INSN_XADD:
        return xadd;
    case INSN_CMPXCHG:
        return cmpxchg;
    case INSN_CMPXCHG8B:
        return insn->bytes == 8 ? cmpxchg16b : cmpxchg8b;
    case INSN_MOVNTI:
        return movnti;
    default:
        return NULL;
    }
}
