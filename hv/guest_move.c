/* What a disk lies on moves while the guest runs (hv/disk_move.h), as control asks for it:
 *
 *     {"disk": N, "verb": "move-begin", "to": [stack], "member": N, "rate": N}   member: of a volume over several
 *     {"disk": N, "verb": "move-settle"}                -EAGAIN: not everything is there yet
 *     {"disk": N, "verb": "move-end", "there": true}    the new place has it from now on; false: the old one
 *
 * The guest stands for the time it takes to close a stack and to open another one. A new place that cannot be opened is
 * found out before, and that takes as long as it takes to give up a server. One that cannot be opened after all at the
 * beginning leaves everything as it was; at the end there is no other one, and the guest stands until it can be. */
#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "hv/disk.h"
#include "hv/disk_move.h"
#include "hv/guest_inside.h"
#include "nbd/blk.h"
#include "node/base/err.h"
#include "node/base/log.h"

static const char *verb_of(const json_t *body)
{
    const char *verb = json_string_value(json_object_get(body, "verb"));
    return verb ? verb : "";
}

bool guest_move_takes(const json_t *body)
{
    return !strncmp(verb_of(body), "move-", 5);
}

static int rest(struct guest *g, struct err *err)
{
    bool runs = g->state == GUEST_RUNNING;
    int rc = guest_late_wait(g, err);
    if (!rc && g->busy)
        rc = err_set(err, EBUSY, "not while the guest is being saved or reset");
    rc = rc ? rc : guest_quiesce(g, GUEST_IMPATIENT, err);
    rc = rc ? rc : board_flush_disks(g->board, err);
    if (rc) {
        if (g->busy)
            guest_unquiesce(g);
        return rc;
    }
    g->runs_again = runs;
    g->state = GUEST_PAUSED; /* busy, too: nobody lets it go on but guest_go_on() */
    return 0;
}

static int begin(struct guest *g, struct disk *disk, const json_t *body, struct err *err)
{
    if (!g->config->connects && !(board_needs(g->board) & BLK_NEEDS_SOCKETS))
        return err_set(err, ENOTSUP,
                       "the guest was started without the right to connect to servers: stop and start it");
    if (disk_is_resizing(disk))
        return err_set(err, EBUSY, "the disk is being resized, or its volume changed");
    if (disk_moves(disk))
        return err_set(err, EALREADY, "what the disk lies on is moving already");
    int rc = disk_move_probe(disk, body, g->loop, guest_gives_up, g, err);
    if (!rc && guest_is_moving(g)) /* begun meanwhile */
        rc = err_set(err, EBUSY, "not while the guest is moving away");
    rc = rc ? rc : disk_move_begin(disk, body, err);
    if (rc)
        return rc;
    rc = rest(g, err);
    if (rc) {
        disk_move_forget(disk, false);
        return rc;
    }
    disk_close(disk);
    rc = disk_open(disk, err);
    if (!rc && !disk_move_is_open(disk)) {
        rc = err_set(err, EIO, "the member cannot be opened together with its new place");
        disk_close(disk);
    }
    if (rc)
        disk_move_forget(disk, false);
    guest_go_on(g);
    return disk_move_error(rc, err);
}

static int end(struct guest *g, struct disk *disk, const json_t *body, struct err *err)
{
    bool there = json_is_true(json_object_get(body, "there"));
    if (!disk_moves(disk))
        return 0; /* it was told so before */
    int rc = disk_move_end(disk, there, err);
    rc = rc ? rc : rest(g, err);
    if (rc)
        return rc;
    disk_close(disk);
    disk_move_forget(disk, there);
    guest_go_on(g);
    return 0;
}

int guest_move(struct guest *g, const json_t *body, struct err *err)
{
    const json_t *number = json_object_get(body, "disk");
    if (!json_is_integer(number) || json_integer_value(number) < 0 || json_integer_value(number) >= GUEST_DISK_MAX)
        return err_set(err, EINVAL, "disk: must be a number from 0 to %d", GUEST_DISK_MAX - 1);
    unsigned index = (unsigned)json_integer_value(number);
    struct disk *disk = board_disk(g->board, index, err);
    int rc;
    if (!disk)
        return -err->code;
    if (guest_is_moving(g))
        return err_set(err, EBUSY, "not while the guest is moving away");
    if (!strcmp(verb_of(body), "move-begin"))
        rc = begin(g, disk, body, err);
    else if (!strcmp(verb_of(body), "move-settle"))
        rc = disk_move_settle(disk, err);
    else if (!strcmp(verb_of(body), "move-end"))
        rc = end(g, disk, body, err);
    else
        rc = err_set(err, EINVAL, "verb: must be move-begin, move-settle or move-end");
    if (!rc)
        log_info("%s: disks[%u]: %s", g->config->name, index, verb_of(body));
    return rc ? err_prefix(err, "disks[%u]", index) : 0;
}
