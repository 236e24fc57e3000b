/* One connection in the transmission phase: commands go in, and come back answered, or unanswered
 * when the connection breaks. Nothing here reconnects or repeats; see nbd_client.h for that.
 *
 * Thread: the loop's. Source: proto.md, "Transmission" and "Request types"; its extended headers.
 *
 * The server is not trusted. A reply must belong to a command in flight, be of a type that command
 * allows, and say exactly what was asked for: a READ succeeds only if every byte came once.
 * Whatever breaks a rule breaks the link. */
#ifndef NBD_NBD_LINK_H
#define NBD_NBD_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/uio.h>

#include "nbd/nbd_coverage.h"
#include "nbd/nbd_handshake.h"
#include "nbd/nbd_proto.h"
#include "nbd/nbd_wire.h"
#include "node/base/err.h"
#include "node/base/log.h"

struct blk_extent;

/* Filled by the caller up to done; belongs to the link from nbd_link_submit() until done() or
 * nbd_link_recover(). */
struct nbd_command {
    enum nbd_cmd type;
    uint16_t flags; /* enum nbd_cmd_flag, but for PAYLOAD_LEN */
    uint64_t offset, length_bytes;
    const struct iovec *iov; /* WRITE: the payload; READ: where it goes */
    int iov_count;
    struct blk_extent *extents; /* BLOCK_STATUS */
    uint32_t extent_max;
    void (*done)(struct nbd_command *command);

    int result;            /* 0, or the server's error as -errno (-ESHUTDOWN: it wants to be left) */
    uint32_t extent_count; /* BLOCK_STATUS, on success: at least 1 */
    bool suspect;          /* after nbd_link_recover(): the link broke for a lie while this was being
                              answered */

    /* the link's */
    TAILQ_ENTRY(nbd_command) entry;
    uint64_t cookie;
    bool begun, sent, answered; /* begun: its header may have left */
    bool described;             /* a status chunk came */
    uint64_t described_bytes;
    struct nbd_coverage coverage;
    uint8_t header[NBD_EXTENDED_REQUEST_BYTES];
};

TAILQ_HEAD(nbd_command_list, nbd_command);

enum {
    NBD_LINK_COMMANDS_MAX = 1024,
    NBD_LINK_BUFFER_BYTES = 128 << 10,
    NBD_LINK_SEND_IOVS = 128,
    NBD_LINK_RECV_IOVS = 64,
};

enum nbd_receive_state {
    RECEIVE_HEADER,
    RECEIVE_DATA_OFFSET,
    RECEIVE_DATA,
    RECEIVE_HOLE,
    RECEIVE_STATUS_HEAD,
    RECEIVE_STATUS,
    RECEIVE_ERROR,
    RECEIVE_STOPPED,
};

/* The half that listens; nbd_receive.c explains the states. */
struct nbd_receive {
    enum nbd_receive_state state;
    uint8_t *buffer; /* NBD_LINK_BUFFER_BYTES */
    size_t begin, end;
    /* the chunk that is being read */
    struct nbd_command *command;
    uint16_t flags, type;
    uint64_t left_bytes; /* of its payload */
    uint32_t descriptors;
    int vector; /* where the next byte of data goes */
    size_t vector_offset;
    size_t direct_bytes; /* of the receive that is outstanding: what goes to the caller's memory */
    struct iovec iov[NBD_LINK_RECV_IOVS + 1];
};

struct nbd_link {
    /* Called once when the connection is of no use any more, from the loop; err says why. The owner
     * closes the stream and then takes the commands back with nbd_link_recover(). */
    void (*broke)(struct nbd_link *link);
    struct err err;

    struct nbd_wire *wire;
    struct loop *loop;
    const struct nbd_offer *offer;
    bool broken, leaving, farewell; /* farewell: DISC is being sent */
    struct log_limit limit;
    struct nbd_receive receive;

    unsigned slot_count, in_flight; /* in_flight: submitted and not done */
    struct nbd_command **slots;     /* by the cookie's low bits */
    uint16_t *free_slots;           /* a stack of slot_count - in_flight */
    uint64_t serial;

    struct nbd_command_list queued;  /* not sent at all */
    struct nbd_command_list sending; /* in the send that is outstanding */
    struct nbd_command_list waiting; /* for their answer; or, answered, for their send to come back */
    struct nbd_command *partial;     /* first of queued: partial_vector vectors of it have been sent */
    int partial_vector;
    struct loop_job send_job;
    struct iovec send_iov[NBD_LINK_SEND_IOVS];
    uint8_t goodbye[NBD_EXTENDED_REQUEST_BYTES];
};

/* commands: at most so many at a time, up to NBD_LINK_COMMANDS_MAX. Errors: -ENOMEM. */
int nbd_link_init(struct nbd_link *link, struct loop *loop, unsigned commands);
void nbd_link_fini(struct nbd_link *link);

/* From the end of a handshake on. buffer: NBD_LINK_BUFFER_BYTES, the caller's; offer outlives the
 * connection. */
void nbd_link_start(struct nbd_link *link, struct nbd_wire *wire, const struct nbd_offer *offer, uint8_t *buffer,
                    void (*broke)(struct nbd_link *link));

static inline bool nbd_link_room(const struct nbd_link *link)
{
    return link->in_flight < link->slot_count && !link->broken && !link->leaving;
}

/* There must be room. Commands submitted in one turn of the loop leave in one send. */
void nbd_link_submit(struct nbd_link *link, struct nbd_command *command);
/* Says goodbye with NBD_CMD_DISC, then breaks with -ESHUTDOWN. Nothing is submitted afterwards. */
void nbd_link_leave(struct nbd_link *link);
/* Ends the link: broke() is not called for it. */
void nbd_link_stop(struct nbd_link *link);
/* Once the stream is closed: the commands that have no answer, one by one in the order of their
 * submission; NULL at the end. They are the caller's again. */
struct nbd_command *nbd_link_recover(struct nbd_link *link);

/* ---- between nbd_link.c and nbd_receive.c ---- */

__attribute__((format(printf, 3, 4))) void nbd_link_break(struct nbd_link *link, int code, const char *format, ...);
/* NULL: no command in flight has this cookie. */
struct nbd_command *nbd_link_find(struct nbd_link *link, uint64_t cookie);
/* The last of its answer has come; done() is called as soon as its memory is not being sent from
 * any more. */
void nbd_link_answered(struct nbd_link *link, struct nbd_command *command);
void nbd_receive_start(struct nbd_link *link, uint8_t *buffer);

#endif
