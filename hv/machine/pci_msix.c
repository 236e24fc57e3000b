/* See pci_msix.h. The table is kept as the guest sees it, little-endian bytes, so that any access is a copy. */
#include "hv/machine/pci_msix.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>

#include "hv/irq.h"
#include "hv/machine/pci.h"
#include "hv/state.h"

enum {
    ENTRY_BYTES = 16,
    ENTRY_ADDRESS = 0,
    ENTRY_DATA = 8,
    ENTRY_CONTROL = 12,
    PENDING_AT = PCI_MSIX_MAX * ENTRY_BYTES,
    PENDING_BYTES = PCI_MSIX_MAX / 8,
    BAR_BYTES = 4096,
    CAP_BYTES = 12,
    CAP_CONTROL = 2,
    CAP_TABLE = 4,
    CAP_PENDING = 8,
    CONTROL_ENABLE = 0x80, /* of the second byte of the capability's control register */
    CONTROL_MASK = 0x40,
};

struct pci_msix {
    unsigned vectors, cap;
    /* with the function's lock */
    bool enabled, masked; /* as the capability says */
    uint64_t pending[PCI_MSIX_MAX / 64];
    uint8_t table[PCI_MSIX_MAX * ENTRY_BYTES];
};

/* ---- delivery, with the function's lock ---- */

static bool is_masked(const struct pci_function *f, unsigned vector)
{
    const struct pci_msix *m = f->msix;
    return m->masked || !pci_bus_master(f) || (m->table[vector * ENTRY_BYTES + ENTRY_CONTROL] & 1);
}

static void send(struct pci_function *f, unsigned vector)
{
    const uint8_t *entry = &f->msix->table[vector * ENTRY_BYTES];
    uint64_t address;
    uint32_t data;
    memcpy(&address, entry + ENTRY_ADDRESS, sizeof address);
    memcpy(&data, entry + ENTRY_DATA, sizeof data);
    irq_msi(pci_lines(f->pci)->irq, le64toh(address), le32toh(data));
}

/* What was masked and is so no longer. */
static void flush(struct pci_function *f)
{
    struct pci_msix *m = f->msix;
    if (!f->pci || !m->enabled)
        return;
    for (unsigned w = 0; w < PCI_MSIX_MAX / 64; w++)
        for (uint64_t left = m->pending[w]; left; left &= left - 1) {
            unsigned bit = (unsigned)__builtin_ctzll(left);
            if (!is_masked(f, w * 64 + bit)) {
                m->pending[w] &= ~((uint64_t)1 << bit);
                send(f, w * 64 + bit);
            }
        }
}

bool pci_msix_notify(struct pci_function *f, unsigned vector)
{
    struct pci_msix *m = f->msix;
    if (!m)
        return false;
    pthread_mutex_lock(&f->lock);
    bool on = f->pci && m->enabled;
    if (on && vector < m->vectors) {
        if (is_masked(f, vector))
            m->pending[vector / 64] |= (uint64_t)1 << (vector % 64);
        else
            send(f, vector);
    }
    pthread_mutex_unlock(&f->lock);
    return on;
}

bool pci_msix_enabled(struct pci_function *f)
{
    if (!f->msix)
        return false;
    pthread_mutex_lock(&f->lock);
    bool on = f->msix->enabled;
    pthread_mutex_unlock(&f->lock);
    return on;
}

unsigned pci_msix_vectors(const struct pci_function *f)
{
    return f->msix ? f->msix->vectors : 0;
}

/* ---- the BAR: what is neither table nor pending bits reads as zero ---- */

static uint64_t bar_read(void *device, uint64_t offset, unsigned size)
{
    struct pci_function *f = device;
    struct pci_msix *m = f->msix;
    uint64_t value = 0;
    pthread_mutex_lock(&f->lock);
    for (unsigned i = 0; i < size; i++) {
        uint64_t at = offset + i, byte = 0;
        if (at < m->vectors * ENTRY_BYTES)
            byte = m->table[at];
        else if (at >= PENDING_AT && at < PENDING_AT + PENDING_BYTES)
            byte = m->pending[(at - PENDING_AT) / 8] >> (8 * (at % 8)) & 0xff;
        value |= byte << (8 * i);
    }
    pthread_mutex_unlock(&f->lock);
    return value;
}

static void bar_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct pci_function *f = device;
    struct pci_msix *m = f->msix;
    pthread_mutex_lock(&f->lock);
    for (unsigned i = 0; i < size; i++, value >>= 8) {
        uint64_t at = offset + i;
        unsigned in_entry = at % ENTRY_BYTES;
        if (at >= m->vectors * ENTRY_BYTES || in_entry > ENTRY_CONTROL)
            continue; /* bits 8 to 31 of the control word are reserved */
        m->table[at] = (uint8_t)(in_entry == ENTRY_CONTROL ? value & 1 : value);
    }
    flush(f);
    pthread_mutex_unlock(&f->lock);
}

static const struct bus_ops bar_ops = {.read = bar_read, .write = bar_write};

/* ---- for pci.c ---- */

static void mask_all(struct pci_msix *m)
{
    memset(m->table, 0, sizeof m->table);
    memset(m->pending, 0, sizeof m->pending);
    for (unsigned v = 0; v < m->vectors; v++)
        m->table[v * ENTRY_BYTES + ENTRY_CONTROL] = 1;
}

int pci_msix_init(struct pci_function *f, unsigned bar, unsigned vectors)
{
    assert(vectors >= 1 && vectors <= PCI_MSIX_MAX && !f->msix);
    struct pci_msix *m = calloc(1, sizeof *m);
    if (!m)
        return -ENOMEM;
    m->vectors = vectors;
    mask_all(m);
    m->cap = pci_add_capability(f, PCI_CAP_MSIX, CAP_BYTES);
    pci_set(f, m->cap + CAP_CONTROL, 2, vectors - 1);
    pci_set(f, m->cap + CAP_TABLE, 4, bar);
    pci_set(f, m->cap + CAP_PENDING, 4, PENDING_AT | bar);
    f->writable[m->cap + CAP_CONTROL + 1] = CONTROL_ENABLE | CONTROL_MASK;
    f->msix = m;
    pci_add_bar(f, bar, PCI_BAR_MEM32, BAR_BYTES, &bar_ops, f);
    return 0;
}

void pci_msix_changed(struct pci_function *f)
{
    struct pci_msix *m = f->msix;
    if (!m)
        return;
    uint8_t control = f->config[m->cap + CAP_CONTROL + 1];
    pthread_mutex_lock(&f->lock);
    m->enabled = control & CONTROL_ENABLE;
    m->masked = control & CONTROL_MASK;
    flush(f);
    pthread_mutex_unlock(&f->lock);
}

void pci_msix_reset(struct pci_function *f)
{
    struct pci_msix *m = f->msix;
    if (!m)
        return;
    f->config[m->cap + CAP_CONTROL + 1] &= (uint8_t) ~(CONTROL_ENABLE | CONTROL_MASK);
    pthread_mutex_lock(&f->lock);
    mask_all(m);
    pthread_mutex_unlock(&f->lock);
    pci_msix_changed(f);
}

void pci_msix_state(struct pci_function *f, struct state *s)
{
    struct pci_msix *m = f->msix;
    if (!m)
        return;
    pthread_mutex_lock(&f->lock);
    state_bytes(s, "pci-msix-table", m->table, m->vectors * ENTRY_BYTES);
    state_bytes(s, "pci-msix-pending", m->pending, sizeof m->pending);
    for (unsigned v = 0; v < m->vectors; v++)
        m->table[v * ENTRY_BYTES + ENTRY_CONTROL] &= 1;
    for (unsigned v = m->vectors; v < PCI_MSIX_MAX; v++)
        state_check(s, !(m->pending[v / 64] >> (v % 64) & 1), "a vector past the MSI-X table is pending");
    pthread_mutex_unlock(&f->lock);
}

void pci_msix_free(struct pci_function *f)
{
    free(f->msix);
    f->msix = NULL;
}
