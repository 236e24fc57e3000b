/* Cases on the real processor, in a process of their own: it may die, hang or be sent anywhere by an instruction, and
 * can do nothing with the system but talk to its parent (a seccomp filter of a few calls).
 *
 * Batches go back and forth through shared memory. Thread: one owner. */
#ifndef TESTS_HV_INSN_NATIVE_H
#define TESTS_HV_INSN_NATIVE_H

#include "tests/hv/insn_case.h"

enum { INSN_BATCH = 128 };

struct insn_native;

/* batches: how many can be on their way. Exits with a message if the host refuses. */
struct insn_native *insn_native_new(unsigned batches);
void insn_native_free(struct insn_native *native);

/* code_bytes: 8, 4 or 2. False: this machine executes no such code of a process (a hypervisor without local descriptor
 * tables or compatibility mode). Exits with a message if the child does not answer. Before the first batch. */
bool insn_native_executes(struct insn_native *native, unsigned code_bytes);

struct insn_case *insn_native_cases(struct insn_native *native, unsigned batch);
const struct insn_outcome *insn_native_outcomes(const struct insn_native *native, unsigned batch);
/* Starts one; waits for the oldest that was started. False: the process died or hangs at *at of the batch. */
void insn_native_start(struct insn_native *native, unsigned batch, unsigned count);
bool insn_native_wait(struct insn_native *native, unsigned batch, unsigned *at);

#endif
