/* Saving and loading a guest: timers, chips, vCPUs and devices as one state, and the memory. The guest is quiesced. */
#include <errno.h>
#include <stdlib.h>

#include "hv/bus.h"
#include "hv/chips_state.h"
#include "hv/cpu_state.h"
#include "hv/guest_inside.h"
#include "hv/memory.h"
#include "hv/saved_guest.h"
#include "hv/state.h"
#include "hv/timers.h"
#include "node/base/err.h"

enum { GUEST_VERSION = 1, CPU_NAME_MAX = 64 };

/* What must be the same on both sides, said first, so that a mistake is named as such. */
static void identity(struct guest *g, struct state *s)
{
    uint64_t memory = memory_size(g->memory);
    uint32_t vcpus = g->config->vcpus;
    if (!state_begin(s, "guest", 0, GUEST_VERSION))
        return;
    state_u64(s, "memory", &memory);
    state_u32(s, "vcpus", &vcpus);
    state_check(s, memory == memory_size(g->memory), "it had another amount of memory");
    state_check(s, vcpus == g->config->vcpus, "it had another number of vCPUs");
    state_end(s);
}

static int exchange_vcpus(struct guest *g, struct state *s, struct err *err)
{
    int rc = 0;
    for (unsigned i = 0; !rc && i < g->config->vcpus; i++) {
        struct cpu_state cpu;
        struct vcpu *vcpu = vcpus_at(g->vcpus, i);
        cpu_state_reset(&cpu, i);
        if (!state_loading(s))
            rc = g->engine->get(vcpu, &cpu, err);
        cpu_state_state(&cpu, i, s);
        if (state_loading(s) && !state_failed(s))
            rc = g->engine->set(vcpu, &cpu, err);
    }
    return rc;
}

static int exchange_chips(struct guest *g, struct state *s, struct err *err)
{
    struct chips_state chips;
    chips_state_reset(&chips);
    int rc = state_loading(s) ? 0 : g->engine->chips_get(g->vm, &chips, err);
    chips_state_state(&chips, s);
    if (!rc && state_loading(s) && !state_failed(s))
        rc = g->engine->chips_set(g->vm, &chips, err);
    return rc;
}

static int exchange(struct guest *g, struct state *s, struct err *err)
{
    identity(g, s);
    timers_state(g->timers, s);
    int rc = exchange_chips(g, s, err);
    rc = rc ? rc : exchange_vcpus(g, s, err);
    if (!rc)
        board_state(g->board, s);
    return rc;
}

int guest_snapshot(struct guest *g, struct state **kept, const void **data, size_t *bytes, struct err *err)
{
    struct state *s = state_save_new();
    if (!s)
        return err_set(err, ENOMEM, "no memory for the state");
    int rc = exchange(g, s, err);
    rc = rc ? rc : state_fini(s, data, bytes, err);
    if (rc)
        state_free(s);
    else
        *kept = s;
    return rc;
}

int guest_save(struct guest *g, int fd, struct err *err)
{
    const void *data = NULL;
    size_t bytes = 0;
    struct state *s = NULL;
    int rc = guest_snapshot(g, &s, &data, &bytes, err);
    rc = rc ? rc : saved_guest_write(fd, g->memory, data, bytes, err);
    state_free(s);
    return rc;
}

int guest_adopt(struct guest *g, const void *data, size_t bytes, struct err *err)
{
    struct state *s = state_load_new(data, bytes);
    int rc = s ? exchange(g, s, err) : err_set(err, ENOMEM, "no memory for the state");
    if (s && !rc)
        rc = state_fini(s, NULL, NULL, err);
    state_free(s);
    return rc;
}

int guest_load(struct guest *g, int fd, struct err *err)
{
    struct saved_guest saved;
    int rc = saved_guest_open(&saved, fd, err);
    if (rc)
        return rc;
    rc = guest_late_begin(g, &saved, err);
    rc = rc ? rc : guest_adopt(g, saved.state, saved.state_bytes, err);
    saved_guest_fini(&saved);
    return rc;
}
