/* LUKS headers: any bytes are a header or are refused with a sentence; what was taken stays one through changes. The
 * first byte says what the rest is: LUKS1's header, the start of a device, or LUKS2's JSON, which gets a binary header
 * with a right checksum, in both copies. */
#include <stdlib.h>
#include <string.h>

#include "nbd/luks1.h"
#include "nbd/luks2_json.h"
#include "nbd/luks_change.h"
#include "node/base/container.h"
#include "tests/fuzz/fuzz_env.h"

enum { DEVICE_BYTES = 1 << 20, COPY_BYTES = 16384, CHEAP = 20 };

struct device {
    struct luks_io io;
    uint8_t bytes[DEVICE_BYTES];
};

static struct device device;

static int read_device(struct luks_io *io, uint64_t offset, void *data, size_t len_bytes)
{
    memcpy(data, CONTAINER_OF(io, struct device, io)->bytes + offset, len_bytes);
    return 0;
}

static int write_device(struct luks_io *io, uint64_t offset, const void *data, size_t len_bytes)
{
    memcpy(CONTAINER_OF(io, struct device, io)->bytes + offset, data, len_bytes);
    return 0;
}

static int flush_device(struct luks_io *io)
{
    (void)io;
    return 0;
}

static void put_json(const uint8_t *text, size_t size)
{
    struct luks2_binary binary = {.copy_bytes = COPY_BYTES, .sequence = 3, .hash = "sha256"};
    char *copy = calloc(1, size + 1);
    memcpy(copy, text, size);
    if (luks2_copy_encode(&binary, false, copy, device.bytes, NULL) == 0)
        luks2_copy_encode(&binary, true, copy, device.bytes + COPY_BYTES, NULL);
    free(copy);
}

static bool load(struct luks_volume *v)
{
    struct err err = {0};
    int rc = luks_volume_load(&device.io, v, &err);
    if (rc && !*err.text)
        abort();
    return rc == 0;
}

/* Keys that would not take long are tried. */
static void unlock(struct luks_volume *v)
{
    struct luks_key passphrase = {0}, key = {0};
    struct err err = {0};
    int slot;
    for (unsigned i = 0; i < v->header.slot_count; i++) {
        const struct luks_kdf *k = &v->header.slots[i].kdf;
        if (v->header.slots[i].used && (k->iterations > CHEAP || k->memory_kib > 1024))
            return;
    }
    if (v->header.digest.iterations > CHEAP || luks_key_new(1, &passphrase, &err))
        return;
    if (luks_volume_unlock(v, &passphrase, -1, &slot, &key, &err) && !*err.text)
        abort();
    luks_key_fini(&passphrase);
    luks_key_fini(&key);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct luks_volume v = {0};
    struct err err = {0};
    if (size < 1 || size > DEVICE_BYTES)
        return 0;
    device.io = (struct luks_io){DEVICE_BYTES, read_device, write_device, flush_device};
    memset(device.bytes, 0, sizeof device.bytes);
    if (*data % 3 == 2)
        put_json(data + 1, size - 1);
    else
        memcpy(device.bytes, data + 1, size - 1);
    if (!load(&v))
        return 0;
    unlock(&v);
    for (unsigned i = 0; i < v.header.slot_count; i++) {
        if (!v.header.slots[i].used)
            continue;
        if (luks_change_remove(&v, i, &err) == 0) {
            luks_volume_fini(&v);
            if (!load(&v) || v.header.slots[i].used)
                abort();
        }
        break;
    }
    if (luks_change_erase(&v, &err) == 0) {
        luks_volume_fini(&v);
        if (!load(&v))
            abort();
    }
    luks_volume_fini(&v);
    return 0;
}
