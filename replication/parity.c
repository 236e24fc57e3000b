/* The encoders that know what P and Q are (xor_gen, pq_gen) make whole codewords; they are twice as fast as the general
 * ones. Changes of one vector and lost vectors go through ISA-L's erasure code with the same coefficients: any `data`
 * rows of the matrix can be inverted, as there are two parities at the most. */
#include "replication/parity.h"

#include <isa-l/erasure_code.h>
#include <isa-l/raid.h>
#include <string.h>

void parity_init(struct parity *p, unsigned data, unsigned parity)
{
    memset(p, 0, sizeof *p);
    p->data = data;
    p->parity = parity;
    uint8_t power = 1;
    for (unsigned i = 0; i < data; i++) {
        p->matrix[i * data + i] = 1;
        p->matrix[data * data + i] = 1;
        p->matrix[(data + 1) * data + i] = power;
        power = gf_mul(power, 2);
    }
    ec_init_tables((int)data, (int)parity, p->matrix + data * data, p->update_tables);
}

void parity_encode(const struct parity *p, size_t len_bytes, uint8_t *const *vectors)
{
    void *array[PARITY_VECTORS_MAX];
    unsigned count = p->data + p->parity;
    for (unsigned i = 0; i < count; i++)
        array[i] = vectors[i];
    if (p->parity == 1)
        xor_gen((int)count, (int)len_bytes, array);
    else
        pq_gen((int)count, (int)len_bytes, array);
}

void parity_update(const struct parity *p, size_t len_bytes, unsigned chunk, uint8_t *delta, uint8_t *const *parity)
{
    uint8_t tables[sizeof p->update_tables], *out[PARITY_MAX];
    memcpy(tables, p->update_tables, sizeof tables);
    for (unsigned i = 0; i < p->parity; i++)
        out[i] = parity[i];
    ec_encode_data_update((int)len_bytes, (int)p->data, (int)p->parity, (int)chunk, tables, delta, out);
}

void parity_add(uint8_t *to, const uint8_t *from, size_t len_bytes)
{
    typedef uint64_t wide __attribute__((vector_size(32), may_alias));
    wide *a = (wide *)(void *)to;
    const wide *b = (const wide *)(const void *)from;
    for (size_t i = 0; i < len_bytes / sizeof *a; i++)
        a[i] ^= b[i];
}

/* The first `data` known vectors. */
static uint32_t sources(const struct parity *p, uint32_t known)
{
    uint32_t from = 0;
    for (unsigned n = 0; n < p->data && known; n++, known &= known - 1)
        from |= known & -known;
    return from;
}

static void prepare(struct parity *p, uint32_t from, uint32_t wanted)
{
    uint8_t square[PARITY_VECTORS_MAX * PARITY_VECTORS_MAX], inverse[PARITY_VECTORS_MAX * PARITY_VECTORS_MAX];
    uint8_t rows[PARITY_VECTORS_MAX * PARITY_VECTORS_MAX] = {0};
    unsigned k = p->data, n = 0;
    for (uint32_t left = from; left; left &= left - 1)
        memcpy(square + k * n++, p->matrix + k * (unsigned)__builtin_ctz(left), k);
    gf_invert_matrix(square, inverse, (int)k);
    n = 0;
    for (uint32_t left = wanted; left; left &= left - 1, n++) {
        const uint8_t *row = p->matrix + k * (unsigned)__builtin_ctz(left);
        for (unsigned j = 0; j < k; j++)
            for (unsigned i = 0; i < k; i++)
                rows[n * k + j] ^= gf_mul(row[i], inverse[i * k + j]);
    }
    ec_init_tables((int)k, (int)n, rows, p->solution.tables);
    p->solution.from = from;
    p->solution.wanted = wanted;
}

bool parity_solve(struct parity *p, size_t len_bytes, uint32_t known, uint32_t wanted, uint8_t *const *vectors)
{
    uint8_t *in[PARITY_VECTORS_MAX], *out[PARITY_VECTORS_MAX];
    int count = 0, n = 0;
    uint32_t from = sources(p, known);
    if ((unsigned)__builtin_popcount(from) < p->data)
        return false;
    if (!wanted)
        return true;
    if (p->solution.from != from || p->solution.wanted != wanted)
        prepare(p, from, wanted);
    for (uint32_t left = from; left; left &= left - 1)
        in[count++] = vectors[__builtin_ctz(left)];
    for (uint32_t left = wanted; left; left &= left - 1)
        out[n++] = vectors[__builtin_ctz(left)];
    ec_encode_data((int)len_bytes, count, n, p->solution.tables, in, out);
    return true;
}
