/* See console.h. The ring is filled under the bus lock and emptied by the main loop, which takes the lock for as long
 * as it takes to copy. */
#include "hv/console.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <pty.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "hv/acceptor.h"
#include "hv/bus.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/listen.h"
#include "node/base/log.h"
#include "node/base/loop.h"

enum { INPUT_BYTES = 512, OUTPUT_BYTES = 4096, ESCAPE = 1 /* Ctrl-A */ };
enum { PATIENCE_MS = 2000, LAST_WORDS_MS = 10000 };

struct console {
    struct loop *loop;
    struct bus *bus;
    enum guest_console kind;
    void (*quit)(void *context);
    void *context;
    struct console_guest *guest;
    int in, out; /* -1: none */
    int slave;   /* pty: kept open, so that the pty lives without a client */
    bool raw, escape;
    struct termios saved;

    /* under the bus lock */
    uint8_t ring[CONSOLE_RING_BYTES];
    size_t head, fill; /* head: oldest byte */
    bool full, posted;
    struct loop_message message;

    struct acceptor acceptor; /* one client at a time: the next is asked for when this one has gone */
    struct loop_op reading, writing;
    bool read_busy, write_busy;
    bool closing; /* this client */
    bool ending;  /* all of it */
    uint8_t input[INPUT_BYTES], output[OUTPUT_BYTES];
    size_t input_at, input_bytes, output_at, output_bytes;
};

static void read_more(struct console *c);
static void write_more(struct console *c);

/* ---- the ring ---- */

static void wake(struct console *c)
{
    if (c->posted)
        return;
    c->posted = true;
    loop_post(c->loop, &c->message);
}

size_t console_write(struct console *c, const uint8_t *data, size_t bytes)
{
    bus_assert_locked(c->bus);
    bool waits = c->out >= 0 && c->kind != GUEST_CONSOLE_PTY;
    size_t room = CONSOLE_RING_BYTES - c->fill, taken = bytes;
    if (bytes > room && !waits) { /* nobody listens: the oldest goes */
        size_t drop = bytes - room < c->fill ? bytes - room : c->fill;
        c->head = (c->head + drop) % CONSOLE_RING_BYTES;
        c->fill -= drop;
        room += drop;
    }
    if (taken > room) {
        taken = room;
        c->full = waits;
    }
    for (size_t i = 0; i < taken; i++)
        c->ring[(c->head + c->fill + i) % CONSOLE_RING_BYTES] = data[i];
    c->fill += taken;
    if (taken)
        wake(c);
    return waits ? taken : bytes;
}

void console_room_again(struct console *c)
{
    bus_assert_locked(c->bus);
    wake(c);
}

static void take_from_ring(struct console *c)
{
    bus_lock(c->bus);
    size_t n = c->fill < OUTPUT_BYTES ? c->fill : OUTPUT_BYTES;
    for (size_t i = 0; i < n; i++)
        c->output[i] = c->ring[(c->head + i) % CONSOLE_RING_BYTES];
    c->head = (c->head + n) % CONSOLE_RING_BYTES;
    c->fill -= n;
    bool was_full = c->full && n;
    c->full = c->full && !n;
    if (was_full && c->guest && c->guest->writable)
        c->guest->writable(c->guest);
    bus_unlock(c->bus);
    c->output_at = 0;
    c->output_bytes = n;
}

static void posted(struct loop_message *message)
{
    struct console *c = CONTAINER_OF(message, struct console, message);
    bus_lock(c->bus);
    c->posted = false;
    bus_unlock(c->bus);
    write_more(c);
    read_more(c);
}

/* ---- the file ---- */

/* The client is gone. A terminal that is gone stays so; a socket waits for the next one. */
static void hang_up(struct console *c)
{
    if (c->kind == GUEST_CONSOLE_PTY)
        return; /* the slave is ours: there is no end of file */
    if (c->read_busy)
        loop_cancel(c->loop, &c->reading);
    if (c->write_busy)
        loop_cancel(c->loop, &c->writing);
    if (c->read_busy || c->write_busy)
        return; /* again from their completions */
    bus_lock(c->bus);
    if (c->out > STDERR_FILENO)
        close(c->out);
    c->in = c->out = -1;
    c->output_at = c->output_bytes = 0;
    bool was_full = c->full;
    c->full = false;
    if (was_full && c->guest && c->guest->writable)
        c->guest->writable(c->guest);
    bus_unlock(c->bus);
    c->closing = false;
    acceptor_ask(&c->acceptor);
}

static void written(struct loop_op *op, int result, uint32_t cqe_flags)
{
    struct console *c = CONTAINER_OF(op, struct console, writing);
    (void)cqe_flags;
    c->write_busy = false;
    if (result > 0)
        c->output_at += (size_t)result;
    if (c->ending)
        return;
    if (c->closing || (result <= 0 && result != -EINTR && result != -EAGAIN)) {
        c->closing = true;
        hang_up(c);
        return;
    }
    write_more(c);
}

static void write_more(struct console *c)
{
    if (c->write_busy || c->closing || c->out < 0)
        return;
    if (c->output_at == c->output_bytes)
        take_from_ring(c);
    if (c->output_at == c->output_bytes)
        return;
    c->write_busy = true;
    io_uring_prep_write(loop_sqe(c->loop, &c->writing), c->out, c->output + c->output_at,
                        (unsigned)(c->output_bytes - c->output_at), (uint64_t)-1);
}

/* Ctrl-A x ends the guest, Ctrl-A Ctrl-A is one Ctrl-A. */
static size_t filter_escapes(struct console *c, uint8_t *data, size_t bytes)
{
    size_t kept = 0;
    for (size_t i = 0; i < bytes; i++) {
        bool escaped = c->escape;
        c->escape = !escaped && data[i] == ESCAPE;
        if (c->escape)
            continue;
        if (escaped && data[i] == 'x')
            c->quit(c->context);
        else
            data[kept++] = data[i];
    }
    return kept;
}

static void read_done(struct loop_op *op, int result, uint32_t cqe_flags)
{
    struct console *c = CONTAINER_OF(op, struct console, reading);
    (void)cqe_flags;
    c->read_busy = false;
    if (c->ending)
        return;
    if (c->closing || (result <= 0 && result != -EINTR && result != -EAGAIN)) {
        if (c->kind == GUEST_CONSOLE_STDIO && !c->closing)
            c->in = -1; /* standard input ended; output goes on */
        else {
            c->closing = true;
            hang_up(c);
        }
        return;
    }
    c->input_at = 0;
    c->input_bytes = result > 0 ? (size_t)result : 0;
    if (c->raw)
        c->input_bytes = filter_escapes(c, c->input, c->input_bytes);
    read_more(c);
}

/* Hands over what was read as far as the guest has room; reads again when it is gone. */
static void read_more(struct console *c)
{
    if (c->read_busy || c->closing || c->in < 0 || !c->guest)
        return;
    bus_lock(c->bus);
    while (c->input_at < c->input_bytes) {
        size_t room = c->guest->room(c->guest), left = c->input_bytes - c->input_at;
        if (!room)
            break;
        size_t n = room < left ? room : left;
        c->guest->input(c->guest, c->input + c->input_at, n);
        c->input_at += n;
    }
    bus_unlock(c->bus);
    if (c->input_at < c->input_bytes)
        return; /* console_room_again() comes */
    c->read_busy = true;
    io_uring_prep_read(loop_sqe(c->loop, &c->reading), c->in, c->input, sizeof c->input, (uint64_t)-1);
}

static void start(struct console *c, int in, int out)
{
    bus_lock(c->bus);
    c->in = in;
    c->out = out;
    bus_unlock(c->bus);
    c->input_at = c->input_bytes = 0;
    write_more(c);
    read_more(c);
}

static void came(struct acceptor *acceptor, int fd)
{
    start(CONTAINER_OF(acceptor, struct console, acceptor), fd, fd);
}

int console_adopt(struct console *c, int fd, struct err *err)
{
    if (c->kind != GUEST_CONSOLE_UNIX)
        return err_set(err, EBUSY, "the console is a terminal already: start the guest with unix:PATH for it");
    if (c->out >= 0)
        return err_set(err, EBUSY, "somebody is at the console");
    acceptor_withdraw(&c->acceptor);
    start(c, fd, fd);
    return 0;
}

/* ---- opening ---- */

static void open_stdio(struct console *c)
{
    c->in = STDIN_FILENO;
    c->out = STDOUT_FILENO;
    if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &c->saved) < 0)
        return;
    struct termios t = c->saved;
    cfmakeraw(&t);
    t.c_oflag |= OPOST; /* log lines of ours end in a plain newline */
    c->raw = tcsetattr(STDIN_FILENO, TCSANOW, &t) == 0;
    if (c->raw)
        log_info("Ctrl-A x ends the guest");
}

static int open_pty(struct console *c, const char *label, struct err *err)
{
    char name[64];
    if (openpty(&c->in, &c->slave, NULL, NULL, NULL) < 0 || ptsname_r(c->in, name, sizeof name))
        return err_set(err, errno, "%s: cannot make a pseudo terminal: %s", label, strerror(errno));
    struct termios t;
    if (tcgetattr(c->slave, &t) == 0) {
        cfmakeraw(&t);
        tcsetattr(c->slave, TCSANOW, &t);
    }
    fcntl(c->in, F_SETFD, FD_CLOEXEC);
    fcntl(c->slave, F_SETFD, FD_CLOEXEC);
    c->out = c->in;
    log_info("%s: %s", label, name);
    return 0;
}

static int open_unix(struct console *c, const char *path, struct err *err)
{
    char address[sizeof "unix:" + 128];
    snprintf(address, sizeof address, "unix:%s", path);
    int n = listen_open(address, &c->acceptor.listener, 1, err);
    return n < 0 ? n : 0;
}

struct console *console_new(struct loop *loop, struct bus *bus, const struct guest_endpoint *endpoint,
                            const char *label, void (*quit)(void *context), void *context, struct err *err)
{
    struct console *c = calloc(1, sizeof *c);
    if (!c) {
        err_set(err, ENOMEM, "no memory for a console");
        return NULL;
    }
    c->loop = loop;
    c->bus = bus;
    c->kind = endpoint->kind;
    c->quit = quit;
    c->context = context;
    c->in = c->out = c->slave = -1;
    acceptor_init(&c->acceptor, loop, -1, "console", came);
    c->message.deliver = posted;
    c->reading.done = read_done;
    c->writing.done = written;
    int rc = 0;
    if (endpoint->kind == GUEST_CONSOLE_STDIO)
        open_stdio(c);
    else if (endpoint->kind == GUEST_CONSOLE_PTY)
        rc = open_pty(c, label, err);
    else if (endpoint->kind == GUEST_CONSOLE_UNIX)
        rc = open_unix(c, endpoint->path, err);
    if (rc) {
        console_free(c);
        return NULL;
    }
    acceptor_ask(&c->acceptor);
    return c;
}

void console_attach(struct console *c, struct console_guest *guest)
{
    c->guest = guest;
    read_more(c);
}

/* What is left goes out: the last words of a guest are those that its operator looks for. A reader may be slow, but
 * takes something now and then and all of it before long. A pseudo terminal does not say whether anybody reads. */
static void write_rest(struct console *c)
{
    uint64_t end = clock_ns() + UINT64_C(1000000) * LAST_WORDS_MS;
    while (c->out >= 0 && clock_ns() < end) {
        struct pollfd ready = {.fd = c->out, .events = POLLOUT};
        int wait_ms = c->kind == GUEST_CONSOLE_PTY ? 0 : PATIENCE_MS;
        if (c->output_at == c->output_bytes)
            take_from_ring(c);
        if (c->output_at == c->output_bytes || poll(&ready, 1, wait_ms) != 1 || !(ready.revents & POLLOUT))
            return;
        ssize_t n = write(c->out, c->output + c->output_at, c->output_bytes - c->output_at);
        if (n <= 0)
            return;
        c->output_at += (size_t)n;
    }
}

void console_free(struct console *c)
{
    if (!c)
        return;
    c->ending = true;
    c->guest = NULL;
    if (c->read_busy)
        loop_cancel(c->loop, &c->reading);
    if (c->write_busy)
        loop_cancel(c->loop, &c->writing);
    acceptor_end(&c->acceptor);
    while (c->read_busy || c->write_busy || acceptor_busy(&c->acceptor))
        loop_step(c->loop);
    loop_unpost(c->loop, &c->message);
    write_rest(c);
    if (c->raw)
        tcsetattr(STDIN_FILENO, TCSANOW, &c->saved);
    int fds[] = {c->in, c->slave, c->acceptor.listener, c->out == c->in ? -1 : c->out};
    for (unsigned i = 0; i < sizeof fds / sizeof *fds; i++)
        if (fds[i] > STDERR_FILENO)
            close(fds[i]);
    free(c);
}
