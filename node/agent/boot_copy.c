#include "node/agent/boot_copy.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "node/agent/boot_image.h"
#include "node/agent/export_unit.h"
#include "node/agent/process.h"
#include "node/agent/process_file.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/loop.h"
#include "node/base/whole_file.h"

enum {
    FIRST_RETRY_MS = 1000,
    LAST_RETRY_MS = 60000,
    LOOK_MS = 15000,
    LOOKS_MAX = 4, /* at a copy that does not grow */
    SPARE_BYTES = 64 << 20,
    EXPORT_DIGITS = 32, /* of the sum: the socket's path has little room */
};

enum phase { WAITING, COPYING, CHECKING, READY, FAILED, PHASE_COUNT };

struct boot_copy {
    const struct boot_copy_place *place;
    char sum[BOOT_IMAGE_SUM_BYTES], path[PATH_MAX], part[PATH_MAX];
    enum phase phase;
    bool freed, stalled;
    struct process process;
    int output;
    struct loop_timer timer;
    uint64_t retry_ms;
    blkcnt_t blocks; /* of what is there so far, and for how many looks */
    unsigned looks;
    const char *wait;
    struct err reason;
    struct export_unit *export;
    void (*changed)(void *context);
    void *context;
};

static void set_timer(struct boot_copy *c, uint64_t ms)
{
    loop_timer_set(c->place->loop, &c->timer, clock_ns() + ms * 1000000);
}

static void fail(struct boot_copy *c)
{
    log_warn("the copy of image %.12s: %s", c->sum, c->reason.text);
    unlink(c->part);
    c->phase = FAILED;
    set_timer(c, c->retry_ms);
    c->retry_ms = c->retry_ms * 2 < LAST_RETRY_MS ? c->retry_ms * 2 : LAST_RETRY_MS;
}

/* ---- the programs ---- */

static int run(struct boot_copy *c, const char *program, const char *const *argv, const int *fds, unsigned fd_count)
{
    c->output = process_file_output(&c->reason);
    if (c->output < 0)
        return c->output;
    struct process_start s = {.program = program,
                              .argv = (char *const *)(uintptr_t)argv,
                              .fds = fds,
                              .fd_count = fd_count,
                              .output = c->output};
    int rc = process_start(&c->process, &s, &c->reason);
    if (rc)
        close(c->output);
    return rc;
}

static int start_copy(struct boot_copy *c, const char *uri, uint64_t bytes)
{
    char source[1024], length[24];
    struct statvfs room;
    if (!statvfs(c->place->directory, &room) && (uint64_t)room.f_bavail * room.f_frsize < bytes + SPARE_BYTES)
        return err_set(&c->reason, ENOSPC, "%s has no room for its %" PRIu64 " bytes", c->place->directory, bytes);
    export_source(uri, c->place->tls, source, sizeof source);
    snprintf(length, sizeof length, "%" PRIu64, bytes);
    const char *argv[] = {"drover-img", "copy", "--progress=never", "--length", length, source, c->part, NULL};
    unlink(c->part); /* what an agent before this one had begun */
    return run(c, c->place->img, argv, NULL, 0);
}

static int start_check(struct boot_copy *c)
{
    static const char *const argv[] = {"drover-import", NULL};
    json_t *config = json_pack("{s:b, s:s}", "check", 1, "sha256", c->sum);
    int fds[2] = {process_file_json(config, &c->reason), -1};
    json_decref(config);
    if (fds[0] < 0)
        return fds[0];
    fds[1] = open(c->part, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    int rc = fds[1] < 0 ? err_set(&c->reason, errno, "%s cannot be read: %s", c->part, strerror(errno))
                        : run(c, c->place->import, argv, fds, 2);
    if (fds[1] >= 0)
        close(fds[1]);
    close(fds[0]);
    return rc;
}

/* What the one that has ended says is wrong. */
static void explain(struct boot_copy *c, int status)
{
    char line[ERR_TEXT_MAX], text[ERR_TEXT_MAX / 2], how[64];
    json_t *said = json_loads(process_file_last_line(c->output, line, sizeof line), JSON_REJECT_DUPLICATES, NULL);
    const char *error = json_string_value(json_object_get(said, "error"));
    if (!error && *process_file_last_words(c->output, text, sizeof text))
        error = text;
    if (c->stalled)
        error = "nothing comes any more";
    err_set(&c->reason, EIO, "%s", error ? error : process_describe(status, how, sizeof how));
    json_decref(said);
}

static void publish(struct boot_copy *c)
{
    int rc = whole_file_publish(c->part, c->path);
    if (rc) {
        err_set(&c->reason, -rc, "%s cannot be made: %s", c->path, strerror(-rc));
        fail(c);
        return;
    }
    c->reason = (struct err){0};
    c->phase = READY;
}

static void ended(struct process *process, int status)
{
    struct boot_copy *c = CONTAINER_OF(process, struct boot_copy, process);
    if (status && !c->freed)
        explain(c, status);
    close(c->output);
    if (c->freed) { /* and perhaps its place, too */
        free(c);
        return;
    }
    loop_timer_clear(c->place->loop, &c->timer);
    if (status || (c->phase == COPYING && start_check(c)))
        fail(c);
    else if (c->phase == COPYING)
        c->phase = CHECKING;
    else
        publish(c);
    c->changed(c->context);
}

/* ---- the machine ---- */

static void look(struct boot_copy *c)
{
    struct stat st;
    blkcnt_t blocks = stat(c->part, &st) ? 0 : st.st_blocks;
    c->looks = blocks == c->blocks ? c->looks + 1 : 0;
    c->blocks = blocks;
    c->stalled = c->looks >= LOOKS_MAX;
    if (c->stalled)
        process_signal(&c->process, SIGKILL);
    set_timer(c, LOOK_MS);
}

static void timer_fired(struct loop_timer *timer)
{
    struct boot_copy *c = CONTAINER_OF(timer, struct boot_copy, timer);
    if (c->phase == COPYING) {
        look(c);
    } else if (c->phase == FAILED) {
        c->phase = WAITING;
        c->changed(c->context);
    }
}

void boot_copy_make(struct boot_copy *c, const char *uri, uint64_t bytes)
{
    if (c->phase != WAITING)
        return;
    c->wait = "";
    c->stalled = false;
    c->blocks = -1;
    c->looks = 0;
    if (start_copy(c, uri, bytes)) {
        fail(c);
        return;
    }
    c->phase = COPYING;
    set_timer(c, LOOK_MS);
}

void boot_copy_wait(struct boot_copy *c, const char *why)
{
    c->wait = c->phase == WAITING ? why : "";
}

void boot_copy_serve(struct boot_copy *c, bool served)
{
    if (c->phase == READY)
        export_unit_want(c->export, served ? c->path : NULL, EXPORT_READ_ONLY);
}

/* ---- what others see ---- */

const char *boot_copy_sum(const struct boot_copy *c)
{
    return c->sum;
}

const char *boot_copy_path(const struct boot_copy *c)
{
    return c->phase == READY ? c->path : NULL;
}

const char *boot_copy_reason(const struct boot_copy *c)
{
    return c->phase == READY ? "" : c->phase == WAITING && *c->wait ? c->wait : c->reason.text;
}

bool boot_copy_is_busy(const struct boot_copy *c)
{
    return c->phase == COPYING || c->phase == CHECKING;
}

bool boot_copy_is_serving(const struct boot_copy *c)
{
    return *export_unit_uri(c->export);
}

json_t *boot_copy_state(const struct boot_copy *c)
{
    static const char *const names[PHASE_COUNT] = {"waiting", "copying", "copying", "ready", "failed"};
    return json_pack("{s:s, s:s, s:s}", "phase", names[c->phase], "uri", export_unit_uri(c->export), "reason",
                     boot_copy_reason(c));
}

/* ---- life ---- */

struct boot_copy *boot_copy_new(const struct boot_copy_place *place, const char *sum, void (*changed)(void *context),
                                void *context)
{
    struct boot_copy *c = calloc(1, sizeof *c);
    char id[EXPORT_DIGITS + 1];
    snprintf(id, sizeof id, "%s", sum);
    if (!c || !(c->export = export_unit_new(place->exports, id, "", changed, context))) {
        free(c);
        return NULL;
    }
    c->place = place;
    c->changed = changed;
    c->context = context;
    c->wait = "";
    c->retry_ms = FIRST_RETRY_MS;
    snprintf(c->sum, sizeof c->sum, "%s", sum);
    snprintf(c->path, sizeof c->path, "%s/%s", place->directory, sum);
    snprintf(c->part, sizeof c->part, "%s/%s.part", place->directory, sum);
    c->phase = access(c->path, F_OK) ? WAITING : READY;
    c->timer.fire = timer_fired;
    process_init(&c->process, place->loop, ended);
    return c;
}

void boot_copy_free(struct boot_copy *c, bool remove)
{
    if (!c)
        return;
    if (remove) {
        boot_copy_serve(c, false);
        unlink(c->path);
    }
    unlink(c->part);
    loop_timer_clear(c->place->loop, &c->timer);
    export_unit_free(c->export);
    c->freed = true;
    if (c->process.pid)
        process_signal(&c->process, SIGKILL); /* ended() frees it */
    else
        free(c);
}
