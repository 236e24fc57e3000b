/* See board.h. Construction is a list of steps; what a step made, board_free() takes down in the opposite order,
 * whether the list was finished or not. */
#include "hv/board.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "hv/board_inside.h"
#include "hv/bus.h"
#include "hv/chips_state.h"
#include "hv/machine/acpi_tables.h"
#include "hv/machine/fw_cfg_board.h"
#include "hv/state.h"
#include "hv/virtio/virtio_device.h"
#include "hv/virtio/virtio_pci.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/loop.h"

enum { CPUID_ADDRESS_SIZES = 0x80000008u };

/* ---- wishes of the chips ---- */

static void restart(struct reset *reset, const char *by)
{
    struct board *b = CONTAINER_OF(reset, struct board, reset);
    b->parts.events->restart(b->parts.events, by);
}

static void off(struct reset *reset, const char *by)
{
    struct board *b = CONTAINER_OF(reset, struct board, reset);
    b->parts.events->off(b->parts.events, by);
}

/* ---- its health ---- */

static void panicked(struct alarm *alarm, enum alarm_panic panic)
{
    struct board *b = CONTAINER_OF(alarm, struct board, alarm);
    b->parts.events->panicked(b->parts.events, panic);
}

static bool hung(struct alarm *alarm)
{
    struct board *b = CONTAINER_OF(alarm, struct board, alarm);
    return b->parts.events->hung(b->parts.events);
}

const char *board_trouble(struct board *b)
{
    bus_lock(b->parts.bus);
    const char *trouble = pvpanic_panicked(b->pvpanic) ? "panicked" : i6300esb_hung(b->watchdog) ? "hung" : "";
    bus_unlock(b->parts.bus);
    return trouble;
}

bool board_is_watched(struct board *b)
{
    bus_lock(b->parts.bus);
    bool is = i6300esb_armed(b->watchdog);
    bus_unlock(b->parts.bus);
    return is;
}

/* ---- construction ---- */

static void add(struct board *b, struct device *device)
{
    TAILQ_INSERT_TAIL(&b->devices, device, link);
}

static int build_pci(struct board *b, struct err *err)
{
    const struct board_parts *p = &b->parts;
    irq_share_init(&b->lines, p->vm->irq);
    b->pci = pci_new(p->bus, &b->lines, &b->reset, err);
    b->bridge = b->pci ? i440fx_new(b->pci, err) : NULL;
    b->isa = b->bridge ? piix3_new(b->pci, err) : NULL;
    b->pm = b->isa ? piix4_pm_new(b->pci, p->timers, &b->reset, err) : NULL;
    b->watchdog = b->pm ? i6300esb_new(b->pci, p->timers, &b->alarm, err) : NULL;
    b->hotplug_owner.ejected = board_ejected;
    b->hotplug = b->watchdog ? pci_hotplug_new(b->pci, b->pm, &b->hotplug_owner, err) : NULL;
    if (!b->hotplug)
        return -1;
    add(b, pci_device(b->pci));
    add(b, i440fx_device(b->bridge));
    add(b, piix3_device(b->isa));
    add(b, piix4_pm_device(b->pm));
    add(b, i6300esb_device(b->watchdog));
    add(b, pci_hotplug_device(b->hotplug));
    return 0;
}

static int build_firmware(struct board *b, struct err *err)
{
    const struct board_parts *p = &b->parts;
    uint32_t sizes[4];
    struct acpi_config acpi = {.vcpus = p->config->vcpus};
    cpu_model_query(&p->vm->model, 0, CPUID_ADDRESS_SIZES, 0, sizes);
    acpi_config_windows(&acpi, p->memory, sizes[0] & 0xff);
    b->acpi = acpi_tables_new(&acpi, err);
    b->fw_cfg = b->acpi ? fw_cfg_new(p->bus, p->memory, err) : NULL;
    if (!b->fw_cfg)
        return -1;
    add(b, fw_cfg_device(b->fw_cfg));
    struct fw_cfg_board told = {.memory = p->memory, .vcpus = p->config->vcpus, .serial_console = true};
    struct smbios_config maker = {.product = "Drover guest", .vcpus = p->config->vcpus, .memory = p->memory};
    b->smbios = smbios_new(&maker, err);
    if (!b->smbios)
        return -1;
    int rc = fw_cfg_board_add(b->fw_cfg, &told, err);
    rc = rc ? rc : acpi_tables_offer(b->acpi, b->fw_cfg, err);
    return rc ? rc : smbios_offer(b->smbios, b->fw_cfg, err);
}

struct board *board_new(const struct board_parts *parts, struct err *err)
{
    static int (*const steps[])(struct board *, struct err *) = {build_pci, board_build_chips, build_firmware,
                                                                 board_build_disks, board_build_paravirtual};
    struct board *b = calloc(1, sizeof *b);
    if (!b) {
        err_set(err, ENOMEM, "no memory for the board");
        return NULL;
    }
    b->parts = *parts;
    b->reset = (struct reset){restart, off};
    b->alarm = (struct alarm){panicked, hung};
    TAILQ_INIT(&b->devices);
    for (unsigned i = 0; i < sizeof steps / sizeof *steps; i++)
        if (steps[i](b, err)) {
            board_free(b);
            return NULL;
        }
    b->complete = true;
    return b;
}

void board_free(struct board *b)
{
    if (!b)
        return;
    bus_lock(b->parts.bus);
    for (unsigned i = 0; i < BOARD_VIRTIO_MAX; i++)
        if (b->virtio[i].device)
            virtio_pci_unplug(b->virtio[i].pci);
    bus_unlock(b->parts.bus);
    for (unsigned i = 0; i < BOARD_VIRTIO_MAX; i++)
        loop_unpost(b->parts.loop, &b->virtio[i].ejected);
    board_free_disks(b);
    board_free_paravirtual(b);
    fw_cfg_free(b->fw_cfg);
    smbios_free(b->smbios);
    acpi_tables_free(b->acpi);
    board_free_chips(b);
    pci_hotplug_free(b->hotplug);
    i6300esb_free(b->watchdog);
    piix4_pm_free(b->pm);
    piix3_free(b->isa);
    i440fx_free(b->bridge);
    pci_free(b->pci);
    irq_share_fini(&b->lines);
    free(b);
}

void board_let_go(struct board *b)
{
    board_let_go_chips(b);
    board_let_go_paravirtual(b);
}

/* ---- the whole ---- */

int board_place_tables(struct board *b, uint64_t *rsdp, struct err *err)
{
    int rc = acpi_tables_place(b->acpi, b->parts.memory, ACPI_PLACE_GPA, ACPI_PLACE_BYTES, err);
    rc = rc ? rc : smbios_place(b->smbios, b->parts.memory, SMBIOS_PLACE_GPA, SMBIOS_PLACE_BYTES, err);
    if (!rc)
        *rsdp = ACPI_PLACE_GPA;
    return rc;
}

/* One that is resumed before it has come to rest says so at once; that message must have arrived. */
static void await_message(struct board *b, const struct board_virtio *v)
{
    while (!b->quiet && v->device && v->phase != BOARD_RESTING && !v->rests)
        loop_step(b->parts.loop);
}

void board_hold(struct board *b)
{
    for (unsigned i = 0; i < BOARD_VIRTIO_MAX; i++)
        await_message(b, &b->virtio[i]);
    bool held = b->quiet;
    b->quiet = true;
    for (unsigned i = 0; i < BOARD_VIRTIO_MAX; i++) {
        struct board_virtio *v = &b->virtio[i];
        if (!v->device || v->phase == BOARD_RESTING || (held && !v->rests))
            continue;
        v->rests = false;
        v->paused.deliver = board_rested;
        virtio_device_pause(v->device, b->parts.loop, &v->paused);
    }
}

int board_quiesce(struct board *b, bool (*give_up)(void *context), void *context)
{
    board_hold(b);
    bool gave_up = false;
    for (unsigned i = 0; i < BOARD_VIRTIO_MAX; i++)
        while (b->virtio[i].device && !b->virtio[i].rests) { /* also after giving up: the message must arrive first */
            if (!gave_up && give_up(context)) {
                gave_up = true;
                board_resume(b);
            }
            loop_step(b->parts.loop);
        }
    return gave_up ? -ECANCELED : 0;
}

void board_resume(struct board *b)
{
    if (!b->quiet)
        return;
    b->quiet = false;
    for (unsigned i = 0; i < BOARD_VIRTIO_MAX; i++)
        if (b->virtio[i].device)
            virtio_device_resume(b->virtio[i].device);
    board_resume_leaving(b);
    board_serial_goes_on(b);
    board_paravirtual_goes_on(b);
}

void board_reset(struct board *b)
{
    struct device *d;
    bus_lock(b->parts.bus);
    TAILQ_FOREACH (d, &b->devices, link)
        d->reset(d);
    bus_unlock(b->parts.bus);
    board_reset_leaving(b);
}

void board_state(struct board *b, struct state *s)
{
    struct device *d;
    bus_lock(b->parts.bus);
    TAILQ_FOREACH (d, &b->devices, link) {
        bool left_out = d->is_new && (state_loading(s) ? !state_has(s, d->name, d->instance) : d->is_new(d));
        if (left_out && state_loading(s))
            d->reset(d);
        if (d->state && !left_out && state_begin(s, d->name, d->instance, d->version)) {
            d->state(d, s);
            state_end(s);
        }
    }
    bus_unlock(b->parts.bus);
}

void board_listen(struct board *b)
{
    board_serial_listen(b);
    board_paravirtual_listen(b);
}

void board_power_button(struct board *b)
{
    bus_lock(b->parts.bus);
    piix4_pm_power_button(b->pm);
    bus_unlock(b->parts.bus);
}

struct console *board_console(struct board *b)
{
    return b->serial.console;
}

json_t *board_stats(struct board *b)
{
    json_t *all = json_pack("{s:o}", "disks", board_disk_stats(b));
    board_paravirtual_stats(b, all);
    return all;
}

json_t *board_devices(struct board *b)
{
    json_t *all = json_array();
    for (unsigned i = 0; i < BOARD_VIRTIO_MAX; i++) {
        const struct board_virtio *v = &b->virtio[i];
        if (v->device)
            json_array_append_new(all,
                                  json_pack("{s:i, s:s, s:i, s:i, s:I}", "slot", (int)v->slot, "device",
                                            v->device->name, "number", (int)v->index, "queues",
                                            (int)v->device->queue_count, "features", (json_int_t)v->device->offered));
    }
    return all;
}
