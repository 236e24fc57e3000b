/* Bits: BT and its like with bit offsets that reach beyond the operand, BSF, BSR, counts, CRC32, MOVBE, ADCX, ADOX. */
#include "hv/dbt/exec.h"
#include "hv/dbt/exec_parts.h"
#include "hv/dbt/flags.h"

static uint64_t changed(const struct insn *insn, uint64_t value, uint64_t bit)
{
    switch (insn->kind) {
    case INSN_BTS:
        return value | bit;
    case INSN_BTR:
        return value & ~bit;
    case INSN_BTC:
        return value ^ bit;
    default:
        return value;
    }
}

/* CF from the bit; the rest is as the host leaves it. */
static void bit_flags(uint64_t *rflags, unsigned bytes, uint64_t value, unsigned bit)
{
    if (bytes == 2)
        flags_bt16(rflags, (uint16_t)value, (uint16_t)bit);
    else if (bytes == 4)
        flags_bt32(rflags, (uint32_t)value, bit);
    else
        flags_bt64(rflags, value, bit);
}

static void bit_memory(struct dbt_cpu *cpu, const struct insn *insn)
{
    unsigned bits = insn->bytes * 8;
    uint64_t offset = exec_offset(cpu, insn);
    uint64_t index = insn->immediate;
    if (insn->form == INSN_FORM_EG) {
        unsigned shift = 64 - bits;
        int64_t far = (int64_t)(cpu->gpr[insn->reg] << shift) >> shift;
        index = (uint64_t)far;
        offset = (offset + (uint64_t)((far >> (bits == 16   ? 4
                                               : bits == 32 ? 5
                                                            : 6)) *
                                      (int64_t)insn->bytes)) &
                 exec_address_mask(insn);
    }
    unsigned bit = index & (bits - 1);
    bool write = insn->kind != INSN_BT;
    uint64_t at = segment_linear(cpu, insn->segment, offset, insn->bytes, write);
    uint64_t old = write ? insn->bytes == 2   ? mmu_modify16(cpu, at)
                           : insn->bytes == 4 ? mmu_modify32(cpu, at)
                                              : mmu_modify64(cpu, at)
                         : exec_load(cpu, at, insn->bytes);
    if (insn->prefixes & INSN_LOCK) {
        while (!mmu_update_locked(cpu, at, insn->bytes, &old, changed(insn, old, 1ull << bit))) {}
    } else if (write) {
        exec_store(cpu, at, insn->bytes, changed(insn, old, 1ull << bit));
    }
    bit_flags(&cpu->rflags, insn->bytes, old, bit);
}

static void bit_register(struct dbt_cpu *cpu, const struct insn *insn)
{
    uint64_t index = insn->form == INSN_FORM_EG ? cpu->gpr[insn->reg] : insn->immediate;
    unsigned bit = index & (insn->bytes * 8u - 1);
    uint64_t old = exec_get(cpu, insn, insn->rm, insn->bytes);
    bit_flags(&cpu->rflags, insn->bytes, old, bit);
    if (insn->kind != INSN_BT)
        exec_put(cpu, insn, insn->rm, insn->bytes, changed(insn, old, 1ull << bit));
}

/* Of zero, the destination stays, in which width is the host's: so the whole register goes through the instruction. */
#define SCAN32(op)                                                                                                     \
    static uint64_t op##_whole(uint64_t *rflags, uint64_t to, uint32_t from)                                           \
    {                                                                                                                  \
        uint32_t ax = flags_to_ax(*rflags);                                                                            \
        __asm__(FLAGS_LOAD #op "l %k[from], %k[to]" FLAGS_SAVE : [to] "+r"(to), "+&a"(ax) : [from] "r"(from) : "cc");  \
        flags_from_ax(rflags, ax);                                                                                     \
        return to;                                                                                                     \
    }
SCAN32(bsf)
SCAN32(bsr)

static void scan(struct dbt_cpu *cpu, const struct insn *insn)
{
    bool forward = insn->kind == INSN_BSF;
    uint64_t from = exec_get_e(cpu, insn, insn->bytes), *to = &cpu->gpr[insn->reg];
    if (insn->bytes == 2)
        exec_put16(cpu, insn, insn->reg,
                   forward ? flags_bsf16(&cpu->rflags, (uint16_t)*to, (uint16_t)from)
                           : flags_bsr16(&cpu->rflags, (uint16_t)*to, (uint16_t)from));
    else if (insn->bytes == 4)
        *to = forward ? bsf_whole(&cpu->rflags, *to, (uint32_t)from) : bsr_whole(&cpu->rflags, *to, (uint32_t)from);
    else
        *to = forward ? flags_bsf64(&cpu->rflags, *to, from) : flags_bsr64(&cpu->rflags, *to, from);
}

FLAGS_WIDE_SIZES(FLAGS_BINARY, popcnt, "popcnt")
FLAGS_WIDE_SIZES(FLAGS_BINARY, tzcnt, "tzcnt")
FLAGS_WIDE_SIZES(FLAGS_BINARY, lzcnt, "lzcnt")

#define COUNT(op)                                                                                                      \
    static void op(struct dbt_cpu *cpu, const struct insn *insn)                                                       \
    {                                                                                                                  \
        uint64_t from = exec_get_e(cpu, insn, insn->bytes);                                                            \
        if (insn->bytes == 2)                                                                                          \
            exec_put16(cpu, insn, insn->reg, flags_##op##16(&cpu->rflags, 0, (uint16_t)from));                         \
        else if (insn->bytes == 4)                                                                                     \
            cpu->gpr[insn->reg] = flags_##op##32(&cpu->rflags, 0, (uint32_t)from);                                     \
        else                                                                                                           \
            cpu->gpr[insn->reg] = flags_##op##64(&cpu->rflags, 0, from);                                               \
    }
COUNT(popcnt)
COUNT(tzcnt)
COUNT(lzcnt)

static void movbe(struct dbt_cpu *cpu, const struct insn *insn)
{
    bool load = insn->form == INSN_FORM_GE;
    uint64_t at = exec_linear(cpu, insn, insn->bytes, !load);
    uint64_t value = load ? exec_load(cpu, at, insn->bytes) : cpu->gpr[insn->reg];
    value = __builtin_bswap64(value) >> (64 - 8 * insn->bytes);
    if (load)
        exec_put(cpu, insn, insn->reg, insn->bytes, value);
    else
        exec_store(cpu, at, insn->bytes, value);
}

static void crc32(struct dbt_cpu *cpu, const struct insn *insn)
{
    uint64_t from = exec_get_e(cpu, insn, insn->bytes), to = (uint32_t)cpu->gpr[insn->reg];
    switch (insn->bytes) {
    case 1:
        __asm__("crc32b %b1, %k0" : "+r"(to) : "r"(from));
        break;
    case 2:
        __asm__("crc32w %w1, %k0" : "+r"(to) : "r"(from));
        break;
    case 4:
        __asm__("crc32l %k1, %k0" : "+r"(to) : "r"(from));
        break;
    default:
        __asm__("crc32q %1, %0" : "+r"(to) : "r"(from));
    }
    cpu->gpr[insn->reg] = to;
}

static void adcx_adox(struct dbt_cpu *cpu, const struct insn *insn)
{
    uint64_t flag = insn->kind == INSN_ADCX ? CPU_CF : CPU_OF;
    uint64_t from = exec_get_e(cpu, insn, insn->bytes), to = exec_get(cpu, insn, insn->reg, insn->bytes);
    unsigned __int128 sum = (unsigned __int128)from + to + (cpu->rflags & flag ? 1 : 0);
    bool carry = sum >> (8 * insn->bytes) & 1;
    exec_put(cpu, insn, insn->reg, insn->bytes, (uint64_t)sum);
    cpu->rflags = carry ? cpu->rflags | flag : cpu->rflags & ~flag;
}

static void random_number(struct dbt_cpu *cpu, const struct insn *insn)
{
    unsigned long long value = 0;
    uint8_t done;
    if (insn->kind == INSN_RDRAND)
        __asm__ volatile("rdrand %0\n\tsetc %1" : "=r"(value), "=qm"(done) : : "cc");
    else
        __asm__ volatile("rdseed %0\n\tsetc %1" : "=r"(value), "=qm"(done) : : "cc");
    exec_put(cpu, insn, insn->rm, insn->bytes, done ? value : 0);
    cpu->rflags = (cpu->rflags & ~(uint64_t)CPU_ARITHMETIC) | (done ? CPU_CF : 0);
}

exec_fn *exec_bit_bind(const struct insn *insn)
{
    switch (insn->kind) {
    case INSN_BT ... INSN_BTC:
        return insn->memory ? bit_memory : bit_register;
    case INSN_BSF:
    case INSN_BSR:
        return scan;
    case INSN_POPCNT:
        return popcnt;
    case INSN_TZCNT:
        return tzcnt;
    case INSN_LZCNT:
        return lzcnt;
    case INSN_MOVBE:
        return movbe;
    case INSN_CRC32:
        return crc32;
    case INSN_ADCX:
    case INSN_ADOX:
        return adcx_adox;
    case INSN_RDRAND:
    case INSN_RDSEED:
        return random_number;
    default:
        return NULL;
    }
}
