/* parity.c against arithmetic done byte by byte from the definition: P, Q, changes of one vector, and every loss that
 * can be made good, for all numbers of members. */
#include "tests/unit/fixture.h"

#include <stdlib.h>
#include <string.h>

#include "replication/parity.h"

enum { LENGTH = 4096 };

static uint8_t *vectors[PARITY_VECTORS_MAX], *copies[PARITY_VECTORS_MAX];

static uint8_t times(uint8_t a, uint8_t b)
{
    unsigned product = 0;
    for (unsigned i = 0; i < 8; i++)
        product ^= (b >> i & 1u) * ((unsigned)a << i);
    for (unsigned i = 15; i >= 8; i--)
        if (product >> i & 1)
            product ^= 0x11du << (i - 8);
    return (uint8_t)product;
}

static void check_codeword(unsigned data, unsigned parity)
{
    for (size_t at = 0; at < LENGTH; at++) {
        uint8_t p = 0, q = 0, power = 1;
        for (unsigned i = 0; i < data; i++) {
            p ^= vectors[i][at];
            q ^= times(power, vectors[i][at]);
            power = times(power, 2);
        }
        assert_int_equal(vectors[data][at], p);
        if (parity == 2)
            assert_int_equal(vectors[data + 1][at], q);
    }
}

static void scramble(uint8_t *bytes)
{
    for (size_t i = 0; i < LENGTH; i++)
        bytes[i] = (uint8_t)(rand() >> 5);
}

static void check_losses(struct parity *p)
{
    unsigned count = p->data + p->parity;
    uint32_t all = (UINT32_C(1) << count) - 1;
    for (unsigned i = 0; i < count; i++)
        memcpy(copies[i], vectors[i], LENGTH);
    for (uint32_t lost = 1; lost <= all; lost++) {
        unsigned missing = (unsigned)__builtin_popcount(lost);
        if (missing > p->parity + 1)
            continue;
        for (unsigned i = 0; i < count; i++)
            if (lost >> i & 1)
                scramble(vectors[i]);
        assert_int_equal(parity_solve(p, LENGTH, all & ~lost, lost, vectors), missing <= p->parity);
        for (unsigned i = 0; i < count; i++) {
            if (missing <= p->parity)
                assert_memory_equal(vectors[i], copies[i], LENGTH);
            memcpy(vectors[i], copies[i], LENGTH);
        }
    }
}

static void test_all_shapes(void **state)
{
    (void)state;
    srand(11);
    for (unsigned i = 0; i < PARITY_VECTORS_MAX; i++) {
        vectors[i] = aligned_alloc(4096, LENGTH);
        copies[i] = aligned_alloc(4096, LENGTH);
    }
    for (unsigned parity = 1; parity <= PARITY_MAX; parity++)
        for (unsigned data = 2; data + parity <= PARITY_VECTORS_MAX; data++) {
            struct parity p;
            parity_init(&p, data, parity);
            for (unsigned i = 0; i < data; i++)
                scramble(vectors[i]);
            parity_encode(&p, LENGTH, vectors);
            check_codeword(data, parity);
            for (unsigned i = 0; i < data; i++) {
                memcpy(copies[0], vectors[i], LENGTH);
                scramble(vectors[i]);
                parity_add(copies[0], vectors[i], LENGTH);
                parity_update(&p, LENGTH, i, copies[0], vectors + data);
            }
            check_codeword(data, parity);
            check_losses(&p);
        }
    for (unsigned i = 0; i < PARITY_VECTORS_MAX; i++) {
        free(vectors[i]);
        free(copies[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_all_shapes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
