/* What code memory says of the ways out of a block: few bytes each, since there are several in every block.
 *
 * A block's index lies in front of its entry (RECORD_HEAD_BYTES), so a record has to say only how far back the entry
 * is. It lies behind the code that leaves through it, at any address.
 *
 * Threads: those of the code memory. */
#ifndef HV_DBT_RECORD_H
#define HV_DBT_RECORD_H

#include <stdbool.h>
#include <stdint.h>

struct emit;

enum { RECORD_HEAD_BYTES = 4 };

/* A jump to elsewhere. */
struct exit_record {
    uint64_t target; /* linear address */
    uint32_t block;  /* of the jump */
    uint32_t patch;  /* the distance of a jump that may go to the target's entry directly; 0: there is none */
    bool parked;     /* the flags are in TRANSLATOR_PARKED; then there is no patch */
};

/* An instruction that the interpreter does, and what is to be done with it. */
struct site {
    uint32_t block;
    uint32_t resume; /* where the block goes on after the instruction; 0: it leaves */
    uint16_t offset; /* of the instruction in its page */
    uint8_t length;
    uint8_t scratch[2]; /* guest registers that are in TRANSLATOR_SCRATCH, or EMIT_NO_REGISTER */
    bool parked;        /* the flags are in TRANSLATOR_PARKED */
    uint8_t more;       /* so many instructions behind it, too; less than 128 */
};

/* Targets that a record of a block at linear can hold: what a 32-bit distance reaches, but for the last few KiB. */
bool record_reaches(uint64_t linear, uint64_t target);

/* entry: of the block, less than 64 KiB back; linear: its address. The block's index is not written. */
void record_write_exit(struct emit *emit, uint32_t entry, uint64_t linear, const struct exit_record *record);
void record_write_site(struct emit *emit, uint32_t entry, const struct site *site);

/* code: the code memory; at: where the record lies in it. */
uint32_t record_block(const uint8_t *code, uint32_t at);
void record_read_exit(const uint8_t *code, uint32_t at, uint64_t linear, struct exit_record *record);
void record_read_site(const uint8_t *code, uint32_t at, struct site *site);

#endif
