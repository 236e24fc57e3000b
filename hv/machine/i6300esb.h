/* The watchdog timer of the 6300ESB, as function 4 of slot 1: no slot of its own, so that devices sit where they sat
 * before it came. Debian's kernel has a driver for it (i6300esb), and any daemon feeds it through /dev/watchdog.
 *
 * Two stages in turn, each with its preload; "reload" begins the first one anew. The end of the second one is an alarm.
 * Its time is the machine's (timers.h), which stands while the guest is paused or frozen; a guest that was loaded or
 * has moved here has its stage from the beginning, and so has one whose alarm does not count (alarm.h). The interrupt
 * that a real one can raise after the first stage is left out: drivers do without.
 *
 * Threads: with the bus locked; main for new and free. Source: Intel 6300ESB data sheet, ch. 16. */
#ifndef HV_MACHINE_I6300ESB_H
#define HV_MACHINE_I6300ESB_H

#include <stdbool.h>

struct alarm;
struct device;
struct err;
struct i6300esb;
struct pci;
struct timers;

enum {
    I6300ESB_FUNCTION = 4,
    I6300ESB_CONFIG = 0x60, /* configuration space, 2 bytes */
    I6300ESB_LOCK = 0x68,   /* 1 byte */
    I6300ESB_TIMER1 = 0x0,  /* registers: preloads, 20 bits each */
    I6300ESB_TIMER2 = 0x4,
    I6300ESB_STATUS = 0x8,
    I6300ESB_RELOAD = 0xc,
};

struct i6300esb *i6300esb_new(struct pci *pci, struct timers *timers, struct alarm *alarm, struct err *err);
void i6300esb_free(struct i6300esb *dog);
struct device *i6300esb_device(struct i6300esb *dog);

/* It was not fed in time, nor since. */
bool i6300esb_hung(const struct i6300esb *dog);
/* A driver has it running. */
bool i6300esb_armed(const struct i6300esb *dog);

#endif
