/* See piix4_pm.h. */
#include "hv/machine/piix4_pm.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "hv/device.h"
#include "hv/machine/pci.h"
#include "hv/machine/piix3.h"
#include "hv/machine/reset.h"
#include "hv/state.h"
#include "hv/timers.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum config_register {
    PM_BASE_ADDRESS = 0x40,
    DEVICE_ACTIVITY_B = 0x58,
    APMC_ENABLE = 0x02, /* of its fourth byte: "SMM is set up", or firmware would wait for an SMI for ever */
    PM_MISC = 0x80,
    PM_MISC_ENABLE = 1,
    SMBUS_BASE = 0x90,
    SMBUS_CONFIG = 0xd2,
};

enum pm_register { STATUS = 0, ENABLE = 2, CONTROL = 4, TIMER = 8, EVENT_STATUS = 12, EVENT_ENABLE = 14 };

enum {
    TIMER_EVENT = 0x1,
    GLOBAL_EVENT = 0x20,
    BUTTON_EVENT = 0x100,
    RTC_EVENT = 0x400,
    WAKE_STATUS = 0x8000,
    ENABLE_MASK = TIMER_EVENT | GLOBAL_EVENT | BUTTON_EVENT | RTC_EVENT,
    STATUS_MASK = ENABLE_MASK | WAKE_STATUS,
    SCI_ENABLE = 0x1,
    SLEEP_TYPE_SHIFT = 10,
    SLEEP_ENABLE = 0x2000,
    REGISTER_BYTES = 64,
    COMMAND_BYTES = 2,
    TIMER_BITS = 24,
    STATE_FORMAT = 1,
};

static const uint64_t second_ns = 1000000000;

struct piix4_pm {
    struct device device;
    struct pci_function f;
    struct bus *bus;
    struct timers *timers;
    struct reset *reset;
    struct irq_source sci;
    struct bus_region registers, command_ports;
    uint8_t command[COMMAND_BYTES];
    uint16_t status, enable, control;
    uint16_t event_status, event_enable;
    uint64_t halves; /* half turns of the timer that status knows of */
    struct timer overflow;
};

/* ---- the timer: its event comes whenever the top bit changes ---- */

static uint64_t ticks_now(const struct piix4_pm *pm)
{
    return (uint64_t)((unsigned __int128)timers_now_ns(pm->timers) * PIIX4_PM_TIMER_HZ / second_ns);
}

static uint64_t halves_now(const struct piix4_pm *pm)
{
    return ticks_now(pm) >> (TIMER_BITS - 1);
}

/* Raises and lowers the interrupt, and sets the timer if its event would raise it. */
static void show(struct piix4_pm *pm)
{
    bool event = (pm->status & pm->enable & ENABLE_MASK) || (pm->event_status & pm->event_enable);
    irq_source_set(pci_lines(pm->f.pci), &pm->sci, event && (pm->control & SCI_ENABLE));
    if ((pm->enable & TIMER_EVENT) && !(pm->status & TIMER_EVENT)) {
        unsigned __int128 ticks = (unsigned __int128)(pm->halves + 1) << (TIMER_BITS - 1);
        timer_set(pm->timers, &pm->overflow, (uint64_t)((ticks * second_ns - 1) / PIIX4_PM_TIMER_HZ + 1));
    } else {
        timer_clear(pm->timers, &pm->overflow);
    }
}

static void update(struct piix4_pm *pm)
{
    uint64_t halves = halves_now(pm);
    if (halves != pm->halves)
        pm->status |= TIMER_EVENT;
    pm->halves = halves;
    show(pm);
}

static void overflowed(struct timer *timer)
{
    update(CONTAINER_OF(timer, struct piix4_pm, overflow));
}

void piix4_pm_power_button(struct piix4_pm *pm)
{
    bus_assert_locked(pm->bus);
    pm->status |= BUTTON_EVENT;
    update(pm);
}

void piix4_pm_event(struct piix4_pm *pm, unsigned event)
{
    assert(event < 16);
    bus_assert_locked(pm->bus);
    pm->event_status |= (uint16_t)(1u << event);
    update(pm);
}

/* ---- registers, 16 bits each; an access may cover parts of several ---- */

static uint16_t read_register(const struct piix4_pm *pm, unsigned at, uint64_t ticks)
{
    switch (at) {
    case STATUS:
        return pm->status;
    case ENABLE:
        return pm->enable;
    case CONTROL:
        return pm->control;
    case TIMER:
        return (uint16_t)ticks;
    case TIMER + 2:
        return ticks >> 16 & 0xff;
    case EVENT_STATUS:
        return pm->event_status;
    case EVENT_ENABLE:
        return pm->event_enable;
    default:
        return 0;
    }
}

static uint64_t registers_read(void *device, uint64_t offset, unsigned size)
{
    struct piix4_pm *pm = device;
    uint64_t value = 0, ticks = ticks_now(pm);
    update(pm);
    for (unsigned i = 0; i < size; i++) {
        unsigned at = (unsigned)offset + i;
        uint64_t byte = read_register(pm, at & ~1u, ticks) >> (8 * (at & 1)) & 0xff;
        value |= byte << (8 * i);
    }
    return value;
}

static void write_control(struct piix4_pm *pm, uint16_t value)
{
    pm->control = value & (uint16_t)~SLEEP_ENABLE;
    if ((value & SLEEP_ENABLE) && (value >> SLEEP_TYPE_SHIFT & 7) == PIIX4_PM_SLEEP_S5)
        reset_off(pm->reset, "ACPI soft-off");
}

static void write_register(struct piix4_pm *pm, unsigned at, uint16_t value, uint16_t mask)
{
    switch (at) {
    case STATUS:
        pm->status &= (uint16_t) ~(value & mask);
        break;
    case ENABLE:
        pm->enable = (uint16_t)((pm->enable & ~mask) | (value & mask)) & ENABLE_MASK;
        break;
    case CONTROL:
        write_control(pm, (uint16_t)((pm->control & ~mask) | (value & mask)));
        break;
    case EVENT_STATUS:
        pm->event_status &= (uint16_t) ~(value & mask);
        break;
    case EVENT_ENABLE:
        pm->event_enable = (uint16_t)((pm->event_enable & ~mask) | (value & mask));
        break;
    default:
        break;
    }
}

static void registers_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct piix4_pm *pm = device;
    update(pm); /* a turn of the timer that nobody saw comes before the write that may clear it */
    for (unsigned i = 0; i < size;) {
        unsigned at = (unsigned)offset + i, odd = at & 1;
        unsigned bytes = odd || size - i == 1 ? 1 : 2;
        unsigned mask = (bytes == 2 ? 0xffff : 0xff) << (8 * odd);
        write_register(pm, at & ~1u, (uint16_t)(value >> (8 * i) << (8 * odd)), (uint16_t)mask);
        i += bytes;
    }
    update(pm);
}

static const struct bus_ops registers_ops = {.read = registers_read, .write = registers_write};

/* ---- the command port ---- */

static uint64_t command_read(void *device, uint64_t offset, unsigned size)
{
    struct piix4_pm *pm = device;
    return size == 1 ? pm->command[offset] : (uint64_t)pm->command[1] << 8 | pm->command[0];
}

static void command_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct piix4_pm *pm = device;
    if (size == 2)
        pm->command[1] = (uint8_t)(value >> 8);
    pm->command[offset] = (uint8_t)value;
    if (offset != 0)
        return;
    if (pm->command[0] == PIIX4_PM_ACPI_ENABLE)
        pm->control |= SCI_ENABLE;
    else if (pm->command[0] == PIIX4_PM_ACPI_DISABLE)
        pm->control &= (uint16_t)~SCI_ENABLE;
    update(pm);
}

static const struct bus_ops command_ops = {.read = command_read, .write = command_write};

/* ---- the PCI function ---- */

static void place_registers(struct piix4_pm *pm)
{
    uint64_t base = pci_get(&pm->f, PM_BASE_ADDRESS, 2) & ~(REGISTER_BYTES - 1u);
    bool on = (pm->f.config[PM_MISC] & PM_MISC_ENABLE) && base;
    if (pm->registers.added && on && pm->registers.base == base)
        return;
    bus_remove(pm->bus, &pm->registers);
    pm->registers.base = base;
    if (on)
        (void)bus_add(pm->bus, &pm->registers); /* over another device they cannot be reached, as BARs */
}

static void config_written(struct pci_function *f, unsigned offset, unsigned size)
{
    (void)offset, (void)size;
    place_registers(f->owner);
}

static const struct pci_ops piix4_pm_ops = {.config_written = config_written};

static void power_on(struct piix4_pm *pm)
{
    pci_set(&pm->f, PM_BASE_ADDRESS, 4, PIIX4_PM_BASE | 1);
    pci_set(&pm->f, DEVICE_ACTIVITY_B, 4, (uint32_t)APMC_ENABLE << 24);
    pci_set(&pm->f, PM_MISC, 1, PM_MISC_ENABLE);
    pci_set(&pm->f, SMBUS_BASE, 4, 1);
    pci_set(&pm->f, SMBUS_CONFIG, 1, 0);
    memset(pm->command, 0, sizeof pm->command);
    pm->status = pm->enable = pm->control = pm->event_status = pm->event_enable = 0;
    pm->halves = halves_now(pm);
    place_registers(pm);
    update(pm);
}

static void piix4_pm_reset(struct device *device)
{
    struct piix4_pm *pm = CONTAINER_OF(device, struct piix4_pm, device);
    pci_function_reset(&pm->f);
    power_on(pm);
}

static void piix4_pm_state(struct device *device, struct state *s)
{
    struct piix4_pm *pm = CONTAINER_OF(device, struct piix4_pm, device);
    pci_function_state(&pm->f, s);
    state_bytes(s, "command", pm->command, sizeof pm->command);
    state_u16(s, "status", &pm->status);
    state_u16(s, "enable", &pm->enable);
    state_u16(s, "control", &pm->control);
    state_u16(s, "event-status", &pm->event_status);
    state_u16(s, "event-enable", &pm->event_enable);
    state_u64(s, "timer-halves", &pm->halves);
    if (!state_loading(s))
        return;
    pm->status &= STATUS_MASK;
    pm->enable &= ENABLE_MASK;
    pm->control &= (uint16_t)~SLEEP_ENABLE;
    place_registers(pm);
    show(pm); /* a turn that nobody saw is seen when the guest goes on */
}

static void make_function(struct piix4_pm *pm)
{
    const struct pci_id id = {.vendor = 0x8086,
                              .device = 0x7113,
                              .subsystem_vendor = 0x1af4,
                              .subsystem = 0x1100,
                              .class = 0x068000,
                              .revision = 3};
    pci_function_init(&pm->f, "piix4-pm", &id, &piix4_pm_ops, pm);
    pm->f.writable[PM_BASE_ADDRESS] = 0xc0;
    pm->f.writable[PM_BASE_ADDRESS + 1] = 0xff;
    memset(&pm->f.writable[DEVICE_ACTIVITY_B], 0xff, 4);
    pm->f.writable[PM_MISC] = 0xff;
    pm->f.writable[SMBUS_BASE] = 0xf0;
    pm->f.writable[SMBUS_BASE + 1] = 0xff;
    pm->f.writable[SMBUS_CONFIG] = 0xff;
    irq_source_init(&pm->sci, PIIX4_PM_SCI);
    pm->overflow.fire = overflowed;
    pm->registers = (struct bus_region){
        .name = "piix4-pm", .ops = &registers_ops, .device = pm, .space = BUS_PORTS, .bytes = REGISTER_BYTES};
    pm->command_ports = (struct bus_region){.name = "apm",
                                            .ops = &command_ops,
                                            .device = pm,
                                            .space = BUS_PORTS,
                                            .base = PIIX4_PM_COMMAND,
                                            .bytes = COMMAND_BYTES};
}

struct piix4_pm *piix4_pm_new(struct pci *pci, struct timers *timers, struct reset *reset, struct err *err)
{
    struct piix4_pm *pm = calloc(1, sizeof *pm);
    if (!pm) {
        err_set(err, ENOMEM, "no memory for power management");
        return NULL;
    }
    pm->device =
        (struct device){.name = "piix4-pm", .version = STATE_FORMAT, .reset = piix4_pm_reset, .state = piix4_pm_state};
    pm->bus = pci_bus(pci);
    pm->timers = timers;
    pm->reset = reset;
    make_function(pm);
    bus_lock(pm->bus);
    int rc = pci_add(pci, &pm->f, PIIX3_SLOT, PIIX4_PM_FUNCTION, err);
    if (rc == 0) {
        power_on(pm);
        if (bus_add(pm->bus, &pm->command_ports))
            rc = err_set(err, EBUSY, "ports b2h and b3h are taken");
    }
    bus_unlock(pm->bus);
    if (rc) {
        piix4_pm_free(pm);
        return NULL;
    }
    return pm;
}

void piix4_pm_free(struct piix4_pm *pm)
{
    if (!pm)
        return;
    bus_lock(pm->bus);
    timer_clear(pm->timers, &pm->overflow);
    bus_remove(pm->bus, &pm->registers);
    bus_remove(pm->bus, &pm->command_ports);
    if (pm->f.pci)
        irq_source_set(pci_lines(pm->f.pci), &pm->sci, false);
    pci_remove(&pm->f);
    bus_unlock(pm->bus);
    pci_function_fini(&pm->f);
    free(pm);
}

struct device *piix4_pm_device(struct piix4_pm *pm)
{
    return &pm->device;
}
