/* See guest_arguments.h. */
#include "hv/guest_arguments.h"

#include <argp.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "hv/trace.h"
#include "node/base/err.h"

enum option_key {
    KEY_VERBOSE = 'v',
    KEY_CONFIG = 256,
    KEY_DISK,
    KEY_DISK_SERIAL,
    KEY_DISK_QUEUES,
    KEY_DISK_READ_ONLY,
    KEY_NET,
    KEY_VCPUS,
    KEY_PAUSED,
    KEY_NO_RNG,
    KEY_NO_BALLOON,
    KEY_VSOCK,
    KEY_INCOMING,
    KEY_MIGRATION_KEY,
    KEY_LOG,
    KEY_TRACE,
    KEY_TEXT_FIRST, /* options whose value is the text of the key of their name, in the order of texts[] */
};

static const char *const texts[] = {"name",    "memory",   "engine",   "cpu",     "kernel",   "initrd",
                                    "cmdline", "firmware", "boot",     "console", "control",  "virtio-console",
                                    "load",    "user",     "on-reset", "gdb",     "on-panic", "on-hang"};
enum { TEXT_COUNT = sizeof texts / sizeof *texts };

static const struct argp_option options[] = {
    {"name", KEY_TEXT_FIRST, "NAME", 0, "of the guest, for logs and lists (guest)", 1},
    {"memory", KEY_TEXT_FIRST + 1, "SIZE", 0, "of the guest, a multiple of 2M (512M)", 1},
    {"vcpus", KEY_VCPUS, "N", 0, "virtual processors (1)", 1},
    {"engine", KEY_TEXT_FIRST + 2, "auto|kvm|dbt|interp", 0, "what executes it (auto: KVM where there is one)", 1},
    {"cpu", KEY_TEXT_FIRST + 3, "MODEL", 0, "host, baseline-v2, baseline-v3 (host)", 1},
    {"config", KEY_CONFIG, "FILE", 0, "JSON with the keys that are the names of these options", 1},
    {NULL, 0, NULL, 0, "What it boots:", 2},
    {"kernel", KEY_TEXT_FIRST + 4, "FILE", 0, "a Linux bzImage or vmlinux", 2},
    {"initrd", KEY_TEXT_FIRST + 5, "FILE", 0, "its initial RAM disk", 2},
    {"cmdline", KEY_TEXT_FIRST + 6, "TEXT", 0, "its command line", 2},
    {"boot", KEY_TEXT_FIRST + 8, "auto|pvh|linux64", 0, "how the kernel is entered", 2},
    {"firmware", KEY_TEXT_FIRST + 7, "seabios|FILE", 0, "boot the first disk by a BIOS", 2},
    {"load", KEY_TEXT_FIRST + 12, "FILE", 0, "go on with a guest that `ctl save` wrote", 2},
    {"incoming", KEY_INCOMING, "FD|tcp:HOST:PORT|unix:PATH", 0,
     "take over a running guest, whose source connects there, or to this inherited socket", 2},
    {"migration-key", KEY_MIGRATION_KEY, "FD|FILE", 0,
     "32 bytes that the source has, too: an inherited file or pipe, or a file's name", 2},
    {"paused", KEY_PAUSED, NULL, 0, "wait for `ctl resume`", 2},
    {"on-reset", KEY_TEXT_FIRST + 14, "restart|exit", 0, "when the guest reboots (restart)", 2},
    {"on-panic", KEY_TEXT_FIRST + 16, "tell|reset", 0, "when its kernel panics and says so by pvpanic (tell)", 2},
    {"on-hang", KEY_TEXT_FIRST + 17, "tell|reset", 0, "when it does not feed its watchdog, i6300esb (reset)", 2},
    {NULL, 0, NULL, 0, "What it has:", 3},
    {"disk", KEY_DISK, "STACK", 0, "a virtio disk, as in raw:disk.img or nbd:URI; may be repeated", 3},
    {"serial", KEY_DISK_SERIAL, "TEXT", 0, "of the disk before it, up to 20 letters", 3},
    {"read-only", KEY_DISK_READ_ONLY, NULL, 0, "the disk before it", 3},
    {"queues", KEY_DISK_QUEUES, "N", 0, "of the disk before it (1)", 3},
    {"net", KEY_NET, "tap=NAME|fd=N,mac=ADDRESS[,mtu=N][,queues=N]", 0, "a virtio network; may be repeated", 3},
    {"console", KEY_TEXT_FIRST + 9, "stdio|pty|unix:PATH|none", 0, "where its serial port leads (none)", 3},
    {"virtio-console", KEY_TEXT_FIRST + 11, "stdio|pty|unix:PATH|none", 0, "where its hvc0 leads (none)", 3},
    {"vsock", KEY_VSOCK, "CID,PATH", 0,
     "vsock; who connects to the unix socket PATH and says CONNECT PORT gets the guest's port", 3},
    {"no-rng", KEY_NO_RNG, NULL, 0, "no random number device", 3},
    {"no-balloon", KEY_NO_BALLOON, NULL, 0, "no memory balloon", 3},
    {NULL, 0, NULL, 0, "The process:", 4},
    {"control", KEY_TEXT_FIRST + 10, "unix:PATH", 0, "where `drover-guest ctl` reaches it", 4},
    {"gdb", KEY_TEXT_FIRST + 15, "unix:PATH|tcp:127.0.0.1:PORT", 0,
     "where a debugger (GDB) may come; see `ctl gdb`, too", 4},
    {"user", KEY_TEXT_FIRST + 13, "NAME", 0,
     "when started as root: become this user (drover-guest, or a uid of its own)", 4},
    {"verbose", KEY_VERBOSE, NULL, 0, "log more", 4},
    {"log", KEY_LOG, "CATEGORY[=debug|trace],...", 0,
     "watch: all, boot, bus, control, gdb, irq, pci, vcpu, virtio; debug says what happens now and then, trace "
     "everything",
     4},
    {"trace", KEY_TRACE, NULL, 0, "the same as --log all=trace", 4},
    {0},
};

struct arguments {
    json_t *json; /* of the command line */
    json_t *file; /* of --config, or NULL */
    enum log_level *level;
};

static void set(struct argp_state *state, json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value))
        argp_error(state, "--%s: is not UTF-8 text", key);
}

static json_t *number(struct argp_state *state, const char *key, const char *text)
{
    char *end;
    long v = strtol(text, &end, 10);
    if (*end || !*text)
        argp_error(state, "%s '%s': write a number", key, text);
    return json_integer(v);
}

static json_t *list(struct arguments *a, const char *key)
{
    json_t *l = json_object_get(a->json, key);
    if (!json_is_array(l)) {
        l = json_array();
        json_object_set_new(a->json, key, l);
    }
    return l;
}

static void load_config(struct argp_state *state, const char *path)
{
    struct arguments *a = state->input;
    json_error_t why;
    json_t *file = json_load_file(path, JSON_REJECT_DUPLICATES, &why);
    if (!file)
        argp_error(state, "--config %s: line %d: %s", path, why.line, why.text);
    if (!json_is_object(file))
        argp_error(state, "--config %s: must be an object, {...}", path);
    if (a->file)
        argp_error(state, "--config %s: only one file can be given", path);
    a->file = file;
}

/* The disk that --serial and others speak of. */
static json_t *last_disk(struct argp_state *state, const char *option)
{
    struct arguments *a = state->input;
    json_t *disks = json_object_get(a->json, "disks");
    if (!json_array_size(disks))
        argp_error(state, "%s speaks of the disk before it: put it behind a --disk", option);
    return json_array_get(disks, json_array_size(disks) - 1);
}

json_t *guest_net_parse(const char *text, struct err *err)
{
    json_t *net = json_object();
    char *copy = strdup(text), *rest = copy, *part;
    int rc = 0;
    while (!rc && (part = strsep(&rest, ","))) {
        char *value = strchr(part, '='), *end = NULL;
        if (!value) {
            rc = err_set(err, EINVAL, "'%s': write KEY=VALUE, as in tap=tap0,mac=52:54:00:12:34:56", part);
            continue;
        }
        *value++ = 0;
        bool numeric = strcmp(part, "fd") == 0 || strcmp(part, "mtu") == 0 || strcmp(part, "queues") == 0;
        long n = numeric ? strtol(value, &end, 10) : 0;
        if (numeric && (!*value || *end))
            rc = err_set(err, EINVAL, "%s '%s': write a number", part, value);
        else if (json_object_set_new(net, part, numeric ? json_integer(n) : json_string(value)))
            rc = err_set(err, EINVAL, "%s: is not UTF-8 text", part);
    }
    free(copy);
    if (rc) {
        json_decref(net);
        net = NULL;
    }
    return net;
}

static void add_net(struct argp_state *state, const char *arg)
{
    struct err err;
    json_t *net = guest_net_parse(arg, &err);
    if (!net)
        argp_error(state, "--net %s", err.text);
    json_array_append_new(list(state->input, "nets"), net);
}

static void set_vsock(struct argp_state *state, const char *arg)
{
    struct arguments *a = state->input;
    const char *comma = strchr(arg, ',');
    if (!comma)
        argp_error(state, "--vsock '%s': write CID,PATH, as in 3,/run/web1.vsock", arg);
    char *cid = strndup(arg, (size_t)(comma - arg));
    set(state, a->json, "vsock-cid", number(state, "--vsock", cid));
    set(state, a->json, "vsock-path", json_string(comma + 1));
    free(cid);
}

/* A number is a descriptor, anything else a name. */
static void set_descriptor(struct argp_state *state, const char *key, const char *name_key, const char *arg)
{
    struct arguments *a = state->input;
    bool digits = *arg && arg[strspn(arg, "0123456789")] == 0;
    set(state, a->json, digits ? key : name_key, digits ? number(state, key, arg) : json_string(arg));
}

static void choose_trace(struct argp_state *state, const char *text)
{
    struct err err;
    if (trace_choose(text, &err))
        argp_error(state, "--log %s", err.text);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    if (key >= KEY_TEXT_FIRST && key < KEY_TEXT_FIRST + TEXT_COUNT) {
        set(state, a->json, texts[key - KEY_TEXT_FIRST], json_string(arg));
        return 0;
    }
    switch (key) {
    case KEY_CONFIG:
        load_config(state, arg);
        return 0;
    case KEY_VCPUS:
        set(state, a->json, "vcpus", number(state, "--vcpus", arg));
        return 0;
    case KEY_DISK:
        json_array_append_new(list(a, "disks"), json_object());
        set(state, last_disk(state, "--disk"), "stack", json_string(arg));
        return 0;
    case KEY_DISK_SERIAL:
        set(state, last_disk(state, "--serial"), "serial", json_string(arg));
        return 0;
    case KEY_DISK_READ_ONLY:
        set(state, last_disk(state, "--read-only"), "read-only", json_true());
        return 0;
    case KEY_DISK_QUEUES:
        set(state, last_disk(state, "--queues"), "queues", number(state, "--queues", arg));
        return 0;
    case KEY_NET:
        add_net(state, arg);
        return 0;
    case KEY_VSOCK:
        set_vsock(state, arg);
        return 0;
    case KEY_INCOMING:
        set_descriptor(state, "incoming", "incoming-at", arg);
        return 0;
    case KEY_MIGRATION_KEY:
        set_descriptor(state, "migration-key", "migration-key-file", arg);
        return 0;
    case KEY_PAUSED:
        set(state, a->json, "paused", json_true());
        return 0;
    case KEY_NO_RNG:
        set(state, a->json, "rng", json_false());
        return 0;
    case KEY_NO_BALLOON:
        set(state, a->json, "balloon", json_false());
        return 0;
    case KEY_LOG:
    case KEY_TRACE:
        choose_trace(state, arg ? arg : "all=trace");
        return 0;
    case KEY_VERBOSE:
        *a->level = LOG_LEVEL_DEBUG;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is not an option: see --help", arg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

void guest_arguments_parse(int argc, char **argv, struct guest_config *config, enum log_level *level)
{
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .doc = "Run a guest in this process.\v"
               "The first mistake ends the program with one line that names it. See `drover-guest ctl --help` for what "
               "can be asked of a running guest.",
    };
    struct arguments a = {json_object(), NULL, level};
    struct err err;
    argp_err_exit_status = 2;
    argp_parse(&argp, argc, argv, 0, NULL, &a);
    json_t *whole = a.file ? a.file : json_object();
    json_object_update(whole, a.json); /* the command line wins; its lists replace the file's */
    int rc = guest_config_from_json(config, whole, &err);
    json_decref(whole);
    json_decref(a.json);
    if (rc) {
        log_error("%s", err.text);
        exit(2);
    }
}
