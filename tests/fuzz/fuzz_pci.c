/* The PCI bus and the chipset: any access to ports, BARs and MSI-X tables, with functions that come, go and interrupt
 * meanwhile. Whatever was
 * reached is saved, loaded and saved again; and when all is gone no line is held up. */
#include <stdlib.h>

#include "hv/machine/alarm.h"
#include "hv/machine/i440fx.h"
#include "hv/machine/i6300esb.h"
#include "hv/machine/pci.h"
#include "hv/machine/pci_hotplug.h"
#include "hv/machine/pci_msix.h"
#include "hv/machine/piix3.h"
#include "hv/machine/piix4_pm.h"
#include "hv/machine/pvpanic.h"
#include "hv/state.h"
#include "node/base/container.h"
#include "tests/fuzz/fuzz_board.h"

enum { CARDS = 3, FIRST_SLOT = 2, VECTORS = 5 };

struct card {
    struct device device;
    struct pci_function f;
};

struct machine {
    struct fuzz_board *b;
    struct pci *pci;
    struct i440fx *i440fx;
    struct piix3 *piix3;
    struct piix4_pm *pm;
    struct i6300esb *dog;
    struct pvpanic *panic;
    struct alarm alarm;
    struct pci_hotplug *hotplug;
    struct pci_hotplug_owner owner;
    struct card cards[CARDS];
};

static uint64_t card_read(void *device, uint64_t offset, unsigned size)
{
    const struct pci_function *f = device;
    if (size > 8 || offset + size > 16384 || !f->pci)
        abort();
    return offset;
}

static void card_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    (void)value;
    (void)card_read(device, offset, size);
}

static const struct bus_ops card_registers = {.read = card_read, .write = card_write};

static void card_moved(struct pci_function *f, unsigned bar, bool mapped)
{
    if (f->bar[bar].region.added != mapped || (mapped && f->bar[bar].region.base == 0))
        abort();
}

static const struct pci_ops card_ops = {.bar_moved = card_moved};

static void card_state(struct device *device, struct state *s)
{
    pci_function_state(&CONTAINER_OF(device, struct card, device)->f, s);
}

static void card_init(struct card *card, unsigned i)
{
    const struct pci_id id = {.vendor = 0x1af4, .device = 0x1042, .class = 0x018000, .pin = (uint8_t)(i % 4 + 1)};
    card->device = (struct device){.name = "card", .instance = i, .version = 1, .state = card_state};
    pci_function_init(&card->f, "card", &id, &card_ops, card);
    pci_add_bar(&card->f, 0, PCI_BAR_PORTS, 64, &card_registers, &card->f);
    pci_add_bar(&card->f, 2, PCI_BAR_MEM32, 4096, &card_registers, &card->f);
    pci_add_bar(&card->f, 4, PCI_BAR_MEM64, 16384, &card_registers, &card->f);
    if (pci_msix_init(&card->f, 1, VECTORS))
        abort();
}

static void ejected(struct pci_hotplug_owner *owner, unsigned slot)
{
    pci_remove(pci_at(CONTAINER_OF(owner, struct machine, owner)->pci, slot, 0));
}

static void panicked(struct alarm *alarm, enum alarm_panic panic)
{
    (void)panic;
    bus_assert_locked(CONTAINER_OF(alarm, struct machine, alarm)->b->bus);
}

static bool hung(struct alarm *alarm)
{
    bus_assert_locked(CONTAINER_OF(alarm, struct machine, alarm)->b->bus);
    return true;
}

static void machine_init(struct machine *m)
{
    struct fuzz_board *b = fuzz_board();
    *m = (struct machine){.b = b, .owner.ejected = ejected, .alarm = {panicked, hung}};
    m->pci = pci_new(b->bus, &b->lines, &b->reset, NULL);
    m->i440fx = i440fx_new(m->pci, NULL);
    m->piix3 = piix3_new(m->pci, NULL);
    m->pm = piix4_pm_new(m->pci, b->timers, &b->reset, NULL);
    m->dog = i6300esb_new(m->pci, b->timers, &m->alarm, NULL);
    m->panic = pvpanic_new(b->bus, &m->alarm, NULL);
    m->hotplug = pci_hotplug_new(m->pci, m->pm, &m->owner, NULL);
    if (!m->pci || !m->i440fx || !m->piix3 || !m->pm || !m->dog || !m->panic || !m->hotplug)
        abort();
    for (unsigned i = 0; i < CARDS; i++) {
        card_init(&m->cards[i], i);
        bus_lock(b->bus);
        if (pci_add(m->pci, &m->cards[i].f, FIRST_SLOT + i, 0, NULL))
            abort();
        bus_unlock(b->bus);
    }
}

static void machine_fini(struct machine *m)
{
    pci_hotplug_free(m->hotplug);
    pvpanic_free(m->panic);
    i6300esb_free(m->dog);
    piix4_pm_free(m->pm);
    piix3_free(m->piix3);
    i440fx_free(m->i440fx);
    pci_free(m->pci);
    for (unsigned i = 0; i < CARDS; i++)
        pci_function_fini(&m->cards[i].f);
}

static void host(struct machine *m, const struct fuzz_record *r)
{
    unsigned i = r->address % CARDS;
    struct card *card = &m->cards[i];
    (void)pci_msix_notify(&card->f, r->value % (VECTORS + 1));
    pci_intx(&card->f, r->value & 0x100);
    bus_lock(m->b->bus);
    if (r->value & 0x200)
        piix4_pm_power_button(m->pm);
    if (r->value & 0x400)
        pci_hotplug_ask(m->hotplug, FIRST_SLOT + i);
    if ((r->value & 0x800) && card->f.pci) {
        pci_remove(&card->f);
    } else if ((r->value & 0x1000) && !card->f.pci) {
        pci_function_reset(&card->f);
        (void)pci_add(m->pci, &card->f, FIRST_SLOT + i, 0, NULL);
        pci_hotplug_plugged(m->hotplug, FIRST_SLOT + i);
    }
    bus_unlock(m->b->bus);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct machine m;
    struct fuzz_record record;
    machine_init(&m);
    while (fuzz_next(&data, &size, &record)) {
        if (record.action == FUZZ_HOST)
            host(&m, &record);
        else
            fuzz_do(m.b, &record);
    }
    struct device *chips[] = {pci_device(m.pci),
                              i440fx_device(m.i440fx),
                              piix3_device(m.piix3),
                              piix4_pm_device(m.pm),
                              pci_hotplug_device(m.hotplug),
                              i6300esb_device(m.dog),
                              pvpanic_device(m.panic),
                              &m.cards[0].device,
                              &m.cards[1].device,
                              &m.cards[2].device};
    for (unsigned i = 0; i < sizeof chips / sizeof chips[0]; i++)
        fuzz_round_trip(m.b, chips[i], chips[i]);
    machine_fini(&m);
    for (unsigned gsi = 0; gsi < IRQ_GSI_COUNT; gsi++)
        if (m.b->lines.up[gsi])
            abort();
    return 0;
}
