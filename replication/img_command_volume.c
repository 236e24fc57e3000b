/* Looks after a volume that nobody uses: makes it larger, fills the members that are there, compares all copies, in
 * this order, and ends. It is the volume's owner meanwhile, so a stack of a cluster has its epoch in the members'
 * names, and whoever comes with a greater one ends it. SIGTERM closes it in order.
 *
 *     open --> larger --> all that are there are in sync --> scrubbed --> closed
 *
 * It gives up its rights like drover-nbd, before it opens the stack where that can be (tend_jail.h).
 *
 * How it is it says once a second, a line of JSON (volume_json.h); in a file the last line is the only one. */
#include "replication/img_command_volume.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/base/container.h"
#include "node/base/loop.h"
#include "nbd/img_location.h"
#include "replication/tend_jail.h"
#include "replication/volume.h"
#include "replication/volume_json.h"

enum { KEY_GROW = 256, KEY_SCRUB, KEY_RATE };
enum { LOST_STEPS = 10 };

#define SECOND_NS UINT64_C(1000000000)

struct tend {
    struct img_arguments common;
    uint64_t grow_bytes, resync_bps;
    bool scrub;
    struct img_session session;
    struct blk *top, *volume;
    struct volume_scrubs scrubs;
    struct loop_timer timer;
    struct blk_req resize;
    unsigned waited; /* steps, for members that are lost */
    bool resizing, over;
    int result;
};

static const struct argp_option tend_options[] = {
    {"grow", KEY_GROW, "SIZE", 0, "Make the disk as large as that, if it is smaller", 0},
    {"scrub", KEY_SCRUB, NULL, 0, "Compare all copies and checksums, and repair", 0},
    {"rate", KEY_RATE, "SIZE", 0, "Bytes a second for members that are filled (as fast as it goes)", 0},
    {0},
};

static error_t parse_tend(int key, char *value, struct argp_state *state)
{
    struct tend *t = state->input;
    switch (key) {
    case KEY_GROW:
        return img_arguments_size(&t->common, "--grow", value, &t->grow_bytes);
    case KEY_RATE:
        return img_arguments_size(&t->common, "--rate", value, &t->resync_bps);
    case KEY_SCRUB:
        t->scrub = true;
        return 0;
    }
    return ARGP_ERR_UNKNOWN;
}

static const struct argp tend_argp = {
    .options = tend_options,
    .parser = parse_tend,
    .args_doc = "STACK",
    .doc = "Opens a volume as its owner, fills the members that are there, and ends.\v"
           "Exit codes: 0 done, or told to end by SIGTERM; 1 failed, or a later owner came; 2 a bad command line.",
};

/* ---- what it says ---- */

static void say(const struct tend *t)
{
    struct stat st;
    json_t *json = volume_json(t->volume, t->top, &t->scrubs, t->resync_bps);
    char *text = json_dumps(json, JSON_COMPACT);
    fflush(stdout);
    bool is_file = !fstat(STDOUT_FILENO, &st) && S_ISREG(st.st_mode) && !lseek(STDOUT_FILENO, 0, SEEK_SET);
    if (is_file && ftruncate(STDOUT_FILENO, 0))
        is_file = false; /* then it becomes longer */
    printf("%s\n", text ? text : "");
    fflush(stdout);
    free(text);
    json_decref(json);
}

static void end(struct tend *t, int result)
{
    t->result = t->over ? t->result : result;
    t->over = true;
}

/* ---- steps ---- */

static void resized(struct blk_req *req)
{
    struct tend *t = CONTAINER_OF(req, struct tend, resize);
    t->resizing = false;
    t->grow_bytes = 0;
    if (req->result)
        end(t, err_set(&t->common.err, -req->result, "it cannot be made larger: %s", strerror(-req->result)));
}

static void scrubbed(void *context, int result)
{
    struct tend *t = context;
    struct volume_status s;
    if (!t->volume) /* it ends because the volume is closed */
        return;
    volume_status(t->volume, &s);
    volume_scrubs_end(&t->scrubs, &s, result);
    t->scrub = false;
}

static void begin_scrub(struct tend *t, const struct volume_status *s)
{
    volume_scrubs_begin(&t->scrubs, s);
    int rc = volume_scrub(t->volume, scrubbed, t);
    if (rc)
        end(t, err_set(&t->common.err, -rc, "it cannot be scrubbed: %s", strerror(-rc)));
}

/* One that is lost is looked at again soon, if it can be had. */
static bool is_filling(struct tend *t, const struct volume_status *s)
{
    bool filling = false, lost = false;
    for (unsigned i = 0; i < s->geometry.members; i++) {
        filling |= s->members[i].state == MEMBER_SYNCING || s->members[i].state == MEMBER_DOWN;
        lost |= s->members[i].state == MEMBER_LOST;
    }
    if (filling)
        t->waited = 0;
    return filling || (lost && t->waited++ < LOST_STEPS);
}

static void step(struct tend *t)
{
    struct volume_status s;
    volume_status(t->volume, &s);
    if (s.dead)
        end(t, err_set(&t->common.err, -s.dead, "the volume has another owner, or too few members for too long"));
    else if (t->resizing || t->scrubs.running)
        return;
    else if (t->grow_bytes > blk_size(t->top)) {
        t->resize = (struct blk_req){.op = BLK_RESIZE, .offset = t->grow_bytes, .done = resized};
        t->resizing = true;
        blk_submit(t->top, &t->resize);
    } else if (is_filling(t, &s))
        return;
    else if (t->scrub)
        begin_scrub(t, &s);
    else
        end(t, 0);
}

static void fired(struct loop_timer *timer)
{
    struct tend *t = CONTAINER_OF(timer, struct tend, timer);
    if (t->over)
        return;
    step(t);
    say(t);
    loop_timer_set(t->session.env.loop, timer, loop_now_ns(t->session.env.loop) + SECOND_NS);
}

static void interrupted(struct img_session *session)
{
    end(CONTAINER_OF(session, struct tend, session), 0);
}

/* ---- all ---- */

static int open_in_jail(struct tend *t, struct err *err)
{
    struct img_location location;
    int rc = img_location_parse(t->common.places[0], &location, err);
    bool sealed = !rc && tend_jail_may_open(location.stack);
    if (sealed)
        rc = tend_jail_keep(location.stack, err);
    if (!rc && sealed)
        rc = tend_jail_enter(BLK_NEEDS_SOCKETS, err);
    if (!rc)
        rc = blk_open(&t->session.env, location.stack, 0, &t->top, err);
    if (!rc && !sealed)
        rc = tend_jail_enter(blk_needs(t->top), err);
    img_location_fini(&location);
    return rc;
}

static int work(struct tend *t, struct err *err)
{
    t->volume = volume_in(t->top);
    if (!t->volume)
        return err_set(err, EINVAL, "there is no volume over several members in this stack");
    if (t->resync_bps)
        volume_set_resync_rate(t->volume, t->resync_bps);
    t->timer.fire = fired;
    loop_timer_set(t->session.env.loop, &t->timer, loop_now_ns(t->session.env.loop));
    img_session_wait(&t->session, &t->over);
    loop_timer_clear(t->session.env.loop, &t->timer);
    say(t);
    return t->result;
}

static int run_tend(int argc, char **argv)
{
    struct tend t = {.resize.op = BLK_RESIZE};
    struct err *err = &t.common.err;
    if (img_arguments_parse(&tend_argp, argc, argv, &t.common))
        return img_command_fail("volume tend", err, IMG_EXIT_USAGE);
    if (img_session_init(&t.session, 0, err))
        return img_command_fail("volume tend", err, IMG_EXIT_FAILED);
    int rc = img_session_guard(&t.session, interrupted, err);
    if (!rc)
        rc = open_in_jail(&t, err);
    if (!rc)
        rc = work(&t, err);
    struct err why = *err;
    t.volume = NULL;
    if (t.session.signal_fd >= 0)
        img_session_unguard(&t.session);
    img_session_close(&t.session, t.top);
    img_session_fini(&t.session);
    rc = rc ? img_command_fail("volume tend", &why, IMG_EXIT_FAILED) : IMG_EXIT_OK;
    fflush(NULL);
    _exit(rc); /* Rule Zero: what a debug build does at its exit needs calls that the jail refuses */
}

static const struct img_command command_tend = {"tend", "fills, scrubs and grows a volume that nobody uses", &tend_argp,
                                                run_tend, NULL};
static const struct img_command *const commands[] = {&command_tend, NULL};

const struct img_command img_command_volume = {
    .name = "volume", .help = "looks after volumes over several members", .below = commands};
