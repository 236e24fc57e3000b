#include "hv/migrate_missing.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hv/migrate_link.h"
#include "hv/migrate_wire.h"
#include "node/base/err.h"

enum { WORD_BITS = 64, PAGE = MEMORY_PAGE_BYTES, WORDS_MAX = MIGRATE_MISSING_BYTES / 8 };

/* RAM comes in multiples of 2 MiB: whole words. */
static uint64_t words_of(const struct migrate_missing *m, unsigned slot)
{
    return memory_slot(m->memory, slot)->bytes / PAGE / WORD_BITS;
}

int migrate_missing_init(struct migrate_missing *m, const struct memory *memory, struct err *err)
{
    *m = (struct migrate_missing){.memory = memory};
    pthread_mutex_init(&m->lock, NULL);
    for (unsigned i = 0; i < memory_slot_count(memory); i++) {
        if (memory_slot(memory, i)->read_only)
            continue;
        m->bits[i] = calloc(words_of(m, i), sizeof *m->bits[i]);
        if (!m->bits[i]) {
            migrate_missing_fini(m);
            return err_set(err, ENOMEM, "no memory for a list of pages");
        }
    }
    return 0;
}

void migrate_missing_fini(struct migrate_missing *m)
{
    if (!m->memory)
        return;
    for (unsigned i = 0; i < MEMORY_SLOT_MAX; i++)
        free(m->bits[i]);
    pthread_mutex_destroy(&m->lock);
    *m = (struct migrate_missing){0};
}

static void set_word(struct migrate_missing *m, unsigned slot, uint64_t word, uint64_t bits)
{
    uint64_t before = atomic_fetch_or(&m->bits[slot][word], bits);
    atomic_fetch_add(&m->pages, (unsigned)__builtin_popcountll(bits & ~before));
}

/* What of these bits was set. */
static uint64_t take_word(struct migrate_missing *m, unsigned slot, uint64_t word, uint64_t bits)
{
    uint64_t taken = atomic_fetch_and(&m->bits[slot][word], ~bits) & bits;
    atomic_fetch_sub(&m->pages, (unsigned)__builtin_popcountll(taken));
    return taken;
}

void migrate_missing_set(struct migrate_missing *m, unsigned slot, const uint64_t *bitmap)
{
    for (uint64_t w = 0; m->bits[slot] && w < words_of(m, slot); w++)
        if (bitmap[w])
            set_word(m, slot, w, bitmap[w]);
}

void migrate_missing_clear(struct migrate_missing *m)
{
    for (unsigned i = 0; i < memory_slot_count(m->memory); i++)
        for (uint64_t w = 0; m->bits[i] && w < words_of(m, i); w++)
            atomic_store(&m->bits[i][w], 0);
    atomic_store(&m->pages, 0);
    m->slot = 0;
    m->word = 0;
}

bool migrate_missing_has(const struct migrate_missing *m, unsigned slot, uint64_t page)
{
    return m->bits[slot] && atomic_load(&m->bits[slot][page / WORD_BITS]) >> page % WORD_BITS & 1;
}

/* `count` bits from `first` on, within a word. */
static uint64_t mask(unsigned first, uint64_t count)
{
    return (count >= WORD_BITS ? UINT64_MAX : (UINT64_C(1) << count) - 1) << first;
}

unsigned migrate_missing_take(struct migrate_missing *m, unsigned slot, uint64_t page, uint64_t count)
{
    unsigned taken = 0;
    for (uint64_t end = page + count, next; m->bits[slot] && page < end; page = next) {
        next = (page / WORD_BITS + 1) * WORD_BITS;
        next = next < end ? next : end;
        uint64_t bits = mask(page % WORD_BITS, next - page);
        taken += (unsigned)__builtin_popcountll(take_word(m, slot, page / WORD_BITS, bits));
    }
    return taken;
}

/* From bit `first` of a word on: how many are set in a row. */
static unsigned row(uint64_t bits, unsigned first, unsigned most)
{
    uint64_t gaps = ~(bits >> first);
    unsigned n = gaps ? (unsigned)__builtin_ctzll(gaps) : WORD_BITS;
    n = n < WORD_BITS - first ? n : WORD_BITS - first;
    return n < most ? n : most;
}

/* Of several that take from the same word each gets a part of it. */
static bool take_row(struct migrate_missing *m, unsigned slot, uint64_t word, unsigned first, unsigned most,
                     struct migrate_run *run)
{
    unsigned n = row(atomic_load(&m->bits[slot][word]), first, most);
    uint64_t taken = n ? take_word(m, slot, word, mask(first, n)) : 0;
    unsigned got = row(taken, first, n);
    uint64_t others = taken & ~mask(first, got);
    if (others)
        set_word(m, slot, word, others);
    *run = (struct migrate_run){slot, got, word * WORD_BITS + first};
    return got;
}

bool migrate_missing_next(struct migrate_missing *m, unsigned most, struct migrate_run *run)
{
    bool found = false;
    pthread_mutex_lock(&m->lock);
    while (!found && atomic_load(&m->pages)) {
        uint64_t bits = m->bits[m->slot] ? atomic_load(&m->bits[m->slot][m->word]) : 0;
        if (bits) {
            found = take_row(m, m->slot, m->word, (unsigned)__builtin_ctzll(bits), most, run);
        } else if (m->bits[m->slot] && m->word + 1 < words_of(m, m->slot)) {
            m->word++;
        } else {
            m->slot = (m->slot + 1) % memory_slot_count(m->memory);
            m->word = 0;
        }
    }
    pthread_mutex_unlock(&m->lock);
    return found;
}

/* Which slot of RAM; memory_slot_count(): none. */
static unsigned slot_of(const struct migrate_missing *m, uint64_t gpa)
{
    unsigned i = 0, count = memory_slot_count(m->memory);
    while (i < count && (!m->bits[i] || gpa < memory_slot(m->memory, i)->gpa ||
                         gpa - memory_slot(m->memory, i)->gpa >= memory_slot(m->memory, i)->bytes))
        i++;
    return i;
}

bool migrate_missing_near(struct migrate_missing *m, uint64_t gpa, unsigned most, struct migrate_run *run)
{
    unsigned slot = slot_of(m, gpa);
    if (slot == memory_slot_count(m->memory))
        return false;
    uint64_t page = (gpa - memory_slot(m->memory, slot)->gpa) / PAGE;
    return take_row(m, slot, page / WORD_BITS, page % WORD_BITS, most, run);
}

bool migrate_missing_walk(const struct migrate_missing *m, struct migrate_run *run)
{
    uint64_t page = run->page + run->count;
    for (unsigned i = run->slot; i < memory_slot_count(m->memory); i++, page = 0) {
        uint64_t pages = m->bits[i] ? words_of(m, i) * WORD_BITS : 0;
        while (page < pages) {
            uint64_t bits = atomic_load(&m->bits[i][page / WORD_BITS]) >> page % WORD_BITS;
            if (!bits) {
                page = (page / WORD_BITS + 1) * WORD_BITS;
                continue;
            }
            page += (unsigned)__builtin_ctzll(bits);
            uint64_t word = atomic_load(&m->bits[i][page / WORD_BITS]);
            *run = (struct migrate_run){i, row(word, page % WORD_BITS, WORD_BITS), page};
            return true;
        }
    }
    return false;
}

/* ---- on the wire ---- */

static bool is_empty(const struct migrate_missing *m, unsigned slot, uint64_t word, uint64_t count)
{
    while (count && !atomic_load(&m->bits[slot][word]))
        word++, count--;
    return !count;
}

static int send_part(const struct migrate_missing *m, unsigned slot, uint64_t word, uint64_t count,
                     struct migrate_link *link, struct err *err)
{
    uint64_t part[WORDS_MAX];
    struct migrate_frame f = {MIGRATE_MISSING, (uint32_t)(count * sizeof *part),
                              memory_slot(m->memory, slot)->gpa + word * WORD_BITS * PAGE};
    for (uint64_t w = 0; w < count; w++)
        part[w] = htole64(atomic_load(&m->bits[slot][word + w]));
    return migrate_link_put(link, &f, part, err);
}

int migrate_missing_send(const struct migrate_missing *m, struct migrate_link *link, struct err *err)
{
    int rc = 0;
    for (unsigned i = 0; i < memory_slot_count(m->memory); i++)
        for (uint64_t w = 0, words = m->bits[i] ? words_of(m, i) : 0, n; !rc && w < words; w += n) {
            n = words - w < WORDS_MAX ? words - w : WORDS_MAX;
            rc = is_empty(m, i, w, n) ? 0 : send_part(m, i, w, n, link, err);
        }
    return rc;
}

int migrate_missing_receive(struct migrate_missing *m, struct migrate_link *link, const struct migrate_frame *f,
                            struct err *err)
{
    uint64_t part[WORDS_MAX], count = f->bytes / sizeof *part;
    int rc = migrate_link_get(link, part, f->bytes, err);
    if (rc)
        return rc;
    unsigned slot = slot_of(m, f->number);
    uint64_t at = slot < memory_slot_count(m->memory) ? f->number - memory_slot(m->memory, slot)->gpa : 1;
    if (at % ((uint64_t)WORD_BITS * PAGE) || count > words_of(m, slot) - at / PAGE / WORD_BITS)
        return err_set(err, EPROTO, "the other side says that pages from %#llx on are missing, which are no RAM",
                       (unsigned long long)f->number);
    for (uint64_t w = 0; w < count; w++)
        set_word(m, slot, at / PAGE / WORD_BITS + w, le64toh(part[w]));
    return 0;
}
