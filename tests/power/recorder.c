#define FUSE_USE_VERSION 312
#include "tests/power/recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/power/dice.h"
#include "tests/power/history.h"
#include "tests/power/stamp.h"

enum { IMAGE_INODE = 2, THREADS = 16, CHANGE_PAUSE_US = 150, SYNC_PAUSE_US = 600 };
static const double FOREVER_S = 1e6;

struct recorder {
    struct history *history;
    uint8_t *content;
    uint64_t bytes;
    bool can_punch;
    pthread_mutex_t lock; /* content, dice, and that a change and its PUT are one */
    struct dice dice;
    uint32_t syncs;
    struct fuse_session *session;
    char *directory; /* NULL: not mounted */
    bool serving;
    pthread_t thread;
};

static struct recorder *recorder_of(fuse_req_t req)
{
    return fuse_req_userdata(req);
}

/* Half of the time nothing at all: the order of threads is then the scheduler's. */
static void pause_at_random(struct recorder *r, uint32_t most_us)
{
    pthread_mutex_lock(&r->lock);
    uint32_t us = dice_percent(&r->dice, 50) ? 0 : dice_roll(&r->dice, most_us);
    pthread_mutex_unlock(&r->lock);
    if (us)
        nanosleep(&(struct timespec){.tv_nsec = us * 1000L}, NULL);
}

/* ---- the tree: a directory and a file ---- */

static void describe(const struct recorder *r, fuse_ino_t inode, struct stat *st)
{
    bool image = inode == IMAGE_INODE;
    *st = (struct stat){
        .st_ino = inode,
        .st_mode = image ? S_IFREG | 0600 : S_IFDIR | 0755,
        .st_nlink = image ? 1 : 2,
        .st_size = image ? (off_t)r->bytes : 0,
        .st_blksize = 4096,
        .st_blocks = image ? (blkcnt_t)(r->bytes / 512) : 0,
    };
}

static void serve_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct fuse_entry_param entry = {.ino = IMAGE_INODE, .attr_timeout = FOREVER_S, .entry_timeout = FOREVER_S};
    if (parent != FUSE_ROOT_ID || strcmp(name, "image")) {
        fuse_reply_err(req, ENOENT);
        return;
    }
    describe(recorder_of(req), IMAGE_INODE, &entry.attr);
    fuse_reply_entry(req, &entry);
}

static void serve_getattr(fuse_req_t req, fuse_ino_t inode, struct fuse_file_info *file)
{
    struct stat st;
    (void)file;
    describe(recorder_of(req), inode, &st);
    fuse_reply_attr(req, &st, FOREVER_S);
}

/* Written by hand: this libfuse does not know yet how to say that writes may run side by side. */
static void serve_open(fuse_req_t req, fuse_ino_t inode, struct fuse_file_info *file)
{
    struct fuse_open_out out = {.open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES};
    (void)file;
    if (inode == IMAGE_INODE)
        fuse_reply_buf(req, (const char *)&out, sizeof out);
    else
        fuse_reply_err(req, EISDIR);
}

/* ---- the file ---- */

static void serve_read(fuse_req_t req, fuse_ino_t inode, size_t size, off_t offset, struct fuse_file_info *file)
{
    struct recorder *r = recorder_of(req);
    (void)inode;
    (void)file;
    uint64_t at = (uint64_t)offset, n = at < r->bytes ? r->bytes - at : 0;
    if (n > size)
        n = size;
    char *copy = malloc(n + 1);
    if (!copy) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    pthread_mutex_lock(&r->lock);
    if (n)
        memcpy(copy, r->content + at, n);
    pthread_mutex_unlock(&r->lock);
    fuse_reply_buf(req, copy, n);
    free(copy);
}

/* data NULL: zeroes. Whole sectors, inside the file: others were not asked for by any client. */
static int change(struct recorder *r, uint64_t offset, uint64_t length, const uint8_t *data)
{
    if ((offset | length) % SECTOR_BYTES || offset > r->bytes || length > r->bytes - offset)
        return EINVAL;
    uint32_t first = (uint32_t)(offset / SECTOR_BYTES), count = (uint32_t)(length / SECTOR_BYTES);
    uint32_t *values = calloc(count + 1, sizeof *values);
    if (!values)
        return ENOMEM;
    for (uint32_t i = 0; data && i < count; i++)
        values[i] = stamp_read(data + (size_t)i * SECTOR_BYTES, first + i);
    pause_at_random(r, CHANGE_PAUSE_US);
    pthread_mutex_lock(&r->lock);
    if (data)
        memcpy(r->content + offset, data, length);
    else
        memset(r->content + offset, 0, length);
    history_add_put(r->history, first, count, values);
    pthread_mutex_unlock(&r->lock);
    pause_at_random(r, CHANGE_PAUSE_US);
    free(values);
    return 0;
}

static void serve_write(fuse_req_t req, fuse_ino_t inode, const char *data, size_t size, off_t offset,
                        struct fuse_file_info *file)
{
    (void)inode;
    (void)file;
    int error = change(recorder_of(req), (uint64_t)offset, size, (const uint8_t *)data);
    if (error)
        fuse_reply_err(req, error);
    else
        fuse_reply_write(req, size);
}

static void serve_fallocate(fuse_req_t req, fuse_ino_t inode, int mode, off_t offset, off_t length,
                            struct fuse_file_info *file)
{
    struct recorder *r = recorder_of(req);
    bool zeroes =
        mode == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE) || mode == (FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE);
    (void)inode;
    (void)file;
    if (!r->can_punch || !zeroes)
        fuse_reply_err(req, EOPNOTSUPP);
    else
        fuse_reply_err(req, change(r, (uint64_t)offset, (uint64_t)length, NULL));
}

static void serve_fsync(fuse_req_t req, fuse_ino_t inode, int data_only, struct fuse_file_info *file)
{
    struct recorder *r = recorder_of(req);
    (void)inode;
    (void)data_only;
    (void)file;
    pthread_mutex_lock(&r->lock);
    uint32_t id = r->syncs++;
    history_add_sync(r->history, HISTORY_SYNC_BEGIN, id);
    pthread_mutex_unlock(&r->lock);
    pause_at_random(r, SYNC_PAUSE_US);
    history_add_sync(r->history, HISTORY_SYNC_END, id);
    fuse_reply_err(req, 0);
}

static const struct fuse_lowlevel_ops operations = {
    .lookup = serve_lookup,
    .getattr = serve_getattr,
    .open = serve_open,
    .read = serve_read,
    .write = serve_write,
    .fallocate = serve_fallocate,
    .fsync = serve_fsync,
};

/* ---- life ---- */

static void *serve(void *context)
{
    struct recorder *r = context;
    struct fuse_loop_config *config = fuse_loop_cfg_create();
    fuse_loop_cfg_set_max_threads(config, THREADS);
    fuse_loop_cfg_set_idle_threads(config, THREADS);
    fuse_session_loop_mt(r->session, config);
    fuse_loop_cfg_destroy(config);
    return NULL;
}

static int mount_and_serve(struct recorder *r, const char *directory)
{
    char *argv[] = {(char[]){"power_cut"}, (char[]){"-o"}, (char[]){"allow_other,default_permissions,fsname=power_cut"},
                    NULL};
    struct fuse_args args = FUSE_ARGS_INIT(3, argv);
    r->session = fuse_session_new(&args, &operations, sizeof operations, r);
    fuse_opt_free_args(&args); /* a copy that fuse_session_new() made in place */
    if (!r->session)
        return -EINVAL;
    if (fuse_session_mount(r->session, directory))
        return -EIO;
    r->directory = strdup(directory);
    int rc = -pthread_create(&r->thread, NULL, serve, r);
    r->serving = !rc;
    return rc;
}

int recorder_start(struct history *history, const struct recorder_config *config, struct recorder **recorder)
{
    struct recorder *r = calloc(1, sizeof *r);
    if (!r)
        return -ENOMEM;
    r->history = history;
    r->bytes = (uint64_t)history->sector_count * SECTOR_BYTES;
    r->can_punch = config->can_punch;
    r->dice.state = config->seed;
    pthread_mutex_init(&r->lock, NULL);
    r->content = calloc(1, r->bytes);
    int rc = r->content ? mount_and_serve(r, config->directory) : -ENOMEM;
    if (rc)
        recorder_stop(r);
    else
        *recorder = r;
    return rc;
}

void recorder_read(struct recorder *r, uint8_t *content)
{
    pthread_mutex_lock(&r->lock);
    memcpy(content, r->content, r->bytes);
    pthread_mutex_unlock(&r->lock);
}

void recorder_stop(struct recorder *r)
{
    if (!r)
        return;
    if (r->directory)
        umount2(r->directory, MNT_DETACH); /* ends the loop: reads of /dev/fuse fail from now on */
    if (r->serving)
        pthread_join(r->thread, NULL);
    if (r->directory)
        fuse_session_unmount(r->session); /* not before: it closes what the loop reads */
    if (r->session)
        fuse_session_destroy(r->session);
    free(r->directory);
    pthread_mutex_destroy(&r->lock);
    free(r->content);
    free(r);
}
