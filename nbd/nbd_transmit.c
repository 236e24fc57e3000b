/* Transmission: requests from the wire to the block layer. Source: proto.md, "Transmission phase", "Request types".
 *
 * A request is judged from its header alone, before a byte of payload is received: one that will fail anyway gets no
 * buffer, its payload is skipped and the connection stays in step. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nbd/nbd_conn.h"
#include "nbd/nbd_meta.h"
#include "nbd/nbd_proto.h"
#include "node/base/buffer_pool.h"
#include "node/base/container.h"
#include "node/base/cursor.h"

enum { IDLE_REQUESTS_MAX = 4096, CONTEXT_PAYLOAD_MAX_BYTES = 8 + 4 * NBD_META_COUNT };

/* ---- requests and their memory ---- */

static struct nbd_request *request_new(struct nbd_conn *conn)
{
    struct nbd_server *s = conn->server;
    struct nbd_request *r = STAILQ_FIRST(&s->idle_requests);
    if (r) {
        STAILQ_REMOVE_HEAD(&s->idle_requests, link);
        s->idle_count--;
    } else if (!(r = calloc(1, sizeof *r))) {
        return NULL;
    }
    r->conn = conn;
    r->result = 0;
    r->part_count = 0;
    conn->in_flight++;
    return r;
}

static bool take_buffer(struct nbd_request *r, uint8_t **buffer, size_t *bytes, size_t want)
{
    *buffer = buffer_get(r->conn->server->env.buffers, want);
    if (!*buffer)
        return false;
    *bytes = want;
    r->conn->memory_bytes += buffer_class_bytes(want);
    return true;
}

static void give_buffer(struct nbd_request *r, uint8_t **buffer, size_t bytes)
{
    if (*buffer && bytes) {
        buffer_put(r->conn->server->env.buffers, *buffer, bytes);
        r->conn->memory_bytes -= buffer_class_bytes(bytes);
    }
    *buffer = NULL;
}

/* Where the data of a READ or WRITE goes. */
static bool find_room(struct nbd_request *r)
{
    r->buffer = blk_place(r->conn->export->blk, &r->req);
    r->buffer_bytes = 0;
    return r->buffer || take_buffer(r, &r->buffer, &r->buffer_bytes, r->length);
}

void nbd_request_free(struct nbd_request *r)
{
    struct nbd_server *s = r->conn->server;
    give_buffer(r, &r->buffer, r->buffer_bytes);
    give_buffer(r, &r->answer, r->answer_bytes);
    r->conn->in_flight--;
    if (s->idle_count == IDLE_REQUESTS_MAX) {
        free(r);
        return;
    }
    STAILQ_INSERT_HEAD(&s->idle_requests, r, link);
    s->idle_count++;
}

/* ---- submitting ---- */

static void stack_done(struct blk_req *req)
{
    struct nbd_request *r = CONTAINER_OF(req, struct nbd_request, req);
    struct nbd_conn *conn = r->conn;
    conn->in_stack--;
    r->result = req->result;
    if (conn->state != NBD_CONN_ENDED) {
        nbd_reply(r);
        return;
    }
    struct nbd_server *server = conn->server;
    struct nbd_export *export = conn->export;
    nbd_request_free(r);
    nbd_conn_check_left(conn);
    if (--export->departed == 0)
        nbd_conn_departed_done(server, export);
}

static void submit(struct nbd_request *r)
{
    struct nbd_conn *conn = r->conn;
    r->payload = (struct iovec){r->buffer, r->length};
    r->req.iov = &r->payload;
    r->req.iov_count = 1;
    r->req.done = stack_done;
    conn->in_stack++;
    blk_submit(conn->export->blk, &r->req);
}

static void fail(struct nbd_request *r, int result)
{
    r->result = result;
    nbd_reply(r);
}

void nbd_transmit_payload(struct nbd_conn *conn)
{
    struct nbd_request *r = conn->filling;
    conn->filling = NULL;
    conn->taken_writes++;
    submit(r);
}

void nbd_transmit_abandon(struct nbd_conn *conn)
{
    struct nbd_request *r = conn->filling;
    conn->filling = NULL;
    if (!r->buffer_bytes)
        blk_place(conn->export->blk, &r->req);
    nbd_request_free(r);
}

/* ---- judging ---- */

static uint16_t flags_allowed(const struct nbd_conn *conn, uint16_t type)
{
    unsigned flags = NBD_CMD_FLAG_FUA; /* accepted, and mostly ignored, everywhere */
    if (type == NBD_CMD_READ && (conn->structured || conn->extended))
        flags |= NBD_CMD_FLAG_DF;
    if (type == NBD_CMD_WRITE_ZEROES)
        flags |= NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO;
    if (type == NBD_CMD_BLOCK_STATUS)
        flags |= NBD_CMD_FLAG_REQ_ONE;
    if (conn->extended && (type == NBD_CMD_WRITE || type == NBD_CMD_BLOCK_STATUS))
        flags |= NBD_CMD_FLAG_PAYLOAD_LEN;
    return (uint16_t)flags;
}

/* Fills r->req from the header; 0 or the error. */
static int translate(struct nbd_request *r)
{
    struct blk_req *q = &r->req;
    bool fua = r->flags & NBD_CMD_FLAG_FUA;
    q->flags = 0;
    q->offset = r->offset;
    q->length_bytes = r->length;
    switch (r->type) {
    case NBD_CMD_READ:
        q->op = BLK_READ;
        return 0;
    case NBD_CMD_WRITE:
        q->op = BLK_WRITE;
        q->flags = fua ? BLK_FUA : 0;
        return r->conn->extended && !(r->flags & NBD_CMD_FLAG_PAYLOAD_LEN) ? -EINVAL : 0;
    case NBD_CMD_FLUSH:
        q->op = BLK_FLUSH;
        return r->offset || r->length ? -EINVAL : 0;
    case NBD_CMD_TRIM:
        q->op = BLK_TRIM;
        q->flags = fua ? BLK_FUA : 0;
        return 0;
    case NBD_CMD_WRITE_ZEROES:
        q->op = BLK_ZERO;
        q->flags = (fua ? BLK_FUA : 0) | (r->flags & NBD_CMD_FLAG_NO_HOLE ? BLK_NO_HOLE : 0) |
                   (r->flags & NBD_CMD_FLAG_FAST_ZERO ? BLK_FAST : 0);
        return 0;
    case NBD_CMD_CACHE:
        q->op = BLK_CACHE;
        return 0;
    case NBD_CMD_BLOCK_STATUS:
        q->op = BLK_EXTENTS;
        q->flags = r->flags & NBD_CMD_FLAG_REQ_ONE ? BLK_ONE_EXTENT : 0;
        return r->conn->contexts ? 0 : -EINVAL;
    case NBD_CMD_RESIZE:
        q->op = BLK_RESIZE;
        q->flags = fua ? BLK_FUA : 0;
        return 0;
    default:
        return -EINVAL;
    }
}

/* A shrinking disk must not be pulled away from under somebody else. */
static int judge_resize(const struct nbd_request *r)
{
    const struct nbd_export *e = r->conn->export;
    if (!e->can_resize)
        return -EPERM;
    return r->offset < blk_size(e->blk) && e->users > 1 ? -EPERM : 0;
}

static int judge(struct nbd_request *r)
{
    const struct nbd_conn *conn = r->conn;
    if (r->flags & ~flags_allowed(conn, r->type))
        return -EINVAL;
    int rc = translate(r);
    if (!rc)
        rc = blk_check(conn->export->blk, &r->req);
    if (!rc && r->type == NBD_CMD_RESIZE)
        rc = judge_resize(r);
    if (!rc && r->type == NBD_CMD_READ && r->length > NBD_MAX_PAYLOAD_BYTES)
        rc = -EOVERFLOW;
    return rc == -EOVERFLOW && !conn->extended && !(r->flags & NBD_CMD_FLAG_DF) ? -EINVAL : rc;
}

/* ---- one request ---- */

static void begin_write(struct nbd_conn *conn, struct nbd_request *r)
{
    if (!r->length) {
        submit(r);
        return;
    }
    if (!find_room(r)) {
        conn->skip_bytes = r->length;
        fail(r, -ENOMEM);
        return;
    }
    uint32_t here = nbd_conn_available(conn);
    if (here > r->length)
        here = (uint32_t)r->length;
    memcpy(r->buffer, conn->rx + conn->rx_at, here);
    conn->rx_at += here;
    conn->filling = r;
    conn->filled_bytes = here;
    if (here == r->length)
        nbd_transmit_payload(conn);
}

static void begin_read(struct nbd_request *r)
{
    if (r->length && !find_room(r))
        fail(r, -ENOMEM);
    else
        submit(r);
}

static void begin_status(struct nbd_request *r)
{
    uint32_t max = r->flags & NBD_CMD_FLAG_REQ_ONE ? 1 : NBD_EXTENTS_MAX;
    if (!r->length) {
        fail(r, -EINVAL);
        return;
    }
    if (!take_buffer(r, &r->buffer, &r->buffer_bytes, max * sizeof(struct blk_extent))) {
        fail(r, -ENOMEM);
        return;
    }
    r->req.extents = (struct blk_extent *)(void *)r->buffer;
    r->req.extent_max = max;
    submit(r);
}

/* BLOCK_STATUS with a payload: effect length, then the ids of the contexts wanted. All of it is in rx. */
static int read_context_filter(struct nbd_request *r, struct cursor *c)
{
    unsigned set = 0;
    uint64_t length = cursor_u64(c);
    while (!c->bad && cursor_left(c)) {
        uint32_t id = cursor_u32(c);
        unsigned bit = 0;
        for (unsigned m = 0; m < NBD_META_COUNT; m++)
            if (nbd_meta_id(m) == id)
                bit = 1u << m;
        if (!(bit & r->conn->contexts) || set & bit)
            return -EINVAL; /* unknown, not negotiated, or twice */
        set |= bit;
    }
    r->length = length;
    r->contexts = set;
    return c->bad || !set ? -EINVAL : 0;
}

static void start(struct nbd_conn *conn, struct nbd_request *r)
{
    switch (r->type) {
    case NBD_CMD_WRITE:
        begin_write(conn, r);
        return;
    case NBD_CMD_READ:
        begin_read(r);
        return;
    case NBD_CMD_BLOCK_STATUS:
        begin_status(r);
        return;
    default:
        submit(r);
    }
}

/* How many bytes follow the header. */
static uint64_t payload_bytes(const struct nbd_conn *conn, const struct nbd_request *r)
{
    if (conn->extended)
        return r->flags & NBD_CMD_FLAG_PAYLOAD_LEN ? r->length : 0;
    return r->type == NBD_CMD_WRITE ? r->length : 0;
}

static enum nbd_step take_request(struct nbd_conn *conn, struct nbd_request *r)
{
    uint64_t payload = payload_bytes(conn, r);
    uint32_t header = nbd_request_header_bytes(conn);
    bool filter = r->type == NBD_CMD_BLOCK_STATUS && payload && payload <= CONTEXT_PAYLOAD_MAX_BYTES;
    if (payload > NBD_SKIP_MAX_BYTES || (conn->extended && payload > NBD_MAX_PAYLOAD_BYTES)) {
        nbd_request_free(r);
        nbd_conn_violation(conn, "a payload of %llu bytes", (unsigned long long)payload);
        return NBD_STEP_WAIT;
    }
    if (filter && nbd_conn_available(conn) < header + payload) {
        nbd_request_free(r);
        return NBD_STEP_INPUT;
    }
    conn->rx_at += header;
    conn->streaming = r->type == NBD_CMD_WRITE && payload >= NBD_STREAMING_BYTES;
    r->contexts = conn->contexts;
    int rc = 0;
    if (filter) {
        struct cursor c = cursor_of(conn->rx + conn->rx_at, payload);
        rc = read_context_filter(r, &c);
    } else if (r->type == NBD_CMD_WRITE ? payload > NBD_MAX_PAYLOAD_BYTES : r->flags & NBD_CMD_FLAG_PAYLOAD_LEN) {
        rc = -EINVAL;
    }
    if (!rc)
        rc = judge(r);
    if (rc || filter || r->type != NBD_CMD_WRITE)
        conn->skip_bytes = payload;
    if (rc)
        fail(r, rc);
    else
        start(conn, r);
    return NBD_STEP_AGAIN;
}

static bool no_room(const struct nbd_conn *conn)
{
    return conn->in_flight >= conn->server->config.max_in_flight ||
           conn->memory_bytes >= conn->server->config.max_memory_bytes;
}

enum nbd_step nbd_transmit_step(struct nbd_conn *conn)
{
    if (conn->filling)
        return NBD_STEP_INPUT;
    if (conn->skip_bytes)
        return nbd_conn_skip(conn);
    if (no_room(conn)) {
        conn->waiting_for_room = true;
        return NBD_STEP_WAIT;
    }
    uint32_t header = nbd_request_header_bytes(conn);
    if (nbd_conn_available(conn) < header)
        return NBD_STEP_INPUT;
    struct cursor c = cursor_of(conn->rx + conn->rx_at, header);
    if (cursor_u32(&c) != (conn->extended ? NBD_EXTENDED_REQUEST_MAGIC : NBD_REQUEST_MAGIC)) {
        nbd_conn_violation(conn, "bad request magic");
        return NBD_STEP_WAIT;
    }
    struct nbd_request *r = request_new(conn);
    if (!r) {
        nbd_conn_violation(conn, "no memory for a request");
        return NBD_STEP_WAIT;
    }
    r->flags = cursor_u16(&c);
    r->type = cursor_u16(&c);
    r->cookie = cursor_u64(&c);
    r->offset = cursor_u64(&c);
    r->length = conn->extended ? cursor_u64(&c) : cursor_u32(&c);
    if (r->type == NBD_CMD_DISC) {
        nbd_request_free(r);
        nbd_conn_leave(conn);
        return NBD_STEP_WAIT;
    }
    return take_request(conn, r);
}
