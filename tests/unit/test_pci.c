/* The PCI bus as a guest sees it: configuration space through ports, BARs that size and move, interrupt pins, functions
 * that come and go, and state. */
#include "tests/unit/fake_board.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hv/machine/pci.h"
#include "hv/state.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum { BAR_PORTS = 0, BAR_SMALL = 1, BAR_WIDE = 2, SLOT = 3 };

/* A device with one BAR of each kind whose registers say which BAR they are. */
struct card {
    struct device device;
    struct pci_function f;
    unsigned moves[PCI_BARS];
    uint64_t written;
    uint64_t written_at;
    unsigned reads, writes; /* of the configuration space */
};

static uint64_t card_read(void *device, uint64_t offset, unsigned size)
{
    struct card *card = device;
    (void)size;
    return card->f.slot << 8 | offset;
}

static void card_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct card *card = device;
    (void)size;
    card->written_at = offset;
    card->written = value;
}

static const struct bus_ops card_registers = {.read = card_read, .write = card_write};

static void card_moved(struct pci_function *f, unsigned bar, bool mapped)
{
    struct card *card = f->owner;
    assert_int_equal(f->bar[bar].region.added, mapped);
    card->moves[bar]++;
}

static void card_config_read(struct pci_function *f, unsigned offset, unsigned size)
{
    (void)offset, (void)size;
    ((struct card *)f->owner)->reads++;
}

static void card_config_written(struct pci_function *f, unsigned offset, unsigned size)
{
    (void)offset, (void)size;
    ((struct card *)f->owner)->writes++;
}

static const struct pci_ops card_ops = {
    .config_read = card_config_read, .config_written = card_config_written, .bar_moved = card_moved};

static void card_reset(struct device *device)
{
    pci_function_reset(&CONTAINER_OF(device, struct card, device)->f);
}

static void card_state(struct device *device, struct state *s)
{
    pci_function_state(&CONTAINER_OF(device, struct card, device)->f, s);
}

static void card_init(struct card *card, unsigned pin)
{
    const struct pci_id id = {.vendor = 0x1af4,
                              .device = 0x1042,
                              .subsystem_vendor = 0x1af4,
                              .subsystem = 0x1100,
                              .class = 0x018000,
                              .revision = 1,
                              .pin = (uint8_t)pin};
    *card = (struct card){.device = {.name = "card", .version = 1, .reset = card_reset, .state = card_state}};
    pci_function_init(&card->f, "card", &id, &card_ops, card);
    pci_add_bar(&card->f, BAR_PORTS, PCI_BAR_PORTS, 32, &card_registers, card);
    pci_add_bar(&card->f, BAR_SMALL, PCI_BAR_MEM32, 4096, &card_registers, card);
    pci_add_bar(&card->f, BAR_WIDE, PCI_BAR_MEM64_PREFETCH, 16384, &card_registers, card);
}

static struct pci *bus_of(struct fake_board *b)
{
    struct err err = {0};
    struct pci *pci = pci_new(b->bus, &b->lines, &b->reset, &err);
    assert_non_null(pci);
    return pci;
}

static void plug(struct fake_board *b, struct pci *pci, struct card *card, unsigned slot)
{
    struct err err = {0};
    bus_lock(b->bus);
    if (pci_add(pci, &card->f, slot, 0, &err))
        fail_msg("%s", err.text);
    bus_unlock(b->bus);
}

static void unplug(struct fake_board *b, struct card *card)
{
    bus_lock(b->bus);
    pci_remove(&card->f);
    bus_unlock(b->bus);
}

/* ---- */

static void ports(void **state)
{
    struct fake_board *b = *state;
    struct pci *pci = bus_of(b);
    struct card card;
    card_init(&card, 1);
    plug(b, pci, &card, SLOT);
    assert_int_equal(board_config_read(b, SLOT, 0, PCI_VENDOR_ID, 4), 0x10421af4);
    assert_int_equal(board_config_read(b, SLOT, 0, PCI_DEVICE_ID, 2), 0x1042);
    assert_int_equal(board_config_read(b, SLOT, 0, PCI_DEVICE_ID + 1, 1), 0x10);
    assert_int_equal(board_config_read(b, SLOT, 0, PCI_REVISION_ID, 4), 0x01800001);
    assert_int_equal(board_config_read(b, SLOT + 1, 0, PCI_VENDOR_ID, 4), 0xffffffff);
    assert_int_equal(board_config_read(b, SLOT + 1, 0, PCI_VENDOR_ID, 2), 0xffff);
    assert_int_equal(board_config_read(b, SLOT, 1, PCI_VENDOR_ID, 4), 0xffffffff);
    board_out(b, 0xcf8, 4, 0x80010000 | SLOT << 11); /* bus 1 */
    assert_int_equal(board_in(b, 0xcfc, 4), 0xffffffff);
    board_out(b, 0xcf8, 4, SLOT << 11); /* not enabled */
    assert_int_equal(board_in(b, 0xcfc, 4), 0xffffffff);
    board_out(b, 0xcfb, 1, 1); /* how a kernel looks for the mechanism */
    board_out(b, 0xcf8, 4, 0x80000003);
    assert_int_equal(board_in(b, 0xcf8, 4), 0x80000000);
    assert_int_equal(board_in(b, 0xcf8, 2), 0xffff);
    /* an access that leaves the data port ends in nothing */
    board_out(b, 0xcf8, 4, 0x80000000 | SLOT << 11);
    assert_int_equal(board_in(b, 0xcfe, 4), 0xffff1042);
    /* read-only bits stay, scratch bytes do not */
    board_config_write(b, SLOT, 0, PCI_VENDOR_ID, 4, 0);
    board_config_write(b, SLOT, 0, PCI_INTERRUPT_LINE, 4, 0xffffff0b);
    assert_int_equal(board_config_read(b, SLOT, 0, PCI_VENDOR_ID, 4), 0x10421af4);
    assert_int_equal(board_config_read(b, SLOT, 0, PCI_INTERRUPT_LINE, 4), 0x0000010b);
    assert_true(card.reads && card.writes);
    pci_free(pci);
    pci_function_fini(&card.f);
}

static void reset_port(void **state)
{
    struct fake_board *b = *state;
    struct pci *pci = bus_of(b);
    board_out(b, 0xcf9, 1, 2);
    assert_int_equal(b->restarts, 0);
    assert_int_equal(board_in(b, 0xcf9, 1), 2);
    board_out(b, 0xcf9, 1, 6);
    assert_int_equal(b->restarts, 1);
    pci_free(pci);
}

static uint32_t size_of(struct fake_board *b, unsigned bar)
{
    unsigned at = PCI_BAR_0 + 4 * bar;
    uint32_t before = board_config_read(b, SLOT, 0, at, 4);
    board_config_write(b, SLOT, 0, at, 4, 0xffffffff);
    uint32_t size = board_config_read(b, SLOT, 0, at, 4);
    board_config_write(b, SLOT, 0, at, 4, before);
    return size;
}

static void sizing(void **state)
{
    struct fake_board *b = *state;
    struct pci *pci = bus_of(b);
    struct card card;
    card_init(&card, 1);
    plug(b, pci, &card, SLOT);
    board_config_write(b, SLOT, 0, PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY); /* while it decodes */
    assert_int_equal(size_of(b, BAR_PORTS), 0xffffffe1);
    assert_int_equal(size_of(b, BAR_SMALL), 0xfffff000);
    assert_int_equal(size_of(b, BAR_WIDE), 0xffffc00c);
    assert_int_equal(size_of(b, BAR_WIDE + 1), 0xffffffff);
    assert_int_equal(size_of(b, 4), 0);
    assert_int_equal(size_of(b, 5), 0);
    assert_int_equal(card.moves[BAR_PORTS], 0); /* all ones are no place */
    assert_int_equal(card.moves[BAR_SMALL], 0);
    pci_free(pci);
    pci_function_fini(&card.f);
}

static void bars_move(void **state)
{
    struct fake_board *b = *state;
    struct pci *pci = bus_of(b);
    struct card card;
    card_init(&card, 1);
    plug(b, pci, &card, SLOT);
    board_config_write(b, SLOT, 0, PCI_BAR_0 + 4 * BAR_SMALL, 4, 0xe0000000);
    assert_int_equal(board_load(b, 0xe0000010, 4), 0xffffffff);
    board_config_write(b, SLOT, 0, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    assert_int_equal(board_load(b, 0xe0000010, 4), SLOT << 8 | 0x10);
    board_store(b, 0xe0000020, 2, 0x12345);
    assert_int_equal(card.written, 0x2345);
    assert_int_equal(card.written_at, 0x20);
    board_config_write(b, SLOT, 0, PCI_BAR_0 + 4 * BAR_SMALL + 3, 1, 0xe1); /* one byte of it */
    assert_int_equal(board_load(b, 0xe0000010, 4), 0xffffffff);
    assert_int_equal(board_load(b, 0xe1000010, 4), SLOT << 8 | 0x10);
    assert_int_equal(card.moves[BAR_SMALL], 3);
    board_config_write(b, SLOT, 0, PCI_BAR_0 + 4 * BAR_WIDE + 4, 4, 0x12);
    assert_int_equal(board_load(b, 0x1200003000, 8), SLOT << 8 | 0x3000);
    board_config_write(b, SLOT, 0, PCI_BAR_0 + 4 * BAR_WIDE + 4, 4, 0xffffffff); /* past any processor */
    assert_int_equal(board_load(b, 0x1200003000, 8), UINT64_MAX);
    board_config_write(b, SLOT, 0, PCI_BAR_0 + 4 * BAR_PORTS, 4, 0xc000);
    assert_int_equal(board_in(b, 0xc004, 1), 0xff);
    board_config_write(b, SLOT, 0, PCI_COMMAND, 2, PCI_COMMAND_IO);
    assert_int_equal(board_in(b, 0xc004, 2), SLOT << 8 | 4);
    assert_int_equal(board_load(b, 0xe1000010, 4), 0xffffffff);
    board_config_write(b, SLOT, 0, PCI_BAR_0 + 4 * BAR_PORTS, 4, 0x1c000); /* there are no such ports */
    assert_int_equal(board_in(b, 0xc004, 1), 0xff);
    assert_false(pci_bus_master(&card.f));
    board_config_write(b, SLOT, 0, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
    assert_true(pci_bus_master(&card.f));
    pci_free(pci);
    pci_function_fini(&card.f);
}

static void bars_overlap(void **state)
{
    struct fake_board *b = *state;
    struct pci *pci = bus_of(b);
    struct card first, second;
    card_init(&first, 1);
    card_init(&second, 1);
    plug(b, pci, &first, 3);
    plug(b, pci, &second, 4);
    for (unsigned slot = 3; slot <= 4; slot++) {
        board_config_write(b, slot, 0, PCI_BAR_0 + 4 * BAR_SMALL, 4, 0xe0000000);
        board_config_write(b, slot, 0, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    }
    assert_int_equal(board_load(b, 0xe0000000, 4), 3 << 8);
    board_config_write(b, 3, 0, PCI_BAR_0 + 4 * BAR_SMALL, 4, 0xe0001000); /* makes room */
    assert_int_equal(board_load(b, 0xe0000000, 4), 4 << 8);
    assert_int_equal(board_load(b, 0xe0001000, 4), 3 << 8);
    board_config_write(b, 4, 0, PCI_BAR_0 + 4 * BAR_SMALL, 4, 0xe0001000);
    assert_int_equal(board_load(b, 0xe0000000, 4), 0xffffffff);
    unplug(b, &first);
    assert_int_equal(board_load(b, 0xe0001000, 4), 4 << 8);
    /* a BAR over the configuration ports loses */
    board_config_write(b, 4, 0, PCI_BAR_0 + 4 * BAR_PORTS, 4, 0xce0);
    board_config_write(b, 4, 0, PCI_COMMAND, 2, PCI_COMMAND_IO);
    assert_int_equal(board_config_read(b, 4, 0, PCI_VENDOR_ID, 2), 0x1af4);
    pci_free(pci);
    pci_function_fini(&first.f);
    pci_function_fini(&second.f);
}

static void interrupts(void **state)
{
    struct fake_board *b = *state;
    struct pci *pci = bus_of(b);
    struct card first, second;
    card_init(&first, 1);  /* slot 3, INTA: PIRQC */
    card_init(&second, 4); /* slot 4, INTD: PIRQC, too */
    plug(b, pci, &first, 3);
    plug(b, pci, &second, 4);
    pci_intx(&first.f, true); /* before anybody routes it */
    bus_lock(b->bus);
    pci_route(pci, 2, 11);
    bus_unlock(b->bus);
    assert_true(b->level[11]);
    pci_intx(&second.f, true);
    pci_intx(&first.f, false);
    assert_true(b->level[11]); /* the other still holds it */
    assert_true(board_config_read(b, 4, 0, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
    assert_false(board_config_read(b, 3, 0, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
    bus_lock(b->bus);
    pci_route(pci, 2, 10);
    bus_unlock(b->bus);
    assert_true(b->level[10] && !b->level[11]);
    board_config_write(b, 4, 0, PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE);
    assert_false(b->level[10]);
    board_config_write(b, 4, 0, PCI_COMMAND, 2, 0);
    assert_true(b->level[10]);
    unplug(b, &second);
    assert_false(b->level[10]);
    pci_intx(&second.f, false); /* nobody's now */
    bus_lock(b->bus);
    pci_route(pci, 0, 99);
    bus_unlock(b->bus);
    pci_free(pci);
    pci_function_fini(&first.f);
    pci_function_fini(&second.f);
}

static void comes_and_goes(void **state)
{
    struct fake_board *b = *state;
    struct pci *pci = bus_of(b);
    struct card first, second;
    struct err err = {0};
    card_init(&first, 1);
    card_init(&second, 1);
    plug(b, pci, &first, SLOT);
    bus_lock(b->bus);
    assert_int_equal(pci_add(pci, &second.f, SLOT, 0, &err), -EBUSY);
    assert_non_null(strstr(err.text, "slot 3"));
    assert_int_equal(pci_add(pci, &second.f, SLOT + 1, 1, &err), -EINVAL);
    assert_int_equal(pci_add(pci, &second.f, SLOT, 3, &err), 0);
    bus_unlock(b->bus);
    assert_int_equal(board_config_read(b, SLOT, 0, PCI_HEADER_TYPE, 1), 0x80);
    assert_int_equal(board_config_read(b, SLOT, 3, PCI_VENDOR_ID, 2), 0x1af4);
    unplug(b, &second);
    unplug(b, &second);
    assert_int_equal(board_config_read(b, SLOT, 3, PCI_VENDOR_ID, 2), 0xffff);
    assert_ptr_equal(pci_at(pci, SLOT, 0), &first.f);
    assert_null(pci_at(pci, SLOT, 3));
    pci_free(pci);
    pci_function_fini(&first.f);
    pci_function_fini(&second.f);
}

static void capabilities(void **state)
{
    (void)state;
    struct card card;
    card_init(&card, 1);
    assert_int_equal(card.f.config[PCI_STATUS] & PCI_STATUS_CAP_LIST, 0);
    unsigned first = pci_add_capability(&card.f, PCI_CAP_VENDOR, 17);
    unsigned second = pci_add_capability(&card.f, PCI_CAP_VENDOR, 16);
    assert_int_equal(first, 0x40);
    assert_int_equal(second, 0x54);
    assert_int_equal(card.f.config[PCI_CAPABILITY_LIST], second);
    assert_int_equal(card.f.config[second + 1], first);
    assert_int_equal(card.f.config[first + 1], 0);
    assert_int_equal(card.f.config[PCI_STATUS] & PCI_STATUS_CAP_LIST, PCI_STATUS_CAP_LIST);
    pci_function_fini(&card.f);
}

static void resets_and_saves(void **state)
{
    struct fake_board *b = *state, *other;
    assert_int_equal(fake_board_setup((void **)&other), 0);
    struct pci *pci = bus_of(b), *other_pci = bus_of(other);
    struct card card, twin;
    card_init(&card, 1);
    card_init(&twin, 1);
    plug(b, pci, &card, SLOT);
    plug(other, other_pci, &twin, SLOT);
    bus_lock(other->bus);
    pci_route(other_pci, 2, 11);
    bus_unlock(other->bus);
    board_config_write(b, SLOT, 0, PCI_BAR_0 + 4 * BAR_SMALL, 4, 0xe0000000);
    board_config_write(b, SLOT, 0, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    board_config_write(b, SLOT, 0, PCI_INTERRUPT_LINE, 1, 11);
    pci_intx(&card.f, true);
    board_round_trip(other, &card.device, &twin.device);
    assert_int_equal(board_load(other, 0xe0000010, 4), SLOT << 8 | 0x10);
    assert_true(other->level[11]);
    assert_true(pci_bus_master(&twin.f));
    assert_int_equal(board_config_read(other, SLOT, 0, PCI_INTERRUPT_LINE, 1), 11);
    board_round_trip(other, pci_device(pci), pci_device(other_pci));
    assert_int_equal(board_in(other, 0xcf8, 4), board_in(b, 0xcf8, 4));

    /* the state of another device is refused */
    size_t bytes;
    void *data = board_save(b, &card.device, &bytes);
    twin.f.config[PCI_DEVICE_ID] ^= 1;
    assert_int_equal(board_load_state(other, &twin.device, data, bytes), EINVAL);
    twin.f.config[PCI_DEVICE_ID] ^= 1;
    free(data);

    bus_lock(other->bus);
    card_reset(&twin.device);
    bus_unlock(other->bus);
    assert_false(other->level[11]);
    assert_int_equal(board_load(other, 0xe0000010, 4), 0xffffffff);
    assert_int_equal(board_config_read(other, SLOT, 0, PCI_COMMAND, 4), 0);
    assert_int_equal(board_config_read(other, SLOT, 0, PCI_BAR_0 + 4 * BAR_WIDE, 4), 0xc);
    assert_int_equal(board_config_read(other, SLOT, 0, PCI_VENDOR_ID, 4), 0x10421af4);
    pci_free(pci);
    pci_free(other_pci);
    pci_function_fini(&card.f);
    pci_function_fini(&twin.f);
    fake_board_teardown((void **)&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ports, fake_board_setup, fake_board_teardown),
        cmocka_unit_test_setup_teardown(reset_port, fake_board_setup, fake_board_teardown),
        cmocka_unit_test_setup_teardown(sizing, fake_board_setup, fake_board_teardown),
        cmocka_unit_test_setup_teardown(bars_move, fake_board_setup, fake_board_teardown),
        cmocka_unit_test_setup_teardown(bars_overlap, fake_board_setup, fake_board_teardown),
        cmocka_unit_test_setup_teardown(interrupts, fake_board_setup, fake_board_teardown),
        cmocka_unit_test_setup_teardown(comes_and_goes, fake_board_setup, fake_board_teardown),
        cmocka_unit_test(capabilities),
        cmocka_unit_test_setup_teardown(resets_and_saves, fake_board_setup, fake_board_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
