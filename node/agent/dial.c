#include "node/agent/dial.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "node/base/container.h"

enum { PATIENCE_MS = 5000 };

/* "tcp:HOST:PORT", HOST in brackets if it has colons. False: it is not that. */
static bool take_apart(const char *address, char host[DIAL_ADDRESS_BYTES], char port[16])
{
    const char *colon = strrchr(address, ':');
    if (strncmp(address, "tcp:", 4) || !colon || colon < address + 4)
        return false;
    const char *from = address + 4, *to = colon;
    if (*from == '[' && to > from + 1 && to[-1] == ']')
        from++, to--;
    snprintf(host, DIAL_ADDRESS_BYTES, "%.*s", (int)(to - from), from);
    return snprintf(port, 16, "%s", colon + 1) < 16;
}

static int connect_one(const struct addrinfo *to, unsigned patience_ms)
{
    struct timeval patience = {.tv_sec = patience_ms / 1000, .tv_usec = patience_ms % 1000 * 1000};
    int on = 1, fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience); /* of connect(), too */
    if (connect(fd, to->ai_addr, to->ai_addrlen)) {
        int rc = errno == EINPROGRESS ? -ETIMEDOUT : -errno;
        close(fd);
        return rc;
    }
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &(struct timeval){0}, sizeof patience);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static void run(struct worker_task *task)
{
    struct dial *d = CONTAINER_OF(task, struct dial, task);
    char host[DIAL_ADDRESS_BYTES], port[16];
    struct addrinfo want = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV}, *to = NULL;
    unsigned wanted = d->count;
    d->count = 0;
    d->rc = 0;
    if (!take_apart(d->address, host, port) || getaddrinfo(host, port, &want, &to)) {
        d->rc = err_set(&d->err, EINVAL, "'%s' is no address of a node", d->address);
        return;
    }
    while (!d->rc && d->count < wanted) {
        int fd = connect_one(to, d->patience_ms ? d->patience_ms : PATIENCE_MS);
        if (fd >= 0)
            d->fds[d->count++] = fd;
        else
            d->rc = err_set(&d->err, -fd, "%s cannot be reached: %s", d->address, strerror(-fd));
    }
    freeaddrinfo(to);
    if (d->rc)
        dial_close(d);
}

static void worked(struct worker_task *task)
{
    struct dial *d = CONTAINER_OF(task, struct dial, task);
    d->done(d, d->rc);
}

void dial_begin(struct dial *d, struct worker *worker)
{
    d->task = (struct worker_task){.run = run, .done = worked};
    worker_submit(worker, &d->task);
}

void dial_close(struct dial *d)
{
    while (d->count)
        close(d->fds[--d->count]);
}
