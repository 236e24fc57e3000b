/* drover-nbd: the network block device server. Command line here; the work is in nbd_server.c.
 *
 * Stages: parse -> open (stacks, sockets, keys, threads) -> seal (sandbox) -> serve -> drain. Nothing a client sent is
 * read before the seal. */
#include <argp.h>
#include <errno.h>
#include <liburing.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "nbd/blk_driver.h"
#include "nbd/nbd_server.h"
#include "nbd/program.h"
#include "nbd/nbd_stats.h"
#include "node/base/buffer_pool.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/listen.h"
#include "node/base/log.h"
#include "node/base/loop.h"
#include "node/base/sandbox.h"
#include "node/base/tls.h"
#include "node/base/units.h"
#include "node/base/worker.h"

enum { EXPORTS_MAX = 4096, LISTENS_MAX = 32, WORKER_THREADS = 4, BUFFERS_KEPT_BYTES = 32 << 20, FD_LIMIT = 65536 };

enum option_key {
    KEY_LISTEN = 'l',
    KEY_EXPORT = 'e',
    KEY_READ_ONLY = 'r',
    KEY_VERBOSE = 'v',
    KEY_TLS = 256,
    KEY_TLS_X509,
    KEY_TLS_PSK,
    KEY_TLS_NO_VERIFY,
    KEY_STDIO,
    KEY_DESCRIPTION,
    KEY_TLS_ONLY,
    KEY_ALLOW,
    KEY_RESIZE,
    KEY_MAX_CONNECTIONS,
    KEY_MAX_IN_FLIGHT,
    KEY_MAX_MEMORY,
    KEY_HANDSHAKE_TIMEOUT,
    KEY_STALL_TIMEOUT,
    KEY_DRAIN_TIMEOUT,
    KEY_USER,
    KEY_PRINT_LISTENING,
};

/* What the command line says of one export; its stack is opened later. */
struct wanted_export {
    struct nbd_export *export;
    const char *stack;
    bool read_only;
};

struct program {
    struct nbd_server_config config;
    struct sandbox sandbox;
    const char *tls_x509, *tls_psk;
    bool tls_no_verify, stdio, print_listening, read_only;
    enum log_level level;
    const char *listens[LISTENS_MAX];
    unsigned listen_count;
    struct wanted_export *exports;
    unsigned export_count;
    bool default_export;

    struct blk_env env;
    struct nbd_server *server;
    struct tls_context *tls;
    int signal_fd;
    struct loop_op signal_op;
    struct signalfd_siginfo signal_info;
    bool draining, failed;
};

static struct wanted_export *add_export(struct argp_state *state, const char *name, const char *stack)
{
    struct program *p = state->input;
    struct err err;
    struct nbd_export *e;
    if (p->export_count == EXPORTS_MAX)
        argp_error(state, "at most %d exports", EXPORTS_MAX);
    if (nbd_export_new(name, &e, &err))
        argp_error(state, "--export %s: %s", name, err.text);
    struct wanted_export *all = realloc(p->exports, (p->export_count + 1) * sizeof *all);
    if (!all)
        argp_failure(state, EXIT_FAILURE, ENOMEM, "exports");
    p->exports = all;
    all[p->export_count] = (struct wanted_export){.export = e, .stack = stack, .read_only = p->read_only};
    return &all[p->export_count++];
}

static void parse_export(struct argp_state *state, const char *arg)
{
    const char *equals = strchr(arg, '=');
    if (!equals || !equals[1])
        argp_error(state, "--export '%s': write NAME=STACK, as in vol1=raw:disk.img", arg);
    char *name = strndup(arg, (size_t)(equals - arg));
    add_export(state, name, equals + 1);
    free(name);
}

/* The export that options like --allow speak of: the last one before them. */
static struct nbd_export *last_export(struct argp_state *state, const char *option)
{
    struct program *p = state->input;
    if (!p->export_count)
        argp_error(state, "%s speaks of the export before it: put it behind an --export or a STACK", option);
    return p->exports[p->export_count - 1].export;
}

static unsigned parse_count(struct argp_state *state, const char *option, const char *arg, unsigned max)
{
    char *end;
    unsigned long v = strtoul(arg, &end, 10);
    if (*end || !*arg || *arg == '-' || v < 1 || v > max)
        argp_error(state, "%s '%s': write a number from 1 to %u", option, arg, max);
    return (unsigned)v;
}

static uint32_t parse_ms(struct argp_state *state, const char *option, const char *arg)
{
    struct err err;
    uint64_t ns;
    if (units_parse_duration(arg, &ns, &err))
        argp_error(state, "%s: %s", option, err.text);
    if (ns / 1000000 > 86400000)
        argp_error(state, "%s: at most 24h", option);
    return (uint32_t)(ns / 1000000);
}

static void parse_tls(struct argp_state *state, const char *arg)
{
    struct program *p = state->input;
    if (strcmp(arg, "off") == 0)
        p->config.tls = NBD_TLS_OFF;
    else if (strcmp(arg, "on") == 0)
        p->config.tls = NBD_TLS_ON;
    else if (strcmp(arg, "require") == 0)
        p->config.tls = NBD_TLS_REQUIRE;
    else
        argp_error(state, "--tls '%s': write off, on or require", arg);
}

static void parse_memory(struct argp_state *state, const char *arg)
{
    struct program *p = state->input;
    struct err err;
    uint64_t bytes;
    if (units_parse_size(arg, &bytes, &err))
        argp_error(state, "--max-memory: %s", err.text);
    if (bytes < 1 << 20)
        argp_error(state, "--max-memory: at least 1M");
    p->config.max_memory_bytes = bytes;
}

static void check_end(struct argp_state *state)
{
    struct program *p = state->input;
    if (!p->export_count)
        argp_error(state, "nothing to serve: name a STACK, as in raw:disk.img, or --export NAME=STACK");
    if (p->stdio && p->listen_count)
        argp_error(state, "--stdio serves one client on standard input; leave out --listen");
    if (p->config.tls != NBD_TLS_OFF && !p->tls_x509 && !p->tls_psk)
        argp_error(state, "--tls needs --tls-x509 DIR or --tls-psk FILE");
    if (p->config.tls == NBD_TLS_OFF && (p->tls_x509 || p->tls_psk))
        argp_error(state, "%s has no effect with --tls off: say --tls on or --tls require",
                   p->tls_x509 ? "--tls-x509" : "--tls-psk");
    if (p->tls_x509 && p->tls_psk)
        argp_error(state, "--tls-x509 and --tls-psk: choose one");
}

static error_t parse_limit(int key, char *arg, struct argp_state *state)
{
    struct program *p = state->input;
    switch (key) {
    case KEY_MAX_CONNECTIONS:
        p->config.max_connections = parse_count(state, "--max-connections", arg, 60000);
        return 0;
    case KEY_MAX_IN_FLIGHT:
        p->config.max_in_flight = parse_count(state, "--max-in-flight", arg, 4096);
        return 0;
    case KEY_MAX_MEMORY:
        parse_memory(state, arg);
        return 0;
    case KEY_HANDSHAKE_TIMEOUT:
        p->config.handshake_ms = parse_ms(state, "--handshake-timeout", arg);
        return 0;
    case KEY_STALL_TIMEOUT:
        p->config.stall_ms = parse_ms(state, "--stall-timeout", arg);
        return 0;
    case KEY_DRAIN_TIMEOUT:
        p->config.drain_ms = parse_ms(state, "--drain-timeout", arg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_about_export(int key, char *arg, struct argp_state *state)
{
    struct err err = {0};
    switch (key) {
    case KEY_EXPORT:
        parse_export(state, arg);
        return 0;
    case KEY_DESCRIPTION:
        if (nbd_export_describe(last_export(state, "--description"), arg, &err))
            argp_error(state, "--description: %s", err.text);
        return 0;
    case KEY_ALLOW:
        if (nbd_export_allow(last_export(state, "--allow"), arg, &err))
            argp_error(state, "--allow: %s", err.text);
        return 0;
    case KEY_TLS_ONLY:
        last_export(state, "--tls-only")->tls_only = true;
        return 0;
    case KEY_RESIZE:
        last_export(state, "--resize")->can_resize = true;
        return 0;
    default:
        return parse_limit(key, arg, state);
    }
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct program *p = state->input;
    switch (key) {
    case KEY_LISTEN:
        if (p->listen_count == LISTENS_MAX)
            argp_error(state, "at most %d --listen", LISTENS_MAX);
        p->listens[p->listen_count++] = arg;
        return 0;
    case KEY_READ_ONLY:
        p->read_only = true; /* for what follows, and for what stands before: see open_exports() */
        return 0;
    case KEY_VERBOSE:
        p->level = LOG_LEVEL_DEBUG;
        return 0;
    case KEY_TLS:
        parse_tls(state, arg);
        return 0;
    case KEY_TLS_X509:
        p->tls_x509 = arg;
        return 0;
    case KEY_TLS_PSK:
        p->tls_psk = arg;
        return 0;
    case KEY_TLS_NO_VERIFY:
        p->tls_no_verify = true;
        return 0;
    case KEY_STDIO:
        p->stdio = true;
        return 0;
    case KEY_USER:
        p->sandbox.user = arg;
        return 0;
    case KEY_PRINT_LISTENING:
        p->print_listening = true;
        return 0;
    case ARGP_KEY_ARG:
        if (p->default_export)
            argp_error(state, "'%s': only one STACK can stand alone; name the others with --export NAME=STACK", arg);
        p->default_export = true;
        add_export(state, "", arg);
        return 0;
    case ARGP_KEY_END:
        check_end(state);
        return 0;
    default:
        return parse_about_export(key, arg, state);
    }
}

static const struct argp_option options[] = {
    {"listen", KEY_LISTEN, "ADDRESS", 0, "unix:PATH or tcp:HOST:PORT; may be repeated (tcp::10809 if left out)", 1},
    {"export", KEY_EXPORT, "NAME=STACK", 0, "serve a stack under a name; may be repeated", 1},
    {"read-only", KEY_READ_ONLY, NULL, 0, "open every stack for reading only", 1},
    {"stdio", KEY_STDIO, NULL, 0, "serve one client on the socket that is standard input, then exit", 1},
    {NULL, 0, NULL, 0, "About the export before the option:", 2},
    {"description", KEY_DESCRIPTION, "TEXT", 0, "what clients are told about it", 2},
    {"allow", KEY_ALLOW, "NAME", 0,
     "let in only peers of this name: a certificate's common or DNS name, or a PSK identity; may be repeated", 2},
    {"tls-only", KEY_TLS_ONLY, NULL, 0, "hide it from clients without TLS (with --tls on)", 2},
    {"resize", KEY_RESIZE, NULL, 0, "let clients resize it", 2},
    {NULL, 0, NULL, 0, "TLS:", 3},
    {"tls", KEY_TLS, "off|on|require", 0, "off is the default; on: clients choose", 3},
    {"tls-x509", KEY_TLS_X509, "DIR", 0,
     "ca-cert.pem, server-cert.pem, server-key.pem, ca-crl.pem and refused-keys (optional)", 3},
    {"tls-psk", KEY_TLS_PSK, "FILE", 0, "pre-shared keys: lines IDENTITY:HEXKEY", 3},
    {"tls-no-client-certificate", KEY_TLS_NO_VERIFY, NULL, 0, "with --tls-x509: take clients that show none", 3},
    {NULL, 0, NULL, 0, "Limits:", 4},
    {"max-connections", KEY_MAX_CONNECTIONS, "N", 0, "clients at a time (1024)", 4},
    {"max-in-flight", KEY_MAX_IN_FLIGHT, "N", 0, "requests of one client at a time (256)", 4},
    {"max-memory", KEY_MAX_MEMORY, "SIZE", 0, "payload held for one client (64M)", 4},
    {"handshake-timeout", KEY_HANDSHAKE_TIMEOUT, "TIME", 0, "for a client to choose its export (10s)", 4},
    {"stall-timeout", KEY_STALL_TIMEOUT, "TIME", 0, "for a client to take a reply; 0: for ever (300s)", 4},
    {"drain-timeout", KEY_DRAIN_TIMEOUT, "TIME", 0, "for clients to finish what they began, after SIGTERM (10s)", 4},
    {NULL, 0, NULL, 0, "The process:", 5},
    {"user", KEY_USER, "NAME", 0, "when started as root: become this user (drover-nbd, or a uid of its own)", 5},
    {"print-listening", KEY_PRINT_LISTENING, NULL, 0, "print each address on standard output once it listens", 5},
    {"verbose", KEY_VERBOSE, NULL, 0, "log clients coming and going", 5},
    {0},
};

static const char documentation[] =
    "Serve disks to the network as NBD exports.\v"
    "STACK is DRIVER:VALUE (raw:disk.img, mem:1G, nbd:URI) or JSON, text or @file: an array of drivers, top first, as "
    "in "
    "[{\"driver\":\"throttle\",\"iops\":500},{\"driver\":\"raw\",\"file\":\"disk.img\"}]. A STACK without --export is "
    "the default export, whose name is empty. SIGTERM: answer what is in flight, flush, exit. SIGUSR1: log statistics.";

const char *argp_program_version = "drover-nbd 0.1.0";

/* ---- opening ---- */

static void die(const struct err *err)
{
    log_error("%s", err->text);
    exit(EXIT_FAILURE);
}

static void open_environment(struct program *p)
{
    struct err err;
    struct rlimit files = {FD_LIMIT, FD_LIMIT};
    if (setrlimit(RLIMIT_NOFILE, &files) < 0 && getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    p->env.loop = loop_new(&err);
    if (!p->env.loop)
        die(&err);
    p->env.worker = worker_new(p->env.loop, WORKER_THREADS, &err);
    if (!p->env.worker)
        die(&err);
    p->env.buffers = buffer_pool_new(BUFFERS_KEPT_BYTES);
    if (!p->env.buffers)
        die(&(struct err){.text = "no memory"});
}

static void open_tls(struct program *p)
{
    struct err err;
    if (p->tls_psk)
        p->tls = tls_context_psk(TLS_SERVER, p->tls_psk, NULL, &err);
    else if (p->tls_x509)
        p->tls = tls_context_x509(TLS_SERVER, p->tls_x509, !p->tls_no_verify, &err);
    else
        return;
    if (!p->tls) {
        err_prefix(&err, p->tls_psk ? "--tls-psk" : "--tls-x509");
        die(&err);
    }
    p->config.tls_context = p->tls;
}

static void open_exports(struct program *p)
{
    struct err err;
    p->server = nbd_server_new(&p->env, &p->config);
    if (!p->server)
        die(&(struct err){.text = "no memory"});
    for (unsigned i = 0; i < p->export_count; i++) {
        struct wanted_export *w = &p->exports[i];
        uint32_t flags = p->read_only ? BLK_OPEN_READ_ONLY : 0;
        if (blk_open(&p->env, w->stack, flags, &w->export->blk, &err)) {
            err_prefix(&err, *w->export->name ? "export '%s'" : "the default export%s", w->export->name);
            die(&err);
        }
        p->sandbox.connects |= (blk_needs(w->export->blk) & BLK_NEEDS_SOCKETS) != 0;
        p->sandbox.keeps_root_directory |= (blk_needs(w->export->blk) & BLK_NEEDS_PATHS) != 0;
        if (nbd_server_add(p->server, w->export, &err))
            die(&err);
    }
    free(p->exports);
    p->exports = NULL;
}

static void serve_socket(struct program *p, int fd)
{
    char text[160];
    if (!listen_is_listening(fd)) {
        nbd_server_adopt(p->server, fd, NULL, NULL);
        return;
    }
    listen_describe(fd, text, sizeof text);
    if (p->print_listening) {
        printf("%s\n", text);
        fflush(stdout);
    }
    log_info("listening on %s", text);
    if (nbd_server_listen(p->server, fd))
        die(&(struct err){.text = "no memory for a listener"});
}

static unsigned open_sockets(struct program *p, int *fds)
{
    struct err err;
    int inherited = listen_inherited(fds, LISTEN_FDS_MAX, &err);
    if (inherited < 0)
        die(&err);
    unsigned count = (unsigned)inherited;
    if (!p->listen_count && !count)
        p->listens[p->listen_count++] = "tcp::10809";
    for (unsigned i = 0; i < p->listen_count; i++) {
        int n = listen_open(p->listens[i], fds + count, LISTEN_FDS_MAX - (int)count, &err);
        if (n < 0)
            die(&err);
        count += (unsigned)n;
    }
    return count;
}

/* ---- running ---- */

static void drained(void *context, bool failed)
{
    struct program *p = context;
    p->failed = failed;
    loop_stop(p->env.loop);
}

static void drain(struct program *p)
{
    if (p->draining)
        return;
    p->draining = true;
    nbd_server_drain(p->server, drained, p);
}

static void stdio_ended(void *context)
{
    drain(context);
}

static void watch_signals(struct program *p)
{
    struct io_uring_sqe *sqe = loop_sqe(p->env.loop, &p->signal_op);
    io_uring_prep_read(sqe, p->signal_fd, &p->signal_info, sizeof p->signal_info, 0);
}

static void signalled(struct loop_op *op, int result, uint32_t cqe_flags)
{
    struct program *p = CONTAINER_OF(op, struct program, signal_op);
    (void)cqe_flags;
    if (result == (int)sizeof p->signal_info) {
        if (p->signal_info.ssi_signo == SIGUSR1)
            nbd_stats_log(nbd_server_exports(p->server));
        else
            drain(p);
    }
    watch_signals(p);
}

static void take_signals(struct program *p)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    p->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
    p->signal_op.done = signalled;
}

int main(int argc, char **argv)
{
    struct program p = {
        .config = nbd_server_defaults, .sandbox = {.default_user = "drover-nbd"}, .level = LOG_LEVEL_INFO};
    struct argp argp = {options, parse, "[STACK]", documentation, NULL, NULL, NULL};
    int fds[LISTEN_FDS_MAX];
    unsigned count = 0;
    struct err err;
    log_init("drover-nbd", p.level);
    program_drivers_register();
    argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &p);
    log_init("drover-nbd", p.level);
    take_signals(&p);
    open_environment(&p);
    open_tls(&p);
    open_exports(&p);
    if (!p.stdio)
        count = open_sockets(&p, fds);
    if (sandbox_enter(&p.sandbox, &err))
        die(&err);
    for (unsigned i = 0; i < count; i++)
        serve_socket(&p, fds[i]);
    if (p.stdio)
        nbd_server_adopt(p.server, STDIN_FILENO, stdio_ended, &p);
    watch_signals(&p);
    loop_run(p.env.loop);
    nbd_server_free(p.server);
    worker_free(p.env.worker);
    tls_context_free(p.tls);
    return p.failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
