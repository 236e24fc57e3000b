/* The handshake: greeting, options, replies. Source: proto.md, "Handshake" and "Option haggling".
 *
 * One option at a time: its whole data is in rx before it is looked at, and the next is not looked at before the reply
 * has been sent. So a client costs one buffer here however fast it asks. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nbd/nbd_conn.h"
#include "nbd/nbd_epoch.h"
#include "nbd/nbd_meta.h"
#include "nbd/nbd_proto.h"
#include "node/base/container.h"
#include "node/base/cursor.h"

enum { CLIENT_FLAG_BYTES = 4, EXPORT_NAME_PAD_BYTES = 124, OUT_MAX_BYTES = 64 << 20 };

/* ---- sending ---- */

static uint8_t *out_room(struct nbd_conn *conn, size_t n)
{
    if (conn->out_len + n > conn->out_cap) {
        size_t cap = conn->out_cap ? conn->out_cap * 2 : 1024;
        while (cap < conn->out_len + n)
            cap *= 2;
        uint8_t *out = cap <= OUT_MAX_BYTES ? realloc(conn->out, cap) : NULL;
        if (!out)
            return NULL;
        conn->out = out;
        conn->out_cap = cap;
    }
    conn->out_len += n;
    return conn->out + conn->out_len - n;
}

/* One reply to an option: header and data of at most a few strings. */
static void reply(struct nbd_conn *conn, uint32_t option, uint32_t type, const void *data, size_t len)
{
    uint8_t *room = out_room(conn, NBD_OPTION_REPLY_BYTES + len);
    if (!room) {
        nbd_conn_violation(conn, "no memory for an option reply");
        return;
    }
    struct emit e = emit_to(room, NBD_OPTION_REPLY_BYTES + len);
    emit_u64(&e, NBD_OPTION_REPLY_MAGIC);
    emit_u32(&e, option);
    emit_u32(&e, type);
    emit_u32(&e, (uint32_t)len);
    emit_bytes(&e, data, len);
}

static void refuse(struct nbd_conn *conn, uint32_t option, uint32_t error, const char *why)
{
    reply(conn, option, error, why, strlen(why));
}

static void out_sent(struct stream *stream, int result)
{
    struct nbd_conn *conn = CONTAINER_OF(stream, struct nbd_conn, stream);
    void (*then)(struct nbd_conn *) = conn->out_then;
    conn->out_len = 0;
    if (conn->state == NBD_CONN_ENDED)
        return;
    if (result)
        nbd_conn_end(conn);
    else
        then(conn);
}

/* Sends what has been written; then() goes on. */
static enum nbd_step send_out(struct nbd_conn *conn, void (*then)(struct nbd_conn *))
{
    if (conn->state == NBD_CONN_ENDED)
        return NBD_STEP_WAIT;
    conn->out_then = then;
    conn->out_iov = (struct iovec){conn->out, conn->out_len};
    stream_send(&conn->stream, &conn->out_iov, 1, out_sent);
    return NBD_STEP_WAIT;
}

static enum nbd_step refuse_now(struct nbd_conn *conn, uint32_t option, uint32_t error, const char *why)
{
    refuse(conn, option, error, why);
    return send_out(conn, nbd_conn_feed);
}

void nbd_negotiate_greet(struct nbd_conn *conn)
{
    uint8_t *room = out_room(conn, 18);
    if (!room) {
        nbd_conn_end(conn);
        return;
    }
    struct emit e = emit_to(room, 18);
    emit_u64(&e, NBD_MAGIC);
    emit_u64(&e, NBD_OPTION_MAGIC);
    emit_u16(&e, NBD_HANDSHAKE_FIXED_NEWSTYLE | NBD_HANDSHAKE_NO_ZEROES);
    send_out(conn, nbd_conn_feed);
}

/* ---- finding an export ---- */

/* Only TLS options are answered on a connection in clear. */
static bool tls_missing(const struct nbd_conn *conn)
{
    return conn->server->config.tls == NBD_TLS_REQUIRE && !conn->stream.tls;
}

static struct nbd_export *export_named(const struct nbd_conn *conn, const uint8_t *name, size_t len)
{
    struct nbd_export *e;
    STAILQ_FOREACH (e, &conn->server->exports, link) {
        if (strlen(e->name) == len && memcmp(e->name, name, len) == 0)
            return e;
    }
    return NULL;
}

/* By its whole name, or by what stands before an @EPOCH. */
static struct nbd_export *find_export(const struct nbd_conn *conn, const uint8_t *name, size_t len, uint64_t *epoch)
{
    struct nbd_export *e = export_named(conn, name, len);
    *epoch = 0;
    if (e || !name)
        return e;
    *epoch = nbd_epoch_split(name, &len);
    return *epoch ? export_named(conn, name, len) : NULL;
}

/* 0, or why this client may not have it. */
static uint32_t export_denied(const struct nbd_conn *conn, const struct nbd_export *e, const char **why)
{
    if (e && e->tls_only && !conn->stream.tls) {
        *why = "this export needs TLS";
        return NBD_REP_ERR_TLS_REQD;
    }
    if (!e) {
        *why = "there is no such export";
        return NBD_REP_ERR_UNKNOWN;
    }
    if (!nbd_export_allows(e, &conn->stream)) {
        *why = "this client may not use this export";
        return NBD_REP_ERR_POLICY;
    }
    return 0;
}

/* The same for one who comes with that epoch. */
static uint32_t owner_denied(const struct nbd_conn *conn, const struct nbd_export *e, uint64_t epoch, const char **why)
{
    uint32_t denied = export_denied(conn, e, why);
    if (!denied)
        denied = nbd_epoch_denied(e, epoch, why);
    if (!denied && conn->raise_result) {
        *why = "the new epoch cannot be recorded here";
        return NBD_REP_ERR_PLATFORM;
    }
    return denied;
}

static void enter_transmission(struct nbd_conn *conn)
{
    conn->state = NBD_CONN_TRANSMISSION;
    free(conn->out);
    conn->out = NULL;
    conn->out_cap = 0;
    loop_timer_clear(conn->server->env.loop, &conn->deadline);
    const char *who = stream_peer_name(&conn->stream);
    log_debug("%s%s%s uses export '%s'", conn->peer, who ? " as " : "", who ? who : "", conn->export->name);
    nbd_conn_begin(conn);
}

/* Contexts count only for the export they were chosen for. */
static void choose_export(struct nbd_conn *conn, struct nbd_export *e, uint64_t epoch)
{
    conn->export = e;
    conn->epoch = epoch;
    e->users++;
    if (!conn->contexts_name || strcmp(conn->contexts_name, conn->export->name) != 0)
        conn->contexts = 0;
}

static uint16_t flags_for(const struct nbd_conn *conn, const struct nbd_export *e)
{
    return nbd_export_flags(e, conn->structured, conn->extended, conn->contexts != 0);
}

/* ---- options ---- */

static enum nbd_step option_export_name(struct nbd_conn *conn, struct cursor *data)
{
    size_t len = cursor_left(data);
    const uint8_t *name = cursor_take(data, len);
    uint64_t epoch;
    struct nbd_export *e = find_export(conn, name, len, &epoch);
    const char *why = NULL;
    if (tls_missing(conn) || conn->extended || owner_denied(conn, e, epoch, &why)) {
        nbd_conn_violation(conn, "EXPORT_NAME: %s",
                           why              ? why
                           : conn->extended ? "extended headers need GO"
                                            : "TLS is required");
        return NBD_STEP_WAIT;
    }
    if (blk_limits(e->blk)->align_bytes > 512) {
        nbd_conn_violation(conn, "EXPORT_NAME: export '%s' has blocks of %u bytes and needs GO", e->name,
                           blk_limits(e->blk)->align_bytes);
        return NBD_STEP_WAIT;
    }
    if (nbd_epoch_raise(conn, e, epoch))
        return NBD_STEP_WAIT;
    choose_export(conn, e, epoch);
    size_t pad = conn->no_zeroes ? 0 : EXPORT_NAME_PAD_BYTES;
    uint8_t *room = out_room(conn, 10 + pad);
    if (!room) {
        nbd_conn_violation(conn, "no memory for an option reply");
        return NBD_STEP_WAIT;
    }
    struct emit out = emit_to(room, 10 + pad);
    emit_u64(&out, blk_size(e->blk));
    emit_u16(&out, flags_for(conn, e));
    memset(out.at, 0, pad);
    return send_out(conn, enter_transmission);
}

static void option_list(struct nbd_conn *conn, struct cursor *data)
{
    uint8_t entry[4 + 2 * NBD_STRING_MAX_BYTES];
    struct nbd_export *e;
    if (cursor_left(data)) {
        refuse(conn, NBD_OPT_LIST, NBD_REP_ERR_INVALID, "LIST takes no data");
        return;
    }
    STAILQ_FOREACH (e, &conn->server->exports, link) {
        const char *why;
        if (export_denied(conn, e, &why))
            continue;
        struct emit out = emit_to(entry, sizeof entry);
        emit_u32(&out, (uint32_t)strlen(e->name));
        emit_bytes(&out, e->name, strlen(e->name));
        if (e->description)
            emit_bytes(&out, e->description, strlen(e->description));
        reply(conn, NBD_OPT_LIST, NBD_REP_SERVER, entry, emit_len(&out));
    }
    reply(conn, NBD_OPT_LIST, NBD_REP_ACK, NULL, 0);
}

static void info_block_size(struct nbd_conn *conn, uint32_t option, const struct nbd_export *e)
{
    uint8_t block[14];
    struct emit out = emit_to(block, sizeof block);
    const struct blk_limits *limits = blk_limits(e->blk);
    uint32_t max =
        limits->max_transfer_bytes < NBD_MAX_PAYLOAD_BYTES ? limits->max_transfer_bytes : NBD_MAX_PAYLOAD_BYTES;
    emit_u16(&out, NBD_INFO_BLOCK_SIZE);
    emit_u32(&out, limits->align_bytes);
    emit_u32(&out, limits->preferred_bytes);
    emit_u32(&out, max);
    reply(conn, option, NBD_REP_INFO, block, sizeof block);
}

static void info_text(struct nbd_conn *conn, uint32_t option, uint16_t info, const char *text)
{
    uint8_t block[2 + NBD_STRING_MAX_BYTES];
    struct emit out = emit_to(block, sizeof block);
    emit_u16(&out, info);
    emit_bytes(&out, text, strlen(text));
    reply(conn, option, NBD_REP_INFO, block, emit_len(&out));
}

static void info_export(struct nbd_conn *conn, uint32_t option, const struct nbd_export *e)
{
    uint8_t block[12];
    struct emit out = emit_to(block, sizeof block);
    emit_u16(&out, NBD_INFO_EXPORT);
    emit_u64(&out, blk_size(e->blk));
    emit_u16(&out, flags_for(conn, e));
    reply(conn, option, NBD_REP_INFO, block, sizeof block);
}

static void tell_about(struct nbd_conn *conn, uint32_t option, const struct nbd_export *e, struct cursor wanted)
{
    bool name_sent = false, description_sent = false;
    info_export(conn, option, e);
    while (cursor_left(&wanted)) {
        uint16_t info = cursor_u16(&wanted);
        if (info == NBD_INFO_NAME && !name_sent) {
            info_text(conn, option, info, e->name);
            name_sent = true;
        } else if (info == NBD_INFO_DESCRIPTION && !description_sent && e->description) {
            info_text(conn, option, info, e->description);
            description_sent = true;
        }
    }
    info_block_size(conn, option, e);
    reply(conn, option, NBD_REP_ACK, NULL, 0);
}

static bool asks_for_block_size(struct cursor wanted)
{
    while (cursor_left(&wanted))
        if (cursor_u16(&wanted) == NBD_INFO_BLOCK_SIZE)
            return true;
    return false;
}

/* INFO and GO. */
static enum nbd_step option_info(struct nbd_conn *conn, uint32_t option, struct cursor *data)
{
    uint32_t name_len = cursor_u32(data);
    const uint8_t *name = cursor_take(data, name_len);
    uint16_t count = cursor_u16(data);
    const uint8_t *infos = cursor_take(data, (size_t)count * 2);
    if (!cursor_done(data))
        return refuse_now(conn, option, NBD_REP_ERR_INVALID, "lengths do not add up");
    if (name_len > NBD_STRING_MAX_BYTES)
        return refuse_now(conn, option, NBD_REP_ERR_TOO_BIG, "export name over 4096 bytes");
    struct cursor wanted = cursor_of(infos, (size_t)count * 2);
    uint64_t epoch;
    struct nbd_export *e = find_export(conn, name, name_len, &epoch);
    const char *why;
    uint32_t denied = owner_denied(conn, e, epoch, &why);
    conn->raise_result = 0;
    if (denied)
        return refuse_now(conn, option, denied, why);
    bool go = option == NBD_OPT_GO;
    if (go && blk_limits(e->blk)->align_bytes > 512 && !asks_for_block_size(wanted))
        return refuse_now(conn, option, NBD_REP_ERR_BLOCK_SIZE_REQD,
                          "this export has large blocks: ask for BLOCK_SIZE");
    if (go && nbd_epoch_raise(conn, e, epoch))
        return NBD_STEP_WAIT;
    if (go)
        choose_export(conn, e, epoch);
    tell_about(conn, option, e, wanted);
    return send_out(conn, go ? enter_transmission : nbd_conn_feed);
}

/* LIST_META_CONTEXT and SET_META_CONTEXT; the data is known to add up before anything is answered. */
static bool meta_queries(struct cursor data, uint32_t count, bool listing, unsigned *set)
{
    *set = listing && !count ? (1u << NBD_META_COUNT) - 1 : 0;
    for (uint32_t i = 0; i < count && !data.bad; i++) {
        uint32_t len = cursor_u32(&data);
        const uint8_t *query = cursor_take(&data, len);
        if (query)
            *set |= nbd_meta_query((const char *)query, len, listing);
    }
    return cursor_done(&data);
}

static bool available(const struct nbd_export *e)
{
    return blk_can(e->blk) & BLK_CAN_EXTENTS;
}

static void option_meta(struct nbd_conn *conn, uint32_t option, struct cursor *data)
{
    bool listing = option == NBD_OPT_LIST_META_CONTEXT;
    uint32_t name_len = cursor_u32(data);
    const uint8_t *name = cursor_take(data, name_len);
    uint32_t count = cursor_u32(data);
    unsigned set;
    if (!listing) {
        conn->contexts = 0;
        free(conn->contexts_name);
        conn->contexts_name = NULL;
    }
    if (data->bad || !meta_queries(*data, count, listing, &set)) {
        refuse(conn, option, NBD_REP_ERR_INVALID, "lengths do not add up");
        return;
    }
    if (!conn->structured && !conn->extended) {
        refuse(conn, option, NBD_REP_ERR_INVALID, "negotiate structured replies or extended headers first");
        return;
    }
    uint64_t epoch;
    struct nbd_export *e = find_export(conn, name, name_len, &epoch);
    const char *why;
    uint32_t denied = owner_denied(conn, e, epoch, &why);
    if (denied) {
        refuse(conn, option, denied, why);
        return;
    }
    if (!available(e))
        set = 0;
    for (unsigned m = 0; m < NBD_META_COUNT; m++) {
        uint8_t block[4 + 64];
        struct emit out = emit_to(block, sizeof block);
        if (!(set & 1u << m))
            continue;
        emit_u32(&out, listing ? 0 : nbd_meta_id(m));
        emit_bytes(&out, nbd_meta_name(m), strlen(nbd_meta_name(m)));
        reply(conn, option, NBD_REP_META_CONTEXT, block, emit_len(&out));
    }
    if (!listing) {
        conn->contexts = set;
        conn->contexts_name = strdup(e->name);
        if (!conn->contexts_name)
            conn->contexts = 0;
    }
    reply(conn, option, NBD_REP_ACK, NULL, 0);
}

/* ---- TLS ---- */

static void tls_started(struct stream *stream, int result)
{
    struct nbd_conn *conn = CONTAINER_OF(stream, struct nbd_conn, stream);
    if (conn->state == NBD_CONN_ENDED)
        return;
    if (result) {
        nbd_conn_violation(conn, "TLS: %s", stream_tls_error(stream));
        return;
    }
    conn->state = NBD_CONN_OPTIONS;
    nbd_conn_feed(conn);
}

static void start_tls(struct nbd_conn *conn)
{
    if (nbd_conn_available(conn)) {
        /* sent in clear behind STARTTLS: somebody in between would have us take it for the client's (CVE-2021-3716) */
        nbd_conn_violation(conn, "%u bytes in clear after STARTTLS", nbd_conn_available(conn));
        return;
    }
    conn->state = NBD_CONN_STARTING_TLS;
    conn->structured = conn->extended = false;
    conn->contexts = 0;
    free(conn->contexts_name);
    conn->contexts_name = NULL;
    stream_start_tls(&conn->stream, conn->server->config.tls_context, NULL, tls_started);
}

static enum nbd_step option_starttls(struct nbd_conn *conn, struct cursor *data)
{
    if (conn->server->config.tls == NBD_TLS_OFF) {
        refuse(conn, NBD_OPT_STARTTLS, NBD_REP_ERR_POLICY, "this server has no TLS (--tls)");
    } else if (conn->stream.tls) {
        refuse(conn, NBD_OPT_STARTTLS, NBD_REP_ERR_INVALID, "TLS has been started already");
    } else if (cursor_left(data)) {
        refuse(conn, NBD_OPT_STARTTLS, NBD_REP_ERR_INVALID, "STARTTLS takes no data");
    } else {
        reply(conn, NBD_OPT_STARTTLS, NBD_REP_ACK, NULL, 0);
        return send_out(conn, start_tls);
    }
    return send_out(conn, nbd_conn_feed);
}

/* ---- one option ---- */

static void option_switch(struct nbd_conn *conn, uint32_t option, struct cursor *data, bool *on)
{
    if (cursor_left(data)) {
        refuse(conn, option, NBD_REP_ERR_INVALID, "this option takes no data");
    } else if (option == NBD_OPT_STRUCTURED_REPLY && conn->extended) {
        refuse(conn, option, NBD_REP_ERR_EXT_HEADER_REQD, "extended headers are on already");
    } else {
        *on = true;
        reply(conn, option, NBD_REP_ACK, NULL, 0);
    }
}

static enum nbd_step dispatch(struct nbd_conn *conn, uint32_t option, struct cursor *data)
{
    conn->out_len = 0;
    if (option == NBD_OPT_EXPORT_NAME)
        return option_export_name(conn, data);
    if (option == NBD_OPT_ABORT) {
        reply(conn, option, NBD_REP_ACK, NULL, 0);
        return send_out(conn, nbd_conn_end);
    }
    if (option == NBD_OPT_STARTTLS)
        return option_starttls(conn, data);
    if (tls_missing(conn)) {
        refuse(conn, option, NBD_REP_ERR_TLS_REQD, "this server wants STARTTLS first");
        return send_out(conn, nbd_conn_feed);
    }
    switch (option) {
    case NBD_OPT_LIST:
        option_list(conn, data);
        break;
    case NBD_OPT_INFO:
    case NBD_OPT_GO:
        return option_info(conn, option, data);
    case NBD_OPT_STRUCTURED_REPLY:
        option_switch(conn, option, data, &conn->structured);
        break;
    case NBD_OPT_EXTENDED_HEADERS:
        option_switch(conn, option, data, &conn->extended);
        break;
    case NBD_OPT_LIST_META_CONTEXT:
    case NBD_OPT_SET_META_CONTEXT:
        option_meta(conn, option, data);
        break;
    default:
        refuse(conn, option, NBD_REP_ERR_UNSUP, "unknown option");
    }
    return send_out(conn, nbd_conn_feed);
}

static enum nbd_step take_greeting(struct nbd_conn *conn)
{
    if (nbd_conn_available(conn) < CLIENT_FLAG_BYTES)
        return NBD_STEP_INPUT;
    struct cursor c = cursor_of(conn->rx + conn->rx_at, CLIENT_FLAG_BYTES);
    uint32_t flags = cursor_u32(&c);
    conn->rx_at += CLIENT_FLAG_BYTES;
    if (flags & ~(uint32_t)(NBD_HANDSHAKE_FIXED_NEWSTYLE | NBD_HANDSHAKE_NO_ZEROES)) {
        nbd_conn_violation(conn, "unknown client flags 0x%x", flags);
        return NBD_STEP_WAIT;
    }
    conn->no_zeroes = flags & NBD_HANDSHAKE_NO_ZEROES;
    conn->state = NBD_CONN_OPTIONS;
    return NBD_STEP_AGAIN;
}

enum nbd_step nbd_negotiate_step(struct nbd_conn *conn)
{
    if (conn->state == NBD_CONN_GREETING)
        return take_greeting(conn);
    if (conn->skip_bytes)
        return nbd_conn_skip(conn);
    if (nbd_conn_available(conn) < NBD_OPTION_BYTES)
        return NBD_STEP_INPUT;
    struct cursor c = cursor_of(conn->rx + conn->rx_at, nbd_conn_available(conn));
    uint64_t magic = cursor_u64(&c);
    uint32_t option = cursor_u32(&c), len = cursor_u32(&c);
    if (magic != NBD_OPTION_MAGIC) {
        nbd_conn_violation(conn, "bad option magic");
        return NBD_STEP_WAIT;
    }
    if (len > NBD_OPTION_MAX_BYTES && (len > NBD_SKIP_MAX_BYTES || option == NBD_OPT_EXPORT_NAME)) {
        nbd_conn_violation(conn, "option %s with %u bytes", nbd_option_name(option), len);
        return NBD_STEP_WAIT;
    }
    if (len <= NBD_OPTION_MAX_BYTES && cursor_left(&c) < len)
        return NBD_STEP_INPUT;
    if (++conn->option_count > NBD_OPTIONS_MAX) {
        nbd_conn_violation(conn, "over %d options", NBD_OPTIONS_MAX);
        return NBD_STEP_WAIT;
    }
    conn->option_at = conn->rx_at;
    conn->rx_at += NBD_OPTION_BYTES;
    if (len > NBD_OPTION_MAX_BYTES) {
        conn->skip_bytes = len;
        conn->out_len = 0;
        refuse(conn, option, NBD_REP_ERR_TOO_BIG, "over 65536 bytes of data");
        return send_out(conn, nbd_conn_feed);
    }
    struct cursor data = cursor_of(conn->rx + conn->rx_at, len);
    conn->rx_at += len;
    return dispatch(conn, option, &data);
}
