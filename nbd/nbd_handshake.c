/* See nbd_handshake.h.
 *
 * The machine pauses at two kinds of places only: until `need` bytes are in the buffer, or until
 * TLS is there; it resumes in received() or tls_started(). An option is asked only when the last
 * reply to the one before has come.
 *
 *     GREETING --fixed newstyle--> OPTION_HEADER <--> OPTION_BODY --ACK of STARTTLS--> TLS -->
 * OPTION_HEADER |                              |                  | | newstyle
 * '--------+---------'--ACK of GO--> ENDED (result 0) v                                       |
 *     NAME_REPLY <-----GO is not known-----------+--the server refuses--> ABORTING --> ENDED
 *        '--> ENDED                                                (any state --> ENDED when a rule
 * is broken)
 *
 * Options in order: STARTTLS (if asked for), EXTENDED_HEADERS, STRUCTURED_REPLY (if those were
 * refused), SET_META_CONTEXT (if either was granted), GO, EXPORT_NAME (if GO is not known and
 * headers are compact). */
#include "nbd/nbd_handshake.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "node/base/cursor.h"
#include "node/base/emit.h"

enum {
    GREETING_BYTES = 18,
    NAME_REPLY_BYTES = 10,
    NAME_REPLY_ZEROES = 124,
    REPLIES_MAX = 64, /* to one option */
    REPLY_BYTES_MAX = 2 * NBD_STRING_MAX_BYTES,
    BLOCK_MAX_BYTES = 64 << 10,
};

static const char allocation_context[] = "base:allocation";

static void become(struct nbd_handshake *h, enum nbd_handshake_state next)
{
    static const uint8_t allowed[] = {
        [HANDSHAKE_GREETING] = 1 << HANDSHAKE_OPTION_HEADER | 1 << HANDSHAKE_NAME_REPLY,
        [HANDSHAKE_OPTION_HEADER] = 1 << HANDSHAKE_OPTION_BODY,
        [HANDSHAKE_OPTION_BODY] =
            1 << HANDSHAKE_OPTION_HEADER | 1 << HANDSHAKE_TLS | 1 << HANDSHAKE_NAME_REPLY | 1 << HANDSHAKE_ABORTING,
        [HANDSHAKE_TLS] = 1 << HANDSHAKE_OPTION_HEADER,
        [HANDSHAKE_NAME_REPLY] = 0,
        [HANDSHAKE_ABORTING] = 0,
        [HANDSHAKE_ENDED] = 0,
    };
    assert(next == HANDSHAKE_ENDED ? h->state != next : allowed[h->state] >> next & 1);
    (void)allowed;
    h->state = next;
}

char *nbd_printable(const uint8_t *text, size_t len_bytes, char *out, size_t size)
{
    size_t n = len_bytes < size - 1 ? len_bytes : size - 1;
    for (size_t i = 0; i < n; i++)
        out[i] = text[i] < ' ' || text[i] == 0x7f ? '?' : (char)text[i];
    out[n] = 0;
    return out;
}

static void end(struct nbd_handshake *h, int result)
{
    become(h, HANDSHAKE_ENDED);
    h->done(h, result);
}

__attribute__((format(printf, 3, 4))) static void fail(struct nbd_handshake *h, int code, const char *format, ...)
{
    char text[ERR_TEXT_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    end(h, err_set(&h->err, code, "%s", text));
}

void nbd_handshake_cancel(struct nbd_handshake *h)
{
    if (h->state != HANDSHAKE_ENDED)
        become(h, HANDSHAKE_ENDED);
}

/* ---- sending ---- */

static void advance(struct nbd_handshake *h);

static void sent(struct stream *stream, int result)
{
    struct nbd_handshake *h = nbd_wire_user(stream);
    h->sending = false;
    if (h->state == HANDSHAKE_ENDED)
        return;
    if (h->state == HANDSHAKE_ABORTING)
        end(h, -h->err.code);
    else if (result)
        fail(h, -result, "sending failed: %s", strerror(-result));
    else
        advance(h);
}

static void send_message(struct nbd_handshake *h, size_t len_bytes)
{
    h->sending = true;
    h->out = (struct iovec){h->message, len_bytes};
    stream_send(&h->wire->stream, &h->out, 1, sent);
}

static struct emit begin_option(struct nbd_handshake *h, uint32_t option, uint32_t data_bytes)
{
    struct emit e = emit_to(h->message, sizeof h->message);
    if (!h->greeted)
        emit_u32(&e, h->client_flags);
    h->greeted = true;
    emit_u64(&e, NBD_OPTION_MAGIC);
    emit_u32(&e, option);
    emit_u32(&e, data_bytes);
    h->option = option;
    h->replies = 0;
    return e;
}

static void ask(struct nbd_handshake *h, uint32_t option)
{
    const char *name = h->wish->export;
    uint32_t name_bytes = (uint32_t)strlen(name), context_bytes = sizeof allocation_context - 1;
    struct emit e;
    switch (option) {
    case NBD_OPT_GO:
        e = begin_option(h, option, 4 + name_bytes + 4);
        emit_u32(&e, name_bytes);
        emit_bytes(&e, name, name_bytes);
        emit_u16(&e, 1);
        emit_u16(&e, NBD_INFO_BLOCK_SIZE);
        break;
    case NBD_OPT_SET_META_CONTEXT:
        e = begin_option(h, option, 4 + name_bytes + 4 + 4 + context_bytes);
        emit_u32(&e, name_bytes);
        emit_bytes(&e, name, name_bytes);
        emit_u32(&e, 1);
        emit_u32(&e, context_bytes);
        emit_bytes(&e, allocation_context, context_bytes);
        break;
    case NBD_OPT_EXPORT_NAME:
        e = begin_option(h, option, name_bytes);
        emit_bytes(&e, name, name_bytes);
        break;
    default:
        e = begin_option(h, option, 0);
    }
    assert(!e.bad);
    if (option == NBD_OPT_EXPORT_NAME) {
        become(h, HANDSHAKE_NAME_REPLY);
        h->need = NAME_REPLY_BYTES + (h->no_zeroes ? 0 : NAME_REPLY_ZEROES);
    } else {
        if (h->state != HANDSHAKE_OPTION_HEADER)
            become(h, HANDSHAKE_OPTION_HEADER);
        h->need = NBD_OPTION_REPLY_BYTES;
    }
    send_message(h, emit_len(&e));
}

/* A polite end: the server did nothing wrong, it only cannot serve us. h->err is set. */
static void abort_handshake(struct nbd_handshake *h)
{
    become(h, HANDSHAKE_ABORTING);
    struct emit e = begin_option(h, NBD_OPT_ABORT, 0);
    send_message(h, emit_len(&e));
}

/* ---- what the server offers ---- */

static bool power_of_two(uint32_t v)
{
    return v && !(v & (v - 1));
}

static void ready(struct nbd_handshake *h)
{
    struct nbd_offer *o = &h->offer;
    if (h->have)
        fail(h, EPROTO, "the server sends more than it was asked for");
    else if (!(o->flags & NBD_FLAG_HAS_FLAGS))
        fail(h, EPROTO, "the server sends no transmission flags");
    else if (o->size_bytes > INT64_MAX)
        fail(h, EPROTO, "the server claims an impossible size of %llu bytes", (unsigned long long)o->size_bytes);
    else
        end(h, 0);
}

static void read_export_info(struct nbd_handshake *h, struct cursor *c)
{
    h->offer.size_bytes = cursor_u64(c);
    h->offer.flags = cursor_u16(c);
    h->got_export = true;
}

static const char *read_block_info(struct nbd_handshake *h, struct cursor *c)
{
    uint32_t min = cursor_u32(c), preferred = cursor_u32(c), max = cursor_u32(c);
    if (!power_of_two(min) || min > BLOCK_MAX_BYTES)
        return "a minimum block size that is no power of two from 1 to 65536";
    if (!power_of_two(preferred) || preferred < min)
        return "a preferred block size that is no power of two, or below the minimum";
    if (max < min)
        return "a maximum payload below the minimum block size";
    h->offer.min_block = min;
    h->offer.preferred_block = preferred;
    h->offer.max_payload_bytes = max;
    return NULL;
}

/* Returns what is wrong with it, or NULL. */
static const char *read_info(struct nbd_handshake *h, struct cursor *c)
{
    const char *wrong = NULL;
    switch (cursor_u16(c)) {
    case NBD_INFO_EXPORT:
        read_export_info(h, c);
        break;
    case NBD_INFO_BLOCK_SIZE:
        wrong = read_block_info(h, c);
        break;
    default: /* names and descriptions were not asked for, and do no harm */
        cursor_take(c, cursor_left(c));
    }
    return wrong ? wrong : cursor_done(c) ? NULL : "an information of the wrong length";
}

static const char *read_context(struct nbd_handshake *h, struct cursor *c)
{
    uint32_t id = cursor_u32(c);
    size_t len = cursor_left(c);
    const uint8_t *name = cursor_take(c, len);
    if (c->bad || len != sizeof allocation_context - 1 || memcmp(name, allocation_context, len) != 0)
        return "a metadata context that was not asked for";
    if (h->offer.allocation)
        return "the same metadata context twice";
    h->offer.allocation = true;
    h->offer.context_id = id;
    return NULL;
}

/* ---- replies to options ---- */

static void refused(struct nbd_handshake *h, struct cursor *c)
{
    static const struct {
        uint32_t type;
        int code;
        const char *meaning;
    } known[] = {
        {NBD_REP_ERR_UNSUP, EOPNOTSUPP, "the server does not know it"},
        {NBD_REP_ERR_POLICY, EPERM, "the server forbids it"},
        {NBD_REP_ERR_INVALID, EINVAL, "the server finds it malformed"},
        {NBD_REP_ERR_PLATFORM, EOPNOTSUPP, "the server's platform cannot do it"},
        {NBD_REP_ERR_TLS_REQD, EACCES, "the server wants TLS: write nbds:// instead of nbd://"},
        {NBD_REP_ERR_UNKNOWN, ENOENT, "the server has no such export"},
        {NBD_REP_ERR_SHUTDOWN, ESHUTDOWN, "the server is shutting down"},
        {NBD_REP_ERR_BLOCK_SIZE_REQD, EPROTO, "the server wants its block sizes obeyed, which was promised"},
        {NBD_REP_ERR_TOO_BIG, EMSGSIZE, "the server finds it too big"},
        {NBD_REP_ERR_EXT_HEADER_REQD, EOPNOTSUPP, "the server wants extended headers"},
    };
    int code = EPROTO;
    const char *meaning = "an unknown error";
    char text[256];
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (known[i].type == h->reply_type) {
            code = known[i].code;
            meaning = known[i].meaning;
        }
    }
    size_t len = cursor_left(c);
    nbd_printable(cursor_take(c, len), len, text, sizeof text);
    err_set(&h->err, code, "%s was refused: %s%s%s%s", nbd_option_name(h->option), meaning, *text ? " (\"" : "", text,
            *text ? "\")" : "");
    abort_handshake(h);
}

/* The option was answered for good; what comes next. */
static void option_done(struct nbd_handshake *h, bool granted)
{
    switch (h->option) {
    case NBD_OPT_EXTENDED_HEADERS:
        h->offer.extended = granted;
        ask(h, granted ? NBD_OPT_SET_META_CONTEXT : NBD_OPT_STRUCTURED_REPLY);
        return;
    case NBD_OPT_STRUCTURED_REPLY:
        h->offer.structured = granted;
        ask(h, granted ? NBD_OPT_SET_META_CONTEXT : NBD_OPT_GO);
        return;
    case NBD_OPT_SET_META_CONTEXT:
        h->offer.allocation &= granted;
        ask(h, NBD_OPT_GO);
        return;
    default: /* GO */
        ask(h, NBD_OPT_EXPORT_NAME);
    }
}

static void tls_started(struct stream *stream, int result)
{
    struct nbd_handshake *h = nbd_wire_user(stream);
    if (h->state == HANDSHAKE_ENDED)
        return;
    if (result) {
        const char *why = stream_tls_error(stream);
        fail(h, -result, "TLS: %s", why && *why ? why : strerror(-result));
        return;
    }
    ask(h, NBD_OPT_EXTENDED_HEADERS);
}

static void acknowledged(struct nbd_handshake *h)
{
    if (h->reply_bytes) {
        fail(h, EPROTO, "the server acknowledges %s with %u bytes of data", nbd_option_name(h->option), h->reply_bytes);
    } else if (h->option == NBD_OPT_GO) {
        if (h->got_export)
            ready(h);
        else
            fail(h, EPROTO, "the server acknowledges GO without saying the export's size");
    } else if (h->option == NBD_OPT_STARTTLS) {
        if (h->have) { /* by whomever: nothing in clear counts any more */
            fail(h, EPROTO, "the server sends in clear what has to come under TLS");
            return;
        }
        become(h, HANDSHAKE_TLS);
        stream_start_tls(&h->wire->stream, h->wish->tls, h->wish->tls_peer_name, tls_started);
    } else {
        option_done(h, true);
    }
}

/* Errors that end the handshake, whatever was asked; the others mean "not this option". */
static bool fatal(const struct nbd_handshake *h)
{
    if (h->reply_type == NBD_REP_ERR_TLS_REQD || h->reply_type == NBD_REP_ERR_SHUTDOWN || h->option == NBD_OPT_STARTTLS)
        return true;
    return h->option == NBD_OPT_GO && (h->reply_type != NBD_REP_ERR_UNSUP || h->offer.extended);
}

static void option_replied(struct nbd_handshake *h, struct cursor *c)
{
    const char *wrong = NULL;
    if (h->reply_type == NBD_REP_ACK) {
        acknowledged(h);
        return;
    }
    if (h->reply_type & NBD_REP_ERROR) {
        if (fatal(h))
            refused(h, c);
        else
            option_done(h, false);
        return;
    }
    if (h->reply_type == NBD_REP_INFO && h->option == NBD_OPT_GO)
        wrong = read_info(h, c);
    else if (h->reply_type == NBD_REP_META_CONTEXT && h->option == NBD_OPT_SET_META_CONTEXT)
        wrong = read_context(h, c);
    else
        wrong = "a reply of an unexpected type";
    if (!wrong && ++h->replies > REPLIES_MAX)
        wrong = "too many replies";
    if (wrong) {
        fail(h, EPROTO, "the server answers %s with %s", nbd_option_name(h->option), wrong);
        return;
    }
    become(h, HANDSHAKE_OPTION_HEADER);
    h->need = NBD_OPTION_REPLY_BYTES;
}

static void option_header(struct nbd_handshake *h, struct cursor *c)
{
    uint64_t magic = cursor_u64(c);
    uint32_t option = cursor_u32(c);
    h->reply_type = cursor_u32(c);
    h->reply_bytes = cursor_u32(c);
    if (magic != NBD_OPTION_REPLY_MAGIC)
        fail(h, EPROTO, "the server's reply to %s has a wrong magic number", nbd_option_name(h->option));
    else if (option != h->option)
        fail(h, EPROTO, "the server answers option %u while %s was asked", option, nbd_option_name(h->option));
    else if (h->reply_bytes > REPLY_BYTES_MAX)
        fail(h, EPROTO, "the server answers %s with %u bytes, %d are the limit", nbd_option_name(option),
             h->reply_bytes, REPLY_BYTES_MAX);
    else {
        become(h, HANDSHAKE_OPTION_BODY);
        h->need = h->reply_bytes;
    }
}

/* ---- greeting and EXPORT_NAME ---- */

static void greeting(struct nbd_handshake *h, struct cursor *c)
{
    uint64_t magic = cursor_u64(c), style = cursor_u64(c);
    uint16_t flags = cursor_u16(c);
    bool fixed = flags & NBD_HANDSHAKE_FIXED_NEWSTYLE;
    if (magic != NBD_MAGIC) {
        fail(h, EPROTO, "this is no NBD server");
        return;
    }
    if (style != NBD_OPTION_MAGIC) {
        fail(h, EPROTO,
             style == NBD_OLDSTYLE_MAGIC ? "the server speaks the oldstyle protocol only, which "
                                           "knows neither exports nor TLS: "
                                           "start it with newstyle"
                                         : "the server's greeting is of an unknown style");
        return;
    }
    if (!fixed && h->wish->tls) {
        fail(h, EACCES, "the server does not know TLS (it is not fixed newstyle)");
        return;
    }
    h->no_zeroes = flags & NBD_HANDSHAKE_NO_ZEROES;
    h->client_flags = flags & (NBD_HANDSHAKE_FIXED_NEWSTYLE | NBD_HANDSHAKE_NO_ZEROES);
    ask(h, !fixed ? NBD_OPT_EXPORT_NAME : h->wish->tls ? NBD_OPT_STARTTLS : NBD_OPT_EXTENDED_HEADERS);
}

static void name_reply(struct nbd_handshake *h, struct cursor *c)
{
    read_export_info(h, c);
    cursor_take(c, cursor_left(c));
    ready(h);
}

/* ---- receiving ---- */

static void step(struct nbd_handshake *h)
{
    uint8_t body[REPLY_BYTES_MAX];
    size_t n = h->need;
    assert(n <= sizeof body);
    memcpy(body, h->buffer, n);
    h->have -= n;
    memmove(h->buffer, h->buffer + n, h->have);
    struct cursor c = cursor_of(body, n);
    switch (h->state) {
    case HANDSHAKE_GREETING:
        greeting(h, &c);
        return;
    case HANDSHAKE_OPTION_HEADER:
        option_header(h, &c);
        return;
    case HANDSHAKE_OPTION_BODY:
        option_replied(h, &c);
        return;
    case HANDSHAKE_NAME_REPLY:
        name_reply(h, &c);
        return;
    case HANDSHAKE_TLS:
    case HANDSHAKE_ABORTING:
    case HANDSHAKE_ENDED:
        return;
    }
}

static bool reading(const struct nbd_handshake *h)
{
    return h->state != HANDSHAKE_TLS && h->state != HANDSHAKE_ABORTING && h->state != HANDSHAKE_ENDED;
}

static void received(struct stream *stream, ssize_t result)
{
    struct nbd_handshake *h = nbd_wire_user(stream);
    if (h->state == HANDSHAKE_ENDED || h->state == HANDSHAKE_ABORTING)
        return;
    if (result > 0) {
        h->have += (size_t)result;
        advance(h);
    } else if (result < 0) {
        fail(h, (int)-result, "receiving failed: %s", strerror((int)-result));
    } else if (h->state == HANDSHAKE_NAME_REPLY) {
        fail(h, ENOENT, "the server closed the connection on EXPORT_NAME: it may not have that export");
    } else {
        fail(h, ECONNRESET, "the server closed the connection in the handshake");
    }
}

/* One thing at a time: nothing is received while a message of ours is on its way, so that a state
 * always ends with nothing outstanding. */
static void advance(struct nbd_handshake *h)
{
    while (reading(h) && !h->sending && h->have >= h->need)
        step(h);
    if (!reading(h) || h->sending)
        return;
    h->in = (struct iovec){h->buffer + h->have, NBD_HANDSHAKE_BUFFER_BYTES - h->have};
    stream_recv(&h->wire->stream, &h->in, 1, received);
}

void nbd_handshake_start(struct nbd_handshake *h, struct nbd_wire *wire, const struct nbd_wish *wish, uint8_t *buffer,
                         void (*done)(struct nbd_handshake *handshake, int result))
{
    *h = (struct nbd_handshake){
        .done = done,
        .wire = wire,
        .wish = wish,
        .buffer = buffer,
        .state = HANDSHAKE_GREETING,
        .need = GREETING_BYTES,
    };
    wire->user = h;
    advance(h);
}
