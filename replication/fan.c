#include "replication/fan.h"

#include <errno.h>
#include <stdlib.h>

#include "node/base/container.h"
#include "node/base/log.h"
#include "replication/volume_core.h"

enum { AVERAGE_OF = 16 };

static struct member_io *io_get(struct volume *v)
{
    struct member_io *io = TAILQ_FIRST(&v->idle_ios);
    if (io) {
        TAILQ_REMOVE(&v->idle_ios, io, link);
    } else if (!(io = calloc(1, sizeof *io))) {
        log_error("no memory for a member's request");
        abort(); /* Rule Zero: what it belongs to was accepted and could never complete */
    }
    return io;
}

static void answered(struct fan *fan)
{
    if (--fan->left == 0)
        fan->done(fan);
}

static void io_done(struct blk_req *req)
{
    struct member_io *io = CONTAINER_OF(req, struct member_io, req);
    struct member *m = io->member;
    struct fan *fan = io->fan;
    struct volume *v = m->volume;
    TAILQ_REMOVE(&m->outstanding, io, link);
    m->heard |= !req->result;
    if (req->result) {
        m->counts.errors++;
        fan->failed |= member_bit(m->index);
        fan->error = req->result;
        if (req->result == -ENOTCONN)
            fan->away |= member_bit(m->index);
        else
            m->unsure |= req->op == BLK_FLUSH;
    } else if (req->op == BLK_READ && v->tick_ns) { /* no clock, no measuring: a test repeats itself */
        uint64_t took_ns = loop_now_ns(v->loop) - io->begin_ns;
        m->read_ns = m->read_ns ? (m->read_ns * (AVERAGE_OF - 1) + took_ns) / AVERAGE_OF : took_ns;
    }
    TAILQ_INSERT_HEAD(&v->idle_ios, io, link);
    answered(fan);
}

void fan_begin(struct fan *fan, struct volume *volume, void (*done)(struct fan *fan))
{
    *fan = (struct fan){.volume = volume, .left = 1, .done = done};
}

static void send(struct fan *fan, struct member *m, enum blk_op op, uint32_t flags, uint64_t offset,
                 const struct iovec *iov, int iov_count, uint64_t length_bytes)
{
    struct volume *v = fan->volume;
    struct member_io *io = io_get(v);
    fan->left++;
    fan->asked |= member_bit(m->index);
    io->fan = fan;
    io->member = m;
    io->begin_ns = loop_now_ns(v->loop);
    for (int i = 0; i < iov_count && iov_count <= 2; i++)
        io->iov[i] = iov[i];
    io->req.op = op;
    io->req.flags = flags;
    io->req.offset = offset;
    io->req.length_bytes = length_bytes;
    io->req.iov = iov_count <= 2 ? io->iov : iov;
    io->req.iov_count = iov_count;
    io->req.done = io_done;
    TAILQ_INSERT_TAIL(&m->outstanding, io, link);
    blk_submit(m->blk, &io->req);
}

void fan_add(struct fan *fan, unsigned member, enum blk_op op, uint32_t flags, uint64_t offset, void *data,
             uint64_t length_bytes)
{
    struct member *m = &fan->volume->members[member];
    uint64_t max =
        op == BLK_READ || op == BLK_WRITE ? blk_limits(m->blk)->max_transfer_bytes & ~(BLOCK_BYTES - 1) : length_bytes;
    uint8_t *at = data;
    do {
        uint64_t n = length_bytes < max ? length_bytes : max;
        send(fan, m, op, flags, offset, &(struct iovec){at, n}, 1, n);
        offset += n;
        length_bytes -= n;
        at = at ? at + n : NULL;
    } while (length_bytes);
}

void fan_add_read(struct fan *fan, unsigned member, uint64_t offset, const struct iovec *iov, unsigned count,
                  uint64_t length_bytes)
{
    struct member *m = &fan->volume->members[member];
    if (length_bytes <= blk_limits(m->blk)->max_transfer_bytes) {
        send(fan, m, BLK_READ, 0, offset, iov, (int)count, length_bytes);
        return;
    }
    for (unsigned i = 0; i < count; offset += iov[i++].iov_len)
        fan_add(fan, member, BLK_READ, 0, offset, iov[i].iov_base, iov[i].iov_len);
}

void fan_add_pair(struct fan *fan, unsigned member, uint32_t flags, uint64_t offset, void *first, uint64_t first_bytes,
                  void *second, uint64_t second_bytes)
{
    struct member *m = &fan->volume->members[member];
    struct iovec iov[2] = {{first, first_bytes}, {second, second_bytes}};
    if (first_bytes + second_bytes <= blk_limits(m->blk)->max_transfer_bytes) {
        send(fan, m, BLK_WRITE, flags, offset, iov, 2, first_bytes + second_bytes);
        return;
    }
    fan_add(fan, member, BLK_WRITE, flags, offset, first, first_bytes);
    fan_add(fan, member, BLK_WRITE, flags, offset + first_bytes, second, second_bytes);
}

void fan_end(struct fan *fan)
{
    answered(fan);
}

void fan_enter(struct fan *fan)
{
    fan->left++;
}

void fan_leave(struct fan *fan)
{
    answered(fan);
}
