/* Linux's 64-bit entry: long mode, the first 4 GiB mapped one to one, RSI at the zero page (struct boot_params). */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "hv/boot/boot_inside.h"
#include "hv/boot/bzimage.h"
#include "hv/boot/elf.h"
#include "hv/cpu_state.h"
#include "hv/memory.h"
#include "node/base/err.h"

enum zero_page_field {
    ACPI_RSDP = 0x070,
    E820_COUNT = 0x1e8,
    BOOT_FLAG = 0x1fe,
    HEADER_MAGIC = 0x202,
    HEADER_VERSION = 0x206,
    LOADER = 0x210,
    INITRD_START = 0x218,
    INITRD_BYTES = 0x21c,
    CMDLINE = 0x228,
    ALIGNMENT = 0x230,
    CMDLINE_MAX = 0x238,
    E820_TABLE = 0x2d0, /* entries of 20 bytes */
    E820_ENTRY_BYTES = 20,
};

enum { LOADER_UNDEFINED = 0xff, ENTRY_64 = 0x200, MIB_2 = 2 << 20 };
enum { PAGE_PRESENT_WRITE = 0x3, PAGE_LARGE = 0x80, ENTRIES = 512, DIRECTORIES = 4 };

struct zero_page {
    uint8_t bytes[MEMORY_PAGE_BYTES];
};

static void put_u32(struct zero_page *page, unsigned at, uint32_t value)
{
    value = htole32(value);
    memcpy(page->bytes + at, &value, sizeof value);
}

static void put_u64(struct zero_page *page, unsigned at, uint64_t value)
{
    value = htole64(value);
    memcpy(page->bytes + at, &value, sizeof value);
}

static void put_map(struct zero_page *page, const struct memory *memory)
{
    struct boot_range map[BOOT_RANGE_MAX];
    unsigned ranges = boot_map(memory, map);
    page->bytes[E820_COUNT] = (uint8_t)ranges;
    for (unsigned i = 0; i < ranges; i++) {
        unsigned at = E820_TABLE + i * E820_ENTRY_BYTES;
        put_u64(page, at, map[i].start);
        put_u64(page, at + 8, map[i].bytes);
        put_u32(page, at + 16, map[i].type);
    }
}

/* A top table, four directory pointers, four directories of 2 MiB pages. */
static int map_identity(struct memory *memory, struct err *err)
{
    uint64_t table[ENTRIES] = {BOOT_TABLES + MEMORY_PAGE_BYTES + PAGE_PRESENT_WRITE};
    int rc = boot_write(memory, BOOT_TABLES, table, sizeof table, err);
    for (unsigned i = 0; i < DIRECTORIES; i++)
        table[i] = BOOT_TABLES + (2 + i) * (uint64_t)MEMORY_PAGE_BYTES + PAGE_PRESENT_WRITE;
    rc = rc ? rc : boot_write(memory, BOOT_TABLES + MEMORY_PAGE_BYTES, table, sizeof table, err);
    for (unsigned d = 0; !rc && d < DIRECTORIES; d++) {
        for (uint64_t i = 0; i < ENTRIES; i++)
            table[i] = (d * (uint64_t)ENTRIES + i) * MIB_2 + PAGE_LARGE + PAGE_PRESENT_WRITE;
        rc = boot_write(memory, BOOT_TABLES + (2 + d) * (uint64_t)MEMORY_PAGE_BYTES, table, sizeof table, err);
    }
    return rc;
}

/* What both kinds of kernel get. page has the setup header already. */
static int enter(struct memory *memory, const struct boot_files *files, struct zero_page *page, uint64_t initrd,
                 uint64_t entry, struct cpu_state *bsp, struct err *err)
{
    page->bytes[LOADER] = LOADER_UNDEFINED;
    put_u32(page, INITRD_START, (uint32_t)initrd);
    put_u32(page, INITRD_BYTES, initrd ? (uint32_t)files->initrd_bytes : 0);
    put_u32(page, CMDLINE, BOOT_CMDLINE);
    put_u64(page, ACPI_RSDP, files->rsdp);
    put_map(page, memory);
    int rc = boot_write(memory, BOOT_INFO, page, sizeof *page, err);
    rc = rc ? rc : map_identity(memory, err);
    rc = rc ? rc : boot_start_cpu(memory, true, bsp, err);
    bsp->cr0 = 0x80000033; /* PE, MP, ET, NE, PG */
    bsp->cr3 = BOOT_TABLES;
    bsp->cr4 = 0x20;   /* PAE */
    bsp->efer = 0x500; /* LME, LMA */
    bsp->rip = entry;
    bsp->gpr[CPU_RSI] = BOOT_INFO;
    return rc;
}

/* Where the image goes: its favourite address, or, if it does not mind and there is too little memory for that, lower.
 */
static int choose_address(const struct memory *memory, const struct bzimage *image, uint64_t *at, struct err *err)
{
    uint64_t room = image->init_bytes > image->code_bytes ? image->init_bytes : image->code_bytes;
    uint64_t low_bytes = memory_slot(memory, 0)->bytes, alignment = image->alignment;
    *at = image->preferred_address;
    if (image->relocatable && alignment && !(alignment & (alignment - 1)) &&
        (*at < BOOT_HIGH || *at > low_bytes || room > low_bytes - *at)) {
        *at = (BOOT_HIGH + alignment - 1) & ~(alignment - 1);
    }
    if (*at < BOOT_HIGH)
        return err_set(err, EINVAL, "it wants to be loaded at %#llx, below 1 MiB", (unsigned long long)*at);
    if (*at > low_bytes || room > low_bytes - *at)
        return err_set(err, ENOSPC,
                       "it needs %llu MiB at %llu MiB to unpack itself, and the guest has %llu MiB below "
                       "4 GiB: give it more",
                       (unsigned long long)(room >> 20) + 1, (unsigned long long)(*at >> 20),
                       (unsigned long long)(low_bytes >> 20));
    return 0;
}

int boot_linux64_image(struct memory *memory, const struct boot_files *files, const struct bzimage *image,
                       struct cpu_state *bsp, struct err *err)
{
    struct zero_page page = {0};
    uint64_t at = 0, initrd = 0;
    if (!image->entry_64)
        return err_set(err, EINVAL, "it has no 64-bit entry: is it a 32-bit kernel?");
    int rc = choose_address(memory, image, &at, err);
    rc = rc ? rc : boot_write(memory, at, image->code, image->code_bytes, err);
    uint64_t end = at + (image->init_bytes > image->code_bytes ? image->init_bytes : image->code_bytes);
    rc = rc ? rc : boot_place_initrd(memory, files, end, (uint64_t)image->initrd_max + 1, &initrd, err);
    rc = rc ? rc : boot_place_cmdline(memory, files->cmdline, image->cmdline_max, err);
    if (rc)
        return rc;
    memcpy(page.bytes + BZIMAGE_HEADER, image->header, image->header_bytes);
    return enter(memory, files, &page, initrd, at + ENTRY_64, bsp, err);
}

int boot_linux64_elf(struct memory *memory, const struct boot_files *files, const struct elf_kernel *kernel,
                     struct cpu_state *bsp, struct err *err)
{
    struct zero_page page = {0};
    uint64_t initrd = 0;
    if (kernel->entry < kernel->start || kernel->entry >= kernel->end)
        return err_set(err, EINVAL, "its entry %#llx is in none of its segments", (unsigned long long)kernel->entry);
    int rc = boot_place_initrd(memory, files, kernel->end, 1u << 31, &initrd, err);
    rc = rc ? rc : boot_place_cmdline(memory, files->cmdline, BOOT_CMDLINE_DEFAULT, err);
    if (rc)
        return rc;
    page.bytes[BOOT_FLAG] = 0x55;
    page.bytes[BOOT_FLAG + 1] = 0xaa;
    memcpy(page.bytes + HEADER_MAGIC, "HdrS", 4);
    put_u32(&page, HEADER_VERSION, 0x20f);
    put_u32(&page, ALIGNMENT, MIB_2);
    put_u32(&page, CMDLINE_MAX, BOOT_CMDLINE_DEFAULT);
    return enter(memory, files, &page, initrd, kernel->entry, bsp, err);
}
