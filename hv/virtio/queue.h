/* A split virtqueue, seen from the device: take chains of buffers, give them back.
 *
 *     queue_open() -> { queue_pop() -> ... -> queue_push() } -> queue_publish() -> ... -> queue_close()
 *
 * A chain's buffers are handed out as pointers into the guest's memory (zero copy). Everything that is judged (ring
 * indices, descriptors) is copied first; whoever judges the content of a buffer copies it, too (chain.h). Every length
 * has a limit: a chain has at most as many descriptors as its table, and as many pieces as its owner has room for; no
 * more chains are out than the queue has entries.
 *
 * A ring that makes no sense breaks the queue: failed() is called once, queue_pop() returns false from then on, and
 * only a reset by the guest helps. Nothing that a guest writes does more than that.
 *
 * Thread: the one that serves the queue; open, close and the indices from another one while it is not served.
 * Source: virtio 1.2, 2.7. */
#ifndef HV_VIRTIO_QUEUE_H
#define HV_VIRTIO_QUEUE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct memory;

enum {
    QUEUE_SIZE_MAX = 1024,     /* entries */
    QUEUE_TURN = 128,          /* chains */
    QUEUE_INDIRECT_MAX = 1024, /* descriptors in an indirect table */
};

struct queue {
    /* The owner's: */
    struct memory *memory;
    void (*signal)(struct queue *q);                  /* an interrupt, please */
    void (*failed)(struct queue *q, const char *why); /* the queue is broken; called once */
    uint64_t desc_gpa, avail_gpa, used_gpa;
    uint16_t size; /* a power of two */
    bool event_idx, indirect;
    /* What lasts beside the addresses when it is not open: */
    uint16_t next_avail; /* the next entry of the available ring to be taken */
    uint16_t next_used;  /* chains given back so far */

    const uint8_t *desc, *avail;
    uint8_t *used;
    uint16_t published, out; /* given back and visible; taken and not given back */
    uint16_t left;           /* of a turn */
    bool opened, broken, in_turn;
};

struct chain {
    /* The owner's: room for pieces. */
    struct iovec *iov;
    uint16_t room;
    /* Readable pieces first, then the writable ones. Neighbours in memory are one piece. */
    uint16_t readable, writable;
    uint64_t readable_bytes, writable_bytes;
    uint16_t head;
};

/* Looks up the rings. NULL, or what is wrong with them (a clause for a log line). */
const char *queue_open(struct queue *q);
void queue_close(struct queue *q);

/* Takes the next chain, if there is one. */
bool queue_pop(struct queue *q, struct chain *chain);
/* A thread that serves several queues is not held up by one that fills faster than it is emptied: between these two no
 * more than QUEUE_TURN chains are taken, and then there is nothing more, as queue_listen() says, too. True: the turn
 * was used up; somebody looks again. */
void queue_begin_turn(struct queue *q);
bool queue_end_turn(struct queue *q);
/* Puts back the `count` chains that were taken last and are still out, as if they had never been taken. */
void queue_unpop(struct queue *q, unsigned count);
/* Gives a chain back; written_bytes: how much of the writable part, from its beginning, may have changed. */
void queue_push(struct queue *q, const struct chain *chain, uint64_t written_bytes);
/* What was pushed becomes visible to the guest, with an interrupt if it asked for one. */
void queue_publish(struct queue *q);

/* The guest need not kick: we look again anyway. */
void queue_quiet(struct queue *q);
/* The guest shall kick again. True: there is something already. */
bool queue_listen(struct queue *q);

/* Breaks it. */
void queue_fail(struct queue *q, const char *why);
/* The same, for a chain that was taken last and that nobody can serve: it is put back. */
void queue_refuse(struct queue *q, const char *why);

#endif
