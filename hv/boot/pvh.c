/* The PVH entry: 32-bit code, flat segments, no paging, EBX at a start info that leads to everything else. */
#include <errno.h>
#include <stddef.h>

#include "hv/boot/boot_inside.h"
#include "hv/boot/elf.h"
#include "hv/cpu_state.h"
#include "hv/memory.h"
#include "node/base/err.h"

enum { START_MAGIC = 0x336ec578, START_VERSION = 1 };

/* As they lie in guest memory: little-endian, and so are we (x86-64 on x86-64). */
struct start_info {
    uint32_t magic, version, flags, module_count;
    uint64_t modules, cmdline, rsdp, map;
    uint32_t map_count, reserved;
};

struct start_module {
    uint64_t start, bytes, cmdline, reserved;
};

struct start_range {
    uint64_t start, bytes;
    uint32_t type, reserved;
};

struct start_page {
    struct start_info info;
    struct start_module initrd;
    struct start_range map[BOOT_RANGE_MAX];
};

_Static_assert(sizeof(struct start_info) == 56, "hvm_start_info version 1");
_Static_assert(sizeof(struct start_range) == 24, "hvm_memmap_table_entry");
_Static_assert(sizeof(struct start_page) <= MEMORY_PAGE_BYTES, "one page");

int boot_pvh(struct memory *memory, const struct boot_files *files, const struct elf_kernel *kernel,
             struct cpu_state *bsp, struct err *err)
{
    struct start_page page = {0};
    struct boot_range map[BOOT_RANGE_MAX];
    unsigned ranges = boot_map(memory, map);
    uint64_t initrd;
    if (kernel->pvh_entry < kernel->start || kernel->pvh_entry >= kernel->end)
        return err_set(err, EINVAL, "its PVH entry %#x is in none of its segments", kernel->pvh_entry);
    int rc = boot_place_initrd(memory, files, kernel->end, memory_low_end, &initrd, err);
    rc = rc ? rc : boot_place_cmdline(memory, files->cmdline, BOOT_CMDLINE_DEFAULT, err);
    rc = rc ? rc : boot_start_cpu(memory, false, bsp, err);
    if (rc)
        return rc;
    page.info = (struct start_info){
        .magic = START_MAGIC,
        .version = START_VERSION,
        .module_count = initrd ? 1 : 0,
        .modules = initrd ? BOOT_INFO + offsetof(struct start_page, initrd) : 0,
        .cmdline = BOOT_CMDLINE,
        .rsdp = files->rsdp,
        .map = BOOT_INFO + offsetof(struct start_page, map),
        .map_count = ranges,
    };
    page.initrd = (struct start_module){.start = initrd, .bytes = initrd ? files->initrd_bytes : 0};
    for (unsigned i = 0; i < ranges; i++)
        page.map[i] = (struct start_range){map[i].start, map[i].bytes, map[i].type, 0};
    bsp->rip = kernel->pvh_entry;
    bsp->gpr[CPU_RBX] = BOOT_INFO;
    return boot_write(memory, BOOT_INFO, &page, sizeof page, err);
}
