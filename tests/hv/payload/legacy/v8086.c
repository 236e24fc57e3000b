/* Virtual 8086 mode: segments as in real mode, the privileges of ring 3, IOPL for what touches IF, and the way out. */
#include "tests/hv/payload/legacy/legacy.h"

enum { CS_AT = 0x600, DS_AT = 0x680, SS_AT = 0x700, SP_AT = 0x80, SCRATCH = 0x10 };
enum { VM = 1 << 17, IF = 1 << 9, IOPL_3 = 3 << 12, FIXED = 2, HLT = 0xf4, COUNT_MAX = 32 };

void legacy_enter(struct legacy_frame *frame);

/* Executes bytes in virtual 8086 mode, behind them a HLT, which is always a #GP. */
static void v86(uint32_t flags, const uint8_t *bytes, unsigned count)
{
    volatile uint8_t *code = (uint8_t *)(uintptr_t)(CS_AT << 4);
    for (unsigned i = 0; i < count; i++)
        code[i] = bytes[i];
    code[count] = HLT;
    struct legacy_frame f = {
        .cs = CS_AT,
        .eflags = VM | FIXED | flags,
        .esp = SP_AT,
        .ss = SS_AT,
        .es = 0x123,
        .ds = DS_AT,
        .fs = 0x456,
        .gs = 0x789,
    };
    legacy_caught = (struct legacy_frame){.vector = LEGACY_NONE};
    legacy_enter(&f);
}

static bool is(unsigned vector, uint32_t code, uint32_t eip)
{
    return legacy_caught.vector == vector && legacy_caught.code == code && legacy_caught.eip == eip &&
           legacy_caught.cs == CS_AT && legacy_caught.eflags & VM;
}

#define V86(flags, ...)                                                                                                \
    do {                                                                                                               \
        static const uint8_t bytes_[] = {__VA_ARGS__};                                                                 \
        v86(flags, bytes_, sizeof bytes_);                                                                             \
        count = sizeof bytes_;                                                                                         \
    } while (0)

static uint16_t word_at(uint32_t linear)
{
    return *(volatile uint16_t *)(uintptr_t)linear;
}

static void execution(void)
{
    unsigned count;
    V86(0, 0xb8, 0x34, 0x12, 0x8c, 0xcb, 0xa3, SCRATCH, 0); /* mov $0x1234, %ax; mov %cs, %bx; mov %ax, (SCRATCH) */
    legacy_check("v8086: segments as in real mode", is(LEGACY_GP, 0, count) && (uint16_t)legacy_caught.ebx == CS_AT &&
                                                        word_at((DS_AT << 4) + SCRATCH) == 0x1234);
    legacy_check("v8086: segments and stack are on the way out",
                 legacy_caught.esp == SP_AT && (uint16_t)legacy_caught.ss == SS_AT &&
                     (uint16_t)legacy_caught.es == 0x123 && (uint16_t)legacy_caught.ds == DS_AT &&
                     (uint16_t)legacy_caught.fs == 0x456 && (uint16_t)legacy_caught.gs == 0x789);
    legacy_check("v8086: the handler's data segments are null",
                 !(uint16_t)legacy_caught.ds_now && !(uint16_t)legacy_caught.es_now &&
                     !(uint16_t)legacy_caught.fs_now && !(uint16_t)legacy_caught.gs_now);
    V86(0, 0x66, 0xb8, 0x78, 0x56, 0x34, 0x12, 0x66, 0xc1, 0xe8, 0x08); /* mov $0x12345678, %eax; shr $8, %eax */
    legacy_check("v8086: 32-bit operands", is(LEGACY_GP, 0, count) && legacy_caught.eax == 0x123456);
    V86(0, 0xb8, 0xcd, 0xab, 0x50, 0x5b); /* mov $0xabcd, %ax; push %ax; pop %bx */
    legacy_check("v8086: the stack", is(LEGACY_GP, 0, count) && (uint16_t)legacy_caught.ebx == 0xabcd &&
                                         word_at((SS_AT << 4) + SP_AT - 2) == 0xabcd);
    V86(0, 0xea, 0x07, 0x00, CS_AT & 255, CS_AT >> 8, HLT, HLT, 0x40); /* ljmp to the INC behind the HLTs */
    legacy_check("v8086: a far jump", is(LEGACY_GP, 0, count) && legacy_caught.eip == 8);
    V86(0, 0xa1, 0xff, 0xff); /* mov (0xffff), %ax */
    legacy_check("v8086, #GP(0): beyond 64 KiB", is(LEGACY_GP, 0, 0));
    V86(0, 0x36, 0xa1, 0xff, 0xff); /* mov %ss:(0xffff), %ax */
    legacy_check("v8086, #SS(0): the same in the stack segment", is(LEGACY_SS, 0, 0));
}

static void privileges(void)
{
    unsigned count;
    V86(IOPL_3, 0xf4);
    legacy_check("v8086, #GP(0): HLT, whatever IOPL", is(LEGACY_GP, 0, 0));
    V86(IOPL_3, 0x0f, 0x20, 0xc0);
    legacy_check("v8086, #GP(0): CR0", is(LEGACY_GP, 0, 0));
    V86(IOPL_3, 0x0f, 0x01, 0x16, 0, 0);
    legacy_check("v8086, #GP(0): LGDT", is(LEGACY_GP, 0, 0));
    V86(IOPL_3, 0x0f, 0x00, 0xc0);
    legacy_check("v8086, #UD: SLDT", is(LEGACY_UD, 0, 0));
    V86(IOPL_3, 0x0f, 0x02, 0xc0);
    legacy_check("v8086, #UD: LAR", is(LEGACY_UD, 0, 0));
    V86(IOPL_3, 0x63, 0xc0);
    legacy_check("v8086, #UD: ARPL", is(LEGACY_UD, 0, 0));
    V86(IOPL_3, 0xe4, 0x80);
    legacy_check("v8086, #GP(0): a port that the bitmap denies, in spite of IOPL", is(LEGACY_GP, 0, 0));
    legacy_tss_a.bitmap[0x80 / 8] = 0xfe;
    V86(0, 0xe4, 0x80);
    legacy_check("v8086: a port that it permits", is(LEGACY_GP, 0, count));
    legacy_tss_a.bitmap[0x80 / 8] = 0xff;
}

static void flags(void)
{
    unsigned count;
    V86(0, 0xfa);
    legacy_check("v8086, #GP(0): CLI below IOPL 3", is(LEGACY_GP, 0, 0));
    V86(0, 0xfb);
    legacy_check("v8086, #GP(0): STI", is(LEGACY_GP, 0, 0));
    V86(0, 0x9c);
    legacy_check("v8086, #GP(0): PUSHF", is(LEGACY_GP, 0, 0));
    V86(0, 0x9d);
    legacy_check("v8086, #GP(0): POPF", is(LEGACY_GP, 0, 0));
    V86(0, 0xcf);
    legacy_check("v8086, #GP(0): IRET", is(LEGACY_GP, 0, 0));
    V86(IOPL_3 | IF, 0xfa);
    legacy_check("v8086, IOPL 3: CLI", is(LEGACY_GP, 0, count) && !(legacy_caught.eflags & IF));
    V86(IOPL_3, 0x66, 0x9c, 0x66, 0x58); /* pushfl; popl %eax */
    legacy_check("v8086, IOPL 3: PUSHF does not show VM",
                 is(LEGACY_GP, 0, count) && !(legacy_caught.eax & VM) && (legacy_caught.eax & IOPL_3) == IOPL_3);
    V86(IOPL_3, 0xb8, 0xd7, 0x02, 0x50, 0x9d); /* mov $0x2d7, %ax; push %ax; popf: not IOPL */
    legacy_check("v8086, IOPL 3: POPF", is(LEGACY_GP, 0, count) && (legacy_caught.eflags & 0xffff) == (0x2d7 | IOPL_3));
    V86(IOPL_3, 0xb8, 0x02, 0x00, 0x50, 0x68, CS_AT & 255, CS_AT >> 8, 0x68, 0x0c, 0x00, 0xcf, HLT, 0x43);
    legacy_check("v8086, IOPL 3: IRET stays", is(LEGACY_GP, 0, count) && legacy_caught.eflags & VM);
}

static void interrupts(void)
{
    unsigned count;
    V86(IOPL_3, 0xcd, LEGACY_CALL, 0x90);
    legacy_check("v8086, IOPL 3: INT n by the IDT", is(LEGACY_CALL, 0, 2));
    V86(0, 0xcd, LEGACY_CALL);
    legacy_check("v8086, #GP(0): INT n below IOPL 3", is(LEGACY_GP, 0, 0));
    V86(0, 0xcc, 0x90);
    legacy_check("v8086: INT3, whatever IOPL", is(LEGACY_BP, 0, 1));
    V86(0x100, 0x90, 0x90); /* TF */
    legacy_check("v8086: a single step", is(LEGACY_DB, 0, 1));
    (void)count;
}

void legacy_test_v8086(void)
{
    execution();
    privileges();
    flags();
    interrupts();
}
