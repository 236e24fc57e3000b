/* Until when a guest may run: a deadline on CLOCK_BOOTTIME that whoever runs the node extends as long as nobody else
 * can be running the guest. At the deadline the guest is frozen, whatever has become of the agent: no vCPU executes,
 * and no device takes a request any more. What disks have been asked already is not taken back: it is what a machine
 * whose power fails has in flight, and members refuse it once a newer owner has opened them (nbd/nbd_epoch.h).
 *
 *     FREE --extend--> HELD --the deadline passes--> FROZEN --extend--> HELD
 *       ^                +------------------------------+
 *       +------------------ extend to GUEST_LEASE_NONE -+
 *
 * A frozen guest keeps the state it has (running, paused, failed) and what it wished; it goes on from there.
 * CLOCK_BOOTTIME, because a node that slept has been away, too. Threads: the main loop's. */
#ifndef HV_GUEST_LEASE_H
#define HV_GUEST_LEASE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "node/base/loop.h"

struct err;

#define GUEST_LEASE_NONE UINT64_C(0) /* it runs without a deadline */

struct guest_lease {
    struct loop *loop;
    void (*changed)(struct guest_lease *lease); /* frozen has become another */
    uint64_t until_ns;                          /* CLOCK_BOOTTIME, or GUEST_LEASE_NONE */
    bool frozen;
    uint64_t freezes; /* so often it was */

    int fd;
    bool waiting, ending;
    uint64_t expirations;
    struct loop_op wait;
};

/* lease: changed is set. Before the seal; frozen at once if until_ns is past, without a call. */
int guest_lease_begin(struct guest_lease *lease, struct loop *loop, uint64_t until_ns, struct err *err);
/* One that was never begun is accepted. */
void guest_lease_end(struct guest_lease *lease);
/* A deadline earlier than the one there is changes nothing: requests may overtake each other. */
void guest_lease_extend(struct guest_lease *lease, uint64_t until_ns);
/* Is it over? For who lets the guest run after the loop was not turned for long; one never begun is accepted. */
void guest_lease_look(struct guest_lease *lease);

#endif
