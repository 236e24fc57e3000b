/* Who executes which kinds of instructions: the parts of exec_bind(), a file each. NULL: not theirs. */
#ifndef HV_DBT_EXEC_PARTS_H
#define HV_DBT_EXEC_PARTS_H

#include "hv/dbt/exec.h"

exec_fn *exec_alu_bind(const struct insn *insn);
exec_fn *exec_shift_bind(const struct insn *insn);
exec_fn *exec_multiply_bind(const struct insn *insn);
exec_fn *exec_move_bind(const struct insn *insn);
exec_fn *exec_decimal_bind(const struct insn *insn);
exec_fn *exec_bit_bind(const struct insn *insn);
exec_fn *exec_bmi_bind(const struct insn *insn);
exec_fn *exec_atomic_bind(const struct insn *insn);
exec_fn *exec_stack_bind(const struct insn *insn);
exec_fn *exec_string_bind(const struct insn *insn);
exec_fn *exec_flow_bind(const struct insn *insn);
exec_fn *exec_segment_bind(const struct insn *insn);
exec_fn *exec_system_bind(const struct insn *insn);
exec_fn *exec_control_bind(const struct insn *insn);
exec_fn *exec_xsave_bind(const struct insn *insn);

#endif
