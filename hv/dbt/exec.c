/* See exec.h: which function executes an instruction. */
#include "hv/dbt/exec.h"
#include "hv/dbt/exec_parts.h"

#include "hv/dbt/host.h"
#include "hv/dbt/simd.h"

static void simd(struct dbt_cpu *cpu, const struct insn *insn)
{
    if (simd_execute(cpu, insn) != SIMD_DONE)
        fault_ud(cpu);
}

static void undefined(struct dbt_cpu *cpu, const struct insn *insn)
{
    (void)insn;
    fault_ud(cpu);
}

/* What is executed with host instructions that the host does not have. */
static bool host_lacks(const struct insn *insn)
{
    switch (insn->kind) {
    case INSN_POPCNT:
        return !host_has(HOST_POPCNT);
    case INSN_CRC32:
        return !host_has(HOST_CRC32);
    case INSN_RDRAND:
        return !host_has(HOST_RDRAND);
    case INSN_RDSEED:
        return !host_has(HOST_RDSEED);
    default:
        return false;
    }
}

/* Processors without these execute BSF and BSR. */
static struct insn older(const struct insn *insn)
{
    struct insn plain = *insn;
    if (insn->kind == INSN_TZCNT && !host_has(HOST_BMI1))
        plain.kind = INSN_BSF;
    else if (insn->kind == INSN_LZCNT && !host_has(HOST_LZCNT))
        plain.kind = INSN_BSR;
    return plain;
}

exec_fn *exec_bind(const struct insn *insn)
{
    typedef exec_fn *bind_fn(const struct insn *);
    static bind_fn *const parts[] = {
        exec_alu_bind,    exec_move_bind,    exec_flow_bind,     exec_stack_bind,   exec_shift_bind,
        exec_bit_bind,    exec_string_bind,  exec_multiply_bind, exec_atomic_bind,  exec_bmi_bind,
        exec_system_bind, exec_control_bind, exec_segment_bind,  exec_decimal_bind, exec_xsave_bind,
    };
    if (insn->kind == INSN_X87 || insn->kind == INSN_SIMD)
        return simd;
    if (host_lacks(insn))
        return undefined;
    struct insn plain = older(insn);
    for (unsigned i = 0; i < sizeof parts / sizeof *parts; i++) {
        exec_fn *fn = parts[i](&plain);
        if (fn)
            return fn;
    }
    return undefined;
}
