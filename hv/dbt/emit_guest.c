/* See emit.h. A guest instruction is taken apart only as far as it has to be written differently: segment and address
 * size prefixes go (the address is complete), REX or VEX get the new base register, ModRM and SIB are made new. What
 * comes behind the memory operand, the immediate, stays. */
#include "hv/dbt/decode.h"
#include "hv/dbt/emit.h"

enum { REX_MASK = 0xf0, REX_BITS = 0x40, REX_R = 4, REX_X = 2, REX_B = 1 };
enum { VEX_2 = 0xc5, VEX_3 = 0xc4, VEX_R = 0x80, VEX_X = 0x40, VEX_B = 0x20, VEX_MAP_0F = 1 };

struct parts {
    uint8_t kept[INSN_BYTES_MAX]; /* 66, F0, F2, F3 */
    unsigned kept_count, rex, opcode_at;
};

static void take_apart(struct parts *p, const struct insn *insn, const uint8_t *code)
{
    *p = (struct parts){0};
    for (;; p->opcode_at++) {
        uint8_t byte = code[p->opcode_at];
        switch (byte) {
        case 0x66:
        case 0xf0:
        case 0xf2:
        case 0xf3:
            p->kept[p->kept_count++] = byte;
            p->rex = 0;
            continue;
        case 0x26:
        case 0x2e:
        case 0x36:
        case 0x3e:
        case 0x64:
        case 0x65:
        case 0x67:
            p->rex = 0;
            continue;
        default:
            if (insn->encoding == INSN_LEGACY && (byte & REX_MASK) == REX_BITS) {
                p->rex = byte;
                continue;
            }
            return;
        }
    }
}

static void address_operand(struct emit *e, const struct insn *insn, unsigned address)
{
    unsigned low = address & 7, reg = insn->modrm & 0x38;
    emit_byte(e, (uint8_t)((low == 5 ? 0x40 : 0) | reg | low));
    if (low == 4)
        emit_byte(e, 0x24);
    if (low == 5)
        emit_byte(e, 0);
}

static void emit_vex(struct emit *e, const uint8_t *vex, unsigned address)
{
    bool two = vex[0] == VEX_2;
    uint8_t r = vex[1] & VEX_R, map = two ? VEX_MAP_0F : vex[1] & 0x1f, last = two ? vex[1] & 0x7f : vex[2];
    emit_byte(e, VEX_3);
    emit_byte(e, (uint8_t)(r | VEX_X | (address & 8 ? 0 : VEX_B) | map)); /* inverted bits */
    emit_byte(e, last);
    emit_byte(e, vex[two ? 2 : 3]);
}

static bool needs_no_rex(const struct insn *insn, const struct parts *p)
{
    bool register_operand = insn->form == INSN_FORM_EG || insn->form == INSN_FORM_GE;
    bool byte_register = insn->bytes == 1 && insn->kind != INSN_CRC32 && register_operand;
    return byte_register && !p->rex && insn->modrm & 0x20; /* ModRM.reg is AH, CH, DH, BH */
}

bool emit_guest_takes(const struct insn *insn, const uint8_t *code, unsigned address)
{
    struct parts p;
    take_apart(&p, insn, code);
    return insn->encoding != INSN_LEGACY || !(address & 8) || !needs_no_rex(insn, &p);
}

void emit_guest_at(struct emit *e, const struct insn *insn, const uint8_t *code, unsigned address)
{
    struct parts p;
    take_apart(&p, insn, code);
    const uint8_t *opcode = code + p.opcode_at;
    if (insn->encoding == INSN_VEX) { /* has no prefixes that are kept */
        emit_vex(e, opcode, address);
    } else {
        emit_bytes(e, p.kept, p.kept_count);
        unsigned rex = (p.rex & ~(unsigned)(REX_X | REX_B)) | (address & 8 ? REX_BITS | REX_B : 0);
        if (rex)
            emit_byte(e, (uint8_t)rex);
        emit_bytes(e, opcode, insn->map == INSN_MAP_1 ? 1 : insn->map == INSN_MAP_0F ? 2 : 3);
    }
    address_operand(e, insn, address);
    emit_bytes(e, code + insn->length - insn->immediate_bytes, insn->immediate_bytes);
}
