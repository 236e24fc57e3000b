#include "node/agent/image_unit.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/agent/boot_image.h"
#include "node/agent/member.h"
#include "node/agent/process.h"
#include "node/agent/process_file.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/loop.h"
#include "node/base/whole_file.h"

enum { ID_MAX = 64, TEXT_MAX = 2304, LOOK_MS = 500, RETRY_MS = 30000, LINE_MAX_BYTES = 2048 };

struct image_unit {
    const struct image_place *place;
    char id[ID_MAX], path[PATH_MAX], part[PATH_MAX], source[TEXT_MAX], sha256[80];
    char content[BOOT_IMAGE_SUM_BYTES]; /* the sum of its bytes, also while they are imported again; "": unknown */
    enum image_phase phase;
    struct image_wish wish;
    bool running, summing, freed; /* summing: what runs reads the image */
    struct process process;
    struct loop_timer timer;
    int output;
    uint64_t bytes, done_bytes, total_bytes;
    struct err reason;
    struct export_unit *export;
    void (*changed)(void *context, struct image_unit *unit);
    void *context;
};

static void evaluate(struct image_unit *u);

static void enter(struct image_unit *u, enum image_phase phase)
{
    u->phase = phase;
    u->changed(u->context, u);
}

static void set_timer(struct image_unit *u, uint64_t ms)
{
    loop_timer_set(u->place->loop, &u->timer, clock_ns() + ms * 1000000);
}

static void fail(struct image_unit *u)
{
    log_warn("image %s: %s", u->id, u->reason.text);
    unlink(u->part);
    set_timer(u, RETRY_MS);
    enter(u, IMAGE_FAILED);
}

/* ---- drover-import ---- */

/* The last line it wrote; NULL: none yet, or not all of it. */
static json_t *last_line(const struct image_unit *u)
{
    char text[LINE_MAX_BYTES];
    return json_loads(process_file_last_line(u->output, text, sizeof text), JSON_REJECT_DUPLICATES, NULL);
}

static void take_progress(struct image_unit *u, const json_t *line)
{
    uint64_t done = (uint64_t)json_integer_value(json_object_get(line, "bytes"));
    if (!json_object_get(line, "total") || done == u->done_bytes)
        return;
    u->done_bytes = done;
    u->total_bytes = (uint64_t)json_integer_value(json_object_get(line, "total"));
    u->changed(u->context, u);
}

static bool is_done(struct image_unit *u, int status, const json_t *line)
{
    char how[64];
    const char *error = json_string_value(json_object_get(line, "error"));
    if (!status && json_is_true(json_object_get(line, "done")))
        return true;
    err_set(&u->reason, EIO, "%s", error ? error : process_describe(status, how, sizeof how));
    return false;
}

static void take_content(struct image_unit *u, const json_t *line)
{
    snprintf(u->content, sizeof u->content, "%s", member_text(line, "content_sha256"));
}

static void take_sum(struct image_unit *u, int status, const json_t *line)
{
    if (is_done(u, status, line)) {
        u->reason = (struct err){0};
        take_content(u, line);
    } else {
        log_warn("image %s: its checksum: %s", u->id, u->reason.text);
        set_timer(u, RETRY_MS);
    }
    u->changed(u->context, u);
}

static void take_end(struct image_unit *u, int status, const json_t *line)
{
    if (!is_done(u, status, line)) {
        fail(u);
        return;
    }
    int rc = whole_file_publish(u->part, u->path);
    if (rc) {
        err_set(&u->reason, -rc, "%s cannot be made: %s", u->path, strerror(-rc));
        fail(u);
    } else {
        u->reason = (struct err){0};
        u->bytes = (uint64_t)json_integer_value(json_object_get(line, "bytes"));
        take_content(u, line);
        u->done_bytes = u->total_bytes;
        enter(u, IMAGE_READY);
        evaluate(u);
    }
}

static void ended(struct process *process, int status)
{
    struct image_unit *u = CONTAINER_OF(process, struct image_unit, process);
    json_t *line = last_line(u);
    close(u->output);
    u->running = false;
    loop_timer_clear(u->place->loop, &u->timer);
    if (u->freed)
        free(u);
    else if (u->wish.deleted)
        evaluate(u);
    else if (u->summing)
        take_sum(u, status, line);
    else
        take_end(u, status, line);
    json_decref(line);
}

static int config_file(const struct image_unit *u, struct err *err)
{
    json_t *config = json_object();
    if (u->summing)
        json_object_set_new(config, "check", json_true());
    else if (u->source[0] != '/')
        json_object_set_new(config, "url", json_string(u->source));
    if (*u->sha256 && !u->summing)
        json_object_set_new(config, "sha256", json_string(u->sha256));
    int fd = process_file_json(config, err);
    json_decref(config);
    return fd;
}

/* Configuration, image, and the source if it is a file: descriptors 3, 4 and 5 of drover-import. Those that are open
 * are the caller's to close, also on failure. */
static int open_files(struct image_unit *u, int *fds, struct err *err)
{
    fds[0] = config_file(u, err);
    if (fds[0] < 0)
        return fds[0];
    fds[1] = u->summing ? open(u->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
                        : open(u->part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fds[1] < 0)
        return err_set(err, errno, "%s cannot be opened: %s", u->summing ? u->path : u->part, strerror(errno));
    if (u->summing || u->source[0] != '/')
        return 0;
    struct stat st;
    fds[2] = open(u->source, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe would keep the agent waiting */
    if (fds[2] < 0)
        return err_set(err, errno, "%s cannot be read: %s", u->source, strerror(errno));
    if (fstat(fds[2], &st) || !(S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)))
        return err_set(err, EINVAL, "%s is neither a file nor a block device", u->source);
    return 0;
}

static int start(struct image_unit *u, struct err *err)
{
    int fds[3] = {-1, -1, -1};
    char *argv[] = {(char *)(uintptr_t) "drover-import", NULL};
    struct process_start s = {
        .program = u->place->import, .argv = argv, .fds = fds, .fd_count = u->source[0] == '/' && !u->summing ? 3 : 2};
    s.output = u->output = process_file_output(err);
    int rc = u->output < 0 ? u->output : open_files(u, fds, err);
    if (!rc)
        rc = process_start(&u->process, &s, err);
    for (unsigned i = 0; i < 3; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    if (rc && u->output >= 0)
        close(u->output);
    return rc;
}

/* ---- the machine ---- */

static void begin(struct image_unit *u)
{
    struct stat st;
    if (!stat(u->path, &st)) { /* made before the agent was restarted */
        if (u->bytes != (uint64_t)st.st_size)
            u->content[0] = 0; /* it is of another one */
        u->bytes = (uint64_t)st.st_size;
        enter(u, IMAGE_READY);
        evaluate(u);
        return;
    }
    u->done_bytes = u->total_bytes = 0;
    u->summing = false;
    enter(u, IMAGE_IMPORTING);
    if (start(u, &u->reason)) {
        fail(u);
        return;
    }
    u->running = true;
    set_timer(u, LOOK_MS);
}

static void begin_sum(struct image_unit *u)
{
    u->summing = true;
    loop_timer_clear(u->place->loop, &u->timer);
    if (start(u, &u->reason)) {
        log_warn("image %s: its checksum: %s", u->id, u->reason.text);
        set_timer(u, RETRY_MS);
        return;
    }
    u->running = true;
}

static void export_changed(void *context)
{
    struct image_unit *u = context;
    u->changed(u->context, u);
}

static void evaluate(struct image_unit *u)
{
    if (u->running && u->wish.deleted) {
        process_signal(&u->process, SIGKILL); /* it holds nothing that is worth an orderly end */
    } else if (u->wish.deleted && u->phase != IMAGE_GONE) {
        export_unit_want(u->export, NULL, EXPORT_READ_ONLY);
        loop_timer_clear(u->place->loop, &u->timer);
        unlink(u->part);
        unlink(u->path);
        enter(u, IMAGE_GONE);
    } else if (u->phase == IMAGE_READY) {
        export_unit_want(u->export, u->wish.served ? u->path : NULL, EXPORT_READ_ONLY);
        bool sums = u->wish.summed && !*u->content && u->bytes <= BOOT_IMAGE_BYTES_MAX;
        if (sums && !u->running && !u->timer.slot)
            begin_sum(u);
    }
}

static void timer_fired(struct loop_timer *timer)
{
    struct image_unit *u = CONTAINER_OF(timer, struct image_unit, timer);
    if (u->phase == IMAGE_FAILED) {
        begin(u);
        return;
    }
    if (u->phase == IMAGE_READY) { /* the sum is tried again */
        evaluate(u);
        return;
    }
    json_t *line = u->running ? last_line(u) : NULL;
    if (line)
        take_progress(u, line);
    json_decref(line);
    set_timer(u, LOOK_MS);
}

/* ---- what others see ---- */

struct image_unit *image_unit_new(const struct image_place *place, const char *id, const char *pool_path,
                                  const char *source, const char *sha256, const json_t *known,
                                  void (*changed)(void *context, struct image_unit *unit), void *context)
{
    struct image_unit *u = calloc(1, sizeof *u);
    if (!u || !(u->export = export_unit_new(place->exports, id, member_text(known, "uri"), export_changed, u))) {
        free(u);
        return NULL;
    }
    u->place = place;
    u->changed = changed;
    u->context = context;
    snprintf(u->id, sizeof u->id, "%s", id);
    snprintf(u->path, sizeof u->path, "%s/%s.image", pool_path, id);
    snprintf(u->part, sizeof u->part, "%s/%s.image.part", pool_path, id);
    snprintf(u->source, sizeof u->source, "%s", source);
    snprintf(u->sha256, sizeof u->sha256, "%s", sha256);
    take_content(u, known);
    u->bytes = (uint64_t)json_integer_value(json_object_get(known, "bytes"));
    u->timer.fire = timer_fired;
    process_init(&u->process, place->loop, ended);
    u->phase = IMAGE_FAILED; /* begins at once */
    set_timer(u, 0);
    return u;
}

void image_unit_want(struct image_unit *u, struct image_wish wish)
{
    u->wish = wish;
    evaluate(u);
}

void image_unit_free(struct image_unit *u)
{
    if (!u)
        return;
    loop_timer_clear(u->place->loop, &u->timer);
    export_unit_free(u->export);
    if (u->running) {
        u->freed = true;
        process_signal(&u->process, SIGKILL);
        return;
    }
    free(u);
}

const char *image_unit_id(const struct image_unit *u)
{
    return u->id;
}

enum image_phase image_unit_phase(const struct image_unit *u)
{
    return u->phase;
}

json_t *image_unit_state(const struct image_unit *u)
{
    static const char *const names[IMAGE_PHASE_COUNT] = {"importing", "ready", "failed", "deleting"};
    return json_pack("{s:s, s:s, s:s, s:I, s:s, s:I, s:I, s:s}", "phase", names[u->phase], "path", u->path, "uri",
                     export_unit_uri(u->export), "bytes", (json_int_t)u->bytes, "content_sha256", u->content,
                     "done_bytes", (json_int_t)u->done_bytes, "total_bytes", (json_int_t)u->total_bytes, "reason",
                     u->reason.text);
}
