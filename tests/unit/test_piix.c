/* The chipset: identity, interrupt routing, ACPI's fixed hardware (timer, button, events, soft-off), and hot-plug. */
#include "tests/unit/fake_board.h"

#include <stdlib.h>

#include "hv/machine/i440fx.h"
#include "hv/machine/pci.h"
#include "hv/machine/pci_hotplug.h"
#include "hv/machine/piix3.h"
#include "hv/machine/piix4_pm.h"
#include "hv/timers.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/loop.h"

struct chipset {
    struct fake_board *b;
    struct pci *pci;
    struct i440fx *i440fx;
    struct piix3 *piix3;
    struct piix4_pm *pm;
    struct pci_hotplug *hotplug;
    struct pci_hotplug_owner owner;
    unsigned ejected; /* one bit a slot */
};

static void ejected(struct pci_hotplug_owner *owner, unsigned slot)
{
    struct chipset *c = CONTAINER_OF(owner, struct chipset, owner);
    c->ejected |= 1u << slot;
    bus_assert_locked(c->b->bus);
    pci_remove(pci_at(c->pci, slot, 0));
}

static int setup(void **state)
{
    struct err err = {0};
    struct chipset *c = calloc(1, sizeof *c);
    assert_non_null(c);
    fake_board_setup((void **)&c->b);
    c->owner.ejected = ejected;
    c->pci = pci_new(c->b->bus, &c->b->lines, &c->b->reset, &err);
    assert_non_null(c->pci);
    c->i440fx = i440fx_new(c->pci, &err);
    c->piix3 = piix3_new(c->pci, &err);
    c->pm = piix4_pm_new(c->pci, c->b->timers, &c->b->reset, &err);
    assert_true(c->i440fx && c->piix3 && c->pm);
    c->hotplug = pci_hotplug_new(c->pci, c->pm, &c->owner, &err);
    assert_non_null(c->hotplug);
    *state = c;
    return 0;
}

static int teardown(void **state)
{
    struct chipset *c = *state;
    pci_hotplug_free(c->hotplug);
    piix4_pm_free(c->pm);
    piix3_free(c->piix3);
    i440fx_free(c->i440fx);
    pci_free(c->pci);
    fake_board_teardown((void **)&c->b);
    free(c);
    return 0;
}

static void reset(struct chipset *c, struct device *device)
{
    bus_lock(c->b->bus);
    device->reset(device);
    bus_unlock(c->b->bus);
}

/* ---- */

static void identity(void **state)
{
    struct chipset *c = *state;
    assert_int_equal(board_config_read(c->b, 0, 0, 0, 4), 0x12378086);
    assert_int_equal(board_config_read(c->b, 0, 0, PCI_SUBSYSTEM_VENDOR_ID, 4), 0x11001af4);
    assert_int_equal(board_config_read(c->b, 0, 0, PCI_REVISION_ID, 4), 0x06000002);
    assert_int_equal(board_config_read(c->b, 1, 0, 0, 4), 0x70008086);
    assert_int_equal(board_config_read(c->b, 1, 0, PCI_HEADER_TYPE, 1), 0x80);
    assert_int_equal(board_config_read(c->b, 1, 3, 0, 4), 0x71138086);
    assert_int_equal(board_config_read(c->b, 1, 3, 0x5b, 1), 2); /* firmware must not wait for SMM */
    board_config_write(c->b, 0, 0, 0x5c, 4, 0x33333330);
    assert_int_equal(board_config_read(c->b, 0, 0, 0x5c, 4), 0x33333330);
    reset(c, i440fx_device(c->i440fx));
    assert_int_equal(board_config_read(c->b, 0, 0, 0x5c, 4), 0);
    assert_int_equal(board_config_read(c->b, 0, 0, 0x72, 1), 2);
}

static void plug(struct chipset *c, struct pci_function *f, unsigned slot)
{
    const struct pci_id id = {.vendor = 0x1af4, .device = 0x1042, .pin = 1};
    struct err err = {0};
    pci_function_init(f, "card", &id, NULL, NULL);
    bus_lock(c->b->bus);
    assert_int_equal(pci_add(c->pci, f, slot, 0, &err), 0);
    bus_unlock(c->b->bus);
}

static void routes(void **state)
{
    struct chipset *c = *state;
    struct pci_function f;
    plug(c, &f, 3); /* INTA of slot 3 is PIRQC */
    pci_intx(&f, true);
    for (unsigned gsi = 0; gsi < IRQ_GSI_COUNT; gsi++)
        assert_false(c->b->level[gsi]); /* routed nowhere after power-on */
    board_config_write(c->b, 1, 0, 0x60, 4, 0x0b0b0a0a);
    assert_true(c->b->level[11]);
    board_config_write(c->b, 1, 0, 0x62, 1, 0x0a);
    assert_true(c->b->level[10] && !c->b->level[11]);
    board_config_write(c->b, 1, 0, 0x62, 1, 0x08); /* the clock's */
    assert_false(c->b->level[10] || c->b->level[8]);
    board_config_write(c->b, 1, 0, 0x62, 1, 0x05);
    assert_true(c->b->level[5]);
    board_round_trip(c->b, piix3_device(c->piix3), piix3_device(c->piix3));
    assert_true(c->b->level[5]);
    reset(c, piix3_device(c->piix3));
    assert_false(c->b->level[5]);
    assert_int_equal(board_config_read(c->b, 1, 0, 0x60, 4), 0x80808080);
    bus_lock(c->b->bus);
    pci_remove(&f);
    bus_unlock(c->b->bus);
    pci_function_fini(&f);
}

static void enable_acpi(struct chipset *c)
{
    board_out(c->b, 0xb2, 1, 0xf1);
    assert_int_equal(board_in(c->b, 0x604, 2) & 1, 1);
}

static void button(void **state)
{
    struct chipset *c = *state;
    bus_lock(c->b->bus);
    piix4_pm_power_button(c->pm);
    bus_unlock(c->b->bus);
    assert_false(c->b->level[9]); /* nobody listens */
    board_out(c->b, 0x600, 2, 0xffff);
    assert_int_equal(board_in(c->b, 0x600, 2), 0);
    enable_acpi(c);
    board_out(c->b, 0x602, 2, 0x100);
    bus_lock(c->b->bus);
    piix4_pm_power_button(c->pm);
    bus_unlock(c->b->bus);
    assert_true(c->b->level[9]);
    assert_int_equal(board_in(c->b, 0x600, 4), 0x01000100);
    assert_int_equal(board_in(c->b, 0x601, 1), 1); /* by bytes */
    board_out(c->b, 0x600, 1, 0xff);
    assert_true(c->b->level[9]);
    board_round_trip(c->b, piix4_pm_device(c->pm), piix4_pm_device(c->pm));
    board_out(c->b, 0x601, 1, 1);
    assert_false(c->b->level[9]);
    board_out(c->b, 0xb2, 1, 0xf0);
    assert_int_equal(board_in(c->b, 0x604, 2) & 1, 0);
    assert_int_equal(board_in(c->b, 0xb2, 1), 0xf0);
}

static void soft_off(void **state)
{
    struct chipset *c = *state;
    enable_acpi(c);
    board_out(c->b, 0x604, 2, 1 << 10 | 1 << 13); /* a sleep that is not there */
    assert_int_equal(c->b->offs, 0);
    board_out(c->b, 0x604, 2, 1); /* its type alone does nothing */
    assert_int_equal(c->b->offs, 0);
    board_out(c->b, 0x604, 2, 1 | 1 << 13);
    assert_int_equal(c->b->offs, 1);
    assert_int_equal(board_in(c->b, 0x604, 2), 1);
}

static void timer(void **state)
{
    struct chipset *c = *state;
    const uint64_t second = 1000000000;
    board_set_time(c->b, second);
    assert_int_equal(board_in(c->b, 0x608, 4), 3579545);
    board_set_time(c->b, 2 * second);
    assert_int_equal(board_in(c->b, 0x608, 4), 7159090);
    assert_int_equal(board_in(c->b, 0x600, 2) & 1, 0);
    board_set_time(c->b, 3 * second); /* the top bit changed: 2^23 ticks are 2.34 s */
    assert_int_equal(board_in(c->b, 0x608, 4), 3 * 3579545);
    assert_int_equal(board_in(c->b, 0x600, 2) & 1, 1);
    board_out(c->b, 0x600, 2, 1);
    assert_int_equal(board_in(c->b, 0x600, 2) & 1, 0);
    board_set_time(c->b, 1000000 * second); /* 24 bits of it */
    assert_int_equal(board_in(c->b, 0x608, 4), 3579545000000ull & 0xffffff);
    assert_int_equal(board_in(c->b, 0x600, 2) & 1, 1);
    assert_false(c->b->level[9]);
    enable_acpi(c);
    board_out(c->b, 0x602, 2, 1);
    assert_true(c->b->level[9]);
    board_out(c->b, 0x600, 2, 1);
    assert_false(c->b->level[9]);
}

/* The event comes by itself: real time runs from just before the top bit changes. */
static void timer_interrupts(void **state)
{
    struct chipset *c = *state;
    enable_acpi(c);
    board_set_time(c->b, (1ull << 23) * 1000000000 / 3579545 - 5000000);
    board_out(c->b, 0x602, 2, 1);
    assert_false(c->b->level[9]);
    timers_start(c->b->timers);
    while (!c->b->level[9])
        loop_step(c->b->loop);
    timers_stop(c->b->timers);
    assert_int_equal(board_in(c->b, 0x600, 2) & 1, 1);
    assert_true((board_in(c->b, 0x608, 4) & 0x7fffff) < 0x400000);
}

/* A turn of the timer that nobody saw before the guest was saved is not seen by loading it, either. */
static void timer_loads(void **state)
{
    struct chipset *c = *state;
    enable_acpi(c);
    board_out(c->b, 0x602, 2, 1);
    board_set_time(c->b, (1ull << 23) * 1000000000 / 3579545 + 5000000);
    board_round_trip(c->b, piix4_pm_device(c->pm), piix4_pm_device(c->pm));
    assert_false(c->b->level[9]);
    timers_start(c->b->timers);
    while (!c->b->level[9])
        loop_step(c->b->loop);
    timers_stop(c->b->timers);
}

static void base_moves(void **state)
{
    struct chipset *c = *state;
    board_config_write(c->b, 1, 3, 0x40, 4, 0xb001);
    assert_int_equal(board_config_read(c->b, 1, 3, 0x40, 4), 0xb001);
    board_out(c->b, 0xb002, 2, 0x100);
    assert_int_equal(board_in(c->b, 0xb002, 2), 0x100);
    assert_int_equal(board_in(c->b, 0x602, 2), 0xffff);
    board_config_write(c->b, 1, 3, 0x80, 1, 0);
    assert_int_equal(board_in(c->b, 0xb002, 2), 0xffff);
    board_config_write(c->b, 1, 3, 0x40, 4, 0xcc1); /* over the configuration ports, too */
    board_config_write(c->b, 1, 3, 0x80, 1, 1);
    assert_int_equal(board_config_read(c->b, 1, 3, 0, 4), 0x71138086);
    reset(c, piix4_pm_device(c->pm));
    assert_int_equal(board_in(c->b, 0x602, 2), 0);
    assert_int_equal(board_config_read(c->b, 1, 3, 0x40, 4), 0x601);
}

static void hotplug(void **state)
{
    struct chipset *c = *state;
    struct pci_function f;
    enable_acpi(c);
    board_out(c->b, 0x60e, 2, 1 << PCI_HOTPLUG_EVENT);
    plug(c, &f, 7);
    bus_lock(c->b->bus);
    pci_hotplug_plugged(c->hotplug, 7);
    bus_unlock(c->b->bus);
    assert_true(c->b->level[9]);
    assert_int_equal(board_in(c->b, 0x60c, 2), 2);
    board_out(c->b, 0x60c, 2, 2);
    assert_false(c->b->level[9]);
    assert_int_equal(board_in(c->b, 0xae00, 4), 1 << 7);
    assert_int_equal(board_in(c->b, 0xae00, 4), 0);
    bus_lock(c->b->bus);
    pci_hotplug_ask(c->hotplug, 7);
    pci_hotplug_ask(c->hotplug, 31);
    bus_unlock(c->b->bus);
    assert_true(c->b->level[9]);
    assert_int_equal(board_in(c->b, 0xae04, 4), 1u << 31 | 1 << 7);
    assert_int_equal(board_in(c->b, 0xae04, 2), 0xffff);
    assert_int_equal(board_in(c->b, 0xae0c, 4), 0xfffffffc);
    board_round_trip(c->b, pci_hotplug_device(c->hotplug), pci_hotplug_device(c->hotplug));
    board_out(c->b, 0xae08, 4, 0x83); /* the board's own slots stay */
    assert_int_equal(c->ejected, 1 << 7);
    assert_int_equal(board_in(c->b, 0xae04, 4), 1u << 31);
    assert_int_equal(board_config_read(c->b, 7, 0, 0, 4), 0xffffffff);
    assert_int_equal(board_config_read(c->b, 1, 0, 0, 4), 0x70008086);
    board_out(c->b, 0xae08, 4, 0xffffffff); /* nothing there */
    assert_int_equal(c->ejected, 1 << 7);
    pci_function_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(identity, setup, teardown),
        cmocka_unit_test_setup_teardown(routes, setup, teardown),
        cmocka_unit_test_setup_teardown(button, setup, teardown),
        cmocka_unit_test_setup_teardown(soft_off, setup, teardown),
        cmocka_unit_test_setup_teardown(timer, setup, teardown),
        cmocka_unit_test_setup_teardown(timer_interrupts, setup, teardown),
        cmocka_unit_test_setup_teardown(timer_loads, setup, teardown),
        cmocka_unit_test_setup_teardown(base_moves, setup, teardown),
        cmocka_unit_test_setup_teardown(hotplug, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
