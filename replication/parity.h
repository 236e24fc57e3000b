/* Parity arithmetic: P is the sum of the data, Q the sum of 2^i x data[i] in GF(2^8) with the polynomial 0x11d, as in
 * Linux md. By ISA-L.
 *
 * A codeword has `data` vectors and then `parity` ones; every vector has the same length, a multiple of 64 bytes, and
 * is aligned to 64 bytes. A set of vectors has bit i for vector i. Thread: one at a time (the last solution is kept).
 */
#ifndef REPLICATION_PARITY_H
#define REPLICATION_PARITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PARITY_VECTORS_MAX = 16, PARITY_MAX = 2 };

struct parity {
    unsigned data, parity;
    uint8_t matrix[PARITY_VECTORS_MAX * PARITY_VECTORS_MAX]; /* a row of `data` coefficients for each vector */
    uint8_t update_tables[32 * PARITY_VECTORS_MAX * PARITY_MAX];
    struct {
        uint32_t from, wanted;
        uint8_t tables[32 * PARITY_VECTORS_MAX * PARITY_VECTORS_MAX];
    } solution;
};

void parity_init(struct parity *p, unsigned data, unsigned parity);
/* Makes the parity vectors of the data vectors. */
void parity_encode(const struct parity *p, size_t len_bytes, uint8_t *const *vectors);
/* Data vector `chunk` changed by `delta` (old XOR new): parity[0 .. p->parity) follow. */
void parity_update(const struct parity *p, size_t len_bytes, unsigned chunk, uint8_t *delta, uint8_t *const *parity);
/* Makes the vectors of `wanted` from those of `known`. False: those are too few; nothing is changed. */
bool parity_solve(struct parity *p, size_t len_bytes, uint32_t known, uint32_t wanted, uint8_t *const *vectors);
/* to ^= from. */
void parity_add(uint8_t *to, const uint8_t *from, size_t len_bytes);

#endif
