/* See translator.h. */
#include "hv/dbt/translator.h"

#include <asm/prctl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hv/dbt/code_memory.h"
#include "hv/dbt/interp.h"
#include "hv/dbt/mmu.h"
#include "hv/dbt/translation.h"
#include "hv/dbt/vm.h"
#include "hv/memory.h"
#include "node/base/err.h"

enum { CODE_FIRST_BYTES = 8 << 20, CODE_MEMORY_BYTES = 32 << 20 };
enum { PAGE = MEMORY_PAGE_BYTES, HWCAP2_WRGSBASE = 2, CODE_64 = 8 };

/* ---- flags ---- */

uint32_t translator_pack_flags(uint64_t rflags)
{
    return (uint32_t)((rflags & (CPU_ARITHMETIC & ~CPU_OF)) << 8 | 2 << 8 | (rflags & CPU_OF ? 1 : 0));
}

uint64_t translator_unpack_flags(uint32_t packed)
{
    return (packed >> 8 & (CPU_ARITHMETIC & ~CPU_OF)) | (packed & 1 ? CPU_OF : 0);
}

/* ---- dropping ---- */

void translator_drop_all(struct translator *t)
{
    block_cache_clear(&t->blocks);
    for (unsigned class = 0; class < TLB_CLASSES; class ++)
        jump_cache_flush(&t->cpu->jumps, class);
    memset(t->slow, 0, sizeof t->slow);
    t->emit.at = t->start;
    t->dropped++;
}

/* There is no room for one more block. */
static void start_over(struct translator *t)
{
    code_budget_spent(&t->budget);
    code_memory_release(t->code, t->budget.bytes);
    t->emit.end = t->budget.bytes;
    translator_drop_all(t);
}

static void drop_page(struct translator *t, const uint8_t *host)
{
    /* those who come through the jump cache bring parked flags, which a dead block's exit does not look at */
    if (block_drop_page(&t->blocks, &t->emit, host))
        for (unsigned class = 0; class < TLB_CLASSES; class ++)
            jump_cache_flush(&t->cpu->jumps, class);
}

static void drop(struct dbt_cpu *cpu, const uint8_t *host)
{
    if (host)
        drop_page(cpu->translation, host);
    else
        translator_drop_all(cpu->translation);
}

/* ---- life ---- */

struct translator *translator_new(struct dbt_cpu *cpu, struct err *err)
{
    struct translator *t = calloc(1, sizeof *t);
    if (t)
        t->translation = calloc(1, sizeof *t->translation);
    if (!t || !t->translation || block_cache_init(&t->blocks)) {
        err_set(err, ENOMEM, "no memory for translated code");
        translator_free(t);
        return NULL;
    }
    t->cpu = cpu;
    t->code = code_memory_new(CODE_MEMORY_BYTES, err);
    if (!t->code) {
        translator_free(t);
        return NULL;
    }
    code_budget_init(&t->budget, CODE_FIRST_BYTES, CODE_MEMORY_BYTES);
    t->emit =
        (struct emit){.base = t->code->rw, .end = CODE_FIRST_BYTES, .at = PAGE, .gs = CPU_GS_BASE}; /* no offset is 0 */
    thunks_make(&t->thunks, &t->emit);
    code_memory_publish();
    t->start = t->emit.at;
    cpu->translator[TRANSLATOR_SELF] = (uintptr_t)cpu;
    cpu->translation = t;
    cpu->drop_translation = drop;
    translator_drop_all(t);
    return t;
}

void translator_free(struct translator *t)
{
    if (!t)
        return;
    if (t->cpu)
        t->cpu->translation = NULL, t->cpu->drop_translation = NULL;
    code_memory_free(t->code);
    block_cache_fini(&t->blocks);
    free(t->translation);
    free(t);
}

/* ---- blocks ---- */

uint32_t translator_block(struct translator *t, uint64_t linear, const uint8_t *host)
{
    enum tlb_class class = mmu_class(t->cpu);
    uint32_t index = block_find(&t->blocks, linear, host, class);
    if (index != BLOCK_NONE)
        return index;
    if (t->emit.end - t->emit.at < TRANSLATION_BYTES || block_cache_full(&t->blocks))
        start_over(t);
    uint8_t code[TRANSLATION_INSNS * INSN_BYTES_MAX];
    unsigned available = PAGE - (unsigned)(linear & (PAGE - 1));
    if (available > sizeof code)
        available = sizeof code;
    dbt_watch_code(t->cpu, (const uint8_t *)((uintptr_t)host & ~(uintptr_t)(PAGE - 1)));
    memcpy(code, host, available); /* the guest may change it meanwhile */
    index = translate_block(t, linear, host, code, available);
    if (index != BLOCK_NONE)
        code_budget_count(&t->budget, linear ^ (uint64_t)(uintptr_t)host << 7);
    code_memory_publish();
    return index;
}

uint64_t translator_code(const struct translator *t, uint32_t block)
{
    return (uintptr_t)t->code->rx + t->blocks.blocks[block].parked_entry;
}

static bool same_page(uint64_t a, uint64_t b)
{
    return a >> MEMORY_PAGE_BITS == b >> MEMORY_PAGE_BITS;
}

void translator_link(struct translator *t, const struct exit_record *left, uint32_t block)
{
    if (t->alone || !left->patch || left->block > t->blocks.count)
        return;
    const struct block *from = &t->blocks.blocks[left->block], *to = &t->blocks.blocks[block];
    bool entry = left->patch == from->entry + 1;
    if (from->dead != entry || from->class != to->class || to->linear != left->target ||
        !same_page(from->linear, to->linear) || !same_page((uintptr_t)from->host, (uintptr_t)to->host))
        return;
    emit_link(&t->emit, left->patch, to->entry);
    code_memory_publish();
}

uint64_t translator_bytes(const struct translator *t)
{
    return sizeof *t + sizeof *t->translation + t->emit.at + t->blocks.count * sizeof(struct block);
}

/* ---- running ---- */

/* Nobody else changes it: a call of the kernel is made once for each thread. */
void translator_use(struct dbt_cpu *cpu)
{
    static _Thread_local uintptr_t is;
    uintptr_t base = (uintptr_t)cpu + CPU_GS_BASE;
    if (is == base)
        return;
    if (getauxval(AT_HWCAP2) & HWCAP2_WRGSBASE)
        __asm__ volatile("wrgsbase %0" : : "r"(base));
    else if (syscall(SYS_arch_prctl, ARCH_SET_GS, base))
        abort(); /* translated code would write anywhere */
    is = base;
}

bool translator_enter(struct translator *t, uint64_t code, struct exit_record *left)
{
    struct dbt_cpu *cpu = t->cpu;
    void (*enter)(uint64_t) = (void (*)(uint64_t))((uintptr_t)t->code->rx + t->thunks.enter);
    uint64_t *word = cpu->translator;
    word[TRANSLATOR_FLAGS] = word[TRANSLATOR_PARKED] = translator_pack_flags(cpu->rflags);
    cpu->rflags &= ~(uint64_t)CPU_ARITHMETIC;
    enter(code);
    uint32_t record = (uint32_t)word[TRANSLATOR_RECORD];
    left->parked = false;
    if (record) {
        uint32_t block = record_block(t->code->rw, record);
        record_read_exit(t->code->rw, record, t->blocks.blocks[block].linear, left);
    }
    cpu->rflags |= translator_unpack_flags((uint32_t)word[left->parked ? TRANSLATOR_PARKED : TRANSLATOR_FLAGS]);
    if (record)
        cpu->rip = left->target;
    return record;
}

static const struct slow_insn *slow_insn(struct translator *t, uint32_t record)
{
    struct slow_insn *slow = &t->slow[(record ^ record >> TRANSLATOR_SLOW_BITS) & (TRANSLATOR_SLOW - 1)];
    if (slow->record == record)
        return slow;
    struct site *site = &slow->site;
    record_read_site(t->code->rw, record, site);
    const struct block *block = &t->blocks.blocks[site->block];
    const uint8_t *page = (const uint8_t *)((uintptr_t)block->host & ~(uintptr_t)(PAGE - 1));
    uint8_t code[INSN_BYTES_MAX];
    memcpy(code, page + site->offset, site->length);
    slow->rip = (block->linear & ~(uint64_t)(PAGE - 1)) | site->offset;
    slow->record = 0;
    slow->exec = NULL;
    if (insn_decode(&slow->insn, code, site->length, CODE_64) != site->length)
        return slow; /* it was written just now: the block is on its way out */
    slow->record = record;
    slow->exec = exec_bind(&slow->insn);
    return slow;
}

uint64_t translator_slow(struct dbt_cpu *cpu)
{
    struct translator *t = cpu->translation;
    uint64_t *word = cpu->translator;
    const struct slow_insn *slow = slow_insn(t, (uint32_t)word[TRANSLATOR_RECORD]);
    const struct site *site = &slow->site;
    uint32_t resume = site->resume; /* the instruction may have everything dropped */
    unsigned more = site->more;
    uint8_t scratch[2] = {site->scratch[0], site->scratch[1]};
    word[TRANSLATOR_RECORD] = 0;
    for (unsigned n = 0; n < 2; n++)
        if (scratch[n] != EMIT_NO_REGISTER)
            cpu->gpr[scratch[n]] = word[TRANSLATOR_SCRATCH + n];
    cpu->rflags |= translator_unpack_flags((uint32_t)word[site->parked ? TRANSLATOR_PARKED : TRANSLATOR_FLAGS]);
    cpu->rip = slow->rip;
    uint64_t next = cpu->rip + site->length;
    if (slow->exec) {
        do /* a repeated string instruction goes on at itself */
            slow->exec(cpu, &slow->insn);
        while (insn_is_string(&slow->insn) && cpu->rip != next && !dbt_must_attend(cpu));
        if (!insn_ends_run(&slow->insn))
            cpu->rip = next;
        if (cpu->rip != next)
            resume = 0;
    }
    for (; slow->exec && more && !dbt_must_attend(cpu); more--)
        interp_one(cpu);
    word[TRANSLATOR_FLAGS] = word[TRANSLATOR_PARKED] = translator_pack_flags(cpu->rflags);
    cpu->rflags &= ~(uint64_t)CPU_ARITHMETIC;
    if (!resume || !slow->exec || more || dbt_must_attend(cpu))
        return 0;
    for (unsigned n = 0; n < 2; n++)
        if (scratch[n] != EMIT_NO_REGISTER)
            word[TRANSLATOR_SCRATCH + n] = cpu->gpr[scratch[n]];
    return (uintptr_t)t->code->rx + resume;
}
