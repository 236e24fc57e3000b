/* How a guest's process is walled in: what it may still ask of the kernel once it is sealed, thread kind by thread
 * kind.
 *
 *     stage     must                                        must not
 *     receive   namespaces; read the configuration          read what is in files
 *               and open every file
 *     build     memory, vCPUs, devices, threads (parked)    execute guest code, look at a kernel or an image
 *     seal      give up root, files' names, system calls
 *     open      look at kernel, initrd, saved guest         open, connect, map executable memory
 *     run       execute the guest
 *
 * After the seal: own uid, empty root, own namespaces, no new privileges, no core file, seccomp. Translated code lies
 * in memory that was mapped before the seal, writable in one place and executable in another. */
#ifndef HV_GUEST_JAIL_H
#define HV_GUEST_JAIL_H

#include <stdbool.h>

struct err;
struct sandbox_calls;

/* Receive, before any other thread is made: into namespaces of its own, if started as root. */
int guest_jail_enter(struct err *err);
/* Build, this thread alone: into the host's network, where taps and the servers of disks are, and back out of it. */
int guest_jail_network(bool host, struct err *err);
/* Seal, main thread. connects: a disk reconnects to its server. paths: ... by a unix socket's path. engine: what it
 * calls (vcpu.h), late: what loading its memory while it runs calls (late_pages.h); or NULL. */
int guest_jail_seal(const char *user, bool connects, bool paths, const struct sandbox_calls *engine,
                    const struct sandbox_calls *late, struct err *err);
/* Run, on a vCPU's thread, before the first instruction. */
int guest_jail_vcpu(const struct sandbox_calls *engine, struct err *err);

#endif
