/* Interrupts into the guest, and doorbells out of it.
 *
 * Lines: KVM_IRQ_LINE, along routes of ours: the kernel's own would put GSI 0 on pin 0 of the IOAPIC, a PC has it on
 * pin 2. Messages: KVM_SIGNAL_MSI takes address and data as they are, from any thread, in one call. An irqfd would cost
 * the same call (a write), and a route to keep in step for each of the guest's vectors; it pays only where somebody
 * else (vhost) rings it. Doorbells are ioeventfds: the guest's write wakes the device's thread without an exit to us.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "hv/kvm/kvm_vm.h"
#include "hv/irq.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"

enum { PIC_PINS = 8, PIC_CASCADE = 2, PIT_PIN = 2, ROUTES_MAX = 2 * IRQ_GSI_COUNT };

static void set_line(struct irq *irq, unsigned gsi, bool level)
{
    struct kvm_vm *vm = CONTAINER_OF(irq, struct kvm_vm, irq);
    if (gsi >= IRQ_GSI_COUNT)
        return;
    if (level)
        atomic_fetch_or(&vm->levels, 1u << gsi);
    else
        atomic_fetch_and(&vm->levels, ~(1u << gsi));
    struct kvm_irq_level line = {.irq = gsi, .level = level};
    ioctl(vm->fd, KVM_IRQ_LINE, &line); /* fails on a GSI without route alone: 2, the cascade */
}

static void send_message(struct irq *irq, uint64_t address, uint32_t data)
{
    struct kvm_vm *vm = CONTAINER_OF(irq, struct kvm_vm, irq);
    struct kvm_msi msi = {.address_lo = (uint32_t)address, .address_hi = (uint32_t)(address >> 32), .data = data};
    ioctl(vm->fd, KVM_SIGNAL_MSI, &msi); /* fails where the guest aimed at a vCPU that is not there: as on hardware */
}

static void add_route(struct kvm_irq_routing *routes, unsigned gsi, unsigned chip, unsigned pin)
{
    routes->entries[routes->nr++] = (struct kvm_irq_routing_entry){
        .gsi = gsi, .type = KVM_IRQ_ROUTING_IRQCHIP, .u.irqchip = {.irqchip = chip, .pin = pin}};
}

static int set_routes(struct kvm_vm *vm, struct err *err)
{
    struct kvm_irq_routing *routes = calloc(1, sizeof *routes + ROUTES_MAX * sizeof routes->entries[0]);
    if (!routes)
        return err_set(err, ENOMEM, "no memory for interrupt routes");
    for (unsigned gsi = 0; gsi < IRQ_GSI_COUNT; gsi++) {
        if (gsi == PIC_CASCADE)
            continue;
        add_route(routes, gsi, KVM_IRQCHIP_IOAPIC, gsi ? gsi : PIT_PIN);
        if (gsi < 2 * PIC_PINS)
            add_route(routes, gsi, gsi < PIC_PINS ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, gsi % PIC_PINS);
    }
    int rc = ioctl(vm->fd, KVM_SET_GSI_ROUTING, routes)
                 ? err_set(err, errno, "KVM does not take the interrupt routes: %s", strerror(errno))
                 : 0;
    free(routes);
    return rc;
}

static void doorbell(struct bus_listener *listener, const struct bus_doorbell *d, bool added)
{
    static struct log_limit limit = {.burst = 10, .interval_ms = 60000};
    struct kvm_vm *vm = CONTAINER_OF(listener, struct kvm_vm, listener);
    struct kvm_ioeventfd event = {
        .addr = d->address,
        .len = d->size,
        .fd = d->fd,
        .flags = (d->space == BUS_PORTS ? KVM_IOEVENTFD_FLAG_PIO : 0) | (added ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN),
    };
    /* The guest chose the address; a bad one costs it its own speed: the bus rings then. */
    if (ioctl(vm->fd, KVM_IOEVENTFD, &event) && added)
        log_limited(&limit, LOG_LEVEL_WARN, "KVM takes no doorbell at %#llx: %s", (unsigned long long)d->address,
                    strerror(errno));
}

int kvm_irq_open(struct kvm_vm *vm, struct err *err)
{
    if (ioctl(vm->fd, KVM_CREATE_IRQCHIP, 0))
        return err_set(err, errno, "KVM makes no interrupt chips: %s", strerror(errno));
    int rc = set_routes(vm, err);
    if (rc)
        return rc;
    vm->irq = (struct irq){.set = set_line, .msi = send_message};
    vm->listener.doorbell = doorbell;
    bus_lock(vm->bus);
    bus_listen(vm->bus, &vm->listener);
    bus_unlock(vm->bus);
    return 0;
}

void kvm_irq_close(struct kvm_vm *vm)
{
    if (!vm->listener.doorbell)
        return;
    bus_lock(vm->bus);
    bus_listen(vm->bus, NULL);
    bus_unlock(vm->bus);
}
