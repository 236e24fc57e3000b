/* The kernel's PICs and IOAPIC <-> chips_state.h.
 *
 * The IOAPIC's lines are ours to know: the kernel shows a request register without the edges it has delivered, and
 * takes one whose every bit it delivers again. So what is told is the lines, and what is set is those that an entry
 * wants served by their level. */
#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#include "hv/chips_state.h"
#include "hv/kvm/kvm_vm.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum { ENTRY_LEVEL_TRIGGERED = 1 << 15, ID_SHIFT = 24, TIMER_PIN = 2 };
static const uint64_t ioapic_base = 0xfec00000;
/* Pins that can be level-triggered at all: not timer, keyboard, cascade; not clock, coprocessor. */
static const uint8_t elcr_mask[2] = {0xf8, 0xde};

static void pic_from(struct pic_state *to, const struct kvm_pic_state *from)
{
    *to = (struct pic_state){
        .irr = from->irr,
        .isr = from->isr,
        .imr = from->imr,
        .last_levels = from->last_irr,
        .elcr = from->elcr,
        .vector_base = from->irq_base,
        .priority_add = from->priority_add,
        .init_step = from->init_state,
        .read_isr = from->read_reg_select,
        .poll = from->poll,
        .special_mask = from->special_mask,
        .auto_eoi = from->auto_eoi,
        .rotate_on_auto_eoi = from->rotate_on_auto_eoi,
        .fully_nested = from->special_fully_nested_mode,
        .needs_icw4 = from->init4,
    };
}

static void pic_to(struct kvm_pic_state *to, const struct pic_state *from, unsigned index)
{
    *to = (struct kvm_pic_state){
        .last_irr = from->last_levels,
        .irr = from->irr,
        .imr = from->imr,
        .isr = from->isr,
        .priority_add = from->priority_add,
        .irq_base = from->vector_base,
        .read_reg_select = from->read_isr,
        .poll = from->poll,
        .special_mask = from->special_mask,
        .init_state = from->init_step,
        .auto_eoi = from->auto_eoi,
        .rotate_on_auto_eoi = from->rotate_on_auto_eoi,
        .special_fully_nested_mode = from->fully_nested,
        .init4 = from->needs_icw4,
        .elcr = from->elcr,
        .elcr_mask = elcr_mask[index],
    };
}

static int chip_get(struct kvm_vm *vm, unsigned id, struct kvm_irqchip *chip, struct err *err)
{
    *chip = (struct kvm_irqchip){.chip_id = id};
    if (ioctl(vm->fd, KVM_GET_IRQCHIP, chip))
        return err_set(err, errno, "KVM does not tell the state of interrupt chip %u: %s", id, strerror(errno));
    return 0;
}

static int chip_set(struct kvm_vm *vm, struct kvm_irqchip *chip, struct err *err)
{
    if (ioctl(vm->fd, KVM_SET_IRQCHIP, chip))
        return err_set(err, errno, "KVM does not take the state of interrupt chip %u: %s", chip->chip_id,
                       strerror(errno));
    return 0;
}

/* GSIs to pins: GSI 0 is on pin 2, and 2 is the cascade, which has no line. */
static uint32_t pins_of(uint32_t gsis)
{
    return (gsis & ~5u) | (gsis & 1) << TIMER_PIN;
}

static uint32_t gsis_of(uint32_t pins)
{
    return (pins & ~5u) | (pins >> TIMER_PIN & 1);
}

int kvm_chips_get(struct vm *base, struct chips_state *out, struct err *err)
{
    struct kvm_vm *vm = CONTAINER_OF(base, struct kvm_vm, base);
    struct chips_state chips = {0};
    struct kvm_irqchip chip;
    for (unsigned i = 0; i < 2; i++) {
        int rc = chip_get(vm, KVM_IRQCHIP_PIC_MASTER + i, &chip, err);
        if (rc)
            return rc;
        pic_from(&chips.pic[i], &chip.chip.pic);
    }
    int rc = chip_get(vm, KVM_IRQCHIP_IOAPIC, &chip, err);
    if (rc)
        return rc;
    chips.ioapic.id = chip.chip.ioapic.id << ID_SHIFT;
    chips.ioapic.select = chip.chip.ioapic.ioregsel;
    chips.ioapic.irr = chips.ioapic.levels = pins_of(atomic_load(&vm->levels));
    for (unsigned i = 0; i < IRQ_GSI_COUNT; i++)
        chips.ioapic.redirection[i] = chip.chip.ioapic.redirtbl[i].bits;
    *out = chips;
    return 0;
}

int kvm_chips_set(struct vm *base, const struct chips_state *chips, struct err *err)
{
    struct kvm_vm *vm = CONTAINER_OF(base, struct kvm_vm, base);
    /* First the lines: they leave traces in the chips, which are overwritten then. */
    for (unsigned gsi = 0; gsi < IRQ_GSI_COUNT; gsi++)
        irq_set(&vm->irq, gsi, gsis_of(chips->ioapic.levels) >> gsi & 1);
    for (unsigned i = 0; i < 2; i++) {
        struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_PIC_MASTER + i};
        pic_to(&chip.chip.pic, &chips->pic[i], i);
        int rc = chip_set(vm, &chip, err);
        if (rc)
            return rc;
    }
    struct kvm_irqchip chip = {
        .chip_id = KVM_IRQCHIP_IOAPIC,
        .chip.ioapic = {.base_address = ioapic_base,
                        .ioregsel = chips->ioapic.select,
                        .id = chips->ioapic.id >> ID_SHIFT},
    };
    for (unsigned i = 0; i < IRQ_GSI_COUNT; i++) {
        chip.chip.ioapic.redirtbl[i].bits = chips->ioapic.redirection[i];
        if (chips->ioapic.redirection[i] & ENTRY_LEVEL_TRIGGERED)
            chip.chip.ioapic.irr |= chips->ioapic.irr & 1u << i;
    }
    return chip_set(vm, &chip, err);
}
