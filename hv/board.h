/* The PC that a guest finds itself in: i440fx and PIIX chips, ports, PCI slots, and the paravirtual devices in them.
 *
 *     slot 0   host bridge           slots 2 ...   disks, networks, console, rng, balloon, vsock, in this order:
 *     slot 1   ISA bridge, PM                      the same configuration gives the same slots on every node;
 *                                                  what is added later gets the first free slot
 *
 * The board owns its devices and knows what they are; it does not know who executes the guest. Threads: the main
 * loop's; the bus lock is taken inside.
 *
 * Source: Intel 82441FX, 82371AB data sheets. */
#ifndef HV_BOARD_H
#define HV_BOARD_H

#include <stdbool.h>
#include <stdint.h>

#include "hv/guest_config.h"
#include "hv/machine/alarm.h"
#include "hv/vcpu.h"

struct board;
struct bus;
struct console;
struct err;
struct json_t;
struct loop;
struct memory;
struct state;
struct timers;

struct board_events {
    /* With the bus locked, from any thread: note it, do nothing else. */
    void (*restart)(struct board_events *events, const char *by);
    void (*off)(struct board_events *events, const char *by);
    /* The same, see hv/machine/alarm.h. */
    void (*panicked)(struct board_events *events, enum alarm_panic panic);
    bool (*hung)(struct board_events *events);
    /* Main loop: a disk or a net ("disk", "net") that was removed is gone. */
    void (*removed)(struct board_events *events, const char *kind, unsigned index);
};

struct board_parts { /* all outlive the board */
    struct loop *loop;
    struct bus *bus;
    struct timers *timers;
    struct memory *memory;
    struct vm *vm;
    const struct guest_config *config;
    struct board_events *events;
    void (*quit)(void *context); /* Ctrl-A x on a terminal */
    void *context;
};

/* Makes everything, opens disks, networks and consoles, starts I/O threads: before the seal. Errors name the part. */
struct board *board_new(const struct board_parts *parts, struct err *err);
void board_free(struct board *board); /* no vCPU runs */
/* Instead of board_free(), for a process that ends with I/O in flight: consoles say what they have left, the terminal
 * is put back in order. */
void board_let_go(struct board *board);

/* What disks will need after the seal: enum blk_need. */
uint32_t board_needs(const struct board *board);
/* Puts the ACPI and SMBIOS tables where a kernel without firmware finds them; the RSDP's address. */
int board_place_tables(struct board *board, uint64_t *rsdp, struct err *err);

/* No vCPU runs: nothing is in flight when it returns 0. Turns the loop while disks finish; -ECANCELED if give_up() says
 * so meanwhile. Ends with board_resume(), which does nothing where nothing rests. */
int board_quiesce(struct board *board, bool (*give_up)(void *context), void *context);
void board_resume(struct board *board);
/* Begins what board_quiesce() ends, and does not wait: no device takes a request any more. Ends with board_resume(),
 * too. May turn the loop for messages that are there already. */
void board_hold(struct board *board);
/* While board_quiesce() waits: a disk with I/O in flight that has completed none since this was last asked, or -1. */
int board_stuck_disk(struct board *board);
void board_reset(struct board *board);                      /* quiesced */
void board_state(struct board *board, struct state *state); /* quiesced */

/* Quiesced: the stacks of all disks are flushed, closed (told: what the guest knows of them, a new array), opened
 * again. A failure to open leaves those that were opened open: close them, or try again. */
int board_flush_disks(struct board *board, struct err *err);
struct json_t *board_close_disks(struct board *board);
int board_open_disks(struct board *board, struct err *err);
bool board_disks_are_open(const struct board *board);
/* In a guest that comes from elsewhere, before its disks are opened: what it knows of them, foreign. */
int board_tell_disks(struct board *board, const struct json_t *told, struct err *err);
int board_set_epoch(struct board *board, unsigned index, uint64_t epoch, struct err *err);
/* Tells the networks' neighbours where the guest is now. */
void board_announce(struct board *board);
/* A new array: what sits in which slot, and what it can do. */
struct json_t *board_devices(struct board *board);

/* What is wrong with what runs in it, since its last reset: "panicked", "hung", or "". */
const char *board_trouble(struct board *board);
/* It has its watchdog running. */
bool board_is_watched(struct board *board);

/* Once, when the guest is in place: from here on consoles are read. What is typed earlier waits, or a load would lose
 * it. */
void board_listen(struct board *board);

void board_power_button(struct board *board);
/* Memory that the guest should keep; what it cannot give back at once it gives back later. */
int board_balloon(struct board *board, uint64_t keep_bytes, struct err *err);
/* Turns the loop until it is done; -ECANCELED if give_up() says so meanwhile, -EBUSY if another is under way. */
int board_resize_disk(struct board *board, unsigned disk, uint64_t bytes, bool (*give_up)(void *context), void *context,
                      struct err *err);
/* It is there, and is not being removed; NULL with the reason. */
struct disk *board_disk(struct board *board, unsigned index, struct err *err);
/* {"verb":"attach"...} of a disk that is a volume: see hv/disk_volume.h. */
int board_change_volume(struct board *board, unsigned disk, const struct json_t *body, bool (*give_up)(void *context),
                        void *context, struct err *err);
/* A disk or a network comes while the guest runs, into the first free slot. Taken over on success: config's texts;
 * fds of nets, one per queue. index: its number. Errors name what is wrong; the guest has seen nothing then. */
int board_add_disk(struct board *board, struct guest_disk *config, unsigned *index, struct err *err);
int board_add_net(struct board *board, const struct guest_net *config, const int *fds, unsigned *index,
                  struct err *err);
/* Asks the guest to let it go, which may be never; events->removed() when it is gone, with the next reset at the
 * latest. -ENODEV, -EBUSY. */
int board_remove_disk(struct board *board, unsigned index, struct err *err);
int board_remove_net(struct board *board, unsigned index, struct err *err);
/* A resize that was given up is still in flight. */
bool board_is_resizing(const struct board *board);
struct console *board_console(struct board *board); /* of the serial port */
/* {"disks": [...], "nets": [...], "balloon": {...}}: a new object. */
struct json_t *board_stats(struct board *board);

#endif
