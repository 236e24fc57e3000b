#include "tests/unit/luks_disk.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "node/base/container.h"

const struct luks_cost luks_disk_cost = {
    .kdf = {.type = LUKS_PBKDF2, .hash = "sha256", .iterations = 1, .memory_kib = 64, .lanes = 1}};

static void record(struct luks_disk *d, uint64_t offset, const void *data, size_t len_bytes)
{
    if (!d->recording)
        return;
    assert_true(d->event_count < LUKS_DISK_EVENTS_MAX);
    struct luks_disk_event *e = &d->events[d->event_count++];
    *e = (struct luks_disk_event){.offset = offset, .len_bytes = len_bytes};
    if (len_bytes) {
        e->data = malloc(len_bytes);
        assert_non_null(e->data);
        memcpy(e->data, data, len_bytes);
    }
}

static int read_disk(struct luks_io *io, uint64_t offset, void *data, size_t len_bytes)
{
    struct luks_disk *d = CONTAINER_OF(io, struct luks_disk, io);
    memcpy(data, d->bytes + offset, len_bytes);
    return 0;
}

static int write_disk(struct luks_io *io, uint64_t offset, const void *data, size_t len_bytes)
{
    struct luks_disk *d = CONTAINER_OF(io, struct luks_disk, io);
    if (d->fail_write)
        return d->fail_write;
    memcpy(d->bytes + offset, data, len_bytes);
    record(d, offset, data, len_bytes);
    return 0;
}

static int flush_disk(struct luks_io *io)
{
    record(CONTAINER_OF(io, struct luks_disk, io), 0, NULL, 0);
    return 0;
}

void luks_disk_init(struct luks_disk *d, uint64_t size_bytes)
{
    *d = (struct luks_disk){
        .io = {.size_bytes = size_bytes, .read = read_disk, .write = write_disk, .flush = flush_disk},
        .bytes = calloc(1, size_bytes),
        .before = malloc(size_bytes)};
    assert_true(d->bytes && d->before);
}

static void forget(struct luks_disk *d)
{
    while (d->event_count)
        free(d->events[--d->event_count].data);
}

void luks_disk_fini(struct luks_disk *d)
{
    forget(d);
    free(d->bytes);
    free(d->before);
}

void luks_disk_mark(struct luks_disk *d)
{
    forget(d);
    memcpy(d->before, d->bytes, d->io.size_bytes);
    d->recording = true;
}

static bool dice(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state >> 40 & 1;
}

static void put_some(struct luks_disk *d, const struct luks_disk_event *e, uint64_t seed, uint64_t *state)
{
    for (size_t at = 0; at < e->len_bytes;) {
        size_t n = LUKS_DISK_SECTOR - (e->offset + at) % LUKS_DISK_SECTOR;
        n = n < e->len_bytes - at ? n : e->len_bytes - at;
        if (seed == 1 || (seed && dice(state)))
            memcpy(d->bytes + e->offset + at, e->data + at, n);
        at += n;
    }
}

void luks_disk_cut(struct luks_disk *d, unsigned events, uint64_t seed)
{
    uint64_t state = seed * UINT64_C(0x9e3779b97f4a7c15) + events + 1;
    unsigned durable = 0;
    for (unsigned i = 0; i < events; i++)
        durable = d->events[i].len_bytes ? durable : i;
    memcpy(d->bytes, d->before, d->io.size_bytes);
    for (unsigned i = 0; i < events; i++) {
        if (i < durable && d->events[i].len_bytes)
            memcpy(d->bytes + d->events[i].offset, d->events[i].data, d->events[i].len_bytes);
        else if (d->events[i].len_bytes)
            put_some(d, &d->events[i], seed, &state);
    }
    d->recording = false;
}

/* ---- headers ---- */

struct luks_key luks_disk_key(const char *text)
{
    struct luks_key key = {0};
    assert_int_equal(luks_key_new(strlen(text), &key, NULL), 0);
    memcpy(key.bytes, text, strlen(text));
    return key;
}

void luks_disk_format(struct luks_disk *d, unsigned version, const char *passphrase)
{
    struct err err = {0};
    struct luks_volume v = {0};
    struct luks_key key = luks_disk_key(passphrase);
    struct luks_format f = {.version = version,
                            .key_bytes = 64,
                            .sector_bytes = 512,
                            .payload_offset = 2 << 20,
                            .cost = luks_disk_cost,
                            .digest_iterations = 1};
    if (luks_change_format(&d->io, &f, &key, &v, &err))
        fail_msg("%s", err.text);
    luks_volume_fini(&v);
    luks_key_fini(&key);
}

int luks_disk_opens(struct luks_disk *d, const char *passphrase)
{
    struct err err = {0};
    struct luks_volume v = {0};
    struct luks_key key = luks_disk_key(passphrase), volume_key = {0};
    int slot = -1, rc = luks_volume_load(&d->io, &v, &err);
    if (!rc)
        rc = luks_volume_unlock(&v, &key, -1, &slot, &volume_key, &err);
    luks_key_fini(&key);
    luks_key_fini(&volume_key);
    luks_volume_fini(&v);
    return rc ? rc : slot;
}
