/* The debugger's door: a listening socket, one client at a time, its conversation (gdb_session.h).
 *
 *     bytes from the client --> session --> bytes to the client; nothing is read while an answer is being written
 *
 * Local only, and off unless asked for: who can open the socket rules the guest, as with the control socket. Threads:
 * the main loop's. */
#ifndef HV_GDB_H
#define HV_GDB_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct gdb;
struct gdb_target;
struct loop;
struct vcpu_stop;

/* Makes the socket: unix:PATH, or tcp:PORT and tcp:127.0.0.1:PORT on the loopback. Before the seal. */
int gdb_listen(const char *address, int *listener, struct err *err);

/* listener: owned from here on; -1: none, clients come by gdb_adopt(). target outlives it. */
struct gdb *gdb_new(struct loop *loop, int listener, struct gdb_target *target, struct err *err);
/* The guest is at its end. NULL is accepted, here and below. */
void gdb_free(struct gdb *gdb);
/* A client's socket, as if it had connected. Owned from here on, if 0; -EBUSY with a text: somebody is there. */
int gdb_adopt(struct gdb *gdb, int fd, struct err *err);
bool gdb_is_attached(const struct gdb *gdb);

/* The guest is in the middle of something (reset, save): no request is handled until it is over. */
void gdb_hold(struct gdb *gdb, bool hold);

/* As gdb_session.h has them. */
void gdb_going(struct gdb *gdb);
void gdb_standing(struct gdb *gdb);
void gdb_stopped(struct gdb *gdb, uint32_t vcpus, const struct vcpu_stop *stops);
void gdb_failed(struct gdb *gdb);

#endif
