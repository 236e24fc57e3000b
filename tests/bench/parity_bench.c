/* What the parity layouts' arithmetic does in a second, beside ISA-L's own functions on vectors of the same length: the
 * calls of volume_stripe.c for a chunk of 64 KiB on each member, by turns with xor_gen() and pq_gen(). One line for
 * each shape: data members, parities, ours and ISA-L's in bytes of data a second.
 *
 *     parity_bench [MILLISECONDS]      for each figure, default 300 */
#include <isa-l/raid.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "replication/parity.h"

enum { CHUNK = 64 << 10, SLICES = 10 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void theirs(const struct parity *p, uint8_t *const *vectors)
{
    void *array[PARITY_VECTORS_MAX];
    memcpy(array, vectors, sizeof array);
    if (p->parity == 1)
        xor_gen((int)(p->data + p->parity), CHUNK, array);
    else
        pq_gen((int)(p->data + p->parity), CHUNK, array);
}

static double rate(const struct parity *p, uint8_t *const *vectors, bool ours, double seconds)
{
    double begin = now(), took;
    unsigned long calls = 0;
    do {
        for (int i = 0; i < 64; i++, calls++)
            if (ours)
                parity_encode(p, CHUNK, vectors);
            else
                theirs(p, vectors);
        took = now() - begin;
    } while (took < seconds);
    return (double)calls * p->data * CHUNK / took;
}

int main(int argc, char **argv)
{
    double seconds = (argc > 1 ? atof(argv[1]) : 300) / 1000;
    uint8_t *vectors[PARITY_VECTORS_MAX];
    for (unsigned i = 0; i < PARITY_VECTORS_MAX; i++)
        memset(vectors[i] = aligned_alloc(4096, CHUNK), (int)i + 1, CHUNK);
    for (unsigned parity = 1; parity <= PARITY_MAX; parity++)
        for (unsigned data = 2; data <= 8; data *= 2) {
            struct parity p;
            double sums[2] = {0, 0};
            parity_init(&p, data, parity);
            for (int i = 0; i < 2 * SLICES; i++)
                sums[i & 1] += rate(&p, vectors, i & 1, seconds / SLICES);
            printf("%u %u %.0f %.0f\n", data, parity, sums[1] / SLICES, sums[0] / SLICES);
        }
    for (unsigned i = 0; i < PARITY_VECTORS_MAX; i++)
        free(vectors[i]);
    return 0;
}
