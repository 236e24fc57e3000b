/* See irqchip.h. The chips together: their lock, the ways between them, and the doors to the guest.
 *
 * Whatever may set or clear a timer takes the bus's lock first (timers.h wants it), then the chips'. A timer fires with
 * the bus's lock held already. */
#include "hv/machine/irqchip.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "hv/bus.h"
#include "hv/chips_state.h"
#include "hv/cpu_state.h"
#include "hv/irq.h"
#include "hv/machine/ioapic.h"
#include "hv/machine/lapic.h"
#include "hv/machine/pic.h"
#include "hv/timers.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum { MSR_APIC_BASE = 0x1b, MSR_X2APIC = 0x800, MSR_X2APIC_LAST = 0x8ff, ISA_IRQS = 16, IOAPIC_TIMER_PIN = 2 };
enum { REGION_MASTER, REGION_SLAVE, REGION_ELCR, REGION_IOAPIC, REGION_COUNT };

struct irqchip {
    struct bus *bus;
    pthread_mutex_t lock; /* of all below */
    struct irq irq;
    struct pic_state pics[2];
    struct ioapic ioapic;
    struct bus_region regions[REGION_COUNT];
    unsigned last_lowest; /* who took the last lowest-priority message: equals take turns */
    unsigned vcpus;
    struct lapic lapics[];
};

static void enter(struct irqchip *chip, bool timed)
{
    if (timed)
        bus_lock(chip->bus);
    pthread_mutex_lock(&chip->lock);
}

static void leave(struct irqchip *chip, bool timed)
{
    pthread_mutex_unlock(&chip->lock);
    if (timed)
        bus_unlock(chip->bus);
}

/* ---- the ways between chips ---- */

static bool reaches(const struct lapic *l, const struct apic_message *message)
{
    return lapic_is_target(l, message) && lapic_accepts(l, message->mode);
}

static bool send_lowest(struct irqchip *chip, const struct apic_message *message)
{
    struct lapic *best = NULL;
    for (unsigned i = 1; i <= chip->vcpus; i++) {
        struct lapic *l = &chip->lapics[(chip->last_lowest + i) % chip->vcpus];
        if (reaches(l, message) && (!best || lapic_ppr(l) < lapic_ppr(best)))
            best = l;
    }
    if (!best)
        return false;
    chip->last_lowest = best->index;
    lapic_receive(best, message);
    return true;
}

/* True if an APIC took it. */
static bool send(struct irqchip *chip, const struct apic_message *message)
{
    bool taken = false;
    if (message->mode == APIC_LOWEST)
        return send_lowest(chip, message);
    for (unsigned i = 0; i < chip->vcpus; i++) {
        struct lapic *l = &chip->lapics[i];
        if (reaches(l, message)) {
            lapic_receive(l, message);
            taken = true;
        }
    }
    return taken;
}

static bool ioapic_sends(struct ioapic *ioapic, const struct apic_message *message)
{
    return send(CONTAINER_OF(ioapic, struct irqchip, ioapic), message);
}

static void lapic_sends(struct lapic *from, const struct apic_message *message, enum apic_shorthand to)
{
    struct irqchip *chip = from->chip;
    if (to == APIC_TO_DESTINATION) {
        send(chip, message);
        return;
    }
    for (unsigned i = 0; i < chip->vcpus; i++) {
        struct lapic *l = &chip->lapics[i];
        bool meant = to == APIC_TO_ALL || (l == from) == (to == APIC_TO_SELF);
        if (meant && lapic_accepts(l, message->mode))
            lapic_receive(l, message);
    }
}

static void lapic_ends(struct lapic *from, uint8_t vector)
{
    ioapic_eoi(&from->chip->ioapic, vector);
}

static const struct lapic_ops lapic_ops = {.send = lapic_sends, .eoi = lapic_ends};

static void pic_changed(struct irqchip *chip)
{
    bool output = pic_output(chip->pics);
    if (output != chip->lapics[0].lint[0])
        lapic_set_lint(&chip->lapics[0], 0, output);
}

static void timer_fired(struct timer *timer)
{
    struct lapic *l = CONTAINER_OF(timer, struct lapic, timer);
    enter(l->chip, false);
    lapic_timer_fired(l);
    leave(l->chip, false);
}

/* ---- from devices ---- */

static void set_line(struct irq *irq, unsigned gsi, bool level)
{
    struct irqchip *chip = CONTAINER_OF(irq, struct irqchip, irq);
    if (gsi >= IRQ_GSI_COUNT || gsi == PIC_CASCADE)
        return;
    enter(chip, false);
    if (gsi < ISA_IRQS) {
        pic_set(chip->pics, gsi, level);
        pic_changed(chip);
    }
    ioapic_set(&chip->ioapic, gsi ? gsi : IOAPIC_TIMER_PIN, level);
    leave(chip, false);
}

static void send_msi(struct irq *irq, uint64_t address, uint32_t data)
{
    struct irqchip *chip = CONTAINER_OF(irq, struct irqchip, irq);
    struct apic_message message = apic_message_of_msi(address, data);
    enter(chip, false);
    send(chip, &message);
    leave(chip, false);
}

/* ---- from the guest, by the bus ---- */

static uint64_t read_pic(struct irqchip *chip, unsigned which, uint64_t offset, unsigned size)
{
    uint64_t value = 0;
    enter(chip, false);
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)pic_read(chip->pics, which, (unsigned)offset + i) << (8 * i);
    pic_changed(chip);
    leave(chip, false);
    return value;
}

static void write_pic(struct irqchip *chip, unsigned which, uint64_t offset, unsigned size, uint64_t value)
{
    enter(chip, false);
    for (unsigned i = 0; i < size; i++)
        pic_write(chip->pics, which, (unsigned)offset + i, (uint8_t)(value >> (8 * i)));
    pic_changed(chip);
    leave(chip, false);
}

static uint64_t master_read(void *device, uint64_t offset, unsigned size)
{
    return read_pic(device, 0, offset, size);
}

static void master_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    write_pic(device, 0, offset, size, value);
}

static uint64_t slave_read(void *device, uint64_t offset, unsigned size)
{
    return read_pic(device, 1, offset, size);
}

static void slave_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    write_pic(device, 1, offset, size, value);
}

static uint64_t elcr_read(void *device, uint64_t offset, unsigned size)
{
    struct irqchip *chip = device;
    enter(chip, false);
    uint64_t both = chip->pics[0].elcr | (uint64_t)chip->pics[1].elcr << 8;
    leave(chip, false);
    (void)size;
    return both >> (8 * offset);
}

static void elcr_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct irqchip *chip = device;
    enter(chip, false);
    for (unsigned i = 0; i < size; i++)
        pic_write_elcr(chip->pics, (unsigned)offset + i, (uint8_t)(value >> (8 * i)));
    pic_changed(chip);
    leave(chip, false);
}

static uint64_t ioapic_page_read(void *device, uint64_t offset, unsigned size)
{
    struct irqchip *chip = device;
    enter(chip, false);
    uint64_t value = ioapic_read(&chip->ioapic, offset);
    leave(chip, false);
    (void)size;
    return value;
}

static void ioapic_page_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct irqchip *chip = device;
    (void)size;
    enter(chip, false);
    ioapic_write(&chip->ioapic, offset, (uint32_t)value);
    leave(chip, false);
}

static const struct bus_ops master_ops = {master_read, master_write};
static const struct bus_ops slave_ops = {slave_read, slave_write};
static const struct bus_ops elcr_ops = {elcr_read, elcr_write};
static const struct bus_ops ioapic_ops = {ioapic_page_read, ioapic_page_write};

/* ---- the whole ---- */

static int add_regions(struct irqchip *chip, struct err *err)
{
    const struct bus_region regions[REGION_COUNT] = {
        {.name = "pic", .ops = &master_ops, .space = BUS_PORTS, .base = 0x20, .bytes = 2},
        {.name = "pic slave", .ops = &slave_ops, .space = BUS_PORTS, .base = 0xa0, .bytes = 2},
        {.name = "elcr", .ops = &elcr_ops, .space = BUS_PORTS, .base = 0x4d0, .bytes = 2},
        {.name = "ioapic", .ops = &ioapic_ops, .space = BUS_MEMORY, .base = ioapic_base, .bytes = 4096},
    };
    for (unsigned i = 0; i < REGION_COUNT; i++) {
        chip->regions[i] = regions[i];
        chip->regions[i].device = chip;
        int rc = bus_add(chip->bus, &chip->regions[i]);
        if (rc)
            return err_set(err, -rc, "the bus has no place for the %s", regions[i].name);
    }
    return 0;
}

struct irqchip *irqchip_new(struct bus *bus, struct timers *timers, unsigned vcpus, struct err *err)
{
    struct irqchip *chip = calloc(1, sizeof *chip + vcpus * sizeof *chip->lapics);
    if (!chip) {
        err_set(err, ENOMEM, "no memory for the interrupt controllers");
        return NULL;
    }
    chip->bus = bus;
    chip->vcpus = vcpus;
    chip->irq = (struct irq){.set = set_line, .msi = send_msi};
    chip->ioapic.send = ioapic_sends;
    pthread_mutex_init(&chip->lock, NULL);
    struct chips_state start;
    chips_state_reset(&start);
    memcpy(chip->pics, start.pic, sizeof chip->pics);
    chip->ioapic.state = start.ioapic;
    bus_lock(bus);
    for (unsigned i = 0; i < vcpus; i++) {
        struct lapic *l = &chip->lapics[i];
        l->index = i;
        l->ops = &lapic_ops;
        l->chip = chip;
        l->timers = timers;
        l->timer.fire = timer_fired;
        lapic_init(l);
    }
    int rc = add_regions(chip, err);
    bus_unlock(bus);
    if (rc) {
        irqchip_free(chip);
        return NULL;
    }
    return chip;
}

void irqchip_free(struct irqchip *chip)
{
    if (!chip)
        return;
    bus_lock(chip->bus);
    for (unsigned i = 0; i < chip->vcpus; i++)
        lapic_timer_stop(&chip->lapics[i]);
    for (unsigned i = 0; i < REGION_COUNT; i++)
        bus_remove(chip->bus, &chip->regions[i]);
    bus_unlock(chip->bus);
    pthread_mutex_destroy(&chip->lock);
    free(chip);
}

void irqchip_attach(struct irqchip *chip, unsigned index, struct irqchip_cpu *cpu)
{
    enter(chip, false);
    chip->lapics[index].cpu = cpu;
    leave(chip, false);
}

struct irq *irqchip_irq(struct irqchip *chip)
{
    return &chip->irq;
}

/* ---- a vCPU's own thread ---- */

unsigned irqchip_pending(const struct irqchip *chip, unsigned index)
{
    return atomic_load_explicit(&chip->lapics[index].pending, memory_order_acquire);
}

int irqchip_accept(struct irqchip *chip, unsigned index)
{
    struct lapic *l = &chip->lapics[index];
    enter(chip, false);
    int vector;
    if (lapic_wants_pic(l)) {
        vector = pic_accept(chip->pics);
        pic_changed(chip);
    } else {
        vector = lapic_vector(l);
        if (vector >= 0)
            lapic_begin(l, (uint8_t)vector);
    }
    leave(chip, false);
    return vector;
}

bool irqchip_take(struct irqchip *chip, unsigned index, enum irqchip_event event, uint8_t *vector)
{
    struct lapic *l = &chip->lapics[index];
    bool timed = event == IRQCHIP_INIT;
    enter(chip, timed);
    bool taken = atomic_load(&l->pending) & event;
    if (taken) {
        atomic_fetch_and(&l->pending, ~(unsigned)event);
        if (event == IRQCHIP_SIPI)
            *vector = l->sipi_vector;
        else if (event == IRQCHIP_INIT)
            lapic_reset(l);
    }
    leave(chip, timed);
    return taken;
}

uint32_t irqchip_lapic_read(struct irqchip *chip, unsigned index, uint32_t offset)
{
    bool timed = lapic_needs_time(offset / 16);
    enter(chip, timed);
    uint32_t value = lapic_read(&chip->lapics[index], offset);
    leave(chip, timed);
    return value;
}

void irqchip_lapic_write(struct irqchip *chip, unsigned index, uint32_t offset, uint32_t value)
{
    bool timed = lapic_needs_time(offset / 16);
    enter(chip, timed);
    lapic_write(&chip->lapics[index], offset, value);
    leave(chip, timed);
}

bool irqchip_msr_read(struct irqchip *chip, unsigned index, uint32_t msr, uint64_t *value)
{
    struct lapic *l = &chip->lapics[index];
    if (msr == MSR_APIC_BASE) {
        *value = irqchip_base(chip, index);
        return true;
    }
    if (msr < MSR_X2APIC || msr > MSR_X2APIC_LAST)
        return false;
    bool timed = lapic_needs_time(msr - MSR_X2APIC);
    enter(chip, timed);
    bool ok = lapic_read_x2apic(l, msr - MSR_X2APIC, value);
    leave(chip, timed);
    return ok;
}

bool irqchip_msr_write(struct irqchip *chip, unsigned index, uint32_t msr, uint64_t value)
{
    struct lapic *l = &chip->lapics[index];
    bool base = msr == MSR_APIC_BASE;
    if (!base && (msr < MSR_X2APIC || msr > MSR_X2APIC_LAST))
        return false;
    bool timed = base || lapic_needs_time(msr - MSR_X2APIC);
    enter(chip, timed);
    bool ok = base ? lapic_set_base(l, value) : lapic_write_x2apic(l, msr - MSR_X2APIC, value);
    leave(chip, timed);
    return ok;
}

uint64_t irqchip_base(const struct irqchip *chip, unsigned index)
{
    return chip->lapics[index].base; /* nobody but this vCPU changes it while it runs */
}

uint64_t irqchip_cr8(const struct irqchip *chip, unsigned index)
{
    return chip->lapics[index].reg[LAPIC_TPR] >> 4 & 15; /* likewise */
}

void irqchip_set_cr8(struct irqchip *chip, unsigned index, uint64_t cr8)
{
    enter(chip, false);
    lapic_set_tpr(&chip->lapics[index], (uint8_t)((cr8 & 15) << 4));
    leave(chip, false);
}

bool irqchip_deadline(struct irqchip *chip, unsigned index, uint64_t at_ns)
{
    enter(chip, true);
    bool ok = lapic_timer_deadline(&chip->lapics[index], at_ns);
    leave(chip, true);
    return ok;
}

bool irqchip_deadline_armed(struct irqchip *chip, unsigned index)
{
    const struct lapic *l = &chip->lapics[index];
    enter(chip, false);
    bool armed = l->counting && l->reg[LAPIC_LVT_TIMER] & LVT_TIMER_DEADLINE;
    leave(chip, false);
    return armed;
}

/* ---- state: no vCPU runs ---- */

void irqchip_cpu_get(struct irqchip *chip, unsigned index, struct cpu_state *cpu)
{
    struct lapic *l = &chip->lapics[index];
    enter(chip, true);
    for (unsigned reg = 0; reg < LAPIC_REGISTERS; reg++) {
        uint32_t value = lapic_get(l, reg);
        memcpy(cpu->lapic + 16 * reg, &value, sizeof value);
        memset(cpu->lapic + 16 * reg + sizeof value, 0, 16 - sizeof value);
    }
    unsigned pending = atomic_load(&l->pending);
    cpu->apic_base = l->base;
    cpu->cr8 = irqchip_cr8(chip, index);
    cpu->nmi_pending = pending & IRQCHIP_NMI;
    cpu->init_pending = pending & IRQCHIP_INIT;
    cpu->sipi_pending = pending & IRQCHIP_SIPI;
    cpu->sipi_vector = l->sipi_vector;
    leave(chip, true);
}

static uint32_t saved_register(const struct cpu_state *cpu, enum lapic_register reg)
{
    uint32_t value;
    memcpy(&value, cpu->lapic + 16 * reg, sizeof value);
    return value;
}

static void set_registers(struct lapic *l, const struct cpu_state *cpu)
{
    lapic_timer_stop(l);
    l->base = cpu->apic_base;
    l->errors = 0;
    lapic_reset(l); /* what follows from base */
    for (unsigned reg = 0; reg < LAPIC_REGISTERS; reg++)
        l->reg[reg] = lapic_sane(l, reg, saved_register(cpu, reg));
    l->reg[LAPIC_PPR] = l->reg[LAPIC_TIMER_CURRENT] = 0;            /* they are computed */
    lapic_timer_start(l, saved_register(cpu, LAPIC_TIMER_CURRENT)); /* goes on where it was */
}

int irqchip_cpu_set(struct irqchip *chip, unsigned index, const struct cpu_state *cpu, struct err *err)
{
    struct lapic *l = &chip->lapics[index];
    if (!lapic_base_is_valid(cpu->apic_base))
        return err_set(err, EINVAL, "vCPU %u: APIC base %#llx cannot be", index, (unsigned long long)cpu->apic_base);
    if (cpu->apic_base & LAPIC_BASE_X2APIC && saved_register(cpu, LAPIC_ID) != index)
        return err_set(err, EINVAL, "vCPU %u: its x2APIC ID is %u", index, saved_register(cpu, LAPIC_ID));
    enter(chip, true);
    atomic_store(&l->pending, 0); /* so that wake() is called for all that is */
    set_registers(l, cpu);
    l->sipi_vector = cpu->sipi_vector;
    lapic_refresh(l);
    lapic_raise(l, (cpu->nmi_pending ? IRQCHIP_NMI : 0u) | (cpu->init_pending ? IRQCHIP_INIT : 0u) |
                       (cpu->sipi_pending ? IRQCHIP_SIPI : 0u));
    leave(chip, true);
    return 0;
}

void irqchip_chips_get(struct irqchip *chip, struct chips_state *chips)
{
    enter(chip, false);
    memcpy(chips->pic, chip->pics, sizeof chip->pics);
    chips->ioapic = chip->ioapic.state;
    leave(chip, false);
}

int irqchip_chips_set(struct irqchip *chip, const struct chips_state *chips, struct err *err)
{
    for (unsigned i = 0; i < 2; i++)
        if (chips->pic[i].priority_add > 7 || chips->pic[i].init_step > 3)
            return err_set(err, EINVAL, "PIC %u: its priority or initialisation step cannot be", i);
    if (chips->ioapic.select > 0xff || chips->ioapic.levels >> IRQ_GSI_COUNT)
        return err_set(err, EINVAL, "IOAPIC: its registers cannot be");
    enter(chip, false);
    memcpy(chip->pics, chips->pic, sizeof chip->pics);
    chip->ioapic.state = chips->ioapic;
    chip->lapics[0].lint[0] = pic_output(chip->pics); /* as it was: no edge */
    lapic_refresh(&chip->lapics[0]);
    leave(chip, false);
    return 0;
}
