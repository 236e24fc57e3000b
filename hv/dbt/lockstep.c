/* See lockstep.h. */
#include "hv/dbt/lockstep.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/dbt/decode.h"
#include "hv/dbt/effects.h"
#include "hv/dbt/interp.h"
#include "hv/dbt/mmu.h"
#include "hv/dbt/translator.h"
#include "hv/dbt/vm.h"
#include "node/base/log.h"

enum { CODE_64 = 8, PAGE = MEMORY_PAGE_BYTES, REPORTS = 20, STEPS = 100000, TRIES = 3 };

/* What a block may change of a vCPU. */
struct picture {
    uint64_t gpr[CPU_GPR_COUNT], rip, rflags, cr2;
    uint64_t fs_base, gs_base, kernel_gs_base;
    uint8_t xsave[CPU_XSAVE_BYTES];
    bool shadow;
    bool raised;
    struct cpu_fault fault;
};

static void take(const struct dbt_cpu *cpu, struct picture *p)
{
    memcpy(p->gpr, cpu->gpr, sizeof p->gpr);
    memcpy(p->xsave, cpu->xsave, sizeof p->xsave);
    p->rip = cpu->rip;
    p->rflags = cpu->rflags;
    p->cr2 = cpu->cr2;
    p->fs_base = cpu->seg[CPU_FS].base;
    p->gs_base = cpu->seg[CPU_GS].base;
    p->kernel_gs_base = cpu->msr[CPU_MSR_KERNEL_GS_BASE];
    p->shadow = cpu->shadow;
    p->fault = cpu->fault;
}

static void put(struct dbt_cpu *cpu, const struct picture *p)
{
    memcpy(cpu->gpr, p->gpr, sizeof p->gpr);
    memcpy(cpu->xsave, p->xsave, sizeof p->xsave);
    cpu->rip = p->rip;
    cpu->rflags = p->rflags;
    cpu->cr2 = p->cr2;
    cpu->seg[CPU_FS].base = p->fs_base;
    cpu->seg[CPU_GS].base = p->gs_base;
    cpu->msr[CPU_MSR_KERNEL_GS_BASE] = p->kernel_gs_base;
    cpu->shadow = p->shadow;
    cpu->fault = p->fault;
}

struct lockstep *lockstep_new(struct translator *translator)
{
    struct lockstep *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    l->translator = translator;
    l->generation = translator->dropped;
    translator->alone = true;
    translator->cpu->lockstep = l;
    return l;
}

void lockstep_free(struct lockstep *l)
{
    if (!l)
        return;
    log_info("lock step: %" PRIu64 " blocks made, %" PRIu64 " compared, %" PRIu64 " run without, %" PRIu64
             " not to be done twice, %" PRIu64 " different",
             l->made, l->compared, l->passed, l->alone, l->failed);
    l->translator->cpu->lockstep = NULL;
    free(l);
}

/* ---- notes ---- */

void lockstep_note_store(struct lockstep *l, uint8_t *host, unsigned bytes)
{
    if (!l->notes)
        return;
    if (l->count == LOCKSTEP_STORES || bytes > LOCKSTEP_STORE_BYTES) {
        l->once = true;
        return;
    }
    struct lockstep_store *s = &l->store[l->count++];
    s->host = host;
    s->bytes = (uint8_t)bytes;
    memcpy(s->before, host, bytes);
}

void lockstep_note_page(struct lockstep *l, uint64_t linear)
{
    uint64_t page = linear & ~(uint64_t)(PAGE - 1);
    if (l->notes && l->pages < LOCKSTEP_PAGES && !(l->pages && l->page[l->pages - 1] == page))
        l->page[l->pages++] = page;
}

/* In the order of the stores, or backwards: places may overlap. */
static void redo(struct lockstep *l)
{
    for (unsigned n = 0; n < l->count; n++)
        memcpy(l->store[n].host, l->store[n].after, l->store[n].bytes);
}

static void undo(struct lockstep *l)
{
    for (unsigned n = l->count; n-- > 0;)
        memcpy(l->store[n].host, l->store[n].before, l->store[n].bytes);
}

/* ---- the interpreter's turn ---- */

/* What the translator leaves to the interpreter, and what changes nothing but a picture and memory. */
static bool repeatable(const struct insn *insn)
{
    switch (insn->kind) {
    case INSN_MOVS ... INSN_SCAS:
    case INSN_PUSH:
    case INSN_POP:
    case INSN_PUSHF:
    case INSN_POPF:
    case INSN_ENTER:
    case INSN_BT ... INSN_BTC:
    case INSN_DIV:
    case INSN_IDIV:
    case INSN_MOV:
    case INSN_LEA:
    case INSN_XLAT:
    case INSN_CLD:
    case INSN_STD:
    case INSN_RET:
    case INSN_CALL:
    case INSN_JMP:
    case INSN_LOOPNE ... INSN_JCXZ:
    case INSN_SWAPGS:
    case INSN_RDFSBASE ... INSN_WRGSBASE:
    case INSN_FXSAVE ... INSN_XRSTOR:
    case INSN_X87:
    case INSN_SIMD:
        return true;
    default:
        return false;
    }
}

/* The block's next instruction; false: not to be done twice, or not to be read. */
static bool look(struct dbt_cpu *cpu, struct insn *insn)
{
    struct effects effects;
    uint8_t code[INSN_BYTES_MAX];
    unsigned left = PAGE - (unsigned)(cpu->rip & (PAGE - 1));
    unsigned available = left < INSN_BYTES_MAX ? left : INSN_BYTES_MAX;
    memcpy(code, mmu_fetch_host(cpu, cpu->rip), available);
    if (insn_decode(insn, code, available, CODE_64) <= 0)
        return false;
    effects_of(insn, cpu->cpl == 0, &effects);
    return effects.class != EFFECTS_INTERPRET || repeatable(insn);
}

/* Until the block is over: all its instructions are done, one went elsewhere, or somebody is to be told of one (a
 * debugger's point). False: something in it cannot be done twice; what was done so far is noted. */
static bool interpret(struct dbt_cpu *cpu, unsigned insns)
{
    for (unsigned n = 0; n < insns; n++) {
        struct insn insn;
        uint64_t here = cpu->rip;
        bool shadow = cpu->shadow;
        unsigned steps = 0;
        if (!look(cpu, &insn))
            return false;
        do
            interp_execute(cpu, &insn);
        while (insn_is_string(&insn) && cpu->rip == here && ++steps < STEPS);
        if (shadow) /* STI was one instruction ago */
            cpu->shadow = false;
        if (steps == STEPS)
            return false;
        if (cpu->rip != here + insn.length || dbt_must_attend(cpu))
            break;
    }
    return true;
}

static bool first_turn(struct lockstep *l, const struct block *block, struct picture *end)
{
    struct dbt_cpu *cpu = l->translator->cpu;
    jmp_buf outer;
    volatile bool repeat = true, raised = false;
    l->count = l->pages = 0;
    l->once = false;
    l->notes = true;
    memcpy(outer, cpu->unwind, sizeof outer);
    if (setjmp(cpu->unwind))
        raised = true;
    else
        repeat = interpret(cpu, block->insns);
    memcpy(cpu->unwind, outer, sizeof outer);
    l->notes = false;
    take(cpu, end);
    end->raised = raised;
    for (unsigned n = 0; n < l->count; n++)
        memcpy(l->store[n].after, l->store[n].host, l->store[n].bytes);
    return repeat;
}

/* ---- the block's turn ---- */

/* Stores of the block are to go through the TLB, not through the interpreter. A page that memory, as it was before,
 * does not map yet is left out: the block comes to it as the interpreter did. */
static void grant(struct lockstep *l)
{
    struct dbt_cpu *cpu = l->translator->cpu;
    jmp_buf outer;
    memcpy(outer, cpu->unwind, sizeof outer);
    l->grants = true;
    if (!setjmp(cpu->unwind))
        for (unsigned n = 0; n < l->pages; n++)
            mmu_check_store(cpu, l->page[n], 1);
    l->grants = false;
    memcpy(cpu->unwind, outer, sizeof outer);
}

static void withdraw(struct lockstep *l, enum tlb_class class)
{
    for (unsigned n = 0; n < l->pages; n++)
        tlb_withdraw_write(&l->translator->cpu->tlb, class, l->page[n]);
}

static void second_turn(struct lockstep *l, uint32_t block, struct picture *end)
{
    struct translator *t = l->translator;
    struct dbt_cpu *cpu = t->cpu;
    enum tlb_class class = mmu_class(cpu);
    struct exit_record left;
    jmp_buf outer;
    volatile bool raised = false;
    memcpy(outer, cpu->unwind, sizeof outer);
    if (setjmp(cpu->unwind))
        raised = true;
    else
        translator_enter(t, translator_code(t, block), &left);
    memcpy(cpu->unwind, outer, sizeof outer);
    withdraw(l, class);
    take(cpu, end);
    end->raised = raised;
}

/* ---- the comparison ---- */

static bool same_stores(const struct lockstep *l)
{
    bool same = true;
    for (unsigned n = 0; n < l->count; n++)
        same &= !memcmp(l->store[n].host, l->store[n].after, l->store[n].bytes);
    return same;
}

static bool same_fault(const struct picture *a, const struct picture *b)
{
    if (a->raised != b->raised)
        return false;
    return !a->raised || (a->fault.vector == b->fault.vector && a->fault.code == b->fault.code && a->cr2 == b->cr2);
}

static bool same(const struct picture *a, const struct picture *b)
{
    uint64_t flags = a->raised ? ~(uint64_t)CPU_ARITHMETIC : ~0ull; /* translator.h: precision */
    return !memcmp(a->gpr, b->gpr, sizeof a->gpr) && a->rip == b->rip && (a->rflags & flags) == (b->rflags & flags) &&
           a->fs_base == b->fs_base && a->gs_base == b->gs_base && a->kernel_gs_base == b->kernel_gs_base &&
           a->shadow == b->shadow && !memcmp(a->xsave, b->xsave, sizeof a->xsave) && same_fault(a, b);
}

static void report_code(const struct block *block, bool stores)
{
    enum { SHOWN = 64 };
    char code[3 * SHOWN + 1] = "";
    unsigned left = PAGE - (unsigned)((uintptr_t)block->host & (PAGE - 1));
    for (unsigned n = 0; n < SHOWN && n < left; n++)
        snprintf(code + 3 * (size_t)n, 4, "%02x ", block->host[n]);
    log_error("lock step: the block at %#" PRIx64 " of %u instructions differs%s: %s", block->linear, block->insns,
              stores ? "" : " in memory", code);
}

static void report(const struct lockstep *l, const struct picture *before, const struct picture *interp,
                   const struct picture *dbt)
{
    static const char *const names[CPU_GPR_COUNT] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                                     "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    log_error("  rip %#" PRIx64 " is to be %#" PRIx64 ", rflags %#" PRIx64 " is to be %#" PRIx64 " (%#" PRIx64
              " before), raised %d is to be %d, vector %u is to be %u",
              dbt->rip, interp->rip, dbt->rflags, interp->rflags, before->rflags, dbt->raised, interp->raised,
              dbt->fault.vector, interp->fault.vector);
    for (unsigned n = 0; n < CPU_GPR_COUNT; n++)
        if (dbt->gpr[n] != interp->gpr[n])
            log_error("  %s %#" PRIx64 " is to be %#" PRIx64 " (%#" PRIx64 " before)", names[n], dbt->gpr[n],
                      interp->gpr[n], before->gpr[n]);
    if (memcmp(dbt->xsave, interp->xsave, sizeof dbt->xsave))
        log_error("  x87 or vector registers differ");
    for (unsigned n = 0; n < l->count; n++)
        if (memcmp(l->store[n].host, l->store[n].after, l->store[n].bytes))
            log_error("  a store of %u bytes differs", l->store[n].bytes);
}

enum outcome { OUTCOME_SAME, OUTCOME_DIFFERENT, OUTCOME_ALONE };

struct turns {
    struct picture before, interp, dbt;
};

/* The vCPU is then as the one that came last has it: the block, or, if it did not have its turn, the interpreter. */
static enum outcome compare(struct lockstep *l, uint32_t index, const struct block *block, struct turns *turns)
{
    struct dbt_cpu *cpu = l->translator->cpu;
    bool repeat = first_turn(l, block, &turns->interp);
    turns->dbt = turns->interp;
    if (l->once || dbt_must_attend(cpu) || (!repeat && cpu->rip != block->linear))
        return OUTCOME_ALONE; /* done, up to here, by the interpreter */
    undo(l);
    grant(l);
    put(cpu, &turns->before);
    second_turn(l, index, &turns->dbt);
    const struct picture *dbt = &turns->dbt;
    bool early = dbt_must_attend(cpu) && (dbt->rip == turns->before.rip || dbt->rip != turns->interp.rip);
    if (!repeat || early)
        return OUTCOME_ALONE;
    return same_stores(l) && same(&turns->interp, dbt) ? OUTCOME_SAME : OUTCOME_DIFFERENT;
}

static void differs(struct lockstep *l, const struct block *block, const struct turns *turns)
{
    if (++l->failed <= REPORTS) {
        report_code(block, same_stores(l));
        report(l, &turns->before, &turns->interp, &turns->dbt);
    }
    redo(l);
    put(l->translator->cpu, &turns->interp);
}

static void run_both(struct lockstep *l, uint32_t index)
{
    struct dbt_cpu *cpu = l->translator->cpu;
    struct block block = l->translator->blocks.blocks[index];
    struct turns turns;
    enum outcome outcome = OUTCOME_DIFFERENT;
    take(cpu, &turns.before);
    for (unsigned n = 0; n < TRIES && outcome == OUTCOME_DIFFERENT; n++) {
        if (n) {
            undo(l);
            put(cpu, &turns.before);
        }
        outcome = compare(l, index, &block, &turns);
    }
    bool raised = turns.dbt.raised;
    if (outcome == OUTCOME_ALONE)
        l->alone++;
    else
        l->compared++;
    if (outcome == OUTCOME_DIFFERENT) {
        differs(l, &block, &turns);
        raised = turns.interp.raised;
    }
    if (raised)
        longjmp(cpu->unwind, 1);
}

/* ---- which ---- */

static bool is_due(struct lockstep *l, uint32_t block)
{
    if (l->generation != l->translator->dropped) {
        memset(l->runs, 0, sizeof l->runs);
        l->generation = l->translator->dropped;
    }
    uint32_t runs = l->runs[block]++;
    l->made += !runs;
    return runs < LOCKSTEP_FIRST || runs % LOCKSTEP_EVERY == 0;
}

void lockstep_run(struct lockstep *l)
{
    struct translator *t = l->translator;
    struct exit_record left;
    const uint8_t *host = mmu_fetch_host(t->cpu, t->cpu->rip);
    uint32_t block = host ? translator_block(t, t->cpu->rip, host) : BLOCK_NONE;
    if (block == BLOCK_NONE) {
        interp_step(t->cpu);
    } else if (is_due(l, block)) {
        run_both(l, block);
    } else {
        l->passed++;
        translator_enter(t, translator_code(t, block), &left);
    }
}
