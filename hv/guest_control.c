/* What a guest answers on its control socket. The permit table (control.c) has let the request in. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "hv/console.h"
#include "hv/gdb.h"
#include "hv/guest_inside.h"
#include "hv/memory.h"
#include "hv/stack_files.h"
#include "hv/timers.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"

enum guest_state guest_state_of(struct control_handler *handler)
{
    return CONTAINER_OF(handler, struct guest, control_handler)->state;
}

static json_t *status(struct guest *g)
{
    json_t *health = guest_health(&g->control_handler);
    json_t *all = json_pack("{s:s, s:s, s:s, s:s, s:i, s:I, s:f, s:f, s:b, s:I, s:b}", "name", g->config->name, "state",
                            control_state_name(g->state), "engine", g->engine->name, "cpu", g->config->cpu, "vcpus",
                            (int)g->config->vcpus, "memory", (json_int_t)memory_size(g->memory), "uptime-seconds",
                            (double)(clock_ns() - g->began_ns) / 1e9, "guest-seconds",
                            (double)timers_now_ns(g->timers) / 1e9, "frozen", g->lease.frozen, "freezes",
                            (json_int_t)g->lease.freezes, "loading", g->filling || guest_is_arriving(g));
    json_object_update_new(all, json_pack("{s:s, s:i, s:i, s:b}", "trouble", "", "panics", 0, "hangs", 0, "watchdog",
                                          board_is_watched(g->board)));
    json_object_update(all, health);
    json_decref(health);
    return all;
}

static json_t *stats(struct guest *g)
{
    struct vm_stats vm = {0};
    g->engine->stats(g->vm, &vm);
    json_t *all = board_stats(g->board);
    if (all)
        json_object_set_new(all, "vcpus",
                            json_pack("{s:I, s:I, s:I}", "exits", (json_int_t)vm.exits, "instructions",
                                      (json_int_t)vm.instructions, "overhead-bytes", (json_int_t)vm.overhead_bytes));
    return all;
}

static int save(struct guest *g, struct control_request *request, struct err *err)
{
    int rc = guest_late_wait(g, err);
    rc = rc ? rc : guest_quiesce(g, GUEST_IMPATIENT, err);
    if (rc)
        return rc;
    if (atomic_load(&g->wishes) &
        ~(unsigned)GUEST_WISH_NEWS) /* no part of the state: where it is loaded it would never come true */
        rc = err_set(err, EBUSY, "the guest is resetting or switching itself off at this moment: try again");
    rc = rc ? rc : guest_save(g, request->fds[0], err);
    if (!rc)
        g->state = GUEST_PAUSED; /* it goes on where it is loaded, or here by `resume` */
    guest_unquiesce(g);
    return rc;
}

/* What has a disk do something by itself, or would have to wait for one. */
static bool needs_disks(enum control_type type)
{
    return type == CONTROL_SAVE || type == CONTROL_RESET || type == CONTROL_RESIZE || type == CONTROL_VOLUME ||
           type == CONTROL_DISK_ADD;
}

static int number_in(const json_t *body, const char *key, json_int_t max, json_int_t *value, struct err *err)
{
    const json_t *v = json_object_get(body, key);
    if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > max)
        return err_set(err, EINVAL, "%s: must be a number from 0 to %lld", key, (long long)max);
    *value = json_integer_value(v);
    return 0;
}

static int balloon(struct guest *g, const json_t *body, struct err *err)
{
    json_int_t bytes = 0;
    int rc = number_in(body, "bytes", (json_int_t)memory_size(g->memory), &bytes, err);
    return rc ? rc : board_balloon(g->board, (uint64_t)bytes, err);
}

static int resize(struct guest *g, const json_t *body, struct err *err)
{
    json_int_t disk = 0, bytes = 0;
    int rc = number_in(body, "disk", GUEST_DISK_MAX - 1, &disk, err);
    rc = rc ? rc : number_in(body, "bytes", INT64_MAX, &bytes, err);
    return rc ? rc : board_resize_disk(g->board, (unsigned)disk, (uint64_t)bytes, guest_gives_up, g, err);
}

static int change_volume(struct guest *g, const json_t *body, struct err *err)
{
    json_int_t disk = 0;
    int rc = number_in(body, "disk", GUEST_DISK_MAX - 1, &disk, err);
    return rc ? rc : board_change_volume(g->board, (unsigned)disk, body, guest_gives_up, g, err);
}

static int lease(struct guest *g, const json_t *body, json_t **answer, struct err *err)
{
    json_int_t until = 0;
    int rc = number_in(body, "until_ns", INT64_MAX, &until, err);
    if (rc)
        return rc;
    guest_lease_extend(&g->lease, (uint64_t)until);
    *answer = json_pack("{s:I, s:b}", "until_ns", (json_int_t)g->lease.until_ns, "frozen", g->lease.frozen);
    return 0;
}

/* ---- what comes and goes ---- */

static int disk_add(struct guest *g, struct control_request *request, json_t **answer, struct err *err)
{
    struct guest_disk disk;
    unsigned index = 0;
    json_t *body = json_deep_copy(request->body), *stack = json_object_get(body, "stack");
    int rc = json_is_array(stack) ? stack_files_take(stack, request->fds, request->fd_count, err)
                                  : err_set(err, EINVAL, "stack: must be a list of layers, top first");
    rc = rc ? rc : guest_disk_from_json(&disk, body, err);
    json_decref(body);
    if (rc)
        return rc;
    rc = board_add_disk(g->board, &disk, &index, err);
    guest_disk_fini(&disk);
    if (!rc)
        *answer = json_pack("{s:i}", "disk", (int)index);
    return rc;
}

static int net_add(struct guest *g, struct control_request *request, json_t **answer, struct err *err)
{
    struct guest_net net;
    unsigned index = 0;
    int rc = guest_net_from_json(&net, request->body, err);
    if (!rc && net.queues != request->fd_count)
        rc = err_set(err, EINVAL, "queues: %u, and %u files came", net.queues, request->fd_count);
    rc = rc ? rc : board_add_net(g->board, &net, request->fds, &index, err);
    guest_net_fini(&net);
    if (rc)
        return rc;
    for (unsigned i = 0; i < request->fd_count; i++)
        request->fds[i] = -1;
    *answer = json_pack("{s:i}", "net", (int)index);
    return 0;
}

static int remove_one(struct guest *g, struct control_request *request, struct err *err)
{
    bool disk = request->type == CONTROL_DISK_REMOVE;
    json_int_t index = 0;
    int rc = number_in(request->body, disk ? "disk" : "net", (disk ? GUEST_DISK_MAX : GUEST_NET_MAX) - 1, &index, err);
    if (rc)
        return rc;
    return disk ? board_remove_disk(g->board, (unsigned)index, err) : board_remove_net(g->board, (unsigned)index, err);
}

void guest_removed(struct board_events *events, const char *kind, unsigned index)
{
    struct guest *g = CONTAINER_OF(events, struct guest, board_events);
    char event[32], text[32];
    snprintf(event, sizeof event, "%s-removed", kind);
    snprintf(text, sizeof text, "%ss[%u]", kind, index);
    log_info("%s: %s is removed", g->config->name, text);
    control_event(g->control, event, text);
}

static int adopt_console(struct guest *g, struct control_request *request, struct err *err)
{
    struct console *console = board_console(g->board);
    if (!console)
        return err_set(err, ENODEV, "the guest's serial port leads nowhere: start it with --console");
    int rc = console_adopt(console, request->fds[0], err);
    if (!rc)
        request->fds[0] = -1;
    return rc;
}

static int adopt_debugger(struct guest *g, struct control_request *request, struct err *err)
{
    int rc = gdb_adopt(g->gdb, request->fds[0], err);
    if (!rc)
        request->fds[0] = -1;
    return rc;
}

static int change_state(struct guest *g, enum control_type type, struct err *err)
{
    int rc = 0;
    switch (type) {
    case CONTROL_PAUSE:
        guest_pause(g);
        break;
    case CONTROL_RESUME:
        guest_resume(g);
        break;
    case CONTROL_STOP:
        guest_quit(g, EXIT_SUCCESS);
        return 0;
    case CONTROL_RESET:
        rc = guest_restart(g, GUEST_IMPATIENT, err);
        break;
    default:
        return -EINVAL;
    }
    if (!rc)
        control_event(g->control, control_name(type), "by control");
    return rc;
}

/* A vCPU, or an I/O thread, that waits for a page does not stop for this loop, which the lease needs. */
static bool may_wait_for_a_page(const struct control_request *request)
{
    switch (request->type) {
    case CONTROL_STATS:
    case CONTROL_PAUSE:
    case CONTROL_RESET:
    case CONTROL_SAVE:
    case CONTROL_RESIZE:
    case CONTROL_GDB:
    case CONTROL_DISK_ADD:
    case CONTROL_DISK_REMOVE:
    case CONTROL_NET_ADD:
    case CONTROL_NET_REMOVE:
        return true;
    case CONTROL_VOLUME:
        return guest_move_takes(request->body);
    default:
        return false;
    }
}

int guest_handle(struct control_handler *handler, struct control_request *request, json_t **answer, struct err *err)
{
    struct guest *g = CONTAINER_OF(handler, struct guest, control_handler);
    if (request->type == CONTROL_LEASE)
        return lease(g, request->body, answer, err);
    if ((request->type >= CONTROL_MIGRATE && request->type <= CONTROL_INCOMING_GO) ||
        request->type == CONTROL_FORECAST || request->type == CONTROL_MIGRATE_RESUME)
        return guest_migrate_handle(g, request, answer, err);
    bool looks = request->type == CONTROL_STATUS || request->type == CONTROL_STATS || request->type == CONTROL_STOP;
    if (g->busy && !looks)
        return err_set(err, EBUSY, "%s: not while the guest is being %s", control_name(request->type),
                       board_disks_are_open(g->board) ? "saved or reset" : "handed over");
    if (may_wait_for_a_page(request) && guest_is_arriving(g))
        return err_set(err, EBUSY, "%s: not before all of the guest's memory has come: see \"migration\"",
                       control_name(request->type));
    bool changes = request->type == CONTROL_SAVE || request->type == CONTROL_RESET || request->type == CONTROL_RESIZE ||
                   request->type == CONTROL_GDB ||
                   (request->type >= CONTROL_DISK_ADD && request->type <= CONTROL_NET_REMOVE);
    if (changes && guest_is_moving(g))
        return err_set(err, EBUSY, "%s: not while the guest is moving away", control_name(request->type));
    if (g->lease.frozen && needs_disks(request->type))
        return err_set(err, EBUSY, "%s: not while the guest is frozen: its lease was not extended",
                       control_name(request->type));
    switch (request->type) {
    case CONTROL_STATUS:
        *answer = status(g);
        return 0;
    case CONTROL_STATS:
        *answer = stats(g);
        return 0;
    case CONTROL_POWERDOWN:
        board_power_button(g->board);
        return 0;
    case CONTROL_SAVE:
        return save(g, request, err);
    case CONTROL_BALLOON:
        return balloon(g, request->body, err);
    case CONTROL_RESIZE:
        return resize(g, request->body, err);
    case CONTROL_VOLUME:
        return guest_move_takes(request->body) ? guest_move(g, request->body, err)
                                               : change_volume(g, request->body, err);
    case CONTROL_CONSOLE:
        return adopt_console(g, request, err);
    case CONTROL_DISK_ADD:
        return disk_add(g, request, answer, err);
    case CONTROL_NET_ADD:
        return net_add(g, request, answer, err);
    case CONTROL_DISK_REMOVE:
    case CONTROL_NET_REMOVE:
        return remove_one(g, request, err);
    case CONTROL_GDB:
        return adopt_debugger(g, request, err);
    default:
        return change_state(g, request->type, err);
    }
}
