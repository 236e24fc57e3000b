/* The threads that move a guest's memory: made and parked before the process is sealed, since a sealed one makes no
 * threads, and set to work when a migration comes. Work is a function that each of them runs with its number.
 *
 * Threads: main, but for migrate_crew_on_main(), which the workers call. */
#ifndef HV_MIGRATE_CREW_H
#define HV_MIGRATE_CREW_H

#include <stdbool.h>

#include "node/base/loop.h"

struct err;
struct migrate_crew;

struct migrate_crew *migrate_crew_new(struct loop *loop, unsigned count, struct err *err);
void migrate_crew_free(struct migrate_crew *crew); /* nobody works */

/* Worker 0 .. count-1 run work(context, number); ended(context) on the main loop when all have come back. One at a
 * time. */
void migrate_crew_start(struct migrate_crew *crew, unsigned count, void (*work)(void *context, unsigned number),
                        void (*ended)(void *context), void *context);
bool migrate_crew_works(const struct migrate_crew *crew);
/* A worker's call: run(context) on the main loop, from where it may turn the loop; returns when it is done. */
void migrate_crew_on_main(struct migrate_crew *crew, void (*run)(void *context), void *context);
/* The same without waiting: `eventfd` is made readable when it is done. errand: its memory, until then. */
struct migrate_errand {
    struct loop_message message;
    void (*run)(void *context);
    void *context;
    int eventfd;
};
void migrate_crew_send(struct migrate_crew *crew, struct migrate_errand *errand, void (*run)(void *context),
                       void *context, int eventfd);
/* Makes an eventfd readable that a worker polls. Thread: any. */
void migrate_crew_nudge(int eventfd);

#endif
