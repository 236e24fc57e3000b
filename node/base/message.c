#include "node/base/message.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "node/base/cursor.h"
#include "node/base/emit.h"
#include "node/base/err.h"

static const uint32_t magic = 0x4452564d; /* "DRVM" */
enum { BACKLOG = 8 };

static void prepare(struct message_wire *w, struct message *m, size_t body_bytes)
{
    w->message = m;
    w->iov[0] = (struct iovec){w->header, sizeof w->header};
    w->iov[1] = (struct iovec){m->body, body_bytes};
    w->msg = (struct msghdr){.msg_iov = w->iov, .msg_iovlen = 2};
}

void message_pack(struct message_wire *w, struct message *m)
{
    prepare(w, m, m->body_bytes);
    struct emit e = emit_to(w->header, sizeof w->header);
    emit_u32(&e, magic);
    emit_u16(&e, MESSAGE_VERSION);
    emit_u16(&e, m->type);
    emit_u32(&e, m->id);
    emit_u32(&e, (uint32_t)m->body_bytes);
    if (!m->fd_count)
        return;
    size_t bytes = m->fd_count * sizeof(int);
    memset(w->control, 0, sizeof w->control);
    w->msg.msg_control = w->control;
    w->msg.msg_controllen = CMSG_SPACE(bytes);
    struct cmsghdr *c = CMSG_FIRSTHDR(&w->msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(bytes);
    memcpy(CMSG_DATA(c), m->fds, bytes);
}

void message_expect(struct message_wire *w, struct message *m)
{
    prepare(w, m, MESSAGE_BODY_MAX);
    m->fd_count = 0;
    m->body_bytes = 0;
    w->msg.msg_control = w->control;
    w->msg.msg_controllen = sizeof w->control;
}

/* Files first: whatever the message is, they are ours to close. */
static void take_files(struct message_wire *w)
{
    struct message *m = w->message;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&w->msg); c; c = CMSG_NXTHDR(&w->msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (m->fd_count < MESSAGE_FDS_MAX)
                m->fds[m->fd_count++] = fd;
            else
                close(fd);
        }
    }
}

int message_unpack(struct message_wire *w, int received, struct err *err)
{
    struct message *m = w->message;
    if (received < 0)
        return err_set(err, -received, "cannot receive a message: %s", strerror(-received));
    if (received == 0)
        return err_set(err, EPIPE, "the other side has hung up");
    take_files(w);
    size_t bytes = (size_t)received;
    struct cursor c = cursor_of(w->header, bytes < sizeof w->header ? bytes : sizeof w->header);
    uint32_t head = cursor_u32(&c);
    uint16_t version = cursor_u16(&c);
    m->type = cursor_u16(&c);
    m->id = cursor_u32(&c);
    uint32_t length = cursor_u32(&c);
    int rc = 0;
    if (!cursor_done(&c) || head != magic || w->msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC) ||
        length != bytes - sizeof w->header)
        rc = err_set(err, EPROTO, "the other side does not send Drover's messages");
    else if (version != MESSAGE_VERSION)
        rc = err_set(err, EPROTO, "the other side speaks version %u of the messages, this program version %d", version,
                     MESSAGE_VERSION);
    if (rc) {
        message_close_files(m);
        return rc;
    }
    m->body_bytes = length;
    m->body[length] = 0;
    return 0;
}

int message_send(int socket, struct message *m, struct err *err)
{
    struct message_wire w;
    message_pack(&w, m);
    ssize_t n;
    do
        n = sendmsg(socket, &w.msg, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? err_set(err, errno, "cannot send a message: %s", strerror(errno)) : 0;
}

int message_receive(int socket, struct message *m, struct err *err)
{
    struct message_wire w;
    message_expect(&w, m);
    ssize_t n;
    do
        n = recvmsg(socket, &w.msg, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    return message_unpack(&w, n < 0 ? -errno : (int)n, err);
}

void message_close_files(struct message *m)
{
    for (unsigned i = 0; i < m->fd_count; i++)
        if (m->fds[i] >= 0)
            close(m->fds[i]);
    m->fd_count = 0;
}

/* ---- sockets ---- */

static int address_of(const char *path, struct sockaddr_un *address, struct err *err)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    size_t bytes = strlen(path);
    if (!bytes || bytes >= sizeof address->sun_path)
        return err_set(err, EINVAL, "'%s': a socket's path has 1 to %zu letters", path, sizeof address->sun_path - 1);
    memcpy(address->sun_path, path, bytes);
    return 0;
}

int message_connect(const char *path, int *fd, struct err *err)
{
    struct sockaddr_un address;
    int rc = address_of(path, &address, err);
    if (rc)
        return rc;
    int s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (s < 0)
        return err_set(err, errno, "cannot make a socket: %s", strerror(errno));
    if (connect(s, (const struct sockaddr *)&address, sizeof address) < 0) {
        rc = err_set(err, errno, "nobody answers at %s: %s", path, strerror(errno));
        close(s);
        return rc;
    }
    *fd = s;
    return 0;
}

/* True if the file is a socket and its owner is dead. */
static bool is_left_over(const char *path)
{
    struct stat st;
    int fd = -1;
    if (lstat(path, &st) < 0 || !S_ISSOCK(st.st_mode))
        return false;
    int rc = message_connect(path, &fd, NULL);
    if (fd >= 0)
        close(fd);
    return rc == -ECONNREFUSED;
}

int message_listen(const char *path, int *fd, struct err *err)
{
    struct sockaddr_un address;
    int rc = address_of(path, &address, err);
    if (rc)
        return rc;
    int s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (s < 0)
        return err_set(err, errno, "cannot make a socket: %s", strerror(errno));
    mode_t mask = umask(0177);
    rc = bind(s, (const struct sockaddr *)&address, sizeof address) < 0 ? -errno : 0;
    if (rc == -EADDRINUSE && is_left_over(path) && unlink(path) == 0)
        rc = bind(s, (const struct sockaddr *)&address, sizeof address) < 0 ? -errno : 0;
    umask(mask);
    if (!rc && listen(s, BACKLOG) < 0)
        rc = -errno;
    if (rc) {
        close(s);
        return err_set(err, -rc, "cannot listen at %s: %s", path, strerror(-rc));
    }
    *fd = s;
    return 0;
}
