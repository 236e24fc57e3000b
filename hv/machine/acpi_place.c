/* See acpi_tables.h and acpi_place.h. */
#include "hv/machine/acpi_place.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "hv/machine/fw_cfg.h"
#include "hv/memory.h"
#include "node/base/err.h"

struct rsdp {
    char signature[8];
    uint8_t checksum;
    char oem[6];
    uint8_t revision;
    uint32_t rsdt, length;
    uint64_t xsdt;
    uint8_t extended_checksum, reserved[3];
} __attribute__((packed));
_Static_assert(sizeof(struct rsdp) == 36, "the RSDP is 36 bytes");

enum { RSDP_FIRST_PART = 20, ALIGNMENT = 64, RSDP_ALIGNMENT = 16 };

static struct rsdp rsdp_of(const struct acpi_tables *t, uint64_t base)
{
    struct rsdp r = {.revision = 2,
                     .rsdt = htole32((uint32_t)(base + t->rsdt)),
                     .length = htole32(sizeof r),
                     .xsdt = htole64(base + t->xsdt)};
    memcpy(r.signature, "RSD PTR ", sizeof r.signature);
    memcpy(r.oem, "DROVER", sizeof r.oem);
    return r;
}

/* ---- into memory ---- */

static uint8_t balance(const void *data, size_t bytes)
{
    uint8_t sum = 0;
    for (size_t i = 0; i < bytes; i++)
        sum = (uint8_t)(sum + ((const uint8_t *)data)[i]);
    return (uint8_t)-sum;
}

static void settle(struct acpi_tables *t, uint64_t base)
{
    for (unsigned i = 0; i < t->pointer_count; i++) {
        uint64_t value = 0;
        uint8_t *at = &t->data[t->pointers[i].at];
        memcpy(&value, at, t->pointers[i].bytes);
        value = htole64(le64toh(value) + base);
        memcpy(at, &value, t->pointers[i].bytes);
    }
    for (unsigned i = 0; i < t->sum_count; i++)
        t->data[t->sums[i].at] = balance(&t->data[t->sums[i].start], t->sums[i].bytes);
}

int acpi_tables_place(const struct acpi_tables *tables, struct memory *memory, uint64_t gpa, uint64_t bytes,
                      struct err *err)
{
    assert(gpa % ALIGNMENT == 0 && gpa < memory_low_end);
    if (bytes < ALIGNMENT || bytes - ALIGNMENT < tables->bytes)
        return err_set(err, ENOSPC, "%u bytes of ACPI tables do not fit at %" PRIx64 "h", tables->bytes, gpa);
    struct acpi_tables *copy = malloc(sizeof *copy);
    if (!copy)
        return err_set(err, ENOMEM, "no memory for ACPI tables");
    memcpy(copy, tables, sizeof *copy);
    settle(copy, gpa + ALIGNMENT);
    struct rsdp r = rsdp_of(copy, gpa + ALIGNMENT);
    r.checksum = balance(&r, RSDP_FIRST_PART);
    r.extended_checksum = balance(&r, sizeof r);
    int rc = memory_write(memory, gpa + ALIGNMENT, copy->data, copy->bytes);
    rc = rc ? rc : memory_write(memory, gpa, &r, sizeof r);
    free(copy);
    return rc ? err_set(err, -rc, "no memory of the guest at %" PRIx64 "h for ACPI tables", gpa) : 0;
}

/* ---- through firmware: a script of 128-byte commands ---- */

enum loader_command { ALLOCATE = 1, ADD_POINTER = 2, ADD_CHECKSUM = 3 };
enum { ZONE_HIGH = 1, ZONE_FSEG = 2, FILE_NAME_BYTES = 56, COMMAND_MAX = 3 + ACPI_POINTER_MAX + ACPI_TABLE_MAX + 3 };

struct loader_entry {
    uint32_t command;
    union {
        struct {
            char file[FILE_NAME_BYTES];
            uint32_t alignment;
            uint8_t zone;
        } __attribute__((packed)) allocate;
        struct {
            char file[FILE_NAME_BYTES], target[FILE_NAME_BYTES];
            uint32_t at;
            uint8_t bytes;
        } __attribute__((packed)) pointer;
        struct {
            char file[FILE_NAME_BYTES];
            uint32_t at, start, bytes;
        } __attribute__((packed)) checksum;
        uint8_t room[124];
    };
} __attribute__((packed));
_Static_assert(sizeof(struct loader_entry) == 128, "a command of the loader's script is 128 bytes");

static const char file_rsdp[] = "etc/acpi/rsdp", file_tables[] = "etc/acpi/tables";

struct script {
    unsigned count;
    struct loader_entry entries[COMMAND_MAX];
};

static struct loader_entry *next_entry(struct script *s, enum loader_command command)
{
    assert(s->count < COMMAND_MAX);
    struct loader_entry *e = &s->entries[s->count++];
    *e = (struct loader_entry){.command = htole32(command)};
    return e;
}

static void allocate(struct script *s, const char *file, unsigned alignment, uint8_t zone)
{
    struct loader_entry *e = next_entry(s, ALLOCATE);
    strcpy(e->allocate.file, file);
    e->allocate.alignment = htole32(alignment);
    e->allocate.zone = zone;
}

static void add_pointer(struct script *s, const char *file, uint32_t at, uint32_t bytes)
{
    struct loader_entry *e = next_entry(s, ADD_POINTER);
    strcpy(e->pointer.file, file);
    strcpy(e->pointer.target, file_tables);
    e->pointer.at = htole32(at);
    e->pointer.bytes = (uint8_t)bytes;
}

static void add_checksum(struct script *s, const char *file, uint32_t at, uint32_t start, uint32_t bytes)
{
    struct loader_entry *e = next_entry(s, ADD_CHECKSUM);
    strcpy(e->checksum.file, file);
    e->checksum.at = htole32(at);
    e->checksum.start = htole32(start);
    e->checksum.bytes = htole32(bytes);
}

int acpi_tables_offer(const struct acpi_tables *t, struct fw_cfg *fw_cfg, struct err *err)
{
    struct script s = {0};
    struct rsdp r = rsdp_of(t, 0);
    allocate(&s, file_rsdp, RSDP_ALIGNMENT, ZONE_FSEG);
    allocate(&s, file_tables, ALIGNMENT, ZONE_HIGH);
    for (unsigned i = 0; i < t->pointer_count; i++)
        add_pointer(&s, file_tables, t->pointers[i].at, t->pointers[i].bytes);
    for (unsigned i = 0; i < t->sum_count; i++)
        add_checksum(&s, file_tables, t->sums[i].at, t->sums[i].start, t->sums[i].bytes);
    add_pointer(&s, file_rsdp, offsetof(struct rsdp, rsdt), sizeof r.rsdt);
    add_pointer(&s, file_rsdp, offsetof(struct rsdp, xsdt), sizeof r.xsdt);
    add_checksum(&s, file_rsdp, offsetof(struct rsdp, checksum), 0, RSDP_FIRST_PART);
    add_checksum(&s, file_rsdp, offsetof(struct rsdp, extended_checksum), 0, sizeof r);
    int rc = fw_cfg_add_file(fw_cfg, file_rsdp, &r, sizeof r, err);
    rc = rc ? rc : fw_cfg_add_file(fw_cfg, file_tables, t->data, t->bytes, err);
    return rc ? rc : fw_cfg_add_file(fw_cfg, "etc/table-loader", s.entries, s.count * sizeof s.entries[0], err);
}
