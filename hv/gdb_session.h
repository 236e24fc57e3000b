/* One debugger's conversation with a guest: requests of the GDB remote serial protocol to actions on a target.
 *
 *     attached, guest stands --c, s, vCont--> running --a vCPU stops, 03h, failure--> stands (a stop reply is said)
 *              ^                                                                        |
 *              +------------------------------------------------------------------------+
 *     D, k, or the end of the connection: points are gone, the guest goes on as it did before, or since
 *
 * All-stop: vCPU n is thread n + 1. Breakpoints go into the guest's code (gdb_points.h), watchpoints and hardware
 * breakpoints are the engine's (struct vcpu_debug). A debugger does not end a guest: `k` lets it go.
 *
 * What the client sends is judged here and bounded by gdb_packet.h. Threads: the main loop's.
 *
 * Source: "Debugging with GDB", appendix E. */
#ifndef HV_GDB_SESSION_H
#define HV_GDB_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cpu_state;
struct gdb_session;
struct memory;
struct vcpu_debug;
struct vcpu_stop;

/* The guest, as a debugger needs it. get, set and debug only while it stands. Errors: -errno. */
struct gdb_target {
    unsigned vcpus; /* up to VCPU_MAX */
    struct memory *memory;
    int (*get)(struct gdb_target *target, unsigned vcpu, struct cpu_state *cpu);
    int (*set)(struct gdb_target *target, unsigned vcpu, const struct cpu_state *cpu);
    int (*debug)(struct gdb_target *target, unsigned vcpu, const struct vcpu_debug *debug);
    bool (*running)(struct gdb_target *target);
    void (*stand)(struct gdb_target *target); /* no vCPU executes when it returns; calls gdb_session_standing() */
    /* Those of the mask execute, the others do not; calls gdb_session_going() before. False: the guest has failed. */
    bool (*go)(struct gdb_target *target, uint32_t vcpus);
};

enum { GDB_OUT_MAX = 0x2000 + 1024 };

/* The guest stands when it returns. NULL: no memory. */
struct gdb_session *gdb_session_new(struct gdb_target *target);
/* Lets the guest go on, if it did when the debugger came or the debugger has let it go. NULL is accepted. */
void gdb_session_free(struct gdb_session *session);
/* The guest is at its end: leaves it alone. */
void gdb_session_drop(struct gdb_session *session);

/* Takes bytes until there is something to say: how many. Only while gdb_session_out() has nothing. */
size_t gdb_session_in(struct gdb_session *session, const void *data, size_t bytes);
/* What is to be said: it stays in place until gdb_session_said() takes it away, and is added to behind it. */
size_t gdb_session_out(const struct gdb_session *session, const char **data);
void gdb_session_said(struct gdb_session *session, size_t bytes);
bool gdb_session_over(const struct gdb_session *session); /* the client has said goodbye: close when all is said */

/* vCPUs of the mask have stopped by themselves; stops: of all. The guest is made to stand. */
void gdb_session_stopped(struct gdb_session *session, uint32_t vcpus, const struct vcpu_stop *stops);
/* It cannot go on, and stands. */
void gdb_session_failed(struct gdb_session *session);

/* Whoever makes the guest go or stand says so: before the first vCPU runs, after the last one does. */
void gdb_session_going(struct gdb_session *session);
void gdb_session_standing(struct gdb_session *session);

#endif
