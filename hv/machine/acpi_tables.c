/* See acpi_tables.h. */
#include "hv/machine/acpi_tables.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hv/machine/acpi_place.h"
#include "hv/machine/dsdt.hex"
#include "hv/machine/piix4_pm.h"
#include "hv/memory.h"
#include "hv/vcpu.h"
#include "node/base/err.h"

enum {
    HEADER_BYTES = 36,
    ALIGNMENT = 8, /* of a table */
    HEADER_LENGTH = 4,
    HEADER_CHECKSUM = 9,
    FACS_BYTES = 64,
    SPACE_PORTS = 1,
    CENTURY_REGISTER = 0x32,
    NO_C2 = 101, /* microseconds: slower than any C2 may be */
    NO_C3 = 1001,
    BOOT_LEGACY_DEVICES = 0x1,
    BOOT_8042 = 0x2,
    BOOT_NO_VGA = 0x4,
    FLAG_WBINVD = 1 << 0,
    FLAG_C1 = 1 << 2,
    FLAG_NO_SLEEP_BUTTON = 1 << 5,
    FLAG_NO_FIXED_RTC = 1 << 6,
    FLAG_RESET_REGISTER = 1 << 10,
    FLAG_CLUSTERED_APIC = 1 << 18, /* flat logical mode ends at 8 */
    FLAT_APIC_MAX = 8,
    RESET_PORT = 0xcf9,
    RESET_VALUE = 6,
    MADT_PCAT = 1, /* there are 8259s, too */
    LEVEL_HIGH = 0xd,
    LINT_NMI = 1,
    GIB_BITS = 30,
};

static const uint64_t window32_end = 0xfec00000, window32_min = 2ull << 30, window64_max = 64ull << 30;
static const uint32_t lapic_gpa = 0xfee00000, ioapic_gpa = 0xfec00000;

/* ---- bytes ---- */

static void put(struct acpi_tables *t, uint64_t value, unsigned bytes)
{
    assert(t->bytes + bytes <= sizeof t->data);
    value = htole64(value);
    memcpy(&t->data[t->bytes], &value, bytes);
    t->bytes += bytes;
}

static void put_text(struct acpi_tables *t, const char *text, unsigned bytes)
{
    assert(t->bytes + bytes <= sizeof t->data);
    memcpy(&t->data[t->bytes], text, bytes);
    t->bytes += bytes;
}

/* A place that holds the address of what is at `target`. */
static void put_pointer(struct acpi_tables *t, uint32_t target, unsigned bytes)
{
    assert(t->pointer_count < ACPI_POINTER_MAX);
    t->pointers[t->pointer_count++] = (struct acpi_pointer){.at = t->bytes, .bytes = bytes};
    put(t, target, bytes);
}

static uint32_t begin(struct acpi_tables *t, const char *signature, unsigned revision)
{
    while (t->bytes % ALIGNMENT)
        put(t, 0, 1);
    uint32_t start = t->bytes;
    put_text(t, signature, 4);
    put(t, 0, 4);
    put(t, revision, 1);
    put(t, 0, 1);
    put_text(t,
             "DROVER"
             "DROVERPC",
             14);
    put(t, 1, 4);
    put_text(t, "DRVR", 4);
    put(t, 1, 4);
    assert(t->bytes == start + HEADER_BYTES);
    return start;
}

static void end(struct acpi_tables *t, uint32_t start)
{
    uint32_t bytes = htole32(t->bytes - start);
    assert(t->sum_count < ACPI_TABLE_MAX);
    memcpy(&t->data[start + HEADER_LENGTH], &bytes, sizeof bytes);
    t->sums[t->sum_count++] =
        (struct acpi_sum){.at = start + HEADER_CHECKSUM, .start = start, .bytes = t->bytes - start};
}

/* ---- tables ---- */

static uint32_t add_facs(struct acpi_tables *t)
{
    uint32_t start = t->bytes;
    put_text(t, "FACS", 4);
    put(t, FACS_BYTES, 4);
    while (t->bytes < start + FACS_BYTES)
        put(t, 0, 4);
    t->data[start + 32] = 1; /* version */
    return start;
}

/* Gives a Name of the DSDT its value. In AML: 8, four letters, 0ch and 4 bytes. */
static void set_name(uint8_t *dsdt, const char *name, uint32_t value)
{
    for (size_t at = HEADER_BYTES; at + 10 <= sizeof dsdt_aml_code; at++) {
        if (dsdt[at] != 0x08 || memcmp(&dsdt[at + 1], name, 4) != 0 || dsdt[at + 5] != 0x0c)
            continue;
        value = htole32(value);
        memcpy(&dsdt[at + 6], &value, sizeof value);
        return;
    }
    assert(!"dsdt.asl has this name");
}

static uint32_t add_dsdt(struct acpi_tables *t, const struct acpi_config *config)
{
    uint32_t start = t->bytes;
    uint8_t *dsdt = &t->data[start];
    assert(sizeof dsdt_aml_code <= sizeof t->data - start);
    memcpy(dsdt, dsdt_aml_code, sizeof dsdt_aml_code);
    dsdt[HEADER_CHECKSUM] = 0;
    set_name(dsdt, "P32B", (uint32_t)config->window32_gpa);
    set_name(dsdt, "P64B", config->window64_bytes ? (uint32_t)(config->window64_gpa >> GIB_BITS) : 0);
    set_name(dsdt, "P64E",
             !config->window64_bytes ? 0 : (uint32_t)((config->window64_gpa + config->window64_bytes) >> GIB_BITS));
    t->bytes += (uint32_t)sizeof dsdt_aml_code;
    end(t, start);
    return start;
}

/* A generic address: a port, or none at all. */
static void put_port(struct acpi_tables *t, unsigned port, unsigned bytes)
{
    put(t, port ? SPACE_PORTS : 0, 1);
    put(t, 8 * bytes, 1);
    put(t, 0, 1);
    put(t, 0, 1);
    put(t, port, 8);
}

/* 148 to 244: the same blocks as generic addresses. */
static void add_fadt_blocks(struct acpi_tables *t)
{
    put_port(t, PIIX4_PM_EVENT, 4);
    put_port(t, 0, 0);
    put_port(t, PIIX4_PM_CONTROL, 2);
    put_port(t, 0, 0);
    put_port(t, 0, 0);
    put_port(t, PIIX4_PM_TIMER, 4);
    put_port(t, PIIX4_PM_GPE0, 4);
    put_port(t, 0, 0);
}

static uint32_t add_fadt(struct acpi_tables *t, uint32_t facs, uint32_t dsdt, unsigned vcpus)
{
    uint32_t start = begin(t, "FACP", 3);
    put_pointer(t, facs, 4);
    put_pointer(t, dsdt, 4);
    put(t, 0, 2); /* interrupt model, profile */
    put(t, PIIX4_PM_SCI, 2);
    put(t, PIIX4_PM_COMMAND, 4);
    put(t, PIIX4_PM_ACPI_ENABLE, 1);
    put(t, PIIX4_PM_ACPI_DISABLE, 1);
    put(t, 0, 2); /* S4BIOS, processor states */
    put(t, PIIX4_PM_EVENT, 4);
    put(t, 0, 4);
    put(t, PIIX4_PM_CONTROL, 4);
    put(t, 0, 4);
    put(t, 0, 4);
    put(t, PIIX4_PM_TIMER, 4);
    put(t, PIIX4_PM_GPE0, 4);
    put(t, 0, 4);
    put(t, 0x0404000204, 5); /* lengths: event 4, control 2, second control 0, timer 4, general purpose 4 */
    put(t, 0, 3);            /* second event block: length, base; C-state control */
    put(t, NO_C2, 2);
    put(t, NO_C3, 2);
    put(t, 0, 8); /* flush size and stride, duty offset and width, day and month alarm */
    put(t, CENTURY_REGISTER, 1);
    put(t, BOOT_LEGACY_DEVICES | BOOT_8042 | BOOT_NO_VGA, 2);
    put(t, 0, 1);
    put(t,
        FLAG_WBINVD | FLAG_C1 | FLAG_NO_SLEEP_BUTTON | FLAG_NO_FIXED_RTC | FLAG_RESET_REGISTER |
            (vcpus > FLAT_APIC_MAX ? FLAG_CLUSTERED_APIC : 0),
        4);
    put_port(t, RESET_PORT, 1);
    put(t, RESET_VALUE, 1);
    put(t, 0, 3);
    put(t, 0, 8); /* FACS: the 32-bit field says it */
    put_pointer(t, dsdt, 8);
    add_fadt_blocks(t);
    assert(t->bytes - start == 244);
    end(t, start);
    return start;
}

static void put_override(struct acpi_tables *t, unsigned irq, unsigned gsi, unsigned flags)
{
    put(t, 2, 1);
    put(t, 10, 1);
    put(t, 0, 1);
    put(t, irq, 1);
    put(t, gsi, 4);
    put(t, flags, 2);
}

static uint32_t add_madt(struct acpi_tables *t, unsigned vcpus)
{
    static const uint8_t level_lines[] = {5, PIIX4_PM_SCI, 10, 11};
    uint32_t start = begin(t, "APIC", 1);
    put(t, lapic_gpa, 4);
    put(t, MADT_PCAT, 4);
    for (unsigned i = 0; i < vcpus; i++) {
        put(t, 0, 1);
        put(t, 8, 1);
        put(t, i, 1); /* its number, and its APIC's */
        put(t, i, 1);
        put(t, 1, 4); /* enabled */
    }
    put(t, 1, 1);
    put(t, 12, 1);
    put(t, 0, 2); /* the IOAPIC's id */
    put(t, ioapic_gpa, 4);
    put(t, 0, 4);
    put_override(t, 0, 2, 0);
    for (unsigned i = 0; i < sizeof level_lines; i++)
        put_override(t, level_lines[i], level_lines[i], LEVEL_HIGH);
    put(t, 4, 1);
    put(t, 6, 1);
    put(t, 0xff, 1); /* of every processor */
    put(t, 0, 2);
    put(t, LINT_NMI, 1);
    end(t, start);
    return start;
}

static uint32_t add_root(struct acpi_tables *t, const char *signature, const uint32_t *tables, unsigned count,
                         unsigned bytes)
{
    uint32_t start = begin(t, signature, 1);
    for (unsigned i = 0; i < count; i++)
        put_pointer(t, tables[i], bytes);
    end(t, start);
    return start;
}

/* ---- */

void acpi_config_windows(struct acpi_config *config, const struct memory *memory, unsigned address_bits)
{
    uint64_t low = window32_min, high = memory_high_start, end_gpa = 1ull << (address_bits < 52 ? address_bits : 52);
    for (unsigned i = 0; i < memory_slot_count(memory); i++) {
        const struct memory_slot *slot = memory_slot(memory, i);
        uint64_t slot_end = slot->gpa + slot->bytes;
        if (slot_end < window32_end && slot_end > low)
            low = slot_end;
        if (slot_end > high)
            high = slot_end;
    }
    high = (high + (1ull << GIB_BITS) - 1) & ~((1ull << GIB_BITS) - 1);
    config->window32_gpa = low;
    config->window64_gpa = high;
    config->window64_bytes = high >= end_gpa ? 0 : end_gpa - high;
    if (config->window64_bytes > window64_max)
        config->window64_bytes = window64_max;
}

struct acpi_tables *acpi_tables_new(const struct acpi_config *config, struct err *err)
{
    if (config->vcpus < 1 || config->vcpus > VCPU_MAX) {
        err_set(err, EINVAL, "a guest has 1 to %d vCPUs, not %u", VCPU_MAX, config->vcpus);
        return NULL;
    }
    struct acpi_tables *t = calloc(1, sizeof *t);
    if (!t) {
        err_set(err, ENOMEM, "no memory for ACPI tables");
        return NULL;
    }
    uint32_t facs = add_facs(t); /* first: it is aligned to 64 bytes, as the whole is */
    uint32_t dsdt = add_dsdt(t, config);
    const uint32_t tables[] = {add_fadt(t, facs, dsdt, config->vcpus), add_madt(t, config->vcpus)};
    unsigned count = sizeof tables / sizeof tables[0];
    t->rsdt = add_root(t, "RSDT", tables, count, 4);
    t->xsdt = add_root(t, "XSDT", tables, count, 8);
    return t;
}

void acpi_tables_free(struct acpi_tables *t)
{
    free(t);
}
