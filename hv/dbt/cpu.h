/* A vCPU of our own engine, as interpreter, translator and the native execution of SIMD see it.
 *
 * Generated code reaches it through GS: GS.base is the address of its TLB's entries, which it needs most. All
 * architectural state is here between two instructions: rflags and rip are materialised, the x87 and vector registers
 * are in xsave. During an instruction rip is that instruction's own address, so a fault that is raised anywhere
 * (fault.h) finds it; the instruction writes nothing before its last possible fault, but for what the architecture lets
 * a repeated string instruction have done.
 *
 * Derived fields (cpl, code_bytes, ...) follow from segments and control registers; cpu_mode_changed() computes them
 * again, whoever writes one of those calls it.
 *
 * Threads: the vCPU's own; but attention, the tags of its TLB (tlb.h) and fields that say so. */
#ifndef HV_DBT_CPU_H
#define HV_DBT_CPU_H

#include <setjmp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hv/cpu_state.h"
#include "hv/dbt/cpu_bits.h"
#include "hv/dbt/jump_cache.h"
#include "hv/dbt/tlb.h"
#include "hv/vcpu.h"

struct dbt_vm;
struct icache;
struct lockstep;
struct memory;
struct simd_thunks;

/* Why the execution loop has to look up between two instructions. Set from any thread with cpu_attention(). */
enum cpu_attention {
    CPU_ATTENTION_KICK = 1,   /* run() returns */
    CPU_ATTENTION_EVENT = 2,  /* the chips have something, or a masked event may have become deliverable */
    CPU_ATTENTION_CODE = 4,   /* pages with decoded code were written */
    CPU_ATTENTION_PASS = 8,   /* somebody waits until the instruction that runs now is over (tlb.h) */
    CPU_ATTENTION_DEBUG = 16, /* a debugger looks at every instruction, or is to be told of something (debugger.h) */
};

enum cpu_flat { CPU_FLAT_READ = 1, CPU_FLAT_WRITE = 2 }; /* allowed, and the limit is 4 GiB */

/* The one exception that is being raised; see fault.h. */
struct cpu_fault {
    uint8_t vector;
    bool has_code;
    uint32_t code;
};

enum { CPU_TRANSLATOR_WORDS = 16 };

struct dbt_cpu {
    /* ---- hot, at small offsets ---- */
    uint64_t gpr[CPU_GPR_COUNT];           /* 0 */
    uint64_t rip;                          /* 128 */
    uint64_t rflags;                       /* 136: bit 1 is set, reserved bits are as the architecture wants them */
    _Atomic uint32_t attention;            /* 144: enum cpu_attention */
    uint8_t cpl;                           /* 148: 3 in virtual 8086 mode */
    uint8_t code_bytes;                    /* 149: default operand size of code: 2, 4; 8 = 64-bit mode */
    uint8_t stack_bytes;                   /* 150: of the stack pointer: 2, 4, 8 */
    bool shadow;                           /* 151: after STI, MOV SS, POP SS: takes no interrupt before the next one */
    uint64_t instructions;                 /* 152: executed; read from other threads, roughly */
    struct tlb_entry *tlb_now;             /* 160: &tlb.entries[0][TLB_USER or TLB_KERNEL], as cpl says */
    uint64_t ip_mask, sp_mask;             /* 168, 176: what of rip and rsp counts: 16, 32 or 64 ones */
    struct cpu_segment seg[CPU_SEG_COUNT]; /* 184: base first, 16 bytes each */
    uint64_t translator[CPU_TRANSLATOR_WORDS]; /* 312: the translator's */

    uint64_t cr0, cr2, cr3, cr4, efer, xcr0;
    uint64_t dr[4], dr6, dr7;
    struct cpu_table gdt, idt;
    uint64_t msr[CPU_MSR_COUNT];                 /* the TSC is in tsc_offset */
    uint64_t tsc_offset;                         /* to the clock's (clock.h): what the guest wrote */
    uint64_t tsc_deadline;                       /* IA32_TSC_DEADLINE as it was written last */
    _Alignas(64) uint8_t xsave[CPU_XSAVE_BYTES]; /* standard layout; XSTATE_BV says what is not initial */

    /* ---- what is on its way ---- */
    jmp_buf unwind; /* where a raised fault goes; set by the execution loop */
    struct cpu_fault fault;
    bool delivering;          /* an event is being delivered: a fault now may become a double fault */
    bool delivering_external; /* ... and it is none of this code's doing: EXT in error codes */
    uint8_t delivering_vector;
    bool shutdown; /* triple fault */
    bool nmi_masked;
    bool event_new;       /* the chips said something */
    bool event_masked;    /* the chips hold an interrupt that IF or the shadow kept back */
    uint8_t activity;     /* enum cpu_activity */
    bool interrupt_taken; /* taken from the chips, not delivered yet */
    uint8_t interrupt_vector;
    bool exception_waits; /* from a loaded state: `fault` is delivered first of all */
    uint32_t debug_hits;  /* DR6 bits of data breakpoints that the instruction has met */
    bool debug_data;      /* DR7 or the debugger has data breakpoints on: no tags for their pages */
    bool stop_waits;      /* run() returns VCPU_STOPPED before the next instruction */
    bool stepping;        /* the debugger's step is under way */

    /* ---- whose it is ---- */
    struct dbt_vm *vm;
    struct memory *memory;
    uint8_t *low_host; /* the first slot of memory, which is most of it, without a call */
    uint64_t low_bytes;
    uint64_t physical_mask;          /* address bits that a page table may use */
    uint8_t seg_flat[CPU_SEG_COUNT]; /* enum cpu_flat: what needs no look at the descriptor, outside 64-bit mode */
    unsigned index;
    struct icache *icache;
    struct simd_thunks *simd;  /* simd.h */
    void *translation;         /* the translator's */
    struct lockstep *lockstep; /* compares the two (lockstep.h); NULL: nobody does */
    /* Where it is to drop what it made of the page at host (NULL: of all pages); NULL without a translator. */
    void (*drop_translation)(struct dbt_cpu *cpu, const uint8_t *host);

    struct vcpu_debug debugger;

    struct tlb tlb;
    struct jump_cache jumps; /* the translator's */
};

_Static_assert(offsetof(struct dbt_cpu, rflags) == 136 && offsetof(struct dbt_cpu, attention) == 144 &&
                   offsetof(struct dbt_cpu, tlb_now) == 160 && offsetof(struct dbt_cpu, seg) == 184 &&
                   offsetof(struct dbt_cpu, translator) == 312,
               "generated code relies on these");

enum { CPU_GS_BASE = offsetof(struct dbt_cpu, tlb.entries) }; /* what GS.base is, from the struct's start */

/* As after power-on; the fields of "whose it is" stay. */
void cpu_reset(struct dbt_cpu *cpu);
/* Segments, CR0, CR4, EFER or RFLAGS.VM were written: derives cpl, code_bytes and so on. Does not flush the TLB. */
void cpu_mode_changed(struct dbt_cpu *cpu);

/* What the machine calls get and set; the local APIC's part is irqchip's. */
void cpu_get(const struct dbt_cpu *cpu, struct cpu_state *state);
void cpu_set(struct dbt_cpu *cpu, const struct cpu_state *state);

/* Any thread. */
static inline void cpu_attention(struct dbt_cpu *cpu, uint32_t bits)
{
    atomic_fetch_or(&cpu->attention, bits);
}

static inline bool cpu_protected(const struct dbt_cpu *cpu) /* protected or long mode, not virtual 8086 */
{
    return cpu->cr0 & CPU_CR0_PE && !(cpu->rflags & CPU_VM);
}

static inline bool cpu_long(const struct dbt_cpu *cpu) /* 64-bit or compatibility mode */
{
    return cpu->efer & CPU_EFER_LMA;
}

#endif
