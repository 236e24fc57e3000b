/* See digest.h. FNV-1a spreads short texts well but mixes its last octets badly, so the finish of MurmurHash3 follows.
 */
#include "node/agent/digest.h"

static const uint64_t fnv_basis = UINT64_C(0xcbf29ce484222325), fnv_prime = UINT64_C(0x100000001b3);

static uint64_t add(uint64_t h, uint8_t octet)
{
    return (h ^ octet) * fnv_prime;
}

/* The 0 at its end counts, so that "ab" + "c" is not "a" + "bc". */
static uint64_t add_text(uint64_t h, const char *text)
{
    for (const char *p = text; *p; p++)
        h = add(h, (uint8_t)*p);
    return add(h, 0);
}

static uint64_t finish(uint64_t h)
{
    h = (h ^ h >> 33) * UINT64_C(0xff51afd7ed558ccd);
    h = (h ^ h >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
    return h ^ h >> 33;
}

uint64_t digest_of_id(const char *purpose, const char *id, unsigned index)
{
    uint64_t h = add_text(add_text(fnv_basis, purpose), id);
    for (unsigned i = 0; i < sizeof index; i++)
        h = add(h, (uint8_t)(index >> 8 * i));
    return finish(h);
}

uint64_t digest_of_text(const char *text)
{
    return finish(add_text(fnv_basis, text));
}
