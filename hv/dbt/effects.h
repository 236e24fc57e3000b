/* What one 64-bit-mode instruction needs and leaves, for the translator: flags, registers, memory, and whether the
 * translator has a way of its own for it.
 *
 * Flags that the architecture leaves undefined count as neither read nor written where the difference could be seen,
 * else as written: a block may then skip saving them. Registers: a bit for each that the instruction could name or
 * imply; more than it does is harmless.
 *
 * Source: Intel SDM vol. 2. Threads: any. */
#ifndef HV_DBT_EFFECTS_H
#define HV_DBT_EFFECTS_H

#include <stdbool.h>
#include <stdint.h>

struct insn;

/* As RFLAGS has them, but for OF, which takes the place of the bit that is always one. */
enum effects_flag {
    EFFECTS_C = 1,
    EFFECTS_O = 2,
    EFFECTS_P = 4,
    EFFECTS_A = 0x10,
    EFFECTS_Z = 0x40,
    EFFECTS_S = 0x80,
    EFFECTS_ALL = 0xd7,
};

enum effects_access { EFFECTS_NONE, EFFECTS_READ, EFFECTS_WRITE /* and read-modify-write */ };

enum effects_class {
    EFFECTS_INTERPRET, /* the interpreter does it */
    EFFECTS_COPY,      /* the same on the host; its memory operand, if it has one, at another address */
    EFFECTS_SKIP,      /* does nothing */
    EFFECTS_PUSH,
    EFFECTS_POP,
    EFFECTS_LEAVE,
    EFFECTS_DIVIDE,
    EFFECTS_PUSHF,
    EFFECTS_CLI,
    EFFECTS_STI,
    /* these end a block */
    EFFECTS_JCC,
    EFFECTS_JUMP,
    EFFECTS_CALL,
    EFFECTS_RETURN,
};

struct effects {
    uint8_t class;        /* enum effects_class */
    uint8_t flags_read;   /* enum effects_flag */
    uint8_t flags_set;    /* written in any case */
    bool flags_touched;   /* reads or may write any of them */
    uint8_t access;       /* enum effects_access: of E in memory */
    uint8_t access_bytes; /* its size */
    uint8_t alignment;    /* 0, or what the address has to be a multiple of, less one */
    uint16_t registers;
};

/* privileged: code of CPL 0. */
void effects_of(const struct insn *insn, bool privileged, struct effects *effects);
/* What of the flags a condition (the low four bits of the opcode) depends on. */
uint8_t effects_of_condition(unsigned condition);

#endif
