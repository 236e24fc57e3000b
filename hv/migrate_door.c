/* Source: RFC 8446, 4 and 5.1: the header of a record, and of the handshake's first message in it. */
#include "hv/migrate_door.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "node/base/clock.h"
#include "node/base/err.h"

enum {
    PATIENCE_MS = 5000,
    PART_MS = 20, /* who has said a part is looked at again then: he is readable all the time */
    NS_PER_MS = 1000000,
    HELLO_MAX = 8192,
    RECORD_HEADER = 5,
    MESSAGE_HEADER = 4,
    RECORD_HANDSHAKE = 22,
    MESSAGE_CLIENT_HELLO = 1,
};

enum word { WORD_NONE, WORD_PART, WORD_HELLO, WORD_NONSENSE, WORD_GONE };

/* Our own source says all of its ClientHello in one record. */
static enum word judge(const uint8_t *said, size_t bytes)
{
    if (said[0] != RECORD_HANDSHAKE || (bytes > RECORD_HEADER && said[RECORD_HEADER] != MESSAGE_CLIENT_HELLO))
        return WORD_NONSENSE;
    if (bytes < RECORD_HEADER + MESSAGE_HEADER)
        return WORD_PART;
    size_t record = (size_t)said[3] << 8 | said[4], message = (size_t)said[6] << 16 | (size_t)said[7] << 8 | said[8];
    if (message + MESSAGE_HEADER > record || record > HELLO_MAX - RECORD_HEADER)
        return WORD_NONSENSE;
    return bytes < RECORD_HEADER + record ? WORD_PART : WORD_HELLO;
}

static enum word listen_to(int fd)
{
    uint8_t said[HELLO_MAX];
    ssize_t n = recv(fd, said, sizeof said, MSG_PEEK | MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? WORD_NONE : WORD_GONE;
    return n ? judge(said, (size_t)n) : WORD_GONE;
}

/* ---- who waits; under lock ---- */

static int leave(struct migrate_door *d, unsigned i)
{
    int fd = d->waiting[i].fd;
    d->count--;
    memmove(&d->waiting[i], &d->waiting[i + 1], (d->count - i) * sizeof *d->waiting);
    return fd;
}

static void turn_away(struct migrate_door *d, unsigned i, const char *why)
{
    close(leave(d, i));
    log_limited(&d->strangers, LOG_LEVEL_WARN, "migration: a connection was refused: %s", why);
}

static void come(struct migrate_door *d)
{
    int fd = accept4(d->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return; /* another worker was faster */
    if (d->count == MIGRATE_DOOR_MAX)
        turn_away(d, 0, "it says nothing, and too many connections come");
    d->waiting[d->count].fd = fd;
    d->waiting[d->count++].since_ns = clock_ns();
}

/* Who may come in, or -1. *parts: somebody has said a part of what is waited for. */
static int hear(struct migrate_door *d, bool *parts)
{
    int fd = -1;
    *parts = false;
    for (unsigned i = 0; i < d->count && fd < 0;) {
        switch (listen_to(d->waiting[i].fd)) {
        case WORD_PART:
            *parts = true;
            i++;
            break;
        case WORD_HELLO:
            fd = leave(d, i);
            break;
        case WORD_NONSENSE:
            turn_away(d, i, "it does not begin as a migration does");
            break;
        case WORD_GONE:
            close(leave(d, i));
            break;
        case WORD_NONE:
            i++;
            break;
        }
    }
    return fd;
}

/* In ms; -1: nobody waits. */
static int patience(struct migrate_door *d)
{
    uint64_t now = clock_ns();
    while (d->count && now - d->waiting[0].since_ns >= (uint64_t)PATIENCE_MS * NS_PER_MS)
        turn_away(d, 0, "it says nothing");
    return d->count ? PATIENCE_MS - (int)((now - d->waiting[0].since_ns) / NS_PER_MS) : -1;
}

/* ---- from outside ---- */

int migrate_door_init(struct migrate_door *d, int listener, struct err *err)
{
    *d = (struct migrate_door){.listener = listener,
                               .bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                               .strangers = {.burst = 5, .interval_ms = 10000}};
    int rc = d->bell >= 0 ? 0 : err_set(err, errno, "cannot begin: %s", strerror(errno));
    pthread_mutex_init(&d->lock, NULL);
    if (!rc && fcntl(listener, F_SETFL, fcntl(listener, F_GETFL) | O_NONBLOCK) < 0)
        rc = err_set(err, errno, "cannot wait for connections: %s", strerror(errno));
    return rc;
}

void migrate_door_shut(struct migrate_door *d)
{
    while (d->count)
        close(leave(d, 0));
    if (d->listener >= 0)
        close(d->listener);
    d->listener = -1;
}

void migrate_door_fini(struct migrate_door *d)
{
    migrate_door_shut(d);
    if (d->bell >= 0)
        close(d->bell);
    pthread_mutex_destroy(&d->lock);
}

/* Whoever goes with a socket tells another worker of those that came meanwhile, whom that one may not know. */
int migrate_door_answer(struct migrate_door *d, const int ends[2])
{
    for (;;) {
        struct pollfd fds[MIGRATE_DOOR_MAX + 4] = {{.fd = ends[0], .events = POLLIN},
                                                   {.fd = ends[1], .events = POLLIN},
                                                   {.fd = d->bell, .events = POLLIN},
                                                   {.fd = d->listener, .events = POLLIN}};
        bool parts;
        uint64_t n;
        pthread_mutex_lock(&d->lock);
        int wait_ms = patience(d), fd = hear(d, &parts);
        unsigned count = d->count;
        for (unsigned i = 0; i < count && !parts; i++)
            fds[4 + i] = (struct pollfd){.fd = d->waiting[i].fd, .events = POLLIN};
        pthread_mutex_unlock(&d->lock);
        if (fd >= 0 && count)
            eventfd_write(d->bell, 1);
        if (fd >= 0)
            return fd;
        if (poll(fds, parts ? 4 : 4 + count, parts ? PART_MS : wait_ms) < 0 && errno != EINTR)
            return -1;
        if (fds[0].revents || fds[1].revents)
            return -1;
        if (fds[2].revents && read(d->bell, &n, sizeof n) < 0)
            continue;
        pthread_mutex_lock(&d->lock);
        if (fds[3].revents)
            come(d);
        pthread_mutex_unlock(&d->lock);
    }
}
