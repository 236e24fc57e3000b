/* Replies: built where the request lies, gathered over a turn of the loop, sent together. Source: proto.md, "Simple
 * reply message", "Structured reply chunk message", "Extended reply chunk message", "Structured reply types".
 *
 *      simple       magic error cookie                                            [data]
 *      structured   magic flags type cookie length                 [offset] [data]
 *      extended     magic flags type cookie offset length          [offset] [data]
 *
 * With structured or extended headers a READ is answered in chunks: runs of zeroes of 32 KiB and more go out as holes,
 * unless the client asked for one piece (DF). */
#include <errno.h>
#include <string.h>

#include "nbd/nbd_conn.h"
#include "nbd/nbd_meta.h"
#include "nbd/nbd_proto.h"
#include "nbd/zeroes.h"
#include "node/base/buffer_pool.h"
#include "node/base/container.h"

enum { ZERO_GRAIN_BYTES = 4096, CHUNK_HEAD_BYTES = 48, ERROR_HEAD_BYTES = 6 };

/* ---- building ---- */

static void add_part(struct nbd_request *r, void *data, size_t len)
{
    r->parts[r->part_count++] = (struct iovec){data, len};
}

static void emit_chunk(struct emit *e, const struct nbd_request *r, uint16_t type, bool last, uint64_t length)
{
    bool extended = r->conn->extended;
    emit_u32(e, extended ? NBD_EXTENDED_REPLY_MAGIC : NBD_STRUCTURED_REPLY_MAGIC);
    emit_u16(e, last ? NBD_REPLY_FLAG_DONE : 0);
    emit_u16(e, type);
    emit_u64(e, r->cookie);
    if (extended) {
        emit_u64(e, r->offset);
        emit_u64(e, length);
    } else {
        emit_u32(e, (uint32_t)length);
    }
}

static void build_simple(struct nbd_request *r)
{
    struct emit e = emit_to(r->head, sizeof r->head);
    emit_u32(&e, NBD_SIMPLE_REPLY_MAGIC);
    emit_u32(&e, nbd_error_of(r->result));
    emit_u64(&e, r->cookie);
    add_part(r, r->head, emit_len(&e));
    if (r->type == NBD_CMD_READ && !r->result && r->length)
        add_part(r, r->buffer, r->length);
}

static void build_error(struct nbd_request *r)
{
    struct emit e = emit_to(r->head, sizeof r->head);
    emit_chunk(&e, r, NBD_REPLY_TYPE_ERROR, true, ERROR_HEAD_BYTES);
    emit_u32(&e, nbd_error_of(r->result));
    emit_u16(&e, 0);
    add_part(r, r->head, emit_len(&e));
}

static void build_nothing(struct nbd_request *r)
{
    struct emit e = emit_to(r->head, sizeof r->head);
    emit_chunk(&e, r, NBD_REPLY_TYPE_NONE, true, 0);
    add_part(r, r->head, emit_len(&e));
}

static void build_data(struct nbd_request *r)
{
    struct emit e = emit_to(r->head, sizeof r->head);
    emit_chunk(&e, r, NBD_REPLY_TYPE_OFFSET_DATA, true, 8 + r->length);
    emit_u64(&e, r->offset);
    add_part(r, r->head, emit_len(&e));
    add_part(r, r->buffer, r->length);
}

/* Length of the run of equal kind (zeroes or not, in grains) at `at`. */
static size_t run_length(const uint8_t *data, size_t at, size_t end, bool *zero)
{
    size_t start = at;
    size_t grain = end - at < ZERO_GRAIN_BYTES ? end - at : ZERO_GRAIN_BYTES;
    *zero = zeroes(data + at, grain);
    for (at += grain; at < end; at += grain) {
        grain = end - at < ZERO_GRAIN_BYTES ? end - at : ZERO_GRAIN_BYTES;
        if (zeroes(data + at, grain) != *zero)
            break;
    }
    return at - start;
}

/* The first hole worth sending at or after `at`; length 0 if there is none. */
static size_t next_hole(const uint8_t *data, size_t at, size_t end, size_t *hole_at)
{
    while (at < end) {
        bool zero;
        size_t n = run_length(data, at, end, &zero);
        *hole_at = at;
        if (zero && (n >= NBD_HOLE_MIN_BYTES || n == end))
            return n;
        at += n;
    }
    *hole_at = end;
    return 0;
}

static void add_chunk(struct nbd_request *r, uint8_t **head, uint16_t type, size_t at, size_t n, bool last)
{
    struct emit e = emit_to(*head, CHUNK_HEAD_BYTES);
    bool hole = type == NBD_REPLY_TYPE_OFFSET_HOLE;
    emit_chunk(&e, r, type, last, hole ? 12 : 8 + n);
    emit_u64(&e, r->offset + at);
    if (hole)
        emit_u32(&e, (uint32_t)n);
    add_part(r, *head, emit_len(&e));
    if (!hole)
        add_part(r, r->buffer + at, n);
    *head += emit_len(&e);
}

/* Data and holes in turn. The answer buffer holds the vector and the chunk heads. False: no memory, or no hole. */
static bool build_sparse(struct nbd_request *r)
{
    enum {
        VECTOR_BYTES = 2 * NBD_CHUNKS_MAX * sizeof(struct iovec),
        BYTES = VECTOR_BYTES + NBD_CHUNKS_MAX * CHUNK_HEAD_BYTES
    };
    size_t hole_at, end = r->length;
    size_t hole = next_hole(r->buffer, 0, end, &hole_at);
    if (!hole || !(r->answer = buffer_get(r->conn->server->env.buffers, BYTES)))
        return false;
    r->answer_bytes = BYTES;
    r->conn->memory_bytes += buffer_class_bytes(BYTES);
    r->parts = (struct iovec *)(void *)r->answer;
    uint8_t *head = r->answer + VECTOR_BYTES;
    unsigned chunks = 0;
    for (size_t at = 0; at < end;) {
        if (chunks >= NBD_CHUNKS_MAX - 2) { /* the rest in one piece */
            hole_at = end;
            hole = 0;
        }
        if (hole_at > at) {
            add_chunk(r, &head, NBD_REPLY_TYPE_OFFSET_DATA, at, hole_at - at, hole_at == end);
            chunks++;
        }
        if (hole) {
            add_chunk(r, &head, NBD_REPLY_TYPE_OFFSET_HOLE, hole_at, hole, hole_at + hole == end);
            chunks++;
        }
        at = hole_at + hole;
        hole = next_hole(r->buffer, at, end, &hole_at);
    }
    return true;
}

/* One chunk per context, heads and descriptors in the answer buffer. */
static void build_status(struct nbd_request *r)
{
    bool extended = r->conn->extended, one = r->flags & NBD_CMD_FLAG_REQ_ONE;
    uint32_t count = r->req.extent_count;
    size_t head = extended ? NBD_EXTENDED_REPLY_BYTES + 8 : NBD_STRUCTURED_REPLY_BYTES + 4;
    size_t chunk = head + (size_t)count * (extended ? 16 : 8);
    unsigned left = (unsigned)__builtin_popcount(r->contexts);
    r->answer = buffer_get(r->conn->server->env.buffers, chunk * left);
    if (!r->answer) {
        r->result = -ENOMEM;
        build_error(r);
        return;
    }
    r->answer_bytes = chunk * left;
    r->conn->memory_bytes += buffer_class_bytes(r->answer_bytes);
    uint8_t *at = r->answer;
    for (unsigned m = 0; m < NBD_META_COUNT; m++) {
        if (!(r->contexts & 1u << m))
            continue;
        struct emit body = emit_to(at + head, chunk - head);
        uint32_t n = nbd_meta_describe(m, r->req.extents, count, one, extended, &body);
        struct emit e = emit_to(at, head);
        emit_chunk(&e, r, extended ? NBD_REPLY_TYPE_BLOCK_STATUS_EXT : NBD_REPLY_TYPE_BLOCK_STATUS, --left == 0,
                   emit_len(&body) + (extended ? 8 : 4));
        emit_u32(&e, nbd_meta_id(m));
        if (extended)
            emit_u32(&e, n);
        at += head + emit_len(&body);
    }
    add_part(r, r->answer, (size_t)(at - r->answer));
}

static void build(struct nbd_request *r)
{
    struct nbd_conn *conn = r->conn;
    bool chunks = conn->extended || (conn->structured && (r->type == NBD_CMD_READ || r->type == NBD_CMD_BLOCK_STATUS));
    r->parts = r->first_parts;
    if (!chunks) {
        build_simple(r);
    } else if (r->result) {
        build_error(r);
    } else if (r->type == NBD_CMD_BLOCK_STATUS) {
        build_status(r);
    } else if (r->type == NBD_CMD_READ && r->length) {
        bool whole = r->flags & NBD_CMD_FLAG_DF || r->length < NBD_HOLE_MIN_BYTES;
        if (whole || !build_sparse(r))
            build_data(r);
    } else {
        build_nothing(r);
    }
}

/* ---- sending ---- */

void nbd_reply(struct nbd_request *r)
{
    struct nbd_conn *conn = r->conn;
    if (r->result)
        log_debug("%s: %s at %llu, %llu bytes: %s", conn->peer, blk_op_name(r->req.op), (unsigned long long)r->offset,
                  (unsigned long long)r->length, strerror(-r->result));
    build(r);
    STAILQ_INSERT_TAIL(&conn->replies, r, link);
    if (!stream_sending(&conn->stream))
        loop_defer_late(conn->server->env.loop, &conn->tx_job);
}

static void sent(struct stream *stream, int result)
{
    struct nbd_conn *conn = CONTAINER_OF(stream, struct nbd_conn, stream);
    struct nbd_request *r;
    while ((r = STAILQ_FIRST(&conn->sending))) {
        STAILQ_REMOVE_HEAD(&conn->sending, link);
        nbd_request_free(r);
    }
    if (conn->state == NBD_CONN_ENDED)
        return;
    loop_timer_clear(conn->server->env.loop, &conn->deadline);
    if (result) {
        nbd_conn_end(conn);
        return;
    }
    if (!STAILQ_EMPTY(&conn->replies))
        loop_defer_late(conn->server->env.loop, &conn->tx_job);
    if (conn->waiting_for_room) {
        conn->waiting_for_room = false;
        nbd_conn_feed(conn);
    }
    nbd_conn_check_left(conn);
}

enum { SEND_OVERHEAD_BYTES = 768 }; /* what a send costs in a unix socket besides its bytes */

/* A client that has a backlog of replies is not waiting for us, so its next requests may come in company. */
static void take_time(struct nbd_conn *conn, unsigned replies, size_t bytes)
{
    unsigned cost = (unsigned)((SEND_OVERHEAD_BYTES + bytes) / replies);
    conn->reply_cost_bytes = (3 * conn->reply_cost_bytes + cost) / 4;
    if (!conn->in_stack && !conn->pausing &&
        stream_unread_bytes(&conn->stream) > NBD_AHEAD_REPLIES * conn->reply_cost_bytes)
        loop_no_hurry(conn->server->env.loop, NBD_PATIENCE_NS);
}

/* Moves replies to `sending` until a send is full; returns the vector's length. */
static int gather(struct nbd_conn *conn)
{
    unsigned parts = 0, replies = 0;
    size_t bytes = 0;
    struct nbd_request *r;
    while ((r = STAILQ_FIRST(&conn->replies)) && bytes < NBD_TX_BYTES_MAX) {
        if (parts + r->part_count > NBD_TX_IOV_MAX)
            break;
        for (unsigned i = 0; i < r->part_count; i++) {
            conn->tx_iov[parts++] = r->parts[i];
            bytes += r->parts[i].iov_len;
        }
        STAILQ_REMOVE_HEAD(&conn->replies, link);
        STAILQ_INSERT_TAIL(&conn->sending, r, link);
        replies++;
    }
    take_time(conn, replies, bytes);
    return (int)parts;
}

void nbd_reply_job(struct loop_job *job)
{
    struct nbd_conn *conn = CONTAINER_OF(job, struct nbd_conn, tx_job);
    if (conn->state == NBD_CONN_ENDED) {
        nbd_conn_check_left(conn);
        return;
    }
    if (stream_sending(&conn->stream) || STAILQ_EMPTY(&conn->replies))
        return;
    uint32_t stall_ms = conn->server->config.stall_ms;
    struct loop *loop = conn->server->env.loop;
    if (stall_ms)
        loop_timer_set(loop, &conn->deadline, loop_now_ns(loop) + stall_ms * UINT64_C(1000000));
    stream_send(&conn->stream, conn->tx_iov, gather(conn), sent);
}
