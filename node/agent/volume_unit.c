#include "node/agent/volume_unit.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/agent/process.h"
#include "node/agent/process_file.h"
#include "node/agent/volume_key.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/loop.h"
#include "node/base/whole_file.h"

enum { ID_MAX = 64, SOURCE_MAX = 1024, STEPS_MAX = 3, WORDS_MAX = 16, RETRY_MS = 5000 };
enum { HEADER_BYTES = 16 << 20 /* of LUKS2 */ };

struct step {
    char *words[WORDS_MAX + 1]; /* of a command; words[0] is the program's path */
};

struct volume_unit {
    const struct volume_place *place;
    char id[ID_MAX], pool_path[PATH_MAX], path[PATH_MAX], part[PATH_MAX], source[SOURCE_MAX];
    char key[VOLUME_KEY_WRAPPED_TEXT], key_of[ID_MAX]; /* "": not encrypted */
    enum volume_driver driver;
    enum volume_phase phase;
    uint64_t wanted_bytes, bytes;
    bool made, served, moving, deleting, freed, is_part;
    struct volume_part part_of; /* is_part */
    struct process process;
    int output; /* of the program that runs */
    struct step steps[STEPS_MAX];
    unsigned step, step_count;
    struct loop_timer timer;
    struct export_unit *export;
    struct err reason;
    void (*changed)(void *context, struct volume_unit *unit);
    void *context;
};

static void evaluate(struct volume_unit *u);

static void enter(struct volume_unit *u, enum volume_phase phase)
{
    u->phase = phase;
    u->changed(u->context, u);
}

/* ---- the bytes ---- */

/* How large the file or device is; 0: it is not there. */
static uint64_t whole_size(const struct volume_unit *u)
{
    struct stat st;
    uint64_t bytes = 0;
    if (stat(u->path, &st))
        return 0;
    if (S_ISREG(st.st_mode))
        return (uint64_t)st.st_size;
    int fd = S_ISBLK(st.st_mode) ? open(u->path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0 && ioctl(fd, BLKGETSIZE64, &bytes))
        bytes = 0;
    if (fd >= 0)
        close(fd);
    return bytes;
}

/* Its size is the business of who owns the volume. */
static bool grows_by_itself(const struct volume_unit *u)
{
    return u->is_part && u->driver == VOLUME_DIRECTORY;
}

/* What a guest can have of it; 0: it is not there. */
static uint64_t size_now(const struct volume_unit *u)
{
    uint64_t bytes = whole_size(u), header = *u->key ? HEADER_BYTES : 0;
    if (bytes && grows_by_itself(u))
        return u->wanted_bytes;
    return bytes > header ? bytes - header : 0;
}

static void choose_paths(struct volume_unit *u)
{
    int n = u->driver == VOLUME_BLOCK ? snprintf(u->path, sizeof u->path, "%s", u->pool_path)
            : u->driver == VOLUME_LVM ? snprintf(u->path, sizeof u->path, "%s/drover-%s", u->pool_path, u->id)
                                      : snprintf(u->path, sizeof u->path, "%s/%s.volume", u->pool_path, u->id);
    if (n < 0 || n >= (int)sizeof u->path)
        u->path[0] = 0;
    n = snprintf(u->part, sizeof u->part, "%s.part", u->path);
    if (n < 0 || n >= (int)sizeof u->part)
        u->part[0] = 0;
}

/* ---- programs ---- */

static void clear_steps(struct volume_unit *u)
{
    for (unsigned s = 0; s < STEPS_MAX; s++)
        for (unsigned w = 0; w < WORDS_MAX; w++) {
            free(u->steps[s].words[w]);
            u->steps[s].words[w] = NULL;
        }
    u->step = u->step_count = 0;
}

/* A command of words, NULL at the end. */
__attribute__((sentinel)) static void add_step(struct volume_unit *u, const char *program, ...)
{
    struct step *s = &u->steps[u->step_count++];
    va_list args;
    va_start(args, program);
    unsigned n = 0;
    for (const char *word = program; word && n < WORDS_MAX; word = va_arg(args, const char *))
        s->words[n++] = strdup(word);
    va_end(args);
}

/* The last line a program wrote says what went wrong. */
static void take_reason(struct volume_unit *u, int status)
{
    char text[ERR_TEXT_MAX / 2], how[64];
    if (*process_file_last_words(u->output, text, sizeof text))
        err_set(&u->reason, EIO, "%s", text);
    else
        err_set(&u->reason, EIO, "%s %s", u->steps[u->step].words[0], process_describe(status, how, sizeof how));
}

static void fail(struct volume_unit *u)
{
    log_warn("volume %s: %s", u->id, u->reason.text);
    clear_steps(u);
    loop_timer_set(u->place->loop, &u->timer, clock_ns() + RETRY_MS * 1000000ull);
    enter(u, VOLUME_FAILED);
}

/* An encrypted volume's key is descriptor 3 of every program. */
static int start_step(struct volume_unit *u)
{
    struct process_start s = {
        .program = u->steps[u->step].words[0], .argv = u->steps[u->step].words, .output = u->output};
    int key = -1;
    if (*u->key) {
        key = volume_key_file(u->place->state, u->key_of, u->key, &u->reason);
        if (key < 0)
            return key;
        s.fds = &key;
        s.fd_count = 1;
    }
    int rc = process_start(&u->process, &s, &u->reason);
    if (key >= 0)
        close(key);
    return rc;
}

static void run_step(struct volume_unit *u)
{
    u->output = process_file_output(&u->reason);
    if (u->output >= 0 && !start_step(u))
        return;
    if (u->output >= 0)
        close(u->output);
    fail(u);
}

static void be_ready(struct volume_unit *u)
{
    u->bytes = size_now(u);
    u->made = true;
    u->reason = (struct err){0};
    enter(u, VOLUME_READY);
    evaluate(u);
}

static void all_ran(struct volume_unit *u)
{
    clear_steps(u);
    if (u->phase == VOLUME_DELETING) {
        enter(u, VOLUME_GONE);
        return;
    }
    int rc = u->phase == VOLUME_MAKING && u->driver == VOLUME_DIRECTORY ? whole_file_publish(u->part, u->path) : 0;
    if (rc) {
        err_set(&u->reason, -rc, "%s cannot be made: %s", u->path, strerror(-rc));
        fail(u);
        return;
    }
    be_ready(u);
}

static void step_ended(struct process *process, int status)
{
    struct volume_unit *u = CONTAINER_OF(process, struct volume_unit, process);
    if (status)
        take_reason(u, status);
    close(u->output);
    if (u->freed) {
        clear_steps(u);
        free(u);
    } else if (status) {
        fail(u);
    } else if (++u->step < u->step_count) {
        run_step(u);
    } else {
        all_ran(u);
    }
}

/* ---- what is to be done ---- */

/* The volume inside, as drover-img writes it. */
static void stack_of(const struct volume_unit *u, const char *path, char *stack, size_t room)
{
    json_t *layers =
        json_pack("[{s:s, s:{s:i}}, {s:s, s:s}]", "driver", "luks", "key", "fd", 3, "driver", "raw", "file", path);
    char *text = *u->key ? json_dumps(layers, JSON_COMPACT) : NULL;
    snprintf(stack, room, "%s", text ? text : path);
    free(text);
    json_decref(layers);
}

static void add_copy(struct volume_unit *u, const char *path)
{
    char stack[PATH_MAX + 128];
    stack_of(u, path, stack, sizeof stack);
    if (*u->source)
        add_step(u, u->place->img, "copy", "--progress=never", "--no-create", u->source, stack, NULL);
}

/* The passphrase is random, so nothing is gained by making each try of it slow. size NULL: what is there. */
static void add_header(struct volume_unit *u, const char *path, const char *size)
{
    const char *img = u->place->img;
    if (*u->key && size)
        add_step(u, img, "luks", "create", "--kdf=pbkdf2", "--iterations=1000", "--offset=16M", "--key-fd=3", "--size",
                 size, path, NULL);
    else if (*u->key)
        add_step(u, img, "luks", "create", "--force", "--kdf=pbkdf2", "--iterations=1000", "--offset=16M", "--key-fd=3",
                 path, NULL);
}

/* What was there before must not be taken for a fence. */
static void add_blank(struct volume_unit *u)
{
    char of[PATH_MAX + 8];
    snprintf(of, sizeof of, "of=%s", u->path);
    if (u->is_part)
        add_step(u, "/bin/dd", "if=/dev/zero", of, "bs=64k", "count=1", "conv=notrunc,fsync", "status=none", NULL);
}

static void add_part(struct volume_unit *u, const char *path)
{
    const struct volume_part *p = &u->part_of;
    char members[40], size[40], room[40], index[40], quorum[40], layout[40], volume[64];
    if (!u->is_part || p->copied)
        return;
    json_t *layers = json_pack("[{s:s}, {s:s, s:s}]", "driver", "fence", "driver", "raw", "file", path);
    char *stack = json_dumps(layers, JSON_COMPACT);
    snprintf(layout, sizeof layout, "--layout=%s", p->layout);
    snprintf(members, sizeof members, "--members=%u", p->members);
    snprintf(size, sizeof size, "--size=%" PRIu64, p->volume_bytes);
    snprintf(room, sizeof room, "--room=%" PRIu64, p->room_bytes);
    snprintf(volume, sizeof volume, "--volume=%s", p->volume);
    snprintf(quorum, sizeof quorum, "--quorum=%u", p->quorum);
    if (p->index < 0)
        snprintf(index, sizeof index, "--as-witness");
    else
        snprintf(index, sizeof index, "--index=%d", p->index);
    struct step *s = &u->steps[u->step_count];
    add_step(u, u->place->img, "member", "create", layout, members, size, volume, quorum, index, stack ? stack : "",
             NULL);
    unsigned n = 10;
    if (p->room_bytes)
        s->words[n++] = strdup(room);
    if (p->voted && p->index >= 0)
        s->words[n++] = strdup("--witness");
    if (p->replacement || u->made) /* what it was is gone */
        s->words[n++] = strdup("--replacement");
    free(stack);
    json_decref(layers);
}

static void plan_group(struct volume_unit *u, const char *whole)
{
    char name[ID_MAX + 8], group[PATH_MAX], size[40];
    snprintf(name, sizeof name, "drover-%s", u->id);
    snprintf(group, sizeof group, "%s", strrchr(u->pool_path, '/') + 1);
    snprintf(size, sizeof size, "%sb", whole);
    if (!whole_size(u))
        add_step(u, "/sbin/lvcreate", "--yes", "--wipesignatures=y", "--size", size, "--name", name, group, NULL);
    add_header(u, u->path, NULL);
    add_copy(u, u->path);
    add_blank(u);
    add_part(u, u->path);
}

static void plan_making(struct volume_unit *u, const char *bytes, const char *whole)
{
    const char *img = u->place->img;
    if (u->driver == VOLUME_LVM) {
        plan_group(u, whole);
    } else if (u->driver == VOLUME_BLOCK) {
        add_header(u, u->path, NULL);
        add_copy(u, u->path);
        add_blank(u);
        add_part(u, u->path);
    } else if (*u->key) {
        unlink(u->part);
        add_header(u, u->part, bytes);
        add_copy(u, u->part);
    } else if (*u->source) {
        unlink(u->part);
        add_step(u, img, "copy", "--progress=never", u->source, u->part, NULL);
        add_step(u, img, "resize", u->part, bytes, NULL);
    } else {
        add_step(u, img, "create", "--force", u->part, bytes, NULL);
        add_part(u, u->part);
    }
}

static void begin(struct volume_unit *u, enum volume_phase phase)
{
    enter(u, phase);
    if (u->step_count)
        run_step(u);
    else
        all_ran(u);
}

/* Both of what is wanted: the volume's size, and that of the file or device. */
static void sizes_of(const struct volume_unit *u, char bytes[32], char whole[32])
{
    snprintf(bytes, 32, "%" PRIu64, u->wanted_bytes);
    snprintf(whole, 32, "%" PRIu64, u->wanted_bytes + (*u->key ? HEADER_BYTES : 0));
}

static void begin_making(struct volume_unit *u)
{
    char bytes[32], whole[32];
    sizes_of(u, bytes, whole);
    if (!u->path[0] || !u->part[0]) {
        err_set(&u->reason, ENAMETOOLONG, "the path of the pool is too long");
        fail(u);
        return;
    }
    plan_making(u, bytes, whole);
    begin(u, VOLUME_MAKING);
}

static void begin_growing(struct volume_unit *u)
{
    char bytes[32], whole[32], size[40];
    sizes_of(u, bytes, whole);
    snprintf(size, sizeof size, "%sb", whole);
    if (u->driver == VOLUME_BLOCK) {
        err_set(&u->reason, ENOSPC, "%s has %" PRIu64 " bytes and does not grow", u->path, u->bytes);
        fail(u);
        return;
    }
    if (u->driver == VOLUME_LVM)
        add_step(u, "/sbin/lvextend", "--size", size, u->path, NULL);
    else
        add_step(u, u->place->img, "resize", u->path, whole, NULL);
    begin(u, VOLUME_GROWING);
}

static void begin_deleting(struct volume_unit *u)
{
    export_unit_want(u->export, NULL, EXPORT_WRITABLE);
    if (u->driver == VOLUME_LVM && whole_size(u)) {
        add_step(u, "/sbin/lvremove", "--yes", u->path, NULL);
    } else if (u->driver == VOLUME_DIRECTORY) {
        unlink(u->part);
        if (unlink(u->path) && errno != ENOENT) {
            err_set(&u->reason, errno, "%s cannot be deleted: %s", u->path, strerror(errno));
            fail(u);
            return;
        }
    }
    begin(u, VOLUME_DELETING);
}

static void export_changed(void *context)
{
    struct volume_unit *u = context;
    u->changed(u->context, u);
}

static enum export_mode mode_of(const struct volume_unit *u)
{
    return u->is_part ? EXPORT_FENCED : u->moving ? EXPORT_LATE : EXPORT_WRITABLE;
}

static void evaluate(struct volume_unit *u)
{
    if (u->step_count) /* a program runs: all_ran() comes back here */
        return;
    switch (u->phase) {
    case VOLUME_MAKING:
    case VOLUME_FAILED:
        loop_timer_clear(u->place->loop, &u->timer);
        u->bytes = size_now(u);
        if (u->deleting)
            begin_deleting(u);
        else if (!u->bytes || (u->driver != VOLUME_DIRECTORY && !u->made))
            begin_making(u);
        else
            be_ready(u);
        break;
    case VOLUME_READY:
        if (u->deleting)
            begin_deleting(u);
        else if (u->wanted_bytes > u->bytes && grows_by_itself(u))
            be_ready(u);
        else if (u->wanted_bytes > u->bytes)
            begin_growing(u);
        else
            export_unit_want(u->export, u->served ? u->path : NULL, mode_of(u));
        break;
    default:
        break;
    }
}

static void timer_fired(struct loop_timer *timer)
{
    evaluate(CONTAINER_OF(timer, struct volume_unit, timer));
}

/* ---- what others see ---- */

struct volume_unit *volume_unit_new(const struct volume_place *place, const char *id, bool known_made,
                                    const char *known_uri, void (*changed)(void *context, struct volume_unit *unit),
                                    void *context)
{
    struct volume_unit *u = calloc(1, sizeof *u);
    if (!u || !(u->export = export_unit_new(place->exports, id, known_uri, export_changed, u))) {
        free(u);
        return NULL;
    }
    u->place = place;
    snprintf(u->id, sizeof u->id, "%s", id);
    u->made = known_made;
    u->changed = changed;
    u->context = context;
    u->timer.fire = timer_fired;
    process_init(&u->process, place->loop, step_ended);
    return u;
}

/* Bytes that came by a move are a volume's from some time on, and of an encrypted one 16 MiB of them are its header. */
static void take_key(struct volume_unit *u, const char *key, const char *of)
{
    snprintf(u->key_of, sizeof u->key_of, "%s", of);
    if (!strcmp(u->key, key))
        return;
    snprintf(u->key, sizeof u->key, "%s", key);
    if (u->phase == VOLUME_READY)
        u->bytes = size_now(u);
}

void volume_unit_want(struct volume_unit *u, const struct volume_want *want)
{
    if (!u->pool_path[0]) {
        u->driver = want->driver;
        snprintf(u->pool_path, sizeof u->pool_path, "%s", want->pool_path);
        snprintf(u->key, sizeof u->key, "%s", want->key);
        u->is_part = want->part;
        if (want->part)
            u->part_of = *want->part;
        choose_paths(u);
    }
    take_key(u, want->key, want->key_of);
    snprintf(u->source, sizeof u->source, "%s", want->source);
    u->wanted_bytes = want->bytes;
    u->served = want->served;
    u->moving = want->moving;
    bool news = want->deleting && !u->deleting; /* what failed waits for its time otherwise */
    u->deleting = want->deleting;
    if (u->phase != VOLUME_FAILED || news)
        evaluate(u);
}

void volume_unit_free(struct volume_unit *u)
{
    if (!u)
        return;
    loop_timer_clear(u->place->loop, &u->timer);
    export_unit_free(u->export);
    if (u->step_count) {
        u->freed = true;
        process_signal(&u->process, SIGTERM); /* what it has made so far has no name yet */
        return;
    }
    free(u);
}

const char *volume_unit_id(const struct volume_unit *u)
{
    return u->id;
}

enum volume_phase volume_unit_phase(const struct volume_unit *u)
{
    return u->phase;
}

const char *volume_phase_name(enum volume_phase phase)
{
    static const char *const names[VOLUME_PHASE_COUNT] = {"making", "ready", "growing", "failed", "deleting", "gone"};
    return names[phase];
}

const char *volume_unit_path(const struct volume_unit *u)
{
    return u->path;
}

const char *volume_unit_uri(const struct volume_unit *u)
{
    return export_unit_uri(u->export);
}

const char *volume_unit_reason(const struct volume_unit *u)
{
    return u->reason.text;
}

bool volume_unit_made(const struct volume_unit *u)
{
    return u->made;
}

uint64_t volume_unit_bytes(const struct volume_unit *u)
{
    return u->bytes;
}
