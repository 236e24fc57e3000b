/* See simd_thunk.h.
 *
 *     rdi: frame, whose first bytes are the memory operand, so the instruction names it as (%rdi)
 *     rsi: XSAVE area of the guest     rax, rcx: general registers of ModRM.reg and ModRM.rm, whichever they were
 *
 *         FXRSTOR of the area, or: MXCSR, the vectors that are named
 *         rax, rcx, rdx, RFLAGS where they take part
 *     at: the instruction
 *     resume:
 *         the same things back, the host's MXCSR, FNINIT or VZEROUPPER; ret
 *
 * The cache is direct-mapped; a thunk that loses its place stays in code memory until that is full and all are
 * dropped. */
#include "hv/dbt/simd_thunk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hv/cpu_state.h"
#include "hv/dbt/code_memory.h"
#include "hv/dbt/decode.h"
#include "hv/dbt/host_trap.h"
#include "node/base/err.h"

enum {
    RAX,
    RCX,
    RDX,
    RSI = 6,
    RDI = 7,
    THUNK_BYTES_MAX = 512,
    THUNK_ALIGN = 16,
    VECTORS_MAX = 5,
    XSAVE_MXCSR = 24,
    XSAVE_XMM = 160,
    USER_FLAGS = 0x8d5, /* the arithmetic ones: what POPFQ may get of a guest's */
};

struct simd_thunks {
    struct simd_frame frame;
    struct simd_thunk thunk[SIMD_THUNKS];
    struct code_memory *code;
    size_t used_bytes;
    uint32_t mxcsr_mask; /* bits that the host has */
    unsigned made;
};

/* The frame of the thunk that this thread is running. */
static _Thread_local struct simd_frame *running;

static bool claim(ucontext_t *context)
{
    struct simd_frame *f = running;
    greg_t *rip = &context->uc_mcontext.gregs[REG_RIP];
    if (!f || (uint64_t)*rip != f->at)
        return false;
    f->trap = host_trap_vector(context) + 1;
    *rip = (greg_t)f->resume;
    return true;
}

static uint32_t mxcsr_mask(void)
{
    _Alignas(16) uint8_t area[SIMD_FX_BYTES] = {0};
    uint32_t mask;
    __asm__ volatile("fxsave %0" : "=m"(area));
    memcpy(&mask, area + XSAVE_MXCSR + 4, sizeof(mask));
    return mask ? mask : 0xffbf; /* SDM vol. 1, 11.6.6 */
}

struct simd_thunks *simd_thunks_new(struct err *err)
{
    struct simd_thunks *t = aligned_alloc(_Alignof(struct simd_thunks), sizeof(struct simd_thunks));
    if (!t) {
        err_set(err, ENOMEM, "no memory for the engine's vector unit");
        return NULL;
    }
    memset(t, 0, sizeof(*t));
    __asm__ volatile("stmxcsr %0" : "=m"(t->frame.host_mxcsr));
    t->mxcsr_mask = mxcsr_mask();
    t->code = code_memory_new(SIMD_CODE_BYTES, err);
    if (t->code && !host_trap_claim(claim, err))
        return t;
    simd_thunks_free(t);
    return NULL;
}

void simd_thunks_free(struct simd_thunks *thunks)
{
    if (!thunks)
        return;
    code_memory_free(thunks->code);
    free(thunks);
}

struct simd_frame *simd_thunk_frame(struct simd_thunks *thunks)
{
    return &thunks->frame;
}

unsigned simd_thunk_count(const struct simd_thunks *thunks)
{
    return thunks->made;
}

/* ---- bytes ---- */

struct emitter {
    uint8_t *at;
};

static void emit(struct emitter *e, unsigned byte)
{
    *e->at++ = (uint8_t)byte;
}

static void emit32(struct emitter *e, uint32_t value)
{
    memcpy(e->at, &value, sizeof(value));
    e->at += sizeof(value);
}

/* ModRM for reg and the memory at base + offset. */
static void emit_at(struct emitter *e, unsigned reg, unsigned base, size_t offset)
{
    emit(e, 0x80 | (reg & 7) << 3 | base);
    emit32(e, (uint32_t)offset);
}

static void emit_mov(struct emitter *e, unsigned opcode, unsigned reg, size_t offset) /* 64 bits, with the frame */
{
    emit(e, 0x48);
    emit(e, opcode);
    emit_at(e, reg, RDI, offset);
}

static void emit_0f(struct emitter *e, unsigned opcode, unsigned group, unsigned base, size_t offset)
{
    emit(e, 0x0f);
    emit(e, opcode);
    emit_at(e, group, base, offset);
}

/* VEX with map, W = 0. */
static void emit_vex(struct emitter *e, unsigned map, unsigned opcode, unsigned reg, unsigned v, unsigned l_pp,
                     size_t offset)
{
    emit(e, 0xc4);
    emit(e, (reg & 8 ? 0 : 0x80) | 0x60 | map);
    emit(e, (~v & 15) << 3 | l_pp);
    emit(e, opcode);
    emit_at(e, reg, RSI, offset);
}

/* ---- the instruction itself ---- */

static unsigned renamed(unsigned operand, unsigned reg, unsigned general)
{
    return operand == SIMD_GENERAL ? general : operand == SIMD_MMX ? reg & 7 : reg;
}

/* W where it means something: for general registers as the mode sees it, so that 32-bit code has none. */
static bool wide(const struct insn *insn, const struct simd_op *op)
{
    bool general = op->reg == SIMD_GENERAL || op->rm == SIMD_GENERAL || op->flags & SIMD_LENGTHS;
    if (general)
        return insn->bytes == 8;
    return insn->encoding == INSN_VEX && insn->prefixes & INSN_W;
}

static void encode_prefixes(struct emitter *e, const struct insn *insn, const struct simd_op *op, unsigned reg,
                            unsigned rm)
{
    static const uint8_t mandatory[4] = {0, 0x66, 0xf3, 0xf2},
                         escape[] = {[INSN_MAP_0F38] = 0x38, [INSN_MAP_0F3A] = 0x3a};
    unsigned r = reg >> 3 & 1, b = rm >> 3 & 1, w = wide(insn, op);
    if (insn->encoding == INSN_VEX) {
        emit(e, 0xc4);
        emit(e, (r ? 0 : 0x80) | 0x40 | (b ? 0 : 0x20) | (unsigned)(insn->map - INSN_MAP_0F + 1));
        emit(e, w << 7 | (~insn->vex & 15u) << 3 | (unsigned)insn->vex_l << 2 | insn->vex_pp);
        return;
    }
    if (insn->vex_pp)
        emit(e, mandatory[insn->vex_pp]);
    if (w || r || b)
        emit(e, 0x40 | w << 3 | r << 2 | b);
    emit(e, 0x0f);
    if (insn->map != INSN_MAP_0F)
        emit(e, escape[insn->map]);
}

static void encode_vector(struct emitter *e, const struct insn *insn, const struct simd_op *op)
{
    unsigned group = insn->modrm >> 3 & 7;
    unsigned reg = op->reg == SIMD_NO_OPERAND ? group : renamed(op->reg, insn->reg, RAX);
    unsigned rm = insn->memory ? RDI : renamed(op->rm, insn->rm, RCX);
    encode_prefixes(e, insn, op, reg, rm);
    emit(e, insn->opcode);
    if (op->rm == SIMD_NO_OPERAND && op->memory == SIMD_REGISTERS) /* EMMS */
        return;
    emit(e, (insn->memory ? 0 : 0xc0) | (reg & 7) << 3 | (rm & 7));
    if (insn->immediate_bytes)
        emit(e, (uint8_t)insn->immediate);
    if (insn->immediate_bytes == 2)
        emit(e, (uint8_t)insn->immediate2);
}

static void encode_x87(struct emitter *e, const struct insn *insn, const struct simd_op *op)
{
    if ((op->memory == SIMD_ENVIRONMENT || op->memory == SIMD_X87_ALL) && insn->bytes == 2)
        emit(e, 0x66);
    emit(e, insn->opcode);
    emit(e, insn->memory ? (insn->modrm & 0x38) | RDI : insn->modrm);
}

static void encode(struct simd_thunk *t, const struct insn *insn, const struct simd_op *op)
{
    struct emitter e = {t->bytes};
    memset(t, 0, sizeof(*t));
    if (insn->map == INSN_MAP_1)
        encode_x87(&e, insn, op);
    else
        encode_vector(&e, insn, op);
    t->bytes[15] = (uint8_t)(e.at - t->bytes);
}

/* ---- what goes round it ---- */

struct named { /* vectors, each once */
    uint8_t vector[VECTORS_MAX];
    unsigned count;
};

static void name_one(struct named *n, unsigned vector)
{
    for (unsigned i = 0; i < n->count; i++)
        if (n->vector[i] == vector)
            return;
    n->vector[n->count++] = (uint8_t)vector;
}

static void name_vectors(struct named *n, const struct insn *insn, const struct simd_op *op)
{
    if (op->reg == SIMD_VECTOR)
        name_one(n, insn->reg);
    if (op->rm == SIMD_VECTOR && !insn->memory)
        name_one(n, insn->rm);
    if (insn->encoding == INSN_VEX && op->flags & (SIMD_V | SIMD_V_REGISTERS))
        name_one(n, insn->vex);
    if (op->flags & SIMD_IS4) /* 32-bit code has 8 of them, and the host's has the full bits */
        name_one(n, (uint8_t)insn->immediate >> 4);
    if (op->flags & SIMD_XMM0)
        name_one(n, 0);
}

static void load_vectors(struct emitter *e, const struct named *n, bool vex)
{
    for (unsigned i = 0; i < n->count; i++) {
        unsigned v = n->vector[i];
        if (vex) { /* VMOVUPS, VINSERTF128 */
            emit_vex(e, 1, 0x10, v, 0, 0, XSAVE_XMM + 16 * v);
            emit_vex(e, 3, 0x18, v, v, 5, CPU_XSAVE_YMM + 16 * v);
            emit(e, 1);
        } else { /* MOVUPS */
            if (v & 8)
                emit(e, 0x44);
            emit_0f(e, 0x10, v, RSI, XSAVE_XMM + 16 * v);
        }
    }
}

static void store_vectors(struct emitter *e, const struct named *n, bool vex)
{
    for (unsigned i = 0; i < n->count; i++) {
        unsigned v = n->vector[i];
        if (vex) { /* VMOVUPS, VEXTRACTF128 */
            emit_vex(e, 1, 0x11, v, 0, 0, XSAVE_XMM + 16 * v);
            emit_vex(e, 3, 0x19, v, 0, 5, CPU_XSAVE_YMM + 16 * v);
            emit(e, 1);
        } else {
            if (v & 8)
                emit(e, 0x44);
            emit_0f(e, 0x11, v, RSI, XSAVE_XMM + 16 * v);
        }
    }
    if (vex) /* VZEROUPPER */
        emit(e, 0xc5), emit(e, 0xf8), emit(e, 0x77);
}

enum {
    MOV_TO_REGISTER = 0x8b,
    MOV_TO_MEMORY = 0x89,
    FRAME_RAX = offsetof(struct simd_frame, rax),
    FRAME_RCX = offsetof(struct simd_frame, rcx),
    FRAME_RDX = offsetof(struct simd_frame, rdx),
    FRAME_FLAGS = offsetof(struct simd_frame, rflags),
    FRAME_MXCSR = offsetof(struct simd_frame, mxcsr),
    FRAME_HOST_MXCSR = offsetof(struct simd_frame, host_mxcsr),
    FRAME_FX = offsetof(struct simd_frame, fx),
};

static void emit_general(struct emitter *e, const struct simd_op *op, unsigned opcode)
{
    bool rcx = op->rm == SIMD_GENERAL || op->flags & SIMD_INDEX;
    if (op->reg == SIMD_GENERAL || op->flags & (SIMD_LENGTHS | SIMD_AX))
        emit_mov(e, opcode, RAX, FRAME_RAX);
    if (rcx)
        emit_mov(e, opcode, RCX, FRAME_RCX);
    if (op->flags & SIMD_LENGTHS)
        emit_mov(e, opcode, RDX, FRAME_RDX);
}

static void emit_before(struct emitter *e, const struct simd_thunk *t, const struct simd_op *op, const struct named *n)
{
    if (t->fx) { /* FXRSTOR64 */
        emit(e, 0x48);
        emit_0f(e, 0xae, 1, RSI, 0);
    } else {
        if (op->flags & SIMD_FP) /* LDMXCSR */
            emit_0f(e, 0xae, 2, RSI, XSAVE_MXCSR);
        load_vectors(e, n, t->touches & 4);
    }
    if (op->flags & SIMD_FLAGS_IN) { /* PUSH, POPFQ */
        emit(e, 0xff);
        emit_at(e, 6, RDI, FRAME_FLAGS);
        emit(e, 0x9d);
    }
    emit_general(e, op, MOV_TO_REGISTER);
}

static void emit_after(struct emitter *e, const struct simd_thunk *t, const struct simd_op *op, const struct named *n)
{
    if (op->flags & SIMD_FLAGS) { /* PUSHFQ, POP */
        emit(e, 0x9c);
        emit(e, 0x8f);
        emit_at(e, 0, RDI, FRAME_FLAGS);
    }
    emit_general(e, op, MOV_TO_MEMORY);
    if (t->fx) { /* FXSAVE64, STMXCSR, LDMXCSR, FNINIT */
        emit(e, 0x48);
        emit_0f(e, 0xae, 0, RDI, FRAME_FX);
    } else {
        store_vectors(e, n, t->touches & 4);
    }
    if (t->fx || op->flags & SIMD_FP) {
        emit_0f(e, 0xae, 3, RDI, FRAME_MXCSR);
        emit_0f(e, 0xae, 2, RDI, FRAME_HOST_MXCSR);
    }
    if (t->fx)
        emit(e, 0xdb), emit(e, 0xe3);
    emit(e, 0xc3);
}

static uint8_t touched(const struct insn *insn, const struct simd_op *op, const struct named *n)
{
    bool mmx = op->reg == SIMD_MMX || op->rm == SIMD_MMX;
    uint8_t touches = mmx || insn->map == INSN_MAP_1 ? 1 : 0;
    if (n->count)
        touches |= 2;
    if (insn->encoding == INSN_VEX)
        touches |= 6;
    return touches;
}

static void make(struct simd_thunks *thunks, struct simd_thunk *t, const struct insn *insn, const struct simd_op *op)
{
    struct named n = {.count = 0};
    if (thunks->used_bytes + THUNK_BYTES_MAX > thunks->code->bytes) {
        memset(thunks->thunk, 0, sizeof(thunks->thunk));
        thunks->used_bytes = 0;
        encode(t, insn, op); /* it may have been one of them */
    }
    uint8_t *start = thunks->code->rw + thunks->used_bytes;
    struct emitter e = {start};
    name_vectors(&n, insn, op);
    t->touches = touched(insn, op, &n);
    t->fx = t->touches & 1;
    t->entry = (uint32_t)thunks->used_bytes;
    emit_before(&e, t, op, &n);
    t->at = (uint8_t)(e.at - start);
    memcpy(e.at, t->bytes, t->bytes[15]);
    e.at += t->bytes[15];
    t->resume = (uint8_t)(e.at - start);
    emit_after(&e, t, op, &n);
    thunks->used_bytes += (size_t)(e.at - start + THUNK_ALIGN - 1) & ~(size_t)(THUNK_ALIGN - 1);
    thunks->made++;
    code_memory_publish();
}

static unsigned hash(const uint8_t bytes[16])
{
    uint64_t low, high;
    memcpy(&low, bytes, 8);
    memcpy(&high, bytes + 8, 8);
    uint64_t h = (low ^ high << 23) * UINT64_C(0x9e3779b97f4a7c15);
    return (unsigned)(h >> 40) % SIMD_THUNKS;
}

const struct simd_thunk *simd_thunk_find(struct simd_thunks *thunks, const struct insn *insn, const struct simd_op *op)
{
    struct simd_thunk wanted;
    encode(&wanted, insn, op);
    struct simd_thunk *t = &thunks->thunk[hash(wanted.bytes)];
    if (!memcmp(t->bytes, wanted.bytes, sizeof(wanted.bytes)))
        return t;
    *t = wanted;
    make(thunks, t, insn, op);
    return t;
}

void simd_thunk_run(struct simd_thunks *thunks, const struct simd_thunk *t, uint8_t *xsave)
{
    struct simd_frame *f = &thunks->frame;
    const uint8_t *entry = thunks->code->rx + t->entry;
    void (*run)(struct simd_frame *, uint8_t *);
    memcpy(&run, &entry, sizeof(run));
    f->at = (uint64_t)(uintptr_t)entry + t->at;
    f->resume = (uint64_t)(uintptr_t)entry + t->resume;
    f->trap = 0;
    f->rflags &= USER_FLAGS;
    uint32_t mxcsr;
    memcpy(&mxcsr, xsave + XSAVE_MXCSR, sizeof(mxcsr));
    mxcsr &= thunks->mxcsr_mask; /* a reserved bit would fault on the host */
    memcpy(xsave + XSAVE_MXCSR, &mxcsr, sizeof(mxcsr));
    running = f;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    run(f, xsave);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    running = NULL;
}
