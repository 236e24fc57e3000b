/* See interp.h. */
#include "hv/dbt/interp.h"

#include "hv/dbt/debug.h"
#include "hv/dbt/exec.h"
#include "hv/dbt/icache.h"
#include "hv/dbt/vm.h"

enum { PAGE = 4096 };

static inline uint64_t code_linear(struct dbt_cpu *cpu)
{
    if (cpu->code_bytes == 8)
        return cpu->rip;
    if (cpu->rip > cpu->seg[CPU_CS].limit)
        fault_gp(cpu);
    return (uint32_t)(cpu->seg[CPU_CS].base + cpu->rip);
}

void interp_execute(struct dbt_cpu *cpu, const struct insn *insn)
{
    exec_bind(insn)(cpu, insn);
    if (!insn_ends_run(insn))
        exec_done(cpu, insn);
    cpu->instructions++;
}

/* Byte by byte past the page, so that a fault there is raised only if the instruction reaches it. */
static void fetch(struct dbt_cpu *cpu, struct insn *insn)
{
    uint64_t linear = code_linear(cpu);
    uint8_t code[INSN_BYTES_MAX];
    unsigned had = 0;
    int length;
    do {
        uint64_t at = cpu->code_bytes == 8 ? linear + had : (uint32_t)(linear + had);
        unsigned left = PAGE - (at & (PAGE - 1));
        const uint8_t *host = mmu_fetch_host(cpu, at);
        if (!host) {
            code[had++] = mmu_fetch(cpu, at);
        } else {
            unsigned part = left < INSN_BYTES_MAX - had ? left : INSN_BYTES_MAX - had;
            memcpy(code + had, host, part);
            had += part;
        }
        length = insn_decode(insn, code, had, cpu->code_bytes);
    } while (length == INSN_SHORT);
    bool beyond = cpu->code_bytes != 8 && length > 0 && cpu->rip + (unsigned)length - 1 > cpu->seg[CPU_CS].limit;
    if (length == INSN_TOO_LONG || beyond)
        fault_gp(cpu);
}

void interp_one(struct dbt_cpu *cpu)
{
    struct insn insn;
    fetch(cpu, &insn);
    interp_execute(cpu, &insn);
}

/* INT n and SYSCALL do not trap afterwards: they have saved TF for the way back. */
static bool saves_flags(const struct insn *insn)
{
    return insn->kind == INSN_INT || insn->kind == INSN_INT3 || insn->kind == INSN_INTO || insn->kind == INSN_INT1 ||
           insn->kind == INSN_SYSCALL || insn->kind == INSN_SYSENTER;
}

void interp_step(struct dbt_cpu *cpu)
{
    struct insn insn;
    bool trap = cpu->rflags & CPU_TF;
    if (cpu->dr7 & 0xff && !(cpu->rflags & CPU_RF) && !cpu->shadow) {
        uint32_t hits = debug_check_code(cpu, code_linear(cpu));
        if (hits) {
            cpu->dr6 |= hits;
            fault_raise(cpu, FAULT_DB);
        }
    }
    cpu->shadow = false;
    fetch(cpu, &insn);
    cpu->rflags &= ~(uint64_t)CPU_RF;
    interp_execute(cpu, &insn);
    if (trap && !saves_flags(&insn))
        cpu->debug_hits |= DEBUG_DR6_BS;
    if (cpu->debug_hits && !cpu->shadow) {
        cpu->dr6 |= cpu->debug_hits;
        cpu->debug_hits = 0;
        fault_raise(cpu, FAULT_DB);
    }
}

static void execute_run(struct dbt_cpu *cpu, const struct icache_run *run)
{
    const struct icache_op *op = run->ops, *end = op + run->straight;
    while (op != end) {
        op->exec(cpu, &op->insn);
        cpu->rip = (cpu->rip + op->insn.length) & cpu->ip_mask;
        op++;
        if (__builtin_expect(atomic_load_explicit(&cpu->attention, memory_order_relaxed), 0)) {
            cpu->instructions += (uint64_t)(op - run->ops);
            return;
        }
    }
    cpu->instructions += run->straight + 1u;
    if (run->ends)
        op->exec(cpu, &op->insn);
}

void interp_run(struct dbt_cpu *cpu)
{
    uint64_t linear = code_linear(cpu);
    const struct tlb_entry *e = mmu_entry(cpu, linear);
    bool hit = tlb_hit(&e->fetch, linear, 1);
    const uint8_t *host = hit ? e->host + (linear & (PAGE - 1)) : mmu_fetch_host(cpu, linear);
    struct icache_run *run = NULL;
    if (host) {
        run = icache_follow(cpu->icache, host, cpu->code_bytes);
        if (!run)
            run = icache_build(cpu, host);
    }
    cpu->icache->last = run;
    if (!run || (cpu->code_bytes != 8 && cpu->rip + run->bytes - 1 > cpu->seg[CPU_CS].limit))
        interp_one(cpu);
    else
        execute_run(cpu, run);
}
