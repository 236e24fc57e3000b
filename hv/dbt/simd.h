/* x87, MMX, SSE, AVX: executed by the host's own units on the guest's registers.
 *
 * Executes one instruction of kind INSN_X87 or INSN_SIMD (decode.h) with everything that belongs to it: #UD, #NM and
 * #MF from CR0, CR4 and XCR0, alignment checks (#GP), its memory operand through mmu.h, its registers in cpu->xsave and
 * cpu->gpr, RFLAGS of COMISS and its like, and #XM. Raises faults (fault.h) with nothing written. Does not change
 * cpu->rip: the caller goes on to the next instruction.
 *
 * A component that XSTATE_BV says is initial gets its initial bytes and its bit when the first instruction touches it.
 *
 * FIP and FOP are those of the last x87 instruction that is no control instruction, FDP that of the last one with a
 * memory operand, always, as on processors without FDP_EXCPTN_ONLY; FCS and FDS are zero, as on processors that
 * deprecate them. #MF comes whatever CR0.NE says (no IRQ 13). Guests get what the host's processor has, so where the
 * host lacks AVX2, an AVX2 instruction is undefined, and CPUID's masks need not be obeyed.
 *
 * Not here but in the interpreter: FXSAVE, FXRSTOR, the XSAVE family, XGETBV, XSETBV, LDMXCSR, STMXCSR, MOVNTI, the BMI
 * instructions, CRC32, POPCNT, MOVBE.
 *
 * Threads: the vCPU's own; new and free from the main thread, new before the process is sealed. */
#ifndef HV_DBT_SIMD_H
#define HV_DBT_SIMD_H

struct dbt_cpu;
struct err;
struct insn;
struct simd_thunks;

enum simd_result {
    SIMD_DONE,
    SIMD_UNDEFINED, /* not known, or not on this host: the caller raises #UD */
};

/* What a vCPU's `simd` points to. */
struct simd_thunks *simd_new(struct err *err);
void simd_free(struct simd_thunks *simd); /* NULL is fine */

enum simd_result simd_execute(struct dbt_cpu *cpu, const struct insn *insn);

#endif
