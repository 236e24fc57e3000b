/* Ring 3: what it may not do, how it comes back, and whose stack is used. */
#include "tests/hv/payload/payload.h"

void enter_user(uint64_t rip, uint64_t rsp);
extern uint64_t syscall_rcx, syscall_r11;
void syscall_entry(void);
void leave_user(void);

struct tss {
    uint32_t reserved;
    uint64_t rsp[3], reserved2, ist[7], reserved3;
    uint16_t reserved4, bitmap_at;
    uint8_t bitmap[8193];
} __attribute__((packed));
extern struct tss tss;

static const uint64_t code_at = WINDOW + 0x10000, stack_at = WINDOW + 0x12000;
static uint8_t *code;

/* Puts bytes where ring 3 may execute them and goes there; a fault or `int $0x80` with EAX = DEADh comes back. */
static void user(const void *bytes, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        code[i] = ((const uint8_t *)bytes)[i];
    static const uint8_t leave[] = {0xb8, 0xad, 0xde, 0, 0, 0xcd, 0x80}; /* mov $0xdead, %eax; int $0x80 */
    for (unsigned i = 0; i < sizeof leave; i++)
        code[count + i] = leave[i];
    caught = (struct caught){.vector = NONE};
    resume_at = (uint64_t)leave_user;
    enter_user(code_at, stack_at + 0x1000);
    resume_at = 0;
}

#define USER(...)                                                                                                      \
    do {                                                                                                               \
        static const uint8_t bytes_[] = {__VA_ARGS__};                                                                 \
        user(bytes_, sizeof bytes_);                                                                                   \
    } while (0)

static void privileged(void)
{
    USER(0x90);
    check("ring 3 and back", caught.vector == NONE);
    USER(0xf4);
    check("#GP: HLT in ring 3", caught.vector == GP && caught.code == 0 && caught.rip == code_at);
    USER(0xfa);
    check("#GP: CLI in ring 3", caught.vector == GP);
    USER(0x0f, 0x20, 0xc0);
    check("#GP: CR0 in ring 3", caught.vector == GP);
    USER(0x0f, 0x32);
    check("#GP: RDMSR in ring 3", caught.vector == GP);
    USER(0x0f, 0x01, 0xf8);
    check("#GP: SWAPGS in ring 3", caught.vector == GP || caught.vector == UD);
    USER(0xcd, 0x44);
    check("#GP(vector): a gate of ring 0", caught.vector == GP && caught.code == (0x44 << 3 | 2));
    USER(0xcc);
    check("#BP from ring 3", caught.vector == BP && caught.rip == code_at + 1);
    USER(0xe6, 0x80);
    check("#GP: a port without permission", caught.vector == GP);
    tss.bitmap[0x80 / 8] &= (uint8_t) ~(1 << (0x80 % 8));
    USER(0xe6, 0x80);
    check("a port by the I/O bitmap", caught.vector == NONE);
    USER(0x66, 0xe7, 0x80);
    check("#GP: two ports, one of which is not permitted", caught.vector == GP);
    tss.bitmap[0x80 / 8] = 0xff;
}

static void memory(void)
{
    const uint64_t a = WINDOW + 0x14000;
    map(a, (uint64_t)fresh_page(), 3);
    USER(0x48, 0x8b, 0x04, 0x25, 0x00, 0x40, 0x01, 0x40); /* mov 0x40014000, %rax */
    check("#PF(P U): a page of the kernel",
          caught.vector == PF && caught.code == (PF_PRESENT | PF_USER) && caught.cr2 == a);
    map(a, 0, 0);
    USER(0x48, 0x89, 0x04, 0x25, 0x08, 0x40, 0x01, 0x40);
    check("#PF(U W): no page", caught.vector == PF && caught.code == (PF_USER | PF_WRITE) && caught.cr2 == a + 8);
    map(a, (uint64_t)fresh_page(), 5);
    USER(0x48, 0x8b, 0x04, 0x25, 0x00, 0x40, 0x01, 0x40);
    check("ring 3 reads a page of its own", caught.vector == NONE);
    USER(0xc6, 0x04, 0x25, 0x00, 0x40, 0x01, 0x40, 0x01);
    check("#PF(P U W): ring 3 writes a read-only page",
          caught.vector == PF && caught.code == (PF_PRESENT | PF_USER | PF_WRITE));
}

static void system_calls(void)
{
    wrmsr(0xc0000081, (uint64_t)0x08 << 32 | (uint64_t)0x23 << 48);
    wrmsr(0xc0000082, (uint64_t)syscall_entry);
    wrmsr(0xc0000084, 0x700);
    USER(0x0f, 0x05);
    check("SYSCALL: where it came from and its flags",
          caught.vector == NONE && syscall_rcx == code_at + 2 && (syscall_r11 & 0x202) == 0x202);
    uint64_t efer = rdmsr(0xc0000080);
    wrmsr(0xc0000080, efer & ~1ull);
    USER(0x0f, 0x05);
    check("#UD: SYSCALL without EFER.SCE", caught.vector == UD);
    wrmsr(0xc0000080, efer);
}

static uint64_t frame_rsp;
static void note_frame(struct frame *f)
{
    frame_rsp = (uint64_t)f;
}

static void stacks(void)
{
    static volatile unsigned nmis;
    on_interrupt = note_frame;
    USER(0xb8, 0, 0, 0, 0, 0xcd, 0x80); /* an interrupt from ring 3 */
    check("an interrupt from ring 3 takes the stack of the TSS",
          frame_rsp < tss.rsp[0] && frame_rsp > tss.rsp[0] - 512);
    on_interrupt = note_frame;
    nmis = interrupts[NMI];
    __asm__ volatile("int $2");
    check("IST", interrupts[NMI] == nmis + 1 && frame_rsp < tss.ist[0] && frame_rsp > tss.ist[0] - 512);
    on_interrupt = NULL;
}

static void bases(void)
{
    uint64_t value = 0;
    uint8_t *page = fresh_page();
    *(uint64_t *)page = 0x77;
    wrmsr(0xc0000101, 0x1000);
    wrmsr(0xc0000102, (uint64_t)page);
    __asm__ volatile("swapgs\n mov %%gs:0, %0" : "=r"(value));
    check("SWAPGS", value == 0x77 && rdmsr(0xc0000101) == (uint64_t)page && rdmsr(0xc0000102) == 0x1000);
    wrmsr(0xc0000100, (uint64_t)page);
    __asm__ volatile("mov %%fs:0, %0" : "=r"(value));
    check("the base of FS", value == 0x77);
    CATCH("mov $0xc0000100, %%ecx\n xor %%eax, %%eax\n mov $0x80000000, %%edx\n wrmsr\n", ::
              : "rax", "rcx", "rdx", "memory");
    check("#GP: a base that is not canonical", caught.vector == GP);
}

void test_rings(void)
{
    code = fresh_page();
    map(code_at, (uint64_t)code, 7);
    map(stack_at, (uint64_t)fresh_page(), 7);
    privileged();
    memory();
    system_calls();
    stacks();
    bases();
}
