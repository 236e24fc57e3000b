/* See i6300esb.h.
 *
 *     enable -> FIRST --its time--> SECOND --its time--> alarm, then nothing (or FIRST, where it runs free)
 *                 ^                   |
 *                 +------ reload -----+
 *
 * Preloads and reload are written through a lock: 80h, 86h to the reload register, then the write itself. */
#include "hv/machine/i6300esb.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "hv/device.h"
#include "hv/machine/alarm.h"
#include "hv/machine/pci.h"
#include "hv/machine/piix3.h"
#include "hv/state.h"
#include "hv/timers.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum {
    STATE_FORMAT = 1,
    REGISTERS_BYTES = 4096,
    PRELOAD_MASK = 0xfffff,
    UNLOCK_1 = 0x80,
    UNLOCK_2 = 0x86,
    CONFIG_INTERRUPT = 0x03,
    CONFIG_FAST = 0x04,      /* a tick is 2^5 PCI clocks, not 2^15 */
    CONFIG_NO_OUTPUT = 0x20, /* the end of the second stage changes nothing but a bit */
    CONFIG_BITS = CONFIG_INTERRUPT | CONFIG_FAST | CONFIG_NO_OUTPUT,
    LOCK_LOCKED = 0x01, /* until the next reset */
    LOCK_ENABLE = 0x02,
    LOCK_FREE = 0x04,
    LOCK_BITS = LOCK_LOCKED | LOCK_ENABLE | LOCK_FREE,
    RELOAD_NOW = 0x100,
    RELOAD_TIMEOUT = 0x200, /* it has ended, which also the kernel after the reset may read; writing 1 clears */
};

static const uint64_t clock_hz = 33000000, stage_min_ns = 1000000, more_time_ns = 1000000000;

enum stage { STAGE_OFF, STAGE_FIRST, STAGE_SECOND, STAGE_COUNT };

struct i6300esb {
    struct device device;
    struct pci_function f;
    struct timers *timers;
    struct timer timer;
    struct alarm *alarm;
    uint32_t preload[2];
    uint8_t stage, unlock, lock; /* lock: what the register holds, which locked bits do not change */
    bool timed_out, hung;
};

static uint8_t config_of(const struct i6300esb *w)
{
    return w->f.config[I6300ESB_CONFIG];
}

static void begin(struct i6300esb *w, enum stage stage)
{
    w->stage = (uint8_t)stage;
    if (stage == STAGE_OFF) {
        timer_clear(w->timers, &w->timer);
        return;
    }
    uint64_t clocks = (uint64_t)w->preload[stage - 1] << (config_of(w) & CONFIG_FAST ? 5 : 15);
    uint64_t ns = (uint64_t)((unsigned __int128)clocks * 1000000000 / clock_hz);
    timer_set(w->timers, &w->timer, timers_now_ns(w->timers) + (ns < stage_min_ns ? stage_min_ns : ns));
}

static void ended(struct timer *timer)
{
    struct i6300esb *w = CONTAINER_OF(timer, struct i6300esb, timer);
    if (w->stage == STAGE_FIRST) {
        begin(w, STAGE_SECOND);
        return;
    }
    bool counts = !(config_of(w) & CONFIG_NO_OUTPUT);
    if (counts && !w->hung && !w->alarm->hung(w->alarm)) {
        timer_set(w->timers, &w->timer, timers_now_ns(w->timers) + more_time_ns);
        return;
    }
    w->timed_out = true;
    w->hung |= counts;
    begin(w, w->lock & LOCK_FREE ? STAGE_FIRST : STAGE_OFF);
}

/* ---- registers ---- */

static uint64_t registers_read(void *device, uint64_t offset, unsigned size)
{
    const struct i6300esb *w = device;
    (void)size;
    switch (offset) {
    case I6300ESB_TIMER1:
        return w->preload[0];
    case I6300ESB_TIMER2:
        return w->preload[1];
    case I6300ESB_RELOAD:
        return w->timed_out ? RELOAD_TIMEOUT : 0;
    default:
        return 0;
    }
}

static void reload(struct i6300esb *w, uint64_t value)
{
    if (value & RELOAD_TIMEOUT)
        w->timed_out = false;
    if (!(value & RELOAD_NOW))
        return;
    w->hung = false;
    if (w->lock & LOCK_ENABLE)
        begin(w, STAGE_FIRST);
}

static void registers_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct i6300esb *w = device;
    (void)size;
    if (offset == I6300ESB_RELOAD && value == UNLOCK_1) {
        w->unlock = 1;
    } else if (offset == I6300ESB_RELOAD && value == UNLOCK_2 && w->unlock == 1) {
        w->unlock = 2;
    } else if (w->unlock == 2) {
        w->unlock = 0;
        if (offset == I6300ESB_TIMER1 || offset == I6300ESB_TIMER2)
            w->preload[offset == I6300ESB_TIMER2] = (uint32_t)value & PRELOAD_MASK;
        else if (offset == I6300ESB_RELOAD)
            reload(w, value);
    }
}

static const struct bus_ops registers = {.read = registers_read, .write = registers_write};

/* ---- configuration space ---- */

static void config_written(struct pci_function *f, unsigned offset, unsigned size)
{
    struct i6300esb *w = f->owner;
    if (offset > I6300ESB_LOCK || offset + size <= I6300ESB_LOCK)
        return;
    uint8_t *reg = &f->config[I6300ESB_LOCK], before = w->lock;
    if (before & LOCK_LOCKED)
        *reg = before;
    w->lock = *reg;
    if ((before ^ w->lock) & LOCK_ENABLE)
        begin(w, w->lock & LOCK_ENABLE ? STAGE_FIRST : STAGE_OFF);
}

static const struct pci_ops ops = {.config_written = config_written};

/* ---- the whole ---- */

static void power_on(struct i6300esb *w)
{
    memset(&w->f.config[I6300ESB_CONFIG], 0, 2);
    w->f.config[I6300ESB_LOCK] = 0;
    w->preload[0] = w->preload[1] = PRELOAD_MASK;
    w->unlock = w->lock = 0;
    w->hung = false;
    begin(w, STAGE_OFF);
}

/* timed_out survives: it is how the next kernel knows. */
static void i6300esb_reset(struct device *device)
{
    struct i6300esb *w = CONTAINER_OF(device, struct i6300esb, device);
    pci_function_reset(&w->f);
    power_on(w);
}

static bool is_new(struct device *device)
{
    const struct i6300esb *w = CONTAINER_OF(device, struct i6300esb, device);
    bool untouched = !w->lock && !config_of(w) && !w->unlock && !w->timed_out && !w->hung &&
                     w->preload[0] == PRELOAD_MASK && w->preload[1] == PRELOAD_MASK;
    for (unsigned i = 0; i < PCI_CONFIG_BYTES && untouched; i++)
        untouched = i == PCI_STATUS || !(w->f.config[i] & w->f.writable[i]);
    return untouched;
}

static void i6300esb_state(struct device *device, struct state *s)
{
    struct i6300esb *w = CONTAINER_OF(device, struct i6300esb, device);
    pci_function_state(&w->f, s);
    state_u32(s, "preload1", &w->preload[0]);
    state_u32(s, "preload2", &w->preload[1]);
    state_u8(s, "stage", &w->stage);
    state_u8(s, "unlock", &w->unlock);
    state_bool(s, "timed-out", &w->timed_out);
    state_bool(s, "hung", &w->hung);
    state_check(s, w->preload[0] <= PRELOAD_MASK && w->preload[1] <= PRELOAD_MASK, "a preload has more than 20 bits");
    state_check(s, w->stage < STAGE_COUNT && w->unlock <= 2, "a stage that this device does not have");
    if (!state_loading(s))
        return;
    w->lock = w->f.config[I6300ESB_LOCK];
    if (state_failed(s))
        power_on(w);
    else
        begin(w, w->lock & LOCK_ENABLE ? (enum stage)w->stage : STAGE_OFF);
}

bool i6300esb_hung(const struct i6300esb *w)
{
    return w->hung;
}

bool i6300esb_armed(const struct i6300esb *w)
{
    return w->stage != STAGE_OFF && !(config_of(w) & CONFIG_NO_OUTPUT);
}

struct i6300esb *i6300esb_new(struct pci *pci, struct timers *timers, struct alarm *alarm, struct err *err)
{
    const struct pci_id id = {
        .vendor = 0x8086, .device = 0x25ab, .subsystem_vendor = 0x1af4, .subsystem = 0x1100, .class = 0x088000};
    struct i6300esb *w = calloc(1, sizeof *w);
    if (!w) {
        err_set(err, ENOMEM, "no memory for the watchdog");
        return NULL;
    }
    w->timers = timers;
    w->timer.fire = ended;
    w->alarm = alarm;
    w->device = (struct device){.name = "i6300esb",
                                .version = STATE_FORMAT,
                                .reset = i6300esb_reset,
                                .is_new = is_new,
                                .state = i6300esb_state};
    pci_function_init(&w->f, "i6300esb", &id, &ops, w);
    pci_add_bar(&w->f, 0, PCI_BAR_MEM32, REGISTERS_BYTES, &registers, w);
    w->f.writable[I6300ESB_CONFIG] = CONFIG_BITS;
    w->f.writable[I6300ESB_LOCK] = LOCK_BITS;
    bus_lock(pci_bus(pci));
    int rc = pci_add(pci, &w->f, PIIX3_SLOT, I6300ESB_FUNCTION, err);
    if (rc == 0)
        power_on(w);
    bus_unlock(pci_bus(pci));
    if (rc) {
        i6300esb_free(w);
        return NULL;
    }
    return w;
}

void i6300esb_free(struct i6300esb *w)
{
    if (!w)
        return;
    if (w->f.pci) {
        struct bus *bus = pci_bus(w->f.pci);
        bus_lock(bus);
        timer_clear(w->timers, &w->timer);
        pci_remove(&w->f);
        bus_unlock(bus);
    }
    pci_function_fini(&w->f);
    free(w);
}

struct device *i6300esb_device(struct i6300esb *w)
{
    return &w->device;
}
