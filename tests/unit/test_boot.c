/* Booting: kernels made here, of every format and with every fault, and Debian's own. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cmocka.h>
#include <elf.h>
#include <lz4.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include "hv/boot/boot.h"
#include "hv/boot/bzimage.h"
#include "hv/boot/payload.h"
#include "hv/cpu_state.h"
#include "hv/memory.h"
#include "node/base/err.h"

enum {
    MIB = 1 << 20,
    TEXT_AT = 16 * MIB,
    TEXT_BYTES = 9 * MIB,
    DATA_AT = 26 * MIB,
    DATA_BYTES = 5000,
    BSS_BYTES = 8192
};
enum { TEXT_OFFSET = 0x10000, NOTE_OFFSET = TEXT_OFFSET + TEXT_BYTES, DATA_OFFSET = NOTE_OFFSET + 0x1000 };
enum { ELF_BYTES = DATA_OFFSET + DATA_BYTES + 777, ROOM = ELF_BYTES + 4 * MIB, CODE_AT = 5 * 512, PAYLOAD_AT = 716 };
enum { PVH_ENTRY = TEXT_AT + 0x1230, ENTRY = TEXT_AT + 0x100 };

static uint8_t *elf;  /* a kernel */
static uint8_t *file; /* one around it */
static struct memory *memory;
static struct cpu_state cpu;
static struct err err;

static void put_u16(uint8_t *at, uint16_t v)
{
    memcpy(at, &v, sizeof v);
}

static void put_u32(uint8_t *at, uint32_t v)
{
    memcpy(at, &v, sizeof v);
}

static uint32_t get_u32(uint64_t gpa)
{
    uint32_t v;
    assert_int_equal(memory_read(memory, gpa, &v, sizeof v), 0);
    return v;
}

static uint64_t get_u64(uint64_t gpa)
{
    return get_u32(gpa) | (uint64_t)get_u32(gpa + 4) << 32;
}

static Elf64_Ehdr *header(void)
{
    return (Elf64_Ehdr *)(void *)elf;
}

static Elf64_Phdr *segment(unsigned i)
{
    return (Elf64_Phdr *)(void *)(elf + sizeof(Elf64_Ehdr)) + i;
}

/* Text, data with zeroes behind it, and a note of somebody else's before the one that counts. */
static void make_elf(void)
{
    memset(elf, 0, ELF_BYTES);
    *header() = (Elf64_Ehdr){.e_type = ET_EXEC,
                             .e_machine = EM_X86_64,
                             .e_entry = ENTRY,
                             .e_phoff = sizeof(Elf64_Ehdr),
                             .e_phentsize = sizeof(Elf64_Phdr),
                             .e_phnum = 3};
    memcpy(elf, ELFMAG, SELFMAG);
    elf[EI_CLASS] = ELFCLASS64;
    elf[EI_DATA] = ELFDATA2LSB;
    *segment(0) = (Elf64_Phdr){
        .p_type = PT_LOAD, .p_offset = TEXT_OFFSET, .p_paddr = TEXT_AT, .p_filesz = TEXT_BYTES, .p_memsz = TEXT_BYTES};
    *segment(1) = (Elf64_Phdr){.p_type = PT_LOAD,
                               .p_offset = DATA_OFFSET,
                               .p_paddr = DATA_AT,
                               .p_filesz = DATA_BYTES,
                               .p_memsz = DATA_BYTES + BSS_BYTES};
    *segment(2) = (Elf64_Phdr){.p_type = PT_NOTE, .p_offset = NOTE_OFFSET, .p_filesz = 20 + 20, .p_align = 4};
    static const uint32_t notes[] = {4, 4, 1, 0x00554e47, 7, 4, 4, 18, 0x006e6558, PVH_ENTRY};
    memcpy(elf + NOTE_OFFSET, notes, sizeof notes);
    uint32_t x = 1;
    for (unsigned i = 0; i < TEXT_BYTES; i++) { /* neither random nor dull */
        x = x * 1664525 + 1013904223;
        elf[TEXT_OFFSET + i] = i % 7 ? (uint8_t)(i >> 4) : (uint8_t)(x >> 24);
    }
    for (unsigned i = 0; i < DATA_BYTES; i++)
        elf[DATA_OFFSET + i] = (uint8_t)(i * 3 + 1);
}

static size_t pack_xz(uint8_t *to, size_t room)
{
    size_t n = 0;
    lzma_easy_buffer_encode(0, LZMA_CHECK_CRC32, NULL, elf, ELF_BYTES, to, &n, room);
    return n;
}

static size_t pack_lz4(uint8_t *to, size_t room)
{
    size_t at = 4;
    put_u32(to, 0x184c2102);
    for (size_t from = 0; from < ELF_BYTES; from += 8 * MIB) {
        int n = ELF_BYTES - from < 8 * MIB ? (int)(ELF_BYTES - from) : 8 * MIB;
        int packed = LZ4_compress_default((const char *)elf + from, (char *)to + at + 4, n, (int)(room - at - 4));
        put_u32(to + at, (uint32_t)packed);
        at += 4 + (size_t)packed;
    }
    return at;
}

static size_t pack_zstd(uint8_t *to, size_t room)
{
    ZSTD_CCtx *c = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
    size_t n = ZSTD_compress2(c, to, room, elf, ELF_BYTES);
    ZSTD_freeCCtx(c);
    return n;
}

static size_t pack_gzip(uint8_t *to, size_t room)
{
    z_stream s = {.next_in = elf, .avail_in = ELF_BYTES, .next_out = to, .avail_out = (uInt)room};
    assert_int_equal(deflateInit2(&s, 1, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&s, Z_FINISH), Z_STREAM_END);
    deflateEnd(&s);
    return room - s.avail_out - 4; /* its own size is at its end already */
}

static size_t pack_nothing(uint8_t *to, size_t room)
{
    (void)room;
    memcpy(to, "\x89LZO", 4);
    memset(to + 4, 0x5a, 5000);
    return 5004;
}

/* A bzImage around the packed kernel; how long it is. */
static size_t make_bzimage(size_t (*pack)(uint8_t *, size_t))
{
    memset(file, 0, ROOM);
    size_t n = pack(file + CODE_AT + PAYLOAD_AT, ROOM - CODE_AT - PAYLOAD_AT - 4);
    put_u32(file + CODE_AT + PAYLOAD_AT + n, ELF_BYTES);
    n += 4;
    size_t code = (PAYLOAD_AT + n + 15) & ~(size_t)15;
    memset(file + CODE_AT, 0x90, PAYLOAD_AT);
    file[0x1f1] = 4;
    put_u32(file + 0x1f4, (uint32_t)(code / 16));
    put_u16(file + 0x1fe, 0xaa55);
    file[0x201] = 0x66;
    memcpy(file + 0x202, "HdrS", 4);
    put_u16(file + 0x206, 0x20f);
    file[0x211] = 1;
    put_u32(file + 0x22c, 0x7fffffff);
    put_u32(file + 0x230, 2 * MIB);
    file[0x234] = 1;
    put_u16(file + 0x236, 3);
    put_u32(file + 0x238, 2047);
    put_u32(file + 0x248, PAYLOAD_AT);
    put_u32(file + 0x24c, (uint32_t)n);
    put_u32(file + 0x258, TEXT_AT);
    put_u32(file + 0x260, 40 * MIB);
    return CODE_AT + code;
}

static int setup(void **state)
{
    (void)state;
    memory = memory_new(128 * MIB, &err);
    make_elf();
    memset(&cpu, 0x55, sizeof cpu);
    memset(&err, 0, sizeof err);
    return memory ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    memory_free(memory);
    return 0;
}

static int boot(const uint8_t *data, size_t bytes, enum boot_method method)
{
    struct boot_files files = {.kernel = data, .kernel_bytes = bytes, .method = method, .rsdp = 0xe0000};
    return boot_kernel(memory, &files, &cpu, &err);
}

static void refuses(int rc, const char *about)
{
    assert_int_not_equal(rc, 0);
    if (!strstr(err.text, about))
        fail_msg("'%s' does not speak of '%s'", err.text, about);
}

static void check_loaded(void)
{
    assert_memory_equal(memory_at(memory, TEXT_AT, TEXT_BYTES), elf + TEXT_OFFSET, TEXT_BYTES);
    assert_memory_equal(memory_at(memory, DATA_AT, DATA_BYTES), elf + DATA_OFFSET, DATA_BYTES);
    for (unsigned i = 0; i < BSS_BYTES; i += 4)
        assert_int_equal(get_u32(DATA_AT + DATA_BYTES + i), 0);
}

/* ---- PVH ---- */

static void check_pvh_cpu(void)
{
    assert_int_equal(cpu.rip, PVH_ENTRY);
    assert_int_equal(cpu.cr0 & 0x80000001, 1);
    assert_int_equal(cpu.cr4, 0);
    assert_int_equal(cpu.efer, 0);
    assert_int_equal(cpu.rflags, 2);
    for (unsigned i = CPU_ES; i <= CPU_DS; i++) {
        assert_int_equal(cpu.seg[i].base, 0);
        assert_int_equal(cpu.seg[i].limit, 0xffffffff);
        assert_int_equal(cpu.seg[i].attributes, i == CPU_CS ? 0xc09b : 0xc093);
    }
    assert_int_equal(cpu.seg[CPU_TR].attributes & 0xff, 0x8b);
    assert_int_equal(cpu.activity, CPU_RUNNING);
}

static void pvh_from_elf(void **state)
{
    static const char initrd[] = "an initrd";
    struct boot_files files = {.kernel = elf,
                               .kernel_bytes = ELF_BYTES,
                               .initrd = (const uint8_t *)initrd,
                               .initrd_bytes = sizeof initrd,
                               .cmdline = "console=ttyS0",
                               .rsdp = 0xe1230};
    (void)state;
    memset(memory_at_writable(memory, DATA_AT, MIB), 0xff, MIB); /* as a guest before a restart left it */
    assert_int_equal(boot_kernel(memory, &files, &cpu, &err), 0);
    check_loaded();
    check_pvh_cpu();
    uint64_t info = cpu.gpr[CPU_RBX];
    assert_int_equal(get_u32(info), 0x336ec578);
    assert_int_equal(get_u32(info + 4), 1);
    assert_int_equal(get_u32(info + 12), 1);
    assert_int_equal(get_u64(info + 32), 0xe1230);
    assert_string_equal((const char *)memory_at(memory, get_u64(info + 24), 64), files.cmdline);
    uint64_t module = get_u64(info + 16);
    assert_int_equal(get_u64(module), 128 * MIB - 4096);
    assert_int_equal(get_u64(module + 8), sizeof initrd);
    assert_string_equal((const char *)memory_at(memory, get_u64(module), 64), initrd);
    uint64_t map = get_u64(info + 40), ram = 0, last = 0;
    for (unsigned i = 0; i < get_u32(info + 48); i++, map += 24) {
        assert_true(get_u64(map) >= last);
        last = get_u64(map) + get_u64(map + 8);
        if (get_u32(map + 16) == 1)
            ram += get_u64(map + 8);
        else
            assert_in_range(get_u64(map), 0x9fc00, 0xfffff);
    }
    assert_int_equal(last, 128 * MIB);
    assert_int_equal(ram, 127 * MIB + 0x9fc00);
}

static void every_format(void **state)
{
    static const struct {
        const char *name;
        size_t (*pack)(uint8_t *, size_t);
    } formats[] = {{"XZ", pack_xz}, {"LZ4", pack_lz4}, {"zstd", pack_zstd}, {"gzip", pack_gzip}};
    (void)state;
    for (unsigned i = 0; i < sizeof formats / sizeof *formats; i++) {
        size_t n = make_bzimage(formats[i].pack);
        assert_string_equal(payload_format(file + CODE_AT + PAYLOAD_AT, n), formats[i].name);
        memset(memory_at_writable(memory, TEXT_AT, 16 * MIB), 0xee, 16 * MIB);
        if (boot(file, n, BOOT_AUTO))
            fail_msg("%s: %s", formats[i].name, err.text);
        check_loaded();
        check_pvh_cpu();
        /* cut off, and damaged, wherever it is */
        uint32_t payload = *(uint32_t *)(void *)(file + 0x24c);
        put_u32(file + 0x24c, payload / 2);
        refuses(boot(file, n, BOOT_AUTO), formats[i].name);
        put_u32(file + 0x24c, payload);
        for (unsigned k = 1; k < 5; k++) {
            uint8_t *at = file + CODE_AT + PAYLOAD_AT + payload / 5 * k, was[64];
            memcpy(was, at, sizeof was);
            memset(at, 0xa5, 64);
            if (!boot(file, n, BOOT_PVH) &&
                memcmp(memory_at(memory, TEXT_AT, TEXT_BYTES), elf + TEXT_OFFSET, TEXT_BYTES))
                assert_string_equal(formats[i].name, "LZ4"); /* which has no checksum, and may decode to something */
            memcpy(at, was, sizeof was);
        }
    }
    assert_null(payload_format((const uint8_t *)"BZh9", 4));
}

static void wrong_size(void **state)
{
    (void)state;
    size_t n = make_bzimage(pack_zstd);
    uint32_t payload = *(uint32_t *)(void *)(file + 0x24c);
    put_u32(file + CODE_AT + PAYLOAD_AT + payload - 4, ELF_BYTES + 1);
    refuses(boot(file, n, BOOT_AUTO), "instead of");
}

/* ---- 64-bit entry ---- */

static uint64_t translate(uint64_t address)
{
    uint64_t entry = get_u64(cpu.cr3 + (address >> 39 & 511) * 8);
    assert_true(entry & 1);
    entry = get_u64((entry & ~0xfffull) + (address >> 30 & 511) * 8);
    assert_true(entry & 1);
    entry = get_u64((entry & ~0xfffull) + (address >> 21 & 511) * 8);
    assert_int_equal(entry & 0x83, 0x83);
    return (entry & ~0x1fffffull) | (address & 0x1fffff);
}

static void check_long_mode(void)
{
    assert_int_equal(cpu.cr0 & 0x80000001, 0x80000001);
    assert_int_equal(cpu.cr4 & 0x20, 0x20);
    assert_int_equal(cpu.efer, 0x500);
    assert_int_equal(cpu.seg[CPU_CS].selector, 0x10);
    assert_int_equal(cpu.seg[CPU_CS].attributes, 0xa09b);
    assert_int_equal(cpu.seg[CPU_DS].selector, 0x18);
    assert_int_equal(get_u64(cpu.gdt.base + 0x10), 0x00af9b000000ffff);
    assert_int_equal(get_u64(cpu.gdt.base + 0x18), 0x00cf93000000ffff);
    for (uint64_t a = 0; a < 4ull << 30; a += 0x3fffff1)
        assert_int_equal(translate(a), a);
}

static void linux64_image(void **state)
{
    static const uint8_t initrd[5000] = {1, 2, 3};
    (void)state;
    size_t n = make_bzimage(pack_nothing);
    struct boot_files files = {.kernel = file,
                               .kernel_bytes = n,
                               .initrd = initrd,
                               .initrd_bytes = sizeof initrd,
                               .cmdline = "quiet",
                               .rsdp = 0xe4560};
    assert_int_equal(boot_kernel(memory, &files, &cpu, &err), 0); /* a format that is not known: as it is */
    assert_int_equal(cpu.rip, TEXT_AT + 0x200);
    assert_memory_equal(memory_at(memory, TEXT_AT, n - CODE_AT), file + CODE_AT, n - CODE_AT);
    check_long_mode();
    uint64_t page = cpu.gpr[CPU_RSI];
    assert_memory_equal(memory_at(memory, page + 0x202, 4), "HdrS", 4);
    assert_int_equal(get_u32(page + 0x258), TEXT_AT);
    assert_int_equal(get_u32(page + 0x210) & 0xff, 0xff);
    assert_int_equal(get_u64(page + 0x70), 0xe4560);
    assert_int_equal(get_u32(page + 0x218), 128 * MIB - 8192);
    assert_int_equal(get_u32(page + 0x21c), sizeof initrd);
    assert_memory_equal(memory_at(memory, get_u32(page + 0x218), sizeof initrd), initrd, sizeof initrd);
    assert_string_equal((const char *)memory_at(memory, get_u32(page + 0x228), 64), "quiet");
    uint8_t count = (uint8_t)get_u32(page + 0x1e8);
    assert_int_equal(count, 4);
    assert_int_equal(get_u64(page + 0x2d0 + 3 * 20), MIB);
    assert_int_equal(get_u64(page + 0x2d0 + 3 * 20 + 8), 127 * MIB);
    assert_int_equal(get_u32(page + 0x2d0 + 3 * 20 + 16), 1);
    put_u32(file + 0x22c, 64 * MIB - 1); /* it wants its initrd lower */
    files.method = BOOT_LINUX64;
    assert_int_equal(boot_kernel(memory, &files, &cpu, &err), 0);
    assert_int_equal(get_u32(page + 0x218), 64 * MIB - 8192);
    put_u32(file + 0x260, 120 * MIB); /* no room at its favourite address */
    put_u32(file + 0x22c, 0x7fffffff);
    assert_int_equal(boot_kernel(memory, &files, &cpu, &err), 0);
    assert_int_equal(cpu.rip, 2 * MIB + 0x200);
    file[0x234] = 0;
    refuses(boot_kernel(memory, &files, &cpu, &err), "give it more");
    put_u32(file + 0x260, 112 * MIB);
    refuses(boot_kernel(memory, &files, &cpu, &err), "initrd"); /* the kernel has it all */
}

static void linux64_elf(void **state)
{
    (void)state;
    assert_int_equal(boot(elf, ELF_BYTES, BOOT_LINUX64), 0);
    check_loaded();
    check_long_mode();
    assert_int_equal(cpu.rip, ENTRY);
    put_u32(elf + NOTE_OFFSET + 20 + 8, 17); /* no PVH entry */
    cpu.rip = 0;
    assert_int_equal(boot(elf, ELF_BYTES, BOOT_AUTO), 0);
    assert_int_equal(cpu.rip, ENTRY);
    refuses(boot(elf, ELF_BYTES, BOOT_PVH), "no PVH entry");
    header()->e_entry = DATA_AT + DATA_BYTES + BSS_BYTES;
    refuses(boot(elf, ELF_BYTES, BOOT_AUTO), "its entry");
}

/* ---- what is wrong with a file ---- */

static void bad_elf(void **state)
{
    (void)state;
    refuses(boot((const uint8_t *)"", 0, BOOT_AUTO), "neither");
    refuses(boot(elf, 5, BOOT_AUTO), "another machine");
    refuses(boot(elf, 4096, BOOT_AUTO), "cut off");
    refuses(boot(elf, DATA_OFFSET + DATA_BYTES - 1, BOOT_AUTO), "cut off");
    elf[EI_CLASS] = ELFCLASS32;
    refuses(boot(elf, ELF_BYTES, BOOT_AUTO), "another machine");
    make_elf();
    header()->e_type = ET_REL;
    refuses(boot(elf, ELF_BYTES, BOOT_AUTO), "no program");
    header()->e_type = ET_EXEC;
    header()->e_phoff = UINT64_MAX - 5;
    refuses(boot(elf, ELF_BYTES, BOOT_AUTO), "program headers");
    header()->e_phoff = 4000;
    refuses(boot(elf, ELF_BYTES, BOOT_AUTO), "program headers");
    make_elf();
    segment(0)->p_type = segment(1)->p_type = PT_NULL;
    refuses(boot(elf, ELF_BYTES, BOOT_AUTO), "nothing to load");

    static const struct {
        size_t field;
        uint64_t value;
        const char *about;
    } faults[] = {
        {offsetof(Elf64_Phdr, p_paddr), 0x7000, "above 1 MiB"},
        {offsetof(Elf64_Phdr, p_paddr), 124 * MIB, "give it more"},
        {offsetof(Elf64_Phdr, p_paddr), UINT64_MAX - 4096, "give it more"},
        {offsetof(Elf64_Phdr, p_paddr), DATA_AT - 4096, "overlaps"},
        {offsetof(Elf64_Phdr, p_memsz), TEXT_BYTES - 1, "larger in the file"},
        {offsetof(Elf64_Phdr, p_memsz), UINT64_MAX, "at most 1 GiB"},
        {offsetof(Elf64_Phdr, p_memsz), 120 * MIB, "give it more"},
        {offsetof(Elf64_Phdr, p_offset), UINT64_MAX - 5, "wraps around"},
        {offsetof(Elf64_Phdr, p_offset), DATA_OFFSET - 100, "overlaps"},
        {offsetof(Elf64_Phdr, p_offset), ELF_BYTES, "cut off"},
    };
    for (unsigned i = 0; i < sizeof faults / sizeof *faults; i++) {
        make_elf();
        memcpy((uint8_t *)segment(0) + faults[i].field, &faults[i].value, 8);
        refuses(boot(elf, ELF_BYTES, BOOT_AUTO), faults[i].about);
    }
    make_elf();
    put_u32(elf + NOTE_OFFSET + 36, 0x7000); /* an entry outside */
    refuses(boot(elf, ELF_BYTES, BOOT_AUTO), "PVH entry");
    for (unsigned i = 0; i < 40; i += 4) { /* notes that lead astray */
        make_elf();
        put_u32(elf + NOTE_OFFSET + i, 0xffffffff);
        int rc = boot(elf, ELF_BYTES, BOOT_PVH);
        assert_true(rc == 0 || *err.text);
    }
    make_elf();
    segment(2)->p_offset = 0; /* notes in the head, segments, too */
    segment(2)->p_filesz = 4096;
    refuses(boot(elf, ELF_BYTES, BOOT_PVH), "no PVH");
    make_elf();
    segment(0)->p_offset = 0;
    assert_int_equal(boot(elf, ELF_BYTES, BOOT_PVH), 0);
    assert_memory_equal(memory_at(memory, TEXT_AT, TEXT_BYTES), elf, TEXT_BYTES);
}

static void bad_bzimage(void **state)
{
    (void)state;
    size_t n = make_bzimage(pack_nothing);
    refuses(boot(file, n, BOOT_PVH), "compressed with none");
    refuses(boot(file, CODE_AT, BOOT_LINUX64), "cut off");
    refuses(boot(file, 0x206, BOOT_LINUX64), "boot protocol");
    for (n = 0x208; n < 0x290; n++) { /* at its exact size, so that a byte read behind it is seen */
        uint8_t *cut = malloc(n);
        assert_non_null(cut);
        memcpy(cut, file, n);
        refuses(boot(cut, n, BOOT_LINUX64), "cut off");
        free(cut);
    }
    n = make_bzimage(pack_nothing);
    put_u32(file + 0x24c, (uint32_t)n);
    refuses(boot(file, n, BOOT_AUTO), "header says");
    put_u32(file + 0x248, UINT32_MAX);
    put_u32(file + 0x24c, UINT32_MAX);
    refuses(boot(file, n, BOOT_AUTO), "header says");
    make_bzimage(pack_nothing);
    put_u16(file + 0x206, 0x204);
    refuses(boot(file, n, BOOT_AUTO), "boot protocol is 2.04");
    make_bzimage(pack_nothing);
    file[0x211] = 0;
    refuses(boot(file, n, BOOT_AUTO), "zImage");
    file[0x211] = 1;
    file[0x201] = 0xff;
    refuses(boot(file, n, BOOT_AUTO), "setup header");
    file[0x201] = 3;
    refuses(boot(file, n, BOOT_AUTO), "setup header");
    file[0x201] = 0x66;
    put_u16(file + 0x236, 0);
    refuses(boot(file, n, BOOT_LINUX64), "no 64-bit entry");
    refuses(boot(file, n, BOOT_AUTO), "compressed with none");
    put_u16(file + 0x236, 1);
    file[0x234] = 0;
    put_u32(file + 0x258, 0);
    refuses(boot(file, n, BOOT_LINUX64), "below 1 MiB");
}

static void bad_rest(void **state)
{
    static char line[70000];
    struct boot_files files = {.kernel = elf, .kernel_bytes = ELF_BYTES, .cmdline = line};
    (void)state;
    memset(line, 'x', 2047);
    assert_int_equal(boot_kernel(memory, &files, &cpu, &err), 0);
    line[2047] = 'x';
    refuses(boot_kernel(memory, &files, &cpu, &err), "2048 letters");
    files.cmdline = NULL;
    files.initrd = elf;
    files.initrd_bytes = 128 * MIB - (DATA_AT + 5 * 4096);
    refuses(boot_kernel(
                memory,
                &(struct boot_files){.kernel = elf, .kernel_bytes = ELF_BYTES, .initrd = elf, .initrd_bytes = SIZE_MAX},
                &cpu, &err),
            "initrd");
    files.initrd_bytes = ELF_BYTES;
    assert_int_equal(boot_kernel(memory, &files, &cpu, &err), 0);
    memory_free(memory);
    memory = memory_new(32 * MIB, &err);
    refuses(boot_kernel(memory, &files, &cpu, &err), "initrd");
    memory_free(memory);
    memory = memory_new(2 * MIB, &err);
    refuses(boot_kernel(memory, &files, &cpu, &err), "give it more");
}

/* ---- firmware ---- */

static void firmware(void **state)
{
    uint8_t *rom = calloc(1, 256 << 10);
    (void)state;
    for (unsigned i = 0; i < 256 << 10; i++)
        rom[i] = (uint8_t)(i >> 8);
    refuses(boot_firmware(memory, rom, 256 << 10, &cpu, &err), "reset vector");
    rom[(256 << 10) - 16] = 0xea;
    refuses(boot_firmware(memory, rom, 1000, &cpu, &err), "64 KiB");
    refuses(boot_firmware(memory, rom, 0, &cpu, &err), "64 KiB");
    refuses(boot_firmware(memory, rom, 2 << 20, &cpu, &err), "64 KiB");
    for (unsigned i = 0; i < 2; i++) { /* and again after a reset */
        memset(memory_at_writable(memory, 0xe0000, 0x20000), 0, 0x20000);
        assert_int_equal(boot_firmware(memory, rom, 256 << 10, &cpu, &err), 0);
        assert_memory_equal(memory_at(memory, (4ull << 30) - (256 << 10), 256 << 10), rom, 256 << 10);
        assert_memory_equal(memory_at(memory, 0xe0000, 128 << 10), rom + (128 << 10), 128 << 10);
        assert_null(memory_at_writable(memory, 0xffff0000, 16));
        assert_int_equal(cpu.seg[CPU_CS].base + cpu.rip, 0xfffffff0);
        assert_int_equal(cpu.seg[CPU_CS].selector, 0xf000);
        assert_int_equal(cpu.cr0 & 1, 0);
    }
    free(rom);
}

/* ---- Debian's ---- */

static const uint8_t *map_file(const char *path, size_t *bytes)
{
    FILE *f = fopen(path, "r");
    struct stat st;
    if (!f || fstat(fileno(f), &st))
        fail_msg("%s: %s", path, strerror(errno));
    void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fileno(f), 0);
    fclose(f);
    assert_ptr_not_equal(data, MAP_FAILED);
    *bytes = (size_t)st.st_size;
    return data;
}

static bool kernel_path(const char *kind, char path[512])
{
    char command[600];
    snprintf(command, sizeof command, "sh " SOURCE_DIR "/tests/hv/kernels.sh %s", kind);
    FILE *f = popen(command, "r");
    bool got = f && fgets(path, 512, f);
    if (got)
        path[strcspn(path, "\n")] = 0;
    return !pclose(f) && got;
}

static void boots(const char *kind)
{
    char path[512], banner[128];
    size_t bytes;
    if (!kernel_path(kind, path)) {
        print_message("no Debian kernel to be had here\n");
        skip();
    }
    const uint8_t *kernel = map_file(path, &bytes);
    snprintf(banner, sizeof banner, "Linux version %s ", strstr(path, "vmlinuz-") + 8);
    for (unsigned method = BOOT_PVH; method <= BOOT_LINUX64; method++) {
        if (boot(kernel, bytes, method))
            fail_msg("%s", err.text);
        if (method == BOOT_PVH) {
            const uint8_t *ram = memory_at(memory, TEXT_AT, 100 * MIB);
            assert_non_null(memmem(ram, 100 * MIB, banner, strlen(banner)));
            assert_int_equal(*memory_at(memory, cpu.rip, 1), 0xfc); /* pvh_start_xen: cld */
        } else {
            assert_int_equal(cpu.rip, TEXT_AT + 0x200);
        }
    }
    munmap((void *)(uintptr_t)kernel, bytes);
}

static void debian_cloud(void **state)
{
    (void)state;
    boots("cloud");
}

static void debian_generic(void **state)
{
    (void)state;
    boots("generic");
}

static void seabios(void **state)
{
    static const char *const paths[] = {"/usr/share/seabios/bios.bin", "/usr/share/seabios/bios-256k.bin"};
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        size_t bytes;
        struct stat st;
        if (stat(paths[i], &st))
            skip();
        const uint8_t *rom = map_file(paths[i], &bytes);
        memory_free(memory);
        memory = memory_new(32 * MIB, &err);
        if (boot_firmware(memory, rom, bytes, &cpu, &err))
            fail_msg("%s: %s", paths[i], err.text);
        assert_int_equal(*memory_at(memory, 0xffff0, 1), 0xea);
        munmap((void *)(uintptr_t)rom, bytes);
    }
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(pvh_from_elf), TEST(every_format), TEST(wrong_size),     TEST(linux64_image),
        TEST(linux64_elf),  TEST(bad_elf),      TEST(bad_bzimage),    TEST(bad_rest),
        TEST(firmware),     TEST(debian_cloud), TEST(debian_generic), TEST(seabios),
    };
    elf = malloc(ELF_BYTES);
    file = malloc(ROOM);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    free(elf);
    free(file);
    return rc;
}
