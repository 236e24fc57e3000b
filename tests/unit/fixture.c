#include "tests/unit/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nbd/blk_driver.h"
#include "node/base/buffer_pool.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/loop.h"
#include "node/base/worker.h"

enum { FILES_MAX = 32 };

struct fixture_all {
    struct fixture f;
    char *files[FILES_MAX];
    unsigned file_count;
};

struct waited {
    struct blk_req req;
    bool done;
};

int fixture_setup(void **state)
{
    static bool registered;
    if (!registered)
        blk_drivers_register();
    registered = true;
    struct fixture_all *all = calloc(1, sizeof *all);
    struct err err = {0};
    all->f.env.loop = loop_new(&err);
    if (!all->f.env.loop)
        fail_msg("%s", err.text);
    all->f.env.worker = worker_new(all->f.env.loop, 2, &err);
    all->f.env.buffers = buffer_pool_new(8 << 20);
    *state = &all->f;
    return 0;
}

int fixture_teardown(void **state)
{
    struct fixture_all *all = CONTAINER_OF(*state, struct fixture_all, f);
    fixture_close(&all->f);
    worker_free(all->f.env.worker);
    buffer_pool_free(all->f.env.buffers);
    loop_free(all->f.env.loop);
    for (unsigned i = 0; i < all->file_count; i++) {
        unlink(all->files[i]);
        free(all->files[i]);
    }
    free(all);
    return 0;
}

struct blk *fixture_open(struct fixture *f, const char *stack, uint32_t flags)
{
    struct err err = {0};
    if (blk_open(&f->env, stack, flags, &f->blk, &err))
        fail_msg("%s: %s", stack, err.text);
    return f->blk;
}

static void drained(void *context)
{
    *(bool *)context = true;
}

void fixture_close(struct fixture *f)
{
    bool done = false;
    if (!f->blk)
        return;
    blk_drain(f->blk, drained, &done);
    while (!done)
        loop_step(f->env.loop);
    blk_close(f->blk);
    f->blk = NULL;
}

static void io_done(struct blk_req *req)
{
    struct waited *w = CONTAINER_OF(req, struct waited, req);
    assert_false(w->done);
    w->done = true;
}

static int wait_for(struct fixture *f, struct waited *w)
{
    w->req.done = io_done;
    blk_submit(f->blk, &w->req);
    assert_false(w->done); /* never inside submit */
    while (!w->done)
        loop_step(f->env.loop);
    return w->req.result;
}

int fixture_io(struct fixture *f, enum blk_op op, uint32_t flags, uint64_t offset, void *data, uint64_t length_bytes)
{
    struct iovec iov = {data, length_bytes};
    struct waited w = {
        .req = {.op = op, .flags = flags, .offset = offset, .length_bytes = length_bytes, .iov = &iov, .iov_count = 1}};
    return wait_for(f, &w);
}

int fixture_extents(struct fixture *f, uint64_t offset, uint64_t length_bytes, struct blk_extent *extents, uint32_t max,
                    uint32_t *count)
{
    struct waited w = {
        .req = {
            .op = BLK_EXTENTS, .offset = offset, .length_bytes = length_bytes, .extents = extents, .extent_max = max}};
    int rc = wait_for(f, &w);
    *count = w.req.extent_count;
    return rc;
}

const char *fixture_file(struct fixture *f, uint64_t size_bytes)
{
    struct fixture_all *all = CONTAINER_OF(f, struct fixture_all, f);
    const char *dir = getenv("TMPDIR");
    char *path = NULL;
    assert_true(all->file_count < FILES_MAX);
    assert_true(asprintf(&path, "%s/drover-test-XXXXXX", dir ? dir : "/tmp") > 0);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)size_bytes), 0);
    close(fd);
    all->files[all->file_count++] = path;
    return path;
}

void fixture_pattern(void *data, uint64_t offset, size_t len_bytes, uint32_t seed)
{
    unsigned char *p = data;
    for (size_t i = 0; i < len_bytes; i++) {
        uint64_t x = (offset + i) * UINT64_C(0x9e3779b97f4a7c15) + seed;
        p[i] = (unsigned char)(x >> 56 ^ x >> 31);
    }
}
