/* Driver `mem`: a volatile disk in memory, for tests, scratch space and measuring everything else.
 *
 * Sparse in steps of 64 KiB: what was never written takes no memory and is reported as a hole. */
#ifndef NBD_MEM_H
#define NBD_MEM_H

struct blk_driver;

extern const struct blk_driver mem_driver;

#endif
