/* See memory.h. One memfd holds RAM and, behind it, ROM; every slot is a mapping of a part of it. The dirty log and the
 * marks of translated pages are bitmaps per slot, changed atomically, so that vCPUs and I/O threads share them. */
#include "hv/memory.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "node/base/err.h"

enum { SIZE_STEP = 2 << 20, WORD_BITS = 64 };

struct slot {
    struct memory_slot plain;
    _Atomic uint64_t *dirty, *watched;
};

struct memory {
    int fd;
    uint64_t ram_bytes, file_bytes;
    unsigned slot_count;
    struct slot slots[MEMORY_SLOT_MAX];
    atomic_bool logging;
    _Atomic(struct memory_watch *) watch;
};

static size_t bitmap_words(uint64_t bytes)
{
    uint64_t pages = (bytes + MEMORY_PAGE_BYTES - 1) >> MEMORY_PAGE_BITS;
    return (pages + WORD_BITS - 1) / WORD_BITS;
}

/* Maps `bytes` more of the file at gpa. */
static int add_slot(struct memory *m, uint64_t gpa, uint64_t bytes, bool read_only, struct err *err)
{
    if (m->slot_count == MEMORY_SLOT_MAX)
        return err_set(err, ENOSPC, "more than %d memory slots", MEMORY_SLOT_MAX);
    struct slot *slot = &m->slots[m->slot_count];
    if (ftruncate(m->fd, (off_t)(m->file_bytes + bytes)) < 0)
        return err_set(err, errno, "cannot make the guest's memory %llu bytes larger: %s", (unsigned long long)bytes,
                       strerror(errno));
    void *host = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, m->fd, (off_t)m->file_bytes);
    if (host == MAP_FAILED)
        return err_set(err, errno, "cannot map %llu bytes of guest memory: %s", (unsigned long long)bytes,
                       strerror(errno));
    madvise(host, bytes, MADV_DONTDUMP); /* a guest's secrets stay out of core files */
    madvise(host, bytes, MADV_HUGEPAGE);
    slot->dirty = calloc(bitmap_words(bytes), sizeof *slot->dirty);
    slot->watched = calloc(bitmap_words(bytes), sizeof *slot->watched);
    slot->plain = (struct memory_slot){gpa, bytes, host, m->file_bytes, read_only};
    m->slot_count++; /* also on failure: memory_free() takes it down */
    if (!slot->dirty || !slot->watched)
        return err_set(err, ENOMEM, "no memory for the dirty log");
    m->file_bytes += bytes;
    return 0;
}

struct memory *memory_new(uint64_t size_bytes, struct err *err)
{
    if (!size_bytes || size_bytes % SIZE_STEP || size_bytes > 1ull << 45) {
        err_set(err, EINVAL, "the memory's size is %llu bytes: it must be a multiple of 2M, and 2M at least",
                (unsigned long long)size_bytes);
        return NULL;
    }
    struct memory *m = calloc(1, sizeof *m);
    if (!m) {
        err_set(err, ENOMEM, "no memory");
        return NULL;
    }
    m->ram_bytes = size_bytes;
    m->fd = memfd_create("guest-memory", MFD_CLOEXEC);
    int rc = m->fd < 0 ? err_set(err, errno, "cannot make the guest's memory: %s", strerror(errno)) : 0;
    uint64_t low = size_bytes < memory_low_end ? size_bytes : memory_low_end;
    if (!rc)
        rc = add_slot(m, 0, low, false, err);
    if (!rc && size_bytes > low)
        rc = add_slot(m, memory_high_start, size_bytes - low, false, err);
    if (rc) {
        memory_free(m);
        return NULL;
    }
    return m;
}

void memory_free(struct memory *m)
{
    if (!m)
        return;
    for (unsigned i = 0; i < m->slot_count; i++) {
        munmap(m->slots[i].plain.host, m->slots[i].plain.bytes);
        free(m->slots[i].dirty);
        free(m->slots[i].watched);
    }
    if (m->fd >= 0)
        close(m->fd);
    free(m);
}

int memory_add_rom(struct memory *m, uint64_t gpa, const void *data, size_t bytes, struct err *err)
{
    if (gpa % MEMORY_PAGE_BYTES || !bytes || gpa + bytes < gpa)
        return err_set(err, EINVAL, "a ROM of %zu bytes cannot be at %#llx", bytes, (unsigned long long)gpa);
    uint64_t padded = (bytes + MEMORY_PAGE_BYTES - 1) & ~(uint64_t)(MEMORY_PAGE_BYTES - 1);
    for (unsigned i = 0; i < m->slot_count; i++) {
        const struct memory_slot *s = &m->slots[i].plain;
        if (gpa < s->gpa + s->bytes && s->gpa < gpa + padded)
            return err_set(err, EINVAL, "a ROM of %zu bytes at %#llx would lie over other memory", bytes,
                           (unsigned long long)gpa);
    }
    int rc = add_slot(m, gpa, padded, true, err);
    if (!rc)
        memcpy(m->slots[m->slot_count - 1].plain.host, data, bytes);
    return rc;
}

uint64_t memory_size(const struct memory *m)
{
    return m->ram_bytes;
}

int memory_fd(const struct memory *m)
{
    return m->fd;
}

unsigned memory_slot_count(const struct memory *m)
{
    return m->slot_count;
}

const struct memory_slot *memory_slot(const struct memory *m, unsigned i)
{
    return &m->slots[i].plain;
}

/* ---- finding ---- */

static const struct slot *find(const struct memory *m, uint64_t gpa, uint64_t bytes)
{
    for (unsigned i = 0; i < m->slot_count; i++) {
        const struct memory_slot *s = &m->slots[i].plain;
        uint64_t at = gpa - s->gpa;
        if (at < s->bytes && bytes <= s->bytes - at)
            return &m->slots[i];
    }
    return NULL;
}

const uint8_t *memory_at(const struct memory *m, uint64_t gpa, uint64_t bytes)
{
    const struct slot *slot = find(m, gpa, bytes);
    return slot ? slot->plain.host + (gpa - slot->plain.gpa) : NULL;
}

uint8_t *memory_at_writable(const struct memory *m, uint64_t gpa, uint64_t bytes)
{
    const struct slot *slot = find(m, gpa, bytes);
    return slot && !slot->plain.read_only ? slot->plain.host + (gpa - slot->plain.gpa) : NULL;
}

int memory_read(const struct memory *m, uint64_t gpa, void *to, size_t bytes)
{
    const uint8_t *from = memory_at(m, gpa, bytes);
    if (!from)
        return -EFAULT;
    memcpy(to, from, bytes);
    return 0;
}

int memory_write(struct memory *m, uint64_t gpa, const void *from, size_t bytes)
{
    uint8_t *to = memory_at_writable(m, gpa, bytes);
    if (!to)
        return -EFAULT;
    memcpy(to, from, bytes);
    memory_touched(m, gpa, bytes);
    return 0;
}

/* ---- marks ---- */

static void set_bit(_Atomic uint64_t *bitmap, uint64_t page)
{
    uint64_t bit = 1ull << (page % WORD_BITS);
    _Atomic uint64_t *word = &bitmap[page / WORD_BITS];
    if (!(atomic_load_explicit(word, memory_order_relaxed) & bit)) /* most pages are marked already */
        atomic_fetch_or(word, bit);
}

/* True if this call cleared it: of several writers one tells the watcher. */
static bool take_bit(_Atomic uint64_t *bitmap, uint64_t page)
{
    uint64_t bit = 1ull << (page % WORD_BITS);
    _Atomic uint64_t *word = &bitmap[page / WORD_BITS];
    if (!(atomic_load_explicit(word, memory_order_acquire) & bit))
        return false;
    return atomic_fetch_and(word, ~bit) & bit;
}

static bool has_bit(const _Atomic uint64_t *bitmap, uint64_t page)
{
    return atomic_load_explicit(&bitmap[page / WORD_BITS], memory_order_acquire) & 1ull << (page % WORD_BITS);
}

void memory_touched(struct memory *m, uint64_t gpa, uint64_t bytes)
{
    const struct slot *slot = bytes ? find(m, gpa, bytes) : NULL;
    if (!slot)
        return;
    bool logging = atomic_load_explicit(&m->logging, memory_order_acquire);
    struct memory_watch *watch = atomic_load_explicit(&m->watch, memory_order_acquire);
    uint64_t first = (gpa - slot->plain.gpa) >> MEMORY_PAGE_BITS;
    uint64_t last = (gpa - slot->plain.gpa + bytes - 1) >> MEMORY_PAGE_BITS;
    for (uint64_t page = first; page <= last; page++) {
        if (logging)
            set_bit(slot->dirty, page);
        if (watch && take_bit(slot->watched, page))
            watch->written(watch, slot->plain.gpa + (page << MEMORY_PAGE_BITS));
    }
}

void memory_log_start(struct memory *m)
{
    for (unsigned i = 0; i < m->slot_count; i++)
        for (size_t w = 0; w < bitmap_words(m->slots[i].plain.bytes); w++)
            atomic_store(&m->slots[i].dirty[w], 0);
    atomic_store(&m->logging, true);
}

void memory_log_stop(struct memory *m)
{
    atomic_store(&m->logging, false);
}

bool memory_log_running(const struct memory *m)
{
    return atomic_load_explicit(&m->logging, memory_order_acquire);
}

bool memory_log_wants(const struct memory *m, uint64_t gpa)
{
    if (!memory_log_running(m))
        return false;
    const struct slot *slot = find(m, gpa, 1);
    return slot && !has_bit(slot->dirty, (gpa - slot->plain.gpa) >> MEMORY_PAGE_BITS);
}

bool memory_log_has(const struct memory *m, unsigned i, uint64_t page)
{
    return has_bit(m->slots[i].dirty, page);
}

void memory_log_page(struct memory *m, uint64_t gpa)
{
    const struct slot *slot = find(m, gpa, 1);
    if (slot)
        set_bit(slot->dirty, (gpa - slot->plain.gpa) >> MEMORY_PAGE_BITS);
}

uint64_t memory_log_bytes(const struct memory *m)
{
    uint64_t pages = 0;
    for (unsigned i = 0; i < m->slot_count; i++)
        for (size_t w = 0; w < bitmap_words(m->slots[i].plain.bytes); w++)
            pages += (unsigned)__builtin_popcountll(atomic_load_explicit(&m->slots[i].dirty[w], memory_order_relaxed));
    return pages << MEMORY_PAGE_BITS;
}

void memory_log_take(struct memory *m, unsigned i, uint64_t *bitmap)
{
    for (size_t w = 0; w < bitmap_words(m->slots[i].plain.bytes); w++)
        bitmap[w] = atomic_exchange(&m->slots[i].dirty[w], 0);
}

void memory_watch(struct memory *m, struct memory_watch *watch)
{
    atomic_store_explicit(&m->watch, watch, memory_order_release);
}

void memory_watch_page(struct memory *m, uint64_t gpa)
{
    const struct slot *slot = find(m, gpa, 1);
    if (slot)
        set_bit(slot->watched, (gpa - slot->plain.gpa) >> MEMORY_PAGE_BITS);
}

bool memory_watches_page(const struct memory *m, uint64_t gpa)
{
    const struct slot *slot = find(m, gpa, 1);
    return slot && has_bit(slot->watched, (gpa - slot->plain.gpa) >> MEMORY_PAGE_BITS);
}
