/* A saved guest that goes on before all of its memory is there (saved_pages.h). Where the kernel or its rights forbid
 * that, everything is read first. A worker of the migration's crew reads: who needs all of the memory, to save or move
 * it, waits until it is back.
 *
 * Thread: the main loop's. */
#include <errno.h>

#include "hv/guest_files.h"
#include "hv/guest_inside.h"
#include "hv/late_pages.h"
#include "hv/migrate_crew.h"
#include "node/base/err.h"
#include "node/base/log.h"

static void work(void *context, unsigned number)
{
    struct guest *g = context;
    (void)number;
    saved_pages_work(&g->late);
}

static void ended(void *context)
{
    struct guest *g = context;
    g->filling = false;
    saved_pages_fini(&g->late);
    log_debug("%s: all of its memory is loaded; it waited for %llu parts", g->config->name,
              (unsigned long long)g->late.wanted);
    control_event(g->control, "loaded", "all of its memory is there: the file is not needed any more");
}

int guest_late_begin(struct guest *g, const struct saved_guest *saved, struct err *err)
{
    struct err why;
    int fd = g->files->late, rc = fd < 0 ? -ENOTSUP : saved_pages_begin(&g->late, saved, g->memory, fd, &why);
    if (fd >= 0 && rc && rc != -EINVAL) {
        log_info("%s: all of its memory is loaded before it goes on: %s", g->config->name, why.text);
        late_pages_end(fd, g->memory);
    }
    if (rc)
        return saved_guest_read(saved, g->memory, err);
    g->filling = true;
    migrate_crew_start(g->crew, 1, work, ended, g);
    return 0;
}

int guest_late_wait(struct guest *g, struct err *err)
{
    while (g->filling && !g->quitting)
        loop_step(g->loop);
    return g->filling ? err_set(err, ECANCELED, "the guest ended before all of it was loaded") : 0;
}

void guest_late_end(struct guest *g)
{
    if (g->filling)
        saved_pages_stop(&g->late);
    while (g->filling)
        loop_step(g->loop);
}
