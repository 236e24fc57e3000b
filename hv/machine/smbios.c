/* See smbios.h. A structure is its fixed fields, then the texts that they number from 1, then a zero. */
#include "hv/machine/smbios.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "hv/machine/fw_cfg.h"
#include "hv/memory.h"
#include "node/base/err.h"

struct entry_point { /* 31 bytes; checksums over it all, and from `intermediate` on */
    char anchor[4];
    uint8_t checksum, length, major, minor;
    uint16_t largest;
    uint8_t revision, formatted[5];
    char intermediate[5];
    uint8_t intermediate_checksum;
    uint16_t table_bytes;
    uint32_t table_gpa;
    uint16_t count;
    uint8_t bcd_revision;
} __attribute__((packed));
_Static_assert(sizeof(struct entry_point) == 31, "the 32-bit entry point is 31 bytes");

enum structure_type {
    FIRMWARE = 0,
    SYSTEM = 1,
    CHASSIS = 3,
    PROCESSOR = 4,
    MEMORY_ARRAY = 16,
    MEMORY_DEVICE = 17,
    MEMORY_MAPPED = 19,
    BOOT = 32,
    LAST = 127,
};

enum { TEXTS_MAX = 5, NO_HANDLE = 0xfffe, UNKNOWN_WIDTH = 0xffff, EXTENDED_SIZE = 0x7fff, ENTRY_ROOM = 32 };
enum { MIB_BITS = 20, KIB_BITS = 10 };

struct smbios {
    uint32_t bytes;
    uint16_t count, largest;
    /* the structure that is being written */
    uint32_t start;
    unsigned text_count;
    const char *texts[TEXTS_MAX];
    uint8_t data[SMBIOS_BYTES_MAX];
};

/* ---- writing; what does not fit into data is a mistake of this file's ---- */

static void put(struct smbios *s, uint64_t value, unsigned bytes)
{
    assert(s->bytes + bytes <= sizeof s->data);
    value = htole64(value);
    memcpy(&s->data[s->bytes], &value, bytes);
    s->bytes += bytes;
}

static void put_bytes(struct smbios *s, const void *data, size_t bytes)
{
    assert(s->bytes + bytes <= sizeof s->data);
    memcpy(&s->data[s->bytes], data, bytes);
    s->bytes += (uint32_t)bytes;
}

/* The number of a text; 0: none. */
static void put_text(struct smbios *s, const char *text)
{
    if (!text || !*text) {
        put(s, 0, 1);
        return;
    }
    assert(s->text_count < TEXTS_MAX);
    s->texts[s->text_count++] = text;
    put(s, s->text_count, 1);
}

/* Its handle is 256 times its type and its number. */
static void begin(struct smbios *s, enum structure_type type, unsigned number)
{
    s->start = s->bytes;
    s->text_count = 0;
    put(s, type, 1);
    put(s, 0, 1);
    put(s, (unsigned)type << 8 | number, 2);
}

static void end(struct smbios *s)
{
    s->data[s->start + 1] = (uint8_t)(s->bytes - s->start);
    for (unsigned i = 0; i < s->text_count; i++) {
        put_bytes(s, s->texts[i], strnlen(s->texts[i], SMBIOS_TEXT_MAX));
        put(s, 0, 1);
    }
    put(s, 0, s->text_count ? 1 : 2);
    s->count++;
    if (s->bytes - s->start > s->largest)
        s->largest = (uint16_t)(s->bytes - s->start);
}

/* ---- structures, by their numbers in chapter 7 ---- */

static const char maker[] = "Drover";

static void add_firmware(struct smbios *s)
{
    begin(s, FIRMWARE, 0);
    put_text(s, maker);
    put_text(s, "1");
    put(s, 0xe800, 2); /* segment it starts in */
    put_text(s, "01/01/2026");
    put(s, 0, 1);
    put(s, 1 << 3, 8); /* characteristics: not told */
    put(s, 0x1400, 2); /* a virtual machine, and targeted content */
    put(s, 0x0001, 2);
    put(s, 0xffff, 2);
    end(s);
}

/* A UUID's first three fields are little-endian here. */
static void put_uuid(struct smbios *s, const uint8_t uuid[16])
{
    static const uint8_t order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
    for (unsigned i = 0; i < sizeof order; i++)
        put(s, uuid[order[i]], 1);
}

static void add_system(struct smbios *s, const struct smbios_config *c)
{
    begin(s, SYSTEM, 0);
    put_text(s, maker);
    put_text(s, c->product);
    put_text(s, c->version);
    put_text(s, c->serial);
    put_uuid(s, c->uuid);
    put(s, 6, 1); /* woken by the power switch */
    put(s, 0, 2);
    end(s);
}

static void add_chassis(struct smbios *s)
{
    begin(s, CHASSIS, 0);
    put_text(s, maker);
    put(s, 1, 1); /* "other" */
    put(s, 0, 3);
    put(s, 0x02030303, 4); /* states: safe; security: unknown */
    put(s, 0, 4);
    put(s, 0, 5);
    end(s);
}

static void add_processor(struct smbios *s, unsigned vcpus)
{
    begin(s, PROCESSOR, 0);
    put_text(s, "CPU 0");
    put(s, 3, 1); /* a central processor */
    put(s, 1, 1); /* of another family */
    put_text(s, maker);
    put(s, 0, 8);
    put(s, 0, 1);
    put(s, 0, 1); /* voltage */
    put(s, 0, 6); /* clocks: unknown */
    put(s, 0x41, 1);
    put(s, 1, 1);
    for (unsigned cache = 0; cache < 3; cache++)
        put(s, 0xffff, 2);
    put(s, 0, 3);
    put(s, vcpus, 1);
    put(s, vcpus, 1);
    put(s, vcpus, 1);
    put(s, 2, 2);
    put(s, 1, 2);
    end(s);
}

static void add_memory_array(struct smbios *s, uint64_t bytes)
{
    begin(s, MEMORY_ARRAY, 0);
    put(s, 1, 1);
    put(s, 3, 1); /* system memory */
    put(s, 3, 1); /* no error correction */
    put(s, 0x80000000, 4);
    put(s, NO_HANDLE, 2);
    put(s, 1, 2);
    put(s, bytes, 8);
    end(s);
}

static void add_memory_device(struct smbios *s, uint64_t bytes)
{
    uint64_t mib = bytes >> MIB_BITS;
    bool extended = mib >= EXTENDED_SIZE;
    begin(s, MEMORY_DEVICE, 0);
    put(s, MEMORY_ARRAY << 8, 2);
    put(s, NO_HANDLE, 2);
    put(s, UNKNOWN_WIDTH, 2);
    put(s, UNKNOWN_WIDTH, 2);
    put(s, extended ? EXTENDED_SIZE : mib, 2);
    put(s, 9, 1); /* DIMM */
    put(s, 0, 1);
    put_text(s, "DIMM 0");
    put(s, 0, 1);
    put(s, 7, 1); /* RAM */
    put(s, 2, 2);
    put(s, 0, 2);
    put_text(s, maker);
    put(s, 0, 4);
    put(s, extended ? mib : 0, 4);
    put(s, 0, 8);
    end(s);
}

static void add_memory_mapped(struct smbios *s, unsigned number, uint64_t gpa, uint64_t bytes)
{
    begin(s, MEMORY_MAPPED, number);
    put(s, UINT32_MAX, 4); /* the 64-bit fields say it */
    put(s, UINT32_MAX, 4);
    put(s, MEMORY_ARRAY << 8, 2);
    put(s, 1, 1);
    put(s, gpa, 8);
    put(s, gpa + bytes - 1, 8);
    end(s);
}

static void add_memory(struct smbios *s, const struct memory *memory)
{
    add_memory_array(s, memory_size(memory));
    add_memory_device(s, memory_size(memory));
    unsigned number = 0;
    for (unsigned i = 0; i < memory_slot_count(memory); i++) {
        const struct memory_slot *slot = memory_slot(memory, i);
        if (!slot->read_only)
            add_memory_mapped(s, number++, slot->gpa, slot->bytes);
    }
}

struct smbios *smbios_new(const struct smbios_config *config, struct err *err)
{
    struct smbios *s = calloc(1, sizeof *s);
    if (!s) {
        err_set(err, ENOMEM, "no memory for SMBIOS tables");
        return NULL;
    }
    add_firmware(s);
    add_system(s, config);
    add_chassis(s);
    add_processor(s, config->vcpus);
    add_memory(s, config->memory);
    begin(s, BOOT, 0);
    put(s, 0, 7);
    end(s);
    begin(s, LAST, 0);
    end(s);
    return s;
}

void smbios_free(struct smbios *s)
{
    free(s);
}

/* ---- to the guest ---- */

static uint8_t balance(const void *data, size_t bytes)
{
    uint8_t sum = 0;
    for (size_t i = 0; i < bytes; i++)
        sum = (uint8_t)(sum + ((const uint8_t *)data)[i]);
    return (uint8_t)-sum;
}

static struct entry_point entry_of(const struct smbios *s, uint64_t table_gpa)
{
    struct entry_point e = {.length = sizeof e,
                            .major = 2,
                            .minor = 8,
                            .largest = htole16(s->largest),
                            .table_bytes = htole16((uint16_t)s->bytes),
                            .table_gpa = htole32((uint32_t)table_gpa),
                            .count = htole16(s->count),
                            .bcd_revision = 0x28};
    const size_t tail = offsetof(struct entry_point, intermediate);
    memcpy(e.anchor, "_SM_", sizeof e.anchor);
    memcpy(e.intermediate, "_DMI_", sizeof e.intermediate);
    e.intermediate_checksum = balance((const uint8_t *)&e + tail, sizeof e - tail);
    e.checksum = balance(&e, sizeof e);
    return e;
}

int smbios_place(const struct smbios *s, struct memory *memory, uint64_t gpa, uint64_t bytes, struct err *err)
{
    assert(gpa % 16 == 0 && gpa < memory_low_end);
    if (bytes < ENTRY_ROOM || bytes - ENTRY_ROOM < s->bytes)
        return err_set(err, ENOSPC, "%u bytes of SMBIOS tables do not fit at %" PRIx64 "h", s->bytes, gpa);
    struct entry_point e = entry_of(s, gpa + ENTRY_ROOM);
    int rc = memory_write(memory, gpa + ENTRY_ROOM, s->data, s->bytes);
    rc = rc ? rc : memory_write(memory, gpa, &e, sizeof e);
    return rc ? err_set(err, -rc, "no memory of the guest at %" PRIx64 "h for SMBIOS tables", gpa) : 0;
}

int smbios_offer(const struct smbios *s, struct fw_cfg *fw_cfg, struct err *err)
{
    struct entry_point e = entry_of(s, 0);
    int rc = fw_cfg_add_file(fw_cfg, "etc/smbios/smbios-anchor", &e, sizeof e, err);
    return rc ? rc : fw_cfg_add_file(fw_cfg, "etc/smbios/smbios-tables", s->data, s->bytes, err);
}
