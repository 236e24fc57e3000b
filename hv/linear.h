/* The page tables of a vCPU that stands still, for those who look at the guest from outside: nothing is set in them, no
 * right is asked for.
 *
 * Source: Intel SDM vol. 3 ch. 4. Threads: any, while the vCPU does not run. */
#ifndef HV_LINEAR_H
#define HV_LINEAR_H

#include <stddef.h>
#include <stdint.h>

struct cpu_state;
struct memory;

/* 0, or -EFAULT where nothing is mapped. */
int linear_gpa(const struct memory *memory, const struct cpu_state *cpu, uint64_t linear, uint64_t *gpa);

/* Copies up to `bytes`, across pages, until the first that is not there or is not memory; how many were copied. _write
 * writes where the guest itself may not (but not to ROM). */
size_t linear_read(const struct memory *memory, const struct cpu_state *cpu, uint64_t linear, void *to, size_t bytes);
size_t linear_write(struct memory *memory, const struct cpu_state *cpu, uint64_t linear, const void *from,
                    size_t bytes);

#endif
