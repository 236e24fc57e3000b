/* A guest's vector or x87 instruction on the host's own units.
 *
 *     guest registers (XSAVE area)  --load-->  host registers, the one instruction, --store-->  guest registers
 *
 * Guest and host have the same instruction set, so nothing is computed here: the instruction is encoded again with its
 * memory operand at a fixed buffer and its general registers renamed, and wrapped into a short function (a thunk) that
 * loads exactly what it names. Thunks are kept by the bytes of the instruction. The guest's MXCSR and FCW are in force
 * while it runs, so rounding, flags and unmasked exceptions are the processor's own: an unmasked SSE exception traps on
 * the host (host_trap.h) at that one instruction, which has written nothing then.
 *
 * MMX and x87 go through FXRSTOR and FXSAVE as a whole, into frame.fx, so that the caller can still refuse the result.
 *
 * Only instructions that simd_table knows get here. Threads: a vCPU's own. */
#ifndef HV_DBT_SIMD_THUNK_H
#define HV_DBT_SIMD_THUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hv/dbt/simd_table.h"

struct err;
struct insn;

enum { SIMD_SCRATCH_BYTES = 128, SIMD_FX_BYTES = 512, SIMD_CODE_BYTES = 128 << 10, SIMD_THUNKS = 1024 };

/* What goes into a thunk and comes out of it. Thunks know the offsets. */
struct simd_frame {
    _Alignas(64) uint8_t scratch[SIMD_SCRATCH_BYTES]; /* the memory operand */
    uint64_t rax, rcx, rdx;                           /* reg; rm; RDX of PCMPESTR */
    uint64_t rflags;
    uint32_t host_mxcsr, mxcsr; /* the latter: after it */
    uint64_t resume;            /* where a thunk that trapped goes on */
    uint64_t at;                /* where the guest's instruction is */
    uint64_t trap;              /* 0, or the vector + 1 of the exception that it caused */
    _Alignas(64) uint8_t fx[SIMD_FX_BYTES];
};

/* A way to run one instruction. */
struct simd_thunk {
    uint8_t bytes[16];  /* the instruction as it is executed, with its length in the last byte */
    uint32_t entry;     /* offset in the code memory */
    uint8_t at, resume; /* offsets from entry */
    bool fx;            /* goes through frame.fx */
    uint8_t touches;    /* XSTATE_BV: 1 x87, 2 SSE, 4 AVX */
};

struct simd_thunks;

/* Errors: as code_memory_new(). */
struct simd_thunks *simd_thunks_new(struct err *err);
void simd_thunks_free(struct simd_thunks *thunks); /* NULL is fine */

/* Valid until the next call of find. */
const struct simd_thunk *simd_thunk_find(struct simd_thunks *thunks, const struct insn *insn, const struct simd_op *op);
struct simd_frame *simd_thunk_frame(struct simd_thunks *thunks);

/* Runs it on the registers in xsave (standard layout). Without fx the vectors that it names are written back, MXCSR is
 * left in frame->mxcsr; with fx everything is in frame->fx. frame->trap says whether it trapped: then nothing has
 * changed but frame->mxcsr. */
void simd_thunk_run(struct simd_thunks *thunks, const struct simd_thunk *thunk, uint8_t *xsave);

unsigned simd_thunk_count(const struct simd_thunks *thunks); /* made so far, for statistics and tests */

#endif
