/* See ioapic.h. */
#include "hv/machine/ioapic.h"

#include "hv/machine/apic_message.h"

enum { SELECT = 0x00, WINDOW = 0x10 };                             /* offsets */
enum { ID = 0, VERSION = 1, ARBITRATION = 2, REDIRECTION = 0x10 }; /* what SELECT selects */
enum { VERSION_11 = 0x11 | (IRQ_GSI_COUNT - 1) << 16 };            /* as KVM's: a guest moves between both */

enum { /* of an entry */
       ENTRY_LOGICAL = 1 << 11,
       ENTRY_STATUS = 1 << 12, /* read-only; a message of ours never waits */
       ENTRY_REMOTE_IRR = 1 << 14,
       ENTRY_LEVEL = 1 << 15,
       ENTRY_MASKED = 1 << 16,
       ENTRY_LOW = 0x1ffff,
};

static bool send(struct ioapic *io, uint64_t entry)
{
    uint32_t destination = (uint32_t)(entry >> 56);
    struct apic_message message = {
        .destination = destination,
        .logical = entry & ENTRY_LOGICAL,
        .broadcast = destination == 0xff,
        .mode = entry >> 8 & 7,
        .vector = (uint8_t)entry,
        .level = entry & ENTRY_LEVEL,
    };
    return io->send(io, &message);
}

/* A level-triggered pin whose line is up, if it may send. */
static void serve_level(struct ioapic *io, unsigned pin)
{
    uint64_t *entry = &io->state.redirection[pin];
    if (!(io->state.levels >> pin & 1) || !(*entry & ENTRY_LEVEL) || *entry & (ENTRY_MASKED | ENTRY_REMOTE_IRR))
        return;
    uint8_t mode = *entry >> 8 & 7;
    bool waits_for_eoi = mode == APIC_FIXED || mode == APIC_LOWEST;
    *entry |= waits_for_eoi ? ENTRY_REMOTE_IRR : 0; /* before: a message may come back as an EOI */
    if (!send(io, *entry))
        *entry &= ~(uint64_t)ENTRY_REMOTE_IRR;
}

void ioapic_set(struct ioapic *io, unsigned pin, bool level)
{
    uint32_t bit = 1u << pin;
    bool was = io->state.levels & bit;
    if (level)
        io->state.levels |= bit;
    else
        io->state.levels &= ~bit;
    io->state.irr = io->state.levels;
    if (!level || was)
        return;
    uint64_t entry = io->state.redirection[pin];
    if (entry & ENTRY_LEVEL)
        serve_level(io, pin);
    else if (!(entry & ENTRY_MASKED))
        send(io, entry);
}

void ioapic_eoi(struct ioapic *io, uint8_t vector)
{
    for (unsigned pin = 0; pin < IRQ_GSI_COUNT; pin++) {
        uint64_t *entry = &io->state.redirection[pin];
        if ((uint8_t)*entry != vector || !(*entry & ENTRY_LEVEL) || !(*entry & ENTRY_REMOTE_IRR))
            continue;
        *entry &= ~(uint64_t)ENTRY_REMOTE_IRR;
        serve_level(io, pin);
    }
}

/* ---- registers ---- */

static uint32_t read_selected(const struct ioapic *io)
{
    uint32_t select = io->state.select;
    if (select == ID || select == ARBITRATION)
        return io->state.id;
    if (select == VERSION)
        return VERSION_11;
    unsigned pin = (select - REDIRECTION) / 2;
    if (select < REDIRECTION || pin >= IRQ_GSI_COUNT)
        return 0;
    return (uint32_t)(io->state.redirection[pin] >> (select & 1 ? 32 : 0));
}

static void write_selected(struct ioapic *io, uint32_t value)
{
    uint32_t select = io->state.select;
    if (select == ID)
        io->state.id = value & 0x0f000000;
    unsigned pin = (select - REDIRECTION) / 2;
    if (select < REDIRECTION || pin >= IRQ_GSI_COUNT)
        return;
    uint64_t *entry = &io->state.redirection[pin];
    if (select & 1) {
        *entry = (uint32_t)*entry | (uint64_t)(value & 0xff000000) << 32;
    } else {
        uint64_t kept = *entry & (0xffffffff00000000 | ENTRY_REMOTE_IRR);
        *entry = kept | (value & ENTRY_LOW & ~(uint32_t)(ENTRY_REMOTE_IRR | ENTRY_STATUS));
        if (!(*entry & ENTRY_LEVEL))
            *entry &= ~(uint64_t)ENTRY_REMOTE_IRR; /* what Linux does for want of an EOI register */
    }
    serve_level(io, pin);
}

uint32_t ioapic_read(const struct ioapic *io, uint64_t offset)
{
    if (offset == SELECT)
        return io->state.select;
    return offset == WINDOW ? read_selected(io) : 0;
}

void ioapic_write(struct ioapic *io, uint64_t offset, uint32_t value)
{
    if (offset == SELECT)
        io->state.select = value & 0xff;
    else if (offset == WINDOW)
        write_selected(io, value);
}
