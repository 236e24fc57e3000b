/* A guest: memory, vCPUs and board, and what can be asked of it.
 *
 *              vCPU fails          control: reset
 *     RUNNING ------------> FAILED ----------------> RUNNING
 *      |  ^
 *      v  | pause, resume, save, reset (by the guest or by control)
 *     PAUSED                        power-off, stop: the loop ends, the process ends
 *
 * The stages of its process are those of guest_jail.h; guest_build() ends where the seal belongs, guest_open() begins
 * behind it. Threads: the main one. */
#ifndef HV_GUEST_H
#define HV_GUEST_H

#include <stdbool.h>

#include "hv/guest_config.h"

struct engine;
struct err;
struct guest;
struct guest_files;

/* Everything is there and parked, nothing foreign was looked at. config, files and engine outlive the guest, which
 * takes the control socket out of files. Which engine executes it is the caller's choice (engine_choice.h), not
 * config's. */
struct guest *guest_build(const struct guest_config *config, struct guest_files *files, const struct engine *engine,
                          struct err *err);
int guest_seal(struct guest *guest, struct err *err);
/* Puts the kernel, or the saved guest, in place. */
int guest_open(struct guest *guest, struct err *err);
/* Runs until the guest is off. The process's exit code: EXIT_FAILURE if it failed where nobody can reset it. */
int guest_run(struct guest *guest);
/* Brings everything to rest and frees it: true. False: a disk does not give back what it was asked, because its server
 * is away; the terminal is in order again, and all that is left to do is to end the process, by _exit(). NULL is
 * accepted. */
bool guest_end(struct guest *guest);

#endif
