/* The driver "align": takes requests of 512-byte sectors for layers whose blocks are larger, such as a volume's 4096.
 *
 *     [{"driver":"align"}, {"driver":"luks", ...}, {"driver":"volume", ...}]
 *
 * What is aligned passes through. A write that begins or ends within a block reads that block, puts its bytes in and
 * writes it whole; meanwhile no other change of the same block is let through, so that neither loses its bytes. TRIM
 * leaves blocks alone that it does not cover. A torn write is the layers' below: a block is old or new as a whole, also
 * the sectors of it that nobody wrote. Thread: the loop's. */
#ifndef NBD_ALIGN_H
#define NBD_ALIGN_H

struct blk_driver;

extern const struct blk_driver align_driver;

#endif
