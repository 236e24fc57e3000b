/* The pages that the destination of a migration does not have yet when the guest goes (post-copy): a bit for each page
 * of RAM, in the source what is to be sent, in the destination what is waited for. ROM is never among them.
 *
 * Threads: any; but for init, fini, and set and clear, which nobody else may be near. */
#ifndef HV_MIGRATE_MISSING_H
#define HV_MIGRATE_MISSING_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "hv/memory.h"

struct err;
struct migrate_frame;
struct migrate_link;

struct migrate_missing {
    const struct memory *memory;
    _Atomic uint64_t *bits[MEMORY_SLOT_MAX]; /* NULL: ROM */
    _Atomic uint64_t pages;                  /* how many are missing */
    pthread_mutex_t lock;                    /* of where next() goes on: */
    unsigned slot;
    uint64_t word;
};

struct migrate_run { /* of pages that follow each other; 64 at most, none of them in another 64 */
    unsigned slot, count;
    uint64_t page;
};

/* Nothing is missing. -ENOMEM with a text. */
int migrate_missing_init(struct migrate_missing *missing, const struct memory *memory, struct err *err);
void migrate_missing_fini(struct migrate_missing *missing); /* all zero is accepted */

void migrate_missing_set(struct migrate_missing *missing, unsigned slot, const uint64_t *bitmap); /* these too */
void migrate_missing_clear(struct migrate_missing *missing);
bool migrate_missing_has(const struct migrate_missing *missing, unsigned slot, uint64_t page);
/* They are not missing any more. How many of them were. */
unsigned migrate_missing_take(struct migrate_missing *missing, unsigned slot, uint64_t page, uint64_t count);

/* Takes up to `most` (64) pages, from where it took the last ones on. False: nothing is missing. */
bool migrate_missing_next(struct migrate_missing *missing, unsigned most, struct migrate_run *run);
/* Takes a page that somebody waits for, and what is missing right behind it. False: the page is not missing. */
bool migrate_missing_near(struct migrate_missing *missing, uint64_t gpa, unsigned most, struct migrate_run *run);

/* The runs that are missing, one after the other, without taking them: begin with all zero. */
bool migrate_missing_walk(const struct migrate_missing *missing, struct migrate_run *run);

/* All of it as MISSING frames. Errors: the link's. */
int migrate_missing_send(const struct migrate_missing *missing, struct migrate_link *link, struct err *err);
/* The body of a MISSING frame. -EPROTO with a text: not pages of this guest's RAM; nothing is set then. */
int migrate_missing_receive(struct migrate_missing *missing, struct migrate_link *link,
                            const struct migrate_frame *frame, struct err *err);

#endif
