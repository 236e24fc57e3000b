/* MSI-X as a driver uses it: the table, masks and pending bits, bus mastering, reset and state; and notifying from one
 * thread while the guest masks in another. */
#include "tests/unit/fake_board.h"

#include <pthread.h>
#include <stdlib.h>

#include "hv/machine/pci.h"
#include "hv/machine/pci_msix.h"
#include "hv/state.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum { VECTORS = 70, SLOT = 5, CAP = 0x40, ENABLE = 0x8000, MASK = 0x4000 };
static const uint64_t bar = 0xe0000000;
static const uint64_t pending_at = 0xe0000800;

struct card {
    struct device device;
    struct pci *pci;
    struct pci_function f;
};

static void card_reset(struct device *device)
{
    pci_function_reset(&CONTAINER_OF(device, struct card, device)->f);
}

static void card_state(struct device *device, struct state *s)
{
    pci_function_state(&CONTAINER_OF(device, struct card, device)->f, s);
}

static void card_init(struct fake_board *b, struct card *card)
{
    const struct pci_id id = {.vendor = 0x1af4, .device = 0x1041, .class = 0x020000, .pin = 1};
    struct err err = {0};
    *card = (struct card){.device = {.name = "card", .version = 1, .reset = card_reset, .state = card_state}};
    card->pci = pci_new(b->bus, &b->lines, &b->reset, &err);
    assert_non_null(card->pci);
    pci_function_init(&card->f, "card", &id, NULL, card);
    assert_int_equal(pci_msix_init(&card->f, 1, VECTORS), 0);
    bus_lock(b->bus);
    assert_int_equal(pci_add(card->pci, &card->f, SLOT, 0, &err), 0);
    bus_unlock(b->bus);
}

static void card_fini(struct card *card)
{
    pci_free(card->pci);
    pci_function_fini(&card->f);
}

static void control(struct fake_board *b, uint16_t value)
{
    board_config_write(b, SLOT, 0, CAP + 2, 2, value);
}

/* As a driver does it: masked, filled, enabled, unmasked. */
static void enable(struct fake_board *b)
{
    board_config_write(b, SLOT, 0, PCI_BAR_0 + 4, 4, (uint32_t)bar);
    board_config_write(b, SLOT, 0, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    control(b, ENABLE | MASK);
    for (unsigned v = 0; v < VECTORS; v++) {
        board_store(b, bar + 16 * v, 4, 0xfee00000 + (v << 12));
        board_store(b, bar + 16 * v + 4, 4, 0);
        board_store(b, bar + 16 * v + 8, 4, 0x4000 + v);
        board_store(b, bar + 16 * v + 12, 4, 0);
    }
    control(b, ENABLE);
}

static void describes_itself(void **state)
{
    struct fake_board *b = *state;
    struct card card;
    card_init(b, &card);
    assert_int_equal(board_config_read(b, SLOT, 0, PCI_CAPABILITY_LIST, 1), CAP);
    assert_int_equal(board_config_read(b, SLOT, 0, CAP, 4), (VECTORS - 1) << 16 | 0x11);
    assert_int_equal(board_config_read(b, SLOT, 0, CAP + 4, 4), 1);
    assert_int_equal(board_config_read(b, SLOT, 0, CAP + 8, 4), 0x801);
    control(b, 0xffff);
    assert_int_equal(board_config_read(b, SLOT, 0, CAP + 2, 2), ENABLE | MASK | (VECTORS - 1));
    assert_int_equal(pci_msix_vectors(&card.f), VECTORS);
    card_fini(&card);
}

static void sends(void **state)
{
    struct fake_board *b = *state;
    struct card card;
    card_init(b, &card);
    assert_false(pci_msix_notify(&card.f, 0));
    enable(b);
    assert_true(pci_msix_enabled(&card.f));
    assert_int_equal(b->msi_count, 0);
    assert_true(pci_msix_notify(&card.f, 69));
    assert_int_equal(b->msi_count, 1);
    assert_int_equal(b->msi[0].address, 0xfee00000 + (69 << 12));
    assert_int_equal(b->msi[0].data, 0x4000 + 69);
    assert_true(pci_msix_notify(&card.f, VECTORS));
    assert_true(pci_msix_notify(&card.f, 0xffff));
    assert_int_equal(b->msi_count, 1);
    board_store(b, bar + 16, 8, 0xfee0100000000010); /* in one access */
    assert_int_equal(board_load(b, bar + 16, 8), 0xfee0100000000010);
    pci_msix_notify(&card.f, 1);
    assert_int_equal(b->msi[1].address, 0xfee0100000000010);
    control(b, 0);
    assert_false(pci_msix_notify(&card.f, 1));
    assert_int_equal(b->msi_count, 2);
    card_fini(&card);
}

static void stays_pending(void **state)
{
    struct fake_board *b = *state;
    struct card card;
    card_init(b, &card);
    enable(b);
    board_store(b, bar + 16 * 65 + 12, 4, 0xffffffff);
    assert_int_equal(board_load(b, bar + 16 * 65 + 12, 4), 1); /* the rest is reserved */
    pci_msix_notify(&card.f, 65);
    pci_msix_notify(&card.f, 65);
    assert_int_equal(b->msi_count, 0);
    assert_int_equal(board_load(b, pending_at + 8, 8), 2);
    board_store(b, pending_at, 8, UINT64_MAX); /* is read-only */
    assert_int_equal(board_load(b, pending_at, 8), 0);
    board_store(b, bar + 16 * 65 + 12, 4, 0);
    assert_int_equal(b->msi_count, 1);
    assert_int_equal(b->msi[0].data, 0x4000 + 65);
    assert_int_equal(board_load(b, pending_at + 8, 8), 0);

    control(b, ENABLE | MASK);
    pci_msix_notify(&card.f, 0);
    pci_msix_notify(&card.f, 64);
    assert_int_equal(b->msi_count, 1);
    control(b, ENABLE);
    assert_int_equal(b->msi_count, 3);

    board_config_write(b, SLOT, 0, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    pci_msix_notify(&card.f, 2);
    assert_int_equal(b->msi_count, 3);
    board_config_write(b, SLOT, 0, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    assert_int_equal(b->msi_count, 4);
    assert_int_equal(board_load(b, bar + 16 * VECTORS, 8), 0); /* past the table */
    board_store(b, bar + 16 * VECTORS, 8, 1);
    assert_int_equal(board_load(b, bar + 16 * VECTORS, 8), 0);
    card_fini(&card);
}

static void resets_and_saves(void **state)
{
    struct fake_board *b = *state, *other;
    assert_int_equal(fake_board_setup((void **)&other), 0);
    struct card card, twin;
    card_init(b, &card);
    card_init(other, &twin);
    enable(b);
    board_store(b, bar + 16 * 3 + 12, 4, 1);
    pci_msix_notify(&card.f, 3);
    board_round_trip(other, &card.device, &twin.device);
    assert_int_equal(other->msi_count, 0);
    pci_msix_notify(&twin.f, 69);
    assert_int_equal(other->msi[0].data, 0x4000 + 69);
    board_store(other, bar + 16 * 3 + 12, 4, 0);
    assert_int_equal(other->msi_count, 2);
    bus_lock(other->bus);
    card_reset(&twin.device);
    bus_unlock(other->bus);
    assert_false(pci_msix_enabled(&twin.f));
    board_config_write(other, SLOT, 0, PCI_BAR_0 + 4, 4, (uint32_t)bar);
    board_config_write(other, SLOT, 0, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    assert_int_equal(board_load(other, bar + 12, 4), 1); /* masked again */
    assert_int_equal(board_load(other, bar, 8), 0);
    card_fini(&card);
    card_fini(&twin);
    fake_board_teardown((void **)&other);
}

/* ---- two threads: nothing that was notified may be lost ---- */

enum { ROUNDS = 200 };

static void *notifier(void *context)
{
    struct card *card = context;
    for (unsigned i = 0; i < ROUNDS; i++)
        pci_msix_notify(&card->f, i % VECTORS);
    return NULL;
}

static void from_any_thread(void **state)
{
    struct fake_board *b = *state;
    struct card card;
    card_init(b, &card);
    enable(b);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, notifier, &card), 0);
    for (unsigned i = 0; i < ROUNDS; i++)
        control(b, i % 2 ? ENABLE : ENABLE | MASK);
    assert_int_equal(pthread_join(thread, NULL), 0);
    bool seen[VECTORS] = {false};
    for (unsigned i = 0; i < b->msi_count; i++)
        seen[b->msi[i].data - 0x4000] = true;
    for (unsigned v = 0; v < VECTORS; v++)
        assert_true(seen[v]);
    card_fini(&card);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(describes_itself, fake_board_setup, fake_board_teardown),
        cmocka_unit_test_setup_teardown(sends, fake_board_setup, fake_board_teardown),
        cmocka_unit_test_setup_teardown(stays_pending, fake_board_setup, fake_board_teardown),
        cmocka_unit_test_setup_teardown(resets_and_saves, fake_board_setup, fake_board_teardown),
        cmocka_unit_test_setup_teardown(from_any_thread, fake_board_setup, fake_board_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
