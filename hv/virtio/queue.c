/* See queue.h.
 *
 *   available ring (guest writes)  u16 flags, u16 idx, u16 ring[size], u16 used_event
 *   used ring (we write)           u16 flags, u16 idx, {u32 id, u32 len} ring[size], u16 avail_event
 *
 * Order. The guest's entry is read after the index that covers it (acquire); our entry is written before the index
 * that covers it (release). Where both sides tell each other whether they want to be woken, each writes its own word
 * and then reads the other's, with a full fence between: one of the two sees the other's at least.
 *
 * Invariants
 *   1. next_avail - next_used == out, modulo 2^16: so `idx - next_used <= size` bounds what may be taken.
 *   2. Pointers of an open queue stay valid: RAM does not move while a guest lives.
 *   3. Nothing in the rings is read twice to be believed once. */
#include "hv/virtio/queue.h"

#include <assert.h>
#include <linux/virtio_ring.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include "hv/memory.h"

enum { RING_FLAGS = 0, RING_IDX = 2, RING_ENTRIES = 4, AVAIL_ENTRY_BYTES = 2, USED_ENTRY_BYTES = 8 };

struct table {
    const uint8_t *at;
    uint32_t count;
    bool indirect;
};

/* ---- words of the rings ---- */

static uint16_t load(const uint8_t *at, memory_order order)
{
    const _Atomic uint16_t *word = (const _Atomic uint16_t *)(const void *)at;
    return atomic_load_explicit(word, order);
}

static void store(uint8_t *at, uint16_t value, memory_order order)
{
    atomic_store_explicit((_Atomic uint16_t *)(void *)at, value, order);
}

static uint64_t avail_bytes(const struct queue *q)
{
    return RING_ENTRIES + AVAIL_ENTRY_BYTES * (uint64_t)q->size + 2;
}

static uint64_t used_bytes(const struct queue *q)
{
    return RING_ENTRIES + USED_ENTRY_BYTES * (uint64_t)q->size + 2;
}

static const uint8_t *used_event(const struct queue *q)
{
    return q->avail + RING_ENTRIES + AVAIL_ENTRY_BYTES * (size_t)q->size;
}

static uint8_t *avail_event(const struct queue *q)
{
    return q->used + RING_ENTRIES + USED_ENTRY_BYTES * (size_t)q->size;
}

/* Does going from `old` to `new` pass the event that the other side waits for? Virtio 1.2, 2.7.7.2. */
static bool passes(uint16_t event, uint16_t new, uint16_t old)
{
    return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

/* ---- opening ---- */

const char *queue_open(struct queue *q)
{
    assert(!q->opened);
    if (!q->size || q->size > QUEUE_SIZE_MAX || q->size & (q->size - 1))
        return "its size is not a power of two, or too large";
    if (q->desc_gpa % VRING_DESC_ALIGN_SIZE || q->avail_gpa % VRING_AVAIL_ALIGN_SIZE ||
        q->used_gpa % VRING_USED_ALIGN_SIZE)
        return "its rings are not aligned";
    q->desc = memory_at(q->memory, q->desc_gpa, sizeof(struct vring_desc) * (uint64_t)q->size);
    q->avail = memory_at(q->memory, q->avail_gpa, avail_bytes(q));
    q->used = memory_at_writable(q->memory, q->used_gpa, used_bytes(q));
    if (!q->desc || !q->avail || !q->used)
        return "its rings are not in memory";
    q->published = q->next_used;
    q->out = 0;
    q->opened = true;
    return NULL;
}

void queue_close(struct queue *q)
{
    q->opened = false;
    q->desc = q->avail = NULL;
    q->used = NULL;
}

void queue_fail(struct queue *q, const char *why)
{
    if (q->broken)
        return;
    q->broken = true;
    q->failed(q, why);
}

/* ---- taking chains ---- */

static bool fail(struct queue *q, const char *why)
{
    queue_fail(q, why);
    return false;
}

static bool add_piece(struct queue *q, struct chain *c, const struct vring_desc *d)
{
    bool writable = d->flags & VRING_DESC_F_WRITE;
    if (!writable && c->writable_bytes)
        return fail(q, "a readable buffer follows a writable one");
    if (!d->len)
        return true;
    uint8_t *at = writable ? memory_at_writable(q->memory, d->addr, d->len)
                           : (uint8_t *)(uintptr_t)memory_at(q->memory, d->addr, d->len);
    if (!at)
        return fail(q, "a buffer is not in memory");
    unsigned count = c->readable + c->writable;
    struct iovec *last = count && (writable ? c->writable : c->readable) ? &c->iov[count - 1] : NULL;
    if (last && (uint8_t *)last->iov_base + last->iov_len == at) {
        last->iov_len += d->len;
    } else {
        if (count == c->room)
            return fail(q, "a chain has too many buffers");
        c->iov[count] = (struct iovec){at, d->len};
        if (writable)
            c->writable++;
        else
            c->readable++;
    }
    *(writable ? &c->writable_bytes : &c->readable_bytes) += d->len;
    return true;
}

/* The copy that is judged. */
static struct vring_desc descriptor(const struct table *t, uint32_t i)
{
    struct vring_desc d;
    memcpy(&d, t->at + sizeof d * (size_t)i, sizeof d);
    return d;
}

static bool enter_indirect(struct queue *q, const struct vring_desc *d, struct table *t)
{
    uint32_t count = d->len / sizeof(struct vring_desc);
    if (!q->indirect)
        return fail(q, "an indirect descriptor, which was not negotiated");
    if (d->flags & VRING_DESC_F_NEXT || d->len % sizeof(struct vring_desc) || !count || count > QUEUE_INDIRECT_MAX)
        return fail(q, "an indirect descriptor makes no sense");
    const uint8_t *at = memory_at(q->memory, d->addr, d->len);
    if (!at)
        return fail(q, "an indirect table is not in memory");
    *t = (struct table){at, count, true};
    return true;
}

/* A table is left after as many descriptors as it has: there is no longer chain without a loop. */
static bool walk(struct queue *q, struct chain *c)
{
    struct table t = {q->desc, q->size, false};
    uint32_t i = c->head;
    for (uint32_t seen = 0;; seen++) {
        if (seen == t.count)
            return fail(q, "a chain of descriptors is a loop");
        struct vring_desc d = descriptor(&t, i);
        if (d.flags & VRING_DESC_F_INDIRECT) {
            if (t.indirect)
                return fail(q, "an indirect table within an indirect table");
            if (!enter_indirect(q, &d, &t))
                return false;
            seen = UINT32_MAX; /* begins anew at 0 */
            i = 0;
            continue;
        }
        if (!add_piece(q, c, &d))
            return false;
        if (!(d.flags & VRING_DESC_F_NEXT))
            return true;
        i = d.next;
        if (i >= t.count)
            return fail(q, "a descriptor's successor is not in its table");
    }
}

void queue_begin_turn(struct queue *q)
{
    q->in_turn = true;
    q->left = QUEUE_TURN;
}

bool queue_end_turn(struct queue *q)
{
    q->in_turn = false;
    return !q->left;
}

static bool is_over(const struct queue *q)
{
    return q->broken || !q->opened || (q->in_turn && !q->left);
}

bool queue_pop(struct queue *q, struct chain *c)
{
    if (is_over(q))
        return false;
    uint16_t idx = load(q->avail + RING_IDX, memory_order_acquire);
    if (idx == q->next_avail)
        return false;
    if ((uint16_t)(idx - q->next_used) > q->size || (uint16_t)(idx - q->next_avail) > q->size)
        return fail(q, "more chains are available than it has entries");
    size_t entry = q->next_avail & (q->size - 1u);
    c->head = load(q->avail + RING_ENTRIES + AVAIL_ENTRY_BYTES * entry, memory_order_relaxed);
    c->readable = c->writable = 0;
    c->readable_bytes = c->writable_bytes = 0;
    if (c->head >= q->size)
        return fail(q, "an available chain begins outside the table");
    if (!walk(q, c))
        return false;
    q->next_avail++;
    q->out++;
    q->left -= q->in_turn;
    return true;
}

void queue_unpop(struct queue *q, unsigned count)
{
    assert(count <= q->out);
    q->next_avail = (uint16_t)(q->next_avail - count);
    q->out = (uint16_t)(q->out - count);
}

void queue_refuse(struct queue *q, const char *why)
{
    queue_unpop(q, 1);
    queue_fail(q, why);
}

/* ---- giving them back ---- */

/* Devices write through host pointers; the dirty log thinks in the guest's addresses. */
static void touched(struct queue *q, const uint8_t *at, uint64_t bytes)
{
    for (unsigned i = 0; i < memory_slot_count(q->memory);
         i++) { /* a piece may lie across two that are neighbours here */
        const struct memory_slot *slot = memory_slot(q->memory, i);
        const uint8_t *from = at > slot->host ? at : slot->host;
        const uint8_t *to = at + bytes < slot->host + slot->bytes ? at + bytes : slot->host + slot->bytes;
        if (from < to)
            memory_touched(q->memory, slot->gpa + (uint64_t)(from - slot->host), (uint64_t)(to - from));
    }
}

static void chain_touched(struct queue *q, const struct chain *c, uint64_t bytes)
{
    const struct iovec *iov = c->iov + c->readable;
    for (unsigned i = 0; i < c->writable && bytes; i++) {
        uint64_t n = iov[i].iov_len < bytes ? iov[i].iov_len : bytes;
        touched(q, iov[i].iov_base, n);
        bytes -= n;
    }
}

void queue_push(struct queue *q, const struct chain *c, uint64_t written_bytes)
{
    chain_touched(q, c, written_bytes);
    assert(q->out);
    q->out--;
    struct vring_used_elem e = {.id = c->head,
                                .len = written_bytes < UINT32_MAX ? (uint32_t)written_bytes : UINT32_MAX};
    size_t entry = q->next_used & (q->size - 1u);
    memcpy(q->used + RING_ENTRIES + USED_ENTRY_BYTES * entry, &e, sizeof e);
    q->next_used++;
}

static bool wants_interrupt(const struct queue *q, uint16_t new, uint16_t old)
{
    if (q->event_idx)
        return passes(load(used_event(q), memory_order_relaxed), new, old);
    return !(load(q->avail + RING_FLAGS, memory_order_relaxed) & VRING_AVAIL_F_NO_INTERRUPT);
}

void queue_publish(struct queue *q)
{
    uint16_t old = q->published, new = q->next_used;
    if (new == old || !q->opened)
        return;
    store(q->used + RING_IDX, new, memory_order_release);
    q->published = new;
    memory_touched(q->memory, q->used_gpa, used_bytes(q));
    atomic_thread_fence(memory_order_seq_cst);
    if (wants_interrupt(q, new, old))
        q->signal(q);
}

/* ---- kicks ---- */

void queue_quiet(struct queue *q)
{
    if (q->broken || !q->opened || q->event_idx)
        return; /* with event_idx the guest kicks at one index only, which is behind us already */
    store(q->used + RING_FLAGS, VRING_USED_F_NO_NOTIFY, memory_order_relaxed);
    memory_touched(q->memory, q->used_gpa, RING_ENTRIES);
}

bool queue_listen(struct queue *q)
{
    if (is_over(q))
        return false;
    if (q->event_idx) {
        store(avail_event(q), q->next_avail, memory_order_relaxed);
        memory_touched(q->memory, q->used_gpa + used_bytes(q) - 2, 2);
    } else {
        store(q->used + RING_FLAGS, 0, memory_order_relaxed);
        memory_touched(q->memory, q->used_gpa, RING_ENTRIES);
    }
    atomic_thread_fence(memory_order_seq_cst);
    return load(q->avail + RING_IDX, memory_order_acquire) != q->next_avail;
}
