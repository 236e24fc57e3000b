#include "node/base/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "node/base/err.h"

/* What a process that was killed listened at is its own a moment longer: the kernel takes its io_uring down behind its
 * back. */
enum { BACKLOG = 1024, FIRST_INHERITED_FD = 3, TRIES_MAX = 50, TRY_AGAIN_NS = 20000000 };

/* ---- unix ---- */

static int unix_address(const char *path, struct sockaddr_un *a, struct err *err)
{
    *a = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (!*path)
        return err_set(err, EINVAL, "unix: needs a path, as in unix:/run/drover/nbd.sock");
    if (strlen(path) >= sizeof a->sun_path)
        return err_set(err, ENAMETOOLONG, "'%s' is over %zu bytes, the limit for a unix socket", path,
                       sizeof a->sun_path - 1);
    strcpy(a->sun_path, path);
    return 0;
}

static bool is_socket(const struct sockaddr_un *a)
{
    struct stat st;
    return !lstat(a->sun_path, &st) && S_ISSOCK(st.st_mode);
}

static bool is_refused(const struct sockaddr_un *a)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool refused = fd >= 0 && connect(fd, (const struct sockaddr *)a, sizeof *a) < 0 && errno == ECONNREFUSED;
    if (fd >= 0)
        close(fd);
    return refused;
}

/* A socket is there and nobody answers. */
static bool is_stale(const struct sockaddr_un *a)
{
    bool refused = false;
    for (unsigned tries = 0; is_socket(a) && !(refused = is_refused(a)) && tries < TRIES_MAX; tries++)
        nanosleep(&(struct timespec){.tv_nsec = TRY_AGAIN_NS}, NULL);
    return refused;
}

static int open_unix(const char *path, int *fds, struct err *err)
{
    struct sockaddr_un a;
    int rc = unix_address(path, &a, err);
    if (rc)
        return rc;
    if (is_stale(&a))
        unlink(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_set(err, errno, "cannot make a socket: %s", strerror(errno));
    if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, BACKLOG) < 0) {
        rc = errno;
        close(fd);
        return err_set(err, rc, "cannot listen on unix:%s: %s", path,
                       rc == EADDRINUSE ? "something is there already" : strerror(rc));
    }
    *fds = fd;
    return 1;
}

/* ---- tcp ---- */

static int split_host_port(const char *text, char *host, size_t host_len, char *port, size_t port_len)
{
    const char *colon = strrchr(text, ':');
    if (!colon || !colon[1] || strlen(colon + 1) >= port_len)
        return -1;
    strcpy(port, colon + 1);
    if (strspn(port, "0123456789") != strlen(port) || atol(port) > 65535)
        return -1;
    const char *from = text;
    size_t len = (size_t)(colon - text);
    if (len >= 2 && *text == '[' && colon[-1] == ']') {
        from++;
        len -= 2;
    } else if (memchr(text, ':', len)) {
        return -1; /* a bare IPv6 address */
    }
    if (len >= host_len)
        return -1;
    memcpy(host, from, len);
    host[len] = 0;
    return 0;
}

static int listen_one(const struct addrinfo *ai)
{
    int fd = socket(ai->ai_family, ai->ai_socktype | SOCK_CLOEXEC, ai->ai_protocol), on = 1;
    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (ai->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int rc = -errno;
    close(fd);
    return rc;
}

static int listen_when_free(const struct addrinfo *ai)
{
    int fd = listen_one(ai);
    for (unsigned tries = 0; fd == -EADDRINUSE && tries < TRIES_MAX; tries++) {
        nanosleep(&(struct timespec){.tv_nsec = TRY_AGAIN_NS}, NULL);
        fd = listen_one(ai);
    }
    return fd;
}

static int open_tcp(const char *text, int *fds, int max, struct err *err)
{
    char host[256], port[16];
    if (split_host_port(text, host, sizeof host, port, sizeof port))
        return err_set(err, EINVAL, "'tcp:%s' is not tcp:HOST:PORT, as in tcp:127.0.0.1:10809 or tcp:[::1]:10809",
                       text);
    struct addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM}, *list = NULL;
    int rc = getaddrinfo(*host ? host : NULL, port, &hints, &list);
    if (rc)
        return err_set(err, EINVAL, "tcp:%s: %s", text, gai_strerror(rc));
    int count = 0, first_error = 0;
    for (struct addrinfo *ai = list; ai && count < max; ai = ai->ai_next) {
        int fd = listen_when_free(ai);
        if (fd >= 0)
            fds[count++] = fd;
        else if (!first_error || (first_error == -EAFNOSUPPORT))
            first_error = fd;
    }
    freeaddrinfo(list);
    if (!count)
        return err_set(err, -first_error, "cannot listen on tcp:%s: %s", text, strerror(-first_error));
    return count;
}

int listen_open(const char *address, int *fds, int max, struct err *err)
{
    if (strncmp(address, "unix:", 5) == 0)
        return open_unix(address + 5, fds, err);
    if (strncmp(address, "tcp:", 4) == 0)
        return open_tcp(address + 4, fds, max, err);
    return err_set(err, EINVAL, "'%s' is not an address: write unix:PATH or tcp:HOST:PORT", address);
}

/* ---- handed over ---- */

int listen_inherited(int *fds, int max, struct err *err)
{
    const char *pid = getenv("LISTEN_PID"), *count_text = getenv("LISTEN_FDS");
    if (!pid || !count_text || strtol(pid, NULL, 10) != getpid())
        return 0;
    int count = atoi(count_text);
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    if (count < 1 || count > max)
        return err_set(err, EINVAL, "LISTEN_FDS is %d: 1 to %d sockets can be handed over", count, max);
    for (int i = 0; i < count; i++) {
        int fd = FIRST_INHERITED_FD + i, type;
        socklen_t len = sizeof type;
        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_STREAM)
            return err_set(err, EINVAL, "descriptor %d (LISTEN_FDS) is not a stream socket", fd);
        fcntl(fd, F_SETFD, FD_CLOEXEC);
        fds[i] = fd;
    }
    return count;
}

int listen_is_listening(int fd)
{
    int listening = 0;
    socklen_t len = sizeof listening;
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 && listening;
}

const char *listen_describe(int fd, char *text, int len)
{
    struct sockaddr_storage a = {0};
    socklen_t n = sizeof a;
    char ip[INET6_ADDRSTRLEN] = "?";
    snprintf(text, (size_t)len, "descriptor %d", fd);
    if (getsockname(fd, (struct sockaddr *)&a, &n) < 0)
        return text;
    if (a.ss_family == AF_UNIX)
        snprintf(text, (size_t)len, "unix:%s", ((struct sockaddr_un *)&a)->sun_path);
    else if (a.ss_family == AF_INET)
        snprintf(text, (size_t)len, "tcp:%s:%u",
                 inet_ntop(AF_INET, &((struct sockaddr_in *)&a)->sin_addr, ip, sizeof ip),
                 ntohs(((struct sockaddr_in *)&a)->sin_port));
    else if (a.ss_family == AF_INET6)
        snprintf(text, (size_t)len, "tcp:[%s]:%u",
                 inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&a)->sin6_addr, ip, sizeof ip),
                 ntohs(((struct sockaddr_in6 *)&a)->sin6_port));
    return text;
}
