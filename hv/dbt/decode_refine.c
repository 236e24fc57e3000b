/* See decode_refine.h. */
#include "hv/dbt/decode_refine.h"

#include "hv/cpu_state.h"
#include "hv/dbt/decode.h"

enum { PP_NONE, PP_66, PP_F3, PP_F2 };

/* 0F 01 with a register: one instruction per ModRM byte. */
static void refine_group7(struct insn *insn, unsigned code_bytes)
{
    if (insn->memory) {
        if ((insn->modrm >> 3 & 7) <= 3)
            insn->bytes = code_bytes == 8 ? 8 : insn->bytes;
        return;
    }
    unsigned reg = insn->modrm >> 3 & 7;
    if (reg == 4 || reg == 6) /* SMSW, LMSW */
        return;
    insn->form = INSN_FORM_NONE;
    insn->kind = INSN_UD;
    bool plain = insn->vex_pp == PP_NONE;
    switch (insn->modrm) {
    case 0xc1: /* VMCALL */
    case 0xd9: /* VMMCALL */
        insn->kind = INSN_VMCALL;
        break;
    case 0xca:
        insn->kind = plain ? INSN_CLAC : INSN_UD;
        break;
    case 0xcb:
        insn->kind = plain ? INSN_STAC : INSN_UD;
        break;
    case 0xd0:
        insn->kind = plain ? INSN_XGETBV : INSN_UD;
        break;
    case 0xd1:
        insn->kind = plain ? INSN_XSETBV : INSN_UD;
        break;
    case 0xf8:
        insn->kind = code_bytes == 8 ? INSN_SWAPGS : INSN_UD;
        break;
    case 0xf9:
        insn->kind = INSN_RDTSCP;
        break;
    }
}

static void refine_group15(struct insn *insn, unsigned code_bytes)
{
    unsigned reg = insn->modrm >> 3 & 7;
    if (insn->memory) {
        if (insn->vex_pp == PP_66 && reg >= 6) /* CLWB, CLFLUSHOPT */
            insn->kind = INSN_CLFLUSH;
        else if (insn->vex_pp != PP_NONE)
            insn->kind = INSN_UD;
        return;
    }
    insn->kind = INSN_UD;
    if (insn->vex_pp == PP_NONE && reg >= 5)
        insn->kind = INSN_FENCE;
    else if (insn->vex_pp == PP_F3 && reg < 4 && code_bytes == 8)
        insn->kind = INSN_RDFSBASE + reg;
}

static void refine_group9(struct insn *insn, unsigned code_bytes)
{
    unsigned reg = insn->modrm >> 3 & 7;
    if (insn->memory) {
        insn->bytes = insn->prefixes & INSN_W ? 8 : 4;
        return;
    }
    insn->kind = INSN_UD;
    if (insn->vex_pp == PP_F3) {
        if (reg == 7) {
            insn->kind = INSN_RDPID;
            insn->bytes = code_bytes == 8 ? 8 : 4;
        }
    } else if (insn->vex_pp != PP_F2) {
        if (reg == 6)
            insn->kind = INSN_RDRAND;
        else if (reg == 7)
            insn->kind = INSN_RDSEED;
    }
}

/* E is a general register whatever ModRM.mod says; reg is CR or DR. */
static void refine_control(struct insn *insn)
{
    bool cr = insn->kind == INSN_MOV_FROM_CR || insn->kind == INSN_MOV_TO_CR;
    unsigned reg = insn->reg;
    if (cr ? !(reg == 0 || (reg >= 2 && reg <= 4) || reg == 8) : reg > 7)
        insn->kind = INSN_UD;
}

static void refine_segment(struct insn *insn)
{
    unsigned reg = insn->modrm >> 3 & 7; /* REX.R does not count */
    insn->reg = (uint8_t)reg;
    if (reg > CPU_GS || (insn->kind == INSN_MOV_TO_SEG && reg == CPU_CS))
        insn->kind = INSN_UD;
    if (insn->memory || insn->kind == INSN_MOV_TO_SEG)
        insn->bytes = 2;
}

static void refine_0f(struct insn *insn, unsigned code_bytes)
{
    static const uint8_t push[] = {[0x0] = CPU_FS, [0x1] = CPU_FS, [0x8] = CPU_GS, [0x9] = CPU_GS};
    switch (insn->opcode) {
    case 0x01:
        refine_group7(insn, code_bytes);
        break;
    case 0x18 ... 0x1f:
        break;
    case 0x20 ... 0x23:
        refine_control(insn);
        break;
    case 0x78:
    case 0x79:
        if (insn->vex_pp == PP_66 || insn->vex_pp == PP_F2)
            insn->kind = INSN_SIMD;
        break;
    case 0xa0:
    case 0xa1:
    case 0xa8:
    case 0xa9:
        insn->reg = push[insn->opcode & 0xf];
        break;
    case 0xae:
        refine_group15(insn, code_bytes);
        break;
    case 0xb2:
        insn->immediate2 = CPU_SS;
        break;
    case 0xb4:
        insn->immediate2 = CPU_FS;
        break;
    case 0xb5:
        insn->immediate2 = CPU_GS;
        break;
    case 0xb8:
        if (insn->prefixes & INSN_REP)
            insn->kind = INSN_POPCNT;
        break;
    case 0xbc:
        if (insn->prefixes & INSN_REP)
            insn->kind = INSN_TZCNT;
        break;
    case 0xbd:
        if (insn->prefixes & INSN_REP)
            insn->kind = INSN_LZCNT;
        break;
    case 0xc3:
        if (insn->vex_pp != PP_NONE)
            insn->kind = INSN_UD;
        if (insn->bytes == 2)
            insn->bytes = 4;
        break;
    case 0xc7:
        refine_group9(insn, code_bytes);
        break;
    }
}

static void refine_1(struct insn *insn, unsigned code_bytes)
{
    unsigned reg = insn->modrm >> 3 & 7;
    switch (insn->opcode) {
    case 0x06 ... 0x07:
    case 0x0e:
    case 0x16 ... 0x17:
    case 0x1e ... 0x1f:
        insn->reg = insn->opcode >> 3;
        break;
    case 0x63:
        if (code_bytes == 8)
            insn->kind = INSN_MOVSXD, insn->form = INSN_FORM_GE;
        else
            insn->bytes = 2;
        break;
    case 0x8c:
    case 0x8e:
        refine_segment(insn);
        break;
    case 0x90:
        if (insn->prefixes & INSN_REP)
            insn->kind = INSN_PAUSE, insn->form = INSN_FORM_NONE;
        else if (insn->rm == 0)
            insn->kind = INSN_NOP, insn->form = INSN_FORM_NONE;
        break;
    case 0xc4:
        insn->immediate2 = CPU_ES;
        break;
    case 0xc5:
        insn->immediate2 = CPU_DS;
        break;
    case 0xd0:
    case 0xd1:
        insn->immediate = 1;
        break;
    case 0xf6:
    case 0xf7:
        if (reg < 2)
            insn->form = INSN_FORM_EI;
        break;
    case 0xff:
        if (code_bytes == 8 && (reg == 2 || reg == 4))
            insn->bytes = 8;
        else if (code_bytes == 8 && reg == 6)
            insn->bytes = insn->prefixes & INSN_66 && !(insn->prefixes & INSN_W) ? 2 : 8;
        if (!insn->memory && (reg == 3 || reg == 5))
            insn->kind = INSN_UD;
        break;
    }
}

void decode_refine(struct insn *insn, unsigned code_bytes)
{
    if (insn->map == INSN_MAP_1)
        refine_1(insn, code_bytes);
    else if (insn->map == INSN_MAP_0F)
        refine_0f(insn, code_bytes);
}

void decode_refine_0f38(struct insn *insn)
{
    insn->kind = INSN_SIMD;
    insn->form = INSN_FORM_GE;
    switch (insn->opcode) {
    case 0x80 ... 0x81: /* INVEPT, INVVPID */
    case 0xf8 ... 0xf9: /* MOVDIR64B, MOVDIRI */
    case 0xf5:          /* WRUSS */
        insn->kind = INSN_UD;
        break;
    case 0x82:
        insn->kind = insn->vex_pp == PP_66 && insn->memory ? INSN_INVPCID : INSN_UD;
        break;
    case 0xf0:
    case 0xf1:
        if (insn->prefixes & INSN_REPNE) {
            insn->kind = INSN_CRC32;
            if (insn->opcode == 0xf0)
                insn->bytes = 1;
        } else if (insn->memory && !(insn->prefixes & INSN_REP)) {
            insn->kind = INSN_MOVBE;
            insn->form = insn->opcode == 0xf0 ? INSN_FORM_GE : INSN_FORM_EG;
        } else {
            insn->kind = INSN_UD;
        }
        break;
    case 0xf6:
        insn->kind = insn->vex_pp == PP_66 ? INSN_ADCX : insn->vex_pp == PP_F3 ? INSN_ADOX : INSN_UD;
        insn->bytes = insn->prefixes & INSN_W ? 8 : 4;
        break;
    }
}

static void refine_vex_0f38(struct insn *insn)
{
    static const uint8_t by_reg[8] = {[1] = INSN_BLSR, INSN_BLSMSK, INSN_BLSI};
    static const uint8_t f5[4] = {INSN_BZHI, INSN_UD, INSN_PEXT, INSN_PDEP};
    static const uint8_t f6[4] = {[PP_F2] = INSN_MULX};
    static const uint8_t f7[4] = {INSN_BEXTR, INSN_SHLX, INSN_SARX, INSN_SHRX};
    switch (insn->opcode) {
    case 0xf2:
        insn->kind = insn->vex_pp == PP_NONE ? INSN_ANDN : INSN_UD;
        break;
    case 0xf3:
        insn->kind = insn->vex_pp == PP_NONE ? by_reg[insn->modrm >> 3 & 7] : INSN_UD;
        break;
    case 0xf5:
        insn->kind = f5[insn->vex_pp];
        break;
    case 0xf6:
        insn->kind = f6[insn->vex_pp];
        break;
    case 0xf7:
        insn->kind = f7[insn->vex_pp];
        break;
    default:
        return;
    }
    if (insn->vex_l)
        insn->kind = INSN_UD;
}

void decode_refine_vex(struct insn *insn, unsigned code_bytes)
{
    insn->kind = INSN_SIMD;
    insn->form = insn->immediate_bytes ? INSN_FORM_GEI : INSN_FORM_GE;
    insn->bytes = insn->prefixes & INSN_W && code_bytes == 8 ? 8 : 4;
    unsigned reg = insn->modrm >> 3 & 7;
    if (insn->map == INSN_MAP_0F38) {
        refine_vex_0f38(insn);
    } else if (insn->map == INSN_MAP_0F3A && insn->opcode == 0xf0) {
        insn->kind = insn->vex_pp == PP_F2 && !insn->vex_l && !insn->vex ? INSN_RORX : INSN_UD;
    } else if (insn->map == INSN_MAP_0F && insn->opcode == 0xae) {
        bool known = insn->memory && (reg == 2 || reg == 3) && insn->vex_pp == PP_NONE && !insn->vex_l && !insn->vex;
        insn->kind = known ? INSN_LDMXCSR + (reg - 2) : INSN_UD;
        insn->form = INSN_FORM_E;
    } else if (insn->map == INSN_MAP_OTHER) {
        insn->kind = INSN_UD;
    }
}

bool decode_lockable(const struct insn *insn)
{
    if (!insn->memory)
        return false;
    switch (insn->kind) {
    case INSN_ADD ... INSN_XOR:
        return insn->form == INSN_FORM_EG || insn->form == INSN_FORM_EI;
    case INSN_NOT:
    case INSN_NEG:
    case INSN_INC:
    case INSN_DEC:
    case INSN_XCHG:
    case INSN_BTS:
    case INSN_BTR:
    case INSN_BTC:
    case INSN_XADD:
    case INSN_CMPXCHG:
    case INSN_CMPXCHG8B:
        return true;
    default:
        return false;
    }
}
