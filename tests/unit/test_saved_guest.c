/* A guest in a file: what comes back is what went in, holes stay holes, and no damaged or foreign file is taken. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "hv/memory.h"
#include "hv/saved_guest.h"
#include "node/base/err.h"

enum { MIB = 1 << 20 };
static const uint64_t rom_gpa = (4ull << 30) - 8192;
static const char state_text[] = "the state of devices";

static struct memory *make(uint64_t bytes, bool rom)
{
    struct err err;
    static const char code[8192] = "rom";
    struct memory *m = memory_new(bytes, &err);
    assert_non_null(m);
    if (rom)
        assert_int_equal(memory_add_rom(m, rom_gpa, code, sizeof code, &err), 0);
    return m;
}

static int save(struct memory *m)
{
    struct err err;
    int fd = memfd_create("saved", MFD_CLOEXEC);
    assert_int_equal(saved_guest_write(fd, m, state_text, sizeof state_text, &err), 0);
    return fd;
}

static void test_round_trip(void **state)
{
    (void)state;
    struct err err;
    struct saved_guest saved;
    struct stat st;
    struct memory *m = make(64 * MIB, true), *back = make(64 * MIB, true);
    uint8_t page[4096];
    memset(page, 7, sizeof page);
    memory_write(m, 0, "first", 5);
    memory_write(m, 5 * MIB + 4096, page, sizeof page);
    memory_write(m, 64 * MIB - 4, "last", 4);
    memset(memory_at_writable(m, 10 * MIB, MIB), 0, MIB); /* touched, and zero */
    int fd = save(m);
    assert_int_equal(fstat(fd, &st), 0);
    assert_true(st.st_blocks * 512 < MIB); /* three pages, the ROM, header and state */
    assert_int_equal(saved_guest_open(&saved, fd, &err), 0);
    assert_int_equal(saved.ram_bytes, 64 * MIB);
    assert_int_equal(saved.state_bytes, sizeof state_text);
    assert_string_equal(saved.state, state_text);
    assert_int_equal(saved_guest_read(&saved, back, &err), 0);
    assert_memory_equal(memory_at(back, 0, 64 * MIB), memory_at(m, 0, 64 * MIB), 64 * MIB);
    assert_string_equal((const char *)memory_at(back, rom_gpa, 4), "rom");
    saved_guest_fini(&saved);
    close(fd);
    memory_free(m);
    memory_free(back);
}

/* One of the same length, with something where the saved one has a page of zeroes. */
static void test_other_rom(void **state)
{
    (void)state;
    struct err err;
    struct saved_guest saved;
    struct memory *m = make(4 * MIB, true), *other = make(4 * MIB, false);
    uint8_t code[8192];
    memset(code, 0xee, sizeof code);
    assert_int_equal(memory_add_rom(other, rom_gpa, code, sizeof code, &err), 0);
    int fd = save(m);
    assert_int_equal(saved_guest_open(&saved, fd, &err), 0);
    assert_int_equal(saved_guest_read(&saved, other, &err), 0);
    assert_memory_equal(memory_at(other, rom_gpa, 8192), memory_at(m, rom_gpa, 8192), 8192);
    saved_guest_fini(&saved);
    close(fd);
    memory_free(m);
    memory_free(other);
}

static void test_other_guest(void **state)
{
    (void)state;
    struct err err;
    struct saved_guest saved;
    struct memory *m = make(4 * MIB, true), *larger = make(8 * MIB, true), *without = make(4 * MIB, false);
    int fd = save(m);
    assert_int_equal(saved_guest_open(&saved, fd, &err), 0);
    assert_int_equal(saved_guest_read(&saved, larger, &err), -EINVAL);
    assert_non_null(strstr(err.text, "start it with as much"));
    assert_int_equal(saved_guest_read(&saved, without, &err), -EINVAL);
    assert_non_null(strstr(err.text, "firmware"));
    saved_guest_fini(&saved);
    close(fd);
    memory_free(m);
    memory_free(larger);
    memory_free(without);
}

/* Every byte of the header, and every length the file could be cut to around its parts. */
static void test_damage(void **state)
{
    (void)state;
    struct err err;
    struct saved_guest saved;
    struct memory *m = make(2 * MIB, false);
    memory_write(m, MIB, "x", 1);
    int fd = save(m);
    for (unsigned at = 0; at < 4096; at++) {
        uint8_t byte, wrong;
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        wrong = byte ^ 0x20;
        assert_int_equal(pwrite(fd, &wrong, 1, at), 1);
        assert_int_equal(saved_guest_open(&saved, fd, &err), -EPROTO);
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    }
    assert_int_equal(saved_guest_open(&saved, fd, &err), 0);
    saved_guest_fini(&saved);
    const off_t lengths[] = {0, 1, 4095, 4096, 4096 + 5, 2 * MIB, 4 * MIB - 1};
    for (unsigned i = sizeof lengths / sizeof *lengths; i-- > 0;) {
        assert_int_equal(ftruncate(fd, lengths[i]), 0);
        assert_int_equal(saved_guest_open(&saved, fd, &err), -EPROTO);
    }
    close(fd);
    memory_free(m);
}

static void test_no_space(void **state)
{
    (void)state;
    struct err err = {0};
    struct memory *m = make(2 * MIB, false);
    memory_write(m, 0, "x", 1);
    int fd = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), 0);
    assert_int_not_equal(saved_guest_write(fd, m, state_text, sizeof state_text, &err), 0);
    assert_non_null(strstr(err.text, "cannot write the guest"));
    close(fd);
    memory_free(m);
}

/* ---- durability: the linker sends the module's fsync() here ---- */

int __wrap_fsync(int fd);

static struct {
    unsigned calls, fails_at;
    char magic[2][13]; /* what the file began with at each call */
} syncs;

int __wrap_fsync(int fd)
{
    if (syncs.calls < 2 && pread(fd, syncs.magic[syncs.calls], 12, 0) < 0)
        return -1;
    syncs.calls++;
    errno = EIO;
    return syncs.calls == syncs.fails_at ? -1 : 0;
}

/* The header, which makes it a guest, is written when all else is on the disk, and no success is told before that is,
 * too. */
static void test_durable(void **state)
{
    (void)state;
    struct memory *m = make(2 * MIB, false);
    struct saved_guest saved;
    struct err err;
    memset(&syncs, 0, sizeof syncs);
    close(save(m));
    assert_int_equal(syncs.calls, 2);
    assert_string_equal(syncs.magic[0], "");
    assert_string_equal(syncs.magic[1], "drover-guest");
    for (unsigned i = 1; i <= 2; i++) {
        memset(&syncs, 0, sizeof syncs);
        syncs.fails_at = i;
        int fd = memfd_create("saved", MFD_CLOEXEC);
        assert_int_equal(saved_guest_write(fd, m, state_text, sizeof state_text, &err), -EIO);
        assert_int_equal(saved_guest_open(&saved, fd, &err), i == 1 ? -EPROTO : 0);
        if (i == 2)
            saved_guest_fini(&saved);
        close(fd);
    }
    memory_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip),  cmocka_unit_test(test_other_rom),
                                       cmocka_unit_test(test_other_guest), cmocka_unit_test(test_damage),
                                       cmocka_unit_test(test_no_space),    cmocka_unit_test(test_durable)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
