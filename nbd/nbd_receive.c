/* The half of a link that listens: replies of all three kinds, in any mixture the rules allow.
 *
 * It may pause in every state, when the bytes for the next step are not all there; a receive is
 * then outstanding, and received() resumes in the same state. A step needs few bytes, which the
 * buffer always has room for, but for the data of a READ: that goes from the socket straight into
 * the caller's vector, with the buffer behind it for what follows.
 *
 *           +------ simple reply, or a chunk without payload ------+
 *           v                                                      |
 *     ,-> HEADER --simple reply to READ--------------.             |
 *     |     | \------------------------------------- | ------------'
 *     |     |--OFFSET_DATA--> DATA_OFFSET -------> DATA --last byte--.
 *     |     |--OFFSET_HOLE--> HOLE ----------------------------------|
 *     |     |--BLOCK_STATUS-> STATUS_HEAD -------> STATUS --last one-|
 *     |     '--ERROR--------> ERROR ---------------------------------|
 *     '--------------------------------------------------------------'       any --broken rule-->
 * STOPPED
 *
 * Invariants: `command` is set outside of HEADER and in flight; a byte of the caller's memory is
 * written only inside the command's range and only once (coverage); the cursor sees every foreign
 * byte that is not data. */
#include "nbd/nbd_link.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "nbd/blk.h"
#include "node/base/cursor.h"

enum {
    ERROR_HEAD_BYTES = 6,
    ERROR_BYTES_MAX = NBD_STRING_MAX_BYTES + 64,
    HOLE_BYTES = 12,
    OFFSET_BYTES = 8,
    DESCRIPTORS_MAX = 1 << 20, /* proto.md: more in one chunk are an attack */
};

enum receive_step { STEP_ON, STEP_STARVED };

static void become(struct nbd_receive *r, enum nbd_receive_state next)
{
    static const uint16_t allowed[] = {
        [RECEIVE_HEADER] = 1 << RECEIVE_HEADER | 1 << RECEIVE_DATA_OFFSET | 1 << RECEIVE_DATA | 1 << RECEIVE_HOLE |
                           1 << RECEIVE_STATUS_HEAD | 1 << RECEIVE_ERROR,
        [RECEIVE_DATA_OFFSET] = 1 << RECEIVE_DATA,
        [RECEIVE_DATA] = 1 << RECEIVE_HEADER,
        [RECEIVE_HOLE] = 1 << RECEIVE_HEADER,
        [RECEIVE_STATUS_HEAD] = 1 << RECEIVE_STATUS,
        [RECEIVE_STATUS] = 1 << RECEIVE_HEADER,
        [RECEIVE_ERROR] = 1 << RECEIVE_HEADER,
        [RECEIVE_STOPPED] = 0,
    };
    assert(allowed[r->state] >> next & 1);
    (void)allowed;
    r->state = next;
}

#define LIE(link, ...) nbd_link_break(link, EPROTO, "the server " __VA_ARGS__)

static size_t buffered(const struct nbd_receive *r)
{
    return r->end - r->begin;
}

/* The next n bytes of the buffer, which are there. */
static struct cursor take(struct nbd_receive *r, size_t n)
{
    assert(buffered(r) >= n);
    struct cursor c = cursor_of(r->buffer + r->begin, n);
    r->begin += n;
    return c;
}

/* ---- the caller's vector ---- */

static void vector_seek(struct nbd_receive *r, uint64_t offset)
{
    const struct nbd_command *c = r->command;
    r->vector = 0;
    while (r->vector < c->iov_count && offset >= c->iov[r->vector].iov_len)
        offset -= c->iov[r->vector++].iov_len;
    r->vector_offset = (size_t)offset;
}

static struct iovec vector_piece(const struct nbd_receive *r, uint64_t max)
{
    const struct iovec *v = &r->command->iov[r->vector];
    size_t n = v->iov_len - r->vector_offset;
    return (struct iovec){(uint8_t *)v->iov_base + r->vector_offset, n < max ? n : (size_t)max};
}

static void vector_advance(struct nbd_receive *r, size_t n)
{
    r->vector_offset += n;
    while (r->vector < r->command->iov_count && r->vector_offset >= r->command->iov[r->vector].iov_len)
        r->vector_offset -= r->command->iov[r->vector++].iov_len;
}

static void vector_fill(struct nbd_receive *r, const uint8_t *data, uint64_t n)
{
    while (n) {
        struct iovec piece = vector_piece(r, n);
        if (data)
            memcpy(piece.iov_base, data, piece.iov_len);
        else
            memset(piece.iov_base, 0, piece.iov_len);
        data = data ? data + piece.iov_len : NULL;
        n -= piece.iov_len;
        vector_advance(r, piece.iov_len);
    }
}

/* ---- ends of answers and chunks ---- */

static void finish_answer(struct nbd_link *link)
{
    struct nbd_receive *r = &link->receive;
    struct nbd_command *c = r->command;
    if (!c->result && c->type == NBD_CMD_READ && c->coverage.scattered) {
        log_limited(&link->limit, LOG_LEVEL_ERROR, "nbd: a read came in too many scattered pieces to be checked");
        c->result = -EIO;
    } else if (!c->result && c->type == NBD_CMD_READ && !nbd_coverage_complete(&c->coverage, c->length_bytes)) {
        LIE(link, "ends its answer to a read with bytes missing");
        return;
    } else if (!c->result && c->type == NBD_CMD_BLOCK_STATUS && !c->described) {
        LIE(link, "ends its answer to a block status request without saying it");
        return;
    }
    r->command = NULL;
    become(r, RECEIVE_HEADER);
    nbd_link_answered(link, c);
}

static void finish_chunk(struct nbd_link *link)
{
    struct nbd_receive *r = &link->receive;
    if (r->flags & NBD_REPLY_FLAG_DONE) {
        finish_answer(link);
    } else {
        r->command = NULL;
        become(r, RECEIVE_HEADER);
    }
}

static void set_error(struct nbd_command *c, uint32_t error)
{
    if (!c->result)
        c->result = nbd_errno_of(error);
}

/* ---- headers ---- */

static void simple_reply(struct nbd_link *link, uint32_t error)
{
    struct nbd_receive *r = &link->receive;
    struct nbd_command *c = r->command;
    r->flags = NBD_REPLY_FLAG_DONE;
    if (error) {
        set_error(c, error);
        finish_answer(link);
    } else if (c->type == NBD_CMD_READ) {
        if (link->offer->structured) {
            LIE(link, "answers a read with a simple reply although structured ones were agreed on");
            return;
        }
        nbd_coverage_add(&c->coverage, 0, c->length_bytes);
        vector_seek(r, 0);
        r->left_bytes = c->length_bytes;
        become(r, RECEIVE_DATA);
    } else {
        finish_answer(link);
    }
}

static void status_chunk(struct nbd_link *link)
{
    struct nbd_receive *r = &link->receive;
    bool extended = r->type == NBD_REPLY_TYPE_BLOCK_STATUS_EXT;
    uint64_t head = extended ? 8 : 4, each = extended ? 16 : 8;
    if (r->command->type != NBD_CMD_BLOCK_STATUS || extended != link->offer->extended)
        LIE(link, "sends a block status chunk where none belongs");
    else if (r->command->described)
        LIE(link, "sends the same block status twice");
    else if (r->left_bytes < head + each || (r->left_bytes - head) % each)
        LIE(link, "sends a block status chunk of a wrong length");
    else if ((r->left_bytes - head) / each > DESCRIPTORS_MAX)
        LIE(link, "sends too many extents in one chunk");
    else
        become(r, RECEIVE_STATUS_HEAD);
}

static void chunk(struct nbd_link *link)
{
    struct nbd_receive *r = &link->receive;
    const struct nbd_command *c = r->command;
    bool read = c->type == NBD_CMD_READ;
    if (r->flags & ~NBD_REPLY_FLAG_DONE) {
        LIE(link, "sets unknown reply flags");
    } else if (r->type == NBD_REPLY_TYPE_NONE) {
        if (r->left_bytes || !(r->flags & NBD_REPLY_FLAG_DONE))
            LIE(link, "sends an empty chunk that is not empty, or not the last");
        else
            finish_chunk(link);
    } else if (r->type == NBD_REPLY_TYPE_OFFSET_DATA) {
        if (!read || r->left_bytes <= OFFSET_BYTES || r->left_bytes - OFFSET_BYTES > c->length_bytes)
            LIE(link, "sends a data chunk where none belongs, or of a wrong length");
        else
            become(r, RECEIVE_DATA_OFFSET);
    } else if (r->type == NBD_REPLY_TYPE_OFFSET_HOLE) {
        if (!read || r->left_bytes != HOLE_BYTES)
            LIE(link, "sends a hole chunk where none belongs, or of a wrong length");
        else
            become(r, RECEIVE_HOLE);
    } else if (r->type == NBD_REPLY_TYPE_BLOCK_STATUS || r->type == NBD_REPLY_TYPE_BLOCK_STATUS_EXT) {
        status_chunk(link);
    } else if (r->type >> 15) { /* an error, known or not */
        if (r->left_bytes < ERROR_HEAD_BYTES || r->left_bytes > ERROR_BYTES_MAX)
            LIE(link, "sends an error chunk of a wrong length");
        else
            become(r, RECEIVE_ERROR);
    } else {
        LIE(link, "sends a chunk of unknown type %u", r->type);
    }
}

static bool kind_allowed(const struct nbd_link *link, uint32_t magic)
{
    const struct nbd_offer *o = link->offer;
    return (magic == NBD_SIMPLE_REPLY_MAGIC && !o->extended) ||
           (magic == NBD_STRUCTURED_REPLY_MAGIC && o->structured && !o->extended) ||
           (magic == NBD_EXTENDED_REPLY_MAGIC && o->extended);
}

static enum receive_step header(struct nbd_link *link)
{
    struct nbd_receive *r = &link->receive;
    if (buffered(r) < sizeof(uint32_t))
        return STEP_STARVED;
    struct cursor peek = cursor_of(r->buffer + r->begin, sizeof(uint32_t));
    uint32_t magic = cursor_u32(&peek);
    if (!kind_allowed(link, magic)) {
        LIE(link, "sends a reply with the magic number 0x%08x, which was not agreed on", magic);
        return STEP_ON;
    }
    size_t need = magic == NBD_SIMPLE_REPLY_MAGIC       ? NBD_SIMPLE_REPLY_BYTES
                  : magic == NBD_STRUCTURED_REPLY_MAGIC ? NBD_STRUCTURED_REPLY_BYTES
                                                        : NBD_EXTENDED_REPLY_BYTES;
    if (buffered(r) < need)
        return STEP_STARVED;
    struct cursor c = take(r, need);
    uint32_t error = 0;
    cursor_u32(&c);
    if (magic == NBD_SIMPLE_REPLY_MAGIC) {
        error = cursor_u32(&c);
    } else {
        r->flags = cursor_u16(&c);
        r->type = cursor_u16(&c);
    }
    uint64_t cookie = cursor_u64(&c);
    r->command = nbd_link_find(link, cookie);
    if (!r->command) {
        LIE(link, "answers a request that it was not sent");
        return STEP_ON;
    }
    if (magic == NBD_SIMPLE_REPLY_MAGIC) {
        simple_reply(link, error);
        return STEP_ON;
    }
    if (magic == NBD_EXTENDED_REPLY_MAGIC && cursor_u64(&c) != r->command->offset) {
        LIE(link, "answers with another offset than it was asked for");
        return STEP_ON;
    }
    r->left_bytes = magic == NBD_EXTENDED_REPLY_MAGIC ? cursor_u64(&c) : cursor_u32(&c);
    chunk(link);
    return STEP_ON;
}

/* ---- payloads ---- */

/* Accepts [at, at + n) of the export as part of the answer; false: the link is broken. */
static bool accept_range(struct nbd_link *link, uint64_t at, uint64_t n)
{
    struct nbd_command *c = link->receive.command;
    uint64_t begin = at - c->offset;
    if (at < c->offset || !n || begin >= c->length_bytes || n > c->length_bytes - begin) {
        LIE(link, "sends a piece that lies outside of what was read");
        return false;
    }
    if (!nbd_coverage_add(&c->coverage, begin, begin + n)) {
        LIE(link, "sends the same bytes of a read twice");
        return false;
    }
    vector_seek(&link->receive, begin);
    return true;
}

static enum receive_step data_offset(struct nbd_link *link)
{
    struct nbd_receive *r = &link->receive;
    if (buffered(r) < OFFSET_BYTES)
        return STEP_STARVED;
    struct cursor c = take(r, OFFSET_BYTES);
    uint64_t at = cursor_u64(&c);
    r->left_bytes -= OFFSET_BYTES;
    if (accept_range(link, at, r->left_bytes))
        become(r, RECEIVE_DATA);
    return STEP_ON;
}

static enum receive_step data(struct nbd_link *link)
{
    struct nbd_receive *r = &link->receive;
    size_t n = buffered(r) < r->left_bytes ? buffered(r) : (size_t)r->left_bytes;
    vector_fill(r, r->buffer + r->begin, n);
    r->begin += n;
    r->left_bytes -= n;
    if (r->left_bytes)
        return STEP_STARVED;
    finish_chunk(link);
    return STEP_ON;
}

static enum receive_step hole(struct nbd_link *link)
{
    struct nbd_receive *r = &link->receive;
    if (buffered(r) < HOLE_BYTES)
        return STEP_STARVED;
    struct cursor c = take(r, HOLE_BYTES);
    uint64_t at = cursor_u64(&c);
    uint32_t n = cursor_u32(&c);
    if (accept_range(link, at, n)) {
        vector_fill(r, NULL, n);
        finish_chunk(link);
    }
    return STEP_ON;
}

static enum receive_step status_head(struct nbd_link *link)
{
    struct nbd_receive *r = &link->receive;
    bool extended = r->type == NBD_REPLY_TYPE_BLOCK_STATUS_EXT;
    size_t need = extended ? 8 : 4;
    if (buffered(r) < need)
        return STEP_STARVED;
    struct cursor c = take(r, need);
    uint32_t id = cursor_u32(&c), count = extended ? cursor_u32(&c) : 0;
    r->left_bytes -= need;
    r->descriptors = (uint32_t)(r->left_bytes / (extended ? 16 : 8));
    if (!link->offer->allocation || id != link->offer->context_id)
        LIE(link, "sends the block status of a context that was not asked for");
    else if (extended && count != r->descriptors)
        LIE(link, "miscounts its extents");
    else {
        r->command->described = true;
        become(r, RECEIVE_STATUS);
    }
    return STEP_ON;
}

/* One extent more. What lies behind the request, or has no room, is left out. */
static void add_extent(struct nbd_command *c, uint64_t length, uint64_t status)
{
    uint64_t left = c->length_bytes - c->described_bytes;
    uint32_t flags = (status & NBD_STATE_HOLE ? BLK_EXTENT_HOLE : 0) | (status & NBD_STATE_ZERO ? BLK_EXTENT_ZERO : 0);
    length = length < left ? length : left;
    if (!length)
        return;
    struct blk_extent *last = c->extent_count ? &c->extents[c->extent_count - 1] : NULL;
    if (last && last->flags == flags) {
        last->length_bytes += length;
    } else if (c->extent_count < c->extent_max) {
        c->extents[c->extent_count++] = (struct blk_extent){
            .length_bytes = length,
            .flags = flags,
            .depth = !(status & NBD_STATE_HOLE),
        };
    } else {
        c->described_bytes = c->length_bytes; /* full: a later one must not be joined to the last */
        return;
    }
    c->described_bytes += length;
}

static enum receive_step status(struct nbd_link *link)
{
    struct nbd_receive *r = &link->receive;
    bool extended = r->type == NBD_REPLY_TYPE_BLOCK_STATUS_EXT;
    size_t each = extended ? 16 : 8;
    for (; r->descriptors; r->descriptors--) {
        if (buffered(r) < each)
            return STEP_STARVED;
        struct cursor c = take(r, each);
        uint64_t length = extended ? cursor_u64(&c) : cursor_u32(&c);
        uint64_t flags = extended ? cursor_u64(&c) : cursor_u32(&c);
        if (!length) {
            LIE(link, "sends an extent without length");
            return STEP_ON;
        }
        add_extent(r->command, length, flags);
    }
    finish_chunk(link);
    return STEP_ON;
}

static enum receive_step error(struct nbd_link *link)
{
    struct nbd_receive *r = &link->receive;
    if (buffered(r) < r->left_bytes)
        return STEP_STARVED;
    struct cursor c = take(r, (size_t)r->left_bytes);
    uint32_t code = cursor_u32(&c);
    size_t len = cursor_u16(&c);
    const uint8_t *text = cursor_take(&c, len);
    char shown[256];
    if (!code || !text) {
        LIE(link, "sends an error chunk that does not add up");
        return STEP_ON;
    }
    if (r->type == NBD_REPLY_TYPE_ERROR_OFFSET) {
        uint64_t at = cursor_u64(&c);
        if (!cursor_done(&c) || at < r->command->offset || at - r->command->offset >= r->command->length_bytes) {
            LIE(link, "places an error outside of the request");
            return STEP_ON;
        }
    } else if (r->type == NBD_REPLY_TYPE_ERROR && !cursor_done(&c)) {
        LIE(link, "sends an error chunk with something behind it");
        return STEP_ON;
    }
    set_error(r->command, code);
    if (len)
        log_limited(&link->limit, LOG_LEVEL_WARN, "nbd: the server says: %s",
                    nbd_printable(text, len, shown, sizeof shown));
    finish_chunk(link);
    return STEP_ON;
}

/* ---- running ---- */

static enum receive_step step(struct nbd_link *link)
{
    switch (link->receive.state) {
    case RECEIVE_HEADER:
        return header(link);
    case RECEIVE_DATA_OFFSET:
        return data_offset(link);
    case RECEIVE_DATA:
        return data(link);
    case RECEIVE_HOLE:
        return hole(link);
    case RECEIVE_STATUS_HEAD:
        return status_head(link);
    case RECEIVE_STATUS:
        return status(link);
    case RECEIVE_ERROR:
        return error(link);
    case RECEIVE_STOPPED:
        break;
    }
    return STEP_STARVED;
}

static int prepare_direct(struct nbd_receive *r)
{
    int n = 0, vector = r->vector;
    size_t offset = r->vector_offset;
    uint64_t left = r->left_bytes;
    r->direct_bytes = 0;
    while (left && n < NBD_LINK_RECV_IOVS) {
        struct iovec piece = vector_piece(r, left);
        if (piece.iov_len)
            r->iov[n++] = piece;
        r->direct_bytes += piece.iov_len;
        left -= piece.iov_len;
        vector_advance(r, piece.iov_len);
    }
    r->vector = vector;
    r->vector_offset = offset;
    if (!left)
        r->iov[n++] = (struct iovec){r->buffer, NBD_LINK_BUFFER_BYTES};
    return n;
}

static void received(struct stream *stream, ssize_t result);

static void receive_more(struct nbd_link *link)
{
    struct nbd_receive *r = &link->receive;
    int count = 1;
    size_t kept = buffered(r);
    if (r->begin && kept)
        memmove(r->buffer, r->buffer + r->begin, kept);
    r->begin = 0;
    r->end = kept;
    r->direct_bytes = 0;
    if (r->state == RECEIVE_DATA)
        count = prepare_direct(r);
    else
        r->iov[0] = (struct iovec){r->buffer + kept, NBD_LINK_BUFFER_BYTES - kept};
    stream_recv(&link->wire->stream, r->iov, count, received);
}

static void received(struct stream *stream, ssize_t result)
{
    struct nbd_link *link = nbd_wire_user(stream);
    struct nbd_receive *r = &link->receive;
    if (link->broken)
        return;
    if (result <= 0) {
        nbd_link_break(link, result ? (int)-result : ECONNRESET, "%s",
                       result ? strerror((int)-result) : "the server closed the connection");
        return;
    }
    size_t n = (size_t)result, direct = n < r->direct_bytes ? n : r->direct_bytes;
    if (direct)
        vector_advance(r, direct);
    r->left_bytes -= direct;
    r->end += n - direct;
    while (step(link) == STEP_ON)
        continue;
    if (r->state != RECEIVE_STOPPED)
        receive_more(link);
}

void nbd_receive_start(struct nbd_link *link, uint8_t *buffer)
{
    link->receive = (struct nbd_receive){.state = RECEIVE_HEADER, .buffer = buffer};
    receive_more(link);
}
