/* See guest_config.h. Objects are read key by key against a table; what the table does not have is refused. */
#include "hv/guest_config.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/vcpu.h"
#include "node/base/err.h"
#include "node/base/units.h"

enum kind { TEXT, STACK, SIZE, UINT, INSTANT, TRUTH, CHOICE, ENDPOINT, MAC, SOCKET_PATH, DISKS, NETS };
enum { GUEST_SLOT_FIRST = 2, GUEST_SLOT_LAST = 31 };
enum { SERIAL_MAX = 20, NAME_MAX_LETTERS = 63, PATH_LETTERS = 128 };

struct key {
    const char *name;
    enum kind kind;
    size_t field;
    uint64_t min, max;          /* numbers */
    const char *const *choices; /* NULL-terminated; the index is the value */
};

static const char *const engines[] = {"auto", "kvm", "dbt", "interp", "lockstep", NULL};
static const char *const boots[] = {"auto", "pvh", "linux64", NULL};
static const char *const resets[] = {"restart", "exit", NULL};
static const char *const troubles[] = {"tell", "reset", NULL};

#define FIELD(type, member) offsetof(struct type, member)

static const struct key guest_keys[] = {
    {"name", TEXT, FIELD(guest_config, name), 0, 0, NULL},
    {"memory", SIZE, FIELD(guest_config, memory_bytes), 2 << 20, 1ull << 42, NULL},
    {"vcpus", UINT, FIELD(guest_config, vcpus), 1, VCPU_MAX, NULL},
    {"engine", CHOICE, FIELD(guest_config, engine), 0, 0, engines},
    {"cpu", TEXT, FIELD(guest_config, cpu), 0, 0, NULL},
    {"kernel", TEXT, FIELD(guest_config, kernel), 0, 0, NULL},
    {"initrd", TEXT, FIELD(guest_config, initrd), 0, 0, NULL},
    {"cmdline", TEXT, FIELD(guest_config, cmdline), 0, 0, NULL},
    {"firmware", TEXT, FIELD(guest_config, firmware), 0, 0, NULL},
    {"boot", CHOICE, FIELD(guest_config, boot), 0, 0, boots},
    {"disks", DISKS, 0, 0, 0, NULL},
    {"nets", NETS, 0, 0, 0, NULL},
    {"console", ENDPOINT, FIELD(guest_config, console), 0, 0, NULL},
    {"virtio-console", ENDPOINT, FIELD(guest_config, virtio_console), 0, 0, NULL},
    {"rng", TRUTH, FIELD(guest_config, rng), 0, 0, NULL},
    {"balloon", TRUTH, FIELD(guest_config, balloon), 0, 0, NULL},
    {"vsock-cid", UINT, FIELD(guest_config, vsock_cid), 3, UINT32_MAX - 1, NULL},
    {"vsock-path", TEXT, FIELD(guest_config, vsock_path), 0, 0, NULL},
    {"control", SOCKET_PATH, FIELD(guest_config, control), 0, 0, NULL},
    {"gdb", TEXT, FIELD(guest_config, gdb), 0, 0, NULL},
    {"load", TEXT, FIELD(guest_config, load), 0, 0, NULL},
    {"incoming", UINT, FIELD(guest_config, incoming), 3, 65535, NULL},
    {"incoming-at", TEXT, FIELD(guest_config, incoming_at), 0, 0, NULL},
    {"migration-key-file", TEXT, FIELD(guest_config, migration_key_file), 0, 0, NULL},
    {"migration-key", UINT, FIELD(guest_config, migration_key), 3, 65535, NULL},
    {"connects", TRUTH, FIELD(guest_config, connects), 0, 0, NULL},
    {"tls-certificates", TEXT, FIELD(guest_config, tls_certificates), 0, 0, NULL},
    {"user", TEXT, FIELD(guest_config, user), 0, 0, NULL},
    {"paused", TRUTH, FIELD(guest_config, paused), 0, 0, NULL},
    {"lease-until", INSTANT, FIELD(guest_config, lease_until_ns), 0, 0, NULL},
    {"on-reset", CHOICE, FIELD(guest_config, on_reset), 0, 0, resets},
    {"on-panic", CHOICE, FIELD(guest_config, on_panic), 0, 0, troubles},
    {"on-hang", CHOICE, FIELD(guest_config, on_hang), 0, 0, troubles},
    {0},
};

static const struct key disk_keys[] = {
    {"stack", STACK, FIELD(guest_disk, stack), 0, 0, NULL},
    {"serial", TEXT, FIELD(guest_disk, serial), 0, 0, NULL},
    {"read-only", TRUTH, FIELD(guest_disk, read_only), 0, 0, NULL},
    {"queues", UINT, FIELD(guest_disk, queues), 1, GUEST_QUEUE_MAX, NULL},
    {"slot", UINT, FIELD(guest_disk, slot), GUEST_SLOT_FIRST, GUEST_SLOT_LAST, NULL},
    {0},
};

static const struct key net_keys[] = {
    {"tap", TEXT, FIELD(guest_net, tap), 0, 0, NULL},
    {"fd", UINT, FIELD(guest_net, fd), 3, 65535, NULL},
    {"mac", MAC, FIELD(guest_net, mac), 0, 0, NULL},
    {"mtu", UINT, FIELD(guest_net, mtu), 68, 65535, NULL},
    {"queues", UINT, FIELD(guest_net, queues), 1, GUEST_QUEUE_MAX, NULL},
    {"slot", UINT, FIELD(guest_net, slot), GUEST_SLOT_FIRST, GUEST_SLOT_LAST, NULL},
    {0},
};

/* Where we are, for messages: "disks[1]." or "". */
struct reader {
    struct guest_config *config;
    struct err *err;
    char place[64];
};

static int read_object(struct reader *r, void *target, const struct key *keys, const json_t *object);

/* ---- values ---- */

static int wrong(struct reader *r, const struct key *k, const char *what)
{
    return err_set(r->err, EINVAL, "%s%s: %s", r->place, k->name, what);
}

static int copy_text(struct reader *r, const struct key *k, char **field, const char *text)
{
    if (!*text)
        return wrong(r, k, "is empty: write a text, or leave it out");
    free(*field);
    *field = strdup(text);
    return *field ? 0 : err_set(r->err, ENOMEM, "no memory");
}

static int read_text(struct reader *r, const struct key *k, char **field, const json_t *v)
{
    if (!json_is_string(v) || strlen(json_string_value(v)) != json_string_length(v))
        return wrong(r, k, "must be a text");
    return copy_text(r, k, field, json_string_value(v));
}

/* As blk_open() takes it: short form, or an array, which travels as text. */
static int read_stack(struct reader *r, const struct key *k, char **field, const json_t *v)
{
    if (!json_is_array(v))
        return read_text(r, k, field, v);
    free(*field);
    *field = json_dumps(v, JSON_COMPACT);
    return *field ? 0 : err_set(r->err, ENOMEM, "no memory");
}

static int read_size(struct reader *r, const struct key *k, uint64_t *field, const json_t *v)
{
    uint64_t bytes = 0;
    struct err why;
    if (json_is_integer(v) && json_integer_value(v) > 0)
        bytes = (uint64_t)json_integer_value(v);
    else if (!json_is_string(v))
        return wrong(r, k, "must be a size, as in \"512M\"");
    else if (units_parse_size(json_string_value(v), &bytes, &why))
        return wrong(r, k, why.text);
    if (bytes < k->min || bytes > k->max)
        return wrong(r, k, "must be from 2M to 4T");
    *field = bytes;
    return 0;
}

static int read_uint(struct reader *r, const struct key *k, uint32_t *field, const json_t *v)
{
    char text[96];
    if (!json_is_integer(v) || json_integer_value(v) < (json_int_t)k->min ||
        json_integer_value(v) > (json_int_t)k->max) {
        snprintf(text, sizeof text, "must be a number from %llu to %llu", (unsigned long long)k->min,
                 (unsigned long long)k->max);
        return wrong(r, k, text);
    }
    *field = (uint32_t)json_integer_value(v);
    return 0;
}

/* Nanoseconds of CLOCK_BOOTTIME. */
static int read_instant(struct reader *r, const struct key *k, uint64_t *field, const json_t *v)
{
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return wrong(r, k, "must be a number of nanoseconds since the node was booted");
    *field = (uint64_t)json_integer_value(v);
    return 0;
}

static int read_choice(struct reader *r, const struct key *k, int *field, const json_t *v)
{
    char text[160] = "must be one of";
    for (int i = 0; k->choices[i]; i++) {
        if (json_is_string(v) && strcmp(json_string_value(v), k->choices[i]) == 0) {
            *field = i;
            return 0;
        }
        size_t at = strlen(text);
        snprintf(text + at, sizeof text - at, "%s %s", i ? "," : "", k->choices[i]);
    }
    return wrong(r, k, text);
}

static int read_endpoint(struct reader *r, const struct key *k, struct guest_endpoint *e, const json_t *v)
{
    static const char unix_prefix[] = "unix:";
    const char *text = json_is_string(v) ? json_string_value(v) : "";
    free(e->path);
    *e = (struct guest_endpoint){GUEST_CONSOLE_NONE, NULL};
    if (strcmp(text, "none") == 0)
        return 0;
    if (strcmp(text, "stdio") == 0)
        e->kind = GUEST_CONSOLE_STDIO;
    else if (strcmp(text, "pty") == 0)
        e->kind = GUEST_CONSOLE_PTY;
    else if (strncmp(text, unix_prefix, strlen(unix_prefix)) == 0)
        e->kind = GUEST_CONSOLE_UNIX;
    else
        return wrong(r, k, "must be none, stdio, pty or unix:PATH");
    return e->kind == GUEST_CONSOLE_UNIX ? copy_text(r, k, &e->path, text + strlen(unix_prefix)) : 0;
}

static int read_socket_path(struct reader *r, const struct key *k, char **field, const json_t *v)
{
    const char *text = json_is_string(v) ? json_string_value(v) : "";
    if (strncmp(text, "unix:", 5) != 0)
        return wrong(r, k, "must be unix:PATH");
    if (strlen(text + 5) > PATH_LETTERS)
        return wrong(r, k, "the path is too long for a socket");
    return copy_text(r, k, field, text + 5);
}

static int read_mac(struct reader *r, const struct key *k, uint8_t *mac, const json_t *v)
{
    const char *text = json_is_string(v) ? json_string_value(v) : "";
    unsigned b[6];
    int used = 0;
    if (text[strspn(text, "0123456789abcdefABCDEF:")] ||
        sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%n", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5], &used) != 6 || text[used])
        return wrong(r, k, "must be six bytes, as in 52:54:00:12:34:56");
    if (b[0] & 1)
        return wrong(r, k, "is a multicast address: the first byte must be even");
    for (unsigned i = 0; i < 6; i++)
        mac[i] = (uint8_t)b[i];
    return 0;
}

/* ---- disks and nets ---- */

static int check_disk(struct reader *r, struct guest_disk *d)
{
    if (!d->stack)
        return err_set(r->err, EINVAL, "%sstack: is missing: say what the disk is, as in raw:disk.img", r->place);
    if (d->serial && strlen(d->serial) > SERIAL_MAX)
        return err_set(r->err, EINVAL, "%sserial: has more than %d letters", r->place, SERIAL_MAX);
    return 0;
}

static int check_net(struct reader *r, struct guest_net *n)
{
    static const uint8_t none[6];
    if (!n->tap == (n->fd == UINT32_MAX))
        return err_set(r->err, EINVAL, "%stap: say either a tap interface or the fd of a socket", r->place);
    for (const struct guest_net *other = r->config ? r->config->nets : n; other < n; other++)
        if (n->fd != UINT32_MAX && other->fd == n->fd)
            return err_set(r->err, EINVAL, "%sfd: %u is another network's already", r->place, n->fd);
    if (!n->tap && n->queues > 1)
        return err_set(r->err, EINVAL, "%squeues: a socket has one; several go with a tap", r->place);
    if (memcmp(n->mac, none, sizeof none) == 0)
        return err_set(r->err, EINVAL, "%smac: is missing", r->place);
    return 0;
}

static int read_disk(struct reader *r, struct guest_disk *d, const json_t *v)
{
    int rc = read_object(r, d, disk_keys, v);
    return rc ? rc : check_disk(r, d);
}

static int read_net(struct reader *r, struct guest_net *n, const json_t *v)
{
    int rc = read_object(r, n, net_keys, v);
    return rc ? rc : check_net(r, n);
}

static int read_list(struct reader *r, const struct key *k, const json_t *v)
{
    struct guest_config *c = r->config;
    bool disks = k->kind == DISKS;
    unsigned max = disks ? GUEST_DISK_MAX : GUEST_NET_MAX;
    if (!json_is_array(v) || json_array_size(v) > max)
        return err_set(r->err, EINVAL, "%s: must be a list of at most %u", k->name, max);
    int rc = 0;
    for (unsigned i = 0; !rc && i < json_array_size(v); i++) {
        snprintf(r->place, sizeof r->place, "%s[%u].", k->name, i);
        if (disks) {
            struct guest_disk *d = &c->disks[c->disk_count++];
            d->queues = 1;
            if (!json_is_null(json_array_get(v, i)))
                rc = read_disk(r, d, json_array_get(v, i));
        } else {
            struct guest_net *n = &c->nets[c->net_count++];
            *n = (struct guest_net){.fd = UINT32_MAX, .queues = 1};
            if (!json_is_null(json_array_get(v, i)))
                rc = read_net(r, n, json_array_get(v, i));
        }
        *r->place = 0;
    }
    return rc;
}

/* ---- objects ---- */

static int read_value(struct reader *r, const struct key *k, void *field, const json_t *v)
{
    switch (k->kind) {
    case TEXT:
        return read_text(r, k, field, v);
    case STACK:
        return read_stack(r, k, field, v);
    case SIZE:
        return read_size(r, k, field, v);
    case UINT:
        return read_uint(r, k, field, v);
    case INSTANT:
        return read_instant(r, k, field, v);
    case TRUTH:
        if (!json_is_boolean(v))
            return wrong(r, k, "must be true or false");
        *(bool *)field = json_is_true(v);
        return 0;
    case CHOICE:
        return read_choice(r, k, field, v);
    case ENDPOINT:
        return read_endpoint(r, k, field, v);
    case MAC:
        return read_mac(r, k, field, v);
    case SOCKET_PATH:
        return read_socket_path(r, k, field, v);
    case DISKS:
    case NETS:
        return read_list(r, k, v);
    }
    return -EINVAL;
}

static int read_object(struct reader *r, void *target, const struct key *keys, const json_t *object)
{
    const char *name;
    json_t *value;
    if (!json_is_object(object)) {
        size_t n = strlen(r->place);
        return err_set(r->err, EINVAL, "%.*s: must be an object, {...}", n ? (int)n - 1 : 9,
                       n ? r->place : "the guest");
    }
    json_object_foreach ((json_t *)(uintptr_t)object, name, value) /* the macro wants it writable and does not write */
    {
        const struct key *k = keys;
        while (k->name && strcmp(k->name, name) != 0)
            k++;
        if (!k->name)
            return err_set(r->err, EINVAL, "%s%s: there is no such key", r->place, name);
        int rc = read_value(r, k, (char *)target + k->field, value);
        if (rc)
            return rc;
    }
    return 0;
}

/* ---- one of them ---- */

int guest_disk_from_json(struct guest_disk *d, const json_t *json, struct err *err)
{
    struct reader r = {.err = err, .place = "disk."};
    *d = (struct guest_disk){.queues = 1};
    int rc = read_disk(&r, d, json);
    if (rc)
        guest_disk_fini(d);
    return rc;
}

void guest_disk_fini(struct guest_disk *d)
{
    free(d->stack);
    free(d->serial);
    *d = (struct guest_disk){0};
}

int guest_net_from_json(struct guest_net *n, const json_t *json, struct err *err)
{
    struct reader r = {.err = err, .place = "net."};
    *n = (struct guest_net){.fd = UINT32_MAX, .queues = 1};
    int rc = read_net(&r, n, json);
    if (rc)
        guest_net_fini(n);
    return rc;
}

void guest_net_fini(struct guest_net *n)
{
    free(n->tap);
    *n = (struct guest_net){.fd = UINT32_MAX};
}

/* ---- the whole ---- */

bool guest_config_is_incoming(const struct guest_config *c)
{
    return c->incoming != GUEST_NO_FD || c->incoming_at;
}

static int check_name(const struct guest_config *c, struct err *err)
{
    if (strlen(c->name) > NAME_MAX_LETTERS)
        return err_set(err, EINVAL, "name: has more than %d letters", NAME_MAX_LETTERS);
    for (const char *p = c->name; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("-_.", *p))
            return err_set(err, EINVAL, "name: '%s' has a letter that is not one of a-z A-Z 0-9 - _ .", c->name);
    return 0;
}

static int check_boot(const struct guest_config *c, struct err *err)
{
    bool incoming = guest_config_is_incoming(c);
    if (c->incoming != GUEST_NO_FD && c->incoming_at)
        return err_set(err, EINVAL, "incoming: excludes incoming-at");
    if (c->migration_key != GUEST_NO_FD && c->migration_key_file)
        return err_set(err, EINVAL, "migration-key: excludes migration-key-file");
    if (incoming != (c->migration_key != GUEST_NO_FD || c->migration_key_file))
        return err_set(err, EINVAL, "incoming: goes with migration-key");
    if (incoming && c->load)
        return err_set(err, EINVAL, "incoming: a guest comes from one place: leave out load");
    if (!c->kernel && !c->firmware && !c->load && !incoming)
        return err_set(err, EINVAL, "kernel: say what to boot: either a kernel or a firmware");
    if (c->kernel && c->firmware)
        return err_set(err, EINVAL, "firmware: a kernel is booted without firmware: leave one of them out");
    if (!c->kernel && (c->initrd || c->cmdline))
        return err_set(err, EINVAL, "%s: goes with a kernel", c->initrd ? "initrd" : "cmdline");
    return 0;
}

static int check_whole(struct guest_config *c, struct err *err)
{
    int rc = check_name(c, err);
    rc = rc ? rc : check_boot(c, err);
    if (rc)
        return rc;
    if (c->memory_bytes % (2 << 20))
        return err_set(err, EINVAL, "memory: must be a multiple of 2M");
    if (c->console.kind == GUEST_CONSOLE_STDIO && c->virtio_console.kind == GUEST_CONSOLE_STDIO)
        return err_set(err, EINVAL, "virtio-console: only one console can be stdio");
    if (!c->vsock_cid != !c->vsock_path)
        return err_set(err, EINVAL, "vsock-cid: goes with vsock-path");
    return 0;
}

static int preset_text(char **field, const char *text)
{
    if (!*field)
        *field = strdup(text);
    return *field ? 0 : -ENOMEM;
}

int guest_config_from_json(struct guest_config *c, const json_t *json, struct err *err)
{
    struct reader r = {.config = c, .err = err};
    *c = (struct guest_config){.memory_bytes = 512 << 20,
                               .vcpus = 1,
                               .rng = true,
                               .balloon = true,
                               .on_hang = GUEST_RESET,
                               .incoming = GUEST_NO_FD,
                               .migration_key = GUEST_NO_FD};
    int rc = read_object(&r, c, guest_keys, json);
    if (!rc && (preset_text(&c->name, "guest") || preset_text(&c->cpu, "host")))
        rc = err_set(err, ENOMEM, "no memory");
    if (!rc)
        rc = check_whole(c, err);
    if (rc)
        guest_config_fini(c);
    return rc;
}

void guest_config_fini(struct guest_config *c)
{
    char *texts[] = {c->name,
                     c->cpu,
                     c->kernel,
                     c->initrd,
                     c->cmdline,
                     c->firmware,
                     c->vsock_path,
                     c->control,
                     c->load,
                     c->incoming_at,
                     c->migration_key_file,
                     c->tls_certificates,
                     c->user,
                     c->console.path,
                     c->virtio_console.path,
                     c->gdb};
    for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++)
        free(texts[i]);
    for (unsigned i = 0; i < c->disk_count; i++)
        guest_disk_fini(&c->disks[i]);
    for (unsigned i = 0; i < c->net_count; i++)
        guest_net_fini(&c->nets[i]);
    *c = (struct guest_config){0};
}
