/* See virtio_rng.h. A chain is filled up to CHAIN_BYTES and given back; a driver that wants more asks again. */
#include "hv/virtio/virtio_rng.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <sys/random.h>

#include "hv/virtio/io_thread.h"
#include "hv/virtio/virtio_device.h"
#include "nbd/bucket.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum { QUEUE_SIZE = 16, PIECES = 16, CHAIN_BYTES = 4096 };

struct virtio_rng {
    struct virtio_device device;
    struct virtio_queue queue;
    struct bucket bucket; /* the I/O thread's, as all below */
    uint64_t bytes_per_second;
    struct loop_timer timer;
    struct iovec pieces[PIECES];
};

static struct virtio_rng *rng_of(struct virtio_device *d)
{
    return CONTAINER_OF(d, struct virtio_rng, device);
}

/* Straight into the guest's memory; how much. */
static uint64_t fill(const struct chain *c)
{
    uint64_t done = 0;
    for (unsigned i = 0; i < c->writable && done < CHAIN_BYTES; i++) {
        const struct iovec *iov = &c->iov[c->readable + i];
        size_t want = iov->iov_len < CHAIN_BYTES - done ? iov->iov_len : (size_t)(CHAIN_BYTES - done);
        ssize_t n = getrandom(iov->iov_base, want, 0);
        if (n < 0)
            break;
        done += (uint64_t)n;
        if ((size_t)n < want)
            break;
    }
    return done;
}

static void kick(struct virtio_queue *vq)
{
    struct virtio_rng *rng = rng_of(vq->device);
    struct loop *loop = io_thread_loop(vq->io);
    struct chain c = {.iov = rng->pieces, .room = PIECES};
    if (rng->timer.slot)
        return;
    do {
        queue_quiet(&vq->ring);
        for (;;) {
            uint64_t ready_ns = bucket_ready_ns(&rng->bucket, CHAIN_BYTES);
            if (ready_ns > loop_now_ns(loop)) {
                loop_timer_set(loop, &rng->timer, ready_ns);
                queue_publish(&vq->ring);
                return;
            }
            if (!queue_pop(&vq->ring, &c))
                break;
            uint64_t n = fill(&c);
            bucket_take(&rng->bucket, n ? n : 1, loop_now_ns(loop));
            queue_push(&vq->ring, &c, n);
        }
        queue_publish(&vq->ring);
    } while (queue_listen(&vq->ring));
}

static void due(struct loop_timer *timer)
{
    kick(&CONTAINER_OF(timer, struct virtio_rng, timer)->queue);
}

static void start(struct virtio_queue *vq)
{
    struct virtio_rng *rng = rng_of(vq->device);
    if (!rng->bucket.rate)
        rng->bucket = bucket_of(rng->bytes_per_second, rng->bytes_per_second, loop_now_ns(io_thread_loop(vq->io)));
}

static void stop(struct virtio_queue *vq)
{
    loop_timer_clear(io_thread_loop(vq->io), &rng_of(vq->device)->timer);
    virtio_queue_stopped(vq);
}

static void config_read(struct virtio_device *d, uint8_t *to)
{
    (void)d;
    (void)to; /* has none */
}

static const struct virtio_device_ops ops = {.config_read = config_read, .start = start, .stop = stop, .kick = kick};

int virtio_rng_new(struct memory *memory, struct io_thread *io, uint64_t bytes_per_second, struct virtio_rng **out,
                   struct err *err)
{
    struct virtio_rng *rng = calloc(1, sizeof *rng);
    if (!rng)
        return err_set(err, ENOMEM, "no memory for a source of randomness");
    rng->bytes_per_second = bytes_per_second ? bytes_per_second : VIRTIO_RNG_BYTES_PER_SECOND;
    rng->timer.fire = due;
    rng->queue.io = io;
    rng->queue.size_max = QUEUE_SIZE;
    rng->device = (struct virtio_device){.ops = &ops,
                                         .name = "virtio-rng",
                                         .id = VIRTIO_ID_RNG,
                                         .queues = &rng->queue,
                                         .queue_count = 1,
                                         .memory = memory};
    int rc = virtio_device_init(&rng->device, err);
    if (rc)
        free(rng);
    else
        *out = rng;
    return rc;
}

void virtio_rng_free(struct virtio_rng *rng)
{
    if (!rng)
        return;
    virtio_device_fini(&rng->device);
    free(rng);
}

struct virtio_device *virtio_rng_device(struct virtio_rng *rng)
{
    return &rng->device;
}
