/* SMBIOS: who made this machine, its name, serial number and UUID, processors and memory, as dmidecode and cloud-init
 * read them.
 *
 * Like the ACPI tables it gets to the guest through its memory, for a kernel that is booted directly, or through
 * fw_cfg. Thread: main, before the guest runs. Source: DMTF DSP0134 2.8 (the 32-bit entry point, which all firmware
 * knows). */
#ifndef HV_MACHINE_SMBIOS_H
#define HV_MACHINE_SMBIOS_H

#include <stdint.h>

struct err;
struct fw_cfg;
struct memory;
struct smbios;

enum { SMBIOS_PLACE_GPA = 0xf0000, SMBIOS_PLACE_BYTES = 0x10000, SMBIOS_BYTES_MAX = 4096, SMBIOS_TEXT_MAX = 64 };

struct smbios_config {
    const char *product; /* texts may be NULL: not specified; longer ones are cut at SMBIOS_TEXT_MAX */
    const char *version, *serial;
    uint8_t uuid[16]; /* in the order it is written in; all zero: not set */
    unsigned vcpus;
    const struct memory *memory;
};

struct smbios *smbios_new(const struct smbios_config *config, struct err *err);
void smbios_free(struct smbios *smbios);

/* The entry point is at gpa, a multiple of 16; kernels look from SMBIOS_PLACE_GPA to FFFFFh. -ENOSPC, -EFAULT. */
int smbios_place(const struct smbios *smbios, struct memory *memory, uint64_t gpa, uint64_t bytes, struct err *err);
/* Adds etc/smbios/smbios-anchor and etc/smbios/smbios-tables; firmware fills in the address and checksums. */
int smbios_offer(const struct smbios *smbios, struct fw_cfg *fw_cfg, struct err *err);

#endif
