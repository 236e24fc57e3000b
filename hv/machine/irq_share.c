/* See irq_share.h. The chips are told with the lock held, or two threads could tell them the wrong one last. */
#include "hv/machine/irq_share.h"

#include <assert.h>

void irq_share_init(struct irq_share *share, struct irq *irq)
{
    *share = (struct irq_share){.irq = irq};
    pthread_mutex_init(&share->lock, NULL);
}

void irq_share_fini(struct irq_share *share)
{
    pthread_mutex_destroy(&share->lock);
}

static uint8_t line_of(unsigned gsi)
{
    return gsi < IRQ_GSI_COUNT ? (uint8_t)gsi : IRQ_NOWHERE;
}

static void raise_line(struct irq_share *share, unsigned gsi)
{
    if (gsi != IRQ_NOWHERE && share->up[gsi]++ == 0)
        irq_set(share->irq, gsi, true);
}

static void lower_line(struct irq_share *share, unsigned gsi)
{
    if (gsi == IRQ_NOWHERE)
        return;
    assert(share->up[gsi] > 0);
    if (--share->up[gsi] == 0)
        irq_set(share->irq, gsi, false);
}

void irq_source_init(struct irq_source *source, unsigned gsi)
{
    *source = (struct irq_source){.gsi = line_of(gsi)};
}

void irq_source_set(struct irq_share *share, struct irq_source *source, bool level)
{
    pthread_mutex_lock(&share->lock);
    if (source->level != level) {
        source->level = level;
        if (level)
            raise_line(share, source->gsi);
        else
            lower_line(share, source->gsi);
    }
    pthread_mutex_unlock(&share->lock);
}

void irq_source_route(struct irq_share *share, struct irq_source *source, unsigned gsi)
{
    uint8_t to = line_of(gsi);
    pthread_mutex_lock(&share->lock);
    if (source->gsi != to) {
        if (source->level) {
            lower_line(share, source->gsi);
            raise_line(share, to);
        }
        source->gsi = to;
    }
    pthread_mutex_unlock(&share->lock);
}
