/* The tables between acpi_tables.c, which builds them, and acpi_place.c, which brings them to the guest. */
#ifndef HV_MACHINE_ACPI_PLACE_H
#define HV_MACHINE_ACPI_PLACE_H

#include <stdint.h>

#include "hv/machine/acpi_tables.h"

enum { ACPI_POINTER_MAX = 12, ACPI_TABLE_MAX = 8 };

struct acpi_pointer { /* the number at data[at] counts from the start of data, until that has an address */
    uint32_t at, bytes;
};

struct acpi_sum { /* the byte at data[at] makes the sum of these bytes 0 */
    uint32_t at, start, bytes;
};

struct acpi_tables {
    uint32_t bytes;
    uint32_t rsdt, xsdt;
    unsigned pointer_count, sum_count;
    struct acpi_pointer pointers[ACPI_POINTER_MAX];
    struct acpi_sum sums[ACPI_TABLE_MAX];
    uint8_t data[ACPI_BYTES_MAX];
};

#endif
