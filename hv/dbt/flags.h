/* Arithmetic with flags, done by the host's own instructions: so the flags are what this processor makes them, those
 * that the manuals call undefined too, and interpreter and translator can be compared bit by bit.
 *
 * Every function takes the guest's RFLAGS, gives the instruction its arithmetic flags (loaded with SAHF, OF by an
 * addition that overflows), and stores what it leaves. Shift counts are masked by the instruction itself.
 *
 * Threads: any. */
#ifndef HV_DBT_FLAGS_H
#define HV_DBT_FLAGS_H

#include <stdbool.h>
#include <stdint.h>

#include "hv/dbt/cpu.h"

static inline uint32_t flags_to_ax(uint64_t rflags)
{
    return (uint32_t)((rflags & 0xd5) << 8 | (rflags >> 11 & 1));
}

static inline void flags_from_ax(uint64_t *rflags, uint32_t ax)
{
    *rflags = (*rflags & ~(uint64_t)CPU_ARITHMETIC) | (ax >> 8 & 0xd5) | (ax & 1) << 11;
}

/* AX holds flags in between: LOAD takes them from there, SAVE puts them there. */
#define FLAGS_LOAD "addb $0x7f, %%al\n\tsahf\n\t"
#define FLAGS_SAVE "\n\tlahf\n\tseto %%al"

/* op %src, %dst that needs no flags */
#define FLAGS_SIMPLE(name, bits, op)                                                                                   \
    static inline uint##bits##_t flags_##name##bits(uint64_t *rflags, uint##bits##_t a, uint##bits##_t b)              \
    {                                                                                                                  \
        uint32_t ax;                                                                                                   \
        __asm__(op " %[b], %[a]" FLAGS_SAVE : [a] "+r"(a), "=&a"(ax) : [b] "r"(b) : "cc");                             \
        flags_from_ax(rflags, ax);                                                                                     \
        return a;                                                                                                      \
    }
/* op %src, %dst that reads CF */
#define FLAGS_CARRY(name, bits, op)                                                                                    \
    static inline uint##bits##_t flags_##name##bits(uint64_t *rflags, uint##bits##_t a, uint##bits##_t b)              \
    {                                                                                                                  \
        uint32_t ax = (uint32_t)*rflags & 1;                                                                           \
        __asm__("addb $0xff, %%al\n\t" op " %[b], %[a]" FLAGS_SAVE : [a] "+r"(a), "+&a"(ax) : [b] "r"(b) : "cc");      \
        flags_from_ax(rflags, ax);                                                                                     \
        return a;                                                                                                      \
    }
/* op %dst that keeps some flags */
#define FLAGS_UNARY(name, bits, op)                                                                                    \
    static inline uint##bits##_t flags_##name##bits(uint64_t *rflags, uint##bits##_t a)                                \
    {                                                                                                                  \
        uint32_t ax = flags_to_ax(*rflags);                                                                            \
        __asm__(FLAGS_LOAD op " %[a]" FLAGS_SAVE : [a] "+r"(a), "+&a"(ax) : : "cc");                                   \
        flags_from_ax(rflags, ax);                                                                                     \
        return a;                                                                                                      \
    }
/* op %cl, %dst */
#define FLAGS_SHIFT(name, bits, op)                                                                                    \
    static inline uint##bits##_t flags_##name##bits(uint64_t *rflags, uint##bits##_t a, uint8_t count)                 \
    {                                                                                                                  \
        uint32_t ax = flags_to_ax(*rflags);                                                                            \
        __asm__(FLAGS_LOAD op " %%cl, %[a]" FLAGS_SAVE : [a] "+r"(a), "+&a"(ax) : "c"(count) : "cc");                  \
        flags_from_ax(rflags, ax);                                                                                     \
        return a;                                                                                                      \
    }
/* op %src, %dst that keeps or reads flags; dst is an input too */
#define FLAGS_BINARY(name, bits, op)                                                                                   \
    static inline uint##bits##_t flags_##name##bits(uint64_t *rflags, uint##bits##_t a, uint##bits##_t b)              \
    {                                                                                                                  \
        uint32_t ax = flags_to_ax(*rflags);                                                                            \
        __asm__(FLAGS_LOAD op " %[b], %[a]" FLAGS_SAVE : [a] "+r"(a), "+&a"(ax) : [b] "r"(b) : "cc");                  \
        flags_from_ax(rflags, ax);                                                                                     \
        return a;                                                                                                      \
    }
#define FLAGS_DOUBLE_SHIFT(name, bits, op)                                                                             \
    static inline uint##bits##_t flags_##name##bits(uint64_t *rflags, uint##bits##_t a, uint##bits##_t b,              \
                                                    uint8_t count)                                                     \
    {                                                                                                                  \
        uint32_t ax = flags_to_ax(*rflags);                                                                            \
        __asm__(FLAGS_LOAD op " %%cl, %[b], %[a]" FLAGS_SAVE                                                           \
                : [a] "+r"(a), "+&a"(ax)                                                                               \
                : [b] "r"(b), "c"(count)                                                                               \
                : "cc");                                                                                               \
        flags_from_ax(rflags, ax);                                                                                     \
        return a;                                                                                                      \
    }

#define FLAGS_ALL_SIZES(make, name, op)                                                                                \
    make(name, 8, op "b") make(name, 16, op "w") make(name, 32, op "l") make(name, 64, op "q")
#define FLAGS_WIDE_SIZES(make, name, op) make(name, 16, op "w") make(name, 32, op "l") make(name, 64, op "q")

FLAGS_ALL_SIZES(FLAGS_SIMPLE, add, "add")
FLAGS_ALL_SIZES(FLAGS_SIMPLE, sub, "sub")
FLAGS_ALL_SIZES(FLAGS_SIMPLE, and, "and")
FLAGS_ALL_SIZES(FLAGS_SIMPLE, or, "or")
FLAGS_ALL_SIZES(FLAGS_SIMPLE, xor, "xor")
FLAGS_ALL_SIZES(FLAGS_CARRY, adc, "adc")
FLAGS_ALL_SIZES(FLAGS_CARRY, sbb, "sbb")
FLAGS_ALL_SIZES(FLAGS_UNARY, inc, "inc")
FLAGS_ALL_SIZES(FLAGS_UNARY, dec, "dec")
FLAGS_ALL_SIZES(FLAGS_UNARY, neg, "neg")
FLAGS_ALL_SIZES(FLAGS_SHIFT, rol, "rol")
FLAGS_ALL_SIZES(FLAGS_SHIFT, ror, "ror")
FLAGS_ALL_SIZES(FLAGS_SHIFT, rcl, "rcl")
FLAGS_ALL_SIZES(FLAGS_SHIFT, rcr, "rcr")
FLAGS_ALL_SIZES(FLAGS_SHIFT, shl, "shl")
FLAGS_ALL_SIZES(FLAGS_SHIFT, shr, "shr")
FLAGS_ALL_SIZES(FLAGS_SHIFT, sar, "sar")
FLAGS_WIDE_SIZES(FLAGS_DOUBLE_SHIFT, shld, "shld")
FLAGS_WIDE_SIZES(FLAGS_DOUBLE_SHIFT, shrd, "shrd")
FLAGS_WIDE_SIZES(FLAGS_BINARY, imul, "imul")
FLAGS_WIDE_SIZES(FLAGS_BINARY, bsf, "bsf")
FLAGS_WIDE_SIZES(FLAGS_BINARY, bsr, "bsr")
FLAGS_WIDE_SIZES(FLAGS_BINARY, bt, "bt")

/* Condition codes, as the low four bits of the opcode say. */
static inline bool flags_condition(uint64_t rflags, unsigned code)
{
    bool holds;
    switch (code >> 1 & 7) {
    case 0:
        holds = rflags & CPU_OF;
        break;
    case 1:
        holds = rflags & CPU_CF;
        break;
    case 2:
        holds = rflags & CPU_ZF;
        break;
    case 3:
        holds = rflags & (CPU_CF | CPU_ZF);
        break;
    case 4:
        holds = rflags & CPU_SF;
        break;
    case 5:
        holds = rflags & CPU_PF;
        break;
    case 6:
        holds = (rflags >> 7 ^ rflags >> 11) & 1;
        break;
    default:
        holds = rflags & CPU_ZF || (rflags >> 7 ^ rflags >> 11) & 1;
        break;
    }
    return holds != (code & 1);
}

#endif
