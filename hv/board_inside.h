/* The inside of struct board, for the files board*.c alone. Threads: the main loop's. */
#ifndef HV_BOARD_INSIDE_H
#define HV_BOARD_INSIDE_H

#include <sys/queue.h>

#include "hv/board.h"
#include "hv/console.h"
#include "hv/device.h"
#include "hv/machine/acpi_tables.h"
#include "hv/machine/alarm.h"
#include "hv/machine/debugcon.h"
#include "hv/machine/fw_cfg.h"
#include "hv/machine/i440fx.h"
#include "hv/machine/i6300esb.h"
#include "hv/machine/i8042.h"
#include "hv/machine/irq_share.h"
#include "hv/machine/pci.h"
#include "hv/machine/pci_hotplug.h"
#include "hv/machine/piix3.h"
#include "hv/machine/piix4_pm.h"
#include "hv/machine/pit.h"
#include "hv/machine/port61.h"
#include "hv/machine/port92.h"
#include "hv/machine/pvpanic.h"
#include "hv/machine/reset.h"
#include "hv/machine/rtc.h"
#include "hv/machine/serial.h"
#include "hv/machine/smbios.h"
#include "node/base/log.h"
#include "node/base/loop.h"

struct disk;
struct io_thread;
struct paravirtual;
struct virtio_device;
struct virtio_pci;

enum { BOARD_FIRST_SLOT = 2, BOARD_VIRTIO_MAX = 30 };

enum board_kind { BOARD_DISK, BOARD_NET, BOARD_OTHER };
enum board_phase { BOARD_PLUGGED, BOARD_ASKED, BOARD_EJECTED, BOARD_RESTING }; /* see board_hotplug.c */

struct board_virtio {
    struct board *board;
    struct virtio_pci *pci;
    struct virtio_device *device; /* NULL: this place is free */
    enum board_kind kind;
    unsigned index, slot; /* index: of its kind */
    struct loop_message paused;
    bool rests; /* no `paused` is on its way */

    enum board_phase phase; /* this and the next under the bus lock */
    bool let_go, posted;
    struct loop_message ejected;
    bool cut_short;
};

struct board_serial {
    struct serial *port;
    struct serial_host host;
    struct console *console; /* NULL: leads nowhere */
    struct console_guest guest;
};

struct board_debug {
    struct debugcon *port;
    struct debugcon_host host;
    char line[160];
    size_t bytes;
    struct log_limit limit;
};

struct board {
    struct board_parts parts;
    struct device_list devices; /* in the order they are saved and reset */
    struct reset reset;
    struct alarm alarm;
    struct irq_share lines;

    struct pci *pci;
    struct i440fx *bridge;
    struct piix3 *isa;
    struct piix4_pm *pm;
    struct i6300esb *watchdog;
    struct pci_hotplug *hotplug;
    struct pci_hotplug_owner hotplug_owner;
    struct fw_cfg *fw_cfg;
    struct acpi_tables *acpi;
    struct smbios *smbios;

    struct pit *pit;
    struct port61 *port61;
    struct rtc *rtc;
    struct i8042 *i8042;
    struct port92 *port92;
    struct pvpanic *pvpanic;
    struct board_debug debug;
    struct board_serial serial;

    bool complete; /* what is plugged from here on is news to the guest */
    bool quiet;    /* between board_quiesce() and board_resume() */
    struct board_virtio virtio[BOARD_VIRTIO_MAX];
    struct io_thread *disk_io; /* NULL: it started without disks */
    struct disk *disks[GUEST_DISK_MAX];
    struct guest_disk later_disks[GUEST_DISK_MAX]; /* configurations of those that came later */
    struct paravirtual *paravirtual;
};

/* board_hotplug.c */
/* Puts a device into its slot, or the first free one (0), and on the list. what: pci, device, kind, index, slot. */
int board_plug(struct board *board, const struct board_virtio *what, struct err *err);
struct board_virtio *board_virtio_of(struct board *board, enum board_kind kind, unsigned index); /* NULL: none */
int board_remove(struct board *board, enum board_kind kind, unsigned index, struct err *err);
void board_ejected(struct pci_hotplug_owner *owner, unsigned slot);
void board_rested(struct loop_message *paused);
void board_resume_leaving(struct board *board); /* part of board_resume() */
void board_reset_leaving(struct board *board);  /* part of board_reset() */

/* board_disks.c */
int board_build_disks(struct board *board, struct err *err);
void board_free_disk(struct board *board, unsigned index); /* nothing is in flight; none is fine */
void board_free_disks(struct board *board);
struct json_t *board_disk_stats(struct board *board);

/* board_chips.c: what sits on ports, and the serial port's console. */
int board_build_chips(struct board *board, struct err *err);
void board_free_chips(struct board *board);
void board_let_go_chips(struct board *board);
void board_serial_listen(struct board *board);
void board_serial_goes_on(struct board *board);

/* board_paravirtual.c: networks, console, rng, balloon, vsock. */
int board_build_paravirtual(struct board *board, struct err *err);
void board_free_paravirtual(struct board *board);
void board_free_net(struct board *board, unsigned index);
struct io_thread *board_paravirtual_io(struct board *board);
void board_let_go_paravirtual(struct board *board);
void board_paravirtual_listen(struct board *board);
void board_paravirtual_goes_on(struct board *board);
void board_paravirtual_stats(struct board *board, struct json_t *all);

#endif
