/* A guest process in a thread of a test's: built, opened, run and ended there on the scripted engine, while the test
 * drives its vCPUs and talks to its control socket, as another process would. Paths lie in a directory of its own. */
#ifndef TESTS_UNIT_GUEST_LIFE_H
#define TESTS_UNIT_GUEST_LIFE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdbool.h>

#include "hv/control.h"
#include "hv/guest.h"
#include "hv/guest_config.h"
#include "hv/guest_files.h"
#include "node/base/err.h"
#include "node/base/message.h"

struct guest_life {
    char directory[32], path[96], json[4096];
    struct guest_config config;
    struct guest_files files;
    struct guest *guest;
    struct err err;
    pthread_t thread;
    bool started;
    int rc;   /* guest_run()'s */
    bool end; /* guest_end()'s */
    struct message message;
};

/* For cmocka's setup and teardown: *state is a struct guest_life; a running guest is ended by SIGTERM's way. */
int guest_life_setup(void **state);
int guest_life_teardown(void **state);

/* "DIRECTORY/name"; valid until the next call. */
const char *guest_life_path(struct guest_life *l, const char *name);
/* A file there with `bytes` bytes that a BIOS could have. */
void guest_life_firmware(struct guest_life *l, const char *name, size_t bytes);

/* Builds, opens and runs a guest of this JSON, in which every $ stands for the directory. Returns once it runs; false:
 * it was refused, and err says why. */
bool guest_life_start(struct guest_life *l, const char *json);
/* Until it has ended by itself: the exit code. */
int guest_life_wait(struct guest_life *l);

/* Control, at unix:$/control. */
int guest_life_join(struct guest_life *l);
void guest_life_say(struct guest_life *l, int fd, enum control_type type, const char *body, int file);
int guest_life_hear(struct guest_life *l, int fd); /* a type, or -errno; l->message has the rest */
/* A connection for one request. */
int guest_life_ask(struct guest_life *l, enum control_type type, const char *body, int file);
/* Until STATUS names this state. */
void guest_life_until(struct guest_life *l, enum guest_state state);
/* SAVE to a new file. */
int guest_life_save(struct guest_life *l, const char *name);

#endif
