/* One client of the server, as the server's own files share it; nobody else includes this.
 *
 *     nbd_conn.c       life: made, fed, ended               nbd_transmit.c   requests: parsed, checked, submitted
 *     nbd_negotiate.c  handshake: options and replies       nbd_reply.c      replies: built, gathered, sent
 *
 *   GREETING --client flags--> OPTIONS --GO, EXPORT_NAME--> TRANSMISSION --DISC, drain--> LEAVING --all sent--> ENDED
 *       |                      ^  |  STARTTLS                     |                          |
 *       |                   STARTING_TLS                          |                          |
 *       +--------- violation, socket error, deadline: from any state at once ----------------+--------------> ENDED
 *
 * Reading is pulled: conn_feed() takes steps through what has been received until it needs more bytes, or has to wait
 * for a send, a TLS handshake, an epoch that is being recorded, or room (in_flight, memory); whoever ends the wait
 * calls it again. */
#ifndef NBD_NBD_CONN_H
#define NBD_NBD_CONN_H

#include "nbd/blk_driver.h"
#include "nbd/fence.h"
#include "nbd/nbd_proto.h"
#include "nbd/nbd_server.h"
#include "node/base/emit.h"
#include "node/base/log.h"
#include "node/base/stream.h"

enum {
    NBD_RX_BYTES = 128 << 10,
    NBD_STREAMING_BYTES = 32 << 10, /* behind a WRITE of this only a header is received: more would have to be copied */
    NBD_OPTION_MAX_BYTES = 64 << 10,  /* data of one option */
    NBD_OPTIONS_MAX = 4096,           /* options of one client: nobody needs more to choose an export */
    NBD_MAX_PAYLOAD_BYTES = 64 << 20, /* advertised */
    NBD_SKIP_MAX_BYTES = 128 << 20,   /* an oversize payload up to this is read and dropped */
    NBD_EXTENTS_MAX = 4096,           /* per BLOCK_STATUS */
    NBD_TX_REQUESTS_MAX = 64,         /* replies in one send */
    NBD_TX_BYTES_MAX = 1 << 20,       /* a send is closed when it holds this much */
    NBD_TX_IOV_MAX = 2 * NBD_TX_REQUESTS_MAX,
    NBD_TURN_WRITES = 16,          /* taken before the replies to them are sent */
    NBD_HOLE_MIN_BYTES = 32 << 10, /* shorter runs of zeroes are sent as data */
    NBD_AHEAD_REPLIES = 16,        /* unread by the client: it has enough to do */
    NBD_PATIENCE_NS = 20000,       /* then, this long for more requests to come */
    NBD_CHUNKS_MAX = 32,           /* of one structured read */
};

enum nbd_conn_state {
    NBD_CONN_GREETING,
    NBD_CONN_OPTIONS,
    NBD_CONN_STARTING_TLS,
    NBD_CONN_TRANSMISSION,
    NBD_CONN_LEAVING,
    NBD_CONN_ENDED,
};

enum nbd_step { NBD_STEP_AGAIN, NBD_STEP_INPUT, NBD_STEP_WAIT };

/* A request from its header to the end of its reply. Recycled by the server. */
struct nbd_request {
    struct blk_req req;
    struct nbd_conn *conn;
    uint16_t type, flags;
    uint64_t cookie, offset, length;
    int result;          /* of the check, or of the block layer */
    uint8_t *buffer;     /* payload, or the extents */
    size_t buffer_bytes; /* 0: not ours, but the place of the data in the stack */
    uint8_t *answer;     /* encoded BLOCK_STATUS, or the chunk headers of a sparse read */
    size_t answer_bytes;
    unsigned contexts;    /* BLOCK_STATUS: which */
    struct iovec payload; /* of req */
    struct iovec *parts;  /* the reply; first_parts unless it has more chunks */
    unsigned part_count;
    struct iovec first_parts[2];
    uint8_t head[48];
    STAILQ_ENTRY(nbd_request) link;
};

STAILQ_HEAD(nbd_request_list, nbd_request);

struct nbd_conn {
    struct nbd_server *server;
    LIST_ENTRY(nbd_conn) link;
    struct stream stream;
    bool stream_closed;
    enum nbd_conn_state state;
    char peer[96]; /* for the log */
    struct loop_timer deadline;
    void (*ended)(void *context);
    void *ended_context;

    /* receiving */
    uint8_t *rx;
    uint32_t rx_at, rx_len;
    uint64_t skip_bytes;
    struct nbd_request *filling; /* a WRITE whose payload is arriving */
    size_t filled_bytes;
    struct iovec rx_iov[2];
    bool streaming; /* the newest request is a large WRITE */
    bool waiting_for_room, waiting_for_departed;
    unsigned taken_writes; /* in this turn */
    bool pausing;          /* until the next one */
    struct loop_op pause_op;

    /* negotiated */
    bool no_zeroes, structured, extended;
    unsigned contexts;
    char *contexts_name; /* export they were chosen for */
    unsigned option_count;
    uint32_t option_at; /* where in rx the option begins that is looked at */
    struct nbd_export *export;
    uint64_t epoch; /* of a fenced export; 0 */
    struct fence_raise raise;
    struct nbd_export *raise_export;
    bool raising;
    int raise_result; /* -errno */
    uint8_t *out;     /* option replies being sent */
    size_t out_len, out_cap;
    struct iovec out_iov;
    void (*out_then)(struct nbd_conn *conn);

    /* transmission */
    unsigned in_flight; /* from header to sent reply */
    unsigned in_stack;  /* of those, in the block layer */
    size_t memory_bytes;
    struct nbd_request_list replies, sending;
    struct loop_job tx_job;
    struct iovec tx_iov[NBD_TX_IOV_MAX];
    unsigned reply_cost_bytes; /* running mean of what a reply takes in the socket */
};

LIST_HEAD(nbd_conn_list, nbd_conn);
struct nbd_listener {
    struct nbd_server *server;
    int fd;
    bool accepting;
    struct loop_op op;
    struct loop_timer again;
    LIST_ENTRY(nbd_listener) link;
};

LIST_HEAD(nbd_listener_list, nbd_listener);

struct nbd_server {
    struct blk_env env;
    struct nbd_server_config config;
    struct nbd_export_list exports;
    struct nbd_listener_list listeners;
    struct nbd_conn_list conns;
    unsigned conn_count;
    struct nbd_request_list idle_requests;
    unsigned idle_count;
    struct log_limit complaints;
    /* draining */
    bool draining;
    unsigned flushing;
    bool flush_failed;
    struct loop_job drain_job;
    struct loop_timer drain_timer;
    void (*drained)(void *context, bool failed);
    void *drain_context;
};

/* nbd_conn.c */
void nbd_conn_new(struct nbd_server *server, int fd, void (*ended)(void *), void *context);
void nbd_conn_feed(struct nbd_conn *conn);
enum nbd_step nbd_conn_skip(struct nbd_conn *conn); /* throws skip_bytes away */
void nbd_conn_leave(struct nbd_conn *conn);         /* no more requests; ends when all replies are out */
void nbd_conn_end(struct nbd_conn *conn);           /* at once */
void nbd_conn_check_left(struct nbd_conn *conn);
/* Starts reading requests, once those of connections that ended before are out of the stack: a client that lost its
 * connection and sends its requests again must not have them overtaken by their older selves. */
void nbd_conn_begin(struct nbd_conn *conn);
/* The last departed request of an export is done. */
void nbd_conn_departed_done(struct nbd_server *server, const struct nbd_export *export);
/* A peer broke the rules: said in the log (rate limited), and the connection is over. */
__attribute__((format(printf, 2, 3))) void nbd_conn_violation(struct nbd_conn *conn, const char *format, ...);
static inline uint32_t nbd_conn_available(const struct nbd_conn *conn)
{
    return conn->rx_len - conn->rx_at;
}
static inline uint32_t nbd_request_header_bytes(const struct nbd_conn *conn)
{
    return conn->extended ? NBD_EXTENDED_REQUEST_BYTES : NBD_REQUEST_BYTES;
}

/* nbd_negotiate.c */
void nbd_negotiate_greet(struct nbd_conn *conn);
enum nbd_step nbd_negotiate_step(struct nbd_conn *conn);

/* nbd_transmit.c */
enum nbd_step nbd_transmit_step(struct nbd_conn *conn);
void nbd_transmit_payload(struct nbd_conn *conn); /* conn->filling has its whole payload */
void nbd_transmit_abandon(struct nbd_conn *conn); /* the rest of it will not come */
void nbd_request_free(struct nbd_request *request);

/* nbd_reply.c */
void nbd_reply(struct nbd_request *request); /* request->result is set */
void nbd_reply_job(struct loop_job *job);

/* nbd_server.c */
void nbd_server_conn_gone(struct nbd_server *server);

#endif
