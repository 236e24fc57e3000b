/* Instructions that touch only a part of their memory operand, so that the faults of the rest must not count:
 * MASKMOVQ, MASKMOVDQU, VMASKMOV, VPMASKMOV, the gathers; and VZEROUPPER, VZEROALL, which have no operands. They move
 * data and compute nothing, so they are plain loops here.
 *
 * Order within one is from the lowest lane up. A gather that faults keeps the lanes that it has loaded and clears
 * their masks, and goes on from there when it is executed again (SDM vol. 2, VGATHERDPS). Masked stores check every
 * lane before the first is written.
 *
 * Source: Intel SDM vol. 2. */
#include "hv/dbt/fault.h"
#include "hv/dbt/simd_inside.h"

enum { XMM_BYTES = 16, MOVQ_BYTES = 8, FSW_TOP_SHIFT = 11 };

struct vector { /* a YMM in one piece; the area has its halves apart */
    uint8_t byte[32];
};

static struct vector vector_get(const struct dbt_cpu *cpu, unsigned i)
{
    struct vector v;
    memcpy(v.byte, cpu->xsave + SIMD_XMM + XMM_BYTES * i, XMM_BYTES);
    memcpy(v.byte + XMM_BYTES, cpu->xsave + CPU_XSAVE_YMM + XMM_BYTES * i, XMM_BYTES);
    return v;
}

static void vector_set(struct dbt_cpu *cpu, unsigned i, const struct vector *v)
{
    memcpy(cpu->xsave + SIMD_XMM + XMM_BYTES * i, v->byte, XMM_BYTES);
    memcpy(cpu->xsave + CPU_XSAVE_YMM + XMM_BYTES * i, v->byte + XMM_BYTES, XMM_BYTES);
}

static bool chosen(const struct vector *mask, unsigned lane, unsigned lane_bytes)
{
    return mask->byte[(lane + 1) * lane_bytes - 1] & 0x80;
}

static uint64_t masked(const struct insn *insn, uint64_t offset)
{
    return insn->address_bytes == 8 ? offset : insn->address_bytes == 4 ? (uint32_t)offset : (uint16_t)offset;
}

static uint64_t lane_linear(struct dbt_cpu *cpu, const struct insn *insn, uint64_t offset, unsigned bytes, bool write)
{
    return segment_linear(cpu, (enum cpu_seg)insn->segment, masked(insn, offset), bytes, write);
}

static uint64_t load_lane(struct dbt_cpu *cpu, uint64_t linear, unsigned bytes)
{
    return bytes == 4 ? mmu_load32(cpu, linear) : mmu_load64(cpu, linear);
}

/* ---- VMASKMOV, VPMASKMOV ---- */

static unsigned lane_bytes_of(const struct insn *insn)
{
    if (insn->opcode == 0x8c || insn->opcode == 0x8e)
        return insn->prefixes & INSN_W ? 8 : 4;
    return insn->opcode & 1 ? 8 : 4; /* VMASKMOVPS, VMASKMOVPD */
}

static void masked_load(struct dbt_cpu *cpu, const struct insn *insn)
{
    unsigned lane_bytes = lane_bytes_of(insn), lanes = (insn->vex_l ? 32u : 16u) / lane_bytes;
    struct vector mask = vector_get(cpu, insn->vex), to = {0};
    uint64_t offset = simd_offset(cpu, insn);
    for (unsigned i = 0; i < lanes; i++) {
        if (!chosen(&mask, i, lane_bytes))
            continue;
        uint64_t linear = lane_linear(cpu, insn, offset + i * lane_bytes, lane_bytes, false);
        uint64_t value = load_lane(cpu, linear, lane_bytes);
        memcpy(to.byte + i * lane_bytes, &value, lane_bytes);
    }
    vector_set(cpu, insn->reg, &to);
}

static void store_under_mask(struct dbt_cpu *cpu, const struct insn *insn, uint64_t offset, const struct vector *mask,
                             const struct vector *from, unsigned lanes, unsigned lane_bytes)
{
    uint64_t linear[32] = {0};
    for (unsigned i = 0; i < lanes; i++) {
        if (!chosen(mask, i, lane_bytes))
            continue;
        linear[i] = lane_linear(cpu, insn, offset + i * lane_bytes, lane_bytes, true);
        mmu_check_store(cpu, linear[i], lane_bytes);
    }
    for (unsigned i = 0; i < lanes; i++)
        if (chosen(mask, i, lane_bytes))
            mmu_store_bytes(cpu, linear[i], from->byte + i * lane_bytes, lane_bytes);
}

static void masked_store(struct dbt_cpu *cpu, const struct insn *insn)
{
    unsigned lane_bytes = lane_bytes_of(insn), lanes = (insn->vex_l ? 32u : 16u) / lane_bytes;
    struct vector mask = vector_get(cpu, insn->vex), from = vector_get(cpu, insn->reg);
    store_under_mask(cpu, insn, simd_offset(cpu, insn), &mask, &from, lanes, lane_bytes);
}

/* ---- MASKMOVQ, MASKMOVDQU: to [rDI] ---- */

/* As any MMX instruction: TOP becomes 0, all are valid. The area is in the order of the stack, so it turns. */
static void enter_mmx(struct dbt_cpu *cpu)
{
    uint8_t before[8 * XMM_BYTES];
    uint16_t fsw = simd_get16(cpu->xsave, SIMD_FSW);
    unsigned top = fsw >> FSW_TOP_SHIFT & 7;
    memcpy(before, cpu->xsave + SIMD_ST, sizeof(before));
    for (unsigned i = 0; i < 8; i++)
        memcpy(cpu->xsave + SIMD_ST + XMM_BYTES * i, before + XMM_BYTES * ((i - top) & 7), XMM_BYTES);
    simd_put16(cpu->xsave, SIMD_FSW, fsw & (uint16_t) ~(7 << FSW_TOP_SHIFT));
    cpu->xsave[SIMD_FTW] = 0xff;
}

static const uint8_t *mmx_register(const struct dbt_cpu *cpu, unsigned i)
{
    unsigned top = simd_get16(cpu->xsave, SIMD_FSW) >> FSW_TOP_SHIFT & 7;
    return cpu->xsave + SIMD_ST + XMM_BYTES * ((i - top) & 7);
}

static void masked_bytes(struct dbt_cpu *cpu, const struct insn *insn)
{
    struct vector mask, from;
    bool mmx = insn->vex_pp == 0;
    if (mmx) {
        if (simd_x87_pending(cpu->xsave))
            fault_raise(cpu, FAULT_MF);
        memcpy(from.byte, mmx_register(cpu, insn->reg), MOVQ_BYTES);
        memcpy(mask.byte, mmx_register(cpu, insn->rm), MOVQ_BYTES);
    } else {
        from = vector_get(cpu, insn->reg);
        mask = vector_get(cpu, insn->rm);
    }
    if (mmx)
        enter_mmx(cpu);                            /* before the store may fault, as processors do */
    unsigned bytes = mmx ? MOVQ_BYTES : XMM_BYTES; /* for these the mask is not about faults: all must be there */
    mmu_check_store(cpu, lane_linear(cpu, insn, cpu->gpr[CPU_RDI], bytes, true), bytes);
    store_under_mask(cpu, insn, cpu->gpr[CPU_RDI], &mask, &from, bytes, 1);
}

/* ---- gathers ---- */

bool simd_masked_undefined(const struct insn *insn)
{
    bool gather = insn->encoding == INSN_VEX && insn->map == INSN_MAP_0F38 && (insn->opcode & 0xfc) == 0x90;
    if (!gather)
        return false;
    return insn->index == INSN_NO_REGISTER || insn->index == insn->reg || insn->index == insn->vex ||
           insn->reg == insn->vex || insn->address_bytes == 2;
}

static uint64_t gather_offset(const struct dbt_cpu *cpu, const struct insn *insn, const struct vector *index,
                              unsigned lane, unsigned index_bytes)
{
    uint64_t at = 0, offset = (uint64_t)(int64_t)insn->displacement;
    memcpy(&at, index->byte + lane * index_bytes, index_bytes);
    if (index_bytes == 4)
        at = (uint64_t)(int64_t)(int32_t)at;
    if (insn->base != INSN_NO_REGISTER)
        offset += cpu->gpr[insn->base];
    return offset + (at << insn->scale);
}

static void gather(struct dbt_cpu *cpu, const struct insn *insn)
{
    unsigned lane_bytes = insn->prefixes & INSN_W ? 8 : 4, index_bytes = insn->opcode & 1 ? 8 : 4;
    unsigned wider = lane_bytes > index_bytes ? lane_bytes : index_bytes;
    unsigned lanes = (insn->vex_l ? 32 : 16) / wider;
    struct vector index = vector_get(cpu, insn->index), mask = vector_get(cpu, insn->vex);
    struct vector to = vector_get(cpu, insn->reg);
    static const struct vector zero;
    for (unsigned i = 0; i < lanes; i++) {
        if (chosen(&mask, i, lane_bytes)) {
            uint64_t offset = gather_offset(cpu, insn, &index, i, index_bytes);
            uint64_t linear = lane_linear(cpu, insn, offset, lane_bytes, false);
            uint64_t value = load_lane(cpu, linear, lane_bytes);
            memcpy(to.byte + i * lane_bytes, &value, lane_bytes);
        }
        memset(mask.byte + i * lane_bytes, 0, lane_bytes);
        vector_set(cpu, insn->reg, &to);
        vector_set(cpu, insn->vex, &mask);
    }
    unsigned bytes = lanes * lane_bytes; /* what is above is zeroed */
    memset(to.byte + bytes, 0, sizeof(to.byte) - bytes);
    vector_set(cpu, insn->reg, &to);
    vector_set(cpu, insn->vex, &zero);
}

static void zero(struct dbt_cpu *cpu, bool all)
{
    unsigned registers = cpu->code_bytes == 8 ? 16 : 8;
    memset(cpu->xsave + CPU_XSAVE_YMM, 0, registers * XMM_BYTES);
    if (all)
        memset(cpu->xsave + SIMD_XMM, 0, registers * XMM_BYTES);
}

void simd_masked_execute(struct dbt_cpu *cpu, const struct insn *insn, const struct simd_op *op)
{
    bool mmx = insn->map == INSN_MAP_0F && insn->vex_pp == 0 && insn->encoding == INSN_LEGACY;
    simd_touch(cpu, mmx ? SIMD_XSTATE_X87 : SIMD_XSTATE_SSE | SIMD_XSTATE_AVX);
    if (insn->opcode == 0x77) {
        zero(cpu, insn->vex_l);
    } else if (insn->map == INSN_MAP_0F) {
        masked_bytes(cpu, insn);
    } else if ((insn->opcode & 0xfc) == 0x90) {
        gather(cpu, insn);
    } else if (op->flags & SIMD_STORE) {
        masked_store(cpu, insn);
    } else {
        masked_load(cpu, insn);
    }
}
