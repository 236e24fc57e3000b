#include "hv/migrate_command.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "node/base/err.h"
#include "node/base/message.h"
#include "node/base/units.h"

enum { STREAMS_PRESET = 2, NS_PER_MS = 1000000 };
#define NS_PER_S UINT64_C(1000000000)

static int complain(const struct err *err, int code)
{
    fprintf(stderr, "drover-guest ctl: migrate: %s\n", err->text);
    return code;
}

/* ---- the connection ---- */

static int connect_unix(const char *path, struct err *err)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof a.sun_path)
        return err_set(err, ENAMETOOLONG, "%s: the path is too long", path);
    strcpy(a.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&a, sizeof a) == 0)
        return fd;
    int code = errno;
    if (fd >= 0)
        close(fd);
    return err_set(err, code, "cannot connect to %s: %s", path, strerror(code));
}

static int connect_tcp(const char *where, struct err *err)
{
    char host[256];
    const char *colon = strrchr(where, ':');
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    if (!colon || colon == where || colon - where >= (long)sizeof host)
        return err_set(err, EINVAL, "'%s': write tcp:HOST:PORT", where);
    bool brackets = where[0] == '[' && colon[-1] == ']';
    snprintf(host, sizeof host, "%.*s", (int)(colon - where) - 2 * brackets, where + brackets);
    int rc = getaddrinfo(host, colon + 1, &hints, &found), fd = -1;
    if (rc)
        return err_set(err, ENOENT, "%s: %s", where, gai_strerror(rc));
    rc = ECONNREFUSED;
    for (const struct addrinfo *a = found; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, a->ai_addr, a->ai_addrlen) == 0)
            continue;
        rc = errno;
        close(fd);
        fd = -1;
    }
    freeaddrinfo(found);
    return fd >= 0 ? fd : err_set(err, rc, "cannot connect to %s: %s", where, strerror(rc));
}

static int connect_one(const char *where, struct err *err)
{
    if (strncmp(where, "unix:", 5) == 0)
        return connect_unix(where + 5, err);
    if (strncmp(where, "tcp:", 4) == 0)
        return connect_tcp(where + 4, err);
    return err_set(err, EINVAL, "'%s': write where the destination listens: tcp:HOST:PORT or unix:PATH", where);
}

/* ---- the options ---- */

struct options {
    bool forecast; /* of a move rather than one */
    const char *key_file;
    uint64_t streams;
};

static int set_duration(json_t *body, const char *key, const char *text, uint64_t unit_ns, struct err *err)
{
    uint64_t ns;
    int rc = units_parse_duration(text, &ns, err);
    if (rc)
        return rc;
    json_object_set_new(body, key, json_integer((json_int_t)((ns + unit_ns - 1) / unit_ns)));
    return 0;
}

/* What was measured: not in whole milliseconds. */
static int set_measured_ms(json_t *body, const char *key, const char *text, struct err *err)
{
    uint64_t ns;
    int rc = units_parse_duration(text, &ns, err);
    if (rc)
        return rc;
    json_object_set_new(body, key, json_real((double)ns / NS_PER_MS));
    return 0;
}

static int set_option(struct options *o, json_t *body, const char *name, const char *value, struct err *err)
{
    uint64_t bytes;
    int rc = 0;
    if (strcmp(name, "--max-downtime") == 0) {
        rc = set_duration(body, "downtime-ms", value, NS_PER_MS, err);
    } else if (strcmp(name, "--within") == 0) {
        rc = set_duration(body, "within-s", value, NS_PER_S, err);
    } else if (strcmp(name, "--look") == 0 && o->forecast) {
        rc = set_duration(body, "look-ms", value, NS_PER_MS, err);
    } else if (strcmp(name, "--connect") == 0 && o->forecast) {
        rc = set_measured_ms(body, "connect-ms", value, err);
    } else if (strcmp(name, "--switch") == 0 && o->forecast) {
        rc = set_measured_ms(body, "fixed-ms", value, err);
    } else if (o->forecast && strcmp(name, "--bandwidth") != 0) {
        rc = err_set(err, EINVAL, "'%s' is not an option: see --help", name);
    } else if (strcmp(name, "--patience") == 0) {
        rc = set_duration(body, "patience-ms", value, NS_PER_MS, err);
    } else if (strcmp(name, "--bandwidth") == 0) {
        rc = units_parse_size(value, &bytes, err);
        if (!rc)
            json_object_set_new(body, "bandwidth", json_integer((json_int_t)bytes));
    } else if (strcmp(name, "--key-file") == 0) {
        o->key_file = value;
    } else if (strcmp(name, "--streams") == 0) {
        o->streams = strtoul(value, NULL, 10);
        if (!o->streams || o->streams >= MESSAGE_FDS_MAX)
            rc = err_set(err, EINVAL, "--streams: must be a number from 1 to %d", MESSAGE_FDS_MAX - 1);
    } else {
        rc = err_set(err, EINVAL, "'%s' is not an option: see --help", name);
    }
    return rc;
}

static int read_options(char **arguments, struct options *o, json_t *body, struct err *err)
{
    int rc = 0;
    for (char **a = arguments; !rc && *a; a++) {
        if (strcmp(*a, "--hold") == 0 && !o->forecast) {
            json_object_set_new(body, "hold", json_true());
        } else if (strcmp(*a, "--post-copy") == 0) {
            json_object_set_new(body, "post-copy", json_true());
        } else if (strcmp(*a, "--no-throttle") == 0) {
            json_object_set_new(body, "throttle", json_false());
        } else if (!a[1]) {
            rc = err_set(err, EINVAL, "%s: needs a value", *a);
        } else {
            rc = set_option(o, body, a[0], a[1], err);
            a++;
        }
    }
    return rc || o->key_file || o->forecast ? rc
                                            : err_set(err, EINVAL, "--key-file: say where the 32 bytes of the key are");
}

static int connect_all(const char *where, uint64_t streams, struct message *m)
{
    struct err err;
    for (; streams; streams--) {
        int fd = connect_one(where, &err);
        if (fd < 0)
            return complain(&err, 1);
        m->fds[m->fd_count++] = fd;
    }
    return 0;
}

int migrate_command_resume(char **arguments, struct message *m)
{
    struct err err;
    struct options o = {.streams = STREAMS_PRESET, .key_file = ""};
    json_t *unused = json_object();
    int rc = 0;
    if (arguments[1] && strcmp(arguments[1], "--streams") != 0)
        rc = err_set(&err, EINVAL, "'%s' is not an option: see --help", arguments[1]);
    rc = rc ? rc : read_options(arguments + 1, &o, unused, &err);
    json_decref(unused);
    return rc ? complain(&err, 2) : connect_all(arguments[0], o.streams, m);
}

int migrate_command_prepare(char **arguments, struct message *m, json_t *body)
{
    struct err err;
    struct options o = {.streams = STREAMS_PRESET};
    if (read_options(arguments + 1, &o, body, &err))
        return complain(&err, 2);
    m->fds[0] = open(o.key_file, O_RDONLY | O_CLOEXEC);
    if (m->fds[0] < 0) {
        err_set(&err, errno, "cannot open %s: %s", o.key_file, strerror(errno));
        return complain(&err, 1);
    }
    m->fd_count = 1;
    return connect_all(arguments[0], o.streams, m);
}

int migrate_command_forecast(char **arguments, json_t *body)
{
    struct err err;
    struct options o = {.forecast = true};
    return read_options(arguments, &o, body, &err) ? complain(&err, 2) : 0;
}
