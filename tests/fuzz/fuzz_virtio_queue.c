/* A ring of any content: what comes out of it lies in memory and adds up. The first byte says which features, the
 * second how often to look; after each look a byte of the ring changes. */
#include <stdlib.h>
#include <string.h>

#include "hv/virtio/chain.h"
#include "hv/virtio/queue.h"
#include "tests/fuzz/fuzz_virtio.h"

enum { ROOM = 40, AVAIL = 256, USED = 512, LOOKS = 32 };

static void signalled(struct queue *q)
{
    (void)q;
}

static void failed(struct queue *q, const char *why)
{
    if (!q->broken || !*why)
        abort();
}

static void check(const struct chain *c, const uint8_t *ram)
{
    uint64_t readable = 0, writable = 0;
    for (unsigned i = 0; i < c->readable + c->writable; i++) {
        const uint8_t *at = c->iov[i].iov_base;
        if (at < ram || at >= ram + FUZZ_MEMORY_BYTES || c->iov[i].iov_len > (size_t)(ram + FUZZ_MEMORY_BYTES - at))
            abort();
        *(i < c->readable ? &readable : &writable) += c->iov[i].iov_len;
    }
    if (readable != c->readable_bytes || writable != c->writable_bytes || c->readable + c->writable > ROOM)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct iovec iov[ROOM];
    struct chain c = {.iov = iov, .room = ROOM};
    struct queue q = {.memory = fuzz_virtio_memory(),
                      .signal = signalled,
                      .failed = failed,
                      .avail_gpa = AVAIL,
                      .used_gpa = USED,
                      .size = FUZZ_QUEUE_SIZE};
    uint8_t *ram = memory_at_writable(q.memory, 0, FUZZ_MEMORY_BYTES);
    if (size < 2 + LOOKS || size > FUZZ_MEMORY_BYTES)
        return 0;
    q.event_idx = data[0] & 1;
    q.indirect = data[0] & 2;
    memset(ram, 0, 16 << 10);
    memcpy(ram, data + 2 + LOOKS, size - 2 - LOOKS);
    memcpy(&q.next_avail, ram + AVAIL + 2, sizeof q.next_avail);
    q.next_avail = (uint16_t)(q.next_avail - data[0] / 4 % 20);
    q.next_used = q.next_avail;
    if (queue_open(&q))
        abort();
    for (unsigned i = 0; i < data[1] % LOOKS; i++) {
        queue_quiet(&q);
        if (queue_pop(&q, &c)) {
            uint8_t bytes[64];
            check(&c, ram);
            chain_read(&c, data[2 + i], bytes, sizeof bytes);
            queue_push(&q, &c, chain_write(&c, data[2 + i], bytes, 0));
        }
        queue_publish(&q);
        queue_listen(&q);
        ram[data[2 + i] * 2] ^= (uint8_t)(1 << i % 8);
        q.broken = false;
    }
    queue_close(&q);
    return 0;
}
