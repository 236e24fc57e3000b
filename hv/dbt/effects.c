/* See effects.h. */
#include "hv/dbt/effects.h"

#include "hv/cpu_state.h"
#include "hv/dbt/decode.h"

enum { SOZC = EFFECTS_S | EFFECTS_O | EFFECTS_Z | EFFECTS_C };

uint8_t effects_of_condition(unsigned condition)
{
    static const uint8_t read[8] = {
        EFFECTS_O,
        EFFECTS_C,
        EFFECTS_Z,
        EFFECTS_C | EFFECTS_Z,
        EFFECTS_S,
        EFFECTS_P,
        EFFECTS_S | EFFECTS_O,
        EFFECTS_Z | EFFECTS_S | EFFECTS_O,
    };
    return read[condition >> 1 & 7];
}

static uint16_t bit(unsigned reg)
{
    return reg < CPU_GPR_COUNT ? (uint16_t)(1u << reg) : 0;
}

/* AH to BH are parts of RAX to RBX. */
static uint16_t byte_bit(const struct insn *insn, unsigned reg)
{
    return insn->prefixes & INSN_REX ? bit(reg) : (uint16_t)(bit(reg) | bit(reg & 3));
}

static uint16_t named_registers(const struct insn *insn)
{
    bool has_reg = insn->form == INSN_FORM_EG || insn->form == INSN_FORM_GE || insn->form == INSN_FORM_GEI ||
                   insn->form == INSN_FORM_EGI;
    uint16_t used = has_reg ? bit(insn->reg) : 0;
    if (insn->encoding == INSN_VEX)
        used |= bit(insn->vex);
    if (insn->memory)
        used |= (uint16_t)(bit(insn->base) | bit(insn->index));
    else
        used |= bit(insn->rm);
    if (insn->bytes == 1 || insn->kind == INSN_MOVZX8 || insn->kind == INSN_MOVSX8) {
        used |= has_reg ? byte_bit(insn, insn->reg) : 0;
        if (!insn->memory)
            used |= byte_bit(insn, insn->rm);
    }
    return used;
}

static void copy(struct effects *f, uint8_t flags_read, uint8_t flags_set, bool touched, enum effects_access access)
{
    f->class = EFFECTS_COPY;
    f->flags_read = flags_read;
    f->flags_set = flags_set;
    f->flags_touched = touched || flags_read || flags_set;
    f->access = access;
}

static void shift(const struct insn *insn, struct effects *f)
{
    bool by_cl = insn->form == INSN_FORM_E || insn->form == INSN_FORM_EG;
    unsigned count = (unsigned)insn->immediate & (insn->bytes == 8 ? 63 : 31);
    bool rotate = insn->kind >= INSN_ROL && insn->kind <= INSN_RCR;
    bool through_carry = insn->kind == INSN_RCL || insn->kind == INSN_RCR;
    uint8_t set = 0;
    if (!by_cl && count)
        set = rotate ? (count == 1 ? EFFECTS_C | EFFECTS_O : EFFECTS_C) : EFFECTS_ALL;
    copy(f, through_carry ? EFFECTS_C : 0, set, true, EFFECTS_WRITE);
    if (by_cl)
        f->registers |= bit(CPU_RCX);
}

/* Arithmetic that every program is made of. False: not one of these. */
static bool integer(const struct insn *insn, struct effects *f)
{
    bool from_memory = insn->form == INSN_FORM_GE || insn->form == INSN_FORM_GEI;
    enum effects_access both = from_memory ? EFFECTS_READ : EFFECTS_WRITE;
    switch (insn->kind) {
    case INSN_ADC:
    case INSN_SBB:
        copy(f, EFFECTS_C, EFFECTS_ALL, true, both);
        return true;
    case INSN_ADD:
    case INSN_OR:
    case INSN_AND:
    case INSN_SUB:
    case INSN_XOR:
    case INSN_NEG:
        copy(f, 0, EFFECTS_ALL, true, both);
        return true;
    case INSN_CMP:
    case INSN_TEST:
        copy(f, 0, EFFECTS_ALL, true, EFFECTS_READ);
        return true;
    case INSN_IMUL: /* the others are undefined: some processors leave them alone */
        copy(f, 0, EFFECTS_C | EFFECTS_O, true, EFFECTS_READ);
        return true;
    case INSN_INC:
    case INSN_DEC:
        copy(f, 0, EFFECTS_ALL & ~EFFECTS_C, true, EFFECTS_WRITE);
        return true;
    case INSN_NOT:
        copy(f, 0, 0, false, EFFECTS_WRITE);
        return true;
    case INSN_MUL:
    case INSN_IMUL_WIDE:
        copy(f, 0, EFFECTS_C | EFFECTS_O, true, EFFECTS_READ);
        f->registers |= bit(CPU_RAX) | bit(CPU_RDX);
        return true;
    case INSN_DIV:
    case INSN_IDIV:
        copy(f, 0, 0, true, EFFECTS_READ);
        f->class = EFFECTS_DIVIDE;
        f->registers |= bit(CPU_RAX) | bit(CPU_RDX);
        return true;
    case INSN_ROL ... INSN_SAR:
    case INSN_SHLD:
    case INSN_SHRD:
        shift(insn, f);
        return true;
    default:
        return false;
    }
}

static bool moves(const struct insn *insn, struct effects *f)
{
    bool from_memory = insn->form == INSN_FORM_GE || insn->form == INSN_FORM_GEI;
    switch (insn->kind) {
    case INSN_MOV:
        if (insn->form == INSN_FORM_OFFSET)
            return false;
        copy(f, 0, 0, false, from_memory ? EFFECTS_READ : EFFECTS_WRITE);
        return true;
    case INSN_MOVBE:
        copy(f, 0, 0, false, from_memory ? EFFECTS_READ : EFFECTS_WRITE);
        return true;
    case INSN_MOVNTI:
    case INSN_XCHG:
        copy(f, 0, 0, false, EFFECTS_WRITE);
        return true;
    case INSN_MOVZX8:
    case INSN_MOVSX8:
        copy(f, 0, 0, false, EFFECTS_READ);
        f->access_bytes = 1;
        return true;
    case INSN_MOVZX16:
    case INSN_MOVSX16:
        copy(f, 0, 0, false, EFFECTS_READ);
        f->access_bytes = 2;
        return true;
    case INSN_MOVSXD:
        copy(f, 0, 0, false, EFFECTS_READ);
        f->access_bytes = insn->bytes == 2 ? 2 : 4;
        return true;
    case INSN_LEA:
    case INSN_BSWAP:
        copy(f, 0, 0, false, EFFECTS_NONE);
        return true;
    case INSN_CBW:
    case INSN_CWD:
        copy(f, 0, 0, false, EFFECTS_NONE);
        f->registers |= bit(CPU_RAX) | bit(CPU_RDX);
        return true;
    case INSN_CMOV:
        copy(f, effects_of_condition(insn->opcode), 0, true, EFFECTS_READ);
        return true;
    case INSN_SETCC:
        copy(f, effects_of_condition(insn->opcode), 0, true, EFFECTS_WRITE);
        f->access_bytes = 1;
        return true;
    default:
        return false;
    }
}

static bool bits(const struct insn *insn, struct effects *f)
{
    switch (insn->kind) {
    case INSN_BT:
    case INSN_BTS:
    case INSN_BTR:
    case INSN_BTC:
        if (insn->memory && insn->form == INSN_FORM_EG) /* the register reaches beyond the operand */
            return false;
        copy(f, 0, EFFECTS_C, true, insn->kind == INSN_BT ? EFFECTS_READ : EFFECTS_WRITE);
        return true;
    case INSN_BSF:
    case INSN_BSR:
        copy(f, 0, EFFECTS_Z, true, EFFECTS_READ);
        return true;
    case INSN_TZCNT:
    case INSN_LZCNT:
    case INSN_BEXTR:
        copy(f, 0, EFFECTS_Z | EFFECTS_C, true, EFFECTS_READ);
        return true;
    case INSN_POPCNT:
        copy(f, 0, EFFECTS_ALL, true, EFFECTS_READ);
        return true;
    case INSN_ANDN:
    case INSN_BLSR:
    case INSN_BLSMSK:
    case INSN_BLSI:
    case INSN_BZHI:
        copy(f, 0, SOZC, true, EFFECTS_READ);
        return true;
    case INSN_ADCX:
        copy(f, EFFECTS_C, EFFECTS_C, true, EFFECTS_READ);
        return true;
    case INSN_ADOX:
        copy(f, EFFECTS_O, EFFECTS_O, true, EFFECTS_READ);
        return true;
    case INSN_MULX:
        copy(f, 0, 0, false, EFFECTS_READ);
        f->registers |= bit(CPU_RDX);
        return true;
    case INSN_CRC32:
    case INSN_PEXT:
    case INSN_PDEP:
    case INSN_RORX:
    case INSN_SARX:
    case INSN_SHLX:
    case INSN_SHRX:
        copy(f, 0, 0, false, EFFECTS_READ);
        return true;
    default:
        return false;
    }
}

static bool exchange(const struct insn *insn, struct effects *f)
{
    switch (insn->kind) {
    case INSN_XADD:
        copy(f, 0, EFFECTS_ALL, true, EFFECTS_WRITE);
        return true;
    case INSN_CMPXCHG:
        copy(f, 0, EFFECTS_ALL, true, EFFECTS_WRITE);
        f->registers |= bit(CPU_RAX);
        return true;
    case INSN_CMPXCHG8B:
        copy(f, 0, EFFECTS_Z, true, EFFECTS_WRITE);
        f->registers |= bit(CPU_RAX) | bit(CPU_RBX) | bit(CPU_RCX) | bit(CPU_RDX);
        f->access_bytes = insn->bytes == 8 ? 16 : 8;
        f->alignment = insn->bytes == 8 ? 15 : 0; /* #GP is the interpreter's to raise */
        return true;
    default:
        return false;
    }
}

static bool flags(const struct insn *insn, struct effects *f)
{
    enum { LOW = EFFECTS_ALL & ~EFFECTS_O };
    switch (insn->kind) {
    case INSN_SAHF:
        copy(f, 0, LOW, true, EFFECTS_NONE);
        f->registers |= bit(CPU_RAX);
        return true;
    case INSN_LAHF:
        copy(f, LOW, 0, true, EFFECTS_NONE);
        f->registers |= bit(CPU_RAX);
        return true;
    case INSN_CMC:
        copy(f, EFFECTS_C, EFFECTS_C, true, EFFECTS_NONE);
        return true;
    case INSN_CLC:
    case INSN_STC:
        copy(f, 0, EFFECTS_C, true, EFFECTS_NONE);
        return true;
    case INSN_PAUSE:
    case INSN_FENCE:
        copy(f, 0, 0, false, EFFECTS_NONE);
        return true;
    case INSN_NOP:
        f->class = EFFECTS_SKIP;
        return true;
    default:
        return false;
    }
}

/* PUSH and POP of two bytes are the interpreter's. */
static bool stack(const struct insn *insn, bool privileged, struct effects *f)
{
    f->registers |= bit(CPU_RSP);
    switch (insn->kind) {
    case INSN_PUSH:
        f->class = insn->bytes == 8 && !insn->memory ? EFFECTS_PUSH : EFFECTS_INTERPRET;
        break;
    case INSN_POP:
        f->class = insn->bytes == 8 && !insn->memory && insn->rm != CPU_RSP ? EFFECTS_POP : EFFECTS_INTERPRET;
        break;
    case INSN_LEAVE:
        f->class = insn->bytes == 8 ? EFFECTS_LEAVE : EFFECTS_INTERPRET;
        f->registers |= bit(CPU_RBP);
        break;
    case INSN_PUSHF:
        f->class = insn->bytes == 8 && privileged ? EFFECTS_PUSHF : EFFECTS_INTERPRET;
        f->flags_read = EFFECTS_ALL;
        f->flags_touched = true;
        break;
    case INSN_CLI:
        f->class = privileged ? EFFECTS_CLI : EFFECTS_INTERPRET;
        break;
    case INSN_STI:
        f->class = privileged ? EFFECTS_STI : EFFECTS_INTERPRET;
        break;
    default:
        return false;
    }
    return true;
}

static bool flow(const struct insn *insn, struct effects *f)
{
    switch (insn->kind) {
    case INSN_JCC:
        f->class = EFFECTS_JCC;
        f->flags_read = effects_of_condition(insn->opcode);
        f->flags_touched = true;
        return true;
    case INSN_JMP:
        f->class = EFFECTS_JUMP;
        break;
    case INSN_CALL:
        f->class = EFFECTS_CALL;
        break;
    case INSN_RET:
        f->class = insn->bytes == 8 ? EFFECTS_RETURN : EFFECTS_INTERPRET;
        break;
    default:
        return false;
    }
    if (insn->form == INSN_FORM_E)
        f->access = EFFECTS_READ;
    f->access_bytes = 8;
    f->registers |= bit(CPU_RSP);
    return true;
}

/* What the interpreter does without looking at the arithmetic flags, and leaves alone. */
static bool reads_no_flags(const struct insn *insn)
{
    switch (insn->kind) {
    case INSN_MOVS:
    case INSN_STOS:
    case INSN_LODS:
    case INSN_IN:
    case INSN_OUT:
    case INSN_CLI:
    case INSN_STI:
    case INSN_CLD:
    case INSN_STD:
    case INSN_CLAC:
    case INSN_STAC:
    case INSN_PUSH:
    case INSN_POP:
    case INSN_SWAPGS:
    case INSN_RDFSBASE ... INSN_WRGSBASE:
    case INSN_MOV_FROM_SEG ... INSN_MOV_TO_SEG:
    case INSN_MOV_FROM_CR ... INSN_CLFLUSH:
    case INSN_RDMSR ... INSN_CPUID:
    case INSN_FXSAVE ... INSN_XRSTOR:
    case INSN_X87:
    case INSN_SIMD:
        return true;
    default:
        return false;
    }
}

void effects_of(const struct insn *insn, bool privileged, struct effects *f)
{
    *f = (struct effects){.class = EFFECTS_INTERPRET, .access_bytes = insn->bytes, .registers = named_registers(insn)};
    if (integer(insn, f) || moves(insn, f) || bits(insn, f) || exchange(insn, f) || flags(insn, f) || flow(insn, f))
        ;
    else if (!stack(insn, privileged, f))
        f->class = EFFECTS_INTERPRET;
    if (f->class == EFFECTS_INTERPRET) {
        f->flags_read = reads_no_flags(insn) ? 0 : EFFECTS_ALL;
        f->flags_set = 0;
        f->flags_touched = true;
    }
    if (!insn->memory)
        f->access = EFFECTS_NONE;
}
