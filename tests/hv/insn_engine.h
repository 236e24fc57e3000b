/* Cases on an engine of ours: a vCPU with four page tables, in 64-bit or compatibility mode at CPL 3, one step for each
 * case.
 *
 * Thread: one owner. */
#ifndef TESTS_HV_INSN_ENGINE_H
#define TESTS_HV_INSN_ENGINE_H

#include "tests/hv/insn_case.h"

struct insn_engine;

/* What executes one instruction at cpu->rip (all iterations of a repeated one), or raises. A further way to execute is
 * one more row: the translator's, for one. */
struct insn_executor {
    const char *name;
    void (*step)(struct insn_engine *engine);
};
extern const struct insn_executor insn_executors[];
const struct insn_executor *insn_executor_named(const char *name); /* NULL: none */

struct insn_engine *insn_engine_new(const struct insn_executor *executor); /* exits with a message */
void insn_engine_free(struct insn_engine *engine);
void insn_engine_run(struct insn_engine *engine, const struct insn_case *c, struct insn_outcome *outcome);

#endif
