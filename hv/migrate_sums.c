#include "hv/migrate_sums.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <sys/random.h>
#include <xxhash.h>

#include "hv/memory.h"
#include "node/base/err.h"

enum { ZEROES = 0, OTHER_THAN_ZEROES = 1, SECRET_BYTES = 192 };

struct migrate_sums {
    uint8_t secret[SECRET_BYTES];
    unsigned slots;
    uint64_t *of[MEMORY_SLOT_MAX];
};

struct migrate_sums *migrate_sums_new(const struct memory *memory, struct err *err)
{
    struct migrate_sums *s = calloc(1, sizeof *s);
    bool whole = s && getrandom(s->secret, sizeof s->secret, 0) == sizeof s->secret;
    for (unsigned i = 0; whole && i < memory_slot_count(memory); i++) {
        s->of[i] = calloc(memory_slot(memory, i)->bytes / MEMORY_PAGE_BYTES, sizeof *s->of[i]);
        s->slots = i + 1;
        whole = s->of[i];
    }
    if (whole)
        return s;
    migrate_sums_free(s);
    err_set(err, ENOMEM, "no memory for the sums of pages");
    return NULL;
}

void migrate_sums_free(struct migrate_sums *s)
{
    if (!s)
        return;
    for (unsigned i = 0; i < s->slots; i++)
        free(s->of[i]);
    OPENSSL_cleanse(s, sizeof *s);
    free(s);
}

static bool has(struct migrate_sums *s, unsigned slot, uint64_t page, uint64_t sum)
{
    bool same = s->of[slot][page] == sum;
    s->of[slot][page] = sum;
    return same;
}

bool migrate_sums_has(struct migrate_sums *s, unsigned slot, uint64_t page, const uint8_t *bytes)
{
    uint64_t sum = XXH3_64bits_withSecret(bytes, MEMORY_PAGE_BYTES, s->secret, sizeof s->secret);
    return has(s, slot, page, sum == ZEROES ? OTHER_THAN_ZEROES : sum);
}

bool migrate_sums_has_zeroes(struct migrate_sums *s, unsigned slot, uint64_t page)
{
    return has(s, slot, page, ZEROES);
}
