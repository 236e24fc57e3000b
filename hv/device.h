/* What the machine asks of every device: go back to power-on, and hand over or take its state.
 *
 * Embedded in the device's struct. Both are called with the bus locked and no vCPU running; state() serves both
 * directions (state.h), and after a load the device sets its lines, timers and regions again from what it holds. */
#ifndef HV_DEVICE_H
#define HV_DEVICE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct state;

struct device {
    const char *name;  /* "serial", "virtio-blk": the section's name in the state */
    uint32_t instance; /* tells devices of one name apart */
    uint32_t version;  /* of the state it writes; it reads this one and the one before */
    void (*reset)(struct device *device);
    void (*state)(struct device *device, struct state *state);
    /* NULL: every state has this device. Else it came later, and one in which it is as new has no section of it, so
     * that programs older than it read that, too. */
    bool (*is_new)(struct device *device);
    TAILQ_ENTRY(device) link; /* the machine's */
};

TAILQ_HEAD(device_list, device);

#endif
