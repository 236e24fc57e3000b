/* The page tables: from a linear to a physical address.
 *
 * 32-bit tables with PSE, PAE, and four levels; NX, global and large pages, WP, SMEP, SMAP, reserved bits. Sets A, and
 * D for a write, atomically, as processors do beside each other.
 *
 * Source: Intel SDM vol. 3 ch. 4. Threads: the vCPU's own. */
#ifndef HV_DBT_WALK_H
#define HV_DBT_WALK_H

#include <stdbool.h>
#include <stdint.h>

#include "hv/dbt/mmu.h"

struct walk {
    uint64_t gpa;  /* of the 4 KiB page */
    bool user;     /* CPL 3 may touch it */
    bool writable; /* by the tables' W bits */
    bool executable;
    bool global, large, dirty;
};

enum walk_options { WALK_IMPLICIT = 1 /* not by the program's will: EFLAGS.AC does not help against SMAP */ };

/* 0, or -EFAULT with the page fault's error code. linear: canonical. */
int walk_pages(struct dbt_cpu *cpu, enum tlb_class class, uint64_t linear, enum mmu_access access, unsigned options,
               struct walk *walk, uint32_t *code);

#endif
