/* What the ways to boot share: the map of memory, the place of the initrd and the command line, the vCPU's start.
 * Thread: the main one. */
#ifndef HV_BOOT_BOOT_INSIDE_H
#define HV_BOOT_BOOT_INSIDE_H

#include <stdbool.h>
#include <stdint.h>

#include "hv/boot/boot.h"

struct bzimage;
struct elf_kernel;

enum {
    BOOT_GDT = 0x500,
    BOOT_INFO = 0x7000, /* a page */
    BOOT_TABLES = 0x9000,
    BOOT_CMDLINE = 0x20000,
    BOOT_CMDLINE_MAX = 0xffff,
    BOOT_CMDLINE_DEFAULT = 2047, /* Linux's COMMAND_LINE_SIZE - 1 */
    BOOT_RAM_END = 0x9fc00,      /* of the first 640 KiB: the rest is the BIOS's data area */
    BOOT_TABLES_START = 0xe0000, /* ACPI's */
    BOOT_HIGH = 0x100000,
    BOOT_RANGE_MAX = 8,
};

enum boot_selector { BOOT_CS = 0x10, BOOT_DS = 0x18, BOOT_TSS = 0x20 };

struct boot_range {
    uint64_t start, bytes;
    uint32_t type; /* as in E820: 1 is RAM, 2 reserved */
};

/* What lies where, sorted; how many. */
unsigned boot_map(const struct memory *memory, struct boot_range ranges[BOOT_RANGE_MAX]);
/* The initrd below `limit` and above kernel_end; *at is 0 if there is none. */
int boot_place_initrd(struct memory *memory, const struct boot_files *files, uint64_t kernel_end, uint64_t limit,
                      uint64_t *at, struct err *err);
int boot_place_cmdline(struct memory *memory, const char *cmdline, uint32_t max, struct err *err);
int boot_write(struct memory *memory, uint64_t gpa, const void *data, size_t bytes, struct err *err);

/* The GDT, and what firmware would have left: caching on, the PIC connected through LINT0. */
int boot_start_cpu(struct memory *memory, bool long_mode, struct cpu_state *cpu, struct err *err);

int boot_pvh(struct memory *memory, const struct boot_files *files, const struct elf_kernel *kernel,
             struct cpu_state *bsp, struct err *err);
int boot_linux64_image(struct memory *memory, const struct boot_files *files, const struct bzimage *image,
                       struct cpu_state *bsp, struct err *err);
int boot_linux64_elf(struct memory *memory, const struct boot_files *files, const struct elf_kernel *kernel,
                     struct cpu_state *bsp, struct err *err);

#endif
