/* What others see of a guest's unit. */
#include <jansson.h>

#include "node/agent/guest_unit_inside.h"
#include "node/base/clock.h"

bool guest_unit_is_frozen(const struct guest_unit *u)
{
    return u->deadline.frozen;
}

bool guest_unit_is_bound(const struct guest_unit *u)
{
    return u->process.pid && u->bound;
}

const char *guest_unit_address(const struct guest_unit *u)
{
    return u->address;
}

const char *guest_unit_id(const struct guest_unit *u)
{
    return u->id;
}

enum guest_phase guest_unit_phase(const struct guest_unit *u)
{
    return u->phase;
}

const char *guest_phase_name(enum guest_phase phase)
{
    static const char *const names[GUEST_PHASE_COUNT] = {"stopped", "preparing", "starting", "incoming", "running",
                                                         "leaving", "stopping",  "cleaning", "waiting",  "failed"};
    return names[phase];
}

const char *guest_unit_reason(const struct guest_unit *u)
{
    return u->reason.text;
}

int guest_unit_pid(const struct guest_unit *u)
{
    return u->process.pid;
}

const struct restart_record *guest_unit_restarts(const struct guest_unit *u)
{
    return &u->restarts;
}

void guest_unit_recall(struct guest_unit *u, const json_t *restarts)
{
    restart_record_read(&u->restarts, restarts, clock_ms());
}

bool guest_unit_busy(const struct guest_unit *u)
{
    return u->chore.busy || u->announcement.busy || u->process.polling;
}
