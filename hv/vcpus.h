/* The guest's vCPU threads, all of them going or all of them parked.
 *
 *     made, parked --go--> running --park--> parked --free--> gone
 *
 * A thread makes its vCPU itself (engines may tie one to its thread), waits parked, and then executes the guest until
 * it is parked again. What a vCPU reports (triple fault, failure) parks that thread until the next park and go.
 *
 * Threads: all calls from the main loop's. */
#ifndef HV_VCPUS_H
#define HV_VCPUS_H

#include <stdbool.h>
#include <stdint.h>

#include "hv/vcpu.h"

struct err;
struct vcpus;

struct vcpus_events {
    /* On the vCPU's thread, before it parks: whoever has parked the vCPUs has been told of all of them. */
    void (*reported)(struct vcpus_events *events, unsigned index, enum vcpu_exit exit);
    /* On each thread, before it executes anything: gives up what a vCPU's thread does not need; until it returns 0 the
     * vCPU fails instead. NULL: nothing. */
    int (*enter)(struct vcpus_events *events, struct err *err);
};

/* Parked. Errors: the engine's, or -EAGAIN for threads. */
struct vcpus *vcpus_new(struct vm *vm, unsigned count, struct vcpus_events *events, struct err *err);
void vcpus_free(struct vcpus *vcpus); /* parks first */

void vcpus_go(struct vcpus *vcpus);
void vcpus_park(struct vcpus *vcpus); /* returns when no vCPU executes */
void vcpus_ask(struct vcpus *vcpus);  /* returns at once: each parks as soon as it can */
/* While parked: those of the mask stay parked when the others go. */
void vcpus_hold(struct vcpus *vcpus, uint32_t held);
bool vcpus_going(const struct vcpus *vcpus);
/* Of the processor, what the vCPU that had most of it has used since the last call, in nanoseconds. */
uint64_t vcpus_used_ns(struct vcpus *vcpus);
struct vcpu *vcpus_at(struct vcpus *vcpus, unsigned index);

#endif
