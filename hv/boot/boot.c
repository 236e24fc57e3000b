/* See boot.h. Which way a kernel goes, and what the ways share. */
#include "hv/boot/boot.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "hv/boot/boot_inside.h"
#include "hv/boot/bzimage.h"
#include "hv/boot/elf.h"
#include "hv/boot/payload.h"
#include "hv/cpu_state.h"
#include "hv/memory.h"
#include "node/base/err.h"

enum { E820_RAM = 1, E820_RESERVED = 2 };

/* ---- what the ways share ---- */

int boot_write(struct memory *memory, uint64_t gpa, const void *data, size_t bytes, struct err *err)
{
    if (memory_write(memory, gpa, data, bytes))
        return err_set(err, ENOSPC, "the guest has no memory at %#llx: give it more", (unsigned long long)gpa);
    return 0;
}

unsigned boot_map(const struct memory *memory, struct boot_range ranges[BOOT_RANGE_MAX])
{
    unsigned n = 0;
    ranges[n++] = (struct boot_range){0, BOOT_RAM_END, E820_RAM};
    ranges[n++] = (struct boot_range){BOOT_RAM_END, 0xa0000 - BOOT_RAM_END, E820_RESERVED};
    ranges[n++] = (struct boot_range){BOOT_TABLES_START, BOOT_HIGH - BOOT_TABLES_START, E820_RESERVED};
    for (unsigned i = 0; i < memory_slot_count(memory) && n < BOOT_RANGE_MAX; i++) {
        const struct memory_slot *slot = memory_slot(memory, i);
        uint64_t start = slot->gpa ? slot->gpa : BOOT_HIGH;
        if (!slot->read_only && slot->gpa + slot->bytes > start)
            ranges[n++] = (struct boot_range){start, slot->gpa + slot->bytes - start, E820_RAM};
    }
    return n;
}

static int read_initrd(struct memory *memory, const struct boot_files *files, uint64_t at, struct err *err)
{
    uint8_t *to = memory_at_writable(memory, at, files->initrd_bytes);
    size_t got = 0;
    while (to && got < files->initrd_bytes) {
        ssize_t n = pread(files->initrd_fd, to + got, files->initrd_bytes - got, (off_t)got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_set(err, n ? errno : EIO, "the initrd cannot be read, but for %zu of its %zu bytes: %s", got,
                           files->initrd_bytes, n ? strerror(errno) : "its file has become shorter");
        got += (size_t)n;
    }
    if (!to)
        return err_set(err, ENOSPC, "the guest has no memory at %#llx: give it more", (unsigned long long)at);
    memory_touched(memory, at, files->initrd_bytes);
    return 0;
}

int boot_place_initrd(struct memory *memory, const struct boot_files *files, uint64_t kernel_end, uint64_t limit,
                      uint64_t *at, struct err *err)
{
    const struct memory_slot *low = memory_slot(memory, 0);
    uint64_t end = low->bytes < limit ? low->bytes : limit;
    *at = 0;
    if (!files->initrd_bytes)
        return 0;
    uint64_t pages = ((uint64_t)files->initrd_bytes + MEMORY_PAGE_BYTES - 1) & ~(uint64_t)(MEMORY_PAGE_BYTES - 1);
    end &= ~(uint64_t)(MEMORY_PAGE_BYTES - 1);
    if (files->initrd_bytes > end || pages > end || end - pages < kernel_end)
        return err_set(err, ENOSPC,
                       "an initrd of %zu MiB does not fit between the kernel's end at %llu MiB and %llu MiB: "
                       "give the guest more memory",
                       (files->initrd_bytes >> 20) + 1, (unsigned long long)(kernel_end >> 20) + 1,
                       (unsigned long long)end >> 20);
    *at = end - pages;
    return files->initrd ? boot_write(memory, *at, files->initrd, files->initrd_bytes, err)
                         : read_initrd(memory, files, *at, err);
}

int boot_place_cmdline(struct memory *memory, const char *cmdline, uint32_t max, struct err *err)
{
    size_t letters = cmdline ? strlen(cmdline) : 0;
    if (max > BOOT_CMDLINE_MAX)
        max = BOOT_CMDLINE_MAX;
    if (letters > max)
        return err_set(err, EINVAL, "the command line has %zu letters, and this kernel takes at most %u", letters, max);
    return boot_write(memory, BOOT_CMDLINE, cmdline ? cmdline : "", letters + 1, err);
}

static struct cpu_segment segment(uint16_t selector, uint16_t attributes)
{
    return (struct cpu_segment){.limit = 0xffffffff, .selector = selector, .attributes = attributes};
}

static void set_lapic(struct cpu_state *cpu, unsigned offset, uint32_t value)
{
    memcpy(cpu->lapic + offset, &value, sizeof value);
}

int boot_start_cpu(struct memory *memory, bool long_mode, struct cpu_state *cpu, struct err *err)
{
    static const uint64_t gdt_32[5] = {0, 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00008b0000000067};
    static const uint64_t gdt_64[5] = {0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00008b0000000067};
    const uint16_t code = CPU_SEG_P | CPU_SEG_S | CPU_SEG_G | 0xb, data = CPU_SEG_P | CPU_SEG_S | CPU_SEG_G | 0x3;
    cpu_state_reset(cpu, 0);
    for (unsigned i = CPU_ES; i <= CPU_GS; i++)
        cpu->seg[i] = segment(BOOT_DS, data | CPU_SEG_DB);
    cpu->seg[CPU_CS] = segment(BOOT_CS, code | (long_mode ? CPU_SEG_L : CPU_SEG_DB));
    cpu->seg[CPU_TR] = (struct cpu_segment){.limit = 0x67, .selector = BOOT_TSS, .attributes = CPU_SEG_P | 0xb};
    cpu->gdt = (struct cpu_table){.base = BOOT_GDT, .limit = sizeof gdt_32 - 1};
    cpu->idt = (struct cpu_table){.base = 0, .limit = 0};
    memset(cpu->gpr, 0, sizeof cpu->gpr);
    cpu->cr0 = 0x11;                         /* PE, ET */
    cpu->msr[CPU_MSR_MTRR_DEF_TYPE] = 0x806; /* on, write-back */
    set_lapic(cpu, 0xf0, 0x1ff);             /* enabled */
    set_lapic(cpu, 0x350, 0x700);            /* LINT0 is the PIC's */
    set_lapic(cpu, 0x360, 0x400);            /* LINT1 is NMI */
    return boot_write(memory, BOOT_GDT, long_mode ? gdt_64 : gdt_32, sizeof gdt_32, err);
}

/* ---- which way ---- */

static int load_elf(struct memory *memory, const uint8_t *data, size_t bytes, bool packed, struct elf_kernel *kernel,
                    struct err *err)
{
    struct elf_loader loader;
    elf_loader_init(&loader, memory);
    int rc = packed ? payload_unpack(data, bytes, &loader.sink, err) : payload_copy(data, bytes, &loader.sink, err);
    rc = rc ? rc : elf_loader_finish(&loader, kernel, err);
    elf_loader_fini(&loader);
    return rc;
}

static int boot_elf(struct memory *memory, const struct boot_files *files, struct cpu_state *bsp, struct err *err)
{
    struct elf_kernel kernel;
    int rc = load_elf(memory, files->kernel, files->kernel_bytes, false, &kernel, err);
    if (rc)
        return rc;
    if (kernel.has_pvh && files->method != BOOT_LINUX64)
        return boot_pvh(memory, files, &kernel, bsp, err);
    if (files->method == BOOT_PVH)
        return err_set(err, EINVAL, "it has no PVH entry (CONFIG_PVH=y makes one): boot it with linux64");
    return boot_linux64_elf(memory, files, &kernel, bsp, err);
}

static int boot_bzimage(struct memory *memory, const struct boot_files *files, struct cpu_state *bsp, struct err *err)
{
    struct bzimage image;
    struct elf_kernel kernel = {0};
    int rc = bzimage_parse(files->kernel, files->kernel_bytes, &image, err);
    if (rc || files->method == BOOT_LINUX64)
        return rc ? rc : boot_linux64_image(memory, files, &image, bsp, err);
    bool known = image.payload && payload_format(image.payload, image.payload_bytes);
    if (known)
        rc = load_elf(memory, image.payload, image.payload_bytes, true, &kernel, err);
    if (rc)
        return err_prefix(err, "the kernel in it");
    if (kernel.has_pvh)
        return boot_pvh(memory, files, &kernel, bsp, err);
    if (files->method == BOOT_AUTO && image.entry_64)
        return boot_linux64_image(memory, files, &image, bsp, err);
    if (!known)
        return err_set(err, EINVAL, "the kernel in it is compressed with none of XZ, LZ4, zstd and gzip");
    return err_set(err, EINVAL, "it has no PVH entry (CONFIG_PVH=y makes one): boot it with linux64");
}

int boot_kernel(struct memory *memory, const struct boot_files *files, struct cpu_state *bsp, struct err *err)
{
    if (elf_is(files->kernel, files->kernel_bytes))
        return boot_elf(memory, files, bsp, err);
    if (bzimage_is(files->kernel, files->kernel_bytes))
        return boot_bzimage(memory, files, bsp, err);
    return err_set(err, EINVAL, "it is neither a bzImage nor an ELF file");
}
