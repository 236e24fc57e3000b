/* The guest as a debugger's target (gdb_session.h). */
#include "hv/cpu_state.h"
#include "hv/gdb.h"
#include "hv/gdb_session.h"
#include "hv/guest_files.h"
#include "hv/guest_inside.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"

static struct guest *of(struct gdb_target *target)
{
    return CONTAINER_OF(target, struct guest, gdb_target);
}

/* What an engine refuses is the debugger's to hear, as a number, and ours, as a text. */
static int tell(int rc, const struct err *err)
{
    if (rc)
        log_debug("debugger: %s", err->text);
    return rc;
}

static int get(struct gdb_target *target, unsigned vcpu, struct cpu_state *cpu)
{
    struct guest *g = of(target);
    struct err err = {0};
    return tell(g->engine->get(vcpus_at(g->vcpus, vcpu), cpu, &err), &err);
}

static int set(struct gdb_target *target, unsigned vcpu, const struct cpu_state *cpu)
{
    struct guest *g = of(target);
    struct err err = {0};
    return tell(g->engine->set(vcpus_at(g->vcpus, vcpu), cpu, &err), &err);
}

static int debug(struct gdb_target *target, unsigned vcpu, const struct vcpu_debug *what)
{
    struct guest *g = of(target);
    struct err err = {0};
    return tell(g->engine->debug(vcpus_at(g->vcpus, vcpu), what, &err), &err);
}

static bool running(struct gdb_target *target)
{
    return of(target)->state == GUEST_RUNNING;
}

static void stand(struct gdb_target *target)
{
    struct guest *g = of(target);
    if (g->state != GUEST_RUNNING)
        return;
    guest_pause(g);
    vcpus_hold(g->vcpus, 0); /* whoever lets it go on now means all */
    control_event(g->control, "pause", "by the debugger");
}

static bool go(struct gdb_target *target, uint32_t vcpus)
{
    struct guest *g = of(target);
    if (g->state == GUEST_FAILED)
        return false;
    atomic_store(&g->stopped, 0); /* what was not looked at before happens again */
    vcpus_hold(g->vcpus, ~vcpus);
    guest_resume(g);
    control_event(g->control, "resume", "by the debugger");
    return true;
}

int guest_gdb_build(struct guest *g, struct err *err)
{
    g->gdb_target = (struct gdb_target){
        .vcpus = g->config->vcpus,
        .memory = g->memory,
        .get = get,
        .set = set,
        .debug = debug,
        .running = running,
        .stand = stand,
        .go = go,
    };
    g->gdb = gdb_new(g->loop, g->files->gdb, &g->gdb_target, err);
    if (!g->gdb)
        return -1;
    g->files->gdb = -1; /* the socket is its own now */
    return 0;
}

void guest_gdb_stopped(struct guest *g)
{
    struct vcpu_stop stops[VCPU_MAX];
    if (guest_is_going(g))
        vcpus_park(g->vcpus); /* so that all who have stopped have said so */
    uint32_t vcpus = atomic_exchange(&g->stopped, 0);
    for (unsigned i = 0; i < g->config->vcpus; i++)
        stops[i] = vcpus_at(g->vcpus, i)->stop;
    if (vcpus)
        gdb_stopped(g->gdb, vcpus, stops);
    if (guest_is_going(g)) /* it was nobody's stop: a debugger that has left */
        vcpus_go(g->vcpus);
}
