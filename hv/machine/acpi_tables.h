/* The ACPI tables of a guest: what its kernel finds the machine by.
 *
 * Built once, without knowing where they will be: pointers between tables are offsets until then. They get to the guest
 * in one of two ways: written into its memory, for a kernel that is booted directly (acpi_tables_place); or through
 * fw_cfg with a script by which firmware places them itself (acpi_tables_offer).
 *
 *     RSDP -> RSDT, XSDT -> FADT -> DSDT (dsdt.asl, with the windows for PCI), FACS;  MADT: processors, IOAPIC
 *
 * Thread: main, before the guest runs. Source: ACPI 6.4 ch. 5.2 (FADT of revision 3); the script's format is QEMU's,
 * which SeaBIOS reads (src/fw/romfile_loader.h there). */
#ifndef HV_MACHINE_ACPI_TABLES_H
#define HV_MACHINE_ACPI_TABLES_H

#include <stddef.h>
#include <stdint.h>

struct acpi_tables;
struct err;
struct fw_cfg;
struct memory;

enum { ACPI_BYTES_MAX = 16384, ACPI_PLACE_GPA = 0xe0000, ACPI_PLACE_BYTES = 0x10000 };

struct acpi_config {
    unsigned vcpus; /* APIC ids 0 to vcpus - 1 */
    /* Where PCI memory may lie: from here to FEC00000h, and (bytes may be 0) above 4 GiB, in multiples of 1 GiB. */
    uint64_t window32_gpa;
    uint64_t window64_gpa, window64_bytes;
};

/* For memory as it is laid out: the gap below 4 GiB, but not below 2 GiB, where SeaBIOS starts its own; and as much as
 * address_bits (of the processor) leave above RAM, 64 GiB at the most. */
void acpi_config_windows(struct acpi_config *config, const struct memory *memory, unsigned address_bits);

/* NULL with a text: -EINVAL, -ENOMEM. */
struct acpi_tables *acpi_tables_new(const struct acpi_config *config, struct err *err);
void acpi_tables_free(struct acpi_tables *tables);

/* Writes RSDP and tables at gpa (ACPI_PLACE_GPA is where kernels look), a multiple of 64, within `bytes` of it. The
 * RSDP is at gpa itself. -ENOSPC, -EFAULT. */
int acpi_tables_place(const struct acpi_tables *tables, struct memory *memory, uint64_t gpa, uint64_t bytes,
                      struct err *err);
/* Adds etc/acpi/rsdp, etc/acpi/tables and etc/table-loader. */
int acpi_tables_offer(const struct acpi_tables *tables, struct fw_cfg *fw_cfg, struct err *err);

#endif
