/* What becomes of a guest whose kernel has panicked, or that does not feed its watchdog: those who watch are told, and
 * it is reset where the configuration says so. Each event has the counters, too: who was told of a later one only still
 * knows. */
#include <jansson.h>

#include "hv/gdb.h"
#include "hv/guest_inside.h"
#include "hv/timers.h"
#include "node/base/container.h"
#include "node/base/log.h"

json_t *guest_health(struct control_handler *handler)
{
    struct guest *g = CONTAINER_OF(handler, struct guest, control_handler);
    const char *trouble = board_trouble(g->board);
    json_t *health = json_object();
    if (*trouble)
        json_object_set_new(health, "trouble", json_string(trouble));
    if (g->panics)
        json_object_set_new(health, "panics", json_integer(g->panics));
    if (g->hangs)
        json_object_set_new(health, "hangs", json_integer(g->hangs));
    return health;
}

/* ---- with the bus locked ---- */

void guest_panicked(struct board_events *events, enum alarm_panic panic)
{
    struct guest *g = CONTAINER_OF(events, struct guest, board_events);
    guest_wish(g, panic == ALARM_DUMPS ? GUEST_WISH_DUMP : GUEST_WISH_PANIC, "its kernel");
}

/* Moving takes the time of its vCPUs (guest_throttle.c), a debugger all of it, as does the end of its lease, whose time
 * may run on (guest.c, halt()). */
bool guest_hung(struct board_events *events)
{
    struct guest *g = CONTAINER_OF(events, struct guest, board_events);
    if (guest_is_moving(g) || gdb_is_attached(g->gdb) || g->lease.frozen || g->stands_late)
        return false;
    guest_wish(g, GUEST_WISH_HANG, "its watchdog");
    return true;
}

/* ---- in the main loop ---- */

void guest_trouble_noted(struct guest *g, unsigned wishes)
{
    if (wishes & GUEST_WISH_DUMP) {
        log_warn("%s: its kernel has panicked; another one takes over, to dump it", g->config->name);
        control_event(g->control, "crash-loaded", "its kernel has panicked, and another one takes over");
    }
    if (wishes & GUEST_WISH_PANIC) {
        g->panics++;
        log_warn("%s: its kernel has panicked", g->config->name);
        control_event(g->control, "panicked", "its kernel has panicked");
    }
    if (wishes & GUEST_WISH_HANG) {
        g->hangs++;
        log_warn("%s: it did not feed its watchdog", g->config->name);
        control_event(g->control, "hung", "it did not feed its watchdog");
    }
}

bool guest_trouble_resets(const struct guest *g, unsigned wishes)
{
    return (wishes & GUEST_WISH_PANIC && g->config->on_panic == GUEST_RESET) ||
           (wishes & GUEST_WISH_HANG && g->config->on_hang == GUEST_RESET);
}
