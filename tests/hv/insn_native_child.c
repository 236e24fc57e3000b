/* The process that executes cases on the real processor (insn_native.h): a program of its own, without sanitizers, so
 * that as little as possible is mapped that a random address could meet.
 *
 * A case is entered by native_enter(), which loads every register and jumps; behind the instruction is a jump to a copy
 * of the exit code, which needs no register to store them all, as everything has a fixed address below 2 GiB. What
 * faults, and what branches to an INT3, comes back through a signal, whose frame has the registers. 32-bit code is
 * entered by a far jump to Linux's selector for it, 16-bit code by one into the process's local descriptor table. */
#include <asm/ldt.h>
#include <asm/prctl.h>
#include <errno.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "tests/hv/insn_native_inside.h"

enum {
    EXIT_PAGE = 0x28008000,
    EXIT_PAGE_32 = 0x28009000,
    EXIT_16 = INSN_CODE + INSN_WAY_OUT_16,
    BOX_PAGE = 0x28030000,
    INT3 = 0xcc,
    JMP = 0xe9,
    JMP_FAR = 0xea,
    CS_32 = 0x23, /* Linux's selectors for programs */
    CS_64 = 0x33,
    DATA = 0x2b,
    VECTOR_BP = 3,
    VECTOR_PF = 14,
    PAGE_CODE_FETCH = 0x10,
};

/* At BOX_PAGE; the assembly knows the offsets. */
struct box {
    struct insn_registers in;  /* 0 */
    struct insn_registers out; /* 1024 */
    uint64_t host_rsp;         /* 2048 */
    uint64_t resume;           /* 2056 */
    uint64_t target;           /* 2064 */
    uint32_t mxcsr;            /* 2072 */
    uint32_t far_target;       /* 2076 */
    uint16_t far_selector;     /* 2080 */
    uint16_t stack_selector;   /* 2082 */
};
_Static_assert(sizeof(struct insn_registers) == 1024 && offsetof(struct insn_registers, xsave) == 192 &&
                   offsetof(struct box, out) == 1024 && offsetof(struct box, host_rsp) == 2048,
               "the assembly below relies on these");

static struct box *const box = (struct box *)(uintptr_t)BOX_PAGE;
static struct insn_outcome *current;
static uint8_t handler_stack[64 << 10];

void native_enter(void);
void native_enter_32(void);
extern const uint8_t native_resume[], native_exit[], native_exit_end[];

/* clang-format off */
__asm__(".text\n"
        ".equ BOX, 0x28030000\n"
        ".equ OUT, BOX+1024\n"
        ".macro each do, at\n"
        "\\do %rcx, \\at+8\n \\do %rdx, \\at+16\n \\do %rbx, \\at+24\n \\do %rbp, \\at+40\n"
        "\\do %rsi, \\at+48\n \\do %rdi, \\at+56\n \\do %r8, \\at+64\n \\do %r9, \\at+72\n"
        "\\do %r10, \\at+80\n \\do %r11, \\at+88\n \\do %r12, \\at+96\n \\do %r13, \\at+104\n"
        "\\do %r14, \\at+112\n \\do %r15, \\at+120\n \\do %rax, \\at+0\n \\do %rsp, \\at+32\n"
        ".endm\n"
        ".macro fetch r, at\n movq \\at, \\r\n .endm\n"
        ".macro keep r, at\n movq \\r, \\at\n .endm\n"
        ".macro enter\n"
        "push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n"
        "keep %rsp, BOX+2048\n"
        "mov $7, %eax\n xor %edx, %edx\n"
        "mov $BOX+192, %ecx\n xrstor64 (%rcx)\n"
        "fetch %rax, BOX+128\n push %rax\n popfq\n"
        "each fetch, BOX\n"
        ".endm\n"
        ".globl native_enter, native_enter_32, native_resume, native_exit, native_exit_end\n"
        "native_enter:\n"
        "enter\n"
        "jmp *BOX+2064\n"
        "native_enter_32:\n"
        "mov BOX+2082, %ss\n"
        "enter\n"
        "ljmpl *BOX+2076\n"
        "native_resume:\n" /* RSP is the host's again */
        "mov $0x2b, %ecx\n mov %ecx, %ss\n"
        "cld\n fninit\n ldmxcsr BOX+2072\n vzeroupper\n"
        "pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n ret\n"
        "native_exit:\n"
        "each keep, OUT\n"
        "fetch %rsp, BOX+2048\n"
        "pushfq\n pop %rax\n keep %rax, OUT+128\n"
        "mov $7, %eax\n xor %edx, %edx\n"
        "mov $OUT+192, %ecx\n xsave64 (%rcx)\n"
        "jmp *BOX+2056\n"
        "native_exit_end:\n");
/* clang-format on */

static void die(const char *what)
{
    fprintf(stderr, "insn_native_child: %s: %s\n", what, strerror(errno));
    exit(2);
}

static void map_at(uint64_t address, size_t bytes, int protection)
{
    void *at =
        mmap((void *)(uintptr_t)address, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (at != (void *)(uintptr_t)address)
        die("cannot map the test's pages");
}

static void copy_registers(struct insn_registers *r, const greg_t *g, const void *fpregs)
{
    static const uint8_t order[CPU_GPR_COUNT] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                                 REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                                 REG_R12, REG_R13, REG_R14, REG_R15};
    for (unsigned i = 0; i < CPU_GPR_COUNT; i++)
        r->gpr[i] = (uint64_t)g[order[i]];
    r->rflags = (uint64_t)g[REG_EFL];
    r->rip = (uint64_t)g[REG_RIP];
    memcpy(r->xsave, fpregs, CPU_XSAVE_BYTES);
}

static void trapped(int signal, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    greg_t *g = uc->uc_mcontext.gregs;
    struct insn_fault *f = &current->fault;
    (void)signal;
    (void)info;
    copy_registers(&box->out, g, uc->uc_mcontext.fpregs);
    f->raised = true;
    f->vector = (uint8_t)g[REG_TRAPNO];
    f->code = (uint32_t)g[REG_ERR];
    f->cr2 = f->vector == VECTOR_PF ? (uint64_t)g[REG_CR2] : 0;
    if (f->vector == VECTOR_BP) { /* a branch that arrived */
        *f = (struct insn_fault){0};
        box->out.rip--;
    } else if (f->vector == VECTOR_PF && f->code & PAGE_CODE_FETCH) {
        *f = (struct insn_fault){0};
    }
    g[REG_CSGSFS] = (greg_t)(((uint64_t)g[REG_CSGSFS] & 0xffffffff0000) | CS_64 | (uint64_t)DATA << 48);
    g[REG_RIP] = (greg_t)(uintptr_t)native_resume;
    g[REG_RSP] = (greg_t)box->host_rsp;
    g[REG_EFL] = 0x202;
}

static void catch_signals(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};
    stack_t stack = {.ss_sp = handler_stack, .ss_size = sizeof(handler_stack)};
    struct sigaction action = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    sigaltstack(&stack, NULL);
    for (unsigned i = 0; i < sizeof(signals) / sizeof(*signals); i++)
        sigaction(signals[i], &action, NULL);
}

static void lock_down(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    static const int calls[] = {SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(rt_sigreturn), SCMP_SYS(mprotect),
                                SCMP_SYS(exit_group)};
    for (unsigned i = 0; filter && i < sizeof(calls) / sizeof(*calls); i++)
        seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
    if (!filter || seccomp_load(filter))
        die("cannot lock the child in");
    seccomp_release(filter);
}

static void place_code(const struct insn_case *c)
{
    uint8_t *code = (uint8_t *)(uintptr_t)INSN_CODE;
    memset(code + INSN_AT - 256, INT3, 512);
    memcpy(code + INSN_AT, c->code, c->length);
    if (c->branch)
        return;
    uint8_t *jump = code + INSN_AT + c->length;
    int64_t to = c->code_bytes == 8 ? EXIT_PAGE : c->code_bytes == 4 ? EXIT_PAGE_32 : EXIT_16;
    unsigned bytes = c->code_bytes == 2 ? 2 : 4; /* of the distance */
    int32_t distance = (int32_t)(to - (INSN_CODE + INSN_AT + c->length + 1 + bytes));
    *jump = JMP;
    memcpy(jump + 1, &distance, bytes);
}

/* What only 32-bit and 16-bit code looks at: DS and ES stay loaded. */
static void load_segments(unsigned code_bytes)
{
    uint16_t data = code_bytes == 2 ? INSN_DATA_16 : DATA;
    box->far_target = code_bytes == 2 ? INSN_AT : INSN_CODE + INSN_AT;
    box->far_selector = code_bytes == 2 ? INSN_CS_16 : CS_32;
    box->stack_selector = data;
    __asm__ volatile("mov %0, %%ds\n mov %0, %%es" ::"r"(data));
}

static void run_one(const struct insn_case *c, struct insn_outcome *outcome)
{
    uint8_t *data = (uint8_t *)(uintptr_t)INSN_DATA, *last = data + INSN_DATA_BYTES - INSN_PAGE;
    static uint8_t wanted[INSN_DATA_BYTES];
    insn_case_data(c, wanted);
    memcpy(data, wanted, INSN_DATA_BYTES - INSN_PAGE);
    if (memcmp(last, wanted + INSN_DATA_BYTES - INSN_PAGE, INSN_PAGE)) {
        mprotect(last, INSN_PAGE, PROT_READ | PROT_WRITE);
        memcpy(last, wanted + INSN_DATA_BYTES - INSN_PAGE, INSN_PAGE);
        mprotect(last, INSN_PAGE, PROT_READ);
    }
    place_code(c);
    current = outcome;
    outcome->fault = (struct insn_fault){0};
    box->in = c->in;
    box->target = INSN_CODE + INSN_AT;
    box->out.rip = c->in.rip + c->length;
    if (c->code_bytes == 8) {
        native_enter();
    } else {
        load_segments(c->code_bytes);
        native_enter_32();
    }
    outcome->out = box->out;
    for (unsigned i = 0; i < CPU_GPR_COUNT && c->code_bytes != 8; i++)
        outcome->out.gpr[i] = (uint32_t)outcome->out.gpr[i]; /* the upper halves are undefined */
    memcpy(outcome->data, data, INSN_DATA_BYTES);
}

/* A way out of 32-bit or 16-bit code: back to 64-bit mode, to where the other way out is. */
static void make_exit(uint32_t at, bool is_16)
{
    uint8_t *code = (uint8_t *)(uintptr_t)at;
    const uint32_t to = EXIT_PAGE;
    const uint16_t selector = CS_64;
    if (is_16)
        *code++ = 0x66;
    *code = JMP_FAR;
    memcpy(code + 1, &to, sizeof(to));
    memcpy(code + 5, &selector, sizeof(selector));
}

static void make_segment(unsigned selector, uint32_t base, unsigned contents)
{
    struct user_desc d = {.entry_number = selector >> 3,
                          .base_addr = base,
                          .limit = INSN_LIMIT_16,
                          .contents = contents & 3,
                          .useable = 1};
    if ((int)syscall(SYS_modify_ldt, 1, &d, sizeof(d)))
        die("this kernel has no segments for 16-bit code");
}

/* Some hypervisors take segments from the kernel and never show them to the processor: LAR asks the processor. */
static bool is_code(uint32_t selector)
{
    enum { A_SEGMENT = 1 << 12, OF_CODE = 1 << 11 };
    uint32_t rights = 0;
    bool known;
    __asm__("lar %2, %0\n setz %1" : "+r"(rights), "=q"(known) : "r"(selector) : "cc");
    return known && rights & A_SEGMENT && rights & OF_CODE;
}

static struct insn_shared *map_shared(void)
{
    struct stat status;
    void *at = MAP_FAILED;
    if (!fstat(INSN_NATIVE_SHARED, &status))
        at = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, INSN_NATIVE_SHARED, 0);
    if (at == MAP_FAILED)
        die("started by insn_diff only");
    return at;
}

int main(void)
{
    struct insn_shared *shared = map_shared();
    int from = INSN_NATIVE_ORDERS, to = INSN_NATIVE_REPLIES;
    struct insn_order order;
    map_at(INSN_CODE, INSN_PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
    map_at(INSN_DATA, INSN_DATA_BYTES, PROT_READ | PROT_WRITE);
    map_at(EXIT_PAGE, INSN_PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
    map_at(BOX_PAGE, INSN_PAGE, PROT_READ | PROT_WRITE);
    memset((void *)(uintptr_t)INSN_CODE, INT3, INSN_PAGE);
    memcpy((void *)(uintptr_t)EXIT_PAGE, native_exit, (size_t)(native_exit_end - native_exit));
    mprotect((void *)(uintptr_t)(INSN_DATA + INSN_DATA_BYTES - INSN_PAGE), INSN_PAGE, PROT_READ);
    box->resume = (uint64_t)(uintptr_t)native_resume;
    box->mxcsr = 0x1f80;
    map_at(EXIT_PAGE_32, INSN_PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
    make_exit(EXIT_PAGE_32, false);
    make_exit(EXIT_16, true);
    make_segment(INSN_CS_16, INSN_CODE, MODIFY_LDT_CONTENTS_CODE);
    make_segment(INSN_DATA_16, INSN_BASE_16, MODIFY_LDT_CONTENTS_DATA);
    shared->modes = 8 | (is_code(CS_32) ? 4 : 0) | (is_code(INSN_CS_16) ? 2 : 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    syscall(SYS_arch_prctl, ARCH_SET_GS, INSN_GS_BASE);
    catch_signals();
    lock_down();
    while (read(from, &order, sizeof(order)) == sizeof(order)) {
        for (unsigned i = 0; i < order.count; i++) {
            shared->progress = i;
            run_one(&insn_shared_cases(shared, order.batch)[i], &insn_shared_outcomes(shared, order.batch)[i]);
        }
        if (write(to, &order, sizeof(order)) != sizeof(order))
            break;
    }
    _exit(0);
}
