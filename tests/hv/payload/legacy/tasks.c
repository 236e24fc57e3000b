/* Task switches: jump, call and return, by the TSS and by gates; what is saved, who is busy, and what goes wrong. */
#include "tests/hv/payload/legacy/legacy.h"

enum { NT = 1 << 14, TS = 1 << 3, BUSY = 2, FLAGS = 2 };

/* What task B (or the 16-bit one) has found when it ran last. */
struct found {
    uint32_t runs, esp, flags, ebx, cr0, tr, top, gs;
};
struct found legacy_found;

static struct legacy_tss tss_b, tss_short;
static uint8_t stack_b[1024] __attribute__((aligned(16)));
extern uint8_t legacy_nested[], legacy_jumped[], legacy_with_code[], legacy_16[], legacy_16_end[];

/* A task goes on where it left off, so each begins again. */
__asm__(".text\n"
        "legacy_note:\n"
        "leal 4(%esp), %eax\n movl %eax, legacy_found + 4\n"
        "pushfl\n popl legacy_found + 8\n"
        "movl %ebx, legacy_found + 12\n"
        "movl %cr0, %eax\n movl %eax, legacy_found + 16\n"
        "xorl %eax, %eax\n str %ax\n movl %eax, legacy_found + 20\n"
        "movl 4(%esp), %eax\n movl %eax, legacy_found + 24\n"
        "movl %gs, %eax\n movl %eax, legacy_found + 28\n"
        "incl legacy_found\n"
        "ret\n"
        "legacy_nested: call legacy_note\n"
        "iretl\n"
        "jmp legacy_nested\n"
        "legacy_with_code: call legacy_note\n"
        "addl $4, %esp\n"
        "movl legacy_resume, %eax\n movl %eax, legacy_tss_a + 32\n" /* EIP: not the same instruction again */
        "iretl\n"
        "jmp legacy_with_code\n"
        "legacy_jumped: call legacy_note\n"
        "ljmp $0x18, $0\n"
        "jmp legacy_jumped\n"
        ".code16\n"
        "legacy_16: addr32 movw %bx, legacy_found + 12\n"
        "str %ax\n addr32 movw %ax, legacy_found + 20\n"
        "addr32 movw %sp, legacy_found + 4\n"
        "addr32 incl legacy_found\n"
        "movw $0x5678, %bx\n"
        "ljmpw $0x18, $0\n"
        "legacy_16_end:\n"
        ".code32\n");

static uint32_t address(const void *what)
{
    return (uint32_t)(uintptr_t)what;
}

static uint64_t descriptor(uint32_t base, uint32_t limit, uint8_t type)
{
    return limit | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)type << 40 | (uint64_t)(base >> 24) << 56;
}

static bool is_busy(enum legacy_selector selector)
{
    return legacy_gdt[selector / 8] >> 40 & BUSY;
}

static void prepare(const void *eip)
{
    tss_b = (struct legacy_tss){
        .eip = address(eip),
        .eflags = FLAGS,
        .ebx = 0xb0b0b0b0,
        .esp = address(stack_b + sizeof stack_b),
        .es = LEGACY_DATA,
        .cs = LEGACY_CODE,
        .ss = LEGACY_DATA,
        .ds = LEGACY_DATA,
        .fs = LEGACY_DATA,
        .gs = LEGACY_DATA,
        .bitmap_at = sizeof tss_b,
    };
    legacy_gdt[LEGACY_TASK_B / 8] = descriptor(address(&tss_b), sizeof tss_b - 1, 0x89);
    legacy_found = (struct found){0};
    __asm__ volatile("clts");
}

static uint32_t read_tr(void)
{
    uint32_t v = 0;
    __asm__ volatile("str %w0" : "+r"(v));
    return v;
}

static uint32_t read_flags(void)
{
    uint32_t v;
    __asm__ volatile("pushfl\n popl %0" : "=r"(v));
    return v;
}

static void jumps(void)
{
    uint32_t at, sp, kept = 0xa0a0a0a0;
    prepare(legacy_jumped);
    __asm__ volatile("movl $1f, %0\n movl %%esp, %1\n ljmp %3, $0\n 1:"
                     : "=&r"(at), "=&r"(sp), "+b"(kept)
                     : "i"(LEGACY_TASK_B)
                     : "memory", "cc");
    legacy_check("a jump to a TSS: the task runs with its own registers",
                 legacy_found.runs == 1 && legacy_found.esp == tss_b.esp && legacy_found.ebx == 0xb0b0b0b0 &&
                     legacy_found.tr == LEGACY_TASK_B && legacy_found.gs == LEGACY_DATA);
    legacy_check("it is not nested, and CR0.TS is set", !(legacy_found.flags & NT) && legacy_found.cr0 & TS);
    legacy_check("what was left is in its TSS", legacy_tss_a.eip == at && legacy_tss_a.esp == sp &&
                                                    legacy_tss_a.ebx == 0xa0a0a0a0 && legacy_tss_a.cs == LEGACY_CODE);
    legacy_check("and comes back", kept == 0xa0a0a0a0 && read_tr() == LEGACY_TASK_A);
    legacy_check("only who runs is busy", is_busy(LEGACY_TASK_A) && !is_busy(LEGACY_TASK_B) && !tss_b.link);
}

static void calls(void)
{
    prepare(legacy_nested);
    __asm__ volatile("lcall %0, $0" ::"i"(LEGACY_TASK_B) : "memory", "cc");
    legacy_check("a call of a TSS: nested, with the way back",
                 legacy_found.runs == 1 && legacy_found.flags & NT && (uint16_t)tss_b.link == LEGACY_TASK_A);
    legacy_check("IRET goes back, and is not nested itself", read_tr() == LEGACY_TASK_A && !(read_flags() & NT));
    legacy_check("after IRET the task is not busy, nor nested in its TSS",
                 !is_busy(LEGACY_TASK_B) && is_busy(LEGACY_TASK_A) && !(tss_b.eflags & NT));
    __asm__ volatile("lcall %0, $0" ::"i"(LEGACY_TASK_GATE) : "memory", "cc");
    legacy_check("by a task gate it goes on behind its IRET", legacy_found.runs == 2);
    __asm__ volatile("int %0" ::"i"(LEGACY_GATE) : "memory", "cc");
    legacy_check("an interrupt by a task gate", legacy_found.runs == 3 && legacy_found.flags & NT);
}

/* A fault whose handler is a task: its error code is on that task's stack. */
static void faults(void)
{
    struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) table;
    __asm__ volatile("sidt %0" : "=m"(table));
    uint64_t *idt = (uint64_t *)(uintptr_t)table.base, before = idt[LEGACY_GP];
    prepare(legacy_with_code);
    idt[LEGACY_GP] = (uint64_t)LEGACY_TASK_B << 16 | 0x85ull << 40;
    LEGACY_CATCH("movl $0x1234, %%eax\n mov %%eax, %%fs\n", ::: "eax", "memory");
    idt[LEGACY_GP] = before;
    legacy_check("a fault by a task gate: the code is on the task's stack",
                 legacy_found.runs == 1 && legacy_found.top == 0x1234 && legacy_found.esp == tss_b.esp - 4);
}

static void mistakes(void)
{
    prepare(legacy_nested);
    LEGACY_CATCH("ljmp %0, $0", ::"i"(LEGACY_TASK_A) : "memory");
    legacy_check("#GP(selector): a task that is busy",
                 legacy_caught.vector == LEGACY_GP && legacy_caught.code == LEGACY_TASK_A);
    tss_short = tss_b;
    legacy_gdt[LEGACY_TASK_SHORT / 8] = descriptor(address(&tss_short), 0x66, 0x89);
    LEGACY_CATCH("ljmp %0, $0", ::"i"(LEGACY_TASK_SHORT) : "memory");
    legacy_check("#TS(selector): a TSS that is too short",
                 legacy_caught.vector == LEGACY_TS && legacy_caught.code == LEGACY_TASK_SHORT);
    legacy_gdt[LEGACY_TASK_ABSENT / 8] = descriptor(address(&tss_short), sizeof tss_short - 1, 0x09);
    LEGACY_CATCH("ljmp %0, $0", ::"i"(LEGACY_TASK_ABSENT) : "memory");
    legacy_check("#NP(selector): a TSS that is not present",
                 legacy_caught.vector == LEGACY_NP && legacy_caught.code == LEGACY_TASK_ABSENT);
    legacy_check("after all of them the task is the same", read_tr() == LEGACY_TASK_A && is_busy(LEGACY_TASK_A));
}

static void small(void)
{
    static uint16_t tss_16[22];
    prepare(legacy_nested);
    legacy_gdt[LEGACY_CODE_16 / 8] = descriptor(address(legacy_16), 0xffff, 0x9b);
    legacy_gdt[LEGACY_TASK_16 / 8] = descriptor(address(tss_16), sizeof tss_16 - 1, 0x81);
    tss_16[8] = FLAGS;
    tss_16[12] = 0x1234; /* BX */
    tss_16[13] = 0x8800; /* SP */
    tss_16[17] = LEGACY_DATA;
    tss_16[18] = LEGACY_CODE_16;
    tss_16[19] = LEGACY_DATA;
    tss_16[20] = LEGACY_DATA;
    __asm__ volatile("ljmp %0, $0" ::"i"(LEGACY_TASK_16) : "memory", "cc");
    legacy_check("a 16-bit TSS: its registers", legacy_found.runs == 1 && (uint16_t)legacy_found.ebx == 0x1234 &&
                                                    (uint16_t)legacy_found.esp == 0x8800 &&
                                                    (uint16_t)legacy_found.tr == LEGACY_TASK_16);
    legacy_check("and what it leaves in it", tss_16[12] == 0x5678 && tss_16[7] == legacy_16_end - legacy_16 &&
                                                 tss_16[18] == LEGACY_CODE_16 && !is_busy(LEGACY_TASK_16));
}

void legacy_test_tasks(void)
{
    jumps();
    calls();
    faults();
    mistakes();
    small();
}
