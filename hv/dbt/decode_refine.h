/* What an instruction is once its prefixes and ModRM are known: the part of decoding that tables do not say. */
#ifndef HV_DBT_DECODE_REFINE_H
#define HV_DBT_DECODE_REFINE_H

#include <stdbool.h>
#include <stdint.h>

struct insn;

/* Legacy encodings; kind and operands are as the tables and groups say, immediates are still to be read. */
void decode_refine(struct insn *insn, unsigned code_bytes);
void decode_refine_0f38(struct insn *insn);
void decode_refine_vex(struct insn *insn, unsigned code_bytes);
/* May this kind be locked, with its destination in memory? */
bool decode_lockable(const struct insn *insn);

#endif
