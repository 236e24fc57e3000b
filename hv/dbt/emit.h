/* Host instructions, written one after the other into code memory.
 *
 * Positions are offsets from the start of the code memory, so jumps are made without knowing where it is mapped. What
 * lies in struct dbt_cpu ("slot") is addressed through GS, whose base may be inside of it. Nothing here writes behind
 * `end`: a writer that has run out of room goes on counting and is thrown away by its owner (emit_full).
 *
 * Source: Intel SDM vol. 2 ch. 2. Threads: the owner's. */
#ifndef HV_DBT_EMIT_H
#define HV_DBT_EMIT_H

#include <stdbool.h>
#include <stdint.h>

struct insn;

struct emit {
    uint8_t *base; /* of the code memory, where it is written */
    uint32_t at, end;
    uint32_t gs; /* the slot that GS.base is at */
};

enum emit_alu { EMIT_ADD, EMIT_OR, EMIT_ADC, EMIT_SBB, EMIT_AND, EMIT_SUB, EMIT_XOR, EMIT_CMP }; /* opcode bits 5:3 */
enum emit_shift { EMIT_SHL = 4, EMIT_SHR = 5 };                                                  /* ModRM.reg */
enum emit_condition {
    EMIT_ABOVE_OR_EQUAL = 3,
    EMIT_EQUAL = 4,
    EMIT_NOT_EQUAL = 5,
    EMIT_BELOW_OR_EQUAL = 6,
    EMIT_ABOVE = 7
};
enum { EMIT_NO_REGISTER = 0xff, EMIT_NOP_BYTES = 5 };

static inline bool emit_full(const struct emit *e)
{
    return e->at > e->end;
}

void emit_byte(struct emit *e, uint8_t byte);
void emit_u32(struct emit *e, uint32_t value);
void emit_u64(struct emit *e, uint64_t value);
void emit_bytes(struct emit *e, const void *bytes, unsigned count);
/* Five-byte NOPs and zeroes in front of a position that is a multiple of `to`. Only between blocks. */
void emit_align(struct emit *e, unsigned to);
void emit_nop5(struct emit *e);

/* ---- 64-bit moves; none of these changes flags ---- */
void emit_move(struct emit *e, unsigned to, unsigned from);
void emit_constant(struct emit *e, unsigned to, uint64_t value); /* in as few bytes as it takes */
void emit_load(struct emit *e, unsigned to, unsigned slot);
void emit_load32(struct emit *e, unsigned to, unsigned slot);
void emit_store(struct emit *e, unsigned slot, unsigned from);
void emit_store32(struct emit *e, unsigned slot, unsigned from);
void emit_store32_constant(struct emit *e, unsigned slot, uint32_t value);
void emit_load_indexed(struct emit *e, unsigned to, unsigned index, unsigned slot); /* gs:[index + slot] */
/* bytes: 4 or 8, the size of the result. base and index: EMIT_NO_REGISTER if there is none. scale: a shift. */
void emit_lea(struct emit *e, unsigned bytes, unsigned to, unsigned base, unsigned index, unsigned scale, int32_t add);
/* bytes: 4 or 8: what is moved from or to [base + add]. */
void emit_load_at(struct emit *e, unsigned bytes, unsigned to, unsigned base, int32_t add);
void emit_store_at(struct emit *e, unsigned bytes, unsigned base, int32_t add, unsigned from);
void emit_store_at_constant(struct emit *e, unsigned base, int32_t value); /* 64 bits, sign-extended */

/* ---- arithmetic ---- */
void emit_alu(struct emit *e, enum emit_alu op, unsigned bytes, unsigned to, unsigned from); /* 4, 8 */
void emit_alu_constant(struct emit *e, enum emit_alu op, unsigned to, int32_t value);
void emit_alu_slot(struct emit *e, enum emit_alu op, unsigned to, unsigned slot);
void emit_alu_indexed(struct emit *e, enum emit_alu op, unsigned to, unsigned index, unsigned slot);
void emit_alu_slot_constant(struct emit *e, enum emit_alu op, unsigned bytes, unsigned slot,
                            int32_t value); /* 1, 4, 8 */
void emit_shift(struct emit *e, enum emit_shift op, unsigned to, unsigned count);
void emit_arithmetic_shift(struct emit *e, unsigned bytes, unsigned to, unsigned count); /* SAR; 4, 8 */
void emit_divide(struct emit *e, unsigned bytes, bool is_signed, unsigned divisor);      /* 4, 8 */
void emit_test_byte(struct emit *e, unsigned reg, uint8_t mask); /* the low byte of a register */

/* The arithmetic flags into AX (as LAHF has them in AH, OF in AL) and back; RAX is lost. */
void emit_flags_to_ax(struct emit *e);
void emit_flags_from_ax(struct emit *e);

void emit_push_flags_pop(struct emit *e, unsigned to); /* all of the host's flags, by way of the stack */

/* ---- jumps: return where the 32-bit distance lies, for emit_link() ---- */
uint32_t emit_jump(struct emit *e, uint32_t target);
uint32_t emit_jump_if(struct emit *e, unsigned condition, uint32_t target);
void emit_jump_if_ecx_zero(struct emit *e, int8_t distance); /* changes no flags; distance: from its end */
void emit_jump_slot(struct emit *e, unsigned slot);          /* to the absolute address there */
/* The jump whose distance lies at `where` goes to target. */
void emit_link(struct emit *e, uint32_t where, uint32_t target);
void emit_put_u32(struct emit *e, uint32_t where, uint32_t value); /* over something written before */
/* What lies at `at` becomes a jump to target: over an emit_nop5(). */
void emit_nop5_to_jump(struct emit *e, uint32_t at, uint32_t target);

/* ---- guest instructions ---- */
/* The instruction as it is, but its memory operand is [address]; emit_guest_takes() says whether that is possible: AH
 * to BH do not go together with R8 to R15. */
bool emit_guest_takes(const struct insn *insn, const uint8_t *code, unsigned address);
void emit_guest_at(struct emit *e, const struct insn *insn, const uint8_t *code, unsigned address);

#endif
