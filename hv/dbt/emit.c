/* See emit.h. */
#include "hv/dbt/emit.h"

#include <string.h>

enum { REX = 0x40, REX_W = 8, REX_R = 4, REX_X = 2, REX_B = 1, GS = 0x65, TWO_BYTES = 0x0f };
enum { JUMP = 0xe9, JUMP_IF = 0x80, JUMP_BYTES = 5 };

/* ---- bytes ---- */

void emit_byte(struct emit *e, uint8_t byte)
{
    if (e->at < e->end)
        e->base[e->at] = byte;
    e->at++;
}

void emit_bytes(struct emit *e, const void *bytes, unsigned count)
{
    if (e->at <= e->end && count <= e->end - e->at)
        memcpy(e->base + e->at, bytes, count);
    e->at += count;
}

void emit_u32(struct emit *e, uint32_t value)
{
    emit_bytes(e, &value, sizeof value);
}

void emit_u64(struct emit *e, uint64_t value)
{
    emit_bytes(e, &value, sizeof value);
}

void emit_nop5(struct emit *e)
{
    static const uint8_t nop[EMIT_NOP_BYTES] = {0x0f, 0x1f, 0x44, 0, 0};
    emit_bytes(e, nop, sizeof nop);
}

void emit_align(struct emit *e, unsigned to)
{
    while (e->at % to)
        emit_byte(e, 0xcc);
}

/* ---- operands ---- */

static void rex(struct emit *e, bool wide, unsigned reg, unsigned index, unsigned base)
{
    unsigned bits = (wide ? REX_W : 0) | (reg & 8 ? REX_R : 0) | (index & 8 ? REX_X : 0) | (base & 8 ? REX_B : 0);
    if (bits)
        emit_byte(e, (uint8_t)(REX | bits));
}

static uint8_t modrm(unsigned mod, unsigned reg, unsigned rm)
{
    return (uint8_t)(mod << 6 | (reg & 7) << 3 | (rm & 7));
}

/* ModRM, SIB and displacement of [base + index << scale + add]. */
static void memory_operand(struct emit *e, unsigned reg, unsigned base, unsigned index, unsigned scale, int32_t add)
{
    bool no_base = base == EMIT_NO_REGISTER, no_index = index == EMIT_NO_REGISTER;
    if (no_base) { /* a 32-bit displacement always follows */
        emit_byte(e, modrm(0, reg, 4));
        emit_byte(e, (uint8_t)(scale << 6 | (no_index ? 4u : index & 7) << 3 | 5));
        emit_u32(e, (uint32_t)add);
        return;
    }
    unsigned mod = add == 0 && (base & 7) != 5 ? 0 : add == (int8_t)add ? 1 : 2;
    if (!no_index || (base & 7) == 4) {
        emit_byte(e, modrm(mod, reg, 4));
        emit_byte(e, (uint8_t)(scale << 6 | (no_index ? 4u : index & 7) << 3 | (base & 7)));
    } else {
        emit_byte(e, modrm(mod, reg, base));
    }
    if (mod == 1)
        emit_byte(e, (uint8_t)add);
    else if (mod == 2)
        emit_u32(e, (uint32_t)add);
}

/* op reg, gs:[index + slot] */
static void slot_operand(struct emit *e, bool wide, uint8_t opcode, unsigned reg, unsigned index, unsigned slot)
{
    emit_byte(e, GS);
    rex(e, wide, reg, 0, index == EMIT_NO_REGISTER ? 0 : index);
    emit_byte(e, opcode);
    memory_operand(e, reg, index, EMIT_NO_REGISTER, 0, (int32_t)slot - (int32_t)e->gs);
}

/* ---- moves ---- */

void emit_move(struct emit *e, unsigned to, unsigned from)
{
    rex(e, true, from, 0, to);
    emit_byte(e, 0x89);
    emit_byte(e, modrm(3, from, to));
}

void emit_constant(struct emit *e, unsigned to, uint64_t value)
{
    if (value == (uint32_t)value) {
        rex(e, false, 0, 0, to);
        emit_byte(e, (uint8_t)(0xb8 | (to & 7)));
        emit_u32(e, (uint32_t)value);
    } else if ((int64_t)value == (int32_t)value) {
        rex(e, true, 0, 0, to);
        emit_byte(e, 0xc7);
        emit_byte(e, modrm(3, 0, to));
        emit_u32(e, (uint32_t)value);
    } else {
        rex(e, true, 0, 0, to);
        emit_byte(e, (uint8_t)(0xb8 | (to & 7)));
        emit_u64(e, value);
    }
}

void emit_load(struct emit *e, unsigned to, unsigned slot)
{
    slot_operand(e, true, 0x8b, to, EMIT_NO_REGISTER, slot);
}

void emit_load32(struct emit *e, unsigned to, unsigned slot)
{
    slot_operand(e, false, 0x8b, to, EMIT_NO_REGISTER, slot);
}

void emit_store(struct emit *e, unsigned slot, unsigned from)
{
    slot_operand(e, true, 0x89, from, EMIT_NO_REGISTER, slot);
}

void emit_store32(struct emit *e, unsigned slot, unsigned from)
{
    slot_operand(e, false, 0x89, from, EMIT_NO_REGISTER, slot);
}

void emit_store32_constant(struct emit *e, unsigned slot, uint32_t value)
{
    slot_operand(e, false, 0xc7, 0, EMIT_NO_REGISTER, slot);
    emit_u32(e, value);
}

void emit_load_indexed(struct emit *e, unsigned to, unsigned index, unsigned slot)
{
    slot_operand(e, true, 0x8b, to, index, slot);
}

void emit_lea(struct emit *e, unsigned bytes, unsigned to, unsigned base, unsigned index, unsigned scale, int32_t add)
{
    rex(e, bytes == 8, to, index == EMIT_NO_REGISTER ? 0 : index, base == EMIT_NO_REGISTER ? 0 : base);
    emit_byte(e, 0x8d);
    memory_operand(e, to, base, index, scale, add);
}

void emit_load_at(struct emit *e, unsigned bytes, unsigned to, unsigned base, int32_t add)
{
    rex(e, bytes == 8, to, 0, base);
    emit_byte(e, 0x8b);
    memory_operand(e, to, base, EMIT_NO_REGISTER, 0, add);
}

void emit_store_at(struct emit *e, unsigned bytes, unsigned base, int32_t add, unsigned from)
{
    rex(e, bytes == 8, from, 0, base);
    emit_byte(e, 0x89);
    memory_operand(e, from, base, EMIT_NO_REGISTER, 0, add);
}

void emit_store_at_constant(struct emit *e, unsigned base, int32_t value)
{
    rex(e, true, 0, 0, base);
    emit_byte(e, 0xc7);
    memory_operand(e, 0, base, EMIT_NO_REGISTER, 0, 0);
    emit_u32(e, (uint32_t)value);
}

/* ---- arithmetic ---- */

void emit_alu(struct emit *e, enum emit_alu op, unsigned bytes, unsigned to, unsigned from)
{
    rex(e, bytes == 8, from, 0, to);
    emit_byte(e, (uint8_t)(op << 3 | 1));
    emit_byte(e, modrm(3, from, to));
}

void emit_alu_constant(struct emit *e, enum emit_alu op, unsigned to, int32_t value)
{
    bool small = value == (int8_t)value;
    rex(e, true, 0, 0, to);
    emit_byte(e, small ? 0x83 : 0x81);
    emit_byte(e, modrm(3, op, to));
    if (small)
        emit_byte(e, (uint8_t)value);
    else
        emit_u32(e, (uint32_t)value);
}

void emit_alu_slot(struct emit *e, enum emit_alu op, unsigned to, unsigned slot)
{
    slot_operand(e, true, (uint8_t)(op << 3 | 3), to, EMIT_NO_REGISTER, slot);
}

void emit_alu_indexed(struct emit *e, enum emit_alu op, unsigned to, unsigned index, unsigned slot)
{
    slot_operand(e, true, (uint8_t)(op << 3 | 3), to, index, slot);
}

void emit_alu_slot_constant(struct emit *e, enum emit_alu op, unsigned bytes, unsigned slot, int32_t value)
{
    bool small = value == (int8_t)value;
    slot_operand(e, bytes == 8, bytes == 1 ? 0x80 : small ? 0x83 : 0x81, op, EMIT_NO_REGISTER, slot);
    if (bytes == 1 || small)
        emit_byte(e, (uint8_t)value);
    else
        emit_u32(e, (uint32_t)value);
}

void emit_shift(struct emit *e, enum emit_shift op, unsigned to, unsigned count)
{
    rex(e, true, 0, 0, to);
    emit_byte(e, 0xc1);
    emit_byte(e, modrm(3, op, to));
    emit_byte(e, (uint8_t)count);
}

void emit_arithmetic_shift(struct emit *e, unsigned bytes, unsigned to, unsigned count)
{
    rex(e, bytes == 8, 0, 0, to);
    emit_byte(e, 0xc1);
    emit_byte(e, modrm(3, 7, to));
    emit_byte(e, (uint8_t)count);
}

void emit_divide(struct emit *e, unsigned bytes, bool is_signed, unsigned divisor)
{
    rex(e, bytes == 8, 0, 0, divisor);
    emit_byte(e, 0xf7);
    emit_byte(e, modrm(3, is_signed ? 7 : 6, divisor));
}

void emit_test_byte(struct emit *e, unsigned reg, uint8_t mask)
{
    emit_byte(e, (uint8_t)(REX | (reg & 8 ? REX_B : 0))); /* always: SPL to DIL, not AH to BH */
    emit_byte(e, 0xf6);
    emit_byte(e, modrm(3, 0, reg));
    emit_byte(e, mask);
}

void emit_flags_to_ax(struct emit *e)
{
    static const uint8_t code[] = {0x9f, 0x0f, 0x90, 0xc0}; /* lahf; seto al */
    emit_bytes(e, code, sizeof code);
}

void emit_flags_from_ax(struct emit *e)
{
    static const uint8_t code[] = {0x04, 0x7f, 0x9e}; /* add al, 7fh: OF if AL was 1; sahf */
    emit_bytes(e, code, sizeof code);
}

void emit_push_flags_pop(struct emit *e, unsigned to)
{
    emit_byte(e, 0x9c);
    rex(e, false, 0, 0, to);
    emit_byte(e, (uint8_t)(0x58 | (to & 7)));
}

/* ---- jumps ---- */

void emit_put_u32(struct emit *e, uint32_t where, uint32_t value)
{
    if (where + 4 <= e->end)
        memcpy(e->base + where, &value, sizeof value);
}

void emit_link(struct emit *e, uint32_t where, uint32_t target)
{
    emit_put_u32(e, where, target - (where + 4));
}

uint32_t emit_jump(struct emit *e, uint32_t target)
{
    emit_byte(e, JUMP);
    emit_u32(e, target - (e->at + 4));
    return e->at - 4;
}

uint32_t emit_jump_if(struct emit *e, unsigned condition, uint32_t target)
{
    emit_byte(e, TWO_BYTES);
    emit_byte(e, (uint8_t)(JUMP_IF | condition));
    emit_u32(e, target - (e->at + 4));
    return e->at - 4;
}

void emit_jump_if_ecx_zero(struct emit *e, int8_t distance)
{
    emit_byte(e, 0x67);
    emit_byte(e, 0xe3);
    emit_byte(e, (uint8_t)distance);
}

void emit_jump_slot(struct emit *e, unsigned slot)
{
    slot_operand(e, false, 0xff, 4, EMIT_NO_REGISTER, slot);
}

void emit_nop5_to_jump(struct emit *e, uint32_t at, uint32_t target)
{
    if (at + JUMP_BYTES > e->end)
        return;
    e->base[at] = JUMP;
    emit_link(e, at + 1, target);
}
