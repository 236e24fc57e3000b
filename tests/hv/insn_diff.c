/* Random user-mode instructions on an engine of ours and on the processor it runs on: same registers, flags, memory and
 * faults, or the case is printed.
 *
 *     insn_diff [--engine NAME] [--count N] [--seed N] [--bits 64|32|16] [--groups integer,sse,...] [--show N]
 *
 * Equal means equal: also flags that the manuals leave undefined, as the engine computes them with this processor.
 * Not compared are FIP, FDP and FOP, which processors keep differently, MXCSR_MASK, and the undefined flags of AAA and
 * its like, which the engine cannot have the processor compute, since it is in 64-bit mode itself. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "hv/dbt/cpu_bits.h"
#include "hv/dbt/fault.h"
#include "tests/hv/insn_case.h"
#include "tests/hv/insn_engine.h"
#include "tests/hv/insn_native.h"

#ifdef INSN_DIFF_ZYDIS
#include <Zydis/Zydis.h>
#endif

enum { BATCHES = 2, RFLAGS_COMPARED = 0xcd5, NO_ADDRESS = -1, SKIPPED = 77 };

struct options {
    const char *engine;
    uint64_t count, seed;
    unsigned groups, show, bits;
};

/* ---- comparing ---- */

struct part { /* of the XSAVE area */
    const char *name;
    unsigned from, bytes;
};

static const struct part parts[] = {
    {"FCW", 0, 2},       {"FSW", 2, 2},       {"FTW", 4, 2},       {"MXCSR", 24, 4},    {"ST0", 32, 16},
    {"ST1", 48, 16},     {"ST2", 64, 16},     {"ST3", 80, 16},     {"ST4", 96, 16},     {"ST5", 112, 16},
    {"ST6", 128, 16},    {"ST7", 144, 16},    {"XMM0", 160, 16},   {"XMM1", 176, 16},   {"XMM2", 192, 16},
    {"XMM3", 208, 16},   {"XMM4", 224, 16},   {"XMM5", 240, 16},   {"XMM6", 256, 16},   {"XMM7", 272, 16},
    {"XMM8", 288, 16},   {"XMM9", 304, 16},   {"XMM10", 320, 16},  {"XMM11", 336, 16},  {"XMM12", 352, 16},
    {"XMM13", 368, 16},  {"XMM14", 384, 16},  {"XMM15", 400, 16},  {"YMM0h", 576, 16},  {"YMM1h", 592, 16},
    {"YMM2h", 608, 16},  {"YMM3h", 624, 16},  {"YMM4h", 640, 16},  {"YMM5h", 656, 16},  {"YMM6h", 672, 16},
    {"YMM7h", 688, 16},  {"YMM8h", 704, 16},  {"YMM9h", 720, 16},  {"YMM10h", 736, 16}, {"YMM11h", 752, 16},
    {"YMM12h", 768, 16}, {"YMM13h", 784, 16}, {"YMM14h", 800, 16}, {"YMM15h", 816, 16},
};

#define COUNT(list) (sizeof(list) / sizeof(*(list)))

/* Bytes of an image in memory that hold FIP, FDP, FOP or MXCSR_MASK. */
static bool image_ignores(const struct insn *insn, uint64_t at)
{
    unsigned reg = insn->modrm >> 3 & 7;
    if (insn->kind == INSN_X87) {
        bool image = insn->memory && (insn->opcode & 0xfb) == 0xd9 && reg == 6; /* D9 /6, DD /6 */
        return image && (insn->bytes == 2 ? at >= 6 && at < 14 : at >= 12 && at < 28);
    }
    if (insn->kind == INSN_FXSAVE || insn->kind == INSN_XSAVE || insn->kind == INSN_XSAVEOPT)
        return (at >= 6 && at < 24) || (at >= 28 && at < 32) || (at >= 512 && insn->kind != INSN_FXSAVE && at < 520);
    return false;
}

/* Offset of the first byte that differs, or NO_ADDRESS. */
static long compare_data(const struct insn_case *c, const struct insn *insn, const struct insn_outcome *a,
                         const struct insn_outcome *b)
{
    if (!memcmp(a->data, b->data, INSN_DATA_BYTES))
        return NO_ADDRESS;
    for (long i = 0; i < INSN_DATA_BYTES; i++)
        if (a->data[i] != b->data[i] && !image_ignores(insn, INSN_DATA + (uint64_t)i - c->operand))
            return i;
    return NO_ADDRESS;
}

/* Images are written and read in pieces, in an order that each processor chooses: CR2 is one of their addresses. */
static bool in_pieces(const struct insn *insn)
{
    bool image = insn->kind == INSN_X87 && (insn->opcode & 0xfb) == 0xd9 && (insn->modrm & 0x28) == 0x20;
    return image || (insn->kind >= INSN_FXSAVE && insn->kind <= INSN_XRSTOR);
}

static uint64_t flags_compared(const struct insn *insn)
{
    switch (insn->kind) {
    case INSN_AAA:
    case INSN_AAS:
        return CPU_CF | CPU_AF;
    case INSN_AAM:
    case INSN_AAD:
        return CPU_SF | CPU_ZF | CPU_PF;
    case INSN_DAA:
    case INSN_DAS:
        return RFLAGS_COMPARED & ~(uint64_t)CPU_OF;
    default:
        return RFLAGS_COMPARED;
    }
}

/* An image that 32-bit code has beyond 4 GiB, or 16-bit code beyond the end of its segment: the processor may meet a
 * page that is not there before it sees that. */
static bool beyond_segment(const struct insn_fault *f)
{
    uint64_t end_16 = INSN_BASE_16 + INSN_LIMIT_16 + 1;
    return f->raised && f->vector == FAULT_PF &&
           (f->cr2 < 1024 || f->cr2 - 0xfffffc00 < 1024 || f->cr2 - (end_16 - 1024) < 1024);
}

/* VPINSRD and VPEXTRD with W in 32-bit code: AMD's processors do not know them, Intel's ignore W, as we do. */
static bool wide_in_32(const struct insn *insn)
{
    return insn->encoding == INSN_VEX && insn->map == INSN_MAP_0F3A && insn->prefixes & INSN_W &&
           (insn->opcode == 0x16 || insn->opcode == 0x22) && insn->bytes != 8;
}

/* A store of the x87 that an unmasked exception keeps back: whether its page fault comes is not even the same twice. */
static bool store_kept_back(const struct insn *insn, const struct insn_outcome *native)
{
    uint16_t fcw, fsw;
    memcpy(&fcw, native->out.xsave, sizeof(fcw));
    memcpy(&fsw, native->out.xsave + 2, sizeof(fsw));
    return insn->kind == INSN_X87 && insn->memory && !native->fault.raised && fsw & ~fcw & 0x3f;
}

/* Two things are wrong and processors differ in what they say first: CMPS with two operands that are not there, CALL to
 * what is no address with a stack that is not there. */
static bool either_fault(const struct insn *insn, const struct insn_fault *native, const struct insn_fault *engine)
{
    if (insn->kind == INSN_CMPS)
        return native->vector == FAULT_PF && engine->vector == FAULT_PF;
    return insn->kind == INSN_CALL && native->vector != FAULT_GP && engine->vector == FAULT_GP;
}

static bool same_fault(const struct insn *insn, const struct insn_fault *native, const struct insn_fault *engine)
{
    uint32_t code = native->code;
    if (insn->kind == INSN_MOVSXD && insn->bytes == 2 && native->raised && !engine->raised)
        return true; /* with a 16-bit destination AMD's processors read 32 bits, Intel's 16 */
    if (native->raised && engine->raised && either_fault(insn, native, engine))
        return true;
    if (native->raised && native->vector == FAULT_UD && wide_in_32(insn))
        return true;
    if (in_pieces(insn) && beyond_segment(native) && (engine->vector == FAULT_GP || engine->vector == FAULT_SS))
        return true;
    if (native->raised != engine->raised || native->vector != engine->vector)
        return false;
    if (native->vector != FAULT_PF)
        return code == engine->code;
    if (native->cr2 >> 47) /* Linux says of kernel addresses that they are there, whether they are or not */
        code = (code & ~1u) | (engine->code & 1);
    if (in_pieces(insn))
        return (code | 1) == (engine->code | 1) && native->cr2 - engine->cr2 + 1024 < 2048;
    return code == engine->code && native->cr2 == engine->cr2;
}

static bool same(const struct insn_case *c, const struct insn *insn, const struct insn_outcome *a,
                 const struct insn_outcome *b)
{
    const struct insn_registers *x = &a->out, *y = &b->out;
    if (c->code_bytes == 2 && c->branch && x->rip - INSN_WAY_OUT_16 < 16)
        return true; /* it went on there */
    if (!same_fault(insn, &a->fault, &b->fault))
        return false;
    if (a->fault.raised &&
        (!b->fault.raised || insn->kind == INSN_POPA)) /* POPA begins again; some have popped a part */
        return true;
    if (x->rip != y->rip || (x->rflags ^ y->rflags) & flags_compared(insn))
        return false;
    if (memcmp(x->gpr, y->gpr, sizeof(x->gpr)))
        return false;
    for (unsigned i = 0; i < COUNT(parts); i++)
        if (memcmp(x->xsave + parts[i].from, y->xsave + parts[i].from, parts[i].bytes))
            return false;
    return compare_data(c, insn, a, b) == NO_ADDRESS;
}

/* ---- showing ---- */

static void show_bytes(const uint8_t *bytes, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        printf("%02x", bytes[count - 1 - i]);
}

static void show_instruction(const struct insn_case *c)
{
    for (unsigned i = 0; i < c->length; i++)
        printf("%02x ", c->code[i]);
#ifdef INSN_DIFF_ZYDIS
    ZydisDisassembledInstruction text;
    ZydisMachineMode mode = c->code_bytes == 8   ? ZYDIS_MACHINE_MODE_LONG_64
                            : c->code_bytes == 4 ? ZYDIS_MACHINE_MODE_LONG_COMPAT_32
                                                 : ZYDIS_MACHINE_MODE_LONG_COMPAT_16;
    if (ZYAN_SUCCESS(ZydisDisassembleIntel(mode, c->in.rip, c->code, c->length, &text)))
        printf("  %s", text.text);
#endif
    printf("\n");
}

static void show_line(const char *name, const void *in, const void *native, const void *engine, unsigned bytes)
{
    bool differs = memcmp(native, engine, bytes);
    if (!differs && !memcmp(in, native, bytes))
        return;
    printf("  %c %-7s ", differs ? '*' : ' ', name);
    show_bytes(in, bytes);
    printf(" -> ");
    show_bytes(native, bytes);
    if (differs) {
        printf("   engine: ");
        show_bytes(engine, bytes);
    }
    printf("\n");
}

static void show_fault(const char *who, const struct insn_fault *f, uint64_t rip)
{
    if (f->raised)
        printf("    %s: vector %u code %#x cr2 %#llx rip %#llx\n", who, f->vector, f->code, (unsigned long long)f->cr2,
               (unsigned long long)rip);
    else
        printf("    %s: rip %#llx\n", who, (unsigned long long)rip);
}

static void show(const struct insn_case *c, const struct insn *insn, const struct insn_outcome *native,
                 const struct insn_outcome *engine, uint64_t number)
{
    static const char *const names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                        "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    printf("case %llu (%s): ", (unsigned long long)number, insn_group_names[c->group]);
    show_instruction(c);
    show_fault("processor", &native->fault, native->out.rip);
    show_fault("engine   ", &engine->fault, engine->out.rip);
    for (unsigned i = 0; i < CPU_GPR_COUNT; i++)
        show_line(names[i], &c->in.gpr[i], &native->out.gpr[i], &engine->out.gpr[i], 8);
    uint64_t before = c->in.rflags & RFLAGS_COMPARED, x = native->out.rflags & RFLAGS_COMPARED,
             y = engine->out.rflags & RFLAGS_COMPARED;
    show_line("rflags", &before, &x, &y, 2);
    for (unsigned i = 0; i < COUNT(parts); i++)
        show_line(parts[i].name, c->in.xsave + parts[i].from, native->out.xsave + parts[i].from,
                  engine->out.xsave + parts[i].from, parts[i].bytes);
    long at = compare_data(c, insn, native, engine);
    if (at != NO_ADDRESS) {
        static uint8_t data[INSN_DATA_BYTES];
        long from = at + 16 > INSN_DATA_BYTES ? INSN_DATA_BYTES - 16 : at;
        insn_case_data(c, data);
        printf("  memory at %#lx, operand at %#llx\n", INSN_DATA + at, (unsigned long long)c->operand);
        show_line("memory", data + from, native->data + from, engine->data + from, 16);
    }
}

/* ---- running ---- */

static unsigned groups_of(const char *text)
{
    unsigned groups = 0;
    for (unsigned i = 0; i < INSN_GROUP_COUNT; i++)
        if (strstr(text, insn_group_names[i]))
            groups |= 1u << i;
    return groups;
}

static struct options options_of(int argc, char **argv)
{
    struct options o = {"interp", 300000, 1, (1u << INSN_GROUP_COUNT) - 1, 10, 64};
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--engine"))
            o.engine = argv[i + 1];
        else if (!strcmp(argv[i], "--count"))
            o.count = strtoull(argv[i + 1], NULL, 0);
        else if (!strcmp(argv[i], "--seed"))
            o.seed = strtoull(argv[i + 1], NULL, 0);
        else if (!strcmp(argv[i], "--bits"))
            o.bits = (unsigned)strtoul(argv[i + 1], NULL, 0);
        else if (!strcmp(argv[i], "--groups"))
            o.groups = groups_of(argv[i + 1]);
        else if (!strcmp(argv[i], "--show"))
            o.show = (unsigned)strtoul(argv[i + 1], NULL, 0);
        else
            o.groups = 0;
    }
    if (argc % 2 == 0 || !o.groups || (o.bits != 64 && o.bits != 32 && o.bits != 16) ||
        !insn_executor_named(o.engine)) {
        fprintf(stderr, "usage: insn_diff [--engine NAME] [--count N] [--seed N] [--bits 64|32|16] [--show N]\n"
                        "                 [--groups integer,bits,string,branch,x87,sse,avx,state]\n");
        exit(2);
    }
    return o;
}

struct run {
    struct options options;
    struct dice dice;
    struct insn_native *native;
    struct insn_engine *engine;
    uint64_t made, compared, different, faults;
    unsigned size[BATCHES];
};

static void start(struct run *r, unsigned batch)
{
    struct insn_case *cases = insn_native_cases(r->native, batch);
    unsigned n = 0;
    for (; n < INSN_BATCH && r->made < r->options.count; n++, r->made++)
        insn_case_make(&cases[n], &r->dice, r->options.groups, r->options.bits / 8);
    r->size[batch] = n;
    if (n)
        insn_native_start(r->native, batch, n);
}

/* False: the case took the child with it. */
static bool finish(struct run *r, unsigned batch)
{
    static struct insn_outcome engine;
    unsigned at;
    const struct insn_case *cases = insn_native_cases(r->native, batch);
    const struct insn_outcome *outcomes = insn_native_outcomes(r->native, batch);
    if (!insn_native_wait(r->native, batch, &at)) {
        printf("case %llu ended or blocked the process that ran it: ", (unsigned long long)r->compared + at);
        show_instruction(&cases[at]);
        return false;
    }
    for (unsigned i = 0; i < r->size[batch]; i++, r->compared++) {
        struct insn insn;
        insn_decode(&insn, cases[i].code, cases[i].length, cases[i].code_bytes);
        insn_engine_run(r->engine, &cases[i], &engine);
        r->faults += outcomes[i].fault.raised;
        if (same(&cases[i], &insn, &outcomes[i], &engine))
            continue;
        if (engine.fault.raised && engine.fault.vector == FAULT_PF && store_kept_back(&insn, &outcomes[i]))
            continue;
        if (r->different++ < r->options.show)
            show(&cases[i], &insn, &outcomes[i], &engine, r->compared);
    }
    return true;
}

int main(int argc, char **argv)
{
    struct run r = {.options = options_of(argc, argv)};
    struct timespec begin, end;
    bool alive = true;
    r.dice.state = r.options.seed;
    r.native = insn_native_new(BATCHES);
    if (!insn_native_executes(r.native, r.options.bits / 8)) {
        printf("skipped: this machine executes no %u-bit code of processes\n", r.options.bits);
        insn_native_free(r.native);
        return SKIPPED;
    }
    r.engine = insn_engine_new(insn_executor_named(r.options.engine));
    clock_gettime(CLOCK_MONOTONIC, &begin);
    start(&r, 0);
    for (unsigned batch = 0; alive && r.size[batch]; batch ^= 1) {
        start(&r, batch ^ 1);
        alive = finish(&r, batch);
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    double seconds = (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
    printf("%llu cases, %llu of them faults, %llu different, %.1f s, seed %llu\n", (unsigned long long)r.compared,
           (unsigned long long)r.faults, (unsigned long long)r.different, seconds, (unsigned long long)r.options.seed);
    insn_engine_free(r.engine);
    insn_native_free(r.native);
    return r.different || !alive;
}
