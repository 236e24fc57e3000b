/* A saved guest's memory that is read while the guest runs already: what it touches first, the rest in the background.
 *
 *     begin --watched--> guest runs, a thread reads --all read--> over: the memory is as any other
 *                                             '--the file cannot be read--> the process ends
 *
 * A page that cannot be had any more (the file was shortened, its disk is gone) has no substitute: whoever waits for it
 * must not go on, and so the process ends at once, with words. The file must stay as it is until `over`.
 *
 * Threads: main, but for saved_pages_work. */
#ifndef HV_SAVED_PAGES_H
#define HV_SAVED_PAGES_H

#include <stdatomic.h>
#include <stdbool.h>

#include "hv/saved_guest.h"

struct err;
struct memory;

struct saved_pages {
    const struct memory *memory;
    struct saved_guest saved; /* without its state */
    int fd;                   /* late_pages.h */
    uint8_t *buffer;
    atomic_bool ending;
    _Atomic uint64_t wanted; /* pages that somebody waited for */
};

/* saved: as opened; its slots are checked against memory, and what is small (ROM) is read here. fd: lent, of
 * late_pages_open(). Errors: as saved_guest_read(); nothing is watched then. */
int saved_pages_begin(struct saved_pages *pages, const struct saved_guest *saved, struct memory *memory, int fd,
                      struct err *err);
/* The reading thread's whole work, until all is there or it is told to end. */
void saved_pages_work(struct saved_pages *pages);
/* Makes work() return soon; nobody may touch the memory any more. */
void saved_pages_stop(struct saved_pages *pages);
void saved_pages_fini(struct saved_pages *pages); /* work() has returned; all zero is accepted */

#endif
