/* See fake_server.h. */
#include "tests/unit/fake_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "node/base/cursor.h"

enum { MESSAGE_BYTES = 1 << 20 };

void fake_server_lock(struct fake_server *s)
{
    pthread_mutex_lock(&s->lock);
}

void fake_server_unlock(struct fake_server *s)
{
    pthread_mutex_unlock(&s->lock);
}

/* What a client must never do; unlike demand() it is there in every build. */
static void demand(bool good)
{
    if (!good)
        abort();
}

static bool send_all(int fd, const void *data, size_t len)
{
    const uint8_t *p = data;
    while (len) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        p += n;
        len -= (size_t)n;
    }
    return true;
}

static bool recv_all(int fd, void *data, size_t len)
{
    return len == 0 || recv(fd, data, len, MSG_WAITALL) == (ssize_t)len;
}

void fake_send(struct fake_connection *c, const struct emit *e)
{
    demand(!e->bad);
    send_all(c->fd, e->start, emit_len(e));
}

/* ---- handshake ---- */

void fake_option_reply(struct fake_connection *c, uint32_t option, uint32_t type, const void *data, uint32_t len)
{
    uint8_t head[NBD_OPTION_REPLY_BYTES];
    struct emit e = emit_to(head, sizeof head);
    emit_u64(&e, NBD_OPTION_REPLY_MAGIC);
    emit_u32(&e, option);
    emit_u32(&e, type);
    emit_u32(&e, len);
    fake_send(c, &e);
    send_all(c->fd, data, len);
}

static void go(struct fake_connection *c)
{
    const struct fake_server *s = c->server;
    uint8_t info[14];
    struct emit e = emit_to(info, sizeof info);
    emit_u16(&e, NBD_INFO_EXPORT);
    emit_u64(&e, s->size_bytes);
    emit_u16(&e, s->flags);
    fake_option_reply(c, NBD_OPT_GO, NBD_REP_INFO, info, 12);
    if (s->min_block) {
        e = emit_to(info, sizeof info);
        emit_u16(&e, NBD_INFO_BLOCK_SIZE);
        emit_u32(&e, s->min_block);
        emit_u32(&e, s->preferred_block);
        emit_u32(&e, s->max_payload);
        fake_option_reply(c, NBD_OPT_GO, NBD_REP_INFO, info, 14);
    }
    fake_option_reply(c, NBD_OPT_GO, NBD_REP_ACK, NULL, 0);
}

static void meta(struct fake_connection *c)
{
    uint8_t body[19];
    struct emit e = emit_to(body, sizeof body);
    emit_u32(&e, FAKE_CONTEXT);
    emit_bytes(&e, "base:allocation", 15);
    if (c->server->allocation)
        fake_option_reply(c, NBD_OPT_SET_META_CONTEXT, NBD_REP_META_CONTEXT, body, sizeof body);
    fake_option_reply(c, NBD_OPT_SET_META_CONTEXT, NBD_REP_ACK, NULL, 0);
}

/* True: transmission follows. */
static bool answer_option(struct fake_connection *c, uint32_t option)
{
    const struct fake_server *s = c->server;
    bool granted =
        (option == NBD_OPT_EXTENDED_HEADERS && s->extended) || (option == NBD_OPT_STRUCTURED_REPLY && s->structured);
    c->extended |= granted && option == NBD_OPT_EXTENDED_HEADERS;
    c->structured |= granted && option == NBD_OPT_STRUCTURED_REPLY;
    if (option == NBD_OPT_EXPORT_NAME) {
        uint8_t reply[10];
        struct emit e = emit_to(reply, sizeof reply);
        emit_u64(&e, s->size_bytes);
        emit_u16(&e, s->flags);
        fake_send(c, &e);
        return true;
    }
    if (option == NBD_OPT_GO && !s->no_go)
        go(c);
    else if (option == NBD_OPT_SET_META_CONTEXT)
        meta(c);
    else
        fake_option_reply(c, option, granted ? NBD_REP_ACK : NBD_REP_ERR_UNSUP, NULL, 0);
    return option == NBD_OPT_GO && !s->no_go;
}

static bool shake_hands(struct fake_connection *c)
{
    struct fake_server *s = c->server;
    uint8_t bytes[NBD_STRING_MAX_BYTES + 64];
    struct emit e = emit_to(bytes, sizeof bytes);
    emit_u64(&e, NBD_MAGIC);
    emit_u64(&e, NBD_OPTION_MAGIC);
    emit_u16(&e, NBD_HANDSHAKE_FIXED_NEWSTYLE | NBD_HANDSHAKE_NO_ZEROES);
    if (s->greeting)
        send_all(c->fd, s->greeting, s->greeting_bytes);
    else
        fake_send(c, &e);
    if (!recv_all(c->fd, bytes, 4))
        return false;
    for (;;) {
        if (!recv_all(c->fd, bytes, NBD_OPTION_BYTES))
            return false;
        struct cursor in = cursor_of(bytes, NBD_OPTION_BYTES);
        demand(cursor_u64(&in) == NBD_OPTION_MAGIC);
        uint32_t option = cursor_u32(&in), len = cursor_u32(&in);
        demand(len <= sizeof bytes);
        if (!recv_all(c->fd, bytes, len))
            return false;
        fake_server_lock(s);
        bool handled = s->option_hook && s->option_hook(c, option);
        bool done = !handled && answer_option(c, option);
        fake_server_unlock(s);
        if (done)
            return true;
    }
}

/* ---- transmission ---- */

static uint32_t execute(struct fake_server *s, const struct fake_request *r)
{
    bool inside = r->offset <= FAKE_DISK_BYTES && r->length <= FAKE_DISK_BYTES - r->offset;
    switch (r->type) {
    case NBD_CMD_WRITE:
        if (!inside)
            return NBD_ENOSPC;
        memcpy(s->disk + r->offset, r->payload, r->length);
        break;
    case NBD_CMD_TRIM:
    case NBD_CMD_WRITE_ZEROES:
        if (inside)
            memset(s->disk + r->offset, 0, r->length);
        break;
    case NBD_CMD_FLUSH:
        memcpy(s->stable, s->disk, sizeof s->disk);
        break;
    case NBD_CMD_RESIZE:
        s->size_bytes = r->offset;
        break;
    }
    if (r->flags & NBD_CMD_FLAG_FUA && inside)
        memcpy(s->stable + r->offset, s->disk + r->offset, r->length);
    return 0;
}

static void chunk_head(const struct fake_connection *c, struct emit *e, const struct fake_request *r, uint16_t type,
                       uint64_t len)
{
    emit_u32(e, c->extended ? NBD_EXTENDED_REPLY_MAGIC : NBD_STRUCTURED_REPLY_MAGIC);
    emit_u16(e, NBD_REPLY_FLAG_DONE);
    emit_u16(e, type);
    emit_u64(e, r->cookie);
    if (c->extended) {
        emit_u64(e, r->offset);
        emit_u64(e, len);
    } else {
        emit_u32(e, (uint32_t)len);
    }
}

/* The second half of a request is always said to be a hole. */
static void extents(const struct fake_connection *c, struct emit *e, const struct fake_request *r)
{
    uint64_t half = r->length / 2, length[2] = {half ? half : r->length, r->length - half};
    unsigned count = half ? 2 : 1;
    chunk_head(c, e, r, c->extended ? NBD_REPLY_TYPE_BLOCK_STATUS_EXT : NBD_REPLY_TYPE_BLOCK_STATUS,
               c->extended ? 8 + 16 * count : 4 + 8 * count);
    emit_u32(e, FAKE_CONTEXT);
    if (c->extended)
        emit_u32(e, count);
    for (unsigned i = 0; i < count; i++) {
        uint64_t flags = i ? NBD_STATE_HOLE | NBD_STATE_ZERO : 0;
        if (c->extended) {
            emit_u64(e, length[i]);
            emit_u64(e, flags);
        } else {
            emit_u32(e, (uint32_t)length[i]);
            emit_u32(e, (uint32_t)flags);
        }
    }
}

static void answer(struct fake_connection *c, const struct fake_request *r, struct emit *e)
{
    uint32_t error = execute(c->server, r);
    bool chunks = c->extended || c->structured, read = r->type == NBD_CMD_READ;
    if (!chunks) {
        emit_u32(e, NBD_SIMPLE_REPLY_MAGIC);
        emit_u32(e, error);
        emit_u64(e, r->cookie);
    } else if (error) {
        chunk_head(c, e, r, NBD_REPLY_TYPE_ERROR, 6);
        emit_u32(e, error);
        emit_u16(e, 0);
    } else if (r->type == NBD_CMD_BLOCK_STATUS) {
        extents(c, e, r);
    } else if (read) {
        chunk_head(c, e, r, NBD_REPLY_TYPE_OFFSET_DATA, 8 + r->length);
        emit_u64(e, r->offset);
    } else {
        chunk_head(c, e, r, NBD_REPLY_TYPE_NONE, 0);
    }
    if (read && !error)
        emit_bytes(e, c->server->disk + r->offset, r->length);
}

static bool read_request(struct fake_connection *c, struct fake_request *r)
{
    uint8_t head[NBD_EXTENDED_REQUEST_BYTES];
    size_t len = c->extended ? NBD_EXTENDED_REQUEST_BYTES : NBD_REQUEST_BYTES;
    if (!recv_all(c->fd, head, len))
        return false;
    struct cursor in = cursor_of(head, len);
    uint32_t magic = cursor_u32(&in);
    demand(magic == (c->extended ? NBD_EXTENDED_REQUEST_MAGIC : NBD_REQUEST_MAGIC));
    r->flags = cursor_u16(&in);
    r->type = cursor_u16(&in);
    r->cookie = cursor_u64(&in);
    r->offset = cursor_u64(&in);
    r->length = c->extended ? cursor_u64(&in) : cursor_u32(&in);
    demand((r->type == NBD_CMD_WRITE && c->extended) == !!(r->flags & NBD_CMD_FLAG_PAYLOAD_LEN));
    return r->type != NBD_CMD_WRITE || recv_all(c->fd, r->payload, r->length);
}

static void stay_mute(int fd)
{
    char drop[4096];
    while (recv(fd, drop, sizeof drop, 0) > 0)
        continue;
}

static void transmit(struct fake_connection *c)
{
    struct fake_server *s = c->server;
    struct fake_request r = {.payload = malloc(MESSAGE_BYTES)};
    uint8_t *out = malloc(MESSAGE_BYTES + 64);
    while (read_request(c, &r)) {
        struct emit e = emit_to(out, MESSAGE_BYTES + 64);
        fake_server_lock(s);
        s->seen[r.type & 15]++;
        c->served++;
        s->last_flags = r.flags;
        s->longest = r.length > s->longest ? r.length : s->longest;
        enum fake_verdict verdict = s->hook ? s->hook(c, &r) : FAKE_HONEST;
        if (verdict == FAKE_HONEST && r.type != NBD_CMD_DISC)
            answer(c, &r, &e);
        fake_server_unlock(s);
        if (verdict == FAKE_MUTE)
            stay_mute(c->fd);
        if (verdict == FAKE_CUT || verdict == FAKE_MUTE || r.type == NBD_CMD_DISC)
            break;
        fake_send(c, &e);
    }
    free(out);
    free(r.payload);
}

/* ---- life ---- */

static void *serve(void *context)
{
    struct fake_connection *c = context;
    if (shake_hands(c))
        transmit(c);
    shutdown(c->fd, SHUT_RDWR);
    return NULL;
}

static void *accept_all(void *context)
{
    struct fake_server *s = context;
    int fd;
    while ((fd = accept(s->listener, NULL, NULL)) >= 0) {
        fake_server_lock(s);
        demand(s->count < FAKE_CONNECTIONS_MAX);
        struct fake_connection *c = &s->connections[s->count];
        *c = (struct fake_connection){.server = s, .fd = fd, .number = (int)s->count++};
        s->connected++;
        pthread_create(&c->thread, NULL, serve, c);
        fake_server_unlock(s);
    }
    return NULL;
}

struct fake_server *fake_server_new(void)
{
    static unsigned number;
    const char *dir = getenv("TMPDIR");
    struct fake_server *s = calloc(1, sizeof *s);
    s->size_bytes = FAKE_DISK_BYTES;
    s->flags =
        NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES;
    s->structured = s->allocation = true;
    s->listener = -1;
    pthread_mutex_init(&s->lock, NULL);
    snprintf(s->path, sizeof s->path, "%s/drover-fake-%d-%u", dir ? dir : "/tmp", (int)getpid(), number++);
    return s;
}

void fake_server_listen(struct fake_server *s)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    memcpy(un.sun_path, s->path, sizeof un.sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    unlink(s->path);
    if (bind(fd, (struct sockaddr *)&un, sizeof un) < 0 || listen(fd, 64) < 0)
        abort();
    s->listener = fd;
    pthread_create(&s->acceptor, NULL, accept_all, s);
}

void fake_server_cut(struct fake_server *s, int number)
{
    fake_server_lock(s);
    shutdown(s->connections[number].fd, SHUT_RDWR);
    fake_server_unlock(s);
}

void fake_server_crash(struct fake_server *s, int except)
{
    fake_server_lock(s);
    for (unsigned i = 0; i < s->count; i++)
        if ((int)i != except)
            shutdown(s->connections[i].fd, SHUT_RDWR);
    memcpy(s->disk, s->stable, sizeof s->disk);
    fake_server_unlock(s);
}

void fake_server_leave(struct fake_server *s)
{
    if (s->listener < 0)
        return;
    shutdown(s->listener, SHUT_RDWR);
    pthread_join(s->acceptor, NULL);
    close(s->listener);
    s->listener = -1;
    unlink(s->path);
    for (unsigned i = 0; i < s->count; i++)
        shutdown(s->connections[i].fd, SHUT_RDWR);
}

void fake_server_free(struct fake_server *s)
{
    fake_server_leave(s);
    for (unsigned i = 0; i < s->count; i++) {
        pthread_join(s->connections[i].thread, NULL);
        close(s->connections[i].fd);
    }
    pthread_mutex_destroy(&s->lock);
    free(s);
}

unsigned fake_server_seen(struct fake_server *s, unsigned type)
{
    fake_server_lock(s);
    unsigned n = s->seen[type];
    fake_server_unlock(s);
    return n;
}
